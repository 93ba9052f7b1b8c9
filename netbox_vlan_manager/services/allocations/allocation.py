"""
The reservation service: hands a segment to a cluster, and takes it back.

One cluster gets one segment of a pool for one purpose, and the same when it asks again; no segment has two holders but
those it was shared with. The database holds both (partial unique indexes, and a trigger that ties a segment's status
to its allocations); the locks here make concurrent callers meet neither as an error.

An allocation keeps the places that it was asked for. It is the answer to the next call for one of them, whichever pool
serves the place then (see `_held_for_places`). A call that meets an allocation which is over by the clock releases it.

Permissions are the caller's business, but for a pool that holds and was not named: `viewer` may have to be permitted
to use it.
"""

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Exists, OuterRef, Q, Value
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from extras.models import CustomField

from ... import metrics
from ...choices import ReleaseInUseChoices, ReleaseReasonChoices, SegmentPoolStatusChoices, SegmentStatusChoices
from ...events import ALLOCATED, EXPIRED, RELEASED
from ...exceptions import (
    AllocationNotFound,
    Busy,
    LimitReached,
    PoolExhausted,
    PoolPaused,
    SegmentInUse,
    VIDUnavailable,
    VLANManagerError,
)
from ...models import ANY_PLACE, Allocation, Segment, SegmentPool
from ...settings import get_setting
from ...validators import clean_cluster_name, clean_purpose
from ..base import audit, custom_fields, operations, transactions
from ..base.places import place_key, places_around
from ..base.prepared_queries import fetch_object, fetch_objects, fetch_rows
from ..base.resolution import not_permitted, resolve_pool, usable_pools
from ..reporting import thresholds
from ..segments import generation, quarantine
from ..segments.criteria import SegmentCriteria, available_segments, clean_criteria, lock_first, matching
from ..segments.guards import disabling, prefix_status
from ..segments.unmigrated import check_cluster
from ..segments.usage import status_reasons
from . import releases
from .clusters import clusters_named

__all__ = (
    "AllocationRequest",
    "AllocationResult",
    "MustGrow",
    "ReleaseResult",
    "allocate",
    "allocate_many",
    "available_segments",
    "check_limits",
    "check_open",
    "check_request_limits",
    "clean_expiry",
    "clean_request",
    "end_overdue",
    "find_allocation",
    "find_facts",
    "find_held",
    "find_or_end",
    "hand_over",
    "locate",
    "lock_key",
    "lock_keys",
    "lock_own",
    "release",
    "release_allocation",
    "release_locked",
    "renew",
    "run",
    "take_back",
)


# What stands in a prepared query for the values of a call.
CLUSTER, PURPOSE = "\x01cluster", "\x01purpose"
VRF, PK = 2**63 - 1, 2**63 - 2

# Keys of the locks for limits, in place of a purpose: callers that count against one limit run one at a time.
CLUSTER_LIMIT, TENANT_LIMIT = "\0cluster", "\0tenant"

# Ten years: what expires later is a mistake.
LEASE_MAX = timedelta(days=3660)

# How many allocations that are over one transaction ends.
BATCH_SIZE = 200


# Any segment will do.
ANY = SegmentCriteria()


class AllocationResult(NamedTuple):
    """`created` is False when the cluster held the segment already."""

    allocation: Allocation
    created: bool


class ReleaseResult(NamedTuple):
    """`released` is False when the allocation had been released before."""

    allocation: Allocation
    released: bool


class MustGrow(Exception):
    """Rolls back and retries: growing takes the locks of VRF and VLAN group, which come before those of segments."""


def run(work, dry_run):
    """
    Call `work`, which returns AllocationResults, in a transaction with `transactions.run`, and return these.

    A dry run is rolled back. What it would have made has no id.
    """
    results = transactions.run(work, dry_run)
    if not dry_run:
        metrics.count_allocations(results)
        return results
    segments = {result.allocation.pk: result.allocation.segment for result in results if result.created}
    for result in results:
        # An allocation that was asked for twice is two results; the database no longer has the segment that it grew.
        if segment := segments.get(result.allocation.pk):
            result.allocation.pk = None
            result.allocation.segment = None if segment.is_grown else segment
    return results


