"""
Adopts what is in NetBox already: a VLAN and its prefix become a segment.

A candidate is a prefix with its VLAN set, in the pool's VRF and inside its containers, which is in no segment. A VLAN
with one IPv4 and one IPv6 prefix makes one candidate. Candidates that have conflicts are shown with the way out and
cannot be adopted. What was adopted is never deleted with its segment.

What NetBox knows as in use, or is not sure to be free, becomes a disabled segment, unless the user decides
otherwise: it is free, or a cluster holds it.
"""

from dataclasses import dataclass, field
from functools import partial, reduce
from operator import attrgetter, or_

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from dcim.models import Location, Site, SiteGroup
from ipam.choices import PrefixStatusChoices
from ipam.models import VLAN, Prefix

from ...choices import SegmentStatusChoices
from ...models import Allocation, Segment, SegmentPool
from ...validators import clean_cluster_name, clean_epg_name
from ..allocations import recording
from ..base import audit, operations, transactions
from ..base.cluster_keys import cluster_keys
from ..base.places import enclosing_places
from ..base.visibility import permitted_ids
from ..segments import provisioning, usage
from ..segments.prefix_status import status_when_available
from ..segments.spaces import Containers, PrefixSpace, vid_range_errors
from ..segments.specs import NEW_STATUSES, SegmentSpec

__all__ = (
    "AdoptionResult",
    "AdoptionRow",
    "Candidate",
    "Decision",
    "adopt",
    "find_candidates",
)

# How many of the prefixes or VLANs in the way a text names.
LISTED = 5

HELD = SegmentStatusChoices.ALLOCATED


@dataclass
class Candidate:
    """
    A VLAN with its prefix, and perhaps an IPv6 prefix beside it.

    `reasons` are texts that say why it is a candidate and what adopting changes; `conflicts` are {field of Segment:
    texts} with what stands in the way. `use` is what uses it, as far as the user may view it, and `doubts` are texts
    with that and what its statuses say: with any, it becomes disabled.
    """

    prefix: Prefix
    vlan: VLAN
    ipv6_prefix: Prefix | None = None
    reasons: list = field(default_factory=list)
    conflicts: dict = field(default_factory=dict)
    use: usage.Use | None = None
    doubts: list = field(default_factory=list)

    @property
    def ready(self):
        return not self.conflicts

    @property
    def will_be(self):
        """The status that its segment gets if nobody decides otherwise."""
        return SegmentStatusChoices.DISABLED if self.doubts else SegmentStatusChoices.AVAILABLE

    def get_will_be_display(self):
        return dict(SegmentStatusChoices)[self.will_be]

    def get_will_be_color(self):
        return SegmentStatusChoices.colors[self.will_be]

    @property
    def doubt(self):
        """Why its segment is disabled, in words; empty if it is not."""
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
        """Return the SegmentSpec that makes it a segment of `pool`; `fields` are others of its fields."""
        return SegmentSpec(
            pool=pool,
            vid=self.vlan.vid,
            epg_name=self.vlan.name,
            prefix=self.prefix.prefix,
            ipv6_prefix=self.ipv6_prefix and self.ipv6_prefix.prefix,
            **fields,
        )


@dataclass(frozen=True)
class Decision:
    """
    What becomes of a candidate: its segment gets the `status`, or is held by the cluster `cluster_name`.

    Where both are empty, `Candidate.will_be` says it.
    """

    status: str = ""
    cluster_name: str = ""

    def __post_init__(self):
        if self.status not in ("", *NEW_STATUSES):
            text = _("{status!r} is no status of an adopted segment: use {statuses}.")
            text = text.format(status=self.status[:60], statuses=", ".join(NEW_STATUSES))
            raise ValidationError({"status": text})
        if not self.cluster_name:
            return
        try:
            object.__setattr__(self, "cluster_name", clean_cluster_name(self.cluster_name))
        except ValidationError as error:
            raise ValidationError({"cluster_name": error.messages}) from None
        if self.status:
            text = _("What a cluster holds is allocated: give a status or a cluster name, not both.")
            raise ValidationError({"cluster_name": text})


