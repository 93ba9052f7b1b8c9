"""
Finds everything that no longer fits: between segments and the VLANs and prefixes behind them, and in the invariants.

Most of it the database or `guards` refuses; a bare SQL statement, a queryset's update() or a restored dump can still
bring it about. Each check is one or two statements over all pools. What a check finds carries the values that would
repair it, so that what a report announces is what `drift.repair` writes.
"""

import re
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from django.contrib.contenttypes.prefetch import GenericPrefetch
from django.db.models import Count, Exists, F, IntegerField, OuterRef, Q, Subquery
from django.db.models.functions import Cast, Upper
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dcim.models import Location, Region, Site, SiteGroup
from ipam.choices import PrefixStatusChoices, VLANStatusChoices
from ipam.models import VLAN, Prefix
from utilities.data import ranges_to_string
from virtualization.models import Cluster

from ...choices import DriftSeverityChoices, SegmentStatusChoices
from ...models import Allocation, Segment, SegmentPool
from ...validators import EPG_NAME_MAX_LENGTH, epg_name_pattern, make_epg_name, pool_errors
from ..allocations.clusters import wrongly_linked
from ..segments.first_generation_fields import cluster_text
from ..segments.guards import HANDED_OUT, disabling
from ..segments.prefix_status import has_right_status, prefix_status, status_when_allocated, status_when_available
from ..segments.unmigrated import find_unmigrated
from ..segments.usage import status_reasons, used_ids

__all__ = (
    "KINDS",
    "Drift",
    "find_drift",
)

# A segment's relations to prefixes, and what the kinds of drift of the second one begin with.
FAMILIES = {"prefix": "", "ipv6_prefix": "ipv6_"}

CONTAINER = PrefixStatusChoices.STATUS_CONTAINER


@dataclass(frozen=True)
class Drift:
    """
    One thing that does not fit: what kind, which object, and in words.

    `repair` says what a repair does, and `changes` are its (object, {field: value}) pairs. Where a person has to decide
    both are empty, and `advice` says why and what to do. `other` is a prefix that the object collides with, as (id,
    network): `message` does not name it, since not everybody may view it.
    """

    kind: str
    pool: SegmentPool
    object: object
    message: str
    repair: str = ""
    advice: str = ""
    changes: tuple = ()
    other: tuple | None = None

    @property
    def item(self):
        """What the finding is called in REST: `kind:object type:id`, the same as long as it stands."""
        return f"{self.kind}:{self.object._meta.label_lower}:{self.object.pk}"

    @property
    def severity(self):
        return KINDS[self.kind].severity

    @property
    def label(self):
        return KINDS[self.kind].label

    def get_severity_display(self):
        return dict(DriftSeverityChoices)[self.severity]

    def get_severity_color(self):
        return DriftSeverityChoices.colors[self.severity]

    def __str__(self):
        return self.message


def find_drift(kind=None, pk=None):
    """
    Return a list of Drift, empty when everything fits. Locks nothing.

    Args:
        kind: Only what may be of this kind; its check may find others too.
        pk: Only of the object with this id.
    """
    checks = dict.fromkeys(known.check for name, known in KINDS.items() if kind in (None, name))
    return [drift for check in checks for drift in check(pk)]


def _segments(pk):
    # Not by joins: most checks find no segment, and a SELECT of the columns of ten tables is slow to build and plan.
    segments = Segment.objects.prefetch_related(
        "vlan__group", "prefix__vrf", "ipv6_prefix__vrf", "pool__vrf", "pool__vlan_group"
    )
    return _only(segments, pk).order_by("pool_id", "vid")


def _only(queryset, pk):
    return queryset if pk is None else queryset.filter(pk=pk)


def _is_in_ranges(vid, group):
    return any(vid in vids for vids in group.vid_ranges)