@dataclass
class AllocationRequest:
    """
    What one cluster asks of one pool; its values are clean (see `clean_request`).

    `places` are the keys of the places that the pool was found by; none where it was named itself. Where it holds for
    them and does not serve them (`serves`), nothing is allocated in it. `viewer` is the User who has to be permitted to
    do `action` in another pool that holds what answers; None may do all. `cluster_id`, `tenant_id` and
    `has_custom_fields` are found before the locks.
    """

    pool: SegmentPool
    cluster_name: str
    purpose: str = ""
    places: tuple = ()
    serves: bool = True
    viewer: object = None
    action: str = "allocate"
    criteria: SegmentCriteria = ANY
    expires_at: object = None
    fields: dict = field(default_factory=dict)
    cluster_id: int | None = None
    tenant_id: int | None = None
    has_custom_fields: bool = False


def allocate(cluster_name, *, user, pool=None, site=None, vrf=None, dry_run=False, **asked):
    """
    Return the segment that a cluster holds in a pool, allocating the first available one if it holds none.

    Found by `site` and `vrf`, it is what the cluster holds for that place, in whichever pool of the VRF.

    Locks the cluster's key in the VRF and one segment row until the transaction ends.

    Args:
        cluster_name: Who asks; trimmed, compared without case.
        user: The User, or the user name, whom the change log names.
        pool: The SegmentPool; or give `site` and `vrf` and it is found (see `locate`).
        dry_run: Say what would be allocated, and change nothing. The locks are taken and let go; the allocation has no
            id where it would be new.
        asked: places and serves, as `locate` found them; viewer, whose permissions count in another pool that holds
            (see AllocationRequest); purpose, which tells several segments of one cluster in the pool apart; vid,
            vid_min, vid_max, prefix_length or segment, which say what is wanted (see `clean_criteria`); expires_at,
            when the allocation shall be released by itself, a datetime; description, comments, owner,
            custom_field_data, changelog_message of a new allocation; one that is there keeps its own.

    Returns:
        AllocationResult

    Raises:
        ValidationError: A value is not valid, or a custom validator of NetBox's refused the allocation.
        PoolNotFound, AmbiguousPool: `site` and `vrf` name no pool, or several.
        PermissionDenied: The cluster holds its segment in another pool, which the viewer may see and not use.
        PoolPaused: The pool makes no new allocations.
        PoolExhausted: It has no available segment, or none that is wanted.
        VIDUnavailable: The segment that was asked for is not available, or the cluster holds another one.
        LimitReached: The cluster or its tenant holds as many segments as the pool allows.
        Busy: Locks were not had in time, or the pool was merged or deleted; nothing was changed.
    """
    cluster_name = clean_cluster_name(cluster_name)
    about = {"cluster": cluster_name, "pool": pool, "site": site, "vrf": vrf, "user": user}
    with operations.track("allocate", dry_run=dry_run, **about) as operation:
        if pool is None:
            resolved = locate(cluster_name, site, vrf, purpose=asked.get("purpose", ""), viewer=asked.get("viewer"))
            pool, asked["places"], asked["serves"] = resolved.pool, resolved.places, resolved.serves
            operations.note(pool=pool)
        request = clean_request(cluster_name, pool=pool, **asked)
        (result,) = _allocate_all([request], user, dry_run)
        operation.outcome = "created" if result.created else "replayed"
        operations.note(vid=result.allocation.vid)
        return result


def locate(cluster_name, site, vrf, *, purpose="", viewer=None, action=None):
    """
    Return the ResolvedPool that answers a cluster which asks for `site` in `vrf`: the one that serves the place.

    Where none does that the viewer may use, or it is not clear which is meant, it is the one in which the cluster holds
    a segment for that place; it is clear if the segment is held for all the places that may be meant.

    Args:
        cluster_name, purpose: Who asks, and what for.
        site, vrf: As in `resolution.resolve_pool`.
        viewer: Whose view decides which pools exist; None sees all.
        action: "allocate" or "release", which the viewer must be permitted to do in the pool.

    Raises:
        ValidationError: A value is not valid.
        PoolNotFound, AmbiguousPool, PermissionDenied: As `resolution.resolve_pool`.
    """
    return resolve_pool(site, vrf, viewer, action, holding=partial(_find_holding_pool, cluster_name, purpose))


def _find_holding_pool(cluster_name, purpose, places, vrfs, viewer, action):
    """Return the only pool in which a cluster holds what is the answer for all of `places`, or None."""
    names = {CLUSTER: clean_cluster_name(cluster_name), PURPOSE: clean_purpose(purpose)}
    found = []
    for vrf in vrfs:
        rows = [row for row in fetch_objects(_held_query, {**names, VRF: vrf}) if not row.has_ended]
        if rows:
            pools = usable_pools({row.pool_id for row in rows}, viewer, action)
            rows = [row for row in rows if row.pool_id in pools]
            by_place = [_answering(rows, [place], pools)[:1] for place in places]
            if by_place[0] and all(held == by_place[0] for held in by_place):
                found.append(pools[by_place[0][0].pool_id])
    return found[0] if len(found) == 1 and found[0].permitted else None


