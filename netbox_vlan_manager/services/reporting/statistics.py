"""Counts of segments by pool."""

from dataclasses import dataclass
from itertools import batched

from django.db.models import Count, F

from ...choices import SegmentPoolStatusChoices
from ...models import Segment, SegmentPool, SegmentUsage
from ...settings import get_setting

__all__ = (
    "PoolStatistics",
    "count_low_pools",
    "iterate_statistics",
    "pool_statistics",
    "usage_of_pools",
)

# The number of pools that one query counts.
BATCH_SIZE = 1000


@dataclass(frozen=True)
class PoolStatistics:
    """One pool's numbers: its id and name, the names of its scope and VRF, status, thresholds, and its SegmentUsage."""

    pool: int
    pool_name: str
    site: str
    vrf: str
    status: str
    warning_threshold: int
    critical_threshold: int
    usage: SegmentUsage


def pool_statistics(pools):
    """
    Return the PoolStatistics of `pools`, a queryset of the pools that the caller may view, by name.

    It takes two queries, and one more for each further 1,000 pools.
    """
    return list(iterate_statistics(pools))


def iterate_statistics(pools):
    """Yield the PoolStatistics of `pools` one by one, as `pool_statistics` returns them."""
    # A subquery, so that the filters of `pools` do not narrow the counts.
    pools = SegmentPool.objects.filter(pk__in=pools.order_by().values("pk")).order_by("name")
    rows = pools.with_scope_name().values_list(
        "pk", "name", "scope_name", "vrf__name", "status", "warning_threshold", "critical_threshold"
    )
    for batch in batched(rows, BATCH_SIZE):
        usages = usage_of_pools([pool for pool, *_rest in batch])
        for row in batch:
            yield PoolStatistics(*row, usage=usages[row[0]])


def usage_of_pools(pools):
    """Return {pool id: its SegmentUsage} of pools named by their ids; one pass over the segments counts them all."""
    counts = {pool: {} for pool in pools}
    segments = Segment.objects.filter(pool__in=pools).order_by()
    for pool, status, count in segments.values_list("pool", "status").annotate(count=Count("*")):
        counts[pool][status] = count
    return {
        pool: SegmentUsage(total_segments=sum(by_status.values()), **by_status) for pool, by_status in counts.items()
    }


def count_low_pools():
    """Return how many active pools have a smaller share of available segments than `low_available_percent`."""
    return (
        SegmentPool.objects.filter(status=SegmentPoolStatusChoices.ACTIVE)
        .with_usage()
        .filter(available__lt=F("total_segments") * get_setting("low_available_percent") / 100.0)
        .count()
    )
