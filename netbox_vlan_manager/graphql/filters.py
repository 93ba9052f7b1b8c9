from datetime import datetime
from functools import reduce
from operator import or_
from typing import Annotated

import strawberry
import strawberry_django
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from strawberry import ID
from strawberry.types import Info
from strawberry_django import BaseFilterLookup, DateFilterLookup, DatetimeFilterLookup, FilterLookup, StrFilterLookup
from strawberry_django import process_filters as apply_lookup

from core.graphql.filters import ContentTypeFilter
from dcim.graphql.filters import LocationFilter, RegionFilter, SiteFilter, SiteGroupFilter
from dcim.models import Location, Region, Site, SiteGroup
from ipam.graphql.filters import PrefixFilter, RoleFilter, VLANFilter, VLANGroupFilter, VRFFilter
from ipam.models import VLAN, VRF, Prefix, Role, VLANGroup
from netbox.graphql.filter_lookups import IntegerLookup
from netbox.graphql.filters import BaseModelFilter, PrimaryModelFilter, register_filter
from tenancy.graphql.filter_mixins import ContactFilterMixin
from tenancy.graphql.filters import TenantFilter, TenantGroupFilter
from tenancy.models import Tenant, TenantGroup
from users.graphql.filters import UserFilter
from users.models import User
from virtualization.graphql.filters import ClusterFilter
from virtualization.models import Cluster

from ..choices import AllocationStatusChoices
from ..filters import NetworkField, in_prefixes
from ..models import Allocation, PoolSnapshot, Segment, SegmentPool, is_active, was_active
from .enums import (
    AllocationOrderEnum,
    AllocationStatusEnum,
    FirstGenerationEnum,
    GatewayRuleEnum,
    PoolLevelEnum,
    ReleaseInUseEnum,
    ReleaseReasonEnum,
    SegmentPoolStatusEnum,
    SegmentStatusEnum,
)
from .restriction import pool_filter, related_filter

__all__ = (
    "AllocationFilter",
    "PoolSnapshotFilter",
    "SegmentFilter",
    "SegmentPoolFilter",
)


def _aware(moment):
    """Return a date and time without a time zone as one in the current time zone, as REST and pages take it."""
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


# Lazy, because these filters refer to each other.
LazyAllocationFilter = Annotated["AllocationFilter", strawberry.lazy("netbox_vlan_manager.graphql.filters")]
LazySegmentFilter = Annotated["SegmentFilter", strawberry.lazy("netbox_vlan_manager.graphql.filters")]


def prefix_filter(lookup, *remotes):
    """
    Return a filter by a prefix or IP address, which matches only related prefixes that the user may view.

    Args:
        lookup: A lookup of IPNetworkField, such as "net_contained".
        remotes: The fields of the prefix that refer to the filtered object.
    """

    @strawberry_django.filter_field
    def network(self, value: str, info: Info, prefix: str) -> Q:
        viewable = Prefix.objects.restrict(info.context.request.user, "view")
        matching = viewable.filter(**{f"prefix__{lookup}": NetworkField().clean(value)})
        pk = OuterRef(f"{prefix}pk")
        return reduce(or_, (Q(Exists(matching.filter(**{remote: pk}))) for remote in remotes))

    return network


def held_prefix_filter(lookup):
    """Return a filter of allocations by a prefix or IP address, and a lookup of IPNetworkField."""

    @strawberry_django.filter_field
    def network(self, value: str, prefix: str) -> Q:
        matching = Allocation.objects.filter(in_prefixes("prefix", lookup, NetworkField().clean(value))).order_by()
        return Q(**{f"{prefix}pk__in": matching.values("pk")})

    return network


@strawberry.input
class PoolAttributesFilter:
    """Filters segments and allocations by the attributes of their pool."""

    vrf = pool_filter(VRF, VRFFilter, "vrf")
    vlan_group = pool_filter(VLANGroup, VLANGroupFilter, "vlan_group")
    tenant = pool_filter(Tenant, TenantFilter, "tenant")
    tenant_group = pool_filter(TenantGroup, TenantGroupFilter, "tenant__group")
    region = pool_filter(Region, RegionFilter, "_region")
    site_group = pool_filter(SiteGroup, SiteGroupFilter, "_site_group")
    site = pool_filter(Site, SiteFilter, "_site")
    location = pool_filter(Location, LocationFilter, "_location")