def allocate_many(requests, *, user, dry_run=False):
    """
    Do what `allocate` does for several requests, all of them or none.

    Locks all their clusters' keys, sorted, and one segment row for each until the transaction ends.

    Args:
        requests: AllocationRequests (see `clean_request`), of any pools.
        user: The User, or the user name, whom the change log names.
        dry_run: Say what would be allocated, and change nothing.

    Returns:
        A list of AllocationResults, in the order of the requests.

    Raises:
        LimitReached: There are more requests for a pool than it takes at once.
        ...and whatever `allocate` raises; its `index` says for which request. Nothing was changed.
    """
    with operations.track("allocate_many", dry_run=dry_run, requests=len(requests), user=user) as operation:
        check_request_limits([request.pool for request in requests])
        results = _allocate_all(requests, user, dry_run)
        operation.outcome = f"{sum(result.created for result in results)} created"
        return results


def clean_request(cluster_name, *, pool, purpose="", places=(), serves=True, viewer=None, expires_at=None, **asked):
    """
    Return the AllocationRequest of what a caller gave; the arguments are those of `allocate`.

    Raises:
        ValidationError: Keyed by field.
    """
    criteria_fields = {
        name: asked.pop(name) for name in ("vid", "vid_min", "vid_max", "prefix_length") if name in asked
    }
    segment = asked.pop("segment", None)
    return AllocationRequest(
        pool=pool,
        cluster_name=clean_cluster_name(cluster_name),
        purpose=clean_purpose(purpose),
        places=tuple(places),
        serves=serves,
        viewer=viewer,
        criteria=clean_criteria(segment=segment, **criteria_fields),
        expires_at=clean_expiry(expires_at),
        fields=asked,
    )


def clean_expiry(expires_at):
    """
    Return `expires_at`, a datetime or None, as it is.

    Raises:
        ValidationError: It has no time zone, is not in the future, or is more than ten years away.
    """
    if expires_at is None:
        return None
    if timezone.is_naive(expires_at):
        raise ValidationError({"expires_at": _("Give the time zone, such as 2027-01-31T12:00:00Z.")})
    now = timezone.now()
    if expires_at <= now:
        raise ValidationError({"expires_at": _("This is not in the future: give a later time, or none.")})
    if expires_at > now + LEASE_MAX:
        raise ValidationError({"expires_at": _("This is more than ten years away: leave it empty to never expire.")})
    return expires_at


def check_request_limits(pools):
    """
    Make sure that one request may allocate so many segments at once.

    Args:
        pools: The SegmentPool of each segment.

    Raises:
        LimitReached: It is more than the pool's `max_per_request`.
    """
    for pool in set(pools):
        count = sum(other == pool for other in pools)
        if pool.max_per_request and count > pool.max_per_request:
            raise LimitReached(
                _("One request may allocate {max} segments of pool {pool}, not {count}: ask in several.").format(
                    max=pool.max_per_request, pool=pool, count=count
                )
            )


def _allocate_all(requests, user, dry_run):
    """Return the AllocationResults of clean requests."""
    held = []
    for index, request in enumerate(requests):
        with _indexed(index):
            held.append(find_held(request))
    if all(held) and (dry_run or not any(map(_new_places, held, requests))):
        results = [AllocationResult(allocation, created=False) for allocation in held]
        if not dry_run:
            metrics.count_allocations(results)
        return results
    for index, request in enumerate(requests):
        if held[index] is None and not request.purpose:
            with _indexed(index):
                check_cluster(request.pool, request.cluster_name)
        # For those that are held as well: they may be released before the locks are had.
        find_facts(request)
    user = audit.get_user(user)
    try:
        with audit.change_tracking(user):
            # NetBox asks once for all of them.
            audit.prepare(Allocation, any(request.has_custom_fields for request in requests))
            # Where somebody writes past the locks, the unique index refuses this call, and its next try reads the
            # winner.
            try:
                return run(partial(_lock_and_allocate, requests, user), dry_run)
            except MustGrow:
                return run(partial(_lock_and_allocate, requests, user, may_grow=True), dry_run)
    except PoolExhausted as error:
        # Not in the block above, which drops its events when it fails.
        if not dry_run:
            # What is wrong with the pool is logged, and is not what the caller asked for.
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


