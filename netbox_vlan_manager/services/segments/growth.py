"""Makes the next segment of a pool that grows, and counts how many segments a pool can still make."""

from dataclasses import replace
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from ipam.models import VLAN

from ...choices import AllocationOrderChoices
from ...exceptions import Busy
from ...models import SegmentPool
from ...validators import VID_MAX, VID_MIN
from . import provisioning
from .free_space import find_networks, find_vids
from .generation import GenerationRequest, length_errors, make_name, plan_specs, raise_first

__all__ = (
    "Growth",
    "grow_locked",
    "usage_with_growth",
)

# Among so many free VLAN IDs a pool that grows looks for one whose name is free too.
CANDIDATES = 20


class Growth(NamedTuple):
    """The Segment by which a pool has grown, or None and the reason, as text."""

    segment: object
    reason: str = ""


def grow_locked(pool, criteria):
    """
    Make the next segment of a pool that grows, in the caller's transaction.

    The caller holds `transactions.lock_spaces` for the pool's VRF and VLAN group.

    Args:
        pool: The SegmentPool.
        criteria: The SegmentCriteria of the request; its VLAN IDs and prefix length limit the new segment.

    Returns:
        Growth

    Raises:
        Busy: The pool was deleted, or has another VRF or VLAN group than the locks were taken for.
    """
    pool = _read(pool)
    if not pool.auto_grow or criteria.segment is not None:
        return Growth(None)
    if not _growth_left(pool, pool.segments.count()):
        return Growth(None, _("It has reached its growth limit of {limit} segments.").format(limit=pool.grow_limit))
    request = GenerationRequest(
        pool,
        count=1,
        vid_min=criteria.vid or criteria.vid_min or VID_MIN,
        vid_max=criteria.vid or criteria.vid_max or VID_MAX,
        prefix_length=criteria.prefix_length or pool.grow_prefix_length,
        ipv6_prefix_length=pool.grow_ipv6_prefix_length,
        epg_template=pool.epg_template,
    )
    highest = pool.allocation_order == AllocationOrderChoices.HIGHEST
    vids = find_vids(pool.vlan_group, request.vid_min, request.vid_max, CANDIDATES, highest)
    if not vids:
        return Growth(None, _("VLAN group {group} has no free VLAN ID for it.").format(group=pool.vlan_group))
    try:
        segment = _make_segment(request, vids)
    except ValidationError as error:
        return Growth(None, " ".join(error.messages))
    segment.is_grown = True
    return Growth(segment)


def _read(pool):
    """
    Return a SegmentPool as it is now, with its containers and the objects that new segments refer to.

    Raises:
        Busy: The pool was deleted, merged or moved before the caller had its locks.
    """
    pools = SegmentPool.objects.select_related("vrf", "vlan_group", "tenant", "role")
    now = pools.prefetch_related("prefixes").filter(pk=pool.pk).first()
    if now is None or (now.vrf_id, now.vlan_group_id) != (pool.vrf_id, pool.vlan_group_id):
        raise Busy
    return now


def _make_segment(request, vids):
    """
    Return the Segment that is made with the first of some free VLAN IDs whose name is free too.

    Raises:
        ValidationError: There is no network for it, or it cannot be made.
    """
    pool = request.pool
    if errors := length_errors(pool, request.prefix_length, request.ipv6_prefix_length):
        raise ValidationError(errors)
    specs = plan_specs(pool, _with_free_name(pool, vids, request.epg_template)[:1], request)
    (segment,), errors = provisioning.build_segments_locked(specs, pools_locked=True)
    raise_first(specs, errors)
    return segment


def _with_free_name(pool, vids, template):
    """Return the VLAN IDs whose name no VLAN of the group has; all of them if there is none."""
    names = {vid: make_name(pool, template, vid) for vid in vids}
    taken = VLAN.objects.filter(group=pool.vlan_group, name__in=names.values()).order_by()
    taken = set(taken.values_list("name", flat=True))
    return [vid for vid, name in names.items() if name not in taken] or vids


def _growth_left(pool, total):
    """Return by how many segments a pool with `total` of them may grow before it reaches its limit."""
    return max(pool.grow_limit - total, 0) if pool.grow_limit else VID_MAX


def usage_with_growth(usage, pool):
    """
    Return the SegmentUsage of a pool as if it had grown as far as it can.

    It takes three or four queries if the pool grows, and none if it does not.
    """
    count = _growth_left(pool, usage.total_segments) if pool.auto_grow else 0
    if count and length_errors(pool, pool.grow_prefix_length, pool.grow_ipv6_prefix_length):
        # The pool refuses to grow.
        count = 0
    if count:
        count = len(find_vids(pool.vlan_group, VID_MIN, VID_MAX, count))
    for length, version in ((pool.grow_prefix_length, None), (pool.grow_ipv6_prefix_length, 6)):
        if count and length:
            count = len(find_networks(pool, length, count, version))
    return replace(usage, total_segments=usage.total_segments + count, available=usage.available + count)
