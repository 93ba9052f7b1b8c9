"""
Adopts VLANs and prefixes that are in NetBox already: a candidate (see `candidates`) becomes a segment.

A candidate that NetBox knows as in use, or is not sure to be free, becomes a disabled segment, unless the user decides
otherwise: it is free, or a cluster holds it. Adopted VLANs and prefixes are never deleted with their segment.
"""

from dataclasses import dataclass, field
from functools import partial

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from ipam.models import Prefix

from ...choices import SegmentStatusChoices
from ...models import Allocation, Segment, SegmentPool
from ...validators import clean_cluster_name
from ..allocations import recording
from ..base import audit, operations, transactions
from ..base.cluster_keys import cluster_keys
from ..base.visibility import permitted_ids
from ..segments import provisioning
from ..segments.specs import NEW_STATUSES
from .candidates import Candidate, find_candidates, viewable

__all__ = (
    "AdoptionResult",
    "AdoptionRow",
    "Decision",
    "adopt",
)

HELD = SegmentStatusChoices.ALLOCATED


@dataclass(frozen=True)
class Decision:
    """
    What becomes of a candidate: its segment gets the `status`, or is held by the cluster `cluster_name`.

    If both are empty, the status is `Candidate.will_be`.
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
    The result for one prefix: adopted, unchanged (it is in a segment of the pool already) or failed.

    `segment_status` is the status of the new segment, and `disabled_reason` the reason if it is disabled.
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
    """The results of an adoption, or of a dry run."""

    results: list

    @property
    def adopted(self):
        """The number of new segments; one with two prefixes counts once."""
        return len({id(row.candidate) for row in self.results if row.status == "adopted"})

    @property
    def failed(self):
        return sum(row.status == "failed" for row in self.results)


class _Denied(Exception):
    """Rolls the transaction back; `prefixes` are the ids of those whose segments the user may not add."""

    def __init__(self, prefixes):
        self.prefixes = prefixes


@dataclass(frozen=True)
class AdoptionRequest:
    """
    The values of a call of `adopt`, cleaned.

    `prefixes` are ids, each once, or None for all candidates that are ready. `viewer` is the user whose permissions
    decide; None may do everything.
    """

    pool: SegmentPool
    user: object
    viewer: object
    prefixes: list | None
    decisions: dict

    @classmethod
    def clean(cls, pool, *, user, prefixes, decisions, enforce):
        """
        Return the AdoptionRequest of a call of `adopt`, whose arguments these are.

        Raises:
            ValidationError: A cluster is named, and the user may not allocate in the pool.
        """
        user = audit.get_user(user)
        viewer = user if enforce else None
        decisions = {None: Decision(), **(decisions or {})}
        names_clusters = any(one.cluster_name for one in decisions.values())
        if viewer and names_clusters and not permitted_ids(SegmentPool, viewer, "allocate", [pool.pk]):
            text = _("You may not allocate in this pool: leave this empty, or ask for the permission.")
            raise ValidationError({"cluster_name": text})
        prefixes = None if prefixes is None else list(dict.fromkeys(prefixes))
        return cls(pool, user, viewer, prefixes, decisions)

    def decide(self, candidate):
        """Return the Decision for a candidate."""
        pks = [prefix.pk for prefix in candidate.prefixes]
        return next(self.decisions[pk] for pk in (*pks, None) if pk in self.decisions)


@dataclass
class _Adoption:
    """A candidate on its way to a segment: the decision, and either what is made of it or its errors."""

    candidate: Candidate
    decision: Decision
    allocation: Allocation | None = None
    segment: Segment | None = None
    errors: dict = field(default_factory=dict)

    def make_spec(self, pool):
        return self.candidate.make_spec(pool, status=HELD if self.allocation else self.decision.status)


def adopt(pool, *, user, prefixes=None, decisions=None, enforce=True, dry_run=False):
    """
    Make segments of candidates: of those chosen, or of all that have no conflict.

    Locks the VRF and the VLAN group until the transaction ends. A dry run does the same and rolls it back. A cluster
    that is named holds its segment already: no limit is checked, and no allocation event is sent.

    Args:
        pool: The SegmentPool.
        user: The User, or the user name, for the change log.
        prefixes: Ids of prefixes; either of a candidate that has two. None stands for all that are ready.
        decisions: {id of a prefix: Decision}; either prefix of a candidate that has two. Under None is the Decision for
            all others; without it, `Candidate.will_be` decides.
        enforce: Hold the user to their object permissions: to view prefixes and VLANs, to add segments, and to allocate
            in the pool where a cluster is named.
        dry_run: Change nothing, and return what would be adopted. New segments have no id.

    Returns:
        AdoptionResult, with a row for each prefix that was chosen, or for each candidate that was ready.

    Raises:
        ValidationError: A cluster is named, and the user may not allocate in the pool.
        Busy: Locks were not had in time, or the pool was changed at the same time; nothing was changed.
    """
    with operations.track("adopt", dry_run=dry_run, pool=pool, user=user) as operation:
        request = AdoptionRequest.clean(pool, user=user, prefixes=prefixes, decisions=decisions, enforce=enforce)
        with audit.change_tracking(request.user):
            rows = _adopt_permitted(request, dry_run)
        if dry_run:
            for row in rows:
                if row.status == "adopted":
                    row.segment = None
        result = AdoptionResult(rows)
        operation.outcome = f"{result.adopted} adopted, {result.failed} failed"
        return result


def _adopt_permitted(request, dry_run):
    """Return AdoptionRows: segments that the user may not add fail, and the others are written."""
    denied = set()
    while True:
        try:
            return transactions.run(partial(_adopt_locked, request, denied), dry_run)
        except _Denied as error:
            denied |= error.prefixes


def _adopt_locked(request, denied):
    """
    Return AdoptionRows. The caller's transaction holds the locks and all that is written.

    Args:
        request: AdoptionRequest
        denied: Ids of the prefixes whose segments the user may not add.

    Raises:
        _Denied: The user may not add more of them.
    """
    pool = request.pool
    transactions.lock_spaces([pool.vrf_id], [pool.vlan_group_id])
    rows = _find_rows(request)
    adoptions = {}
    for row in rows:
        if candidate := row.candidate:
            adoptions.setdefault(id(candidate), _Adoption(candidate, request.decide(candidate)))
    for adoption in adoptions.values():
        if adoption.candidate.conflicts:
            adoption.errors = adoption.candidate.conflicts
        elif adoption.candidate.prefix.pk in denied:
            adoption.errors = {"prefix": [_("You may not add this segment: ask for the permission.")]}
    _plan_allocations(request, [one for one in adoptions.values() if not one.errors])
    _build_segments(pool, [one for one in adoptions.values() if not one.errors])
    made = [one for one in adoptions.values() if one.segment]
    if request.viewer:
        _check_permitted([one.segment for one in made], request.viewer)
    recording.write_allocations_locked([(one.segment, [one.allocation]) for one in made if one.allocation])
    for row in rows:
        if row.candidate:
            _tell(row, adoptions[id(row.candidate)])
    return rows


def _find_rows(request):
    """Return AdoptionRows with their candidates; those without one say what they are."""
    candidates = find_candidates(request.pool, request.viewer)
    if request.prefixes is None:
        rows = [AdoptionRow(one.prefix.pk, candidate=one) for one in candidates if one.ready]
    else:
        by_prefix = {prefix.pk: candidate for candidate in candidates for prefix in candidate.prefixes}
        rows = [AdoptionRow(pk, candidate=by_prefix.get(pk)) for pk in request.prefixes]
    _explain([row for row in rows if row.candidate is None], request.pool, request.viewer)
    return rows


def _tell(row, adoption):
    """Write the result of an adoption on the row of its prefix."""
    if segment := adoption.segment:
        row.status, row.segment = "adopted", segment.pk
        row.segment_status, row.disabled_reason = segment.status, segment.disabled_reason
    else:
        row.errors = adoption.errors


def _build_segments(pool, adoptions):
    """Make the segments of adoptions, and give the others their errors."""
    segments, errors = provisioning.build_segments_locked([adoption.make_spec(pool) for adoption in adoptions])
    for adoption, segment, error in zip(adoptions, segments, errors, strict=True):
        if error:
            adoption.errors = {
                name: [texts] if isinstance(texts, str) else list(texts) for name, texts in error.items()
            }
        else:
            adoption.segment = segment


def _plan_allocations(request, adoptions):
    """Give adoptions with a cluster their Allocation, not saved yet, or their errors."""
    named = [(adoption, adoption.decision.cluster_name) for adoption in adoptions if adoption.decision.cluster_name]
    if not named:
        return
    active = Allocation.objects.unreleased().filter(pool=request.pool, purpose="").order_by()
    holders = list(active.values_list("cluster_name", flat=True))
    names = {name for _adoption, name in named}
    cluster_key = cluster_keys({*holders, *names}).get
    taken = set(map(cluster_key, holders))
    clusters = recording.find_clusters(names)
    now = timezone.now()
    for adoption, name in named:
        if cluster_key(name) in taken:
            text = _("Cluster {cluster} holds another segment of the pool: release that first.").format(cluster=name)
            adoption.errors = {"cluster_name": [text]}
            continue
        taken.add(cluster_key(name))
        candidate = adoption.candidate
        try:
            adoption.allocation = recording.make_allocation(
                request.pool,
                cluster_name=name,
                cluster_id=clusters.get(cluster_key(name)),
                allocated_at=now,
                allocated_by=request.user,
                vid=candidate.vlan.vid,
                epg_name=candidate.vlan.name,
                prefix=candidate.prefix.prefix,
                ipv6_prefix=candidate.ipv6_prefix and candidate.ipv6_prefix.prefix,
            )
        except ValidationError as error:
            adoption.errors = {"cluster_name": error.messages}


def _check_permitted(segments, viewer):
    """Raise _Denied for those of the new segments that `viewer` may not add."""
    pks = {segment.pk: segment for segment in segments}
    permitted = permitted_ids(Segment, viewer, "add", pks)
    if denied := {segment.prefix_id for pk, segment in pks.items() if pk not in permitted}:
        raise _Denied(denied)


def _explain(rows, pool, viewer):
    """Say of chosen prefixes that are no candidates what they are."""
    if not rows:
        return
    found = (
        viewable(Prefix.objects.filter(pk__in=[row.prefix for row in rows]), viewer)
        .select_related("segment", "ipv6_segment", "vlan")
        .order_by()
        .in_bulk()
    )
    containers = set(pool.prefixes.order_by().values_list("pk", flat=True))
    for row in rows:
        prefix = found.get(row.prefix)
        segment = prefix and (getattr(prefix, "segment", None) or getattr(prefix, "ipv6_segment", None))
        if segment and segment.pool_id == pool.pk:
            row.status, row.segment = "unchanged", segment.pk
        else:
            row.errors = {"prefix": [_refusal(row.prefix, prefix, segment, pool, containers)]}


def _refusal(pk, prefix, segment, pool, containers):
    """
    Return why a prefix is no candidate.

    Args:
        pk: The id that was chosen.
        prefix: Its Prefix, or None if there is none that the user may view.
        segment: The Segment of another pool that has it, or None.
        pool: The SegmentPool.
        containers: Ids of the pool's containers.
    """
    if prefix is None:
        return _("There is no prefix {id} that you may view.").format(id=pk)
    if segment:
        return _("Prefix {prefix} belongs to another pool's segment.").format(prefix=prefix)
    if prefix.vrf_id != pool.vrf_id:
        return _("Prefix {prefix} is not in VRF {vrf}: take one that is.").format(prefix=prefix, vrf=pool.vrf)
    if prefix.pk in containers:
        return _("Prefix {prefix} is a container of the pool.").format(prefix=prefix)
    if prefix.vlan_id is None:
        return _("Prefix {prefix} has no VLAN: set it first.").format(prefix=prefix)
    return _("Prefix {prefix} is outside the pool's containers, or you may not view its VLAN.").format(prefix=prefix)