def _lock_and_allocate(requests, user, may_grow=False):
    transactions.lock_clusters([key for request in requests for key in lock_keys(request)])
    if may_grow:
        pools = [request.pool for request in requests if request.pool.auto_grow]
        transactions.lock_spaces([pool.vrf_id for pool in pools], [pool.vlan_group_id for pool in pools])
    results = {}
    # Segments that are asked for by name are locked in one order by all callers, before others could take them.
    for index in sorted(range(len(requests)), key=lambda index: _turn(requests[index])):
        with _indexed(index):
            results[index] = _allocate(requests[index], user, may_grow)
    return [results[index] for index in range(len(requests))]


def _turn(request):
    """Return what a batch's requests are sorted by; those that any segment will do for stay in their order."""
    criteria = request.criteria
    return request.pool.pk, not criteria.names_one_segment, criteria.vid or 0, criteria.segment or 0


def lock_keys(request):
    """Return the keys that `transactions.lock_clusters` takes for an AllocationRequest."""
    pool = request.pool
    keys = [(pool.vrf_id, request.cluster_name, request.purpose)]
    if pool.max_per_cluster:
        keys.append((pool.pk, request.cluster_name, CLUSTER_LIMIT))
    if pool.max_per_tenant and request.tenant_id:
        keys.append((pool.pk, str(request.tenant_id), TENANT_LIMIT))
    return keys


def lock_key(allocation):
    """Return the key that `transactions.lock_clusters` takes for an Allocation, whose pool is read."""
    return allocation.pool.vrf_id, allocation.cluster_name, allocation.purpose


def _allocate(request, user, may_grow):
    """Do the part of `allocate` that needs locks. `request` is left as it is, for another try."""
    held, ended = find_or_end(request)
    if held:
        return AllocationResult(held, created=False)
    check_open(request)
    check_limits(request)
    segment = _lock_segment(request, may_grow, [one.segment_id for one in ended if one.pool == request.pool])
    segment.pool = request.pool
    return AllocationResult(hand_over(segment, request, user), created=True)


def find_or_end(request):
    """
    Return what answers the request, or None and the allocations of the cluster that are over, which are then released.

    The caller holds the request's locks. That the place was asked for is written down.

    Raises:
        VIDUnavailable: The cluster holds another segment than the one it asks for.
        PermissionDenied: It holds its segment in another pool, which the viewer may see and not use.
    """
    rows = _rows_of(request)
    held = _choose(rows, request)
    if held:
        if places := _new_places(held, request):
            audit.update(held, places=[*held.places, *places])
        return held, []
    return None, [release_locked(row, None, if_due=True).allocation for row in rows if row.has_ended]


def _new_places(held, request):
    return [place for place in request.places if place not in held.places]


