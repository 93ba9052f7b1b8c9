"""
Allocates segments: one call returns the segment that a cluster holds, or gives it the first available one.

A cluster gets one segment of a pool for each purpose, and the same segment when it asks again. Two clusters hold one
segment only where it was shared with both. The database enforces both rules (partial unique indexes, and a trigger that
ties a segment's status to its allocations). With the locks of this module, concurrent callers do not meet these rules
as errors.
"""

from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from django.core.exceptions import PermissionDenied, ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from ... import metrics
from ...choices import ReleaseInUseChoices, SegmentStatusChoices
from ...events import ALLOCATED
from ...exceptions import Busy, PoolExhausted, PoolNotFound, PoolPaused, VIDUnavailable, VLANManagerError
from ...models import Allocation, Segment, SegmentPool
from ...settings import get_setting
from ...validators import ClusterName
from ..base import audit, custom_fields, hooks, operations, transactions
from ..base.locators import locate_pools, locators_in
from ..base.places import place_key
from ..base.prepared_queries import fetch_object, placeholder
from ..base.resolution import usable_pools
from ..reporting import thresholds
from ..segments import quarantine
from ..segments.criteria import available_segments, lock_first
from ..segments.growth import Growth, grow_locked
from ..segments.prefix_status import status_when_allocated
from ..segments.unmigrated import check_cluster
from .recording import prefix_updates
from .releasing import release_locked, take_back_locked
from .requests import (
    AllocationRequest,
    check_limits_locked,
    check_open,
    check_request_limits,
    choose_held,
    fetch_held,
    find_held,
    locate,
    lock_keys,
    look_up_cluster,
    new_places,
)

__all__ = (
    "AllocationResult",
    "MustGrow",
    "allocate",
    "allocate_many",
    "available_segments",
    "find_or_end_locked",
    "lock_requests",
    "run",
    "run_growing",
    "write_allocation_locked",
)

# The id of the segment in a prepared query.
PK = placeholder("segment", "bigint")


class AllocationResult(NamedTuple):
    """`created` is False when the cluster held the segment already."""

    allocation: Allocation
    created: bool

    @property
    def outcome(self):
        """Return what the call did, in the word of answers, logs and metrics: "allocated", or "held"."""
        return "allocated" if self.created else "held"


class MustGrow(Exception):
    """Rolls back and retries: growing takes the locks of VRF and VLAN group, which come before those of segments."""


def allocate(cluster_name, *, user, pool=None, site=None, vrf=None, dry_run=False, **asked):
    """
    Return the segment that a cluster holds in a pool, allocating the first available one if it holds none.

    With `site` and `vrf`, it is the segment that the cluster holds for that place, in whichever pool of the VRF.

    Locks the cluster's key in the VRF and one segment row until the transaction ends.

    Args:
        cluster_name: The cluster that asks; trimmed, compared without case.
        user: The User, or the user name, that the change log names.
        pool: The SegmentPool; or give `site` and `vrf` and it is found (see `locate`).
        dry_run: Take the locks, then roll back. The result says what would be allocated; a new allocation has no id.
        asked: `places` and `serves`, as `locate` found them; `viewer` (see AllocationRequest); `purpose`, for several
            segments of one cluster in the pool; `vid`, `vid_min`, `vid_max`, `prefix_length` or `segment` (see
            `clean_criteria`); `expires_at`, a datetime; `description`, `comments`, `owner`, `custom_field_data` and
            `changelog_message` of a new allocation; with `vrf`, a field of an optional part (see `register_locator`).

    Returns:
        AllocationResult

    Raises:
        ValidationError: A value is not valid, or a custom validator of NetBox's refused the allocation.
        PoolNotFound, AmbiguousPool: `site` and `vrf` name no pool, or several.
        PermissionDenied: The cluster holds its segment in another pool, which the viewer may see and not use.
        PoolPaused: The pool makes no new allocations.
        PoolExhausted: It has no available segment, or none that matches.
        VIDUnavailable: The wanted segment is not available, or the cluster holds another one.
        LimitReached: The cluster or its tenant holds as many segments as the pool allows.
        Busy: Locks were not had in time, or the pool was merged or deleted; nothing was changed.
    """
    cluster_name = ClusterName.clean(cluster_name)
    if located := locators_in(asked):
        return _allocate_located(cluster_name, {name: asked.pop(name) for name in located}, vrf, user, dry_run, asked)
    about = {"cluster": cluster_name, "pool": pool, "site": site, "vrf": vrf, "user": user}
    with operations.track("allocate", dry_run=dry_run, **about) as operation:
        if pool is None:
            pool = _locate_pool(cluster_name, site, vrf, asked)
        request = AllocationRequest.clean(cluster_name, pool=pool, **asked)
        (result,) = _allocate_all([request], user, dry_run)
        operation.outcome = result.outcome
        operations.note(vid=result.allocation.vid)
        return result


