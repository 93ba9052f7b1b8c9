"""
The reservation service: hands a segment to a cluster, and takes it back.

One cluster gets one segment of a pool for one purpose, and the same when it asks again; no segment has two holders but
those it was shared with. The database holds both (partial unique indexes, and a trigger that ties a segment's status
to its allocations); the locks here make concurrent callers meet neither as an error. Permissions are the caller's
business.
"""

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Value
from django.utils import timezone
from django.utils.translation import gettext as _

from extras.models import CustomField
from virtualization.models import Cluster

from .. import metrics
from ..choices import ReleaseReasonChoices, SegmentPoolStatusChoices, SegmentStatusChoices
from ..events import ALLOCATED, EXPIRED, RELEASED
from ..exceptions import (
    AllocationNotFound,
    Busy,
    LimitReached,
    PoolExhausted,
    PoolPaused,
    VIDUnavailable,
    VLANManagerError,
)
from ..models import Allocation, Segment, SegmentPool
from ..settings import get_setting
from ..validators import clean_cluster_name, clean_purpose
from . import audit, custom_fields, generation, quarantine, thresholds, timing, transactions
from .guards import disabling
from .prepared import fetch_object, fetch_rows
from .resolution import resolve_pool
from .usage import status_reasons
from .wishes import Wish, available_segments, clean_wish, lock_first

__all__ = (
    "AllocationRequest",
    "AllocationResult",
    "ReleaseResult",
    "allocate",
    "allocate_many",
    "available_segments",
    "check_limits",
    "check_request_limits",
    "clean_expiry",
    "clean_request",
    "find_facts",
    "find_held",
    "hand_over",
    "lock_keys",
    "release",
    "release_allocation",
    "release_locked",
    "renew",
    "run",
)


# What stands in a prepared query for the values of a call.
CLUSTER, PURPOSE = "\x01cluster", "\x01purpose"
POOL, PK = 2**63 - 1, 2**63 - 2

# Stand in a lock's key where a purpose would: whoever counts against a limit takes turns. No purpose has these.
CLUSTER_LIMIT, TENANT_LIMIT = "\0cluster", "\0tenant"

# Ten years: what expires later is a mistake.
LEASE_MAX = timedelta(days=3660)


# Any segment will do.
ANY = Wish()


class AllocationResult(NamedTuple):
    """`created` is False when the cluster held the segment already."""

    allocation: Allocation
    created: bool


class ReleaseResult(NamedTuple):
    """`released` is False when the allocation had been released before."""

    allocation: Allocation
    released: bool


class _MustGrow(Exception):
    """Gives all locks back: those that a pool needs to grow come before those of segments."""


def run(work, dry_run):
    """
    Call `work`, which returns AllocationResults, in a transaction with `transactions.run`, and return these.

    A dry run is rolled back. What it would have made has no id.
    """
    results = transactions.run(work, dry_run)
    if not dry_run:
        metrics.count_allocations(results)
        return results
    made = {result.allocation.pk for result in results if result.created}
    for result in results:
        # One that was asked for twice comes twice.
        if result.allocation.pk in made:
            result.allocation.pk = None
            if result.allocation.segment.is_grown:
                result.allocation.segment = None
    return results


@dataclass
class AllocationRequest:
    """
    What one cluster asks of one pool; its values are clean (see `clean_request`).

    `cluster_id`, `tenant_id` and `has_custom_fields` are found before the locks.
    """

    pool: SegmentPool
    cluster_name: str
    purpose: str = ""
    wish: Wish = ANY
    expires_at: object = None
    fields: dict = field(default_factory=dict)
    cluster_id: int | None = None
    tenant_id: int | None = None
    has_custom_fields: bool = False


