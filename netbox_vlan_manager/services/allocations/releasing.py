"""
Ends allocations: at a caller's request, or because their time is over.

A call that meets an allocation whose time is over by the database's clock releases it as expired. Callers check the
permission to release; only where another pool than the named one holds the segment, `viewer` must be permitted to
release from it.
"""

from datetime import timedelta
from functools import partial
from typing import NamedTuple

from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.translation import gettext as _

from ... import metrics
from ...choices import ReleaseInUseChoices, ReleaseReasonChoices, SegmentStatusChoices
from ...events import EXPIRED, RELEASED
from ...exceptions import AllocationNotFound, SegmentInUse
from ...models import Allocation, Segment
from ...validators import ClusterName, clean_purpose
from ..base import audit, hooks, operations, transactions
from ..base.prepared_queries import fetch_rows, placeholder
from ..segments.criteria import matching
from ..segments.guards import disabling
from ..segments.prefix_status import prefix_status
from ..segments.usage import status_reasons
from . import releases
from .recording import prefix_updates
from .requests import HAS_ENDED, AllocationRequest, find_held, locate, lock_key

__all__ = (
    "ReleaseResult",
    "end_overdue_locked",
    "ending",
    "find_allocation",
    "lock_segment_of",
    "read_locked",
    "release",
    "release_allocation",
    "release_locked",
    "take_back_locked",
)

# The id of the pool in a prepared query.
PK = placeholder("pool", "bigint")

# How many allocations whose time is over one transaction ends.
BATCH_SIZE = 200


class ReleaseResult(NamedTuple):
    """`released` is False when the allocation had been released before."""

    allocation: Allocation
    released: bool


def release(cluster_name, *, user, **where):
    """
    End the allocation that a cluster holds in a pool, or for a place.

    Locks the cluster's key in the VRF and the segment row until the transaction ends.

    Args:
        cluster_name: The cluster that holds the segment; trimmed, compared without case.
        user: The User, or the user name, that the change log names.
        where: `pool`, the SegmentPool, or `site` and `vrf`, for which it is found (see `locate`); `places`, as `locate`
            found them; `viewer`, whose permissions count in another pool that holds (see AllocationRequest); `purpose`.

    Returns:
        ReleaseResult

    Raises:
        ValidationError: A value is not valid.
        PoolNotFound, AmbiguousPool: `site` and `vrf` name no pool, or several.
        PermissionDenied: The cluster holds its segment in another pool, which the viewer may see and not release from.
        AllocationNotFound: The cluster holds no segment of the pool, or for the place, for this purpose.
        SegmentInUse: NetBox objects use the segment, and the pool refuses to release it then.
        Busy: Locks were not had in time; nothing was changed.
    """
    return release_allocation(find_allocation(cluster_name, **where), user=user)


def find_allocation(cluster_name, *, pool=None, site=None, vrf=None, purpose="", **seen):
    """
    Return the active Allocation that a cluster holds in a pool.

    Args:
        cluster_name, pool, site, vrf, purpose: As `allocate` takes them.
        seen: `places`, as `locate` found them, and `viewer`.

    Raises:
        ValidationError: A value is not valid.
        PoolNotFound, AmbiguousPool: `site` and `vrf` name no pool, or several.
        PermissionDenied: The cluster holds its segment in another pool, which the viewer may see and not release from.
        AllocationNotFound: The cluster holds no segment of the pool, or for the place, for this purpose.
    """
    cluster_name = str(ClusterName.clean(cluster_name))
    purpose = clean_purpose(purpose)
    if pool is None:
        resolved = locate(cluster_name, site, vrf, purpose=purpose, viewer=seen.get("viewer"))
        pool, seen["places"] = resolved.pool, resolved.places
    held = find_held(AllocationRequest(pool, cluster_name, purpose, action="release", **seen))
    if held is None:
        raise AllocationNotFound(cluster_name, pool)
    return held


