"""
The reservation service: hands a segment to a cluster, and takes it back.

One cluster gets one segment of a pool for one purpose, and the same when it asks again; no segment has two holders. The
database holds both (partial unique indexes, and a trigger that ties a segment's status to its allocations); the locks
here make concurrent callers meet neither as an error. Permissions are the caller's business.
"""

from functools import partial
from typing import NamedTuple

from django.contrib.contenttypes.models import ContentType
from django.db.models import Value
from django.utils import timezone

from extras.models import CustomField
from virtualization.models import Cluster

from ..choices import SegmentPoolStatusChoices, SegmentStatusChoices
from ..exceptions import AllocationNotFound, PoolExhausted, PoolPaused
from ..models import Allocation, Segment
from ..settings import get_setting
from ..validators import clean_cluster_name, clean_purpose
from . import audit, timing, transactions
from .prepared import fetch_object, fetch_rows
from .resolution import resolve_pool

__all__ = (
    "AllocationResult",
    "ReleaseResult",
    "allocate",
    "available_segments",
    "release",
    "release_allocation",
)


# What stands in a prepared query for the values of a call.
CLUSTER, PURPOSE = "\x01cluster", "\x01purpose"
POOL, PK = 2**63 - 1, 2**63 - 2


class AllocationResult(NamedTuple):
    """`created` is False when the cluster held the segment already."""

    allocation: Allocation
    created: bool


class ReleaseResult(NamedTuple):
    """`released` is False when the allocation had been released before."""

    allocation: Allocation
    released: bool


def allocate(cluster_name, *, user, pool=None, site=None, vrf=None, purpose="", **fields):
    """
    Return the segment that a cluster holds in a pool, allocating the lowest available one if it holds none.

    Locks the cluster's key in the pool and one segment row until the transaction ends.

    Args:
        cluster_name: Who asks; trimmed, compared without case.
        user: The User, or the user name, whom the change log names.
        pool: The SegmentPool; or give `site` and `vrf` and it is found (see `resolution.resolve_pool`).
        purpose: Tells several segments of one cluster in the pool apart.
        fields: description, comments, owner, custom_field_data, changelog_message of a new allocation; one that is
            there keeps its own.

    Returns:
        AllocationResult

    Raises:
        ValidationError: A value is not valid, or a custom validator of NetBox's refused the allocation.
        PoolNotFound, AmbiguousPool: `site` and `vrf` name no pool, or several.
        PoolPaused: The pool makes no new allocations.
        PoolExhausted: It has no available segment.
        Busy: Locks were not had in time; nothing was changed.
    """
    cluster_name = clean_cluster_name(cluster_name)
    purpose = clean_purpose(purpose)
    with timing.operation("allocate", cluster=cluster_name, pool=pool, site=site, vrf=vrf) as operation:
        if pool is None:
            pool = resolve_pool(site, vrf).pool
        result = _find_or_allocate(cluster_name, user, pool, purpose, fields)
        operation.outcome = "created" if result.created else "replayed"
        return result


def _find_or_allocate(cluster_name, user, pool, purpose, fields):
    """Return the AllocationResult of clean values."""
    if held := _held_by(pool, cluster_name, purpose):
        return AllocationResult(held, created=False)
    if pool.status == SegmentPoolStatusChoices.PAUSED:
        raise PoolPaused(pool)
    user = audit.get_user(user)
    cluster_id, has_custom_fields = _facts(cluster_name)
    draft = Allocation(
        pool=pool,
        cluster_name=cluster_name,
        cluster_id=cluster_id,
        purpose=purpose,
        allocated_by=user,
    )
    with audit.change_tracking(user):
        audit.prepare(Allocation, has_custom_fields)
        # Where somebody writes past the locks, the unique index refuses this call, and its next try reads the winner.
        return transactions.run(partial(_allocate, draft, fields))


def _allocate(draft, fields):
    """Do the part of `allocate` that needs locks. `draft` is left as it is, for another try."""
    pool, cluster_name, purpose = draft.pool, draft.cluster_name, draft.purpose
    transactions.lock_clusters([(pool.pk, cluster_name, purpose)])
    if held := _held_by(pool, cluster_name, purpose):
        return AllocationResult(held, created=False)
    segment = _lock_next(pool)
    if segment is None:
        raise PoolExhausted(pool)
    segment.pool = pool

    allocation = Allocation(
        segment=segment,
        pool=pool,
        cluster_name=cluster_name,
        cluster_id=draft.cluster_id,
        purpose=purpose,
        allocated_by=draft.allocated_by,
        allocated_at=timezone.now(),
        **fields,
    )
    allocation.record_segment(segment)
    # Custom validators see the allocation; what they cannot change is excluded, since each check would be a query.
    allocation.full_clean(
        exclude=("segment", "pool", "cluster", "allocated_by"), validate_unique=False, validate_constraints=False
    )
    audit.write(
        updates=[
            (segment, {"status": SegmentStatusChoices.ALLOCATED}),
            (segment.prefix, {"status": get_setting("prefix_status_allocated")}),
        ],
        creates=[allocation],
    )
    return AllocationResult(allocation, created=True)


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