def allocate(cluster_name, *, user, pool=None, site=None, vrf=None, dry_run=False, **asked):
    """
    Return the segment that a cluster holds in a pool, allocating the first available one if it holds none.

    Locks the cluster's key in the pool and one segment row until the transaction ends.

    Args:
        cluster_name: Who asks; trimmed, compared without case.
        user: The User, or the user name, whom the change log names.
        pool: The SegmentPool; or give `site` and `vrf` and it is found (see `resolution.resolve_pool`).
        dry_run: Say what would be allocated, and change nothing. The locks are taken and let go; the allocation has no
            id where it would be new.
        asked: purpose, which tells several segments of one cluster in the pool apart; vid, vid_min, vid_max,
            prefix_length or segment, which say what is wanted (see `wishes.clean_wish`); expires_at, when the
            allocation shall be released by itself, a datetime; description, comments, owner, custom_field_data,
            changelog_message of a new allocation; one that is there keeps its own.

    Returns:
        AllocationResult

    Raises:
        ValidationError: A value is not valid, or a custom validator of NetBox's refused the allocation.
        PoolNotFound, AmbiguousPool: `site` and `vrf` name no pool, or several.
        PoolPaused: The pool makes no new allocations.
        PoolExhausted: It has no available segment, or none that is wanted.
        VIDUnavailable: The segment that was asked for is not available, or the cluster holds another one.
        LimitReached: The cluster or its tenant holds as many segments as the pool allows.
        Busy: Locks were not had in time, or the pool was merged or deleted meanwhile; nothing was changed.
    """
    cluster_name = clean_cluster_name(cluster_name)
    about = {"cluster": cluster_name, "pool": pool, "site": site, "vrf": vrf, "user": user}
    with timing.operation("allocate", dry_run=dry_run, **about) as operation:
        if pool is None:
            pool = resolve_pool(site, vrf).pool
            timing.note(pool=pool)
        request = clean_request(cluster_name, pool=pool, **asked)
        (result,) = _allocate_all([request], user, dry_run)
        operation.outcome = "created" if result.created else "replayed"
        timing.note(vid=result.allocation.vid)
        return result


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
    with timing.operation("allocate_many", dry_run=dry_run, requests=len(requests), user=user) as operation:
        check_request_limits([request.pool for request in requests])
        results = _allocate_all(requests, user, dry_run)
        operation.outcome = f"{sum(result.created for result in results)} created"
        return results


def clean_request(cluster_name, *, pool, purpose="", expires_at=None, **asked):
    """
    Return the AllocationRequest of what a caller gave; the arguments are those of `allocate`.

    Raises:
        ValidationError: Keyed by field.
    """
    wish_fields = {name: asked.pop(name) for name in ("vid", "vid_min", "vid_max", "prefix_length") if name in asked}
    segment = asked.pop("segment", None)
    return AllocationRequest(
        pool=pool,
        cluster_name=clean_cluster_name(cluster_name),
        purpose=clean_purpose(purpose),
        wish=clean_wish(segment=segment, **wish_fields),
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
    if all(held):
        results = [AllocationResult(allocation, created=False) for allocation in held]
        if not dry_run:
            metrics.count_allocations(results)
        return results
    for request in requests:
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
            except _MustGrow:
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
    except (ValidationError, VLANManagerError) as error:
        error.index = index
        raise


def _lock_and_allocate(requests, user, may_grow=False):
    transactions.lock_clusters([key for request in requests for key in lock_keys(request)])
    if may_grow:
        pools = [request.pool for request in requests if request.pool.auto_grow]
        transactions.lock_spaces([pool.vrf_id for pool in pools], [pool.vlan_group_id for pool in pools])
    results = {}
    # Segments that are asked for by name are locked in one order, whoever asks, and before others could take them.
    for index in sorted(range(len(requests)), key=lambda index: _turn(requests[index])):
        with _indexed(index):
            results[index] = _allocate(requests[index], user, may_grow)
    return [results[index] for index in range(len(requests))]


def _turn(request):
    """Return what a batch's requests are sorted by; those that any segment will do for stay in their order."""
    wish = request.wish
    return request.pool.pk, not wish.is_one, wish.vid or 0, wish.segment or 0


def lock_keys(request):
    """Return the keys that `transactions.lock_clusters` takes for an AllocationRequest."""
    pool = request.pool
    keys = [(pool.pk, request.cluster_name, request.purpose)]
    if pool.max_per_cluster:
        keys.append((pool.pk, request.cluster_name, CLUSTER_LIMIT))
    if pool.max_per_tenant and request.tenant_id:
        keys.append((pool.pk, str(request.tenant_id), TENANT_LIMIT))
    return keys


def _allocate(request, user, may_grow):
    """Do the part of `allocate` that needs locks. `request` is left as it is, for another try."""
    if held := find_held(request):
        return AllocationResult(held, created=False)
    if request.pool.status != SegmentPoolStatusChoices.ACTIVE:
        raise PoolPaused(request.pool)
    check_limits(request)
    segment = _lock_segment(request, may_grow)
    segment.pool = request.pool
    return AllocationResult(hand_over(segment, request, user), created=True)


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


@timing.part("locks")
def _lock_segment(request, may_grow):
    """
    Lock and return the segment that the request gets, with its VLAN and prefixes.

    Rows that other transactions hold are passed over first. When all are held, a pool that grows makes a new segment.
    One that does not waits for them, for a short time, before it is called exhausted: one of those transactions may yet
    roll back, or commit the end of a cool-down. A segment that was asked for by name is waited for at once.
    """
    pool, wish = request.pool, request.wish
    grows = pool.auto_grow and wish.segment is None
    pk, growth = None, generation.Growth(None)
    if pool.cooldown:
        pk = quarantine.lock_returning(pool, request.cluster_name, request.purpose, wish)
    if pk is None and (grows or not wish.is_one):
        pk = lock_first(pool, wish, skip_locked=True)
    if pk is None and quarantine.promote(pool):
        pk = lock_first(pool, wish, skip_locked=True)
    if pk is None and grows:
        if not may_grow:
            raise _MustGrow
        growth = generation.grow(pool, wish)
        if growth.segment:
            return growth.segment
    if pk is None:
        transactions.set_lock_timeout(get_setting("lock_timeout" if wish.is_one else "last_segment_timeout"))
        quarantine.promote(pool, skip_locked=False)
        pk = lock_first(pool, wish, skip_locked=False)
    if pk is None:
        if not SegmentPool.objects.filter(pk=pool.pk).exists():
            # Merged or deleted since it was found: the same call, made again, finds the pool that is there now.
            raise Busy
        raise _unavailable(pool, wish, growth.reason)
    # Read once the row is locked: whoever held it may have changed its VLAN or prefix.
    return fetch_object(_segment_query, {PK: pk})


def _segment_query():
    return Segment.objects.filter(pk=PK).select_related("vlan", "prefix", "ipv6_prefix").order_by()


def _unavailable(pool, wish, reason):
    """Return the error for a wish that nothing available fulfils. Who holds a segment is not for everybody to know."""
    if not wish.is_one:
        return PoolExhausted(pool, wish, reason)
    segments = Segment.objects.filter(pool=pool).order_by()
    if wish.segment is not None:
        segments = segments.filter(pk=wish.segment)
    if wish.vid is not None:
        segments = segments.filter(vid=wish.vid)
    segment = segments.select_related("prefix").first()
    if segment is None:
        text = _("Pool {pool} has no segment with {wish}: add it, or ask for another.")
        if reason:
            text = _("{text} The pool cannot grow: {reason}").format(text=text, reason=reason)
    elif segment.status == SegmentStatusChoices.AVAILABLE:
        text = _("VLAN ID {vid} of pool {pool} is available, but does not fit {wish}.")
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
            wish=wish,
            vid=segment and segment.vid,
            until=timezone.localtime(until).isoformat(timespec="seconds") if until else _("an administrator ends it"),
        )
    )


