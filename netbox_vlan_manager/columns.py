"""Columns and orders that the tables share."""

from django_tables2.data import TableQuerysetData

from netbox.tables import PrimaryModelTable, columns
from tenancy.tables import ContactsColumnMixin

__all__ = (
    "PoolUtilizationColumn",
    "PrefetchedContactsMixin",
    "TotalOrderMixin",
)


class PoolUtilizationColumn(columns.UtilizationColumn):
    """A utilization bar, colored by the pool's own thresholds."""

    template_code = '{% include "netbox_vlan_manager/inc/utilization.html" with pool=record utilization=value %}'


class PrefetchedContactsMixin(ContactsColumnMixin):
    """Extends a table: reads the names of all contacts in one query, where NetBox's column runs one for each."""

    def _apply_prefetching(self, columns=None):
        super()._apply_prefetching(columns)
        if columns is None:
            columns = [column.name for column in self.columns.iterall() if column.visible]
        if isinstance(self.data, TableQuerysetData) and "contacts" in columns:
            self.data.data = self.data.data.prefetch_related("contacts__contact")


class TotalOrderMixin(PrimaryModelTable):
    """Extends a table: ends every order with the id, so that equal rows keep their order from page to page."""

    @PrimaryModelTable.order_by.setter
    def order_by(self, value):
        PrimaryModelTable.order_by.fset(self, value)
        # NetBox sets the order before the table has data, too.
        data = getattr(self, "data", None)
        if isinstance(data, TableQuerysetData) and (ordering := data.data.query.order_by) and ordering[-1] != "pk":
            data.data = data.data.order_by(*ordering, "pk")
