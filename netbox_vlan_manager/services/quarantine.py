"""
Cool-down: a released segment is quarantined before it is handed out again.

A system job promotes segments whose time is over, and whoever finds a pool without an available segment does so first.
The status, not the clock, decides what is available, so the free list stays one index.
"""

from functools import partial

from django.utils import timezone

from ..choices import SegmentStatusChoices
from ..models import Allocation, Segment
from . import audit, timing, transactions
from .availability import lock_segment

__all__ = (
    "end_quarantine",
    "lock_returning",
    "promote",
    "promote_all",
)

# How many segments one transaction promotes.
BATCH_SIZE = 200


def lock_returning(pool, cluster_name, purpose, wish):
    """
    Lock the segment that a cluster held last in `pool`, if it is still quarantined, and return its id; else None.

    It is the cluster's own cool-down only if nobody released the segment after it: who shared it, or who got it once
    an administrator had ended an earlier cool-down.
    """
    last = (
        Allocation.objects.of_cluster(cluster_name)
        .filter(pool=pool, purpose=purpose, released_at__isnull=False)
        .order_by("-released_at", "-pk")
        .first()
    )
    if last is None:
        return None
    segments = Segment.objects.filter(
        pk=last.segment_id, pool=pool, status=SegmentStatusChoices.QUARANTINED, last_released_at=last.released_at
    )
    rows = segments.select_related("prefix").select_for_update(no_key=True, skip_locked=True, of=("self",)).order_by()
    for segment in rows:
        # Its VLAN ID and prefix may have been changed since.
        last.vid, last.prefix = segment.vid, segment.prefix.prefix
        if wish.is_met_by(last):
            return segment.pk
    return None


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
    locked = due.select_related("vlan").select_for_update(no_key=True, skip_locked=skip_locked, of=("self",))
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
