"""
Forecasts when a pool will be exhausted, if its usage keeps growing as before.
"""

import math
import statistics
from dataclasses import dataclass

from django.utils import timezone

from ...models import SegmentPool
from ..segments.growth import usage_with_growth
from .snapshots import usage_history
from .statistics import usage_of_pools

__all__ = (
    "Forecast",
    "forecast",
)

# The days of the trend.
DAYS = 90
# Fewer samples than this lower the confidence.
ENOUGH = 14


@dataclass(frozen=True)
class Forecast:
    """
    `days_until_exhausted` is None if the pool does not fill up, and 0 if it is exhausted. `confidence`, from 0 to
    1, is the share of the ups and downs that the trend explains (the coefficient of determination), less where there
    are fewer than 14 samples. `samples` says how many days there are.
    """

    days_until_exhausted: int | None
    confidence: float
    samples: int


def forecast(pool):
    """Return the Forecast of a SegmentPool: the straight line through its last 90 daily snapshots and today."""
    usage = usage_with_growth(usage_of_pools([pool.pk])[pool.pk], pool)
    today = timezone.localdate()
    allocated = {
        point.date: point.usage.allocated for point in usage_history(SegmentPool.objects.filter(pk=pool.pk), DAYS)
    }
    allocated[today] = usage.allocated
    if usage.total_segments and not usage.available and not usage.quarantined:
        return Forecast(0, 1.0, len(allocated))
    days = [(day - today).days for day in allocated]
    counts = list(allocated.values())
    if len(days) < 2 or len(set(counts)) == 1:
        return Forecast(None, 0.0, len(days))
    slope = statistics.linear_regression(days, counts).slope
    confidence = statistics.correlation(days, counts) ** 2 * min(1, len(days) / ENOUGH)
    left = usage.total_segments - usage.disabled - usage.allocated
    # A forecast of more than a hundred years counts as never.
    until = math.ceil(left / slope) if slope > left / 36500 and slope > 0 else None
    return Forecast(until, round(confidence, 2), len(days))