def regrouped_vlans(pk):
    """Find VLANs that were moved to another VLAN group than their pool's."""
    twins = VLAN.objects.filter(Q(vid=OuterRef("vlan__vid")) | Q(name=OuterRef("vlan__name")))
    twins = twins.filter(group=OuterRef("pool__vlan_group")).exclude(pk=OuterRef("vlan"))
    moved = _segments(pk).filter(~Q(vlan__group=F("pool__vlan_group")) | Q(vlan__group__isnull=True))
    for segment in moved.annotate(has_twin=Exists(twins)):
        group = segment.pool.vlan_group
        if segment.has_twin:
            advice = _(
                "VLAN group {group} has another VLAN of this ID or name: rename, renumber or delete that one, then "
                "repair this."
            ).format(group=group)
        else:
            advice = ""
        yield Drift(
            "vlan_group_changed",
            segment.pool,
            segment,
            _("The VLAN of segment {segment} is not in the VLAN group of pool {pool}").format(
                segment=segment, pool=segment.pool
            ),
            **_either(
                advice,
                _("Put VLAN {vlan} back into VLAN group {group}.").format(vlan=segment.vlan, group=group),
                (segment.vlan, {"group": group}),
            ),
        )


def _either(advice, repair, *changes):
    """Return what a Drift takes for `advice`, or where there is none for the repair."""
    return {"advice": advice} if advice else {"repair": repair, "changes": changes}


def renumbered_vlans(pk):
    """Find VLANs whose ID is no longer that of their segment."""
    taken = Segment.objects.filter(pool=OuterRef("pool"), vid=OuterRef("vlan__vid"))
    for segment in _segments(pk).exclude(vlan__vid=F("vid")).annotate(is_taken=Exists(taken)):
        vid, group = segment.vlan.vid, segment.pool.vlan_group
        advice = ""
        if segment.is_taken:
            advice = _(
                "Another segment of the pool still says VLAN ID {vid}: repair that one first, or give the VLAN "
                "another ID."
            ).format(vid=vid)
        elif not _is_in_ranges(vid, group):
            advice = _(
                "VLAN group {group} allows {ranges} only: add {vid} to its ranges, or release the segment and give its "
                "VLAN another ID."
            ).format(group=group, ranges=ranges_to_string(group.vid_ranges), vid=vid)
        yield Drift(
            "vlan_renumbered",
            segment.pool,
            segment,
            _("Segment {segment} says VLAN ID {vid}, its VLAN {vlan_vid}").format(
                segment=segment, vid=segment.vid, vlan_vid=vid
            ),
            **_either(
                advice,
                _("Set the VLAN ID of the segment to {vid}, which is what its VLAN says.").format(vid=vid),
                (segment, {"vid": vid}),
            ),
        )


def vids_out_of_range(pk):
    """Find segments with a VLAN ID outside the ranges of their pool's VLAN group."""
    # Ranges of integers contain no smallint, which the column is.
    in_range = Q(pool__vlan_group__vid_ranges__range_contains=Cast("vid", IntegerField()))
    for segment in _segments(pk).exclude(in_range):
        group = segment.pool.vlan_group
        yield Drift(
            "vid_out_of_range",
            segment.pool,
            segment,
            _("VLAN ID {vid} of segment {segment} is outside the ranges of VLAN group {group}").format(
                vid=segment.vid, segment=segment, group=group
            ),
            advice=_(
                "The group allows {ranges} only: add {vid} to its ranges, or release the segment and give its VLAN "
                "another ID."
            ).format(ranges=ranges_to_string(group.vid_ranges), vid=segment.vid),
        )


def invalid_epg_names(pk):
    """Find VLANs whose name is no EPG name."""
    # An allocation that was not carried along remembers the name that the cluster was told.
    told = Allocation.objects.unreleased().filter(segment=OuterRef("pk")).order_by("pk").values("epg_name")[:1]
    segments = _segments(pk).exclude(vlan__name__regex=f"^{epg_name_pattern()}$").annotate(told=Subquery(told))
    segments = list(segments)
    names = {segment: _valid_name(segment) for segment in segments}
    taken = set(
        VLAN.objects.filter(name__in=set(names.values()), group__in={s.pool.vlan_group_id for s in segments})
        .order_by()
        .values_list("group", "name")
    )
    for segment in segments:
        name = names[segment]
        advice = ""
        if not name or (segment.vlan.group_id, name) in taken:
            advice = _("No name follows from this one: give the VLAN an EPG name.")
        yield Drift(
            "epg_name_invalid",
            segment.pool,
            segment,
            _("The VLAN name {name!r} of segment {vid} in pool {pool} is no valid EPG name").format(
                name=segment.epg_name, vid=segment.vid, pool=segment.pool
            ),
            **_either(
                advice,
                _("Rename the VLAN to {name}.").format(name=name),
                (segment.vlan, {"name": name}),
            ),
        )


