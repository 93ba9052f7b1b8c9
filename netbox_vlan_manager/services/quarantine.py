"""
Cool-down: a released segment is quarantined before it is handed out again.

A system job promotes segments whose time is over, and whoever finds a pool without an available segment does so first.
The status, not the clock, decides what is available, so the free list stays one index.
"""

from functools import partial

from django.db.models import F
from django.utils import timezone

from ..choices import SegmentStatusChoices
from ..exceptions import Busy
from ..models import Segment
from ..settings import get_setting
from . import audit, timing, transactions
from .wishes import meeting

__all__ = (
    "end_quarantine",
    "lock_returning",
    "lock_segment",
    "promote",
    "promote_all",
    "returning_segments",
)

# How many segments one transaction promotes.
BATCH_SIZE = 200


def lock_returning(pool, cluster_name, purpose, wish):
    """
    Lock that of the segments which a cluster gave back to `pool` last, of those that are still quarantined and meet
    `wish`, and return its id; None where there is none.
    """
    segments = returning_segments([pool], cluster_name, purpose).filter(meeting(wish))
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

    Two at once share the work: each passes over the rows that the other holds.
    """
    total = 0
    with audit.change_tracking(None):
        while count := transactions.run(partial(_promote, Segment.objects.all())):
            total += count
    return total


def _promote(segments, skip_locked=True):
    due = segments.filter(status=SegmentStatusChoices.QUARANTINED, quarantined_until__lte=timezone.now())
    locked = due.select_related("vlan", "pool").select_for_update(no_key=True, skip_locked=skip_locked, of=("self",))
    locked = list(locked.order_by("pool_id", "vid")[:BATCH_SIZE])
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
    with timing.operation("end quarantine", **about), audit.change_tracking(user):
        return transactions.run(partial(_end_quarantine, segment.pk, changelog_message))


def _end_quarantine(pk, changelog_message):
    segment = lock_segment(pk)
    if segment.status == SegmentStatusChoices.QUARANTINED:
        segment._changelog_message = changelog_message
        audit.update(segment, status=SegmentStatusChoices.AVAILABLE, quarantined_until=None)
    return segment


def lock_segment(pk):
    """
    Lock the segment's row until the caller's transaction ends, and return it as it is now.

    Raises:
        Busy: It was deleted.
    """
    transactions.set_lock_timeout(get_setting("lock_timeout"))
    segments = Segment.objects.select_related("vlan", "prefix", "pool").order_by()
    segment = segments.select_for_update(no_key=True, of=("self",)).filter(pk=pk).first()
    if segment is None:
        # Deleted since the caller read it: the same call, made again, does not find it.
        raise Busy
    timing.note(pool=segment.pool)
    return segment