def release_allocation(
    allocation,
    *,
    user,
    changelog_message="",
    reason=ReleaseReasonChoices.RELEASED,
    if_due=False,
    dry_run=False,
):
    """
    End `allocation`; one that was released already stays as it is. One whose time is over ends as expired.

    Locks the cluster's key in the VRF and the segment's row until the transaction ends. The segment is available
    again, or quarantined for the pool's cool-down; one that other clusters share stays theirs. If NetBox objects still
    use it, the pool's `release_in_use` may quarantine it until a user ends that, or refuse the release. An expired
    lease is never refused: its segment is quarantined.

    Args:
        allocation: The Allocation.
        user: The User, or the user name, that the change log names; None for the system.
        changelog_message: The reason, for the change log of the allocation.
        reason: One of ReleaseReasonChoices.
        if_due: Release it only if its time is over, by what the row says once it is locked.
        dry_run: Return what would happen, and change nothing.

    Returns:
        ReleaseResult, whose allocation is the row as it is now, or would be.

    Raises:
        SegmentInUse: NetBox objects use the segment, and the pool refuses to release it then.
        Busy: Locks were not had in time; nothing was changed.
    """
    if allocation.released_at is not None:
        return ReleaseResult(allocation, released=False)
    about = {"cluster": allocation.cluster_name, "pool": allocation.pool_name, "vid": allocation.vid, "user": user}
    with operations.track("release", dry_run=dry_run, **about, reason=reason) as operation:
        user = audit.get_user(user)
        use = releases.find_use_that_matters(allocation.pool, allocation.segment_id, user)
        with audit.change_tracking(user):
            work = partial(release_locked, allocation, user, changelog_message, reason, if_due, use)
            result = transactions.run(work, dry_run)
        operation.outcome = "released" if result.released else "replayed"
        return result


def release_locked(
    allocation, user, changelog_message="", reason=ReleaseReasonChoices.RELEASED, if_due=False, use=None
):
    """
    Release an allocation in the caller's transaction, as `release_allocation` does.

    Locks the cluster's key in the VRF and the segment's row. `use` is what `releases.find_use_that_matters` found
    before the locks; where it is None, that is asked here.
    """
    transactions.lock_clusters([lock_key(allocation)])
    return _end_locked(allocation, user, changelog_message, reason, if_due, use)


def _end_locked(allocation, user, changelog_message, reason, if_due, use=None):
    """Release an allocation whose cluster's key the caller has locked, or whose time is over; locks the segment."""
    segment = lock_segment_of(allocation)
    allocation = read_locked(allocation)
    now = timezone.now()
    if allocation.released_at is not None or (if_due and not allocation.has_ended):
        return ReleaseResult(allocation, released=False)
    if allocation.has_ended:
        user, reason = None, ReleaseReasonChoices.EXPIRED
    allocation.segment = segment
    allocation.pool = pool = segment.pool
    allocation._changelog_message = changelog_message
    # If the clock went back, the release has the time of the allocation.
    released_at = max(now, allocation.allocated_at)
    updates = [(allocation, ending(pool, released_at, user, reason))]
    if not allocation.others_hold:
        if use is None:
            use = releases.find_use_that_matters(pool, segment.pk, user)
        if use and pool.release_in_use == ReleaseInUseChoices.REFUSE and reason != ReleaseReasonChoices.EXPIRED:
            raise _in_use(allocation, use)
        freed = _freed(segment, released_at, use or hooks.find_vetoes(hooks.REUSE, [segment.pk]))
        updates += [(segment, freed), *prefix_updates(segment, prefix_status(pool, freed["status"]))]
    event = EXPIRED if reason == ReleaseReasonChoices.EXPIRED else RELEASED
    audit.write(updates=updates, events=[(allocation, event)])
    hooks.send(hooks.segments_released, [segment.pk])
    metrics.count_release(pool, reason)
    return ReleaseResult(allocation, released=True)


def ending(pool, released_at, user, reason):
    """Return {field: value} of an allocation that ends at `released_at`."""
    return {
        "released_at": released_at,
        "released_by": user,
        "release_reason": reason,
        # An active allocation follows its VLAN and prefix at once, but a new name of its pool or VRF only here.
        "pool_name": pool.name,
        "vrf_name": pool.vrf.name,
    }