def _valid_name(segment):
    """Return the EPG name that the VLAN of `segment` had or nearly has, or an empty text."""
    if re.fullmatch(epg_name_pattern(), segment.told or ""):
        return segment.told
    name = make_epg_name(segment.epg_name.strip())[:EPG_NAME_MAX_LENGTH]
    return name if name.strip("_.:/-") else ""


def inactive_vlans(pk):
    """Find segments that will be handed out though their VLAN is not active; `guards` disables them at such an edit."""
    for segment in _segments(pk).filter(status__in=HANDED_OUT).exclude(vlan__status=VLANStatusChoices.STATUS_ACTIVE):
        reasons = ", ".join(status_reasons(segment.vlan, ()))
        yield Drift(
            "vlan_status",
            segment.pool,
            segment,
            _("Segment {segment} is {status}, but its VLAN {vlan_status}").format(
                segment=segment, status=segment.get_status_display(), vlan_status=segment.vlan.get_status_display()
            ),
            repair=_("Disable the segment."),
            changes=((segment, disabling(segment, reasons)),),
        )


def used_segments(pk):
    """
    Find available segments that something in NetBox uses already.

    The user who enabled one, or made it available, may know better; its next holder may get somebody else's network.
    """
    available = _segments(pk).filter(status=SegmentStatusChoices.AVAILABLE)
    for segment in available.filter(pk__in=used_ids(available)):
        yield Drift(
            "segment_in_use",
            segment.pool,
            segment,
            _("Segment {segment} is available, but in use").format(segment=segment),
            advice=_(
                "Decide whether it is free: see in NetBox what uses its VLAN and prefixes, then disable the segment "
                "or remove that."
            ),
        )


def moved_prefixes(pk, name):
    """Find prefixes of segments that are in another VRF than the pool."""
    in_segment = Q(segment__isnull=False) | Q(ipv6_segment__isnull=False)
    overlaps = Q(prefix__net_contains_or_equals=OuterRef(f"{name}__prefix")) | Q(
        prefix__net_contained=OuterRef(f"{name}__prefix")
    )
    obstacles = Prefix.objects.filter(
        Q(prefix=OuterRef(f"{name}__prefix")) | (in_segment & overlaps), vrf=OuterRef("pool__vrf")
    )
    moved = _segments(pk).filter(~Q(**{f"{name}__vrf": F("pool__vrf")}) | Q(**{f"{name}__vrf__isnull": True}))
    moved = moved.filter(**{f"{name}__isnull": False})
    for segment in moved.annotate(has_obstacle=Exists(obstacles)):
        prefix, vrf = getattr(segment, name), segment.pool.vrf
        advice = ""
        if segment.has_obstacle:
            advice = _("VRF {vrf} has something else at this network: remove it, then repair this.").format(vrf=vrf)
        yield Drift(
            f"{FAMILIES[name]}prefix_vrf_changed",
            segment.pool,
            segment,
            _("Prefix {prefix} of segment {segment} is not in VRF {vrf} of its pool").format(
                prefix=prefix, segment=segment, vrf=vrf
            ),
            **_either(
                advice,
                _("Put prefix {prefix} back into VRF {vrf}.").format(prefix=prefix, vrf=vrf),
                (prefix, {"vrf": vrf}),
            ),
        )


def detached_prefixes(pk, name):
    """Find prefixes of segments that have another VLAN than the segment, or none."""
    detached = _segments(pk).filter(~Q(**{f"{name}__vlan": F("vlan")}) | Q(**{f"{name}__vlan__isnull": True}))
    for segment in detached.filter(**{f"{name}__isnull": False}):
        prefix = getattr(segment, name)
        yield Drift(
            f"{FAMILIES[name]}prefix_vlan_changed",
            segment.pool,
            segment,
            _("Prefix {prefix} of segment {segment} is not assigned to its VLAN").format(
                prefix=prefix, segment=segment
            ),
            repair=_("Assign prefix {prefix} to VLAN {vlan}.").format(prefix=prefix, vlan=segment.vlan),
            changes=((prefix, {"vlan": segment.vlan}),),
        )