@register_filter(SegmentPool, lookups=True)
class SegmentPoolFilter(ContactFilterMixin, PrimaryModelFilter):
    name: StrFilterLookup | None = strawberry_django.filter_field()
    slug: StrFilterLookup | None = strawberry_django.filter_field()
    status: BaseFilterLookup[SegmentPoolStatusEnum] | None = strawberry_django.filter_field()
    first_generation: BaseFilterLookup[FirstGenerationEnum] | None = strawberry_django.filter_field()
    level: BaseFilterLookup[PoolLevelEnum] | None = strawberry_django.filter_field()
    vrf = related_filter(VRF, VRFFilter, "vrf")
    vrf_id: ID | None = strawberry_django.filter_field()
    scope_type: ContentTypeFilter | None = strawberry_django.filter_field()
    scope_id: ID | None = strawberry_django.filter_field()
    region = related_filter(Region, RegionFilter, "_region")
    site_group = related_filter(SiteGroup, SiteGroupFilter, "_site_group")
    site = related_filter(Site, SiteFilter, "_site")
    location = related_filter(Location, LocationFilter, "_location")
    vlan_group = related_filter(VLANGroup, VLANGroupFilter, "vlan_group")
    vlan_group_id: ID | None = strawberry_django.filter_field()
    prefixes = related_filter(Prefix, PrefixFilter, "pk", remote="segment_pools")
    tenant = related_filter(Tenant, TenantFilter, "tenant")
    tenant_id: ID | None = strawberry_django.filter_field()
    tenant_group = related_filter(TenantGroup, TenantGroupFilter, "tenant__group")
    within = prefix_filter("net_contained", "segment_pools")
    within_include = prefix_filter("net_contained_or_equal", "segment_pools")
    contains = prefix_filter("net_contains_or_equals", "segment_pools")
    role = related_filter(Role, RoleFilter, "role")
    role_id: ID | None = strawberry_django.filter_field()
    min_prefix_length: IntegerLookup | None = strawberry_django.filter_field()
    max_prefix_length: IntegerLookup | None = strawberry_django.filter_field()
    warning_threshold: IntegerLookup | None = strawberry_django.filter_field()
    critical_threshold: IntegerLookup | None = strawberry_django.filter_field()
    allocation_order: BaseFilterLookup[AllocationOrderEnum] | None = strawberry_django.filter_field()
    release_in_use: BaseFilterLookup[ReleaseInUseEnum] | None = strawberry_django.filter_field()
    cooldown: IntegerLookup | None = strawberry_django.filter_field()
    max_per_cluster: IntegerLookup | None = strawberry_django.filter_field()
    max_per_tenant: IntegerLookup | None = strawberry_django.filter_field()
    max_per_request: IntegerLookup | None = strawberry_django.filter_field()
    auto_grow: FilterLookup[bool] | None = strawberry_django.filter_field()
    gateway_rule: BaseFilterLookup[GatewayRuleEnum] | None = strawberry_django.filter_field()
    gateway_offset: IntegerLookup | None = strawberry_django.filter_field()
    create_gateways: FilterLookup[bool] | None = strawberry_django.filter_field()
    domain_name: StrFilterLookup | None = strawberry_django.filter_field()
    mtu: IntegerLookup | None = strawberry_django.filter_field()
    segments = related_filter(Segment, LazySegmentFilter, "pk", remote="pool")
    allocations = related_filter(Allocation, LazyAllocationFilter, "pk", remote="pool")


@register_filter(Segment, lookups=True)
class SegmentFilter(PoolAttributesFilter, ContactFilterMixin, PrimaryModelFilter):
    within = prefix_filter("net_contained", "segment", "ipv6_segment")
    within_include = prefix_filter("net_contained_or_equal", "segment", "ipv6_segment")
    contains = prefix_filter("net_contains_or_equals", "segment", "ipv6_segment")
    pool = related_filter(SegmentPool, SegmentPoolFilter, "pool")
    pool_id: ID | None = strawberry_django.filter_field()
    vid: IntegerLookup | None = strawberry_django.filter_field()
    status: BaseFilterLookup[SegmentStatusEnum] | None = strawberry_django.filter_field()
    dhcp: FilterLookup[bool] | None = strawberry_django.filter_field()
    vlan = related_filter(VLAN, VLANFilter, "vlan")
    vlan_id: ID | None = strawberry_django.filter_field()
    prefix = related_filter(Prefix, PrefixFilter, "prefix")
    prefix_id: ID | None = strawberry_django.filter_field()
    ipv6_prefix = related_filter(Prefix, PrefixFilter, "ipv6_prefix")
    ipv6_prefix_id: ID | None = strawberry_django.filter_field()
    quarantined_until: DatetimeFilterLookup | None = strawberry_django.filter_field()
    last_released_at: DatetimeFilterLookup | None = strawberry_django.filter_field()
    gateway: StrFilterLookup | None = strawberry_django.filter_field()
    ipv6_gateway: StrFilterLookup | None = strawberry_django.filter_field()
    disabled_reason: StrFilterLookup | None = strawberry_django.filter_field()
    allocations = related_filter(Allocation, LazyAllocationFilter, "pk", remote="segment")

    @strawberry_django.filter_field
    def held_at(self, value: datetime, info: Info, prefix: str) -> Q:
        viewable = Allocation.objects.restrict(info.context.request.user, "view").order_by()
        return Q(**{f"{prefix}pk__in": viewable.filter(was_active(_aware(value))).values("segment")})

    @strawberry_django.filter_field
    def epg_name(self, value: StrFilterLookup, info: Info, queryset, prefix: str):
        return apply_lookup(value, queryset, info, f"{prefix}vlan__name__")