@dataclass
class AdoptionRow:
    """
    What became of one prefix, or would: adopted, unchanged (it is a segment of the pool already) or failed.

    `segment_status` is that of the segment made, and `disabled_reason` why it is disabled.
    """

    prefix: int
    status: str = "failed"
    segment: int | None = None
    errors: dict = field(default_factory=dict)
    candidate: Candidate | None = None
    segment_status: str = ""
    disabled_reason: str = ""

    def get_segment_status_display(self):
        return dict(SegmentStatusChoices).get(self.segment_status, "")

    def get_segment_status_color(self):
        return SegmentStatusChoices.colors.get(self.segment_status)


@dataclass
class AdoptionResult:
    """What became of each pair of a VLAN and a prefix, or would become of it."""

    results: list

    @property
    def adopted(self):
        """How many segments there are, or would be: those of two prefixes count once."""
        return len({id(row.candidate) for row in self.results if row.status == "adopted"})

    @property
    def failed(self):
        return sum(row.status == "failed" for row in self.results)


class _Denied(Exception):
    """Rolls the transaction back; holds the ids of prefixes whose segments the user may not add."""

    def __init__(self, prefixes):
        self.prefixes = prefixes


def find_candidates(pool, user=None):
    """
    Return the Candidates of a pool, ordered by VLAN ID and prefix. Its statements do not grow with their number.

    Args:
        pool: The SegmentPool.
        user: Whose view decides which prefixes and VLANs are candidates, and which are named; None sees all.
    """
    containers = Containers(pool)
    inside = _visible(_inside(pool, containers), user).filter(vlan__in=_visible(VLAN.objects.all(), user))
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
    for candidate, use in zip(candidates, usage.find_use(map(usage.Network.of, candidates), user), strict=True):
        candidate.use = use
        candidate.doubts = usage.status_reasons(candidate.vlan, candidate.prefixes) + ([str(use)] if use else [])
        candidate.reasons = _reasons(candidate, pool)
    return candidates


def _visible(queryset, user):
    return queryset if user is None else queryset.restrict(user, "view")


def _inside(pool, containers):
    """Return the prefixes of the pool's VRF inside its containers."""
    within = (Q(prefix__net_contained_or_equal=str(network)) for network in containers.networks)
    return Prefix.objects.filter(reduce(or_, within, Q(pk__in=())), vrf=pool.vrf)


def _siblings(pool, prefixes):
    """Return {VLAN id: prefixes of that VLAN in the pool's VRF}, also those that the user may not view."""
    siblings = {}
    found = Prefix.objects.filter(vrf=pool.vrf, vlan__in={prefix.vlan_id for prefix in prefixes})
    for prefix in found.order_by("prefix", "pk"):
        siblings.setdefault(prefix.vlan_id, []).append(prefix)
    return siblings


def _pair(pool, prefixes, siblings):
    """Return a Candidate for each prefix, or for an IPv4 prefix and the IPv6 prefix that its VLAN has beside it."""
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
    """The place that a pool serves, and what is around it and in it."""

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
        """Whether the prefix has no place of its own, or one that is in this place or around it."""
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
        # Of the other segment the user may view nothing.
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
    """Add conflicts to candidates whose prefixes overlap: adopting one would keep out the other."""
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
        # Prefixes of one VLAN are told as such.
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
    """Add conflicts to candidates whose VLAN has other prefixes in the VRF than theirs."""
    several = {}
    for number, candidate in enumerate(candidates):
        own = {prefix.pk for prefix in candidate.prefixes}
        if others := [prefix for prefix in siblings[candidate.vlan.pk] if prefix.pk not in own]:
            several[number] = others
    pks = {prefix.pk for others in several.values() for prefix in others}
    visible = set(_visible(Prefix.objects.filter(pk__in=pks), user).order_by().values_list("pk", flat=True))
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
        reasons.append(_("So has the IPv6 prefix {prefix}.").format(prefix=candidate.ipv6_prefix.prefix))
    if candidate.vlan.group_id == pool.vlan_group_id:
        reasons.append(_("The VLAN is in VLAN group {group}.").format(group=pool.vlan_group))
    status = status_when_available()
    label = dict(PrefixStatusChoices).get(status, status)
    for prefix in candidate.prefixes:
        if prefix.status != status:
            text = _("Prefix {prefix} is {old} and becomes {new} unless a cluster holds the segment.")
            reasons.append(text.format(prefix=prefix.prefix, old=prefix.get_status_display(), new=label))
    return reasons


