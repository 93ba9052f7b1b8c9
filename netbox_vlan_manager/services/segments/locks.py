"""Locks on the rows of segments, in the caller's transaction. Segments are locked in the order of pool and VLAN ID."""

from django.db import connection

from ...exceptions import Busy
from ...models import Segment
from ...settings import get_setting
from ..base import operations, transactions

__all__ = (
    "lock_rows",
    "lock_segment",
    "lock_status",
)


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
    operations.note(pool=segment.pool)
    return segment


def lock_status(segment):
    """Within a transaction, lock the row of `segment` and read its status again; else leave it as it is."""
    if connection.in_atomic_block:
        rows = Segment.objects.select_for_update(no_key=True).filter(pk=segment.pk).order_by()
        segment.status = rows.values_list("status", flat=True).first()


def lock_rows(segments):
    """
    Lock the rows of several segments. No allocation of them begins or ends until the transaction ends.

    Args:
        segments: A queryset in the order of pool and VLAN ID.
    """
    list(segments.select_for_update().values_list("pk"))
