"""
The same VLAN ID at several sites at once: the lowest that is available in all of their pools, all of them or none.
"""

from functools import partial

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count
from django.utils.translation import gettext as _

from ..choices import SegmentPoolStatusChoices, SegmentStatusChoices
from ..exceptions import PoolExhausted, PoolPaused, VIDUnavailable
from ..models import Allocation, Segment
from ..settings import get_setting
from . import allocation, audit, quarantine, timing, transactions
from .allocation import AllocationResult

__all__ = ("allocate_stretched",)


def allocate_stretched(cluster_name, *, pools, user, vid=None, dry_run=False, **asked):
    """
    Return what a cluster holds in each of several pools, all with the same VLAN ID.

    Locks the cluster's key in each pool and one segment row of each until the transaction ends.

    Args:
        cluster_name: Who asks.
        pools: The SegmentPools, two or more.
        user: The User, or the user name, whom the change log names.
        vid: The VLAN ID; None for the lowest that is available in all the pools.
        dry_run: Say what would be allocated, and change nothing.
        asked: purpose, expires_at and the fields of new allocations, as `allocation.allocate` takes them.

    Returns:
        A list of AllocationResults, in the order of the pools. Where the cluster holds a segment in some of the pools,
        its VLAN ID is the one that it gets in the others.

    Raises:
        ValidationError: A value is not valid, or two of the pools are one.
        PoolPaused: One of the pools makes no new allocations.
        PoolExhausted: No VLAN ID is available in all of them.
        VIDUnavailable: The VLAN ID is not available in one of them, or the cluster holds different ones.
        LimitReached: The cluster or its tenant holds as many segments as one of the pools allows.
        Busy: Locks were not had in time; nothing was changed.
    """
    if len(pools) < 2 or len(set(pools)) < len(pools):
        raise ValidationError({"sites": _("Name two or more sites, each with a pool of its own.")})
    user = audit.get_user(user)
    requests = [allocation.clean_request(cluster_name, pool=pool, vid=vid, **asked) for pool in pools]
    about = {"cluster": cluster_name, "pools": len(pools), "user": user}
    with timing.operation("allocate_stretched", dry_run=dry_run, **about), audit.change_tracking(user):
        for request in requests:
            allocation.find_facts(request)
        audit.prepare(Allocation, requests[0].has_custom_fields)
        return allocation.run(partial(_allocate, requests, user), dry_run)


def _allocate(requests, user):
    transactions.lock_clusters([key for request in requests for key in allocation.lock_keys(request)])
    held = {request.pool: allocation.find_held(request) for request in requests}
    vids = {one.vid for one in held.values() if one}
    if len(vids) > 1:
        raise VIDUnavailable(
            _(
                "Cluster {cluster} holds different VLAN IDs in these pools, {vids}: release one, or give a purpose."
            ).format(cluster=requests[0].cluster_name, vids=", ".join(map(str, sorted(vids))))
        )
    missing = [request for request in requests if not held[request.pool]]
    for request in missing:
        if request.pool.status != SegmentPoolStatusChoices.ACTIVE:
            raise PoolPaused(request.pool)
        allocation.check_limits(request)
    segments = _lock_segments(missing, *vids) if missing else {}
    results = []
    for request in requests:
        if held[request.pool]:
            results.append(AllocationResult(held[request.pool], created=False))
        else:
            results.append(AllocationResult(allocation.hand_over(segments[request.pool], request, user), created=True))
    return results


@timing.part("locks")
def _lock_segments(requests, vid=None):
    """
    Return {pool: Segment} with one VLAN ID for all requests, the rows locked.

    First what others hold is passed over; when nothing is left, they are waited for, since one may roll back.
    """
    pools = {request.pool.pk: request.pool for request in sorted(requests, key=lambda request: request.pool.pk)}
    vid = requests[0].wish.vid if vid is None else vid
    for skip_locked in (True, False) if vid is None else (False,):
        if not skip_locked:
            transactions.set_lock_timeout(get_setting("last_segment_timeout" if vid is None else "lock_timeout"))
        for pool in pools.values():
            quarantine.promote(pool, skip_locked)
        passed_over = []
        while (candidate := _lowest(pools, vid, passed_over)) is not None:
            if found := _lock_vid(pools, candidate, skip_locked):
                return found
            passed_over.append(candidate)
    if vid is None:
        raise PoolExhausted(requests[0].pool, _("one VLAN ID at all of these sites"))
    raise VIDUnavailable(
        _("VLAN ID {vid} is not available in each of these pools: ask for another, or for none.").format(vid=vid)
    )


def _lock_vid(pools, vid, skip_locked):
    """Lock and return {pool: Segment} with a VLAN ID in all `pools`; None, and nothing is locked, where one has not."""
    with transaction.atomic():
        available = Segment.objects.filter(pool__in=pools, vid=vid, status=SegmentStatusChoices.AVAILABLE)
        # In the order of (pool, vid), as everybody locks segments.
        rows = available.select_for_update(no_key=True, skip_locked=skip_locked).order_by("pool_id")
        pks = list(rows.values_list("pk", flat=True))
        if len(pks) < len(pools):
            # Gives back the locks of the others.
            transaction.set_rollback(True)
            return None
    # Read once the rows are locked: whoever held them may have changed their VLANs or prefixes.
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
