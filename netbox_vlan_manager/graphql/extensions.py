"""
Adds pools, segments and allocations to NetBox's own GraphQL types and filters.

NetBox imports this module while it starts, so it must not import NetBox's own GraphQL modules. The plugin's types are
named as text for the same reason.
"""

from typing import TYPE_CHECKING, Annotated

import strawberry

from .. import wings
from ..models import Allocation, Segment, SegmentPool
from .restriction import RestrictedField, related_filter

if TYPE_CHECKING:
    from .filters import AllocationFilter, SegmentFilter, SegmentPoolFilter
    from .types import AllocationType, SegmentPoolType, SegmentType

__all__ = (
    "filter_extensions",
    "type_extensions",
)

TYPES = strawberry.lazy("netbox_vlan_manager.graphql.types")
FILTERS = strawberry.lazy("netbox_vlan_manager.graphql.filters")


@strawberry.type
class SegmentPoolsOfObject:
    models = ["ipam.prefix", "ipam.role", "ipam.vlangroup", "ipam.vrf", "tenancy.tenant"]

    segment_pools: list[Annotated["SegmentPoolType", TYPES]]


@strawberry.type
class SegmentOfObject:
    models = ["ipam.prefix", "ipam.vlan"]

    segment: Annotated["SegmentType", TYPES] | None = RestrictedField()


@strawberry.type
class IPv6SegmentOfPrefix:
    models = ["ipam.prefix"]

    ipv6_segment: Annotated["SegmentType", TYPES] | None = RestrictedField()


@strawberry.type
class AllocationsOfCluster:
    models = ["virtualization.cluster"]

    allocations: list[Annotated["AllocationType", TYPES]]


@strawberry.type
class SegmentFilterOfVLAN:
    models = ["ipam.vlan"]

    segment = related_filter(Segment, Annotated["SegmentFilter", FILTERS], "pk", remote="vlan")


@strawberry.type
class SegmentFilterOfPrefix:
    models = ["ipam.prefix"]

    segment = related_filter(Segment, Annotated["SegmentFilter", FILTERS], "pk", remote="prefix")


@strawberry.type
class SegmentPoolsFilterOfVRF:
    models = ["ipam.vrf"]

    segment_pools = related_filter(SegmentPool, Annotated["SegmentPoolFilter", FILTERS], "pk", remote="vrf")


@strawberry.type
class AllocationsFilterOfCluster:
    models = ["virtualization.cluster"]

    allocations = related_filter(Allocation, Annotated["AllocationFilter", FILTERS], "pk", remote="cluster")


type_extensions = [
    SegmentPoolsOfObject,
    SegmentOfObject,
    IPv6SegmentOfPrefix,
    AllocationsOfCluster,
    *wings.collect("graphql.extensions.type_extensions"),
]
filter_extensions = [
    SegmentFilterOfVLAN,
    SegmentFilterOfPrefix,
    SegmentPoolsFilterOfVRF,
    AllocationsFilterOfCluster,
    *wings.collect("graphql.extensions.filter_extensions"),
]
