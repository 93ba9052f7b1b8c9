"""Counts of segments by pool, and what health is made of."""

from dataclasses import dataclass

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, F, OuterRef
from django.db.models.functions import Coalesce, Collate, JSONObject

from ..choices import SegmentPoolStatusChoices
from ..models import Segment, SegmentPool, SegmentUsage
from ..settings import get_setting

__all__ = (
    "PoolStatistics",
    "count_low_pools",
    "iterate_statistics",
    "pool_statistics",
    "scope_name",
    "with_scope_name",
)


@dataclass(frozen=True)
class PoolStatistics:
    """One pool's numbers: its id and name, the names of its scope and VRF, and its SegmentUsage."""

    pool: int
    pool_name: str
    site: str
    vrf: str
    usage: SegmentUsage


def scope_name(path=""):
    """
    Return an expression for the name of the scope of the pool that `path` ("", or such as "pool__") leads to.

    A pool's scope is the innermost of its cached places, so one join each serves, and no generic relation is read.
    """
    # The names of places have collations of their own, which cannot be coalesced.
    return Coalesce(
        *(Collate(F(f"{path}{place}__name"), "C") for place in ("_location", "_site", "_site_group", "_region"))
    )


def with_scope_name(pools):
    """Annotate each pool with `scope_name`."""
    return pools.annotate(scope_name=scope_name())


def pool_statistics(pools):
    """
    Return the PoolStatistics of `pools`, a queryset of those that the caller may see, by name; one query.
    """
    return [_statistics(pool) for pool in _with_statistics(pools)]


def iterate_statistics(pools):
    """Yield what `pool_statistics` returns, of however many pools."""
    yield from map(_statistics, _with_statistics(pools).iterator())


def _with_statistics(pools):
    # One pass over the index on (pool, status) counts all statuses of a pool.
    counts = Segment.objects.filter(pool=OuterRef("pk")).order_by().values("status").annotate(count=Count("*"))
    counts = ArraySubquery(counts.values_list(JSONObject(status="status", count="count")))
    # In a query of their own: what they are filtered by must not narrow what is counted.
    pools = SegmentPool.objects.filter(pk__in=pools.order_by().values("pk")).order_by("name")
    return with_scope_name(pools).annotate(counts=counts).values_list("pk", "name", "scope_name", "vrf__name", "counts")


def _statistics(row):
    pool, name, site, vrf, counts = row
    by_status = {count["status"]: count["count"] for count in counts}
    usage = SegmentUsage(total_segments=sum(by_status.values()), **by_status)
    return PoolStatistics(pool=pool, pool_name=name, site=site, vrf=vrf, usage=usage)


def count_low_pools():
    """Return how many active pools have a smaller share of available segments than `low_available_percent`."""
    return (
        SegmentPool.objects.filter(status=SegmentPoolStatusChoices.ACTIVE)
        .with_usage()
        .filter(available__lt=F("total_segments") * get_setting("low_available_percent") / 100.0)
        .count()
    )