def prefixes_outside_containers(pk, name):
    """Find prefixes of segments that lie in none of the pool's containers."""
    containers = SegmentPool.prefixes.through.objects.filter(
        segmentpool=OuterRef("pool"),
        prefix__vrf=F("segmentpool__vrf"),
        prefix__prefix__net_contains_or_equals=OuterRef(f"{name}__prefix"),
    )
    for segment in _segments(pk).filter(~Exists(containers), **{f"{name}__isnull": False}):
        yield Drift(
            f"{FAMILIES[name]}prefix_outside_containers",
            segment.pool,
            segment,
            _("Prefix {prefix} of segment {segment} lies in no container of pool {pool}").format(
                prefix=getattr(segment, name), segment=segment, pool=segment.pool
            ),
            advice=_(
                "Decide where it belongs: add a container around it to the pool, or release the segment "
                "and give it another prefix."
            ),
        )


def overlapping_prefixes(pk, name):
    """Find prefixes of segments that overlap those of other segments."""
    inner = (
        Prefix.objects.filter(
            Q(segment__isnull=False) | Q(ipv6_segment__isnull=False),
            vrf=OuterRef(f"{name}__vrf"),
            prefix__net_contained_or_equal=OuterRef(f"{name}__prefix"),
        )
        .exclude(pk=OuterRef(name))
        .order_by("pk")
    )
    for segment, other in _with_other(_segments(pk), inner):
        prefix = getattr(segment, name)
        yield Drift(
            f"{FAMILIES[name]}prefix_overlap",
            segment.pool,
            segment,
            _("Prefix {prefix} of segment {segment} overlaps another segment in VRF {vrf}").format(
                prefix=prefix, segment=segment, vrf=prefix.vrf
            ),
            advice=_("Decide which of the two to keep: release the other segment and change its prefix."),
            other=other,
        )


def doubled_prefixes(pk, name):
    """
    Find other prefixes, of no segment, that have the network of a segment's in its VRF.

    What lies inside a segment's prefix is its holder's own; what is around it is found by `surrounding_prefixes`.
    """
    others = (
        Prefix.objects.filter(
            segment__isnull=True,
            ipv6_segment__isnull=True,
            vrf=OuterRef(f"{name}__vrf"),
            prefix=OuterRef(f"{name}__prefix"),
        )
        .exclude(pk=OuterRef(name))
        .order_by("pk")
    )
    for segment, other in _with_other(_segments(pk), others):
        yield Drift(
            f"{FAMILIES[name]}prefix_covered",
            segment.pool,
            segment,
            _("Prefix {prefix} of segment {segment} is also in use by another prefix, of no segment").format(
                prefix=getattr(segment, name), segment=segment
            ),
            advice=_("Decide who has the addresses: delete the other prefix or change it."),
            other=other,
        )


def surrounding_prefixes(pk):
    """
    Find prefixes inside a pool's containers that have segments inside and are no container and no segment's.

    That is how many keep their networks in NetBox, so it is worth knowing only: it may stand for another use.
    """
    inner = Segment.objects.filter(
        Q(prefix__vrf=OuterRef("vrf"), prefix__prefix__net_contained=OuterRef("prefix"))
        | Q(ipv6_prefix__vrf=OuterRef("vrf"), ipv6_prefix__prefix__net_contained=OuterRef("prefix")),
        # What contains the pool's whole container is nobody's mistake.
        pool__prefixes__prefix__net_contains_or_equals=OuterRef("prefix"),
    )
    outer = _only(Prefix.objects.all(), pk).filter(
        Exists(inner),
        vrf__in=SegmentPool.objects.order_by().values("vrf"),
        segment__isnull=True,
        ipv6_segment__isnull=True,
        segment_pools__isnull=True,
    )
    outer = outer.exclude(status=CONTAINER).annotate(pool_inside=Subquery(inner.order_by("pool").values("pool")[:1]))
    yield from _in_pools(
        "prefix_around",
        outer.order_by("pool_inside", "prefix"),
        "pool_inside",
        gettext_lazy("Prefix {prefix} around segments of pool {pool} has status {status}, and is no container"),
        gettext_lazy("Check whether its addresses are in use: make it a container if it only groups other prefixes."),
    )


def _in_pools(kind, prefixes, pool_name, message, advice):
    """Yield a Drift for each of `prefixes`, in the pool whose id it has as its attribute `pool_name`."""
    pools = SegmentPool.objects.select_related("vrf", "vlan_group").in_bulk()
    for prefix in prefixes:
        pool = pools[getattr(prefix, pool_name)]
        text = str(message).format(prefix=prefix, pool=pool, status=prefix.get_status_display())
        yield Drift(kind, pool, prefix, text, advice=str(advice))