def _allocate_located(cluster_name, located, vrf, user, dry_run, asked):
    """Return the AllocationResult of the best pool that a locator finds and that makes an allocation."""
    if len(located) > 1:
        raise ValidationError({name: _("Give only one of these.") for name in located})
    ((name, value),) = located.items()
    viewer, refused = asked.get("viewer"), None
    located_pools = locate_pools(name, value, vrf, viewer)
    usable = usable_pools([found.pool.pk for found in located_pools], viewer, "allocate")
    for found in located_pools:
        if found.pool.pk not in usable or not usable[found.pool.pk].permitted:
            continue
        try:
            return allocate(
                cluster_name,
                user=user,
                pool=found.pool,
                dry_run=dry_run,
                **asked | {"places": found.places, "serves": found.serves},
            )
        except (PoolExhausted, PoolPaused) as error:
            refused = refused or error
    raise refused or PoolNotFound(_("There is no pool in this VRF that you may use there."))


def _locate_pool(cluster_name, site, vrf, asked):
    """Return the pool for a place, and add to `asked` how it was found."""
    resolved = locate(cluster_name, site, vrf, purpose=asked.get("purpose", ""), viewer=asked.get("viewer"))
    asked |= {"places": resolved.places, "serves": resolved.serves}
    operations.note(pool=resolved.pool)
    return resolved.pool


def allocate_many(requests, *, user, dry_run=False):
    """
    Do what `allocate` does for several requests, all of them or none.

    Locks all their clusters' keys, sorted, and one segment row for each until the transaction ends.

    Args:
        requests: AllocationRequests, of any pools.
        user: The User, or the user name, that the change log names.
        dry_run: Return what would be allocated, and change nothing.

    Returns:
        A list of AllocationResults, in the order of the requests.

    Raises:
        LimitReached: There are more requests for a pool than it takes at once.
        Busy: Locks were not had in time; nothing was changed.
        ...and the other errors of `allocate`; the error's `index` says for which request. Nothing was changed.
    """
    with operations.track("allocate_many", dry_run=dry_run, requests=len(requests), user=user) as operation:
        check_request_limits([request.pool for request in requests])
        results = _allocate_all(requests, user, dry_run)
        operation.outcome = f"{sum(result.created for result in results)} allocated"
        return results


def _allocate_all(requests, user, dry_run):
    """Return the AllocationResults of clean requests."""
    held = []
    for index, request in enumerate(requests):
        with _indexed(index):
            held.append(find_held(request))
    if all(held) and (dry_run or not any(map(new_places, held, requests))):
        results = [AllocationResult(allocation, created=False) for allocation in held]
        if not dry_run:
            metrics.count_allocations(results)
        return results
    known = []
    for index, request in enumerate(requests):
        if held[index] is None and not request.purpose:
            with _indexed(index):
                check_cluster(request.pool, request.cluster_name)
        # For requests that are held already too: their allocations may be released before the locks are had.
        known.append(look_up_cluster(request))
    user = audit.get_user(user)
    try:
        with audit.change_tracking(user):
            # Saves NetBox a query for each of them.
            audit.prepare(Allocation, any(request.has_custom_fields for request in known))
            # If another writer does not take these locks, the unique index refuses this transaction, and its next try
            # reads the winner's allocation.
            return run_growing(partial(_allocate_all_locked, known, user), dry_run)
    except PoolExhausted as error:
        # Outside the block above, which drops its events when it fails.
        if not dry_run:
            # An error about the pool's thresholds is logged, and not raised in place of the caller's.
            with suppress(ExceptionGroup):
                thresholds.refresh([error.pool])
        raise


@contextmanager
def _indexed(index):
    """Let an error of the block say which request of a batch it is about."""
    try:
        yield
    except (ValidationError, PermissionDenied, VLANManagerError) as error:
        error.index = index
        raise


def run_growing(work, dry_run):
    """Call `run`, and if `work` raises MustGrow call it once more, with `may_grow`."""
    try:
        return run(work, dry_run)
    except MustGrow:
        return run(partial(work, may_grow=True), dry_run)


