"""
Snapshots of how full the pools are, one a day, for plots and forecasts.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from ...models import PoolSnapshot, SegmentPool, SegmentUsage
from ...settings import get_setting
from .statistics import iterate_statistics

__all__ = (
    "UsagePoint",
    "take_snapshots",
    "usage_history",
)

BATCH_SIZE = 1000
COUNTS = tuple(SegmentUsage.__dataclass_fields__)


@dataclass(frozen=True)
class UsagePoint:
    """The sums of some pools on one day."""

    date: date
    usage: SegmentUsage


def take_snapshots():
    """
    Save how full every pool is today, in the server's time zone, and delete snapshots older than `snapshot_retention`.

    A second run on the same day replaces what the first wrote, so two at once do no harm. It locks the pools against
    changes while it writes, but nothing that an allocation waits for.

    Returns:
        How many pools there are.
    """
    today = timezone.localdate()
    usages = {row.pool: row.usage for row in iterate_statistics(SegmentPool.objects.all())}
    with transaction.atomic():
        # A pool that was deleted after the count is left out; the lock prevents deletions while snapshots are written.
        pools = SegmentPool.objects.filter(pk__in=usages).order_by("pk").select_for_update(no_key=True)
        snapshots = [
            PoolSnapshot(pool_id=pool, date=today, **{name: getattr(usages[pool], name) for name in COUNTS})
            for pool in pools.values_list("pk", flat=True)
        ]
        PoolSnapshot.objects.bulk_create(
            snapshots,
            batch_size=BATCH_SIZE,
            update_conflicts=True,
            unique_fields=("pool", "date"),
            update_fields=COUNTS,
        )
        expired = PoolSnapshot.objects.filter(date__lt=today - timedelta(days=get_setting("snapshot_retention")))
        # delete() would read each snapshot first, and NetBox would look each up.
        expired._raw_delete(using=expired.db)
    return len(snapshots)


def usage_history(pools, days, current=None):
    """
    Return the UsagePoints of `pools` together, oldest first; one query.

    Args:
        pools: A queryset of the pools that the caller may view.
        days: How many days back to go, today not counted.
        current: Their SegmentUsage now, in place of today's snapshot, which is as old as the job's last run.
    """
    today = timezone.localdate()
    snapshots = PoolSnapshot.objects.filter(
        pool__in=pools.order_by().values("pk"), date__gte=today - timedelta(days=days)
    )
    if current:
        snapshots = snapshots.exclude(date=today)
    rows = snapshots.order_by("date").values_list("date").annotate(*(Sum(name) for name in COUNTS))
    points = [UsagePoint(day, SegmentUsage(**dict(zip(COUNTS, counts, strict=True)))) for day, *counts in rows]
    if current:
        points.append(UsagePoint(today, current))
    return points
