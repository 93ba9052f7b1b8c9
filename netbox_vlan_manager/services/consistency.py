"""
Finds everything that no longer fits: between segments and the VLANs and prefixes behind them, and in the invariants.

Most of it the database or `guards` refuses; a bare SQL statement, a queryset's update() or a restored dump can still
bring it about. Each check is one or two statements over all pools.
"""

from copy import copy
from dataclasses import dataclass

from django.contrib.contenttypes.prefetch import GenericPrefetch
from django.db.models import Count, Exists, F, IntegerField, OuterRef, Q
from django.db.models.functions import Cast, Upper
from django.utils.translation import gettext as _

from dcim.models import Location, Region, Site, SiteGroup
from ipam.choices import PrefixStatusChoices

from ..choices import SegmentStatusChoices
from ..models import Allocation, Segment, SegmentPool
from ..settings import get_setting
from ..validators import EPG_NAME

__all__ = (
    "Drift",
    "find_drift",
)


@dataclass(frozen=True)
class Drift:
    """One thing that does not fit: what kind, which object, and in words."""

    kind: str
    object: object
    message: str


def find_drift():
    """Return a list of Drift, empty when everything fits. Locks nothing."""
    return [drift for check in CHECKS for drift in check()]


def _segments():
    return Segment.objects.select_related("vlan", "prefix__vrf", "pool__vrf").order_by("pool_id", "vid")


def renumbered_vlans():
    for segment in _segments().exclude(vlan__vid=F("vid")):
        yield Drift(
            "vlan_renumbered",
            segment,
            _("Segment {segment} says VLAN ID {vid}, its VLAN {vlan_vid}").format(
                segment=segment, vid=segment.vid, vlan_vid=segment.vlan.vid
            ),
        )


def regrouped_vlans():
    for segment in _segments().filter(~Q(vlan__group=F("pool__vlan_group")) | Q(vlan__group__isnull=True)):
        yield Drift(
            "vlan_group_changed",
            segment,
            _("The VLAN of segment {segment} is not in the VLAN group of pool {pool}").format(
                segment=segment, pool=segment.pool
            ),
        )


def vids_out_of_range():
    # Ranges of integers contain no smallint, which the column is.
    in_range = Q(pool__vlan_group__vid_ranges__range_contains=Cast("vid", IntegerField()))
    for segment in _segments().select_related("pool__vlan_group").exclude(in_range):
        yield Drift(
            "vid_out_of_range",
            segment,
            _("VLAN ID {vid} of segment {segment} is outside the ranges of VLAN group {group}").format(
                vid=segment.vid, segment=segment, group=segment.pool.vlan_group
            ),
        )


def invalid_epg_names():
    for segment in _segments().exclude(vlan__name__regex=f"^{EPG_NAME.pattern}$"):
        yield Drift(
            "epg_name_invalid",
            segment,
            _("The VLAN name {name!r} of segment {vid} in pool {pool} is no valid EPG name").format(
                name=segment.epg_name, vid=segment.vid, pool=segment.pool
            ),
        )


def moved_prefixes():
    for segment in _segments().filter(~Q(prefix__vrf=F("pool__vrf")) | Q(prefix__vrf__isnull=True)):
        yield Drift(
            "prefix_vrf_changed",
            segment,
            _("Prefix {prefix} of segment {segment} is not in VRF {vrf} of its pool").format(
                prefix=segment.prefix, segment=segment, vrf=segment.pool.vrf
            ),
        )
    for segment in _segments().filter(~Q(prefix__vlan=F("vlan")) | Q(prefix__vlan__isnull=True)):
        yield Drift(
            "prefix_vlan_changed",
            segment,
            _("Prefix {prefix} of segment {segment} is not assigned to its VLAN").format(
                prefix=segment.prefix, segment=segment
            ),
        )


def prefixes_outside_containers():
    containers = SegmentPool.prefixes.through.objects.filter(
        segmentpool=OuterRef("pool"),
        prefix__vrf=F("segmentpool__vrf"),
        prefix__prefix__net_contains_or_equals=OuterRef("prefix__prefix"),
    )
    for segment in _segments().filter(~Exists(containers)):
        yield Drift(
            "prefix_outside_containers",
            segment,
            _("Prefix {prefix} of segment {segment} lies in no container of pool {pool}").format(
                prefix=segment.prefix, segment=segment, pool=segment.pool
            ),
        )


def overlapping_prefixes():
    inner = Segment.objects.filter(
        prefix__vrf=OuterRef("prefix__vrf"), prefix__prefix__net_contained_or_equal=OuterRef("prefix__prefix")
    ).exclude(pk=OuterRef("pk"))
    for segment in _segments().filter(Exists(inner)):
        yield Drift(
            "prefix_overlap",
            segment,
            _("Prefix {prefix} of segment {segment} overlaps another segment in VRF {vrf}").format(
                prefix=segment.prefix, segment=segment, vrf=segment.prefix.vrf
            ),
        )