@operations.part("locks")
def lock_segment_of(allocation):
    """Lock and return the Segment of an allocation, with its pool, VLAN and prefixes; None where it has none."""
    segments = Segment.objects.select_related("vlan", "prefix", "ipv6_prefix", "pool__vrf").order_by()
    held = segments.select_for_update(no_key=True, of=("self",)).filter(allocations=allocation.pk)
    segment = held.first()
    if segment is None:
        # The segment went over to another pool while this waited for its row: PostgreSQL compares the row with the
        # pool that the statement joined, and finds none. The next statement sees the new pool.
        segment = held.first()
    return segment


def read_locked(allocation):
    """
    Return an allocation, the row of whose segment the caller has locked, as it is now.

    It has `has_ended`, and `others_hold`: whether other allocations hold its segment.
    """
    others = Allocation.objects.unreleased().filter(segment=OuterRef("segment")).exclude(pk=OuterRef("pk"))
    allocations = Allocation.objects.select_related("allocated_by")
    return allocations.annotate(others_hold=Exists(others), has_ended=HAS_ENDED).get(pk=allocation.pk)


def _in_use(allocation, use):
    return SegmentInUse(
        _(
            "{allocation} is not released: its segment is still used by {use}. Remove these first, or "
            "change “Release while in use” of the pool."
        ).format(allocation=allocation, use=use)
    )


def _freed(segment, released_at, held_back):
    """
    Return {field: value} of a segment that no cluster holds any more.

    Args:
        segment: The Segment, with its pool and VLAN.
        released_at: When its last cluster released it.
        held_back: What keeps it from other clusters until somebody ends that: a usage.Use or vetoes, if any.
    """
    if reasons := status_reasons(segment.vlan, ()):
        # Its VLAN was reserved or deprecated while it was held: it is not handed out, not after a cool-down either.
        return {**disabling(segment, ", ".join(reasons)), "last_released_at": released_at}
    if held_back:
        # Without an end: it is not known when the segment stops being used.
        return {"status": SegmentStatusChoices.QUARANTINED, "last_released_at": released_at}
    if segment.pool.cooldown:
        return {
            "status": SegmentStatusChoices.QUARANTINED,
            "last_released_at": released_at,
            "quarantined_until": released_at + timedelta(seconds=segment.pool.cooldown),
        }
    return {"status": SegmentStatusChoices.AVAILABLE, "last_released_at": released_at}


def take_back_locked(pool, criteria, skip_locked=True):
    """
    Release one segment of `pool` that meets `criteria` and whose holders' time is over, so that another cluster gets
    it; return whether one was released.

    Runs in the caller's transaction. The lock of the segment's row is enough: allocating, releasing, renewing and
    sharing take it too. A pool with a cool-down takes none back, since the segment would be quarantined.

    Args:
        pool: The SegmentPool.
        criteria: A SegmentCriteria.
        skip_locked: Whether to pass over rows that other transactions hold, or to wait for them.
    """
    if pool.cooldown or not fetch_rows(_overdue_query, {PK: pool.pk}):
        return False
    held = Allocation.objects.active().filter(segment=OuterRef("pk"))
    # The index of expiries finds these: few are over, whereas a pool may have allocated thousands.
    over = Allocation.objects.overdue().order_by().values("segment")
    segments = Segment.objects.filter(
        matching(criteria), ~Exists(held), pk__in=over, pool=pool, status=SegmentStatusChoices.ALLOCATED
    )
    locked = segments.select_for_update(no_key=True, skip_locked=skip_locked, of=("self",)).order_by("vid")
    first = list(locked.values_list("pk", flat=True)[:1])
    return bool(end_overdue_locked(Allocation.objects.filter(segment__in=first)))


def _overdue_query():
    # Most pools have no allocation whose time is over; this query says so much faster than one that locks a row.
    return Allocation.objects.overdue().filter(segment__pool=PK).order_by().values_list("pk")[:1]


def end_overdue_locked(allocations):
    """
    Release those of `allocations`, a queryset, whose time is over, up to 200 of them; return how many.

    Runs in the caller's transaction. Locks their segments' rows, which is enough (see `take_back_locked`).
    """
    over = allocations.overdue().order_by("pool", "vid", "pk")[:BATCH_SIZE]
    return sum(_end_locked(one, None, "", ReleaseReasonChoices.EXPIRED, if_due=True).released for one in over)
