"""
Sends an event when the usage of a pool crosses a threshold, once for each crossing.

A pool remembers the level that was last reported. The update has the old level as its condition, so only one of two
concurrent checks sends the event. It is no part of allocating: allocations that all wrote the row of their pool would
wait for one another.
"""

import logging

from django.db import transaction
from rq.timeouts import BaseTimeoutException

from ...choices import PoolLevelChoices
from ...events import EXHAUSTED, THRESHOLD_PASSED
from ...models import SegmentPool
from ..base import audit
from ..segments.growth import usage_with_growth
from .statistics import usage_of_pools

__all__ = (
    "LevelUnknownError",
    "level_of",
    "refresh",
)

logger = logging.getLogger("netbox_vlan_manager.thresholds")

SEVERITY = {level: number for number, level in enumerate(PoolLevelChoices.values())}


class LevelUnknownError(Exception):
    """The level of a pool could not be found or reported; its cause says why."""


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
    Compare the levels of pools with the last reported ones, and send events for those that rose.

    Each pool is a transaction of its own. A pool whose level cannot be found is logged and does not stop the others.

    Args:
        pools: SegmentPools; None for all.

    Returns:
        The SegmentPools whose level changed.

    Raises:
        ExceptionGroup: Of LevelUnknownErrors, once all other pools are done.
    """
    pools = list(
        SegmentPool.objects.all() if pools is None else SegmentPool.objects.filter(pk__in=[p.pk for p in pools])
    )
    usages = usage_of_pools([pool.pk for pool in pools])
    changed, errors = [], []
    for pool in pools:
        try:
            if _refresh(pool, usages[pool.pk]):
                changed.append(pool)
        except BaseTimeoutException:
            # The job's time is over, for all pools.
            raise
        except Exception as error:
            # Quoted: a name with a line end in it must not make a line of its own.
            logger.exception("The level of pool %a (%s) could not be found", str(pool), pool.pk)
            failure = LevelUnknownError(f"The level of pool {pool} ({pool.pk}) could not be found: {error!r}")
            failure.__cause__ = error
            errors.append(failure)
    if errors:
        raise ExceptionGroup(f"Found {len(changed)} pools at another level; {len(errors)} could not be read", errors)
    return changed


def _refresh(pool, usage):
    """Write and report the level of a pool with this SegmentUsage, and return whether it changed."""
    # A failed statement is rolled back alone.
    with transaction.atomic():
        before, level = pool.level, level_of(usage_with_growth(usage, pool), pool)
    if level == before:
        return False
    with audit.change_tracking(None), transaction.atomic():
        if not SegmentPool.objects.filter(pk=pool.pk, level=before).update(level=level):
            return False
        pool.level = level
        if SEVERITY[level] > SEVERITY[before]:
            audit.announce([(pool, EXHAUSTED if level == PoolLevelChoices.EXHAUSTED else THRESHOLD_PASSED)])
    return True