def _with_other(segments, others):
    """Yield the segments for which there are `others`, each with the id and the network of the first of these."""
    first = {"other": Subquery(others.values("pk")[:1]), "other_network": Subquery(others.values("prefix")[:1])}
    for segment in segments.filter(Exists(others)).annotate(**first):
        yield segment, (segment.other, segment.other_network)


def wrong_statuses(pk):
    """Find segments that are allocated while nobody holds them, or held and not allocated."""
    held = Exists(Allocation.objects.unreleased().filter(segment=OuterRef("pk")))
    allocated = Q(status=SegmentStatusChoices.ALLOCATED)
    wrong = (allocated & Q(held=False)) | (~allocated & Q(held=True))
    for segment in _segments(pk).annotate(held=held).filter(wrong):
        if segment.held:
            values = {"status": SegmentStatusChoices.ALLOCATED, "quarantined_until": None, "disabled_reason": ""}
            values = {name: value for name, value in values.items() if getattr(segment, name) != value}
            repair = _("Set the status of the segment to Allocated, and that of its prefixes with it.")
        else:
            values = {"status": SegmentStatusChoices.AVAILABLE}
            repair = _("Set the status of the segment to Available, and that of its prefixes with it.")
        yield Drift(
            "segment_status",
            segment.pool,
            segment,
            _("Segment {segment} has status {status}, but {holders}").format(
                segment=segment,
                status=segment.get_status_display(),
                holders=_("a cluster holds it") if segment.held else _("no cluster holds it"),
            ),
            repair=repair,
            changes=((segment, values), *_prefix_changes(segment, segment.held)),
        )


def _prefix_changes(segment, held):
    """Yield the prefixes of `segment` with another status than they have to have, and that status."""
    status = status_when_allocated() if held else status_when_available()
    for name in FAMILIES:
        if (prefix := getattr(segment, name)) and prefix.status != status:
            yield prefix, {"status": status}


def wrong_prefix_statuses(pk, name):
    """Find prefixes whose status is not the one that their segment's stands for."""
    for segment in _segments(pk).filter(**{f"{name}__isnull": False}).exclude(has_right_status(name)):
        prefix = getattr(segment, name)
        status = prefix_status(segment.pool, segment.status)
        yield Drift(
            f"{FAMILIES[name]}prefix_status",
            segment.pool,
            segment,
            _("Prefix {prefix} has status {prefix_status}, but its segment {segment} is {status}").format(
                prefix=prefix,
                prefix_status=prefix.get_status_display(),
                segment=segment,
                status=segment.get_status_display(),
            ),
            repair=_("Set the status of prefix {prefix} to {status}.").format(
                prefix=prefix, status=dict(PrefixStatusChoices).get(status, status)
            ),
            changes=((prefix, {"status": status}),),
        )


def shared_holders(pk):
    """Find segments that several clusters hold though not all of them share it."""
    shared = (
        Allocation.objects.unreleased()
        .filter(shared=False)
        .order_by()
        .values("segment")
        .annotate(holders=Count("pk"))
        .filter(holders__gt=1)
    )
    for segment in _segments(pk).filter(pk__in=shared.values("segment")):
        yield Drift(
            "segment_held_twice",
            segment.pool,
            segment,
            _("Several clusters hold segment {segment} without sharing it").format(segment=segment),
            advice=_("Decide which cluster keeps it: release the allocations of the others."),
        )


def doubled_allocations(pk):
    """Find clusters that hold several segments of a pool for one purpose."""
    same = (
        Allocation.objects.unreleased()
        .alias(key=Upper("cluster_name"))
        .filter(pool=OuterRef("pool"), key=Upper(OuterRef("cluster_name")), purpose=OuterRef("purpose"))
        .exclude(pk=OuterRef("pk"))
    )
    for allocation in _only(Allocation.objects.unreleased(), pk).filter(Exists(same)).select_related("pool"):
        yield Drift(
            "allocated_twice",
            allocation.pool,
            allocation,
            _("Cluster {cluster} holds several segments of pool {pool}").format(
                cluster=allocation.cluster_name, pool=allocation.pool
            ),
            advice=_("Decide which segment the cluster keeps: release the others."),
        )


