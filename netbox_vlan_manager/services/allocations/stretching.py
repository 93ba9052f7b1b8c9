"""
The same VLAN ID at several sites at once: the lowest that is available in all of their pools, all of them or none.
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
from ..segments.growth import grow
from . import allocation
from .allocation import AllocationResult

__all__ = ("allocate_stretched",)

# How many VLAN IDs are tried when pools grow: most fail for a reason that has nothing to do with the ID.
GROWN_CANDIDATES = 5


def allocate_stretched(cluster_name, *, pools, user, vid=None, dry_run=False, places=None, **asked):
    """
    Return what a cluster holds in each of several pools, all with the same VLAN ID.

    Locks the cluster's key in the VRF and one segment row of each pool until the transaction ends.

    Args:
        cluster_name: Who asks.
        pools: The SegmentPools, two or more.
        places: {pool: {"places", "serves"}} as `allocation.locate` found those that were not named themselves.
        user: The User, or the user name, whom the change log names.
        vid: The VLAN ID; None for the lowest that is available in all the pools.
        dry_run: Say what would be allocated, and change nothing.
        asked: viewer, purpose, expires_at and the fields of new allocations, as `allocation.allocate` takes them.

    Returns:
        A list of AllocationResults, in the order of the pools. Where the cluster holds a segment in some of the pools,
        its VLAN ID is the one that it gets in the others.

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
        allocation.clean_request(cluster_name, pool=pool, vid=vid, **places.get(pool, {}), **asked) for pool in pools
    ]
    about = {"cluster": cluster_name, "pools": len(pools), "user": user}
    with operations.track("allocate_stretched", dry_run=dry_run, **about), audit.change_tracking(user):
        for request in requests:
            allocation.find_facts(request)
        audit.prepare(Allocation, requests[0].has_custom_fields)
        try:
            return allocation.run(partial(_allocate, requests, user), dry_run)
        except allocation.MustGrow:
            return allocation.run(partial(_allocate, requests, user, may_grow=True), dry_run)


def _allocate(requests, user, may_grow=False):
    transactions.lock_clusters([key for request in requests for key in allocation.lock_keys(request)])
    if may_grow:
        pools = [request.pool for request in requests if request.pool.auto_grow]
        transactions.lock_spaces([pool.vrf_id for pool in pools], [pool.vlan_group_id for pool in pools])
    held, ended = {}, []
    for request in requests:
        held[request.pool], over = allocation.find_or_end(request)
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
        allocation.check_open(request)
        allocation.check_limits(request)
    segments = _lock_segments(missing, [one.vid for one in ended], may_grow, *vids) if missing else {}
    results = []
    for request in requests:
        if held[request.pool]:
            results.append(AllocationResult(held[request.pool], created=False))
        else:
            results.append(AllocationResult(allocation.hand_over(segments[request.pool], request, user), created=True))
    return results


@operations.part("locks")
def _lock_segments(requests, ended, may_grow, vid=None):
    """
    Return {pool: Segment} with one VLAN ID for all requests, the rows locked.

    What the cluster had until now comes first, then what is available. What others hold is passed over. When nothing is
    left, pools that grow make segments, and at last the others are waited for, since one may roll back.

    Args:
        requests: AllocationRequests of a cluster that holds nothing in their pools.
        ended: VLAN IDs that the caller's transaction has released for the cluster.
        may_grow: Whether the locks that pools need to grow are had.
        vid: The VLAN ID that the cluster holds in other pools.
    """
    pools = {request.pool.pk: request.pool for request in sorted(requests, key=lambda request: request.pool.pk)}
    vid = requests[0].criteria.vid if vid is None else vid
    returning = quarantine.returning_segments(pools, requests[0].cluster_name, requests[0].purpose)
    own = dict(returning.values_list("pk", "vid"))
    for candidate in dict.fromkeys([*ended, *own.values()]):
        if vid in (None, candidate) and (found := _lock_vid(pools, candidate, own=own)):
            return found
    for pool in pools.values():
        quarantine.promote(pool)
    if found := _lock_lowest(pools, vid):
        return found
    # Where a pool has a cool-down, what is taken back is not to be had yet.
    over = Allocation.objects.filter(pool__in=[pk for pk, pool in pools.items() if not pool.cooldown])
    if allocation.end_overdue(over.filter(vid=vid) if vid else over) and (found := _lock_lowest(pools, vid)):
        return found
    reason = ""
    if any(pool.auto_grow for pool in pools.values()):
        if not may_grow:
            raise allocation.MustGrow
        found, reason = _grow(pools, vid)
        if found:
            return found
    transactions.set_lock_timeout(get_setting("last_segment_timeout" if vid is None else "lock_timeout"))
    for pool in pools.values():
        quarantine.promote(pool, skip_locked=False)
        allocation.take_back(pool, SegmentCriteria(vid=vid), skip_locked=False)
    if found := _lock_lowest(pools, vid, skip_locked=False):
        return found
    if SegmentPool.objects.filter(pk__in=pools).count() < len(pools):
        # Merged or deleted since they were found: the same call, made again, finds the pools that are there now.
        raise Busy
    if vid is None:
        raise PoolExhausted(requests[0].pool, _("one VLAN ID at all of these sites"), reason)
    text = _("VLAN ID {vid} is not available in each of these pools: ask for another, or for none.").format(vid=vid)
    raise VIDUnavailable(f"{text} {reason}".strip())


def _lock_lowest(pools, vid, skip_locked=True):
    """Lock and return {pool: Segment} with the lowest VLAN ID that is available in all `pools`, or `vid`; else None."""
    passed_over = []
    while (candidate := _lowest(pools, vid, passed_over)) is not None:
        if found := _lock_vid(pools, candidate, skip_locked):
            return found
        passed_over.append(candidate)
    return None


def _grow(pools, vid):
    """
    Let those of `pools` that grow make segments with the lowest VLAN ID, or `vid`, that they and the others have then.

    Returns:
        {pool: Segment}, the rows locked, or None; and why a pool could not grow, in words.
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
                    growth = grow(pool, SegmentCriteria(vid=candidate))
                    if not growth.segment:
                        reason = _("Pool {pool} cannot grow: {reason}").format(pool=pool, reason=growth.reason)
                        break
                    found[pool] = growth.segment
            if len(found) == len(pools):
                return found, ""
            transaction.set_rollback(True)
    return None, reason


def _lock_vid(pools, vid, skip_locked=True, own=()):
    """Lock and return {pool: Segment} with a VLAN ID in all `pools`; None, and nothing is locked, where one has not."""
    with transaction.atomic():
        found = _lock_available(pools, vid, skip_locked, own)
        if len(found) == len(pools):
            return found
        # Gives back the locks of the others.
        transaction.set_rollback(True)
    return None


def _lock_available(pools, vid, skip_locked=True, own=()):
    """Lock and return {pool: Segment} of what `pools` have available with a VLAN ID, quarantined ones of `own` too."""
    usable = Q(status=SegmentStatusChoices.AVAILABLE) | Q(pk__in=own, status=SegmentStatusChoices.QUARANTINED)
    segments = Segment.objects.filter(usable, pool__in=pools, vid=vid)
    # In the order of (pool, vid), as everybody locks segments.
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