def run(work, dry_run):
    """
    Call `work`, which returns AllocationResults, in a transaction with `transactions.run`, and return these.

    A dry run is rolled back, and its new allocations have no id.
    """
    results = transactions.run(work, dry_run)
    if not dry_run:
        metrics.count_allocations(results)
        return results
    segments = {result.allocation.pk: result.allocation.segment for result in results if result.created}
    for result in results:
        # Two results may have one allocation. A segment that the dry run made is no longer in the database.
        if segment := segments.get(result.allocation.pk):
            result.allocation.pk = None
            result.allocation.segment = None if segment.is_grown else segment
    return results


def _allocate_all_locked(requests, user, may_grow=False):
    lock_requests(requests, may_grow)
    results = {}
    # All callers lock the segments that are asked for by name in one order, before others could take them.
    for index in sorted(range(len(requests)), key=lambda index: _lock_order(requests[index])):
        with _indexed(index):
            results[index] = _allocate_locked(requests[index], user, may_grow)
    return [results[index] for index in range(len(requests))]


def lock_requests(requests, may_grow):
    """
    Lock the clusters' keys of AllocationRequests, in the caller's transaction.

    With `may_grow`, also the VRFs and VLAN groups of the pools that grow.
    """
    transactions.lock_clusters([key for request in requests for key in lock_keys(request)])
    if may_grow:
        pools = [request.pool for request in requests if request.pool.auto_grow]
        transactions.lock_spaces([pool.vrf_id for pool in pools], [pool.vlan_group_id for pool in pools])


def _lock_order(request):
    """Return the sort key of a request in a batch; requests that take any segment stay in their order."""
    criteria = request.criteria
    return request.pool.pk, not criteria.names_one_segment, criteria.vid or 0, criteria.segment or 0


def _allocate_locked(request, user, may_grow):
    held, ended = find_or_end_locked(request)
    if held:
        return AllocationResult(held, created=False)
    check_open(request)
    check_limits_locked(request)
    segment = _lock_segment(request, may_grow, [one.segment_id for one in ended if one.pool == request.pool])
    segment.pool = request.pool
    return AllocationResult(write_allocation_locked(segment, request, user), created=True)


def find_or_end_locked(request):
    """
    Return (the allocation that answers the request, []), or (None, the allocations of the cluster that this released).

    It releases those whose time is over. The caller holds the request's locks. The places of the request are added to
    those of the allocation.

    Raises:
        VIDUnavailable: The cluster holds another segment than the one it asks for.
        PermissionDenied: It holds its segment in another pool, which the viewer may see and not use.
    """
    rows = fetch_held(request)
    held = choose_held(rows, request)
    if held:
        if places := new_places(held, request):
            audit.update(held, places=[*held.places, *places])
        return held, []
    return None, [release_locked(row, None, if_due=True).allocation for row in rows if row.has_ended]


@operations.part("locks")
def _lock_segment(request, may_grow, own=()):
    """
    Lock and return the segment that the request gets, with its VLAN and prefixes.

    The segments of `own`, ids of those that the cluster has held until now, come first. Rows that other transactions
    hold are passed over. When all are held, a segment is taken back whose holders' time is over, or a pool that grows
    makes a new one. Last, this waits for the held rows (see `_wait_for_segment`).
    """
    pool, criteria = request.pool, request.criteria
    grows = pool.auto_grow and criteria.segment is None
    pk, growth = _lock_own(request, own), Growth(None)
    if pk is None and (grows or not criteria.names_one_segment):
        pk = lock_first(pool, criteria, skip_locked=True)
    if pk is None and quarantine.promote_locked(pool):
        pk = lock_first(pool, criteria, skip_locked=True)
    if pk is None and take_back_locked(pool, criteria):
        pk = lock_first(pool, criteria, skip_locked=True)
    if pk is None and grows:
        if not may_grow:
            raise MustGrow
        growth = grow_locked(pool, criteria)
        if growth.segment:
            return growth.segment
    if pk is None:
        pk = _wait_for_segment(pool, criteria)
    if pk is None:
        if not SegmentPool.objects.filter(pk=pool.pk).exists():
            # Merged or deleted since it was found: the same call, made again, finds the pool that is there now.
            raise Busy
        raise _unavailable(pool, criteria, growth.reason)
    # Read after the row is locked: the transaction that held it may have changed its VLAN or prefix.
    return fetch_object(_segment_query, {PK: pk})


def _segment_query():
    return Segment.objects.filter(pk=PK).select_related("vlan", "prefix", "ipv6_prefix").order_by()


