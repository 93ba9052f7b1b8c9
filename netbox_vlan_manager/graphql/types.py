from typing import Annotated

import strawberry
import strawberry_django
from django.contrib.contenttypes.prefetch import GenericPrefetch
from django.db.models import F, Prefetch
from strawberry.types import Info

from dcim.graphql.types import LocationType, RegionType, SiteGroupType, SiteType
from dcim.models import Location, Region, Site, SiteGroup
from extras.graphql.mixins import ContactsMixin
from ipam.graphql.types import PrefixType, RoleType, VLANGroupType, VLANType, VRFType
from ipam.models import VLAN
from netbox.graphql.optimization import optimize_prefetch_queryset
from netbox.graphql.types import BaseObjectType, PrimaryObjectType, register_type
from tenancy.graphql.types import TenantType
from users.graphql.types import UserType
from virtualization.graphql.types import ClusterType

from ..models import Allocation, PoolSnapshot, Segment, SegmentPool, SegmentUsage
from .filters import AllocationFilter, PoolSnapshotFilter, SegmentFilter, SegmentPoolFilter
from .restriction import RestrictedField

__all__ = (
    "AllocationType",
    "PoolSnapshotType",
    "SegmentPoolType",
    "SegmentType",
)

COUNTS = tuple(SegmentUsage.__dataclass_fields__)
# Every count is read together with the others: SegmentPool.usage needs all of them on the row.
USAGE = {name: SegmentPool.objects.with_usage().query.annotations[name] for name in COUNTS}
# An annotation, not the VLAN object: that is null for users who may not view VLANs, but they may see the EPG name.
EPG_NAME = {"vlan_name": F("vlan__name")}


def _prefetch_scope(info):
    user = info.context.request.user
    models = (Region, SiteGroup, Site, Location)
    return GenericPrefetch(
        "scope", [optimize_prefetch_queryset(model.objects.restrict(user, "view"), info) for model in models]
    )


def _prefetch_active_allocations(info):
    allocations = Allocation.objects.restrict(info.context.request.user, "view").active().order_by("pk")
    return Prefetch("allocations", queryset=optimize_prefetch_queryset(allocations, info), to_attr="held_by")


def _get_epg_name(segment):
    """Return the EPG name of a segment; read it if it was not fetched with the segment."""
    if "vlan_name" not in segment.__dict__:
        segment.vlan_name = VLAN.objects.values_list("name", flat=True).get(pk=segment.vlan_id)
    return segment.vlan_name


@register_type(
    SegmentPool,
    exclude=["scope_type", "scope_id", "_location", "_region", "_site", "_site_group"],
    filters=SegmentPoolFilter,
    pagination=True,
    field_cls=RestrictedField,
)
class SegmentPoolType(ContactsMixin, PrimaryObjectType):
    vrf: VRFType | None
    vlan_group: VLANGroupType | None
    tenant: TenantType | None
    role: RoleType | None
    prefixes: list[PrefixType]
    dns_servers: list[str]
    segments: list[Annotated["SegmentType", strawberry.lazy("netbox_vlan_manager.graphql.types")]]
    allocations: list[Annotated["AllocationType", strawberry.lazy("netbox_vlan_manager.graphql.types")]]
    snapshots: list[Annotated["PoolSnapshotType", strawberry.lazy("netbox_vlan_manager.graphql.types")]]

    @strawberry_django.field(only=["name"])
    def display(self) -> str:
        return str(self)

    @strawberry_django.field(prefetch_related=_prefetch_scope, only=["scope_type", "scope_id"])
    def scope(
        self, info: Info
    ) -> (
        Annotated[
            LocationType | RegionType | SiteGroupType | SiteType,
            strawberry.union("SegmentPoolScopeType"),
        ]
        | None
    ):
        relation = self._meta.get_field("scope")
        if not relation.is_cached(self):
            scopes = self.scope_type.model_class().objects.restrict(info.context.request.user, "view")
            relation.set_cached_value(self, scopes.filter(pk=self.scope_id).first())
        return self.scope

    @strawberry_django.field(annotate=USAGE)
    def total_segments(self) -> int:
        return self.usage.total_segments

    @strawberry_django.field(annotate=USAGE)
    def allocated(self) -> int:
        return self.usage.allocated

    @strawberry_django.field(annotate=USAGE)
    def available(self) -> int:
        return self.usage.available

    @strawberry_django.field(annotate=USAGE)
    def quarantined(self) -> int:
        return self.usage.quarantined

    @strawberry_django.field(annotate=USAGE)
    def disabled(self) -> int:
        return self.usage.disabled

    @strawberry_django.field(annotate=USAGE, description="The share of segments that are allocated, in percent")
    def utilization(self) -> float:
        return self.usage.utilization