def stale_allocations(pk):
    """Find active allocations that say otherwise than their segments."""
    no_ipv6 = Q(ipv6_prefix__isnull=True, segment__ipv6_prefix__isnull=True)
    true = Q(
        no_ipv6 | Q(ipv6_prefix=F("segment__ipv6_prefix__prefix")),
        pool=F("segment__pool"),
        vid=F("segment__vlan__vid"),
        epg_name=F("segment__vlan__name"),
        prefix=F("segment__prefix__prefix"),
    )
    stale = _only(Allocation.objects.unreleased(), pk).exclude(true)
    for allocation in stale.select_related(
        "pool", "segment__vlan", "segment__prefix", "segment__ipv6_prefix", "segment__pool__vrf"
    ):
        values = _stale_values(allocation)
        advice = ""
        if not re.fullmatch(epg_name_pattern(), allocation.segment.epg_name):
            advice = _("The name of its VLAN is no valid EPG name: repair that one first.")
        yield Drift(
            "allocation_stale",
            allocation.pool,
            allocation,
            _("Allocation {allocation} says something else than its segment").format(allocation=allocation),
            **_either(
                advice,
                _("Write on the allocation what its segment is: {values}.").format(
                    values=", ".join(
                        f"{Allocation._meta.get_field(name).verbose_name} {value}" for name, value in values.items()
                    )
                ),
                (allocation, values),
            ),
        )


def wrong_clusters(pk):
    """Find active allocations that are not linked to the NetBox cluster of their name, or to another one."""
    allocations = list(_only(wrongly_linked(), pk).select_related("pool", "segment__pool").order_by("pk"))
    clusters = Cluster.objects.in_bulk([allocation.named for allocation in allocations if allocation.named])
    for allocation in allocations:
        yield Drift(
            "cluster_link",
            allocation.pool,
            allocation,
            _("Allocation {allocation} is not linked to what its cluster name says").format(allocation=allocation),
            repair=_("Link it to the NetBox cluster of that name if there is exactly one, else to none."),
            changes=((allocation, {"cluster": clusters.get(allocation.named)}),),
        )


def _stale_values(allocation):
    """Return {field: value} for what `allocation` says otherwise than its segment."""
    segment, pool = allocation.segment, allocation.segment.pool
    values = {
        "vid": segment.vlan.vid,
        "epg_name": segment.epg_name,
        "prefix": segment.prefix.prefix,
        "ipv6_prefix": segment.ipv6_prefix and segment.ipv6_prefix.prefix,
    }
    if allocation.pool_id != pool.pk:
        values |= {"pool": pool, "pool_name": pool.name, "vrf_name": pool.vrf.name}
    return {name: value for name, value in values.items() if getattr(allocation, name) != value}


def orphaned_prefixes(pk):
    """Find prefixes in a pool's containers that say they are allocated, while no segment has them."""
    containers = SegmentPool.prefixes.through.objects.filter(
        segmentpool__vrf=OuterRef("vrf"),
        prefix__vrf=OuterRef("vrf"),
        prefix__prefix__net_contains=OuterRef("prefix"),
    )
    orphans = _only(Prefix.objects.all(), pk).filter(
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
        gettext_lazy("Prefix {prefix} in a container of pool {pool} has status {status}, but is no segment's"),
        gettext_lazy("Check whether it is in use: adopt it into the pool, or give it another status if nobody does."),
    )


def unmigrated_prefixes(pk):
    """Find prefixes that a cluster of the first generation holds and that could not be migrated."""
    # Where several pools might have one, it is told of the first.
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
                "Until it is migrated nobody is allocated it, and its clusters are allocated nothing else. The preview "
                "of the migration says what is to be mended; where it is free, empty Cluster."
            ),
        )


def broken_pools(pk):
    """Find pools whose containers, scope or values do not fit."""
    scopes = GenericPrefetch(
        "scope",
        [
            Location.objects.select_related("site__region", "site__group"),
            Site.objects.select_related("region", "group"),
            SiteGroup.objects.all(),
            Region.objects.all(),
        ],
    )
    pools = _only(SegmentPool.objects.select_related("scope_type", "vrf", "vlan_group"), pk)
    twins = Prefix.objects.filter(vrf=OuterRef("segmentpool__vrf"), prefix=OuterRef("prefix__prefix"))
    # The containers whose place in their pool's VRF is taken.
    blocked = set(
        SegmentPool.prefixes.through.objects.exclude(prefix__vrf=F("segmentpool__vrf"))
        .filter(Exists(twins))
        .values_list("segmentpool", "prefix")
    )
    for pool in pools.prefetch_related(scopes, "prefixes"):
        if pool.scope is None:
            yield Drift(
                "pool_scope",
                pool,
                pool,
                _("The scope of pool {pool} is gone").format(pool=pool),
                advice=_("Decide which place the pool serves: edit the pool and choose it."),
            )
        elif stale := _stale_places(pool):
            yield Drift(
                "pool_places",
                pool,
                pool,
                _("The places that pool {pool} is found by are not those of its scope {scope}").format(
                    pool=pool, scope=pool.scope
                ),
                repair=_("Set the places that the pool is found by to those of {scope}.").format(scope=pool.scope),
                changes=((pool, stale),),
            )
        yield from _broken_containers(pool, blocked)
        yield from _unusable_values(pool)


