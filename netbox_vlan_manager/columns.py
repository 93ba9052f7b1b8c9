"""Columns and orders that the tables share."""

import django_tables2 as tables
from django.utils.html import format_html, format_html_join
from django_tables2.data import TableQuerysetData

from netbox.tables import PrimaryModelTable, columns
from tenancy.tables import ContactsColumnMixin

from .validators import duration_text

__all__ = (
    "DurationColumn",
    "EPGNameColumn",
    "PoolUtilizationColumn",
    "PrefetchedContactsMixin",
    "TotalOrderMixin",
)


class DurationColumn(tables.Column):
    """A number of seconds, as a duration such as 1h; exports have the number."""

    def render(self, value):
        return duration_text(value)

    def value(self, value):
        return value


class EPGNameColumn(tables.Column):
    """An EPG's name. It wraps after an underscore: browsers would break such a name in the middle of a word."""

    attrs = {"td": {"class": "text-break", "style": "min-width: 11rem"}}

    def render(self, value):
        first, *others = value.split("_")
        return format_html("{}{}", first, format_html_join("", "_<wbr>{}", ((word,) for word in others)))

    def value(self, value):
        return value


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