def hand_over(segment, request, user, shared=False):
    """
    Write and return the new Allocation of a segment, in the caller's transaction.

    Args:
        segment: The Segment, whose row the caller has locked, with its pool, VLAN and prefixes.
        request: The AllocationRequest.
        user: The User whom the change log names.
        shared: Whether other clusters hold the segment already.

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
    # Custom validators see the allocation; what they cannot change is excluded, since each check would be a query.
    allocation.full_clean(
        exclude=("segment", "pool", "cluster", "allocated_by"), validate_unique=False, validate_constraints=False
    )
    updates = []
    if not shared:
        changes = {"status": SegmentStatusChoices.ALLOCATED}
        if segment.quarantined_until:
            changes["quarantined_until"] = None
        updates = [(segment, changes), *_prefix_updates(segment, get_setting("prefix_status_allocated"))]
    audit.write(updates=updates, creates=[allocation], events=[(allocation, ALLOCATED)])
    return allocation


def _prefix_updates(segment, status):
    """Return what `audit.write` takes to give the prefixes of `segment` a status."""
    prefixes = [segment.prefix, segment.ipv6_prefix] if segment.ipv6_prefix_id else [segment.prefix]
    return [(prefix, {"status": status}) for prefix in prefixes]


def check_open(request):
    """
    Make sure that the pool makes new allocations.

    Raises:
        Busy: It was found because the cluster held a segment for a place that it does not serve, and holds it no more:
            the same call, made again, finds the pool that serves the place.
        PoolPaused: It is paused or retiring.
    """
    if not request.serves:
        raise Busy
    if request.pool.status != SegmentPoolStatusChoices.ACTIVE:
        raise PoolPaused(request.pool)


def check_limits(request, leaving=()):
    """
    Make sure that the pool allows the cluster and its tenant one more; the caller holds the limits' locks.

    Args:
        request: The AllocationRequest.
        leaving: Allocations that the caller's transaction will release.

    Raises:
        LimitReached: It does not.
    """
    pool = request.pool
    if not (pool.max_per_cluster or pool.max_per_tenant):
        # Most pools have no limits, and locks are held.
        return
    active = Allocation.objects.active().filter(pool=pool).exclude(pk__in=[one.pk for one in leaving]).order_by()
    if pool.max_per_cluster:
        count = active.of_cluster(request.cluster_name).count()
        if count >= pool.max_per_cluster:
            raise LimitReached(
                _("Cluster {cluster} holds {count} segments of pool {pool}, which allows a cluster {max}.").format(
                    cluster=request.cluster_name, count=count, pool=pool, max=pool.max_per_cluster
                )
            )
    if pool.max_per_tenant and request.tenant_id:
        count = active.filter(cluster__tenant=request.tenant_id).count()
        if count >= pool.max_per_tenant:
            raise LimitReached(
                _("The tenant's clusters hold {count} segments of pool {pool}, which allows a tenant {max}.").format(
                    count=count, pool=pool, max=pool.max_per_tenant
                )
            )


@operations.part("locks")
def _lock_segment(request, may_grow, own=()):
    """
    Lock and return the segment that the request gets, with its VLAN and prefixes.

    Those of `own` come first, ids of segments that the cluster has held until now. Rows that other transactions hold
    are passed over first. When all are held, what others hold whose time is over is taken back, or a pool that grows
    makes a new segment. One that does not waits for them, for a short time, before it is called exhausted: one of those
    transactions may yet roll back, or commit the end of a cool-down. A segment that was asked for by name is waited for
    at once.
    """
    pool, criteria = request.pool, request.criteria
    grows = pool.auto_grow and criteria.segment is None
    pk, growth = lock_own(request, own), generation.Growth(None)
    if pk is None and (grows or not criteria.names_one_segment):
        pk = lock_first(pool, criteria, skip_locked=True)
    if pk is None and quarantine.promote(pool):
        pk = lock_first(pool, criteria, skip_locked=True)
    if pk is None and take_back(pool, criteria):
        pk = lock_first(pool, criteria, skip_locked=True)
    if pk is None and grows:
        if not may_grow:
            raise MustGrow
        growth = generation.grow(pool, criteria)
        if growth.segment:
            return growth.segment
    if pk is None:
        transactions.set_lock_timeout(
            get_setting("lock_timeout" if criteria.names_one_segment else "last_segment_timeout")
        )
        quarantine.promote(pool, skip_locked=False)
        take_back(pool, criteria, skip_locked=False)
        pk = lock_first(pool, criteria, skip_locked=False)
    if pk is None:
        if not SegmentPool.objects.filter(pk=pool.pk).exists():
            # Merged or deleted since it was found: the same call, made again, finds the pool that is there now.
            raise Busy
        raise _unavailable(pool, criteria, growth.reason)
    # Read after the row is locked: the transaction that held it may have changed its VLAN or prefix.
    return fetch_object(_segment_query, {PK: pk})


def lock_own(request, own=()):
    """
    Lock the segment of the pool that is the cluster's own, and return its id, or None where it has none that is wanted.

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


def take_back(pool, criteria, skip_locked=True):
    """
    Release one segment of `pool` that meets `criteria` and whose holders' time is over, in the caller's transaction, so
    that another cluster gets it; return whether one was.

    The lock of the segment's row is enough: who allocates, releases, renews or shares takes it too. Where the pool has
    a cool-down, nobody would get the segment now.

    Args:
        pool: The SegmentPool.
        criteria: A SegmentCriteria.
        skip_locked: Whether to pass over rows that other transactions hold, or to wait for them.
    """
    if pool.cooldown or not fetch_rows(_overdue_query, {PK: pool.pk}):
        return False
    held = Allocation.objects.active().filter(segment=OuterRef("pk"))
    # Found by the index of ends, few of which are over, and not among all that the pool has allocated.
    over = Allocation.objects.overdue().order_by().values("segment")
    segments = Segment.objects.filter(
        matching(criteria), ~Exists(held), pk__in=over, pool=pool, status=SegmentStatusChoices.ALLOCATED
    )
    locked = segments.select_for_update(no_key=True, skip_locked=skip_locked, of=("self",)).order_by("vid")
    return bool(end_overdue(Allocation.objects.filter(segment__in=list(locked.values_list("pk", flat=True)[:1]))))


