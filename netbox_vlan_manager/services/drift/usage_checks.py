"""
Checks for networks that something in NetBox uses, or seems to use, without an allocation.
"""

from django.db.models import Exists, OuterRef, Q, Subquery
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ipam.choices import PrefixStatusChoices
from ipam.models import Prefix

from ...choices import DriftSeverityChoices, SegmentStatusChoices
from ...models import Segment, SegmentPool
from ..segments.first_generation_fields import cluster_text
from ..segments.prefix_status import status_when_allocated
from ..segments.unmigrated import find_unmigrated
from ..segments.usage import used_ids
from .findings import Drift, find_segments, narrow, register


def unmigrated_prefixes(pk):
    """Find prefixes that a cluster of the first generation holds and that could not be migrated."""
    # A prefix that several pools could have is reported for the first of them.
    pools = SegmentPool.objects.select_related("vrf", "vlan_group").exclude(first_generation="").order_by("-pk")
    found = {prefix.pk: (pool, prefix) for pool, prefix in find_unmigrated(pools, pk)}
    for pool, prefix in found.values():
        yield Drift(
            "prefix_unmigrated",
            pool,
            prefix,
            _("Prefix {prefix} is held in the first generation by {clusters}, but is no segment of pool {pool}").format(
                prefix=prefix, clusters=cluster_text(prefix), pool=pool
            ),
            advice=_(
                "Until the prefix is migrated, no cluster gets it, and its clusters get no other segment. "
                "The preview of the migration says what to correct. If the prefix is free, empty its field "
                "Cluster."
            ),
        )


def orphaned_prefixes(pk):
    """Find prefixes in a pool's containers that have the status of allocated ones, but no segment."""
    containers = SegmentPool.prefixes.through.objects.filter(
        segmentpool__vrf=OuterRef("vrf"),
        prefix__vrf=OuterRef("vrf"),
        prefix__prefix__net_contains=OuterRef("prefix"),
    )
    orphans = narrow(Prefix.objects.all(), pk).filter(
        Exists(containers),
        status=status_when_allocated(),
        segment__isnull=True,
        ipv6_segment__isnull=True,
        segment_pools__isnull=True,
    )
    orphans = orphans.select_related("vlan").annotate(
        container_of=Subquery(containers.order_by("segmentpool").values("segmentpool")[:1])
    )
    yield from _in_pools(
        "prefix_orphan",
        orphans.order_by("container_of", "prefix"),
        "container_of",
        gettext_lazy("Prefix {prefix} in a container of pool {pool} has status {status}, but belongs to no segment"),
        gettext_lazy("Check whether it is in use: adopt it into the pool, or give it another status if it is free."),
    )


def surrounding_prefixes(pk):
    """
    Find prefixes inside a pool's containers that have segments inside and are no container and no segment's.

    Many users group their networks in NetBox this way, so this is information only: the prefix may be in use as well.
    """
    inner = Segment.objects.filter(
        Q(prefix__vrf=OuterRef("vrf"), prefix__prefix__net_contained=OuterRef("prefix"))
        | Q(ipv6_prefix__vrf=OuterRef("vrf"), ipv6_prefix__prefix__net_contained=OuterRef("prefix")),
        # A prefix around the pool's whole container is no mistake.
        pool__prefixes__prefix__net_contains_or_equals=OuterRef("prefix"),
    )
    outer = narrow(Prefix.objects.all(), pk).filter(
        Exists(inner),
        vrf__in=SegmentPool.objects.order_by().values("vrf"),
        segment__isnull=True,
        ipv6_segment__isnull=True,
        segment_pools__isnull=True,
    )
    outer = outer.exclude(status=PrefixStatusChoices.STATUS_CONTAINER).annotate(
        pool_inside=Subquery(inner.order_by("pool").values("pool")[:1])
    )
    yield from _in_pools(
        "prefix_around",
        outer.order_by("pool_inside", "prefix"),
        "pool_inside",
        gettext_lazy("Prefix {prefix} around segments of pool {pool} has status {status}, and is no container"),
        gettext_lazy("Check whether its addresses are in use: make it a container if it only groups other prefixes."),
    )


def _in_pools(kind, prefixes, pool_name, message, advice):
    """Yield a Drift for each of `prefixes`, whose attribute `pool_name` is the id of its pool."""
    pools = SegmentPool.objects.select_related("vrf", "vlan_group").in_bulk()
    for prefix in prefixes:
        pool = pools[getattr(prefix, pool_name)]
        text = str(message).format(prefix=prefix, pool=pool, status=prefix.get_status_display())
        yield Drift(kind, pool, prefix, text, advice=str(advice))


def used_segments(pk):
    """
    Find available segments that something in NetBox uses already.

    The user who made it available may know that it is free. If it is not, its next holder gets a network in use.
    """
    available = find_segments(pk).filter(status=SegmentStatusChoices.AVAILABLE)
    for segment in available.filter(pk__in=used_ids(available)):
        yield Drift(
            "segment_in_use",
            segment.pool,
            segment,
            _("Segment {segment} is available, but in use").format(segment=segment),
            advice=_(
                "Decide whether it is free: look in NetBox for what uses its VLAN and prefixes, then remove"
                " it or disable the segment."
            ),
        )


register("prefix_unmigrated", gettext_lazy("Prefix not migrated"), DriftSeverityChoices.ERROR, unmigrated_prefixes)
register("prefix_orphan", gettext_lazy("Prefix without a segment"), DriftSeverityChoices.INFO, orphaned_prefixes)
register("prefix_around", gettext_lazy("Prefix around segments"), DriftSeverityChoices.INFO, surrounding_prefixes)
register("segment_in_use", gettext_lazy("Available, but in use"), DriftSeverityChoices.INFO, used_segments)