@register_type(
    Segment,
    exclude=["owns_vlan", "owns_prefix", "owns_ipv6_prefix", "gateway_ip_address", "ipv6_gateway_ip_address"],
    filters=SegmentFilter,
    pagination=True,
    field_cls=RestrictedField,
)
class SegmentType(ContactsMixin, PrimaryObjectType):
    pool: SegmentPoolType | None
    vlan: VLANType | None
    prefix: PrefixType | None
    ipv6_prefix: PrefixType | None
    gateway: str | None
    ipv6_gateway: str | None
    allocations: list[Annotated["AllocationType", strawberry.lazy("netbox_vlan_manager.graphql.types")]]

    @strawberry_django.field(annotate=EPG_NAME, only=["vid", "vlan_id"])
    def display(self) -> str:
        return f"{_get_epg_name(self)} ({self.vid})"

    @strawberry_django.field(annotate=EPG_NAME, only=["vlan_id"])
    def epg_name(self) -> str:
        return _get_epg_name(self)

    @strawberry_django.field(
        prefetch_related=_prefetch_active_allocations, description="The allocations that hold the segment now"
    )
    def active_allocations(
        self, info: Info
    ) -> list[Annotated["AllocationType", strawberry.lazy("netbox_vlan_manager.graphql.types")]]:
        if "held_by" not in self.__dict__:
            self.held_by = list(self.allocations.restrict(info.context.request.user, "view").active().order_by("pk"))
        return self.held_by


@register_type(
    Allocation,
    exclude=["expiry_warned", "places"],
    filters=AllocationFilter,
    pagination=True,
    field_cls=RestrictedField,
)
class AllocationType(ContactsMixin, PrimaryObjectType):
    pool: SegmentPoolType | None
    segment: SegmentType | None
    cluster: ClusterType | None
    allocated_by: UserType | None
    released_by: UserType | None
    prefix: str
    ipv6_prefix: str | None
    gateway: str | None
    ipv6_gateway: str | None

    @strawberry_django.field(only=["cluster_name", "epg_name", "vid"])
    def display(self) -> str:
        return str(self)

    @strawberry_django.field(only=["released_at", "expires_at"])
    def status(self) -> str:
        return self.status


@register_type(
    PoolSnapshot,
    fields="__all__",
    filters=PoolSnapshotFilter,
    pagination=True,
    field_cls=RestrictedField,
)
class PoolSnapshotType(BaseObjectType):
    pool: SegmentPoolType | None

    @classmethod
    def get_queryset(cls, queryset, info: Info, **kwargs):
        # A user who may view a pool may view its snapshots, without a permission on these.
        pools = SegmentPool.objects.restrict(info.context.request.user, "view")
        return queryset.filter(pool__in=pools.order_by().values("pk"))

    @strawberry_django.field(annotate={"name_of_pool": F("pool__name")}, only=["date"])
    def display(self) -> str:
        return f"{self.name_of_pool}, {self.date}"

    @strawberry_django.field(only=COUNTS, description="The share of segments that were allocated, in percent")
    def utilization(self) -> float:
        return self.usage.utilization
