import django_filters
from django.db.models import Q
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field

from dcim.base_filtersets import ScopedFilterSet
from ipam.models import VLAN, VRF, Prefix, Role, VLANGroup
from netbox.filtersets import PrimaryModelFilterSet
from tenancy.filtersets import ContactModelFilterSet, TenancyFilterSet
from users.models import User
from utilities.filters import (
    MultiValueCharFilter,
    MultiValueNumberFilter,
)
from utilities.filtersets import register_filterset
from virtualization.models import Cluster

from .choices import (
    AllocationOrderChoices,
    AllocationStatusChoices,
    FirstGenerationChoices,
    GatewayRuleChoices,
    PoolLevelChoices,
    ReleaseInUseChoices,
    ReleaseReasonChoices,
    SegmentPoolStatusChoices,
    SegmentStatusChoices,
)
from .filters import (
    ContainerFilter,
    ContainersFilter,
    DualStackFilter,
    LiteralNullMixin,
    MomentFilter,
    MultiValueAddressFilter,
    MultiValueNetworkFilter,
    PlaceFilter,
    PoolAttributesFilterSet,
    VRFFilter,
    matches_prefix,
    matches_vid,
)
from .models import Allocation, Segment, SegmentPool, is_active, was_active

__all__ = (
    "PAGE_PARAMETERS",
    "SAVED_FILTER",
    "AllocationFilterSet",
    "PoolStatisticsFilterSet",
    "SegmentFilterSet",
    "SegmentPoolFilterSet",
)


# The URL parameters of NetBox that name a saved filter.
SAVED_FILTER = ("filter", "filter_id")
# The URL parameters of pages with a list that are no filters; netbox-branching adds the last one.
PAGE_PARAMETERS = (
    *SAVED_FILTER,
    "page",
    "per_page",
    "sort",
    "tableconfig_id",
    "include_columns",
    "exclude_columns",
    "embedded",
    "export",
    "return_url",
    "_branch",
)


@register_filterset
class SegmentPoolFilterSet(
    LiteralNullMixin, PrimaryModelFilterSet, ScopedFilterSet, TenancyFilterSet, ContactModelFilterSet
):
    status = django_filters.MultipleChoiceFilter(
        choices=SegmentPoolStatusChoices,
        distinct=False,
        null_value=None,
    )
    first_generation = django_filters.MultipleChoiceFilter(
        choices=FirstGenerationChoices,
        distinct=False,
        null_value=None,
    )
    level = django_filters.MultipleChoiceFilter(
        choices=PoolLevelChoices,
        distinct=False,
        null_value=None,
    )
    allocation_order = django_filters.MultipleChoiceFilter(
        choices=AllocationOrderChoices,
        distinct=False,
        null_value=None,
    )
    release_in_use = django_filters.MultipleChoiceFilter(
        choices=ReleaseInUseChoices,
        distinct=False,
        null_value=None,
    )
    gateway_rule = django_filters.MultipleChoiceFilter(
        choices=GatewayRuleChoices,
        distinct=False,
        null_value=None,
    )
    dns_servers = MultiValueAddressFilter(
        lookup_expr="overlap",
        label=_("DNS servers, any of them"),
    )
    vrf_id = django_filters.ModelMultipleChoiceFilter(
        queryset=VRF.objects.all(),
        distinct=False,
        label=_("VRF (ID)"),
    )
    vrf = VRFFilter(
        label=_("VRF (RD or name)"),
    )
    vrf_name = MultiValueCharFilter(
        field_name="vrf__name",
        distinct=False,
        label=_("VRF (name)"),
    )
    site = PlaceFilter(
        field_name="",
        label=_("Site, location, site group or region (ID, slug or name)"),
    )
    site__n = PlaceFilter(
        field_name="",
        exclude=True,
    )
    vlan_group_id = django_filters.ModelMultipleChoiceFilter(
        queryset=VLANGroup.objects.all(),
        distinct=False,
        label=_("VLAN group (ID)"),
    )
    vlan_group = django_filters.ModelMultipleChoiceFilter(
        field_name="vlan_group__slug",
        queryset=VLANGroup.objects.all(),
        distinct=False,
        to_field_name="slug",
        label=_("VLAN group (slug)"),
    )
    prefix_id = django_filters.ModelMultipleChoiceFilter(
        field_name="prefixes",
        queryset=Prefix.objects.all(),
        label=_("Container (ID)"),
    )
    prefix = ContainersFilter(
        label=_("Container"),
    )
    within = ContainerFilter(
        lookup_expr="net_contained",
        label=_("Pools with a container within this prefix"),
    )
    within_include = ContainerFilter(
        lookup_expr="net_contained_or_equal",
        label=_("Pools with a container within and including this prefix"),
    )
    contains = ContainerFilter(
        lookup_expr="net_contains_or_equals",
        label=_("Pools whose containers hold this prefix or IP"),
    )
    role_id = django_filters.ModelMultipleChoiceFilter(
        queryset=Role.objects.all(),
        distinct=False,
        label=_("Role (ID)"),
    )
    role = django_filters.ModelMultipleChoiceFilter(
        field_name="role__slug",
        queryset=Role.objects.all(),
        distinct=False,
        to_field_name="slug",
        label=_("Role (slug)"),
    )

    class Meta:
        model = SegmentPool
        fields = (
            "id",
            "name",
            "slug",
            "scope_id",
            "min_prefix_length",
            "max_prefix_length",
            "warning_threshold",
            "critical_threshold",
            "cooldown",
            "max_per_cluster",
            "max_per_tenant",
            "max_per_request",
            "epg_template",
            "auto_grow",
            "grow_prefix_length",
            "grow_ipv6_prefix_length",
            "grow_limit",
            "gateway_offset",
            "create_gateways",
            "domain_name",
            "mtu",
            "description",
        )

    def search(self, queryset, name, value):
        value = value.strip()
        if not value:
            return queryset
        return queryset.filter(
            Q(name__icontains=value)
            | Q(slug__icontains=value)
            | Q(description__icontains=value)
            | Q(vrf__name__icontains=value)
        )