def adopt(pool, *, user, prefixes=None, decision=None, decisions=None, enforce=True, dry_run=False):
    """
    Make segments of candidates: of those chosen, or of all that have no conflict.

    Locks the VRF and the VLAN group until the transaction ends. A dry run does the same and rolls it back. A cluster
    that is said to hold a segment is a fact already: no limit is asked and no allocation event sent.

    Args:
        pool: The SegmentPool.
        user: The User, or the user name, whom the change log names.
        prefixes: Ids of prefixes; either of a candidate that has two. None stands for all that are ready.
        decision: The Decision for all for which `decisions` have none; None leaves it to what NetBox knows.
        decisions: {id of a prefix: Decision}; of a candidate that has two, either.
        enforce: Hold the user to their object permissions: to view prefixes and VLANs, to add segments, and to allocate
            in the pool where a cluster is named.
        dry_run: Change nothing, and say what would be. Segments to be made have no id.

    Returns:
        AdoptionResult, with a row for each prefix that was chosen, or for each candidate that was ready.

    Raises:
        ValidationError: A cluster is named, and the user may not allocate in the pool.
        Busy: Locks were not had in time, or the pool was changed at the same time; nothing was changed.
    """
    with operations.track("adopt", dry_run=dry_run, pool=pool, user=user) as operation:
        user = audit.get_user(user)
        viewer = user if enforce else None
        chosen = None if prefixes is None else list(dict.fromkeys(prefixes))
        decisions = {None: decision or Decision(), **(decisions or {})}
        names_clusters = any(one.cluster_name for one in decisions.values())
        if viewer and names_clusters and not permitted_ids(SegmentPool, viewer, "allocate", [pool.pk]):
            text = _("You may not allocate in this pool: leave this empty, or ask for the permission.")
            raise ValidationError({"cluster_name": text})
        denied = set()
        with audit.change_tracking(user):
            while True:
                rows = []
                try:
                    transactions.run(partial(_adopt, pool, chosen, decisions, user, viewer, denied, rows), dry_run)
                except _Denied as error:
                    denied |= error.prefixes
                    continue
                if dry_run:
                    for row in rows:
                        if row.status == "adopted":
                            row.segment = None
                result = AdoptionResult(rows)
                operation.outcome = f"{result.adopted} adopted, {result.failed} failed"
                return result


def _adopt(pool, chosen, decisions, user, viewer, denied, rows):
    """Fill `rows`; the caller's transaction holds all of it, or none after _Denied."""
    transactions.lock_spaces([pool.vrf_id], [pool.vlan_group_id])
    rows.clear()
    candidates = find_candidates(pool, viewer)
    by_prefix = {prefix.pk: candidate for candidate in candidates for prefix in candidate.prefixes}
    if chosen is None:
        rows += [AdoptionRow(one.prefix.pk, candidate=one) for one in candidates if one.ready]
    else:
        rows += [AdoptionRow(pk, candidate=by_prefix.get(pk)) for pk in chosen]
    _explain([row for row in rows if row.candidate is None], pool, viewer)
    wanted = {id(row.candidate): row.candidate for row in rows if row.candidate}
    problems = {}
    good = []
    for candidate in wanted.values():
        if candidate.conflicts:
            problems[id(candidate)] = candidate.conflicts
        elif candidate.prefix.pk in denied:
            problems[id(candidate)] = {"prefix": [_("You may not add this segment: ask for the permission.")]}
        else:
            good.append(candidate)
    # Under None is the decision for all others.
    made_of = {
        id(candidate): next(decisions[pk] for pk in (*(one.pk for one in candidate.prefixes), None) if pk in decisions)
        for candidate in good
    }
    allocations = _plan_allocations(pool, good, made_of, user, problems)
    good = [candidate for candidate in good if id(candidate) not in problems]

    specs = [
        candidate.make_spec(pool, status=HELD if id(candidate) in allocations else made_of[id(candidate)].status)
        for candidate in good
    ]
    segments, errors = provisioning.build_segments(specs)
    made = {}
    for candidate, segment, error in zip(good, segments, errors, strict=True):
        if error:
            problems[id(candidate)] = {
                name: [texts] if isinstance(texts, str) else list(texts) for name, texts in error.items()
            }
        else:
            made[id(candidate)] = segment
    if viewer:
        _check_permitted(made.values(), viewer)
    recording.write_allocations_locked(
        [(made[key], [allocation]) for key, allocation in allocations.items() if key in made]
    )
    for row in rows:
        if segment := made.get(id(row.candidate)):
            row.status, row.segment = "adopted", segment.pk
            row.segment_status, row.disabled_reason = segment.status, segment.disabled_reason
        elif row.candidate:
            row.errors = problems[id(row.candidate)]


