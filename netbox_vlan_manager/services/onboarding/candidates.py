"""
Finds the candidates of adoption: VLANs and prefixes in NetBox that can become segments of a pool.

A candidate is a prefix with its VLAN set, in the pool's VRF and inside its containers, which is in no segment. A VLAN
with one IPv4 and one IPv6 prefix makes one candidate. A candidate with conflicts cannot be adopted; each conflict names
the way out.
"""

from dataclasses import dataclass, field
from functools import reduce
from operator import attrgetter, or_

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils.translation import gettext as _

from dcim.models import Location, Site, SiteGroup
from ipam.choices import PrefixStatusChoices
from ipam.models import VLAN, Prefix

from ...choices import SegmentStatusChoices
from ...validators import clean_epg_name
from ..base.places import enclosing_places
from ..segments import usage
from ..segments.prefix_status import status_when_available
from ..segments.spaces import Containers, PrefixSpace, vid_range_errors
from ..segments.specs import SegmentSpec

__all__ = ("Candidate", "find_candidates", "viewable")

# The most prefixes or VLANs that a text names.
LISTED = 5


@dataclass
class Candidate:
    """
    A VLAN with its prefix, and with an IPv6 prefix if it has one.

    `reasons` are texts that say why it is a candidate and what adopting changes; `conflicts` are {field of Segment:
    texts} that prevent it. `use` is what uses it, as far as the user may view it. `doubts` are texts about its use and
    its statuses: with any, its segment becomes disabled.
    """

    prefix: Prefix
    vlan: VLAN
    ipv6_prefix: Prefix | None = None
    reasons: list = field(default_factory=list)
    conflicts: dict = field(default_factory=dict)
    # What the pool's rule gives. IP addresses that are there already are no use of the network.
    gateway: str | None = None
    ipv6_gateway: str | None = None
    use: usage.Use | None = None
    doubts: list = field(default_factory=list)

    @property
    def ready(self):
        return not self.conflicts

    @property
    def will_be(self):
        """The status that its segment gets without a decision of the user."""
        return SegmentStatusChoices.DISABLED if self.doubts else SegmentStatusChoices.AVAILABLE

    def get_will_be_display(self):
        return dict(SegmentStatusChoices)[self.will_be]

    def get_will_be_color(self):
        return SegmentStatusChoices.colors[self.will_be]

    @property
    def doubt(self):
        """The reason for which its segment is disabled, in words; empty if it is not."""
        return ", ".join(self.doubts)

    @property
    def conflict_texts(self):
        return [text for texts in self.conflicts.values() for text in texts]

    @property
    def prefixes(self):
        return [self.prefix] if self.ipv6_prefix is None else [self.prefix, self.ipv6_prefix]

    def add_conflict(self, name, text):
        self.conflicts.setdefault(name, []).append(text)

    def make_spec(self, pool, **fields):
        """Return the SegmentSpec that makes it a segment of `pool`; `fields` are more fields of SegmentSpec."""
        return SegmentSpec(
            pool=pool,
            vid=self.vlan.vid,
            epg_name=self.vlan.name,
            prefix=self.prefix.prefix,
            ipv6_prefix=self.ipv6_prefix and self.ipv6_prefix.prefix,
            **fields,
        )


def find_candidates(pool, user=None):
    """
    Return the Candidates of a pool, ordered by VLAN ID and prefix. Its statements do not grow with their number.

    Args:
        pool: The SegmentPool.
        user: The User whose permissions decide which prefixes and VLANs are found and named; None finds all.
    """
    containers = Containers(pool)
    inside = viewable(_inside(pool, containers), user).filter(vlan__in=viewable(VLAN.objects.all(), user))
    prefixes = list(
        inside.exclude(pk__in=pool.prefixes.values("pk"))
        .filter(segment=None, ipv6_segment=None)
        .select_related("vlan__group", "vlan__site", "vlan__segment", "scope_type")
        .prefetch_related("scope")
        .order_by("vlan__vid", "vlan", "prefix", "pk")
    )
    siblings = _siblings(pool, prefixes)
    candidates = _pair(pool, prefixes, siblings)
    place = _Place(pool.scope)
    taken = PrefixSpace(pool.vrf, [prefix.prefix for prefix in prefixes])
    for candidate in candidates:
        _check_vlan(candidate, pool, place)
        for prefix in candidate.prefixes:
            _check_prefix(candidate, prefix, pool, containers, place, taken)
    _check_each_other(candidates)
    _check_siblings(candidates, siblings, user)
    for candidate in candidates:
        candidate.gateway = pool.find_gateway(candidate.prefix.prefix)
        candidate.ipv6_gateway = candidate.ipv6_prefix and pool.find_gateway(candidate.ipv6_prefix.prefix)
    for candidate, use in zip(candidates, usage.find_use(map(usage.Network.of, candidates), user), strict=True):
        candidate.use = use
        candidate.doubts = usage.status_reasons(candidate.vlan, candidate.prefixes) + ([str(use)] if use else [])
        candidate.reasons = _reasons(candidate, pool)
    return candidates


