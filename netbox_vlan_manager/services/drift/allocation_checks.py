"""
Checks of allocations, and of the statuses that segments and their prefixes have for them.
"""

import re

from django.db.models import Count, Exists, F, OuterRef, Q
from django.db.models.functions import Upper
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ipam.choices import PrefixStatusChoices
from virtualization.models import Cluster

from ...choices import DriftSeverityChoices, SegmentStatusChoices
from ...models import Allocation
from ...validators import epg_name_pattern
from ..allocations.clusters import wrongly_linked
from ..segments.gateways import IP_ADDRESSES
from ..segments.prefix_status import has_right_status, prefix_status, status_when_allocated, status_when_available
from .findings import FAMILIES, Drift, find_segments, narrow, register, register_families, repair_or_advice


def wrong_statuses(pk):
    """Find segments that are allocated without a holder, or held without being allocated."""
    held = Exists(Allocation.objects.unreleased().filter(segment=OuterRef("pk")))
    allocated = Q(status=SegmentStatusChoices.ALLOCATED)
    wrong = (allocated & Q(held=False)) | (~allocated & Q(held=True))
    for segment in find_segments(pk).annotate(held=held).filter(wrong):
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
    """Yield the prefixes of `segment` with a wrong status, each with the right one."""
    status = status_when_allocated() if held else status_when_available()
    for name in FAMILIES:
        if (prefix := getattr(segment, name)) and prefix.status != status:
            yield prefix, {"status": status}


def wrong_prefix_statuses(pk, name):
    """Find prefixes whose status does not follow from the status of their segment."""
    for segment in find_segments(pk).filter(**{f"{name}__isnull": False}).exclude(has_right_status(name)):
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
    """Find segments that several clusters hold without sharing them."""
    shared = (
        Allocation.objects.unreleased()
        .filter(shared=False)
        .order_by()
        .values("segment")
        .annotate(holders=Count("pk"))
        .filter(holders__gt=1)
    )
    for segment in find_segments(pk).filter(pk__in=shared.values("segment")):
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
    for allocation in narrow(Allocation.objects.unreleased(), pk).filter(Exists(same)).select_related("pool"):
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
    """Find active allocations whose values are not those of their segments."""
    optional = {"ipv6_prefix": "segment__ipv6_prefix__prefix"} | {name: f"segment__{name}" for name in IP_ADDRESSES}
    true = Q(
        *(
            Q(**{f"{name}__isnull": True, f"{path}__isnull": True}) | Q(**{name: F(path)})
            for name, path in optional.items()
        ),
        pool=F("segment__pool"),
        vid=F("segment__vlan__vid"),
        epg_name=F("segment__vlan__name"),
        prefix=F("segment__prefix__prefix"),
    )
    stale = narrow(Allocation.objects.unreleased(), pk).exclude(true)
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
            _("Allocation {allocation} differs from its segment").format(allocation=allocation),
            **repair_or_advice(
                advice,
                _("Set the allocation to the values of its segment: {values}.").format(
                    values=", ".join(
                        f"{Allocation._meta.get_field(name).verbose_name} {value}" for name, value in values.items()
                    )
                ),
                (allocation, values),
            ),
        )


def _stale_values(allocation):
    """Return {field: value of the segment} for the fields in which `allocation` differs."""
    segment, pool = allocation.segment, allocation.segment.pool
    values = {
        "vid": segment.vlan.vid,
        "epg_name": segment.epg_name,
        "prefix": segment.prefix.prefix,
        "ipv6_prefix": segment.ipv6_prefix and segment.ipv6_prefix.prefix,
        **{name: getattr(segment, name) for name in IP_ADDRESSES},
    }
    if allocation.pool_id != pool.pk:
        values |= {"pool": pool, "pool_name": pool.name, "vrf_name": pool.vrf.name}
    return {name: value for name, value in values.items() if getattr(allocation, name) != value}


def wrong_clusters(pk):
    """Find active allocations whose link is not the one NetBox cluster of their name."""
    allocations = list(narrow(wrongly_linked(), pk).select_related("pool", "segment__pool").order_by("pk"))
    clusters = Cluster.objects.in_bulk([allocation.named for allocation in allocations if allocation.named])
    for allocation in allocations:
        yield Drift(
            "cluster_link",
            allocation.pool,
            allocation,
            _("Allocation {allocation} is not linked to the NetBox cluster of its name").format(allocation=allocation),
            repair=_("Link it to the NetBox cluster of that name if there is exactly one, else to none."),
            changes=((allocation, {"cluster": clusters.get(allocation.named)}),),
        )


register("segment_status", gettext_lazy("Status of a segment"), DriftSeverityChoices.ERROR, wrong_statuses)
register_families(
    "prefix_status",
    (gettext_lazy("Status of a prefix"), gettext_lazy("Status of an IPv6 prefix")),
    DriftSeverityChoices.WARNING,
    wrong_prefix_statuses,
)
register("segment_held_twice", gettext_lazy("Segment held twice"), DriftSeverityChoices.ERROR, shared_holders)
register("allocated_twice", gettext_lazy("Cluster with two segments"), DriftSeverityChoices.ERROR, doubled_allocations)
register("allocation_stale", gettext_lazy("Outdated allocation"), DriftSeverityChoices.WARNING, stale_allocations)
register("cluster_link", gettext_lazy("Cluster of an allocation"), DriftSeverityChoices.WARNING, wrong_clusters)
