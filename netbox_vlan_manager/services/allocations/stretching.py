"""
Allocates the same VLAN ID at several sites in one call: the lowest that is available in all of their pools.
"""

from functools import partial

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Q
from django.utils.translation import gettext as _

from ...choices import SegmentStatusChoices
from ...exceptions import Busy, PoolExhausted, VIDUnavailable
from ...models import Allocation, Segment, SegmentPool
from ...settings import get_setting
from ...validators import VID_MAX, VID_MIN
from ..base import audit, operations, transactions
from ..segments import quarantine
from ..segments.criteria import SegmentCriteria
from ..segments.free_space import find_vids
from ..segments.growth import grow_locked
from .allocating import (
    AllocationResult,
    MustGrow,
    find_or_end_locked,
    lock_requests,
    run_growing,
    write_allocation_locked,
)
from .releasing import end_overdue_locked, take_back_locked
from .requests import AllocationRequest, check_limits_locked, check_open, look_up_cluster

__all__ = ("allocate_stretched",)

# How many VLAN IDs are tried when pools grow: most failures have a reason that is the same for all IDs.
GROWN_CANDIDATES = 5


def allocate_stretched(cluster_name, *, pools, user, vid=None, dry_run=False, places=None, **asked):
    """
    Return what a cluster holds in each of several pools, all with the same VLAN ID.

    Locks the cluster's key in the VRF and one segment row of each pool until the transaction ends.

    Args:
        cluster_name: The cluster that asks.
        pools: The SegmentPools, two or more.
        places: {pool: {"places", "serves"}}, as `requests.locate` found the pools that the caller did not name.
        user: The User, or the user name, that the change log names.
        vid: The VLAN ID; None for the lowest that is available in all the pools.
        dry_run: Return what would be allocated, and change nothing.
        asked: `viewer`, `purpose`, `expires_at` and the fields of new allocations, as `allocate` takes them.

    Returns:
        A list of AllocationResults, in the order of the pools. If the cluster holds a segment in some of the pools, it
        gets that segment's VLAN ID in the others.

    Raises:
        ValidationError: A value is not valid, or two of the pools are one.
        PoolPaused: One of the pools makes no new allocations.
        PoolExhausted: No VLAN ID is available in all of them.
        VIDUnavailable: The VLAN ID is not available in one of them, or the cluster holds different ones.
        LimitReached: The cluster or its tenant holds as many segments as one of the pools allows.
        Busy: Locks were not had in time, or one of the pools was merged or deleted; nothing was changed.
    """
    if len(pools) < 2 or len(set(pools)) < len(pools):
        raise ValidationError({"sites": _("Name two or more sites, each with a pool of its own.")})
    user = audit.get_user(user)
    places = places or {}
    requests = [
        AllocationRequest.clean(cluster_name, pool=pool, vid=vid, **places.get(pool, {}), **asked) for pool in pools
    ]
    about = {"cluster": cluster_name, "pools": len(pools), "user": user}
    with operations.track("allocate_stretched", dry_run=dry_run, **about), audit.change_tracking(user):
        requests = [look_up_cluster(request) for request in requests]
        audit.prepare(Allocation, requests[0].has_custom_fields)
        return run_growing(partial(_allocate_locked, requests, user), dry_run)


def _allocate_locked(requests, user, may_grow=False):
    lock_requests(requests, may_grow)
    held, ended = {}, []
    for request in requests:
        held[request.pool], over = find_or_end_locked(request)
        ended += over
    vids = {one.vid for one in held.values() if one}
    if len(vids) > 1:
        raise VIDUnavailable(
            _(
                "Cluster {cluster} holds different VLAN IDs in these pools, {vids}: release one, or give a purpose."
            ).format(cluster=requests[0].cluster_name, vids=", ".join(map(str, sorted(vids))))
        )
    missing = [request for request in requests if not held[request.pool]]
    for request in missing:
        check_open(request)
        check_limits_locked(request)
    segments = _lock_segments(missing, [one.vid for one in ended], may_grow, *vids) if missing else {}
    results = []
    for request in requests:
        if held[request.pool]:
            results.append(AllocationResult(held[request.pool], created=False))
        else:
            results.append(
                AllocationResult(write_allocation_locked(segments[request.pool], request, user), created=True)
            )
    return results


@operations.part("locks")
def _lock_segments(requests, ended, may_grow, vid=None):
    """
    Return {pool: Segment} with one VLAN ID for all requests, the rows locked.

    The VLAN IDs that the cluster had until now come first, then those that are available. Rows that other transactions
    hold are passed over. When no VLAN ID is left, pools that grow make segments. Last, this waits for the held rows,
    since one of those transactions may roll back.

    Args:
        requests: AllocationRequests of a cluster that holds nothing in their pools.
        ended: VLAN IDs that the caller's transaction has released for the cluster.
        may_grow: Whether the caller has taken the locks that pools need to grow.
        vid: The VLAN ID that the cluster holds in other pools.
    """
    pools = {request.pool.pk: request.pool for request in sorted(requests, key=lambda request: request.pool.pk)}
    vid = requests[0].criteria.vid if vid is None else vid
    if found := _lock_own(pools, requests[0], ended, vid) or _lock_unheld(pools, vid):
        return found
    reason = ""
    if any(pool.auto_grow for pool in pools.values()):
        if not may_grow:
            raise MustGrow
        found, reason = _grow_locked(pools, vid)
        if found:
            return found
    if found := _wait_for_segments(pools, vid):
        return found
    if SegmentPool.objects.filter(pk__in=pools).count() < len(pools):
        # Merged or deleted since they were found: the same call, made again, finds the pools that are there now.
        raise Busy
    if vid is None:
        raise PoolExhausted(requests[0].pool, _("one VLAN ID at all of these sites"), reason)
    text = _("VLAN ID {vid} is not available in each of these pools: ask for another, or for none.").format(vid=vid)
    raise VIDUnavailable(f"{text} {reason}".strip())


