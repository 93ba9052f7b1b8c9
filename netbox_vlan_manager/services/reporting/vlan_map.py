"""The VLAN map: the use of every VLAN ID of a pool's L2 space."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from ipam.models import VLAN
from utilities.data import get_inclusive_integer_range_bounds

from ...models import Allocation, Segment

__all__ = (
    "TAKEN",
    "UNUSED",
    "VLANCell",
    "VLANMap",
    "vlan_map",
)

# States of a VLAN ID besides the statuses of segments: no VLAN has it; or a VLAN that is no segment of the pool has it,
# or a VLAN that the user may not view.
UNUSED = "unused"
TAKEN = "taken"


class VLANCell(NamedTuple):
    """
    One VLAN ID.

    `segment` and `vlan` are ids, `name` is the EPG name of the segment, or else the name of the VLAN. A value is None
    if it does not exist or the user may not view it.
    """

    vid: int
    status: str
    segment: int | None = None
    vlan: int | None = None
    prefix: object = None
    ipv6_prefix: object = None
    name: str | None = None
    cluster_name: str | None = None


@dataclass(frozen=True)
class VLANMap:
    """The VLANCells of a pool's L2 space, by VLAN ID."""

    cells: list[VLANCell]

    @property
    def counts(self):
        """Return how many VLAN IDs have which status, {status: count}."""
        return Counter(cell.status for cell in self.cells)


def vlan_map(pool, user):
    """
    Return the VLANMap of `pool`, as far as `user` may view it; four queries, and one for the pool's VLAN group.

    It has the VLAN IDs in the group's ranges, and those of the pool's segments outside the ranges. Every user who may
    view the pool sees that a VLAN ID is taken; only users who may view the VLAN or segment see what takes it.
    """
    group = pool.vlan_group
    in_group = VLAN.objects.filter(group=group).order_by()
    taken = set(in_group.values_list("vid", flat=True))
    cells = {
        vid: VLANCell(vid, TAKEN, vlan=vlan, name=name)
        for vid, vlan, name in in_group.restrict(user, "view").values_list("vid", "pk", "name")
    }
    clusters = dict(
        Allocation.objects.restrict(user, "view")
        .active()
        .filter(pool=pool)
        .order_by()
        .values_list("segment", "cluster_name")
    )
    segments = Segment.objects.restrict(user, "view").filter(vlan__group=group).order_by()
    own = set()
    for vid, segment, pool_id, status, name, prefix, ipv6_prefix in segments.values_list(
        "vid", "pk", "pool", "status", "vlan__name", "prefix__prefix", "ipv6_prefix__prefix"
    ):
        is_own = pool_id == pool.pk
        cells[vid] = VLANCell(
            vid,
            status if is_own else TAKEN,
            segment=segment,
            prefix=prefix,
            ipv6_prefix=ipv6_prefix,
            name=name,
            cluster_name=clusters.get(segment),
        )
        if is_own:
            own.add(vid)
    return VLANMap(
        [
            cells.get(vid) or VLANCell(vid, TAKEN if vid in taken else UNUSED)
            for vid in sorted(own.union(*map(_vids, group.vid_ranges)))
        ]
    )


def _vids(vid_range):
    """Return the VLAN IDs of one of a VLAN group's ranges."""
    first, last = get_inclusive_integer_range_bounds(vid_range)
    return range(first, last + 1)
