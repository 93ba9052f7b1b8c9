from dataclasses import dataclass
from functools import cached_property

from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Count, F, FloatField, OuterRef, Q, Subquery
from django.db.models.functions import Cast, Coalesce, Collate, NullIf
from django.utils.translation import gettext_lazy as _

from dcim.models.mixins import CachedScopeMixin
from netbox.models import PrimaryModel
from netbox.models.features import ContactsMixin
from utilities.querysets import RestrictedQuerySet

from ..choices import (
    AllocationOrderChoices,
    FirstGenerationChoices,
    GatewayRuleChoices,
    PoolLevelChoices,
    ReleaseInUseChoices,
    SegmentPoolStatusChoices,
    SegmentStatusChoices,
)
from ..validators import VID_MAX, validate_epg_template
from .addressing import AddressingMixin
from .deletion import protect
from .mixins import HelpPageMixin, HotColumnsMixin, OwnedMixin

__all__ = (
    "POOL_SCOPE_MODELS",
    "SegmentPool",
    "SegmentUsage",
)

# The models of scopes, nearest first. Pools are looked up in this order (see services.base.resolution).
POOL_SCOPE_MODELS = ("location", "site", "sitegroup", "region")

# The field at which a form and REST report a violation of a constraint. Each constraint concerns several fields.
CONSTRAINT_FIELDS = {
    "unique_vrf_scope": "scope_id",
    "scope_set": "scope_id",
    "prefix_lengths_ordered": "min_prefix_length",
    "thresholds_ordered": "warning_threshold",
    "gateway_numbered": "gateway_offset",
}

# Ten years, in seconds: a longer cool-down is taken for a mistake.
COOLDOWN_MAX = 10 * 366 * 24 * 3600


@dataclass(frozen=True)
class SegmentUsage:
    """The number of segments of a pool, in total and by status."""

    total_segments: int = 0
    allocated: int = 0
    available: int = 0
    quarantined: int = 0
    disabled: int = 0

    @property
    def utilization(self):
        """Return the share of allocated segments in percent, rounded to one decimal; 0 for an empty pool."""
        return round(100 * self.allocated / self.total_segments, 1) if self.total_segments else 0.0


def _count_segments(**condition):
    """Return an expression for the number of a pool's segments that meet `condition`."""
    segments = apps.get_model("netbox_vlan_manager", "Segment").objects.filter(pool=OuterRef("pk"), **condition)
    return Coalesce(Subquery(segments.order_by().values("pool").annotate(count=Count("*")).values("count")), 0)


# The share (0 to 1) of allocated segments, for a query `with_usage()`; 0 for an empty pool.
UTILIZATION = Coalesce(Cast(F("allocated"), FloatField()) / NullIf(F("total_segments"), 0), 0.0)


def scope_name(path=""):
    """
    Return an expression for the name of a pool's scope.

    The scope is the innermost of the pool's cached places: four joins read it, and no generic relation.

    Args:
        path: The lookup path to the pool, such as "pool__".
    """
    # COALESCE refuses names with different collations.
    return Coalesce(
        *(Collate(F(f"{path}{place}__name"), "C") for place in ("_location", "_site", "_site_group", "_region"))
    )


class SegmentPoolQuerySet(RestrictedQuerySet):
    def with_scope_name(self):
        """Annotate each pool with `scope_name`."""
        return self.annotate(scope_name=scope_name())

    def with_usage(self):
        """
        Annotate each pool with the counts of SegmentUsage, in the same query.

        Each count is a subquery: a join would count the segments of all pools for one page, and would count wrong if
        there are other joins.
        """
        counts = {status: _count_segments(status=status) for status in SegmentStatusChoices.values()}
        return self.annotate(total_segments=_count_segments(), **counts)