def _broken_containers(pool, blocked):
    containers = list(pool.prefixes.all())
    if not containers:
        yield Drift(
            "container_missing",
            pool,
            pool,
            _("Pool {pool} has no container").format(pool=pool),
            advice=_("Decide which networks the pool hands out: edit the pool and add a container."),
        )
    if moved := [prefix for prefix in containers if prefix.vrf_id != pool.vrf_id]:
        advice = ""
        if any((pool.pk, prefix.pk) in blocked for prefix in moved):
            advice = _("VRF {vrf} has another prefix of this network: delete it, then repair this.").format(
                vrf=pool.vrf
            )
        yield Drift(
            "container_vrf",
            pool,
            pool,
            _("Container {prefix} of pool {pool} is not in VRF {vrf}").format(
                prefix=", ".join(map(str, moved)), pool=pool, vrf=pool.vrf
            ),
            **_either(
                advice,
                _("Put {prefix} back into VRF {vrf}.").format(prefix=", ".join(map(str, moved)), vrf=pool.vrf),
                *((prefix, {"vrf": pool.vrf}) for prefix in moved),
            ),
        )
    if changed := [prefix for prefix in containers if prefix.status != CONTAINER]:
        yield Drift(
            "container_status",
            pool,
            pool,
            _("Container {prefix} of pool {pool} has status {status}").format(
                prefix=", ".join(map(str, changed)),
                pool=pool,
                status=", ".join(sorted({str(prefix.get_status_display()) for prefix in changed})),
            ),
            repair=_("Set the status of {prefix} to Container.").format(prefix=", ".join(map(str, changed))),
            changes=tuple((prefix, {"status": CONTAINER}) for prefix in changed),
        )


def _unusable_values(pool):
    errors = pool_errors(pool, [prefix.prefix for prefix in pool.prefixes.all()])
    # That there is no container is a finding of its own.
    if pool.prefixes.all() and errors:
        yield Drift(
            "pool_values",
            pool,
            pool,
            _("Pool {pool} has values that it cannot use: {reasons}").format(
                pool=pool, reasons=" ".join(text for texts in errors.values() for text in texts)
            ),
            advice=_("Decide what it should be: edit the pool."),
        )


def _stale_places(pool):
    """Return {field: place} of the places that `pool` has cached and that have changed."""
    true = copy(pool)
    true.cache_related_objects()
    names = ("_location", "_site", "_site_group", "_region")
    return {name: getattr(true, name) for name in names if getattr(pool, f"{name}_id") != getattr(true, f"{name}_id")}


class Kind(NamedTuple):
    """What a kind of drift is called, how bad it is, and the function that finds it."""

    label: str
    severity: str
    check: object


