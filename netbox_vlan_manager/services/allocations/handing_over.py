"""Gives a segment to another cluster at once, or back to the cluster that released it."""

from functools import partial

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from ... import metrics
from ...choices import AllocationStatusChoices, ReleaseReasonChoices, SegmentStatusChoices
from ...events import RELEASED
from ...exceptions import VIDUnavailable
from ...validators import ClusterName
from ..base import audit, hooks, operations, transactions
from ..base.cluster_keys import cluster_keys
from .allocating import AllocationResult, allocate, find_or_end_locked, run, write_allocation_locked
from .releasing import ending, lock_segment_of, read_locked, release_locked
from .requests import (
    AllocationRequest,
    check_limits_locked,
    check_open,
    find_held,
    lock_key,
    lock_keys,
    look_up_cluster,
)

__all__ = (
    "can_undo_release",
    "hand_over",
    "undo_release",
)


def hand_over(allocation, cluster_name, *, user, viewer=None, changelog_message="", dry_run=False):
    """
    End an active allocation and allocate its segment to another cluster, in one transaction and without a cool-down.

    The new allocation has the purpose, places, expiry, texts, owner, tags and custom fields of the old one, which stays
    as history. Other clusters that share the segment keep it. A call made again changes nothing.

    Locks both clusters' keys in the VRF and the segment's row until the transaction ends.

    Args:
        allocation: The Allocation.
        cluster_name: The cluster that gets the segment; trimmed, compared without case.
        user, viewer, dry_run: As `allocate` takes them.
        changelog_message: The reason, for the change log of both allocations.

    Returns:
        AllocationResult; `created` is False when that cluster held the segment already.

    Raises:
        ValidationError: A value is not valid, or the allocation is not active.
        VIDUnavailable: The cluster holds another segment of the pool, or for the same place, for this purpose.
        PermissionDenied: It holds that segment in another pool, which the viewer may see and not use.
        PoolPaused: The pool makes no new allocations.
        LimitReached: The cluster or its tenant holds as many segments as the pool allows.
        Busy: Locks were not had in time; nothing was changed.
    """
    user = audit.get_user(user)
    cluster_name = ClusterName.clean(cluster_name)
    about = {"cluster": allocation.cluster_name, "pool": allocation.pool_name, "vid": allocation.vid, "user": user}
    with operations.track("hand over", dry_run=dry_run, **about) as operation:
        request = None
        if allocation.segment_id and allocation.pool_id:
            request = look_up_cluster(_request_for(allocation, cluster_name, viewer))
        if allocation.status != AllocationStatusChoices.ACTIVE:
            held = request and find_held(request)
            if held is None or allocation.release_reason != ReleaseReasonChoices.HANDED_OVER:
                raise _not_active()
            operation.outcome = "held"
            return AllocationResult(held, created=False)
        with audit.change_tracking(user):
            work = partial(_hand_over_locked, allocation, request, user, changelog_message)
            (result,) = run(work, dry_run)
        operation.outcome = "done" if result.created else "held"
        return result


def _request_for(allocation, cluster_name, viewer):
    """Return the AllocationRequest of a cluster that shall hold the segment of `allocation` in its place."""
    return AllocationRequest.clean(
        cluster_name,
        pool=allocation.pool,
        purpose=allocation.purpose,
        places=allocation.places,
        segment=allocation.segment,
        viewer=viewer,
        **_kept(allocation),
    )


def _kept(allocation):
    """Return the arguments of `allocate` that give a new allocation the expiry and the texts of an older one."""
    return {
        "expires_at": allocation.expires_at if allocation.expires_at and not allocation.is_over else None,
        "description": allocation.description,
        "comments": allocation.comments,
        "owner": allocation.owner,
        "custom_field_data": allocation.custom_field_data,
    }


