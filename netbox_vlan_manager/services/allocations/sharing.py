"""
Segments that several clusters hold, because somebody said so. Releasing one cluster leaves the others.
"""

from functools import partial

from django.core.exceptions import PermissionDenied, ValidationError
from django.utils.translation import gettext as _

from ...choices import SegmentPoolStatusChoices, SegmentStatusChoices
from ...exceptions import Busy, PoolPaused, VIDUnavailable
from ...models import Allocation, Segment
from ...validators import clean_cluster_name
from ..base import audit, operations, transactions
from ..base.cluster_keys import cluster_keys
from . import allocation, releases
from .allocation import AllocationResult

__all__ = (
    "set_clusters",
    "share",
)


def share(segment, cluster_name, *, user, dry_run=False, **asked):
    """
    Let one more cluster hold a segment; one that is available is allocated to it.

    Locks the cluster's key in the pool and the segment's row until the transaction ends.

    Args:
        segment: The Segment.
        cluster_name: Who shall hold it as well.
        user: The User, or the user name, whom the change log names.
        dry_run: Say what would be, and change nothing.
        asked: purpose, expires_at, description, comments, owner, custom_field_data, changelog_message of the new
            allocation, as `allocation.allocate` takes them.

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
    request = allocation.clean_request(cluster_name, pool=segment.pool, segment=segment, **asked)
    about = {"cluster": request.cluster_name, "pool": segment.pool, "vid": segment.vid, "user": user}
    with operations.track("share", dry_run=dry_run, **about) as operation, audit.change_tracking(user):
        (result,) = allocation.run(partial(_share_all, segment, _prepare([request]), user), dry_run)
        operation.outcome = "created" if result.created else "replayed"
    return result


def set_clusters(segment, cluster_names, *, user, releasable=None, dry_run=False, changelog_message=""):
    """
    Make these clusters, and no others, hold a segment: the rest are released, those that are missing come to share it.

    Locks the keys of all of them, sorted, and the segment's row until the transaction ends.

    Args:
        segment: The Segment.
        cluster_names: A list of names; an empty one releases all.
        user: The User, or the user name, whom the change log names.
        releasable: The condition for the allocations that may be released; None for all of them.
        dry_run: Say what would be, and change nothing.
        changelog_message: Why, for the change log.

    Returns:
        A list of AllocationResults, of the clusters in the order given.

    Raises:
        PermissionDenied: One that would be released is not `releasable`.
        SegmentInUse: All would be released, objects of NetBox's use the segment, and the pool refuses that.
        ...and whatever `share` raises.
    """
    user = audit.get_user(user)
    cleaned = [clean_cluster_name(name) for name in cluster_names]
    keys = cluster_keys(cleaned)
    names = {keys[name]: name for name in cleaned}
    if len(names) < len(cluster_names):
        raise ValidationError({"cluster_names": _("A cluster is named twice: name each once.")})
    requests = [allocation.clean_request(name, pool=segment.pool, segment=segment) for name in names.values()]
    about = {"clusters": len(requests), "pool": segment.pool, "vid": segment.vid, "user": user}
    with operations.track("set_clusters", dry_run=dry_run, **about), audit.change_tracking(user):
        use = releases.find_use_that_matters(segment.pool, segment.pk, user)
        work = partial(_set_clusters, segment, _prepare(requests), user, releasable, changelog_message, use)
        return allocation.run(work, dry_run)


def _prepare(requests):
    """Find out what is slow before the locks."""
    for request in requests:
        allocation.find_facts(request)
    if requests:
        audit.prepare(Allocation, any(request.has_custom_fields for request in requests))
    return requests


def _set_clusters(segment, requests, user, releasable, changelog_message, use):
    held = Allocation.objects.unreleased().filter(segment=segment)
    keys = [allocation.lock_key(one) for one in held.select_related("pool")]
    transactions.lock_clusters([*keys, *(key for request in requests for key in allocation.lock_keys(request))])
    _lock(segment)
    # Nobody comes to hold the segment, or lets it go, without the lock of its row.
    now = list(held.select_related("pool"))
    cluster_key = cluster_keys(one.cluster_name for one in (*requests, *now)).get
    wanted = {cluster_key(request.cluster_name) for request in requests}
    others = [one for one in now if cluster_key(one.cluster_name) not in wanted]
    if others and releasable is not None:
        pks = [one.pk for one in others]
        if Allocation.objects.filter(releasable, pk__in=pks).count() < len(pks):
            raise PermissionDenied(
                _(
                    "You may not release all the clusters that this would; name those as well that others allocated, "
                    "or ask for the permission “release” on segment pools."
                )
            )
    # Shared before it is released: a segment that nobody held for a moment would be quarantined.
    results = _share_all(segment, requests, user, leaving=others)
    for one in others:
        allocation.release_locked(one, user, changelog_message, use=use)
    return results


def _share_all(segment, requests, user, leaving=()):
    transactions.lock_clusters([key for request in requests for key in allocation.lock_keys(request)])
    results = []
    for request in requests:
        locked = _lock(segment)
        request.pool = locked.pool
        if held := Allocation.objects.active().of_cluster(request.cluster_name).filter(segment=segment).first():
            held.pool = locked.pool
            results.append(AllocationResult(held, created=False))
            continue
        # The cluster may hold another segment for the same purpose, which is an error.
        _held, ended = allocation.find_or_end(request)
        if ended:
            # It may have been one of these.
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
        allocation.check_limits(request, leaving)
        shared = locked.status == SegmentStatusChoices.ALLOCATED
        results.append(AllocationResult(allocation.hand_over(locked, request, user, shared), created=True))
    return results


def _lock(segment):
    """Lock the row of `segment`, and return it as it is now."""
    rows = Segment.objects.filter(pk=segment.pk).order_by()
    if not rows.select_for_update(no_key=True).values_list("pk"):
        # Deleted since the caller read it: the same call, made again, does not find it.
        raise Busy
    # Read after the row is locked: the transaction that held it may have changed its VLAN or prefix.
    return rows.select_related("vlan", "prefix", "ipv6_prefix", "pool__vrf").get()
