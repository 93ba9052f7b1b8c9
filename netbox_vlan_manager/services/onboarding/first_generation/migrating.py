"""
Makes pools, segments and allocations of the first generation's prefixes. What was migrated a later run leaves alone.
"""

from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from netaddr import IPNetwork

from dcim.models import SiteGroup
from netbox.context import events_queue
from utilities.exceptions import AbortRequest

from ....choices import FirstGenerationChoices, SegmentStatusChoices
from ....exceptions import VLANManagerError
from ....models import Allocation, Segment, SegmentPool
from ....settings import get_setting
from ....validators import EPG_NAME_MAX_LENGTH, clean_cidr, make_epg_name
from ...allocations.recording import find_clusters, make_allocation, write_allocations_locked
from ...base import audit, operations, transactions
from ...base.cluster_keys import cluster_key
from ...base.visibility import permitted_ids
from ...pools.parts import get_container
from ...pools.provisioning import create_pool, update_pool
from ...segments import provisioning
from ...segments.first_generation_fields import DISABLED_REASON, FREE, HELD
from ...segments.prefix_status import status_when_allocated, status_when_available
from ..adoption import find_candidates
from . import following
from .containers import find_containers, plan_containers
from .reading import allocation_times, find_rows, segment_of

__all__ = (
    "MESSAGE",
    "MigratedPool",
    "Migration",
    "Problem",
    "check_permission",
    "migrate",
    "no_events",
)

PERMISSIONS = tuple(f"netbox_vlan_manager.add_{name}" for name in ("segmentpool", "segment", "allocation"))

# For the change log.
MESSAGE = gettext_lazy("Migrated from the first generation")

CONTAINER_MESSAGE = gettext_lazy("Made around prefixes of the first generation")


@dataclass
class Problem:
    """What was found about one prefix. It was `failed`, and left alone, or else migrated in spite of it."""

    prefix: int
    network: str
    text: str
    failed: bool = True


@dataclass
class MigratedPool:
    """What became of one VLAN group of the first generation, or would: counts of prefixes, and what was made."""

    name: str
    vrf: str = ""
    site: str = ""
    pool: int | None = None
    created: bool = False
    migrated: int = 0
    unchanged: int = 0
    failed: int = 0
    allocated: int = 0
    available: int = 0
    disabled: int = 0
    allocations: int = 0
    containers: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    error: str = ""


@dataclass
class Migration:
    """What `migrate` did, or would do. The last of the pools is for prefixes that belong to none of the groups."""

    dry_run: bool
    pools: list

    def count(self, name):
        """Return the sum of a number over all pools: migrated, unchanged, failed, allocations and their like."""
        return sum(getattr(pool, name) for pool in self.pools)

    @property
    def failed(self):
        """How many prefixes were left alone."""
        return self.count("failed")

    @property
    def pools_created(self):
        return sum(pool.created for pool in self.pools)

    def summary(self):
        """Return the counts in words for a log."""
        names = ("migrated", "unchanged", "failed", "allocated", "available", "disabled", "allocations")
        counts = ", ".join(f"{self.count(name)} {name}" for name in names)
        return f"{self.pools_created} pools created; prefixes and segments: {counts}"

    def as_json(self):
        """Return it as a dictionary that JSON can hold."""
        names = ("migrated", "unchanged", "failed", "allocated", "available", "disabled", "allocations")
        return {
            "dry_run": self.dry_run,
            "pools_created": self.pools_created,
            **{name: self.count(name) for name in names},
            "pools": [asdict(pool) for pool in self.pools],
        }


class _Undo(Exception):
    """Rolls back what was only tried, or came to nothing; holds the MigratedPool."""

    def __init__(self, outcome):
        self.outcome = outcome


