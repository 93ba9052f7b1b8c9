"""
Cool-downs: a released segment is quarantined before it is handed out again.

A system job makes segments available whose cool-down is over (it promotes them); so does a call that finds no available
segment in a pool. The status, not the clock, decides which segments are available, so the free list stays one index.
"""

import logging
from functools import partial

from django.db.models import F
from django.utils import timezone
from rq.timeouts import BaseTimeoutException

from ...choices import SegmentStatusChoices
from ...exceptions import Busy
from ...models import Segment
from ..base import audit, hooks, operations, transactions
from .criteria import matching
from .locks import lock_segment

__all__ = (
    "NotPromotedError",
    "end_quarantine",
    "lock_returning",
    "promote_all",
    "promote_locked",
    "returning_segments",
)

logger = logging.getLogger("netbox_vlan_manager.quarantine")

# How many segments one transaction promotes.
BATCH_SIZE = 200


class NotPromotedError(Exception):
    """A segment whose cool-down is over could not be made available; its cause says why."""


def lock_returning(pool, cluster_name, purpose, criteria):
    """
    Lock the segment of `pool` that a cluster released last, and return its id.

    Only segments that are still quarantined and meet `criteria` count; None if there is none.
    """
    segments = returning_segments([pool], cluster_name, purpose).filter(matching(criteria))
    rows = segments.select_for_update(no_key=True, skip_locked=True, of=("self",))
    return rows.values_list("pk", flat=True).first()


def returning_segments(pools, cluster_name, purpose):
    """
    Return the segments of `pools` that are quarantined after a cluster released them, the last released first.

    A segment counts only if no other cluster released it later: one that shared it, or one that got it after an
    administrator had ended an earlier cool-down.
    """
    return Segment.objects.filter(
        pool__in=pools,
        status=SegmentStatusChoices.QUARANTINED,
        allocations__cluster_name__iexact=cluster_name,
        allocations__purpose=purpose,
        allocations__released_at=F("last_released_at"),
    ).order_by("-last_released_at", "-pk")


def promote_locked(pool, skip_locked=True):
    """
    Make the segments of `pool` available whose cool-down is over, in the caller's transaction; return how many.

    Args:
        pool: The SegmentPool.
        skip_locked: Whether to skip rows that other transactions have locked, or to wait for them. Segments that
            another transaction promotes are not visible as available until it commits.
    """
    return _promote(Segment.objects.filter(pool=pool), skip_locked)


def promote_all():
    """
    Make all segments available whose cool-down is over, one transaction for each batch; return how many.

    Two runs at once share the work: each skips the rows that the other has locked. A segment that a signal receiver
    refuses does not stop the rest of its batch, and the next run tries it again.

    Raises:
        Busy: Locks were not had in time. Segments that were promoted before stay available.
        ExceptionGroup: Of NotPromotedErrors, after all other segments are promoted.
    """
    total, errors = 0, {}
    with audit.change_tracking(None):
        while True:
            known = len(errors)
            count = _promote_batch(errors)
            total += count
            if not count and len(errors) == known:
                break
    if errors:
        text = f"Made {total} quarantined segments available; {len(errors)} could not be"
        raise ExceptionGroup(text, [*errors.values()])
    return total


def _promote_batch(errors):
    """Promote up to BATCH_SIZE segments that are not in `errors`, {id: NotPromotedError}; add new errors to it."""
    segments = Segment.objects.exclude(pk__in=[*errors])
    try:
        return transactions.run(partial(_promote, segments))
    except (Busy, BaseTimeoutException):
        raise
    except Exception:
        # One of them is refused, and nothing tells which: try each by itself.
        return sum(_promote_alone(segment, errors) for segment in list(_due(segments)[:BATCH_SIZE]))


def _promote_alone(segment, errors):
    try:
        return transactions.run(partial(_promote, Segment.objects.filter(pk=segment.pk)))
    except (Busy, BaseTimeoutException):
        raise
    except Exception as error:
        logger.exception("Segment %s was not made available, though its cool-down is over", segment.pk)
        text = f"Segment {segment.pk} ({segment}) was not made available: {str(error) or repr(error)}"
        errors[segment.pk] = NotPromotedError(text)
        errors[segment.pk].__cause__ = error
        return 0


def _due(segments):
    due = segments.filter(status=SegmentStatusChoices.QUARANTINED, quarantined_until__lte=timezone.now())
    return due.select_related("vlan", "pool").order_by("pool_id", "vid")


def _promote(segments, skip_locked=True):
    locked = list(_due(segments).select_for_update(no_key=True, skip_locked=skip_locked, of=("self",))[:BATCH_SIZE])
    audit.write(
        updates=[(segment, {"status": SegmentStatusChoices.AVAILABLE, "quarantined_until": None}) for segment in locked]
    )
    return len(locked)


def end_quarantine(segment, *, user, changelog_message=""):
    """
    Make a quarantined segment available now; a segment of another status stays as it is.

    Locks its row until the transaction ends.

    Args:
        segment: The Segment.
        user: The User, or the user name, for the change log.
        changelog_message: Why, for the change log.

    Returns:
        The Segment, as it is now.

    Raises:
        Vetoed: An optional part of the plugin refuses that the segment is handed out again.
        Busy: The lock was not had in time, or the segment was deleted; nothing was changed.
    """
    user = audit.get_user(user)
    about = {"segment": segment.pk, "vid": segment.vid, "user": user}
    with operations.track("end quarantine", **about), audit.change_tracking(user):
        return transactions.run(partial(_end_quarantine_locked, segment.pk, changelog_message))


def _end_quarantine_locked(pk, changelog_message):
    segment = lock_segment(pk)
    if segment.status == SegmentStatusChoices.QUARANTINED:
        hooks.check_vetoes(hooks.REUSE, [pk])
        segment._changelog_message = changelog_message
        audit.update(segment, status=SegmentStatusChoices.AVAILABLE, quarantined_until=None)
    return segment