def _overdue_query():
    # Most often there is none, which this says much faster than what locks one.
    return Allocation.objects.overdue().filter(segment__pool=PK).order_by().values_list("pk")[:1]


def end_overdue(allocations):
    """
    Release those of `allocations`, a queryset, that are over by the clock, in the caller's transaction, up to 200 of
    them; return how many. It locks their segments' rows, which is enough (see `take_back`).
    """
    over = allocations.overdue().order_by("pool", "vid", "pk")[:BATCH_SIZE]
    return sum(_release(one, None, "", ReleaseReasonChoices.EXPIRED, if_due=True).released for one in over)


def _segment_query():
    return Segment.objects.filter(pk=PK).select_related("vlan", "prefix", "ipv6_prefix").order_by()


def _unavailable(pool, criteria, reason):
    """Return the error for criteria that nothing available meets. It does not say who holds a segment."""
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


def release(cluster_name, *, user, **where):
    """
    End the allocation that a cluster holds in a pool, or for a place.

    Locks the cluster's key in the VRF and the segment row until the transaction ends.

    Args:
        cluster_name: Who holds it; trimmed, compared without case.
        user: The User, or the user name, whom the change log names.
        where: pool, the SegmentPool, or site and vrf, for which it is found (see `locate`); places, as `locate` found
            them; viewer, whose permissions count in another pool that holds (see AllocationRequest); purpose.

    Returns:
        ReleaseResult

    Raises:
        ValidationError: A value is not valid.
        PoolNotFound, AmbiguousPool: `site` and `vrf` name no pool, or several.
        PermissionDenied: The cluster holds its segment in another pool, which the viewer may see and not release from.
        AllocationNotFound: The cluster holds no segment of the pool, or for the place, for this purpose.
        SegmentInUse: Objects of NetBox's use the segment, and the pool refuses to release it then.
        Busy: Locks were not had in time; nothing was changed.
    """
    return release_allocation(find_allocation(cluster_name, **where), user=user)