def _lock_own(pools, request, ended, vid):
    """Lock and return {pool: Segment} with a VLAN ID that the cluster had until now, or None."""
    returning = quarantine.returning_segments(pools, request.cluster_name, request.purpose)
    own = dict(returning.values_list("pk", "vid"))
    for candidate in dict.fromkeys([*ended, *own.values()]):
        if vid in (None, candidate) and (found := _lock_vid(pools, candidate, own=own)):
            return found
    return None


def _lock_unheld(pools, vid):
    """Lock and return {pool: Segment} that are available, or whose holders' time is over; None if there are none."""
    for pool in pools.values():
        quarantine.promote_locked(pool)
    if found := _lock_lowest(pools, vid):
        return found
    # A pool with a cool-down would quarantine the segments that it takes back.
    over = Allocation.objects.filter(pool__in=[pk for pk, pool in pools.items() if not pool.cooldown])
    return _lock_lowest(pools, vid) if end_overdue_locked(over.filter(vid=vid) if vid else over) else None


def _wait_for_segments(pools, vid):
    """Lock and return {pool: Segment}, waiting for rows that other transactions hold; None if there are none."""
    transactions.set_lock_timeout(get_setting("last_segment_timeout" if vid is None else "lock_timeout"))
    for pool in pools.values():
        quarantine.promote_locked(pool, skip_locked=False)
        take_back_locked(pool, SegmentCriteria(vid=vid), skip_locked=False)
    return _lock_lowest(pools, vid, skip_locked=False)


def _lock_lowest(pools, vid, skip_locked=True):
    """Lock and return {pool: Segment} with the lowest VLAN ID that is available in all `pools`, or `vid`; else None."""
    passed_over = []
    while (candidate := _lowest(pools, vid, passed_over)) is not None:
        if found := _lock_vid(pools, candidate, skip_locked):
            return found
        passed_over.append(candidate)
    return None


def _grow_locked(pools, vid):
    """
    Make segments in those of `pools` that grow, with the lowest VLAN ID (or `vid`) that all pools have then.

    Returns:
        {pool: Segment}, the rows locked, or None; and a text that says why a pool could not grow.
    """
    candidates = None
    for pool in pools.values():
        available = Segment.objects.filter(pool=pool, status=SegmentStatusChoices.AVAILABLE).order_by()
        vids = set(available.values_list("vid", flat=True))
        if pool.auto_grow:
            vids.update(find_vids(pool.vlan_group, vid or VID_MIN, vid or VID_MAX, VID_MAX))
        candidates = vids if candidates is None else candidates & vids
    reason = ""
    for candidate in sorted(candidates)[:GROWN_CANDIDATES] if vid is None else candidates & {vid}:
        with transaction.atomic():
            found = _lock_available(pools, candidate)
            for pool in pools.values():
                if pool not in found:
                    growth = grow_locked(pool, SegmentCriteria(vid=candidate))
                    if not growth.segment:
                        reason = _("Pool {pool} cannot grow: {reason}").format(pool=pool, reason=growth.reason)
                        break
                    found[pool] = growth.segment
            if len(found) == len(pools):
                return found, ""
            transaction.set_rollback(True)
    return None, reason


def _lock_vid(pools, vid, skip_locked=True, own=()):
    """Lock and return {pool: Segment} with a VLAN ID in all `pools`; None, and no row locked, where one lacks it."""
    with transaction.atomic():
        found = _lock_available(pools, vid, skip_locked, own)
        if len(found) == len(pools):
            return found
        # Releases the locks of the rows that were found.
        transaction.set_rollback(True)
    return None


def _lock_available(pools, vid, skip_locked=True, own=()):
    """
    Lock and return {pool: Segment} of the available segments with a VLAN ID.

    Quarantined ones count too if they are in `own`, {id of the segment: VLAN ID}.
    """
    usable = Q(status=SegmentStatusChoices.AVAILABLE) | Q(pk__in=own, status=SegmentStatusChoices.QUARANTINED)
    segments = Segment.objects.filter(usable, pool__in=pools, vid=vid)
    # All callers lock segments in the order of (pool, vid).
    rows = segments.select_for_update(no_key=True, skip_locked=skip_locked).order_by("pool_id")
    pks = list(rows.values_list("pk", flat=True))
    # Read after the rows are locked: transactions that held them may have changed their VLANs or prefixes.
    segments = Segment.objects.filter(pk__in=pks).select_related("vlan", "prefix", "ipv6_prefix").order_by()
    found = {pools[segment.pool_id]: segment for segment in segments}
    for pool, segment in found.items():
        segment.pool = pool
    return found


def _lowest(pools, vid, passed_over):
    """Return the lowest VLAN ID that is available in all `pools`, or None."""
    segments = Segment.objects.filter(pool__in=pools, status=SegmentStatusChoices.AVAILABLE)
    if vid is not None:
        segments = segments.filter(vid=vid)
    shared = segments.exclude(vid__in=passed_over).values("vid").annotate(pools=Count("pk")).filter(pools=len(pools))
    return shared.order_by("vid").values_list("vid", flat=True).first()