class PoolStatisticsFilterSet(SegmentPoolFilterSet):
    """Filters statistics of pools: the pool has the same parameters as for segments, `pool` and `pool_id`."""

    pool_id = MultiValueNumberFilter(
        field_name="id",
        distinct=False,
        label=_("Pool (ID)"),
    )
    pool = django_filters.ModelMultipleChoiceFilter(
        field_name="slug",
        queryset=SegmentPool.objects.all(),
        distinct=False,
        to_field_name="slug",
        label=_("Pool (slug)"),
    )

    class Meta(SegmentPoolFilterSet.Meta):
        pass


@register_filterset
class SegmentFilterSet(LiteralNullMixin, PrimaryModelFilterSet, PoolAttributesFilterSet, ContactModelFilterSet):
    status = django_filters.MultipleChoiceFilter(
        choices=SegmentStatusChoices,
        distinct=False,
        null_value=None,
    )
    quarantined_until__after = MomentFilter(
        field_name="quarantined_until",
        lookup_expr="gte",
    )
    quarantined_until__before = MomentFilter(
        field_name="quarantined_until",
        lookup_expr="lte",
    )
    vlan_id = django_filters.ModelMultipleChoiceFilter(
        queryset=VLAN.objects.all(),
        distinct=False,
        label=_("VLAN (object ID)"),
    )
    epg_name = MultiValueCharFilter(
        field_name="vlan__name",
        distinct=False,
        label=_("EPG name"),
    )
    prefix_id = django_filters.ModelMultipleChoiceFilter(
        queryset=Prefix.objects.all(),
        distinct=False,
        label=_("Prefix (ID)"),
    )
    prefix = MultiValueNetworkFilter(
        field_name="prefix__prefix",
        label=_("Prefix"),
    )
    ipv6_prefix_id = django_filters.ModelMultipleChoiceFilter(
        queryset=Prefix.objects.all(),
        distinct=False,
        label=_("IPv6 prefix (ID)"),
    )
    ipv6_prefix = MultiValueNetworkFilter(
        field_name="ipv6_prefix__prefix",
        label=_("IPv6 prefix"),
    )
    gateway = MultiValueAddressFilter(
        label=_("Gateway"),
    )
    ipv6_gateway = MultiValueAddressFilter(
        label=_("IPv6 gateway"),
    )
    within = DualStackFilter(
        field_name="prefix__prefix",
        lookup_expr="net_contained",
        label=_("Within prefix"),
    )
    within_include = DualStackFilter(
        field_name="prefix__prefix",
        lookup_expr="net_contained_or_equal",
        label=_("Within and including prefix"),
    )
    contains = DualStackFilter(
        field_name="prefix__prefix",
        lookup_expr="net_contains_or_equals",
        label=_("Segments which contain this prefix or IP"),
    )
    cluster_name = MultiValueCharFilter(
        method="filter_cluster_name",
        label=_("Name of a cluster that holds the segment"),
    )
    held_at = MomentFilter(
        method="filter_held_at",
        label=_("Held by a cluster at this time"),
    )

    class Meta:
        model = Segment
        fields = ("id", "vid", "dhcp", "quarantined_until", "last_released_at", "disabled_reason", "description")

    def search(self, queryset, name, value):
        value = value.strip()
        if not value:
            return queryset
        held = self._holding_allocations().filter(cluster_name__icontains=value)
        # Each table is searched in its own subquery: a join would combine all rows before the search.
        vlans = VLAN.objects.filter(name__icontains=value).order_by()
        prefixes = Prefix.objects.filter(matches_prefix("prefix", value)).order_by()
        return queryset.filter(
            Q(vlan__in=vlans.values("pk"))
            | Q(description__icontains=value)
            | Q(pk__in=held.values("segment"))
            | matches_vid(value)
            | Q(prefix__in=prefixes.values("pk"))
            | Q(ipv6_prefix__in=prefixes.values("pk"))
        )

    def filter_cluster_name(self, queryset, name, value):
        named = Q()
        for cluster_name in value:
            named |= Q(cluster_name__iexact=cluster_name.strip())
        return queryset.filter(pk__in=self._holding_allocations().filter(named).values("segment"))

    def filter_held_at(self, queryset, name, value):
        return queryset.filter(pk__in=self._viewable_allocations().filter(was_active(value)).values("segment"))

    def _holding_allocations(self):
        return self._viewable_allocations().active()

    def _viewable_allocations(self):
        """Return the allocations that the caller may view, so that a filter reveals no others."""
        allocations = Allocation.objects.order_by()
        return allocations.restrict(self.request.user, "view") if self.request else allocations


