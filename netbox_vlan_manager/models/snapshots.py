from django.db import models
from django.utils.translation import gettext_lazy as _

from utilities.querysets import RestrictedQuerySet

from .pools import SegmentUsage

__all__ = ("PoolSnapshot",)


class PoolSnapshot(models.Model):
    """
    A pool's SegmentUsage on one day, for plots and forecasts.

    It is a measurement, users do not work with it: it has no page and no change log. On pages, in REST and in GraphQL,
    a user who may view the pool may view its snapshots.
    """

    pool = models.ForeignKey(
        to="netbox_vlan_manager.SegmentPool",
        on_delete=models.CASCADE,
        related_name="snapshots",
        verbose_name=_("pool"),
    )
    date = models.DateField(
        verbose_name=_("date"),
        help_text=_("In the time zone of the server"),
    )
    total_segments = models.PositiveIntegerField(verbose_name=_("segments"))
    allocated = models.PositiveIntegerField(verbose_name=_("allocated"))
    available = models.PositiveIntegerField(verbose_name=_("available"))
    quarantined = models.PositiveIntegerField(verbose_name=_("quarantined"))
    disabled = models.PositiveIntegerField(verbose_name=_("disabled"))

    # NetBox's dashboard needs restrict(): it counts the objects that the user may view.
    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ("pool_id", "date")
        verbose_name = _("pool snapshot")
        verbose_name_plural = _("pool snapshots")
        constraints = (
            models.UniqueConstraint(
                fields=("pool", "date"),
                name="%(app_label)s_%(class)s_unique_pool_date",
            ),
        )

    def __str__(self):
        return f"{self.pool}, {self.date}"

    @property
    def usage(self):
        return SegmentUsage(**{name: getattr(self, name) for name in SegmentUsage.__dataclass_fields__})
