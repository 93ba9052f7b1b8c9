from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from netbox.models import PrimaryModel
from netbox.models.features import ContactsMixin
from utilities.querysets import RestrictedQuerySet

from ..choices import AllocationStatusChoices, SegmentStatusChoices
from ..gateways import GATEWAYS, clean_gateway
from ..validators import VID_MAX, VID_MIN
from .deletion import protect
from .mixins import HelpPageMixin, HotColumnsMixin, OwnedMixin

__all__ = ("Segment",)


class SegmentManager(models.Manager.from_queryset(RestrictedQuerySet)):
    """Fetches VLANs and prefixes for all segments of a queryset at once, as NetBox's search needs them."""

    def get_queryset(self):
        return super().get_queryset().fetch_mode(models.FETCH_PEERS)


class Segment(HelpPageMixin, HotColumnsMixin, OwnedMixin, ContactsMixin, PrimaryModel):
    """
    One VLAN and its prefix, handed out as one unit. The EPG name is the VLAN's name.

    `vid` repeats the VLAN's ID so that the free list is one index; `services.drift.vlan_checks` compares the two.
    `status` is "allocated" exactly while an unreleased allocation exists; a deferred trigger of the database checks it.
    """

    pool = models.ForeignKey(
        to="netbox_vlan_manager.SegmentPool",
        on_delete=protect,
        related_name="segments",
        verbose_name=_("pool"),
    )
    vlan = models.OneToOneField(
        to="ipam.VLAN",
        on_delete=protect,
        related_name="segment",
        verbose_name=_("VLAN"),
    )
    prefix = models.OneToOneField(
        to="ipam.Prefix",
        on_delete=protect,
        related_name="segment",
        verbose_name=_("prefix"),
    )
    vid = models.PositiveSmallIntegerField(
        verbose_name=_("VLAN ID"),
        validators=(MinValueValidator(VID_MIN), MaxValueValidator(VID_MAX)),
        help_text=_("The VLAN's ID, 1 to 4094"),
    )
    status = models.CharField(
        verbose_name=_("status"),
        max_length=50,
        choices=SegmentStatusChoices,
        default=SegmentStatusChoices.AVAILABLE,
        editable=False,
    )
    dhcp = models.BooleanField(
        verbose_name=_("DHCP"),
        default=False,
        help_text=_("Hosts on the segment get their addresses by DHCP"),
    )
    ipv6_prefix = models.OneToOneField(
        to="ipam.Prefix",
        on_delete=protect,
        related_name="ipv6_segment",
        verbose_name=_("IPv6 prefix"),
        blank=True,
        null=True,
        help_text=_("An additional IPv6 prefix"),
    )
    gateway = models.GenericIPAddressField(
        verbose_name=_("gateway"),
        blank=True,
        null=True,
        help_text=_("An address of the prefix; a new segment gets the one that the pool's rule gives"),
    )
    ipv6_gateway = models.GenericIPAddressField(
        verbose_name=_("IPv6 gateway"),
        blank=True,
        null=True,
        help_text=_("An address of the IPv6 prefix; by the pool's rule as well"),
    )
    # The IP addresses in NetBox that were made with the segment and go with it.
    gateway_ip_address = models.OneToOneField(
        to="ipam.IPAddress",
        on_delete=models.SET_NULL,
        related_name="gateway_of_segment",
        blank=True,
        null=True,
        editable=False,
    )
    ipv6_gateway_ip_address = models.OneToOneField(
        to="ipam.IPAddress",
        on_delete=models.SET_NULL,
        related_name="ipv6_gateway_of_segment",
        blank=True,
        null=True,
        editable=False,
    )
    quarantined_until = models.DateTimeField(
        verbose_name=_("quarantined until"),
        blank=True,
        null=True,
        editable=False,
        help_text=_("When the cool-down ends and the segment becomes available again"),
    )
    last_released_at = models.DateTimeField(
        verbose_name=_("last released at"),
        blank=True,
        null=True,
        editable=False,
    )
    disabled_reason = models.CharField(
        verbose_name=_("reason"),
        max_length=200,
        blank=True,
        editable=False,
        help_text=_("Why the segment is disabled"),
    )
    owns_vlan = models.BooleanField(
        verbose_name=_("owns VLAN"),
        default=False,
        editable=False,
        help_text=_("The VLAN was made with the segment and goes with it"),
    )
    owns_ipv6_prefix = models.BooleanField(
        verbose_name=_("owns IPv6 prefix"),
        default=False,
        editable=False,
        help_text=_("The IPv6 prefix was made with the segment and goes with it"),
    )
    owns_prefix = models.BooleanField(
        verbose_name=_("owns prefix"),
        default=False,
        editable=False,
        help_text=_("The prefix was made with the segment and goes with it"),
    )

    # Whether the pool has created the segment for the current allocation.
    is_grown = False

    objects = SegmentManager()

    prerequisite_models = ("netbox_vlan_manager.SegmentPool",)
    hot_columns = (
        "pool",
        "vlan",
        "prefix",
        "ipv6_prefix",
        "vid",
        "status",
        "quarantined_until",
        "last_released_at",
        "disabled_reason",
        "owns_vlan",
        "owns_prefix",
        "owns_ipv6_prefix",
        "gateway_ip_address",
        "ipv6_gateway_ip_address",
    )

    class Meta:
        # By the pool's id, not its name: the unique index on (pool, vid) gives this order without a join.
        ordering = ("pool_id", "vid")
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        constraints = (
            models.UniqueConstraint(
                fields=("pool", "vid"),
                name="%(app_label)s_%(class)s_unique_pool_vid",
                violation_error_message=_("The pool already has a segment with this VLAN ID."),
            ),
            models.CheckConstraint(
                condition=Q(vid__gte=VID_MIN, vid__lte=VID_MAX),
                name="%(app_label)s_%(class)s_vid_range",
            ),
            models.CheckConstraint(
                condition=Q(status__in=SegmentStatusChoices.values()),
                name="%(app_label)s_%(class)s_status_known",
            ),
            models.CheckConstraint(
                condition=Q(status=SegmentStatusChoices.QUARANTINED) | Q(quarantined_until__isnull=True),
                name="%(app_label)s_%(class)s_quarantine_ends",
            ),
        )
        indexes = (
            # The free list: its first entry is the lowest available segment of a pool. It has expressions, since NetBox
            # takes an index on the fields of a unique constraint for redundant.
            models.Index(
                models.F("pool"),
                models.F("vid"),
                condition=Q(status=SegmentStatusChoices.AVAILABLE),
                name="vlan_manager_free_list",
            ),
            models.Index(fields=("pool", "status"), name="vlan_manager_pool_status"),
            models.Index(
                models.F("pool"),
                models.F("last_released_at").asc(nulls_first=True),
                models.F("vid"),
                condition=Q(status=SegmentStatusChoices.AVAILABLE),
                name="vlan_manager_least_recent",
            ),
            models.Index(
                fields=("quarantined_until",),
                condition=Q(status=SegmentStatusChoices.QUARANTINED),
                name="vlan_manager_quarantine",
            ),
        )

    def __str__(self):
        return str(self.vlan)

    def clean(self):
        super().clean()

        errors = {}
        for prefix, gateway in GATEWAYS.items():
            # A new segment may have no prefixes yet; its service has checked the gateways.
            if getattr(self, gateway) and self.prefix_id:
                network = getattr(self, prefix) and getattr(self, prefix).prefix
                try:
                    clean_gateway(getattr(self, gateway), network)
                except ValidationError as error:
                    errors[gateway] = error.messages
        if errors:
            raise ValidationError(errors)

    def get_status_color(self):
        return SegmentStatusChoices.colors.get(self.status)

    @property
    def epg_name(self):
        return self.vlan.name

    @property
    def gateways(self):
        """Return the gateway, or both gateways, as texts."""
        return [gateway for gateway in (self.gateway, self.ipv6_gateway) if gateway]

    def get_prefixes(self, owned):
        """Return the prefixes that were created with the segment (`owned`), or those that existed before."""
        both = ((self.prefix, self.owns_prefix), (self.ipv6_prefix, self.owns_ipv6_prefix))
        return [prefix for prefix, is_owned in both if prefix and is_owned == owned]

    @property
    def active_allocations(self):
        """Return the allocations that hold the segment now, as a list; uses a prefetch of `allocations`."""
        return [
            allocation for allocation in self.allocations.all() if allocation.status == AllocationStatusChoices.ACTIVE
        ]