def find_allocation(cluster_name, *, pool=None, site=None, vrf=None, places=(), viewer=None, purpose=""):
    """
    Return the active Allocation that a cluster holds in a pool. Arguments are those of `allocate`.

    Raises:
        ValidationError: A value is not valid.
        PoolNotFound, AmbiguousPool: `site` and `vrf` name no pool, or several.
        PermissionDenied: The cluster holds its segment in another pool, which the viewer may see and not release from.
        AllocationNotFound: The cluster holds no segment of the pool, or for the place, for this purpose.
    """
    cluster_name = clean_cluster_name(cluster_name)
    purpose = clean_purpose(purpose)
    if pool is None:
        resolved = locate(cluster_name, site, vrf, purpose=purpose, viewer=viewer)
        pool, places = resolved.pool, resolved.places
    request = AllocationRequest(pool, cluster_name, purpose, places=places, viewer=viewer, action="release")
    held = _choose(_rows_of(request), request)
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
    End `allocation`; one that was released already is left alone. One that is over by the clock ends as expired.

    Locks the cluster's key in the VRF and the segment's row until the transaction ends. The segment is available
    again, or quarantined for the pool's cool-down; one that others share stays theirs. What NetBox's objects still use
    is kept back where the pool says so (`release_in_use`): it is quarantined until somebody ends that, or its release
    is refused. A lease that is over cannot be refused, and is quarantined.

    Args:
        allocation: The Allocation.
        user: The User, or the user name, whom the change log names; None for the system.
        changelog_message: Why, for the change log of the allocation.
        reason: One of ReleaseReasonChoices.
        if_due: Leave it alone as well if it does not expire, or not yet, by what the row says once it is locked.
        dry_run: Say what would be, and change nothing.

    Returns:
        ReleaseResult, whose allocation is the row as it is now, or would be.

    Raises:
        SegmentInUse: Objects of NetBox's use the segment, and the pool refuses to release it then.
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
    Do the part of `release_allocation` that needs locks, in the caller's transaction.

    `use` is what `releases.find_use_that_matters` found before the locks; else that is asked here.
    """
    transactions.lock_clusters([lock_key(allocation)])
    return _release(allocation, user, changelog_message, reason, if_due, use)


def _release(allocation, user, changelog_message, reason, if_due, use=None):
    segments = Segment.objects.select_related("vlan", "prefix", "ipv6_prefix", "pool__vrf").order_by()
    with operations.part("locks"):
        held = segments.select_for_update(no_key=True, of=("self",)).filter(allocations=allocation.pk)
        # Empty where the segment went over to another pool while its row was waited for; the next statement sees it.
        segment = held.first() or held.first()
    others = Allocation.objects.unreleased().filter(segment=OuterRef("segment")).exclude(pk=OuterRef("pk"))
    allocations = Allocation.objects.select_related("allocated_by")
    allocation = allocations.annotate(others_hold=Exists(others), has_ended=HAS_ENDED).get(pk=allocation.pk)
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
    ending = {
        "released_at": released_at,
        "released_by": user,
        "release_reason": reason,
        # Their VLAN and prefix are followed at once, a new name of the pool or VRF here.
        "pool_name": pool.name,
        "vrf_name": pool.vrf.name,
    }
    updates = [(allocation, ending)]
    if not allocation.others_hold:
        if use is None:
            use = releases.find_use_that_matters(pool, segment.pk, user)
        if use and pool.release_in_use == ReleaseInUseChoices.REFUSE and reason != ReleaseReasonChoices.EXPIRED:
            raise SegmentInUse(
                _(
                    "{allocation} is not released: its segment is still used by {use}. Remove these first, or let the "
                    "pool release what is in use."
                ).format(allocation=allocation, use=use)
            )
        freed = {"status": SegmentStatusChoices.AVAILABLE, "last_released_at": released_at}
        if use:
            # Without an end: nobody knows when it will be free of them.
            freed["status"] = SegmentStatusChoices.QUARANTINED
        elif pool.cooldown:
            freed |= {
                "status": SegmentStatusChoices.QUARANTINED,
                "quarantined_until": released_at + timedelta(seconds=pool.cooldown),
            }
        if reasons := status_reasons(segment.vlan, ()):
            # Its VLAN was reserved or deprecated while it was held: it is not handed out, after a cool-down neither.
            freed = {**disabling(segment, ", ".join(reasons)), "last_released_at": released_at}
        updates += [(segment, freed), *_prefix_updates(segment, prefix_status(pool, freed["status"]))]
    event = EXPIRED if reason == ReleaseReasonChoices.EXPIRED else RELEASED
    audit.write(updates=updates, events=[(allocation, event)])
    metrics.count_release(pool, reason)
    return ReleaseResult(allocation, released=True)


def renew(allocation, *, user, expires_at, changelog_message=""):
    """
    Give an active allocation another time to expire, or none.

    Locks the cluster's key in the VRF and the segment's row until the transaction ends.

    Args:
        allocation: The Allocation.
        user: The User, or the user name, whom the change log names.
        expires_at: A datetime in the future, or None to keep it until it is released.
        changelog_message: Why, for the change log.

    Returns:
        The Allocation, as it is now.

    Raises:
        ValidationError: The time is not valid, or the allocation was released or is over.
        Busy: Locks were not had in time; nothing was changed.
    """
    expires_at = clean_expiry(expires_at)
    user = audit.get_user(user)
    about = {"cluster": allocation.cluster_name, "pool": allocation.pool_name, "user": user, "expires_at": expires_at}
    with operations.track("renew", **about), audit.change_tracking(user):
        return transactions.run(partial(_renew, allocation, expires_at, changelog_message))


def _renew(allocation, expires_at, changelog_message):
    allocations = Allocation.objects.select_related("pool", "segment__vlan", "segment__prefix")
    if allocation.released_at is None:
        transactions.lock_clusters([lock_key(allocation)])
        # Nobody takes it back while its time is written.
        list(Segment.objects.select_for_update(no_key=True).filter(pk=allocation.segment_id).order_by().values("pk"))
        allocation = allocations.annotate(has_ended=HAS_ENDED).get(pk=allocation.pk)
    if allocation.released_at is not None:
        raise ValidationError({"expires_at": _("The allocation was released: allocate again instead.")})
    if allocation.has_ended:
        raise ValidationError(
            {
                "expires_at": _("The allocation ended at {time}: allocate again instead.").format(
                    time=timezone.localtime(allocation.expires_at).isoformat(timespec="seconds")
                )
            }
        )
    if allocation.expires_at != expires_at:
        allocation._changelog_message = changelog_message
        audit.update(allocation, expires_at=expires_at, expiry_warned=False)
    return allocation


def find_held(request):
    """
    Return the active allocation that answers the request, or None.

    Raises:
        VIDUnavailable: The cluster holds another segment than the one it asks for.
        PermissionDenied: It holds its segment in another pool, which the viewer may see and not use.
    """
    return _choose(_rows_of(request), request)


@operations.part("look-up")
def _rows_of(request):
    """
    Return the allocations of the cluster for this purpose in the pool's VRF that are not released, the oldest first;
    `has_ended` says which are over. It takes one query.
    """
    return fetch_objects(
        _held_query, {VRF: request.pool.vrf_id, CLUSTER: request.cluster_name, PURPOSE: request.purpose}
    )


# By the database's clock; nothing where there is no time.
HAS_ENDED = Q(expires_at__lte=Now())


def _held_query():
    held = Allocation.objects.unreleased().of_cluster(CLUSTER).filter(purpose=PURPOSE, pool__vrf=VRF)
    return held.annotate(has_ended=HAS_ENDED).order_by("allocated_at", "pk")


def _choose(rows, request):
    """Return the one of a cluster's allocations that answers the request, or None; raises as `find_held`."""
    rows = [row for row in rows if not row.has_ended]
    in_pool = [row for row in rows if row.pool_id == request.pool.pk]
    held = in_pool[0] if in_pool else None
    if rows and request.places:
        held = _held_for_places(rows, held, request)
    if held is None:
        return None
    if held.pool_id == request.pool.pk:
        held.pool = request.pool
    if not request.criteria.matches(held):
        raise VIDUnavailable(
            _(
                "Cluster {cluster} holds VLAN ID {vid} ({prefix}) of pool {pool}, which is not {criteria}: "
                "release it first, or give another purpose."
            ).format(
                cluster=held.cluster_name, vid=held.vid, prefix=held.prefix, pool=held.pool, criteria=request.criteria
            )
        )
    return held