def migrate(*, user, enforce=True, dry_run=False, report=None):
    """
    Make pools, segments and allocations of what the first generation kept, or say what that would make.

    Each pool is one transaction, which locks its VRF and its VLAN group: a run that is killed leaves whole pools, and
    the next one does the rest. Prefixes that are in a segment already are left alone, so that a second run changes
    nothing. All is change-logged. No events are sent: nothing in the network has changed.

    Args:
        user: The User, or the user name, whom the change log names.
        enforce: Hold the user to their object permissions: to view prefixes and VLANs, and to add pools, segments and
            allocations. Commands, whose users have the database anyway, do not.
        dry_run: Change nothing. Each pool is made and rolled back.
        report: Called with (pools done, pools in all) before each pool, outside any transaction.

    Returns:
        Migration

    Raises:
        PermissionDenied: The user may not add pools, segments or allocations at all.
    """
    user = audit.get_user(user)
    viewer = user if enforce else None
    if viewer:
        check_permission(viewer)
    with operations.track("migrate", dry_run=dry_run, user=user) as operation:
        groups, others = find_rows(viewer)
        pools = []
        for number, group in enumerate(groups):
            if report:
                report(number, len(groups))
            pools.append(_migrate_group(group, user, viewer, dry_run))
            if dry_run:
                group.planned.update(map(IPNetwork, pools[-1].containers))
        if others:
            outcome = MigratedPool(_("Prefixes of no pool"), problems=_problems(others), failed=len(others))
            pools.append(outcome)
        migration = Migration(dry_run, pools)
        operation.outcome = migration.summary()
        return migration


def check_permission(user):
    """
    Make sure that `user` may migrate at all.

    Raises:
        PermissionDenied: No object permission grants it.
    """
    if not user.has_perms(PERMISSIONS):
        raise PermissionDenied(
            _("You may not migrate: ask for the permission to add segment pools, segments and allocations.")
        )


def _migrate_group(group, user, viewer, dry_run):
    """Return the MigratedPool of a Group."""
    try:
        # Its prefixes say already what would be written back.
        with audit.change_tracking(user), no_events(), following.paused():
            return transactions.run(partial(_write_group, group, user, viewer, dry_run))
    except _Undo as undo:
        return undo.outcome
    except (ValidationError, VLANManagerError, AbortRequest, PermissionDenied) as error:
        rows = [row for row in group.rows if not segment_of(row.prefix)]
        outcome = _outcome(group)
        outcome.error = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        outcome.unchanged = len(group.rows) - len(rows)
        outcome.failed = len(rows)
        outcome.problems = _problems(rows)
        return outcome


@contextmanager
def no_events():
    """Forget the events of what the block does, and keep those from before."""
    before = {key: copy(event) for key, event in events_queue.get().items()}
    try:
        yield
    finally:
        events_queue.set(before)


def _outcome(group):
    return MigratedPool(f"{group.vrf.name} {group.site}", vrf=group.vrf.name, site=group.site)


def _problems(rows):
    """Return what is to be told of rows, as Problems."""
    return [
        Problem(row.prefix.pk, str(row.prefix.prefix), " ".join(texts), failed=bool(row.errors))
        for row in rows
        if (texts := row.errors or row.notes)
    ]


def _write_group(group, user, viewer, dry_run):
    """
    Do one pool in the caller's transaction, and return its MigratedPool.

    The clusters are not locked. Should one of them allocate in a pool that was there before, the unique index refuses
    this try, and the next one reads what that cluster has.

    Raises:
        _Undo: It is a dry run, or there was nothing to make.
    """
    transactions.lock_spaces([group.vrf.pk], [group.vlan_group.pk])
    outcome = _outcome(group)
    done = _in_segments(group.rows)
    rows = [
        replace(row, clusters=[*row.clusters], errors=[*row.errors], notes=[*row.notes], allocations=[])
        for row in group.rows
        if row.prefix.pk not in done
    ]
    outcome.unchanged = len(group.rows) - len(rows)
    pool = None
    made = []
    if any(not row.errors for row in rows):
        scope = _find_scope(group)
        pool = _find_pool(group, scope)
        outcome.created = pool is None
        pool = _provide_pool(pool, group, scope, rows, user, outcome)
    if pool:
        made = _build(pool, rows, viewer)
        write_allocations_locked([(segment, row.allocations) for row, segment in made if row.allocations])
    if viewer and made:
        _check_permitted(pool, outcome, made, viewer)
    outcome.migrated = sum(not row.errors for row in rows)
    outcome.failed = len(rows) - outcome.migrated
    outcome.problems = _problems(rows)
    outcome.allocations = sum(len(row.allocations) for row, _segment in made)
    for row, _segment in made:
        setattr(outcome, row.status, getattr(outcome, row.status) + 1)
    if not made:
        outcome.created, outcome.containers = False, []
        raise _Undo(outcome)
    outcome.pool = None if dry_run and outcome.created else pool.pk
    if dry_run:
        raise _Undo(outcome)
    return outcome