@register_filter(Allocation, lookups=True)
class AllocationFilter(PoolAttributesFilter, ContactFilterMixin, PrimaryModelFilter):
    within = held_prefix_filter("net_contained")
    within_include = held_prefix_filter("net_contained_or_equal")
    contains = held_prefix_filter("net_contains_or_equals")
    pool = related_filter(SegmentPool, SegmentPoolFilter, "pool")
    pool_id: ID | None = strawberry_django.filter_field()
    segment = related_filter(Segment, SegmentFilter, "segment")
    segment_id: ID | None = strawberry_django.filter_field()
    cluster_name: StrFilterLookup | None = strawberry_django.filter_field()
    cluster = related_filter(Cluster, ClusterFilter, "cluster")
    cluster_id: ID | None = strawberry_django.filter_field()
    purpose: StrFilterLookup | None = strawberry_django.filter_field()
    allocated_at: DatetimeFilterLookup | None = strawberry_django.filter_field()
    allocated_by = related_filter(User, UserFilter, "allocated_by")
    allocated_by_id: ID | None = strawberry_django.filter_field()
    released_at: DatetimeFilterLookup | None = strawberry_django.filter_field()
    released_by = related_filter(User, UserFilter, "released_by")
    released_by_id: ID | None = strawberry_django.filter_field()
    release_reason: BaseFilterLookup[ReleaseReasonEnum] | None = strawberry_django.filter_field()
    expires_at: DatetimeFilterLookup | None = strawberry_django.filter_field()
    shared: FilterLookup[bool] | None = strawberry_django.filter_field()
    pool_name: StrFilterLookup | None = strawberry_django.filter_field()
    vrf_name: StrFilterLookup | None = strawberry_django.filter_field()
    vid: IntegerLookup | None = strawberry_django.filter_field()
    epg_name: StrFilterLookup | None = strawberry_django.filter_field()
    prefix: StrFilterLookup | None = strawberry_django.filter_field()
    ipv6_prefix: StrFilterLookup | None = strawberry_django.filter_field()
    gateway: StrFilterLookup | None = strawberry_django.filter_field()
    ipv6_gateway: StrFilterLookup | None = strawberry_django.filter_field()

    @strawberry_django.filter_field
    def held_at(self, value: datetime, prefix: str) -> Q:
        return was_active(_aware(value), prefix)

    @strawberry_django.filter_field
    def status(self, value: BaseFilterLookup[AllocationStatusEnum], prefix: str) -> Q:
        wanted = set(AllocationStatusChoices.values())
        if value.exact:
            wanted &= {value.exact.value}
        if isinstance(value.in_list, list):
            wanted &= {status.value for status in value.in_list}
        if value.is_null or not wanted:
            return Q(**{f"{prefix}pk__in": ()})
        if len(wanted) == len(AllocationStatusChoices.values()):
            return Q()
        return is_active(prefix) if AllocationStatusChoices.ACTIVE in wanted else ~is_active(prefix)


@register_filter(PoolSnapshot, lookups=True)
class PoolSnapshotFilter(BaseModelFilter):
    pool = related_filter(SegmentPool, SegmentPoolFilter, "pool")
    pool_id: ID | None = strawberry_django.filter_field()
    date: DateFilterLookup | None = strawberry_django.filter_field()
    total_segments: IntegerLookup | None = strawberry_django.filter_field()
    allocated: IntegerLookup | None = strawberry_django.filter_field()
    available: IntegerLookup | None = strawberry_django.filter_field()
    quarantined: IntegerLookup | None = strawberry_django.filter_field()
    disabled: IntegerLookup | None = strawberry_django.filter_field()