# In the order in which repairs build on one another.
KINDS = {
    "pool_scope": Kind(gettext_lazy("Scope gone"), DriftSeverityChoices.ERROR, broken_pools),
    "pool_places": Kind(gettext_lazy("Places of the pool"), DriftSeverityChoices.ERROR, broken_pools),
    "container_missing": Kind(gettext_lazy("No container"), DriftSeverityChoices.ERROR, broken_pools),
    "container_vrf": Kind(gettext_lazy("VRF of a container"), DriftSeverityChoices.ERROR, broken_pools),
    "container_status": Kind(gettext_lazy("Status of a container"), DriftSeverityChoices.WARNING, broken_pools),
    "pool_values": Kind(gettext_lazy("Values of the pool"), DriftSeverityChoices.WARNING, broken_pools),
    "vlan_group_changed": Kind(gettext_lazy("VLAN group"), DriftSeverityChoices.ERROR, regrouped_vlans),
    "vlan_renumbered": Kind(gettext_lazy("VLAN renumbered"), DriftSeverityChoices.ERROR, renumbered_vlans),
    "vid_out_of_range": Kind(gettext_lazy("VLAN ID out of range"), DriftSeverityChoices.WARNING, vids_out_of_range),
    "epg_name_invalid": Kind(gettext_lazy("EPG name not valid"), DriftSeverityChoices.WARNING, invalid_epg_names),
    "vlan_status": Kind(gettext_lazy("Status of a VLAN"), DriftSeverityChoices.WARNING, inactive_vlans),
    "prefix_vrf_changed": Kind(
        gettext_lazy("VRF of a prefix"), DriftSeverityChoices.ERROR, partial(moved_prefixes, name="prefix")
    ),
    "ipv6_prefix_vrf_changed": Kind(
        gettext_lazy("VRF of an IPv6 prefix"), DriftSeverityChoices.ERROR, partial(moved_prefixes, name="ipv6_prefix")
    ),
    "prefix_vlan_changed": Kind(
        gettext_lazy("VLAN of a prefix"), DriftSeverityChoices.WARNING, partial(detached_prefixes, name="prefix")
    ),
    "ipv6_prefix_vlan_changed": Kind(
        gettext_lazy("VLAN of an IPv6 prefix"),
        DriftSeverityChoices.WARNING,
        partial(detached_prefixes, name="ipv6_prefix"),
    ),
    "prefix_outside_containers": Kind(
        gettext_lazy("Prefix outside containers"),
        DriftSeverityChoices.WARNING,
        partial(prefixes_outside_containers, name="prefix"),
    ),
    "ipv6_prefix_outside_containers": Kind(
        gettext_lazy("IPv6 prefix outside containers"),
        DriftSeverityChoices.WARNING,
        partial(prefixes_outside_containers, name="ipv6_prefix"),
    ),
    "prefix_overlap": Kind(
        gettext_lazy("Overlapping segments"), DriftSeverityChoices.ERROR, partial(overlapping_prefixes, name="prefix")
    ),
    "ipv6_prefix_overlap": Kind(
        gettext_lazy("Overlapping segments (IPv6)"),
        DriftSeverityChoices.ERROR,
        partial(overlapping_prefixes, name="ipv6_prefix"),
    ),
    "prefix_covered": Kind(
        gettext_lazy("Prefix in use twice"), DriftSeverityChoices.ERROR, partial(doubled_prefixes, name="prefix")
    ),
    "ipv6_prefix_covered": Kind(
        gettext_lazy("IPv6 prefix in use twice"),
        DriftSeverityChoices.ERROR,
        partial(doubled_prefixes, name="ipv6_prefix"),
    ),
    "segment_status": Kind(gettext_lazy("Status of a segment"), DriftSeverityChoices.ERROR, wrong_statuses),
    "prefix_status": Kind(
        gettext_lazy("Status of a prefix"), DriftSeverityChoices.WARNING, partial(wrong_prefix_statuses, name="prefix")
    ),
    "ipv6_prefix_status": Kind(
        gettext_lazy("Status of an IPv6 prefix"),
        DriftSeverityChoices.WARNING,
        partial(wrong_prefix_statuses, name="ipv6_prefix"),
    ),
    "segment_held_twice": Kind(gettext_lazy("Segment held twice"), DriftSeverityChoices.ERROR, shared_holders),
    "allocated_twice": Kind(gettext_lazy("Cluster with two segments"), DriftSeverityChoices.ERROR, doubled_allocations),
    "allocation_stale": Kind(gettext_lazy("Outdated allocation"), DriftSeverityChoices.WARNING, stale_allocations),
    "cluster_link": Kind(gettext_lazy("Cluster of an allocation"), DriftSeverityChoices.WARNING, wrong_clusters),
    "prefix_unmigrated": Kind(gettext_lazy("Prefix not migrated"), DriftSeverityChoices.ERROR, unmigrated_prefixes),
    "prefix_orphan": Kind(gettext_lazy("Prefix without a segment"), DriftSeverityChoices.INFO, orphaned_prefixes),
    "prefix_around": Kind(gettext_lazy("Prefix around segments"), DriftSeverityChoices.INFO, surrounding_prefixes),
    "segment_in_use": Kind(gettext_lazy("Available, but in use"), DriftSeverityChoices.INFO, used_segments),
}