@register_filterset
class AllocationFilterSet(LiteralNullMixin, PrimaryModelFilterSet, PoolAttributesFilterSet, ContactModelFilterSet):
    segment_id = django_filters.ModelMultipleChoiceFilter(
        queryset=Segment.objects.all(),
        distinct=False,
        label=_("Segment (ID)"),
    )
    cluster_name = MultiValueCharFilter(
        lookup_expr="iexact",
        distinct=False,
        label=_("Cluster name"),
    )
    cluster_id = django_filters.ModelMultipleChoiceFilter(
        queryset=Cluster.objects.all(),
        distinct=False,
        label=_("Cluster (ID)"),
    )
    purpose = MultiValueCharFilter(
        distinct=False,
        label=_("Purpose"),
    )
    status = django_filters.MultipleChoiceFilter(
        choices=AllocationStatusChoices,
        method="filter_status",
        label=_("Status"),
    )
    held_at = MomentFilter(
        method="filter_held_at",
        label=_("Held its segment at this time"),
    )
    allocated_at__after = MomentFilter(
        field_name="allocated_at",
        lookup_expr="gte",
    )
    allocated_at__before = MomentFilter(
        field_name="allocated_at",
        lookup_expr="lte",
    )
    released_at__after = MomentFilter(
        field_name="released_at",
        lookup_expr="gte",
    )
    released_at__before = MomentFilter(
        field_name="released_at",
        lookup_expr="lte",
    )
    expires_at__after = MomentFilter(
        field_name="expires_at",
        lookup_expr="gte",
    )
    expires_at__before = MomentFilter(
        field_name="expires_at",
        lookup_expr="lte",
    )
    release_reason = django_filters.MultipleChoiceFilter(
        choices=ReleaseReasonChoices,
        distinct=False,
        null_value=None,
    )
    allocated_by_id = django_filters.ModelMultipleChoiceFilter(
        queryset=User.objects.all(),
        distinct=False,
        label=_("Allocated by (ID)"),
    )
    allocated_by = django_filters.ModelMultipleChoiceFilter(
        field_name="allocated_by__username",
        queryset=User.objects.all(),
        distinct=False,
        to_field_name="username",
        label=_("Allocated by (name)"),
    )
    released_by_id = django_filters.ModelMultipleChoiceFilter(
        queryset=User.objects.all(),
        distinct=False,
        label=_("Released by (ID)"),
    )
    released_by = django_filters.ModelMultipleChoiceFilter(
        field_name="released_by__username",
        queryset=User.objects.all(),
        distinct=False,
        to_field_name="username",
        label=_("Released by (name)"),
    )
    prefix = MultiValueNetworkFilter(
        label=_("Prefix"),
    )
    ipv6_prefix = MultiValueNetworkFilter(
        label=_("IPv6 prefix"),
    )
    gateway = MultiValueAddressFilter(
        label=_("Gateway"),
    )
    ipv6_gateway = MultiValueAddressFilter(
        label=_("IPv6 gateway"),
    )
    within = DualStackFilter(
        field_name="prefix",
        lookup_expr="net_contained",
        label=_("Within prefix"),
    )
    within_include = DualStackFilter(
        field_name="prefix",
        lookup_expr="net_contained_or_equal",
        label=_("Within and including prefix"),
    )
    contains = DualStackFilter(
        field_name="prefix",
        lookup_expr="net_contains_or_equals",
        label=_("Allocations of a segment which contains this prefix or IP"),
    )

    class Meta:
        model = Allocation
        fields = (
            "id",
            "allocated_at",
            "released_at",
            "expires_at",
            "shared",
            "pool_name",
            "vrf_name",
            "vid",
            "epg_name",
            "description",
        )

    def search(self, queryset, name, value):
        value = value.strip()
        if not value:
            return queryset
        return queryset.filter(
            Q(cluster_name__icontains=value)
            | Q(epg_name__icontains=value)
            | Q(pool_name__icontains=value)
            | Q(description__icontains=value)
            | matches_vid(value)
            | matches_prefix("prefix", value)
            | matches_prefix("ipv6_prefix", value)
        )

    @extend_schema_field(OpenApiTypes.STR)
    def filter_status(self, queryset, name, value):
        if set(value) == set(AllocationStatusChoices.values()):
            return queryset
        return queryset.filter(is_active() if AllocationStatusChoices.ACTIVE in value else ~is_active())

    def filter_held_at(self, queryset, name, value):
        return queryset.filter(was_active(value))
