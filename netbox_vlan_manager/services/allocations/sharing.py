"""Lets several clusters hold one segment. When one of them releases it, the others keep it."""

from dataclasses import replace
from functools import partial

from django.core.exceptions import PermissionDenied, ValidationError
from django.utils.translation import gettext as _

from ...choices import SegmentPoolStatusChoices, SegmentStatusChoices
from ...exceptions import Busy, PoolPaused, VIDUnavailable
from ...models import Allocation, Segment
from ...validators import ClusterName
from ..base import audit, operations, transactions
from ..base.cluster_keys import cluster_keys
from . import releases
from .allocating import AllocationResult, find_or_end_locked, run, write_allocation_locked
from .releasing import release_locked
from .requests import AllocationRequest, check_limits_locked, lock_key, lock_keys, look_up_cluster

__all__ = (
    "set_clusters",
    "share",
)


def share(segment, cluster_name, *, user, dry_run=False, **asked):
    """
    Let one more cluster hold a segment; an available segment is allocated to the cluster.

    Locks the cluster's key in the pool and the segment's row until the transaction ends.

    Args:
        segment: The Segment.
        cluster_name: The cluster that comes to hold it.
        user: The User, or the user name, that the change log names.
        dry_run: Return what would happen, and change nothing.
        asked: `purpose`, `expires_at`, `description`, `comments`, `owner`, `custom_field_data` and `changelog_message`
            of the new allocation, as `allocate` takes them.

    Returns:
        AllocationResult

    Raises:
        ValidationError: A value is not valid.
        PoolPaused: The pool makes no new allocations.
        VIDUnavailable: The segment is quarantined or disabled, or the cluster holds another one of the pool.
        LimitReached: The cluster or its tenant holds as many segments as the pool allows.
        Busy: Locks were not had in time; nothing was changed.
    """
    user = audit.get_user(user)
    request = AllocationRequest.clean(cluster_name, pool=segment.pool, segment=segment, **asked)
    about = {"cluster": request.cluster_name, "pool": segment.pool, "vid": segment.vid, "user": user}
    with operations.track("share", dry_run=dry_run, **about) as operation, audit.change_tracking(user):
        (result,) = run(partial(_share_all_locked, segment, _prepare([request]), user), dry_run)
        operation.outcome = result.outcome
    return result


def set_clusters(segment, cluster_names, *, user, releasable=None, dry_run=False, changelog_message=""):
    """
    Make these clusters, and no others, hold a segment: the missing ones come to share it, all others are released.

    Locks the keys of all of them, sorted, and the segment's row until the transaction ends.

    Args:
        segment: The Segment.
        cluster_names: A list of names; an empty one releases all.
        user: The User, or the user name, that the change log names.
        releasable: The condition for the allocations that may be released; None for all of them.
        dry_run: Return what would happen, and change nothing.
        changelog_message: The reason, for the change log.

    Returns:
        A list of AllocationResults, of the clusters in the order given.

    Raises:
        PermissionDenied: An allocation that would be released is not `releasable`.
        SegmentInUse: All would be released, NetBox objects use the segment, and the pool refuses that.
        Busy: Locks were not had in time; nothing was changed.
        ...and the other errors of `share`.
    """
    user = audit.get_user(user)
    cleaned = [ClusterName.clean(name) for name in cluster_names]
    keys = cluster_keys(cleaned)
    names = {keys[name]: name for name in cleaned}
    if len(names) < len(cluster_names):
        raise ValidationError({"cluster_names": _("A cluster is named twice: name each once.")})
    requests = [AllocationRequest.clean(name, pool=segment.pool, segment=segment) for name in names.values()]
    about = {"clusters": len(requests), "pool": segment.pool, "vid": segment.vid, "user": user}
    with operations.track("set_clusters", dry_run=dry_run, **about), audit.change_tracking(user):
        use = releases.find_use_that_matters(segment.pool, segment.pk, user)
        work = partial(_set_clusters_locked, segment, _prepare(requests), user, releasable, changelog_message, use)
        return run(work, dry_run)


def _prepare(requests):
    """Return the requests with their clusters looked up. Runs before the locks, which are held shorter then."""
    requests = [look_up_cluster(request) for request in requests]
    if requests:
        audit.prepare(Allocation, any(request.has_custom_fields for request in requests))
    return requests


def _set_clusters_locked(segment, requests, user, releasable, changelog_message, use):
    held = Allocation.objects.unreleased().filter(segment=segment)
    keys = [lock_key(one) for one in held.select_related("pool")]
    transactions.lock_clusters([*keys, *(key for request in requests for key in lock_keys(request))])
    _lock(segment)
    # Read under the lock of the row: without it no cluster comes to hold the segment, and none releases it.
    now = list(held.select_related("pool"))
    cluster_key = cluster_keys(one.cluster_name for one in (*requests, *now)).get
    wanted = {cluster_key(request.cluster_name) for request in requests}
    others = [one for one in now if cluster_key(one.cluster_name) not in wanted]
    if others and releasable is not None:
        pks = [one.pk for one in others]
        if Allocation.objects.filter(releasable, pk__in=pks).count() < len(pks):
            raise PermissionDenied(
                _(
                    "This would release clusters that you may not release. Name these clusters too, or ask "
                    "for the permission “release” on segment pools."
                )
            )
    # Shared first: if no cluster held the segment for a moment, its cool-down would begin.
    results = _share_all_locked(segment, requests, user, leaving=others)
    for one in others:
        release_locked(one, user, changelog_message, use=use)
    return results


def _share_all_locked(segment, requests, user, leaving=()):
    transactions.lock_clusters([key for request in requests for key in lock_keys(request)])
    results = []
    for request in requests:
        locked = _lock(segment)
        request = replace(request, pool=locked.pool)
        if held := Allocation.objects.active().of_cluster(request.cluster_name).filter(segment=segment).first():
            held.pool = locked.pool
            results.append(AllocationResult(held, created=False))
            continue
        # The cluster may hold another segment for the same purpose, which is an error.
        _held, ended = find_or_end_locked(request)
        if ended:
            # One of these may have held this segment, whose status has changed then.
            locked = _lock(segment)
        if locked.pool.status != SegmentPoolStatusChoices.ACTIVE:
            raise PoolPaused(locked.pool)
        is_own = locked.pk in [one.segment_id for one in ended]
        if locked.status not in (SegmentStatusChoices.AVAILABLE, SegmentStatusChoices.ALLOCATED) and not is_own:
            raise VIDUnavailable(
                _("Segment {segment} is {status}: only one that is available or allocated can be shared.").format(
                    segment=locked, status=locked.get_status_display().lower()
                )
            )
        check_limits_locked(request, leaving)
        shared = locked.status == SegmentStatusChoices.ALLOCATED
        results.append(AllocationResult(write_allocation_locked(locked, request, user, shared), created=True))
    return results


def _lock(segment):
    """Lock the row of `segment` and return it as it is now, with its pool, VLAN and prefixes."""
    rows = Segment.objects.filter(pk=segment.pk).order_by()
    if not rows.select_for_update(no_key=True).values_list("pk"):
        # Deleted since the caller read it: the same call, made again, does not find it.
        raise Busy
    # Read after the row is locked: the transaction that held it may have changed its VLAN or prefix.
    return rows.select_related("vlan", "prefix", "ipv6_prefix", "pool__vrf").get()