def _held_for_places(rows, in_pool, request):
    """
    Return what a cluster holds for the places that it asks for, in whichever pool: what was asked for one of them
    before, the oldest first; else what it holds in the pool that serves them (`in_pool`); else what nobody knows the
    places of and the nearest pool around them.

    What is in a pool that the viewer may not see is not there.
    """
    known = [row for row in rows if not set(row.places).isdisjoint(request.places)]
    if (known or [in_pool])[0] is in_pool and (in_pool or not any(ANY_PLACE in row.places for row in rows)):
        # By far the most: no other pool has to be looked at.
        return in_pool
    pools = usable_pools({row.pool_id for row in rows if row is not in_pool}, request.viewer, request.action)
    pools[request.pool.pk] = request.pool
    rows = [row for row in rows if row.pool_id in pools]
    answering = _answering(rows, request.places, pools, in_pool)
    if not answering:
        return None
    held = answering[0]
    held.pool = pools[held.pool_id]
    if held is not in_pool and not held.pool.permitted:
        raise not_permitted(held.pool, request.action)
    return held


def _answering(rows, places, pools, in_pool=None):
    """
    Return those of a cluster's allocations that answer for one of `places`, the best first.

    Args:
        rows: The Allocations, the oldest first.
        places: Keys of places.
        pools: {id: SegmentPool} of all the rows.
        in_pool: The row that is in the pool that serves the places, or None.
    """
    known = [row for row in rows if not set(row.places).isdisjoint(places)]
    serving = [in_pool] if in_pool in rows else []
    unknown = [row for row in rows if ANY_PLACE in row.places]
    if known or serving or not unknown:
        return known + serving
    around = places_around(places)
    scopes = {row.pk: place_key((pools[row.pool_id].scope_type_id, pools[row.pool_id].scope_id)) for row in unknown}
    return sorted((row for row in unknown if scopes[row.pk] in around), key=lambda row: around.index(scopes[row.pk]))


def find_facts(request):
    """
    Find out before the locks what a new allocation needs to know, in one statement.

    It is the virtualization.Cluster of that name, where there is exactly one, and its tenant; and whether allocations
    have custom fields.
    """
    rows = fetch_rows(_facts_query, {CLUSTER: request.cluster_name})
    clusters = [(pk, tenant) for is_cluster, pk, tenant in rows if is_cluster]
    if len(clusters) == 1:
        request.cluster_id, request.tenant_id = clusters[0]
    request.has_custom_fields = len(rows) > len(clusters)


def _facts_query():
    # Two matches are as good as many.
    clusters = clusters_named(Value(CLUSTER)).order_by().values_list(Value(True), "pk", "tenant")[:2]
    links = CustomField.object_types.through.objects
    allocations = ContentType.objects.get_for_model(Allocation)
    fields = links.filter(contenttype_id=allocations.pk).order_by()
    return clusters.union(fields.values_list(Value(False), "pk", "customfield")[:1], all=True).order_by()
