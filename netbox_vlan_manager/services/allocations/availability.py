"""
Disables segments, which takes them out of use, and enables them again.

A disabled segment is allocated to no cluster. Its prefix keeps the status of an available one, since no cluster has it.
"""

from functools import partial
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from ipam.choices import VLANStatusChoices

from ...choices import SegmentStatusChoices
from ...exceptions import SegmentInUse
from ...models import Allocation, Segment
from ..base import audit, hooks, operations, transactions
from ..segments.guards import disabling
from ..segments.locks import lock_segment
from .releasing import end_overdue_locked

__all__ = (
    "AvailabilityResult",
    "disable_segment",
    "enable_segment",
)


class AvailabilityResult(NamedTuple):
    """`changed` is False when the segment already was as the caller asked."""

    segment: Segment
    changed: bool


def disable_segment(segment, *, user, reason="", changelog_message=""):
    """
    Take a segment out of use, so that it is not allocated; give a disabled segment another reason.

    This ends a cool-down. Locks the segment's row until the transaction ends.

    Args:
        segment: The Segment.
        user: The User, or the user name, that the change log names.
        reason: The reason, which users see at the segment; empty leaves that of a disabled segment as it is.
        changelog_message: The reason, for the change log.

    Returns:
        AvailabilityResult, whose segment is the row as it is now.

    Raises:
        ValidationError: The reason is too long.
        SegmentInUse: A cluster holds the segment.
        Busy: Locks were not had in time, or the segment was deleted; nothing was changed.
    """
    reason = _clean_reason(reason)
    return _run("disable", _disable_locked, user, segment, reason, changelog_message)


def enable_segment(segment, *, user, changelog_message=""):
    """
    Make a disabled segment available again, without its reason; any other segment stays as it is.

    Its VLAN becomes active, as that of every segment that can be allocated. Arguments, locks, result and Busy are those
    of `disable_segment`.
    """
    return _run("enable", _enable_locked, user, segment, changelog_message)


def _run(name, work, user, segment, *args):
    user = audit.get_user(user)
    with operations.track(name, segment=segment.pk, vid=segment.vid, user=user), audit.change_tracking(user):
        return transactions.run(partial(work, segment.pk, *args))


def _disable_locked(pk, reason, changelog_message):
    segment = lock_segment(pk)
    if segment.status == SegmentStatusChoices.ALLOCATED and end_overdue_locked(Allocation.objects.filter(segment=pk)):
        segment = lock_segment(pk)
    if segment.status == SegmentStatusChoices.ALLOCATED:
        raise SegmentInUse(
            _("Segment {segment} is allocated: release it before you disable it.").format(segment=segment)
        )
    if segment.status == SegmentStatusChoices.DISABLED and reason in ("", segment.disabled_reason):
        return AvailabilityResult(segment, changed=False)
    return _write_locked(segment, changelog_message, **disabling(segment, reason))


def _enable_locked(pk, changelog_message):
    segment = lock_segment(pk)
    if segment.status != SegmentStatusChoices.DISABLED:
        return AvailabilityResult(segment, changed=False)
    hooks.check_vetoes(hooks.REUSE, [pk])
    if segment.vlan.status != VLANStatusChoices.STATUS_ACTIVE:
        audit.update(segment.vlan, status=VLANStatusChoices.STATUS_ACTIVE)
    return _write_locked(segment, changelog_message, status=SegmentStatusChoices.AVAILABLE, disabled_reason="")


def _write_locked(segment, changelog_message, **values):
    segment._changelog_message = changelog_message
    audit.update(segment, **values)
    return AvailabilityResult(segment, changed=True)


def _clean_reason(reason):
    try:
        return Segment._meta.get_field("disabled_reason").clean(reason.strip(), None)
    except ValidationError as error:
        raise ValidationError({"reason": error.messages}) from None