def _in_segments(rows):
    """Return the ids of those prefixes that are in a segment."""
    pks = [row.prefix.pk for row in rows]
    found = Segment.objects.filter(Q(prefix__in=pks) | Q(ipv6_prefix__in=pks)).order_by()
    return {pk for pair in found.values_list("prefix", "ipv6_prefix") for pk in pair}


def _find_scope(group):
    """
    Return the place that a group's pool serves: the site group of that name, else the one scope of all its prefixes.

    Raises:
        ValidationError: There is none, or several.
    """
    found = list(SiteGroup.objects.filter(name__iexact=group.site))
    scopes = {row.prefix.scope for row in group.rows if row.prefix.scope}
    if len(found) > 1:
        found = [site_group for site_group in found if site_group in scopes]
    elif not found:
        found = list(scopes)
    if len(found) != 1:
        raise ValidationError(
            _("There is no site group {site}, or several, and the prefixes have not all one scope: make one.").format(
                site=group.site
            )
        )
    return found[0]


def _find_pool(group, scope):
    """
    Return the pool that is there already, or None.

    Raises:
        ValidationError: It hands out of another VLAN group.
    """
    scope_type = ContentType.objects.get_for_model(scope)
    pool = SegmentPool.objects.filter(vrf=group.vrf, scope_type=scope_type, scope_id=scope.pk).first()
    if pool and pool.vlan_group_id != group.vlan_group.pk:
        raise ValidationError(
            _("Pool {pool} serves {scope} already, from VLAN group {group}: move the VLANs there.").format(
                pool=pool, scope=scope, group=pool.vlan_group
            )
        )
    return pool


def _provide_pool(pool, group, scope, rows, user, outcome):
    """
    Return the pool, made if it is None, with the containers that its prefixes need.

    Rows that no container can hold get an error; there is no pool, but None, if these are all and it is not there yet.
    """
    containers = list(pool.prefixes.all()) if pool else []
    for row in rows:
        _check_length(row)
    missing, uncovered = find_containers(group.vrf, containers, [row for row in rows if not row.errors])
    networks, alone = plan_containers(group.vrf, uncovered, group.known)
    for row in uncovered:
        if row.prefix.prefix in alone:
            row.errors.append(
                _(
                    "No container holds the prefix, and one made for it would overlap other prefixes: make a container "
                    "around it, or give the prefix around it the status Container."
                )
            )
    outcome.containers = [str(network) for network in networks if network not in group.planned]
    prefixes = [*containers, *missing]
    for network in networks:
        # Without tenant and scope: with these the first generation takes it for a segment whose VLAN is lost.
        prefixes.append(get_container(group.vrf, network, changelog_message=CONTAINER_MESSAGE))
    if pool and len(prefixes) > len(containers):
        pool = update_pool(pool, user=user, prefixes=prefixes)
    if pool and not pool.first_generation:
        audit.update(pool, first_generation=_phase())
    if pool or not prefixes:
        return pool
    shared = {name: {getattr(row.prefix, name) for row in group.rows} - {None} for name in ("tenant", "role")}
    return create_pool(
        user=user,
        vrf=group.vrf,
        scope=scope,
        prefixes=prefixes,
        vlan_group=group.vlan_group,
        first_generation=_phase(),
        changelog_message=MESSAGE,
        **{name: values.pop() for name, values in shared.items() if len(values) == 1},
    )


