from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now, Upper
from django.utils import timezone
from django.utils.timesince import timeuntil
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ipam.fields import IPNetworkField
from netbox.models import PrimaryModel
from netbox.models.features import ContactsMixin
from utilities.querysets import RestrictedQuerySet

from ..choices import AllocationStatusChoices, ReleaseReasonChoices
from ..validators import CLUSTER_NAME_MAX_LENGTH, PURPOSE_MAX_LENGTH
from .deletion import protected_error
from .mixins import HelpPageMixin, HotColumnsMixin, OwnedMixin

__all__ = (
    "ANY_PLACE",
    "Allocation",
    "is_active",
    "was_active",
)

# In `places`: the requested places are not known, so any place within the scope of the pool may be one.
ANY_PLACE = "*"


def is_active(path=""):
    """
    Return the condition that an allocation is active: neither released nor expired by the database's clock.

    Args:
        path: The lookup path to the allocation, such as "allocations__".
    """
    never, later = Q(**{f"{path}expires_at__isnull": True}), Q(**{f"{path}expires_at__gt": Now()})
    return Q(**{f"{path}released_at__isnull": True}) & (never | later)


def was_active(moment, path=""):
    """
    Return the condition that an allocation held its segment at a moment: from its start on, until before its end.

    Args:
        moment: An aware datetime.
        path: The lookup path to the allocation, such as "allocations__".
    """
    condition = Q(**{f"{path}allocated_at__lte": moment})
    for end in ("released_at", "expires_at"):
        condition &= Q(**{f"{path}{end}__isnull": True}) | Q(**{f"{path}{end}__gt": moment})
    return condition


def keep_history(collector, field, sub_objs, using):
    """
    The `on_delete` of an allocation's pool and segment: refuse before its release, keep it as history afterwards.

    It runs while Django collects the objects, before NetBox's change log writes the allocations without their link.

    Raises:
        ProtectedError: An unreleased allocation holds the object.
    """
    if active := [allocation for allocation in sub_objs if allocation.released_at is None]:
        raise protected_error(_("Clusters hold it; release their allocations first."), active)
    models.SET_NULL(collector, field, sub_objs, using)


class AllocationQuerySet(RestrictedQuerySet):
    def active(self):
        """Filter by allocations that hold a segment now. An expired one holds none, whether it is released or not."""
        return self.filter(is_active())

    def unreleased(self):
        """Filter by allocations that the database's constraints and triggers count: active ones and overdue ones."""
        return self.filter(released_at__isnull=True)

    def overdue(self):
        """Filter by allocations that have expired and still have to be released."""
        return self.unreleased().filter(expires_at__lte=Now())

    def of_cluster(self, cluster_name):
        """Filter by cluster name, without case. iexact compiles to UPPER(), as in the index."""
        return self.filter(cluster_name__iexact=cluster_name)


