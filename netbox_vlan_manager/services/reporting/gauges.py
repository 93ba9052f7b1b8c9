"""
Gauges of the pools and jobs, which are read from the database at each request for metrics.

Where NetBox runs several worker processes, its view of metrics reads the counters of all of them from files, and has no
collectors. A gauge in such a file would keep the value of the process that wrote it, and each host has files of its
own. Read from the database, the gauges are the same on all hosts.
"""

import logging
from dataclasses import fields

from django.db import Error
from django.db.models import Count
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from ...caching import once_a_second
from ...choices import PoolLevelChoices, SegmentStatusChoices
from ...metrics import ALL_POOLS
from ...models import SegmentPool, SegmentUsage
from ...settings import get_setting
from .statistics import usage_of_pools

__all__ = (
    "PREFIX",
    "database_metrics",
    "register",
)

logger = logging.getLogger("netbox_vlan_manager.metrics")

# The prefix of the names of all metrics.
PREFIX = "netbox_vlan_manager_"

_families = []


def register(read):
    """
    Add gauges; return `read`.

    Args:
        read: A function without arguments that yields GaugeMetricFamily objects, and may use the database.
    """
    _families.append(read)
    return read


@once_a_second
def database_metrics():
    """Return the gauges in Prometheus' format. If the database does not answer, `database_up` is 0 and alone."""
    up = GaugeMetricFamily(f"{PREFIX}database_up", "Whether the database gave the numbers of the pools")
    try:
        families = [family for read in _families for family in read()]
        up.add_metric((), 1)
    except Error:
        logger.exception("The database gave no metrics")
        families = []
        up.add_metric((), 0)
    registry = CollectorRegistry()
    registry.register(_Collector([up, *families]))
    return generate_latest(registry)


class _Collector:
    """The collector of a registry."""

    def __init__(self, families):
        self.families = families

    def collect(self):
        return self.families


@register
def read_pools():
    """Yield the segments of the pools, and the pools by their levels."""
    capacity = GaugeMetricFamily(f"{PREFIX}pool_capacity", "Segments of a pool, of any status", labels=["pool"])
    segments = GaugeMetricFamily(f"{PREFIX}pool_segments", "Segments of a pool by status", labels=["pool", "status"])
    utilization = GaugeMetricFamily(
        f"{PREFIX}pool_utilization_ratio", "Share of a pool's segments that is allocated, 0 to 1", labels=["pool"]
    )
    for pool, usage in _usages():
        capacity.add_metric((pool,), usage.total_segments)
        utilization.add_metric((pool,), usage.utilization / 100)
        for status in SegmentStatusChoices.values():
            segments.add_metric((pool, status), getattr(usage, status))
    yield from (capacity, segments, utilization)

    pools = GaugeMetricFamily(f"{PREFIX}pools", "Pools by how full they were a minute ago", labels=["level"])
    levels = dict(SegmentPool.objects.order_by().values_list("level").annotate(count=Count("*")))
    for level in PoolLevelChoices.values():
        pools.add_metric((level,), levels.get(level, 0))
    yield pools


def _usages():
    """Return (label of a pool, its SegmentUsage) pairs."""
    slugs = dict(SegmentPool.objects.order_by("slug").values_list("pk", "slug"))
    usages = usage_of_pools(slugs)
    if get_setting("metrics_per_pool"):
        return [(slug, usages[pk]) for pk, slug in slugs.items()]
    counts = (field.name for field in fields(SegmentUsage))
    return [(ALL_POOLS, SegmentUsage(**{name: sum(getattr(one, name) for one in usages.values()) for name in counts}))]
