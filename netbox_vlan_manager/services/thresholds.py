"""
Tells when a pool gets full, each crossing once.

A pool remembers the level that was last reported. Whoever finds another one writes it with the old one as a condition,
so that of two only one tells. It is no part of allocating: a row of the pool that every allocation wrote would make
them wait for one another.
"""

from django.db import transaction

from ..choices import PoolLevelChoices
from ..events import EXHAUSTED, THRESHOLD_PASSED
from ..models import SegmentPool
from . import audit
from .generation import with_room
from .statistics import usage_of_pools

__all__ = (
    "level_of",
    "refresh",
)

SEVERITY = {level: number for number, level in enumerate(PoolLevelChoices.values())}


def level_of(usage, pool):
    """Return the PoolLevelChoices value of a pool with this SegmentUsage."""
    if not usage.total_segments:
        return PoolLevelChoices.NORMAL
    if not usage.available:
        return PoolLevelChoices.EXHAUSTED
    if usage.utilization >= pool.critical_threshold:
        return PoolLevelChoices.CRITICAL
    if usage.utilization >= pool.warning_threshold:
        return PoolLevelChoices.WARNING
    return PoolLevelChoices.NORMAL


def refresh(pools=None):
    """
    Compare the level of pools with what was last reported, and tell of those that rose.

    Args:
        pools: SegmentPools; None for all.

    Returns:
        The SegmentPools whose level is another now.
    """
    pools = list(
        SegmentPool.objects.all() if pools is None else SegmentPool.objects.filter(pk__in=[p.pk for p in pools])
    )
    usages = usage_of_pools([pool.pk for pool in pools])
    changed = []
    with audit.change_tracking(None), transaction.atomic():
        for pool in pools:
            before, level = pool.level, level_of(with_room(usages[pool.pk], pool), pool)
            if level == before or not SegmentPool.objects.filter(pk=pool.pk, level=before).update(level=level):
                continue
            pool.level = level
            changed.append(pool)
            if SEVERITY[level] > SEVERITY[before]:
                event = EXHAUSTED if level == PoolLevelChoices.EXHAUSTED else THRESHOLD_PASSED
                audit.announce([(pool, event)])
    return changed