def _phase():
    """Return what a pool is in after the migration. Both can write only if they have the same words for a status."""
    is_same = (status_when_available(), status_when_allocated()) == (FREE, HELD)
    return FirstGenerationChoices.TRIAL if is_same else FirstGenerationChoices.OVER


def _check_length(row):
    """Add an error to a row whose network no segment can have, so that no container is looked for."""
    network = row.prefix.prefix
    try:
        clean_cidr(network, bounds=get_setting(f"ipv{network.version}_prefix_lengths"))
    except ValidationError as error:
        row.errors += [text for text in error.messages if text not in row.errors]


def _build(pool, all_rows, viewer):
    """Return (Row, Segment) pairs for the rows that become segments; the others get errors, or have some."""
    rows = [row for row in all_rows if not row.errors]
    by_prefix = {prefix.pk: candidate for candidate in find_candidates(pool, viewer) for prefix in candidate.prefixes}
    by_candidate = {}
    for row in rows:
        row.candidate = by_prefix.get(row.prefix.pk)
        if row.candidate is None:
            row.errors.append(_("You may not view its VLAN."))
            continue
        by_candidate.setdefault(id(row.candidate), []).append(row)
    leading = []
    for both in by_candidate.values():
        candidate = both[0].candidate
        texts = [*candidate.conflict_texts, *_propose_name(candidate)]
        if len(both) < len(candidate.prefixes):
            texts.append(_("The other prefix of its VLAN cannot be migrated."))
        for row in both:
            row.errors += texts
        if not texts:
            (row,) = (row for row in both if row.prefix.pk == candidate.prefix.pk)
            _merge(row, both)
            leading.append((row, both))
    _plan_allocations(pool, [row for row, _both in leading], all_rows)
    leading = [(row, both) for row, both in leading if not _share_errors(row, both)]

    specs = [
        row.candidate.make_spec(
            pool,
            dhcp=row.dhcp,
            **_describe(row.prefix),
            changelog_message=str(MESSAGE),
            status=row.status,
            disabled_reason=DISABLED_REASON if row.status == SegmentStatusChoices.DISABLED else "",
        )
        for row, _both in leading
    ]
    segments, errors = provisioning.build_segments(specs, may_hold=True)
    made = []
    for (row, both), segment, error in zip(leading, segments, errors, strict=True):
        if segment:
            made.append((row, segment))
        for texts in error.values():
            row.errors += [texts] if isinstance(texts, str) else texts
        _share_errors(row, both)
    return made


def _propose_name(candidate):
    """Yield a text with the EPG name that the name of a VLAN nearly is, where it is none."""
    if "epg_name" in candidate.conflicts:
        name = make_epg_name(candidate.vlan.name.strip())[:EPG_NAME_MAX_LENGTH]
        if name.strip("_.:/-"):
            yield _("{name} is one.").format(name=name)


def _describe(prefix):
    """
    Return description and comments of a prefix's segment.

    The first generation writes its description, of up to 500 characters, into the comments of the prefix.
    """
    text = prefix.description or " ".join(prefix.comments.split())
    length = Segment._meta.get_field("description").max_length
    if len(text) > length:
        text = f"{text[: length - 1]}…"
    return {"description": text, "comments": "" if prefix.comments == text else prefix.comments}


def _merge(row, both):
    """Let a row stand for the one of the IPv6 prefix beside it, whose clusters hold the same segment."""
    for other in both:
        if other is not row:
            known = {cluster_key(name) for name in row.clusters}
            row.clusters += [name for name in other.clusters if cluster_key(name) not in known]
            other.notes.clear()


def _share_errors(row, both):
    """Give the errors of a row to the one of the IPv6 prefix beside it, and return them."""
    for other in both:
        if other is not row:
            other.errors += row.errors
    return row.errors