def viewable(queryset, user):
    """Return the objects of a queryset that `user` may view; None may view all."""
    return queryset if user is None else queryset.restrict(user, "view")


def _inside(pool, containers):
    """Return the prefixes of the pool's VRF inside its containers."""
    within = (Q(prefix__net_contained_or_equal=str(network)) for network in containers.networks)
    return Prefix.objects.filter(reduce(or_, within, Q(pk__in=())), vrf=pool.vrf)


def _siblings(pool, prefixes):
    """Return {VLAN id: its prefixes in the pool's VRF}, also those that the user may not view."""
    siblings = {}
    found = Prefix.objects.filter(vrf=pool.vrf, vlan__in={prefix.vlan_id for prefix in prefixes})
    for prefix in found.order_by("prefix", "pk"):
        siblings.setdefault(prefix.vlan_id, []).append(prefix)
    return siblings


def _pair(pool, prefixes, siblings):
    """Return a Candidate for each prefix; an IPv4 and an IPv6 prefix of one VLAN make one."""
    candidates, by_vlan = [], {}
    for prefix in prefixes:
        by_vlan.setdefault(prefix.vlan_id, []).append(prefix)
    for vlan_id, found in by_vlan.items():
        families = sorted(prefix.family for prefix in siblings[vlan_id])
        if families == [4, 6] and len(found) == 2:
            ipv4, ipv6 = sorted(found, key=attrgetter("family"))
            candidates.append(Candidate(ipv4, ipv4.vlan, ipv6))
        else:
            candidates += [Candidate(prefix, prefix.vlan) for prefix in found]
    return candidates


class _Place:
    """The place that a pool serves, with the places around it and inside it."""

    def __init__(self, scope):
        self.scope = scope
        self.around = {(type(place), place.pk) for place in (scope, *enclosing_places(scope))}
        self.site_id = scope.site_id if isinstance(scope, Location) else scope.pk if isinstance(scope, Site) else None
        self.inner = (
            {scope.pk}
            if isinstance(scope, Site)
            else set(scope.get_descendants(include_self=True).order_by().values_list("pk", flat=True))
        )

    def holds_prefix(self, prefix):
        """Return whether the prefix has no place, or one in this place or around it."""
        if prefix.scope_id is None or prefix.scope is None or (type(prefix.scope), prefix.scope_id) in self.around:
            return True
        if isinstance(self.scope, Location):
            return prefix._location_id in self.inner
        if isinstance(self.scope, Site):
            return prefix._site_id in self.inner
        return (prefix._site_group_id if isinstance(self.scope, SiteGroup) else prefix._region_id) in self.inner

    def holds_site(self, site):
        if site is None or self.site_id:
            return site is None or site.pk == self.site_id
        return (site.group_id if isinstance(self.scope, SiteGroup) else site.region_id) in self.inner


def _check_vlan(candidate, pool, place):
    vlan = candidate.vlan
    if vlan.group_id is None:
        candidate.add_conflict(
            "vid", _("VLAN {vlan} is in no VLAN group: put it into {group}.").format(vlan=vlan, group=pool.vlan_group)
        )
    elif vlan.group_id != pool.vlan_group_id:
        candidate.add_conflict(
            "vid",
            _("VLAN {vlan} is in VLAN group {other}, the pool's is {group}: move it there.").format(
                vlan=vlan, other=vlan.group, group=pool.vlan_group
            ),
        )
    for name, text in vid_range_errors(pool.vlan_group, vlan.vid).items():
        candidate.add_conflict(name, text)
    try:
        name = clean_epg_name(vlan.name)
    except ValidationError as error:
        candidate.add_conflict("epg_name", " ".join([*error.messages, _("Rename the VLAN.")]))
    else:
        if name != vlan.name:
            candidate.add_conflict("epg_name", _("The VLAN's name has spaces around it: rename the VLAN."))
    if getattr(vlan, "segment", None):
        candidate.add_conflict(
            "vid", _("VLAN {vlan} belongs to another segment: take it off this prefix.").format(vlan=vlan)
        )
    if not place.holds_site(vlan.site):
        candidate.add_conflict(
            "vid",
            _("VLAN {vlan} is at {other}, the pool serves {scope}: take another pool, or change the VLAN.").format(
                vlan=vlan, other=vlan.site, scope=pool.scope
            ),
        )