def release(cluster_name, *, user, pool=None, site=None, vrf=None, purpose=""):
    """
    End the allocation that a cluster holds in a pool. Arguments and locks are those of `allocate`.

    Returns:
        ReleaseResult

    Raises:
        ValidationError: A value is not valid.
        PoolNotFound, AmbiguousPool: `site` and `vrf` name no pool, or several.
        AllocationNotFound: The cluster holds no segment of the pool for this purpose.
        Busy: Locks were not had in time; nothing was changed.
    """
    cluster_name = clean_cluster_name(cluster_name)
    purpose = clean_purpose(purpose)
    if pool is None:
        pool = resolve_pool(site, vrf).pool
    held = _held_by(pool, cluster_name, purpose)
    if held is None:
        raise AllocationNotFound(cluster_name, pool)
    return release_allocation(held, user=user)


def release_allocation(allocation, *, user, changelog_message="", reason=ReleaseReasonChoices.RELEASED, if_due=False):
    """
    End `allocation`; one that has ended already is left alone.

    Locks the cluster's key in the pool and the segment's row until the transaction ends. The segment is available
    again, or quarantined for the pool's cool-down; one that others share stays theirs.

    Args:
        allocation: The Allocation.
        user: The User, or the user name, whom the change log names; None for the system.
        changelog_message: Why, for the change log of the allocation.
        reason: One of ReleaseReasonChoices.
        if_due: Leave it alone as well if it does not expire, or not yet, by what the row says once it is locked.

    Returns:
        ReleaseResult, whose allocation is the row as it is now.

    Raises:
        Busy: Locks were not had in time; nothing was changed.
    """
    if allocation.released_at is not None:
        return ReleaseResult(allocation, released=False)
    about = {"cluster": allocation.cluster_name, "pool": allocation.pool_name, "vid": allocation.vid, "user": user}
    with timing.operation("release", **about, reason=reason) as operation:
        user = audit.get_user(user)
        with audit.change_tracking(user):
            result = transactions.run(partial(release_locked, allocation, user, changelog_message, reason, if_due))
        operation.outcome = "released" if result.released else "replayed"
        return result