def _plan_allocations(pool, rows, all_rows):
    """
    Give the rows their Allocations, not saved and without their segments yet.

    Of several prefixes of a pool that a cluster holds, the one that the first generation answers it with has no
    purpose, so that it is the one the cluster gets when it asks again; if that cannot be migrated, none has. The others
    have the purposes 2, 3, and so on.
    """
    now = timezone.now()
    times = allocation_times(rows)
    clusters = find_clusters({name for row in rows for name in row.clusters})
    answers = _find_answers(all_rows)
    held = {
        (cluster_key(name), purpose)
        for name, purpose in Allocation.objects.unreleased()
        .filter(pool=pool)
        .order_by()
        .values_list("cluster_name", "purpose")
    }
    for row in sorted(rows, key=lambda row: row.candidate.vlan.vid):
        candidate = row.candidate
        for number, name in enumerate(row.clusters):
            key = cluster_key(name)
            answer, other_name = answers[key]
            purpose = _free_purpose(key, held, is_answer=answer.prefix.pk == row.prefix.pk)
            if purpose:
                row.notes.append(_tell_purpose(name, other_name, answer, purpose))
            try:
                allocation = make_allocation(
                    pool,
                    changelog_message=str(MESSAGE),
                    cluster_name=name,
                    cluster_id=clusters.get(key),
                    purpose=purpose,
                    allocated_at=min(times.get((row.prefix.pk, key)) or row.prefix.last_updated or now, now),
                    shared=number > 0,
                    vid=candidate.vlan.vid,
                    epg_name=candidate.vlan.name,
                    prefix=candidate.prefix.prefix,
                    ipv6_prefix=candidate.ipv6_prefix and candidate.ipv6_prefix.prefix,
                )
            except ValidationError as error:
                row.errors += error.messages
            else:
                held.add((key, purpose))
                row.allocations.append(allocation)


def _find_answers(rows):
    """Return {cluster_key: (Row, name)} of the prefix that the first generation answers each cluster with."""
    answers = {}
    for row in sorted(rows, key=lambda row: (row.form, row.prefix.prefix.sort_key(), row.prefix.pk)):
        for name in row.clusters:
            answers.setdefault(cluster_key(name), (row, name))
    return answers


def _tell_purpose(name, other_name, answer, purpose):
    if name != other_name:
        return _(
            "Cluster {cluster} differs from {other}, which holds {prefix}, in case only: here both are one cluster. "
            "This prefix has the purpose {purpose}: ask with it, or rename one of the clusters."
        ).format(cluster=name, other=other_name, prefix=answer.prefix.prefix, purpose=purpose)
    return _(
        "Cluster {cluster} holds several segments of the pool: this one has the purpose {purpose}. Without a purpose "
        "it gets {prefix}, as from the first generation."
    ).format(cluster=name, purpose=purpose, prefix=answer.prefix.prefix)


def _free_purpose(key, held, is_answer):
    purpose, number = "" if is_answer else "2", 1
    while (key, purpose) in held:
        number += 1
        purpose = str(number)
    return purpose


def _check_permitted(pool, outcome, made, viewer):
    """
    Make sure that the user may add all that was made.

    Raises:
        PermissionDenied: An object permission has constraints that leave out some of it.
    """
    written = [
        (Segment, "add", [segment.pk for _row, segment in made]),
        (Allocation, "add", [allocation.pk for row, _segment in made for allocation in row.allocations]),
    ]
    if outcome.created:
        written.append((SegmentPool, "add", [pool.pk]))
    elif outcome.containers:
        written.append((SegmentPool, "change", [pool.pk]))
    for model, action, pks in written:
        if len(permitted_ids(model, viewer, action, pks)) < len(pks):
            raise PermissionDenied(
                _("You may not {action} the {objects} of this pool: ask for the permission.").format(
                    action=action, objects=model._meta.verbose_name_plural
                )
            )