def _plan_allocations(pool, candidates, decisions, user, problems):
    """
    Return {id(candidate): Allocation} of the candidates that clusters hold, and add to `problems` what cannot be.

    Args:
        decisions: {id(candidate): Decision}
        problems: {id(candidate): {field: texts}}
    """
    named = [(candidate, name) for candidate in candidates if (name := decisions[id(candidate)].cluster_name)]
    if not named:
        return {}
    active = Allocation.objects.unreleased().filter(pool=pool, purpose="").order_by()
    holders = list(active.values_list("cluster_name", flat=True))
    names = {name for _candidate, name in named}
    cluster_key = cluster_keys({*holders, *names}).get
    taken = set(map(cluster_key, holders))
    clusters = recording.find_clusters(names)
    allocations, now = {}, timezone.now()
    for candidate, name in named:
        if cluster_key(name) in taken:
            text = _("Cluster {cluster} holds another segment of the pool: release that first.").format(cluster=name)
            problems[id(candidate)] = {"cluster_name": [text]}
            continue
        taken.add(cluster_key(name))
        try:
            allocations[id(candidate)] = recording.make_allocation(
                pool,
                cluster_name=name,
                cluster_id=clusters.get(cluster_key(name)),
                allocated_at=now,
                allocated_by=user,
                vid=candidate.vlan.vid,
                epg_name=candidate.vlan.name,
                prefix=candidate.prefix.prefix,
                ipv6_prefix=candidate.ipv6_prefix and candidate.ipv6_prefix.prefix,
            )
        except ValidationError as error:
            problems[id(candidate)] = {"cluster_name": error.messages}
    return allocations


def _check_permitted(segments, viewer):
    """Raise _Denied for those of the new segments that `viewer` may not add."""
    pks = {segment.pk: segment for segment in segments}
    permitted = permitted_ids(Segment, viewer, "add", pks)
    if denied := {segment.prefix_id for pk, segment in pks.items() if pk not in permitted}:
        raise _Denied(denied)


def _explain(rows, pool, viewer):
    """Say of chosen prefixes that are no candidates what they are."""
    found = (
        _visible(Prefix.objects.filter(pk__in=[row.prefix for row in rows]), viewer)
        .select_related("segment", "ipv6_segment", "vlan")
        .order_by()
        .in_bulk()
        if rows
        else {}
    )
    containers = set(pool.prefixes.order_by().values_list("pk", flat=True)) if rows else set()
    for row in rows:
        prefix = found.get(row.prefix)
        if prefix is None:
            row.errors = {"prefix": [_("There is no prefix {id} that you may view.").format(id=row.prefix)]}
            continue
        segment = getattr(prefix, "segment", None) or getattr(prefix, "ipv6_segment", None)
        if segment and segment.pool_id == pool.pk:
            row.status, row.segment = "unchanged", segment.pk
        elif segment:
            row.errors = {"prefix": [_("Prefix {prefix} belongs to another pool's segment.").format(prefix=prefix)]}
        elif prefix.vrf_id != pool.vrf_id:
            row.errors = {
                "prefix": [
                    _("Prefix {prefix} is not in VRF {vrf}: take one that is.").format(prefix=prefix, vrf=pool.vrf)
                ]
            }
        elif prefix.pk in containers:
            row.errors = {"prefix": [_("Prefix {prefix} is a container of the pool.").format(prefix=prefix)]}
        elif prefix.vlan_id is None:
            row.errors = {"prefix": [_("Prefix {prefix} has no VLAN: set it first.").format(prefix=prefix)]}
        else:
            row.errors = {
                "prefix": [
                    _("Prefix {prefix} is outside the pool's containers, or you may not view its VLAN.").format(
                        prefix=prefix
                    )
                ]
            }
