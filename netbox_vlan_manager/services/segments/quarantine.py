"""
Cool-down: a released segment is quarantined before it is handed out again.

A system job promotes segments whose time is over; so does a call that finds a pool without an available segment.
The status, not the clock, decides what is available, so the free list stays one index.
"""

import logging
from functools import partial

from django.db.models import F
from django.utils import timezone
from rq.timeouts import BaseTimeoutException

from ...choices import SegmentStatusChoices
from ...exceptions import Busy
from ...models import Segment
from ..base import audit, operations, transactions
from .criteria import matching
from .locks import lock_segment

__all__ = (
    "NotPromotedError",
    "end_quarantine",
    "lock_returning",
    "promote",
    "promote_all",
    "returning_segments",
)

logger = logging.getLogger("netbox_vlan_manager.quarantine")

# How many segments one transaction promotes.
BATCH_SIZE = 200


class NotPromotedError(Exception):
    """A segment whose cool-down is over could not be made available; its cause says why."""


def lock_returning(pool, cluster_name, purpose, criteria):
    """
    Lock that of the segments which a cluster gave back to `pool` last, of those that are still quarantined and meet
    `criteria`, and return its id; None where there is none.
    """
    segments = returning_segments([pool], cluster_name, purpose).filter(matching(criteria))
    rows = segments.select_for_update(no_key=True, skip_locked=True, of=("self",))
    return rows.values_list("pk", flat=True).first()


def returning_segments(pools, cluster_name, purpose):
    """
    Return the segments of `pools` that are quarantined after a cluster released them, the last first.

    It is the cluster's own cool-down only if nobody released the segment after it: who shared it, or who got it once
    an administrator had ended an earlier cool-down.
    """
    return Segment.objects.filter(
        pool__in=pools,
        status=SegmentStatusChoices.QUARANTINED,
        allocations__cluster_name__iexact=cluster_name,
        allocations__purpose=purpose,
        allocations__released_at=F("last_released_at"),
    ).order_by("-last_released_at", "-pk")


def promote(pool, skip_locked=True):
    """
    Make the segments of `pool` available whose cool-down is over, in the caller's transaction; return how many.

    Args:
        pool: The SegmentPool.
        skip_locked: Whether to pass over rows that other transactions hold, or to wait for them: until a promotion of
            somebody else's is committed, nobody sees what it made available.
    """
    return _promote(Segment.objects.filter(pool=pool), skip_locked)


def promote_all():
    """
    Make all segments available whose cool-down is over, a batch in a transaction; return how many.

    Two at once share the work: each passes over the rows that the other holds. A segment that somebody's receiver
    refuses keeps none of the others of its batch, and is tried again by the next run.

    Raises:
        Busy: Locks were not had in time. What was promoted before stays so.
        ExceptionGroup: Of NotPromotedErrors, once all that could be promoted are.
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
    """Promote up to BATCH_SIZE segments, but those of `errors`, {id: NotPromotedError}, to which it adds its own."""
    segments = Segment.objects.exclude(pk__in=[*errors])
    try:
        return transactions.run(partial(_promote, segments))
    except (Busy, BaseTimeoutException):
        raise
    except Exception:
        # One of them is refused. Nobody knows which: each is tried by itself.
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
    Make a quarantined segment available now; one that is not quarantined is left alone.

    Locks its row until the transaction ends.

    Args:
        segment: The Segment.
        user: The User, or the user name, whom the change log names.
        changelog_message: Why, for the change log.

    Returns:
        The Segment, as it is now.

    Raises:
        Busy: The lock was not had in time, or the segment was deleted; nothing was changed.
    """
    user = audit.get_user(user)
    about = {"segment": segment.pk, "vid": segment.vid, "user": user}
    with operations.track("end quarantine", **about), audit.change_tracking(user):
        return transactions.run(partial(_end_quarantine_locked, segment.pk, changelog_message))


def _end_quarantine_locked(pk, changelog_message):
    segment = lock_segment(pk)
    if segment.status == SegmentStatusChoices.QUARANTINED:
        segment._changelog_message = changelog_message
        audit.update(segment, status=SegmentStatusChoices.AVAILABLE, quarantined_until=None)
    return segment