def _lock_own(request, own):
    """
    Lock the segment of the pool that is the cluster's own, and return its id, or None where it has none that matches.

    Args:
        request: The AllocationRequest.
        own: Ids of segments that the caller's transaction has released for the cluster.
    """
    for segment in own:
        if request.criteria.segment in (None, segment):
            pk = lock_first(request.pool, replace(request.criteria, segment=segment), skip_locked=True)
            if pk is not None:
                return pk
    if request.pool.cooldown or request.pool.release_in_use != ReleaseInUseChoices.ALLOW:
        return quarantine.lock_returning(request.pool, request.cluster_name, request.purpose, request.criteria)
    return None


def _wait_for_segment(pool, criteria):
    """
    Lock the first segment that matches, waiting for rows that other transactions hold, and return its id or None.

    One of those transactions may yet roll back, or commit the end of a cool-down. So a pool waits for a short time
    before it counts as exhausted, and longer for a segment that the caller asked for by name.
    """
    transactions.set_lock_timeout(get_setting("lock_timeout" if criteria.names_one_segment else "last_segment_timeout"))
    quarantine.promote_locked(pool, skip_locked=False)
    take_back_locked(pool, criteria, skip_locked=False)
    return lock_first(pool, criteria, skip_locked=False)


def _unavailable(pool, criteria, reason):
    """Return the error for criteria that no available segment meets. Its text does not name the holder of a segment."""
    if not criteria.names_one_segment:
        return PoolExhausted(pool, criteria, reason)
    segments = Segment.objects.filter(pool=pool).order_by()
    if criteria.segment is not None:
        segments = segments.filter(pk=criteria.segment)
    if criteria.vid is not None:
        segments = segments.filter(vid=criteria.vid)
    segment = segments.select_related("prefix").first()
    if segment is None:
        text = _("Pool {pool} has no segment with {criteria}: add it, or ask for another.")
        if reason:
            text = _("{text} The pool cannot grow: {reason}").format(text=text, reason=reason)
    elif segment.status == SegmentStatusChoices.AVAILABLE:
        text = _("VLAN ID {vid} of pool {pool} is available, but does not fit {criteria}.")
    elif segment.status == SegmentStatusChoices.QUARANTINED:
        text = _("VLAN ID {vid} of pool {pool} is quarantined until {until}: wait, or ask for another.")
    elif segment.status == SegmentStatusChoices.DISABLED:
        text = _("VLAN ID {vid} of pool {pool} is disabled: enable it, or ask for another.")
    else:
        text = _("VLAN ID {vid} of pool {pool} is allocated to another cluster: ask for another.")
    until = segment and segment.quarantined_until
    return VIDUnavailable(
        text.format(
            pool=pool,
            criteria=criteria,
            vid=segment and segment.vid,
            until=timezone.localtime(until).isoformat(timespec="seconds") if until else _("an administrator ends it"),
        )
    )


def write_allocation_locked(segment, request, user, shared=False):
    """
    Write and return the new Allocation of a segment, in the caller's transaction.

    Args:
        segment: The Segment, whose row the caller has locked, with its pool, VLAN and prefixes.
        request: The AllocationRequest.
        user: The User whom the change log names.
        shared: Whether other clusters hold the segment as well.

    Raises:
        ValidationError: A custom validator of NetBox's refused the allocation.
    """
    allocation = Allocation(
        segment=segment,
        pool=request.pool,
        cluster_name=request.cluster_name,
        cluster_id=request.cluster_id,
        purpose=request.purpose,
        allocated_by=user,
        allocated_at=timezone.now(),
        expires_at=request.expires_at,
        places=list(request.places) or [place_key((request.pool.scope_type_id, request.pool.scope_id))],
        shared=shared,
        **request.fields,
    )
    allocation.record_segment(segment)
    if request.has_custom_fields:
        allocation.custom_field_data = custom_fields.fill(Allocation, allocation.custom_field_data)
        if texts := custom_fields.errors_of(Allocation, allocation.custom_field_data):
            raise ValidationError({"custom_fields": texts})
    # For custom validators. Excluded is what they cannot change, since each check would be a query.
    allocation.full_clean(
        exclude=("segment", "pool", "cluster", "allocated_by"), validate_unique=False, validate_constraints=False
    )
    updates = [] if segment.status == SegmentStatusChoices.ALLOCATED else _allocated(segment)
    audit.write(updates=updates, creates=[allocation], events=[(allocation, ALLOCATED)])
    hooks.send(hooks.segments_held, [segment.pk])
    return allocation


def _allocated(segment):
    """Return the `updates` of `audit.write` that make a segment and its prefixes allocated."""
    changes = {"status": SegmentStatusChoices.ALLOCATED}
    if segment.quarantined_until:
        changes["quarantined_until"] = None
    return [(segment, changes), *prefix_updates(segment, status_when_allocated())]
