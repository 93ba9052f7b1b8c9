"""Counts of segments by pool, and what health is made of."""

from dataclasses import dataclass

from django.db.models import F
from django.db.models.functions import Coalesce, Collate

from ..choices import SegmentPoolStatusChoices
from ..models import SegmentPool, SegmentUsage
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
    # In a query of their own: what they are filtered by must not multiply or narrow what is counted.
    pools = SegmentPool.objects.filter(pk__in=pools.values("pk"))
    return with_scope_name(pools).with_usage().select_related("vrf").order_by("name")


def _statistics(pool):
    return PoolStatistics(pool=pool.pk, pool_name=pool.name, site=pool.scope_name, vrf=pool.vrf.name, usage=pool.usage)


def count_low_pools():
    """Return how many active pools have a smaller share of available segments than `low_available_percent`."""
    return (
        SegmentPool.objects.filter(status=SegmentPoolStatusChoices.ACTIVE)
        .with_usage()
        .filter(available__lt=F("total_segments") * get_setting("low_available_percent") / 100.0)
        .count()
    )