def release_locked(allocation, user, changelog_message="", reason=ReleaseReasonChoices.RELEASED, if_due=False):
    """Do the part of `release_allocation` that needs locks, in the caller's transaction."""
    transactions.lock_clusters([(allocation.pool_id, allocation.cluster_name, allocation.purpose)])
    segments = Segment.objects.select_related("vlan", "prefix", "ipv6_prefix", "pool__vrf").order_by()
    with timing.part("locks"):
        held = segments.select_for_update(no_key=True, of=("self",)).filter(allocations=allocation.pk)
        # Empty where the segment went over to another pool while its row was waited for; the next statement sees it.
        segment = held.first() or held.first()
    others = Allocation.objects.active().filter(segment=OuterRef("segment")).exclude(pk=OuterRef("pk"))
    allocations = Allocation.objects.select_related("allocated_by").annotate(others_hold=Exists(others))
    allocation = allocations.get(pk=allocation.pk)
    now = timezone.now()
    if allocation.released_at is not None or (if_due and not (allocation.expires_at and allocation.expires_at <= now)):
        return ReleaseResult(allocation, released=False)
    allocation.segment = segment
    allocation.pool = pool = segment.pool
    allocation._changelog_message = changelog_message
    # Whatever the clock did meanwhile, history does not end before it began.
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
        freed = {"status": SegmentStatusChoices.AVAILABLE, "last_released_at": released_at}
        if pool.cooldown:
            freed |= {
                "status": SegmentStatusChoices.QUARANTINED,
                "quarantined_until": released_at + timedelta(seconds=pool.cooldown),
            }
        if reasons := status_reasons(segment.vlan, ()):
            # Its VLAN was reserved or deprecated meanwhile: it is handed out to nobody, after a cool-down neither.
            freed = {**disabling(segment, ", ".join(reasons)), "last_released_at": released_at}
        updates += [(segment, freed), *_prefix_updates(segment, get_setting("prefix_status_available"))]
    event = EXPIRED if reason == ReleaseReasonChoices.EXPIRED else RELEASED
    audit.write(updates=updates, events=[(allocation, event)])
    metrics.count_release(pool, reason)
    return ReleaseResult(allocation, released=True)


def renew(allocation, *, user, expires_at, changelog_message=""):
    """
    Give an active allocation another time to expire, or none.

    Locks the cluster's key in the pool until the transaction ends.

    Args:
        allocation: The Allocation.
        user: The User, or the user name, whom the change log names.
        expires_at: A datetime in the future, or None to keep it until it is released.
        changelog_message: Why, for the change log.

    Returns:
        The Allocation, as it is now.

    Raises:
        ValidationError: The time is not valid, or the allocation was released.
        Busy: Locks were not had in time; nothing was changed.
    """
    expires_at = clean_expiry(expires_at)
    user = audit.get_user(user)
    about = {"cluster": allocation.cluster_name, "pool": allocation.pool_name, "user": user, "expires_at": expires_at}
    with timing.operation("renew", **about), audit.change_tracking(user):
        return transactions.run(partial(_renew, allocation, expires_at, changelog_message))


def _renew(allocation, expires_at, changelog_message):
    transactions.lock_clusters([(allocation.pool_id, allocation.cluster_name, allocation.purpose)])
    allocation = Allocation.objects.select_related("pool", "segment__vlan", "segment__prefix").get(pk=allocation.pk)
    if allocation.released_at is not None:
        raise ValidationError({"expires_at": _("The allocation was released: allocate anew instead.")})
    if allocation.expires_at != expires_at:
        allocation._changelog_message = changelog_message
        audit.update(allocation, expires_at=expires_at, expiry_warned=False)
    return allocation


def find_held(request):
    """
    Return the active allocation that answers the request, or None.

    Raises:
        VIDUnavailable: The cluster holds another segment than the one it asks for.
    """
    held = _held_by(request.pool, request.cluster_name, request.purpose)
    if held and not request.wish.is_met_by(held):
        raise VIDUnavailable(
            _(
                "Cluster {cluster} holds VLAN ID {vid} ({prefix}) of pool {pool}, which is not {wish}: "
                "release it first, or give another purpose."
            ).format(cluster=held.cluster_name, vid=held.vid, prefix=held.prefix, pool=request.pool, wish=request.wish)
        )
    return held


@timing.part("look-up")
def _held_by(pool, cluster_name, purpose):
    """Return the active allocation of a cluster in `pool`, or None; one query, of one table."""
    held = fetch_object(_held_query, {POOL: pool.pk, CLUSTER: cluster_name, PURPOSE: purpose})
    if held:
        held.pool = pool
    return held


def _held_query():
    return Allocation.objects.active().of_cluster(CLUSTER).filter(pool=POOL, purpose=PURPOSE).order_by()


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
    clusters = Cluster.objects.filter(name__iexact=CLUSTER).order_by().values_list(Value(True), "pk", "tenant")[:2]
    links = CustomField.object_types.through.objects
    allocations = ContentType.objects.get_for_model(Allocation)
    fields = links.filter(contenttype_id=allocations.pk).order_by()
    return clusters.union(fields.values_list(Value(False), "pk", "customfield")[:1], all=True).order_by()
