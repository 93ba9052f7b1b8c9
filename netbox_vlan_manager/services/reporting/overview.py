"""The data of the overview and the home dashboard, for one user."""

from datetime import datetime
from typing import NamedTuple

from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Collate

from users.models import User

from ...choices import PoolLevelChoices, SegmentPoolStatusChoices, SegmentStatusChoices
from ...models import Allocation, Segment, SegmentPool, SegmentUsage
from ...models.pools import scope_name
from .statistics import PoolStatistics, pool_statistics
from .thresholds import level_of

__all__ = (
    "Activity",
    "PoolState",
    "most_urgent",
    "most_used",
    "pools_to_allocate_from",
    "recent_activity",
    "total_usage",
)


# What a user should look at first. Pools that are not active hand out nothing, whatever their levels.
URGENCY = (
    PoolLevelChoices.EXHAUSTED,
    PoolLevelChoices.CRITICAL,
    PoolLevelChoices.WARNING,
    SegmentPoolStatusChoices.PAUSED,
    SegmentPoolStatusChoices.RETIRING,
    PoolLevelChoices.NORMAL,
)


class PoolState(NamedTuple):
    """The PoolStatistics of a pool, and its state: its level, or its status if it is not active."""

    statistics: PoolStatistics
    state: str


class Activity(NamedTuple):
    """An allocation was made or, where `released`, ended; `user` is None when the user was deleted."""

    allocation: Allocation
    released: bool
    time: datetime
    user: User | None


def most_used(pools):
    """
    Return the PoolStatistics of `pools`, a queryset of pools that the caller may view, the highest utilization first.

    It takes as many queries as `pool_statistics`.
    """
    return sorted(pool_statistics(pools), key=lambda row: -row.usage.utilization)


def most_urgent(pools):
    """
    Return the PoolStates of `pools`, a queryset of pools that the caller may view, by urgency and utilization.

    It takes as many queries as `pool_statistics`.
    """
    states = [PoolState(row, _state_of(row)) for row in most_used(pools)]
    # Sorting keeps the order by utilization among equal states.
    return sorted(states, key=lambda pool: URGENCY.index(pool.state))


def _state_of(row):
    return level_of(row.usage, row) if row.status == SegmentPoolStatusChoices.ACTIVE else row.status


def total_usage(statistics):
    """
    Return the SegmentUsage of several PoolStatistics together.

    Only the segments of active pools are available.
    """
    usage = {name: sum(getattr(row.usage, name) for row in statistics) for name in SegmentUsage.__dataclass_fields__}
    usage["available"] = sum(row.usage.available for row in statistics if row.status == SegmentPoolStatusChoices.ACTIVE)
    return SegmentUsage(**usage)


def recent_activity(user, limit=10):
    """Return the last `limit` Activity of the allocations that `user` may view, the latest first; two queries."""
    allocations = Allocation.objects.restrict(user, "view").select_related("allocated_by", "released_by")
    released = allocations.filter(released_at__isnull=False).order_by("-released_at", "-pk")[:limit]
    activities = [
        *(Activity(row, True, row.released_at, row.released_by) for row in released),
        *(Activity(row, False, row.allocated_at, row.allocated_by) for row in allocations[:limit]),
    ]
    return sorted(activities, key=lambda activity: activity.time, reverse=True)[:limit]


def pools_to_allocate_from(user):
    """
    Return the pools that `user` may allocate in, by VRF and scope, with their VRF.

    Each is annotated with `scope_name` and `has_available`, whether it has an available segment.
    """
    available = Segment.objects.filter(pool=OuterRef("pk"), status=SegmentStatusChoices.AVAILABLE)
    return (
        SegmentPool.objects.restrict(user, "allocate")
        .with_scope_name()
        .annotate(has_available=Exists(available) | Q(auto_grow=True))
        .select_related("vrf")
        .order_by("vrf__name", "vrf_id", Collate(scope_name(), "natural_sort"), "name")
    )
