"""
Checks of the prefixes of segments: VRF, VLAN, containers, and networks that are in use twice.
"""

from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ipam.models import Prefix

from ...choices import DriftSeverityChoices
from ...models import SegmentPool
from .findings import FAMILIES, Drift, find_segments, register_families, repair_or_advice


def moved_prefixes(pk, name):
    """Find prefixes of segments that are in another VRF than the pool."""
    in_segment = Q(segment__isnull=False) | Q(ipv6_segment__isnull=False)
    overlaps = Q(prefix__net_contains_or_equals=OuterRef(f"{name}__prefix")) | Q(
        prefix__net_contained=OuterRef(f"{name}__prefix")
    )
    obstacles = Prefix.objects.filter(
        Q(prefix=OuterRef(f"{name}__prefix")) | (in_segment & overlaps), vrf=OuterRef("pool__vrf")
    )
    moved = find_segments(pk).filter(~Q(**{f"{name}__vrf": F("pool__vrf")}) | Q(**{f"{name}__vrf__isnull": True}))
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
            **repair_or_advice(
                advice,
                _("Put prefix {prefix} back into VRF {vrf}.").format(prefix=prefix, vrf=vrf),
                (prefix, {"vrf": vrf}),
            ),
        )


def detached_prefixes(pk, name):
    """Find prefixes of segments that have another VLAN than the segment, or none."""
    detached = find_segments(pk).filter(~Q(**{f"{name}__vlan": F("vlan")}) | Q(**{f"{name}__vlan__isnull": True}))
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
    """Find prefixes of segments that lie in no container of their pool."""
    containers = SegmentPool.prefixes.through.objects.filter(
        segmentpool=OuterRef("pool"),
        prefix__vrf=F("segmentpool__vrf"),
        prefix__prefix__net_contains_or_equals=OuterRef(f"{name}__prefix"),
    )
    for segment in find_segments(pk).filter(~Exists(containers), **{f"{name}__isnull": False}):
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
    for segment, other in _with_other(find_segments(pk), inner):
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
    Find segments whose network another prefix in the VRF has too, which is of no segment.

    Prefixes inside that of a segment belong to its holder; `usage_checks` finds those around it.
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
    for segment, other in _with_other(find_segments(pk), others):
        yield Drift(
            f"{FAMILIES[name]}prefix_covered",
            segment.pool,
            segment,
            _("Prefix {prefix} of segment {segment} is also in use by another prefix, of no segment").format(
                prefix=getattr(segment, name), segment=segment
            ),
            advice=_("Decide which prefix keeps the addresses: delete the other prefix or change it."),
            other=other,
        )


def _with_other(segments, others):
    """Yield each segment that has `others`, with the id and the network of the first of these."""
    first = {"other": Subquery(others.values("pk")[:1]), "other_network": Subquery(others.values("prefix")[:1])}
    for segment in segments.filter(Exists(others)).annotate(**first):
        yield segment, (segment.other, segment.other_network)


register_families(
    "prefix_vrf_changed",
    (gettext_lazy("VRF of a prefix"), gettext_lazy("VRF of an IPv6 prefix")),
    DriftSeverityChoices.ERROR,
    moved_prefixes,
)
register_families(
    "prefix_vlan_changed",
    (gettext_lazy("VLAN of a prefix"), gettext_lazy("VLAN of an IPv6 prefix")),
    DriftSeverityChoices.WARNING,
    detached_prefixes,
)
register_families(
    "prefix_outside_containers",
    (gettext_lazy("Prefix outside containers"), gettext_lazy("IPv6 prefix outside containers")),
    DriftSeverityChoices.WARNING,
    prefixes_outside_containers,
)
register_families(
    "prefix_overlap",
    (gettext_lazy("Overlapping segments"), gettext_lazy("Overlapping segments (IPv6)")),
    DriftSeverityChoices.ERROR,
    overlapping_prefixes,
)
register_families(
    "prefix_covered",
    (gettext_lazy("Prefix in use twice"), gettext_lazy("IPv6 prefix in use twice")),
    DriftSeverityChoices.ERROR,
    doubled_prefixes,
)