def wrong_statuses():
    held = Exists(Allocation.objects.active().filter(segment=OuterRef("pk")))
    allocated = Q(status=SegmentStatusChoices.ALLOCATED)
    for segment in _segments().annotate(held=held).filter((allocated & Q(held=False)) | (~allocated & Q(held=True))):
        yield Drift(
            "segment_status",
            segment,
            _("Segment {segment} has status {status}, but {holders}").format(
                segment=segment,
                status=segment.status,
                holders=_("a cluster holds it") if segment.held else _("no cluster holds it"),
            ),
        )
    expected = Q(allocated, prefix__status=get_setting("prefix_status_allocated")) | Q(
        ~allocated, prefix__status=get_setting("prefix_status_available")
    )
    for segment in _segments().exclude(expected):
        yield Drift(
            "prefix_status",
            segment,
            _("Prefix {prefix} has status {prefix_status}, its segment {segment} {status}").format(
                prefix=segment.prefix, prefix_status=segment.prefix.status, segment=segment, status=segment.status
            ),
        )


def shared_holders():
    shared = (
        Allocation.objects.active()
        .filter(shared=False)
        .order_by()
        .values("segment")
        .annotate(holders=Count("pk"))
        .filter(holders__gt=1)
    )
    for segment in _segments().filter(pk__in=shared.values("segment")):
        yield Drift(
            "segment_held_twice",
            segment,
            _("Several clusters hold segment {segment} without sharing it").format(segment=segment),
        )


def doubled_allocations():
    same = (
        Allocation.objects.active()
        .alias(key=Upper("cluster_name"))
        .filter(pool=OuterRef("pool"), key=Upper(OuterRef("cluster_name")), purpose=OuterRef("purpose"))
        .exclude(pk=OuterRef("pk"))
    )
    for allocation in Allocation.objects.active().filter(Exists(same)).select_related("pool"):
        yield Drift(
            "allocated_twice",
            allocation,
            _("Cluster {cluster} holds several segments of pool {pool}").format(
                cluster=allocation.cluster_name, pool=allocation.pool
            ),
        )


def stale_allocations():
    true = Q(
        pool=F("segment__pool"),
        vid=F("segment__vlan__vid"),
        epg_name=F("segment__vlan__name"),
        prefix=F("segment__prefix__prefix"),
    )
    for allocation in Allocation.objects.active().exclude(true):
        yield Drift(
            "allocation_stale",
            allocation,
            _("Allocation {allocation} says something else than its segment").format(allocation=allocation),
        )


def broken_pools():
    scopes = GenericPrefetch(
        "scope",
        [
            Location.objects.select_related("site__region", "site__group"),
            Site.objects.select_related("region", "group"),
            SiteGroup.objects.all(),
            Region.objects.all(),
        ],
    )
    for pool in SegmentPool.objects.select_related("scope_type", "vrf").prefetch_related(scopes, "prefixes"):
        if pool.scope is None:
            yield Drift("pool_scope", pool, _("The scope of pool {pool} is gone").format(pool=pool))
        elif _places_are_stale(pool):
            yield Drift(
                "pool_places",
                pool,
                _("The places that pool {pool} is found by are not those of its scope {scope}").format(
                    pool=pool, scope=pool.scope
                ),
            )
        if not pool.prefixes.all():
            yield Drift("container_missing", pool, _("Pool {pool} has no container").format(pool=pool))
        for prefix in pool.prefixes.all():
            if prefix.vrf_id != pool.vrf_id:
                yield Drift(
                    "container_vrf",
                    pool,
                    _("Container {prefix} of pool {pool} is not in VRF {vrf}").format(
                        prefix=prefix, pool=pool, vrf=pool.vrf
                    ),
                )
            if prefix.status != PrefixStatusChoices.STATUS_CONTAINER:
                yield Drift(
                    "container_status",
                    pool,
                    _("Container {prefix} of pool {pool} has status {status}").format(
                        prefix=prefix, pool=pool, status=prefix.status
                    ),
                )


def _places_are_stale(pool):
    """Whether the location, site, site group and region that `pool` has cached are others than its scope's."""
    cached = copy(pool)
    cached.cache_related_objects()
    return any(
        getattr(pool, name) != getattr(cached, name)
        for name in ("_location_id", "_site_id", "_site_group_id", "_region_id")
    )


CHECKS = (
    renumbered_vlans,
    regrouped_vlans,
    vids_out_of_range,
    invalid_epg_names,
    moved_prefixes,
    prefixes_outside_containers,
    overlapping_prefixes,
    wrong_statuses,
    shared_holders,
    doubled_allocations,
    stale_allocations,
    broken_pools,
)