class Allocation(HelpPageMixin, HotColumnsMixin, OwnedMixin, ContactsMixin, PrimaryModel):
    """
    A cluster holds a segment, from `allocated_at` until `released_at` or `expires_at`, whichever comes first.

    A release ends it; the row stays as history. An expired allocation is released by the next call that finds it, or by
    the job that runs every minute.

    `places` are the places that the cluster asked for when it got this allocation, such as "dcim.site:12", or ANY_PLACE
    if they are not known.

    `pool_name`, `vrf_name`, `vid`, `epg_name`, the prefixes and the gateways say what is held. All but the two names
    follow the segment until the release, which also updates the names. Later changes to the pool and its segments do
    not change them.
    """

    segment = models.ForeignKey(
        to="netbox_vlan_manager.Segment",
        on_delete=keep_history,
        related_name="allocations",
        verbose_name=gettext_lazy("segment"),
        blank=True,
        null=True,
    )
    pool = models.ForeignKey(
        to="netbox_vlan_manager.SegmentPool",
        on_delete=keep_history,
        related_name="allocations",
        verbose_name=gettext_lazy("pool"),
        blank=True,
        null=True,
    )
    cluster_name = models.CharField(
        verbose_name=gettext_lazy("cluster name"),
        max_length=CLUSTER_NAME_MAX_LENGTH,
    )
    cluster = models.ForeignKey(
        to="virtualization.Cluster",
        on_delete=models.SET_NULL,
        related_name="allocations",
        verbose_name=gettext_lazy("cluster"),
        blank=True,
        null=True,
        help_text=gettext_lazy("The cluster of this name in NetBox, where there is one"),
    )
    purpose = models.CharField(
        verbose_name=gettext_lazy("purpose"),
        max_length=PURPOSE_MAX_LENGTH,
        blank=True,
        help_text=gettext_lazy("Tells several segments of one cluster in a pool apart; usually empty"),
    )
    allocated_at = models.DateTimeField(
        verbose_name=gettext_lazy("allocated at"),
        default=timezone.now,
    )
    allocated_by = models.ForeignKey(
        to=settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=gettext_lazy("allocated by"),
        blank=True,
        null=True,
    )
    released_at = models.DateTimeField(
        verbose_name=gettext_lazy("released at"),
        blank=True,
        null=True,
    )
    released_by = models.ForeignKey(
        to=settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=gettext_lazy("released by"),
        blank=True,
        null=True,
    )
    release_reason = models.CharField(
        verbose_name=gettext_lazy("release reason"),
        max_length=50,
        choices=ReleaseReasonChoices,
        blank=True,
    )
    expires_at = models.DateTimeField(
        verbose_name=gettext_lazy("expires at"),
        blank=True,
        null=True,
        help_text=gettext_lazy("When the allocation is released by itself; never when empty"),
    )
    expiry_warned = models.BooleanField(
        verbose_name=gettext_lazy("expiry warned"),
        default=False,
        editable=False,
        help_text=gettext_lazy("The event before the expiry was sent"),
    )
    shared = models.BooleanField(
        verbose_name=gettext_lazy("shared"),
        default=False,
        editable=False,
        help_text=gettext_lazy("The segment was shared with this cluster while another one held it"),
    )
    places = ArrayField(
        base_field=models.TextField(),
        verbose_name=gettext_lazy("places"),
        default=list,
        blank=True,
        editable=False,
        help_text=gettext_lazy("The places that the cluster asked for"),
    )
    ipv6_prefix = IPNetworkField(verbose_name=gettext_lazy("IPv6 prefix"), blank=True, null=True)
    gateway = models.GenericIPAddressField(verbose_name=gettext_lazy("gateway"), blank=True, null=True)
    ipv6_gateway = models.GenericIPAddressField(verbose_name=gettext_lazy("IPv6 gateway"), blank=True, null=True)
    pool_name = models.CharField(verbose_name=gettext_lazy("pool name"), max_length=100)
    vrf_name = models.CharField(verbose_name=gettext_lazy("VRF name"), max_length=100)
    vid = models.PositiveSmallIntegerField(verbose_name=gettext_lazy("VLAN ID"))
    epg_name = models.CharField(verbose_name=gettext_lazy("EPG name"), max_length=64)
    prefix = IPNetworkField(verbose_name=gettext_lazy("prefix"))

    objects = AllocationQuerySet.as_manager()

    # An edit may change the texts about an allocation, never its facts.
    hot_columns = (
        "segment",
        "pool",
        "cluster_name",
        "cluster",
        "purpose",
        "allocated_at",
        "allocated_by",
        "released_at",
        "released_by",
        "release_reason",
        "expires_at",
        "expiry_warned",
        "shared",
        "places",
        "ipv6_prefix",
        "gateway",
        "ipv6_gateway",
        "pool_name",
        "vrf_name",
        "vid",
        "epg_name",
        "prefix",
    )

    class Meta:
        ordering = ("-allocated_at", "-pk")
        verbose_name = gettext_lazy("allocation")
        verbose_name_plural = gettext_lazy("allocations")
        constraints = (
            # In this order the index also serves the first query of every call: what a cluster holds in any pool.
            models.UniqueConstraint(
                Upper("cluster_name"),
                "purpose",
                "pool",
                condition=Q(released_at__isnull=True),
                name="%(app_label)s_%(class)s_one_active",
                violation_error_message=gettext_lazy("The cluster already holds a segment of this pool."),
            ),
            models.UniqueConstraint(
                fields=("segment",),
                condition=Q(released_at__isnull=True, shared=False),
                name="%(app_label)s_%(class)s_unique_segment",
                violation_error_message=gettext_lazy("Another cluster holds this segment."),
            ),
            models.CheckConstraint(
                condition=Q(released_at__isnull=False) | Q(segment__isnull=False, pool__isnull=False),
                name="%(app_label)s_%(class)s_active_has_segment",
            ),
        )
        indexes = (
            models.Index(fields=("-allocated_at", "-id"), name="vlan_manager_alloc_order"),
            models.Index(fields=("cluster_name",), name="vlan_manager_alloc_cluster"),
            models.Index(fields=("pool",), condition=Q(released_at__isnull=True), name="vlan_manager_alloc_pool"),
            models.Index(
                fields=("expires_at",),
                condition=Q(released_at__isnull=True, expires_at__isnull=False),
                name="vlan_manager_alloc_expiry",
            ),
        )

    def __str__(self):
        return f"{self.cluster_name}: {self.epg_name} ({self.vid})"

    def record_segment(self, segment):
        """Copy the values of `segment` to the allocation. Reads its VLAN, prefixes, pool and VRF."""
        self.pool_name = segment.pool.name
        self.vrf_name = segment.pool.vrf.name
        self.vid = segment.vid
        self.epg_name = segment.epg_name
        self.prefix = segment.prefix.prefix
        self.ipv6_prefix = segment.ipv6_prefix and segment.ipv6_prefix.prefix
        self.gateway, self.ipv6_gateway = segment.gateway, segment.ipv6_gateway

    @property
    def prefixes(self):
        """Return the held prefix, or both prefixes, as text."""
        return ", ".join(str(network) for network in (self.prefix, self.ipv6_prefix) if network)

    def describe_expiry(self):
        """Return when it expires, such as "until 2026-12-24 18:00 UTC (in 27 days)"; empty if it does not."""
        if self.expires_at is None:
            return ""
        time = timezone.localtime(self.expires_at).strftime("%Y-%m-%d %H:%M %Z")
        if self.expires_at <= timezone.now():
            return _("until {time} (over)").format(time=time)
        if days := (self.expires_at - timezone.now()).days:
            left = ngettext("{count} day", "{count} days", days).format(count=days)
        else:
            # Django joins number and unit with a non-breaking space.
            left = timeuntil(self.expires_at, depth=1).replace("\xa0", " ")
        return _("until {time} (in {left})").format(time=time, left=left)

    @property
    def is_over(self):
        """Whether it has expired by this server's clock; it may still have to be released."""
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def status(self):
        is_active = self.released_at is None and not self.is_over
        return AllocationStatusChoices.ACTIVE if is_active else AllocationStatusChoices.RELEASED

    def get_status_display(self):
        return dict(AllocationStatusChoices)[self.status]

    def get_status_color(self):
        return AllocationStatusChoices.colors.get(self.status)

    def get_release_reason_color(self):
        return ReleaseReasonChoices.colors.get(self.release_reason)