def _check_prefix(candidate, prefix, pool, containers, place, taken):
    name = "ipv6_prefix" if prefix is candidate.ipv6_prefix else "prefix"
    network = prefix.prefix
    if prefix.status == PrefixStatusChoices.STATUS_CONTAINER:
        candidate.add_conflict(
            name, _("Prefix {prefix} is a container: give it another status, or no VLAN.").format(prefix=network)
        )
    try:
        containers.clean(network)
    except ValidationError as error:
        for text in error.messages:
            candidate.add_conflict(name, text)
    if taken.overlapping(network):
        # The text does not name the other segment, which the user may not be permitted to view.
        candidate.add_conflict(
            name,
            _("Prefix {prefix} overlaps another segment in VRF {vrf}: only one of them can be a segment.").format(
                prefix=network, vrf=pool.vrf
            ),
        )
    if network in taken.duplicates:
        candidate.add_conflict(name, taken.duplicate_text(network))
    if not place.holds_prefix(prefix):
        candidate.add_conflict(
            name,
            _("Prefix {prefix} is at {other}, the pool serves {scope}: take another pool, or change its scope.").format(
                prefix=network, other=prefix.scope, scope=pool.scope
            ),
        )


def _check_each_other(candidates):
    """Add conflicts to candidates whose prefixes overlap: only one of them can be adopted."""
    spans = sorted(
        (prefix.prefix.version, prefix.prefix.first, -prefix.prefix.last, number)
        for number, candidate in enumerate(candidates)
        for prefix in candidate.prefixes
    )
    outer, overlaps = [], {}
    for version, first, negative_last, number in spans:
        while outer and (outer[-1][0] != version or outer[-1][1] < first):
            outer.pop()
        for _version, _last, other in outer:
            overlaps.setdefault(number, set()).add(other)
            overlaps.setdefault(other, set()).add(number)
        outer.append((version, -negative_last, number))
    for number, others in overlaps.items():
        # Several prefixes of one VLAN have a conflict of their own, see `_check_siblings`.
        foreign = [
            candidates[other] for other in sorted(others) if candidates[other].vlan.pk != candidates[number].vlan.pk
        ]
        if foreign:
            candidates[number].add_conflict(
                "prefix",
                _("Prefix {prefix} overlaps {others}: only one of them can be a segment.").format(
                    prefix=candidates[number].prefix.prefix, others=_list(str(other.prefix.prefix) for other in foreign)
                ),
            )


def _check_siblings(candidates, siblings, user):
    """Add conflicts to candidates whose VLAN has more prefixes in the VRF."""
    several = {}
    for number, candidate in enumerate(candidates):
        own = {prefix.pk for prefix in candidate.prefixes}
        if others := [prefix for prefix in siblings[candidate.vlan.pk] if prefix.pk not in own]:
            several[number] = others
    pks = {prefix.pk for others in several.values() for prefix in others}
    visible = set(viewable(Prefix.objects.filter(pk__in=pks), user).order_by().values_list("pk", flat=True))
    for number, others in several.items():
        candidate = candidates[number]
        names = [str(prefix.prefix) for prefix in others if prefix.pk in visible]
        if len(names) < len(others):
            names.append(_("{count} that you may not view").format(count=len(others) - len(names)))
        candidate.add_conflict(
            "prefix",
            _(
                "VLAN {vlan} has several prefixes in this VRF, also {others}: leave it one IPv4 and one IPv6 prefix."
            ).format(vlan=candidate.vlan, others=_list(names)),
        )


def _list(names):
    names = list(names)
    more = len(names) - LISTED
    return ", ".join(names if more <= 0 else [*names[:LISTED], _("{count} more").format(count=more)])


def _reasons(candidate, pool):
    reasons = [
        _("Prefix {prefix} is in VRF {vrf}, inside the pool's containers, and has VLAN {vlan}.").format(
            prefix=candidate.prefix.prefix, vrf=pool.vrf, vlan=candidate.vlan
        )
    ]
    if candidate.ipv6_prefix:
        reasons.append(_("The IPv6 prefix {prefix} has the same VLAN.").format(prefix=candidate.ipv6_prefix.prefix))
    if candidate.vlan.group_id == pool.vlan_group_id:
        reasons.append(_("The VLAN is in VLAN group {group}.").format(group=pool.vlan_group))
    status = status_when_available()
    label = dict(PrefixStatusChoices).get(status, status)
    for prefix in candidate.prefixes:
        if prefix.status != status:
            text = _("Prefix {prefix} is {old} and becomes {new} unless a cluster holds the segment.")
            reasons.append(text.format(prefix=prefix.prefix, old=prefix.get_status_display(), new=label))
    return reasons