def release_allocation(allocation, *, user, changelog_message=""):
    """
    End `allocation`; one that has ended already is left alone.

    Locks the cluster's key in the pool and the segment's row until the transaction ends.

    Args:
        allocation: The Allocation.
        user: The User, or the user name, whom the change log names.
        changelog_message: Why, for the change log of the allocation.

    Returns:
        ReleaseResult, whose allocation is the row as it is now.

    Raises:
        Busy: Locks were not had in time; nothing was changed.
    """
    if allocation.released_at is not None:
        return ReleaseResult(allocation, released=False)
    with timing.operation("release", cluster=allocation.cluster_name, pool=allocation.pool_name) as operation:
        user = audit.get_user(user)
        with audit.change_tracking(user):
            result = transactions.run(partial(_release, allocation, user, changelog_message))
        operation.outcome = "released" if result.released else "replayed"
        return result


def _release(allocation, user, changelog_message):
    """Do the part of `release_allocation` that needs locks."""
    transactions.lock_clusters([(allocation.pool_id, allocation.cluster_name, allocation.purpose)])
    segments = Segment.objects.select_related("vlan", "prefix", "pool__vrf").order_by()
    with timing.part("locks"):
        segment = segments.select_for_update(no_key=True, of=("self",)).filter(allocations=allocation.pk).first()
    allocation = Allocation.objects.select_related("allocated_by").get(pk=allocation.pk)
    if allocation.released_at is not None:
        return ReleaseResult(allocation, released=False)
    allocation.segment = segment
    allocation.pool = segment.pool
    allocation._changelog_message = changelog_message
    # Whatever the clock did meanwhile, history does not end before it began.
    released_at = max(timezone.now(), allocation.allocated_at)
    ending = {
        "released_at": released_at,
        "released_by": user,
        # Their VLAN and prefix are followed at once, a new name of the pool or VRF here.
        "pool_name": segment.pool.name,
        "vrf_name": segment.pool.vrf.name,
    }
    audit.write(
        updates=[
            (allocation, ending),
            (segment, {"status": SegmentStatusChoices.AVAILABLE}),
            (segment.prefix, {"status": get_setting("prefix_status_available")}),
        ]
    )
    return ReleaseResult(allocation, released=True)


def available_segments(pool):
    """Return the available segments of `pool`, in the order in which they would be allocated. Locks nothing."""
    return Segment.objects.filter(pool=pool, status=SegmentStatusChoices.AVAILABLE).order_by("vid")


@timing.part("look-up")
def _held_by(pool, cluster_name, purpose):
    """Return the active allocation of a cluster in `pool`, or None; one query, of one table."""
    held = fetch_object(_held_query, {POOL: pool.pk, CLUSTER: cluster_name, PURPOSE: purpose})
    if held:
        held.pool = pool
    return held


def _held_query():
    return Allocation.objects.active().of_cluster(CLUSTER).filter(pool=POOL, purpose=PURPOSE).order_by()


@timing.part("locks")
def _lock_next(pool):
    """
    Lock and return the available segment with the lowest VLAN ID, or None when the pool has none.

    Rows that other transactions hold are passed over first. When all are held, one of those transactions may yet roll
    back, so a second statement waits for them, for a short time, before the pool is called exhausted.
    """
    free = fetch_rows(_free_query, {POOL: pool.pk})
    if not free:
        transactions.set_lock_timeout(get_setting("last_segment_timeout"))
        free = available_segments(pool).select_for_update(no_key=True).values_list("pk")[:1]
        if not free:
            return None
    # Read once the row is locked: whoever held it may have changed its VLAN or prefix.
    return fetch_object(_segment_query, {PK: free[0][0]})


def _free_query():
    return available_segments(POOL).select_for_update(skip_locked=True, no_key=True).values_list("pk")[:1]


def _segment_query():
    return Segment.objects.filter(pk=PK).select_related("vlan", "prefix").order_by()


def _facts(cluster_name):
    """
    Return what a new allocation needs to know, in one statement.

    It is the id of the virtualization.Cluster of that name where there is exactly one, else None; and whether
    allocations have custom fields.
    """
    rows = fetch_rows(_facts_query, {CLUSTER: cluster_name})
    clusters = [pk for is_cluster, pk in rows if is_cluster]
    return clusters[0] if len(clusters) == 1 else None, len(rows) > len(clusters)


def _facts_query():
    # Two matches are as good as many.
    clusters = Cluster.objects.filter(name__iexact=CLUSTER).order_by().values_list(Value(True), "pk")[:2]
    links = CustomField.object_types.through.objects
    allocations = ContentType.objects.get_for_model(Allocation)
    fields = links.filter(contenttype_id=allocations.pk).order_by().values_list(Value(False), "pk")[:1]
    return clusters.union(fields, all=True).order_by()