def _hand_over_locked(allocation, request, user, changelog_message):
    transactions.lock_clusters([lock_key(allocation), *lock_keys(request)])
    segment = lock_segment_of(allocation)
    allocation = read_locked(allocation)
    if allocation.released_at is not None or allocation.has_ended:
        raise _not_active()
    names = (allocation.cluster_name, request.cluster_name)
    if len(set(cluster_keys(names).values())) == 1:
        return [AllocationResult(allocation, created=False)]
    messages = [
        f"{text} {changelog_message}".strip()
        for text in (
            _("Handed over to cluster {cluster}.").format(cluster=names[1]),
            _("Handed over from cluster {cluster}.").format(cluster=names[0]),
        )
    ]
    held, _ended = find_or_end_locked(request)
    if held:
        # The cluster shares the segment already.
        release_locked(allocation, user, messages[0], ReleaseReasonChoices.HANDED_OVER)
        return [AllocationResult(held, created=False)]
    check_open(request)
    check_limits_locked(request, leaving=[allocation])
    allocation.segment = segment
    allocation._changelog_message = messages[0]
    released_at = max(timezone.now(), allocation.allocated_at)
    end = ending(segment.pool, released_at, user, ReleaseReasonChoices.HANDED_OVER)
    audit.write(updates=[(allocation, end)], events=[(allocation, RELEASED)])
    hooks.send(hooks.segments_released, [segment.pk])
    metrics.count_release(segment.pool, ReleaseReasonChoices.HANDED_OVER)
    request.fields["changelog_message"] = messages[1]
    new = write_allocation_locked(segment, request, user, shared=allocation.shared)
    if tags := list(allocation.tags.all()):
        new.tags.set(tags)
    return [AllocationResult(new, created=True)]


def _not_active():
    return ValidationError(_("The allocation is not active: only a segment that a cluster holds is handed over."))


def can_undo_release(allocation):
    """
    Return whether the release of an allocation can be undone: by what its segment, which is read, says.

    No other cluster has held the segment since, and it is available or quarantined.
    """
    segment = allocation.segment
    return (
        segment is not None
        and allocation.release_reason == ReleaseReasonChoices.RELEASED
        and segment.status in (SegmentStatusChoices.AVAILABLE, SegmentStatusChoices.QUARANTINED)
        and segment.last_released_at == allocation.released_at
    )


def undo_release(allocation, *, user, viewer=None, changelog_message="", dry_run=False):
    """
    Give a cluster the segment back that it released, if no other cluster has held it since.

    It is a new allocation, with the purpose, places, expiry, texts, owner and custom fields of the old one, which stays
    as history. A call made again changes nothing. It locks as `allocate` does.

    Args:
        allocation: The released Allocation.
        user, viewer, changelog_message, dry_run: As in `hand_over`.

    Returns:
        AllocationResult; `created` is False when the cluster held the segment already.

    Raises:
        ValidationError: The allocation was not released, or ended in another way.
        VIDUnavailable: Another cluster has or had the segment, or the cluster holds another one for this purpose.
        Busy: Locks were not had in time; nothing was changed.
        ...and the other errors of `allocate`.
    """
    if allocation.released_at is None:
        raise ValidationError(_("The allocation was not released: there is nothing to undo."))
    if allocation.release_reason != ReleaseReasonChoices.RELEASED:
        raise ValidationError(_("The allocation ended in another way than by a release: allocate again instead."))
    request = allocation.segment and _request_for(allocation, allocation.cluster_name, viewer)
    if not can_undo_release(allocation) and not (request and find_held(request)):
        raise VIDUnavailable(
            _(
                "VLAN ID {vid} cannot be given back to the cluster: it was handed out, disabled or deleted since then."
            ).format(vid=allocation.vid)
        )
    message = f"{_('Undid the release.')} {changelog_message}".strip()
    return allocate(
        allocation.cluster_name,
        user=user,
        pool=allocation.pool,
        purpose=allocation.purpose,
        places=allocation.places,
        segment=allocation.segment,
        viewer=viewer,
        changelog_message=message,
        dry_run=dry_run,
        **_kept(allocation),
    )