class SegmentPool(
    HelpPageMixin, HotColumnsMixin, OwnedMixin, AddressingMixin, ContactsMixin, CachedScopeMixin, PrimaryModel
):
    """
    The segments of one VRF at one scope, from an L2 space (a VLAN group, which pools of one fabric may share) and an L3
    space (one or more container prefixes).
    """

    # In place of NetBox's CASCADE, with which the page that confirms a place's deletion would list the pools. That
    # deletion is refused anyway.
    _location = models.ForeignKey(to="dcim.Location", on_delete=protect, blank=True, null=True)
    _site = models.ForeignKey(to="dcim.Site", on_delete=protect, blank=True, null=True)

    name = models.CharField(
        verbose_name=_("name"),
        max_length=100,
        unique=True,
        db_collation="natural_sort",
    )
    slug = models.SlugField(
        verbose_name=_("slug"),
        max_length=100,
        unique=True,
    )
    status = models.CharField(
        verbose_name=_("status"),
        max_length=50,
        choices=SegmentPoolStatusChoices,
        default=SegmentPoolStatusChoices.ACTIVE,
        help_text=_("A paused pool makes no new allocations; releases still work"),
    )
    vrf = models.ForeignKey(
        to="ipam.VRF",
        on_delete=protect,
        related_name="segment_pools",
        verbose_name=_("VRF"),
        help_text=_("The VRF that the pool's prefixes belong to"),
    )
    vlan_group = models.ForeignKey(
        to="ipam.VLANGroup",
        on_delete=protect,
        related_name="segment_pools",
        verbose_name=_("VLAN group"),
        help_text=_("The pool's VLAN IDs; pools that share a group never share a VLAN ID"),
    )
    prefixes = models.ManyToManyField(
        to="ipam.Prefix",
        related_name="segment_pools",
        verbose_name=_("containers"),
        help_text=_("The prefixes that the pool's segments are taken from"),
    )
    tenant = models.ForeignKey(
        to="tenancy.Tenant",
        on_delete=protect,
        related_name="segment_pools",
        blank=True,
        null=True,
        help_text=_("Set on the VLANs and prefixes that the pool makes"),
    )
    role = models.ForeignKey(
        to="ipam.Role",
        on_delete=models.SET_NULL,
        related_name="segment_pools",
        blank=True,
        null=True,
        help_text=_("Set on the VLANs and prefixes that the pool makes"),
    )
    min_prefix_length = models.PositiveSmallIntegerField(
        verbose_name=_("shortest prefix length"),
        blank=True,
        null=True,
        validators=(MinValueValidator(1), MaxValueValidator(128)),
        help_text=_("The largest network a segment may have, as a prefix length; /16 (IPv6: /48) when empty"),
    )
    max_prefix_length = models.PositiveSmallIntegerField(
        verbose_name=_("longest prefix length"),
        blank=True,
        null=True,
        validators=(MinValueValidator(1), MaxValueValidator(128)),
        help_text=_("The smallest network a segment may have, as a prefix length; /31 (IPv6: /127) when empty"),
    )

    warning_threshold = models.PositiveSmallIntegerField(
        verbose_name=_("warning threshold"),
        default=80,
        validators=(MinValueValidator(1), MaxValueValidator(100)),
        help_text=_("From this utilization on, in percent, the pool is shown as getting full"),
    )
    critical_threshold = models.PositiveSmallIntegerField(
        verbose_name=_("critical threshold"),
        default=95,
        validators=(MinValueValidator(1), MaxValueValidator(100)),
        help_text=_("From this utilization on, in percent, the pool is shown as nearly exhausted"),
    )

    allocation_order = models.CharField(
        verbose_name=_("allocation order"),
        max_length=50,
        choices=AllocationOrderChoices,
        default=AllocationOrderChoices.LOWEST,
        help_text=_("Which of the available segments the next cluster gets"),
    )
    cooldown = models.PositiveIntegerField(
        verbose_name=_("cool-down"),
        default=0,
        validators=(MaxValueValidator(COOLDOWN_MAX),),
        help_text=_("How long a released segment is quarantined before it is available again, in seconds"),
    )
    release_in_use = models.CharField(
        verbose_name=_("release while in use"),
        max_length=50,
        choices=ReleaseInUseChoices,
        default=ReleaseInUseChoices.ALLOW,
        help_text=_(
            "What a release does while IP addresses, ranges, interfaces or other objects use the segment: "
            "it works as usual, it quarantines the segment until a user ends the quarantine, or it is "
            "refused"
        ),
    )
    max_per_cluster = models.PositiveSmallIntegerField(
        verbose_name=_("segments per cluster"),
        blank=True,
        null=True,
        validators=(MinValueValidator(1),),
        help_text=_("How many segments of the pool one cluster may hold at a time; any number when empty"),
    )
    max_per_tenant = models.PositiveSmallIntegerField(
        verbose_name=_("segments per tenant"),
        blank=True,
        null=True,
        validators=(MinValueValidator(1),),
        help_text=_("How many segments of the pool the clusters of one tenant may hold at a time"),
    )
    max_per_request = models.PositiveSmallIntegerField(
        verbose_name=_("segments per request"),
        blank=True,
        null=True,
        validators=(MinValueValidator(1),),
        help_text=_("How many segments of the pool one request may allocate"),
    )
    epg_template = models.CharField(
        verbose_name=_("EPG name template"),
        max_length=100,
        blank=True,
        validators=(validate_epg_template,),
        help_text=_(
            "The EPG names of generated segments, with {site}, {vrf}, {pool} and {vid}; EPG_{site}_{vid} when empty"
        ),
    )
    auto_grow = models.BooleanField(
        verbose_name=_("grow on demand"),
        default=False,
        help_text=_("Make the next segment when a cluster asks and none is available"),
    )
    grow_prefix_length = models.PositiveSmallIntegerField(
        verbose_name=_("length of grown prefixes"),
        blank=True,
        null=True,
        validators=(MinValueValidator(1), MaxValueValidator(128)),
        help_text=_("The prefix length of the segments that the pool makes itself"),
    )
    grow_ipv6_prefix_length = models.PositiveSmallIntegerField(
        verbose_name=_("length of grown IPv6 prefixes"),
        blank=True,
        null=True,
        validators=(MinValueValidator(1), MaxValueValidator(128)),
        help_text=_("The length of the additional IPv6 prefix that these segments get; none when empty"),
    )
    grow_limit = models.PositiveIntegerField(
        verbose_name=_("growth limit"),
        blank=True,
        null=True,
        validators=(MinValueValidator(1), MaxValueValidator(VID_MAX)),
        help_text=_(
            "The pool stops growing when it has this number of segments; when empty, it grows until its space is full"
        ),
    )
    segment_custom_fields = models.JSONField(
        verbose_name=_("custom fields of segments"),
        default=dict,
        blank=True,
        help_text=_("Values for the segments that the pool makes, by the names of their custom fields"),
    )
    vlan_custom_fields = models.JSONField(
        verbose_name=_("custom fields of VLANs"),
        default=dict,
        blank=True,
        help_text=_("Values for the VLANs that are made in the pool, by the names of their custom fields"),
    )
    prefix_custom_fields = models.JSONField(
        verbose_name=_("custom fields of prefixes"),
        default=dict,
        blank=True,
        help_text=_("Values for the prefixes that are made in the pool, by the names of their custom fields"),
    )
    level = models.CharField(
        verbose_name=_("level"),
        max_length=50,
        choices=PoolLevelChoices,
        default=PoolLevelChoices.NORMAL,
        editable=False,
        help_text=_("The threshold that was last reported; each crossing is reported once"),
    )

    first_generation = models.CharField(
        verbose_name=_("first generation"),
        max_length=50,
        choices=FirstGenerationChoices,
        blank=True,
        editable=False,
        help_text=_("Whether the pool was migrated from the first generation, and whether that still writes to it"),
    )

    # Whether `services.pools.provisioning` checks the new containers against the segments, so that signals need not.
    checks_containers = False

    objects = SegmentPoolQuerySet.as_manager()

    clone_fields = (
        "vrf",
        "scope",
        "vlan_group",
        "tenant",
        "role",
        "min_prefix_length",
        "max_prefix_length",
        "warning_threshold",
        "critical_threshold",
        "allocation_order",
        "cooldown",
        "release_in_use",
        "max_per_cluster",
        "max_per_tenant",
        "max_per_request",
        "epg_template",
        "auto_grow",
        "grow_prefix_length",
        "grow_ipv6_prefix_length",
        "grow_limit",
        "gateway_rule",
        "gateway_offset",
        "create_gateways",
        "dns_servers",
        "domain_name",
        "mtu",
        "segment_custom_fields",
        "vlan_custom_fields",
        "prefix_custom_fields",
    )
    hot_columns = ("level", "first_generation")
    prerequisite_models = ("ipam.VRF",)

    class Meta:
        ordering = ("name",)
        verbose_name = _("segment pool")
        verbose_name_plural = _("segment pools")
        indexes = (models.Index(fields=("scope_type", "scope_id")),)
        constraints = (
            models.UniqueConstraint(
                fields=("vrf", "scope_type", "scope_id"),
                name="%(app_label)s_%(class)s_unique_vrf_scope",
                nulls_distinct=False,
                violation_error_message=_("This VRF already has a pool at this scope."),
            ),
            models.CheckConstraint(
                condition=Q(scope_type__isnull=False, scope_id__isnull=False),
                name="%(app_label)s_%(class)s_scope_set",
                violation_error_message=_("Choose the region, site group, site or location that the pool serves."),
            ),
            models.CheckConstraint(
                condition=Q(min_prefix_length__isnull=True)
                | Q(max_prefix_length__isnull=True)
                | Q(min_prefix_length__lte=models.F("max_prefix_length")),
                name="%(app_label)s_%(class)s_prefix_lengths_ordered",
                violation_error_message=_("The shortest prefix length is longer than the longest one."),
            ),
            models.CheckConstraint(
                condition=Q(warning_threshold__lte=models.F("critical_threshold")),
                name="%(app_label)s_%(class)s_thresholds_ordered",
                violation_error_message=_("The warning threshold is above the critical one."),
            ),
            models.CheckConstraint(
                condition=Q(gateway_rule=GatewayRuleChoices.NTH, gateway_offset__isnull=False)
                | (~Q(gateway_rule=GatewayRuleChoices.NTH) & Q(gateway_offset__isnull=True)),
                name="%(app_label)s_%(class)s_gateway_numbered",
                violation_error_message=_("The nth address, and only that, has a number."),
            ),
        )

    def __str__(self):
        return self.name

    def clean(self):
        super().clean()

        if self.scope_type and self.scope_type.model not in POOL_SCOPE_MODELS:
            raise ValidationError({"scope_type": _("A pool serves a region, site group, site or location.")})
        # Retiring ends with the deletion of the pool, which needs another permission.
        retiring = SegmentPoolStatusChoices.RETIRING
        if self.status == retiring and not SegmentPool.objects.filter(pk=self.pk, status=retiring).exists():
            raise ValidationError(
                {"status": _("Use the action Retire: it deletes the pool once no cluster holds a segment of it.")}
            )

    def validate_constraints(self, exclude=None):
        """Check the constraints as Django does, and report each violation at a field (see CONSTRAINT_FIELDS)."""
        errors = {}
        for constraint in self._meta.constraints:
            try:
                constraint.validate(SegmentPool, self, exclude=exclude)
            except ValidationError as error:
                field = CONSTRAINT_FIELDS[constraint.name.removeprefix("netbox_vlan_manager_segmentpool_")]
                ValidationError({field: error}).update_error_dict(errors)
        if errors:
            raise ValidationError(errors)

    def get_status_color(self):
        return SegmentPoolStatusChoices.colors.get(self.status)

    def get_first_generation_color(self):
        return FirstGenerationChoices.colors.get(self.first_generation)

    @property
    def is_on_trial(self):
        """Whether the first generation still writes to the pool's prefixes, and the plugin does so on its behalf."""
        return self.first_generation == FirstGenerationChoices.TRIAL

    def keeps_prefix(self, segment_status):
        """
        Whether the prefixes of segments in this status get the status for allocated ones.

        The first generation takes every active prefix for free. So on trial, those of disabled segments get it too.
        """
        on_trial = self.is_on_trial and segment_status == SegmentStatusChoices.DISABLED
        return on_trial or segment_status == SegmentStatusChoices.ALLOCATED

    @property
    def is_empty(self):
        """Whether the pool has no segments, and makes none on demand."""
        return not self.auto_grow and not self.usage.total_segments

    def get_level_display(self):
        # Without segments, the pool has no utilization that could be normal.
        return _("Empty") if self.is_empty else dict(PoolLevelChoices)[self.level]

    def get_level_color(self):
        return "gray" if self.is_empty else PoolLevelChoices.colors.get(self.level)

    @cached_property
    def usage(self):
        """Return the pool's SegmentUsage, from the annotations of `with_usage()` if present, else with one query."""
        counts = {name: self.__dict__[name] for name in SegmentUsage.__dataclass_fields__ if name in self.__dict__}
        if not counts and self.pk:
            counts = self.segments.aggregate(
                total_segments=Count("pk"),
                **{status: Count("pk", filter=Q(status=status)) for status in SegmentStatusChoices.values()},
            )
        return SegmentUsage(**counts)
