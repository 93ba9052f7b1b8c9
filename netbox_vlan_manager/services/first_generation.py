"""
Takes over what the first generation kept in NetBox: prefixes with the custom fields Cluster and DHCP.

A prefix of it is active (free) or reserved (held by the clusters that Cluster names, with commas between them), has its
VLAN set, and that VLAN is in a group named "<VRF>-ClickCluster-<Site>". Each such group becomes a pool of that VRF at
the site group of that name, each prefix a segment that is adopted (see `adoption`), each name an allocation.

VLANs and prefixes stay what they are, custom fields included; so the first generation can go on until its last caller
has moved, and what was migrated is never touched again by a later run.
"""

import re
from bisect import bisect_left
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import F, Max, Q, TextField, Value
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from netaddr import spanning_cidr

from core.models import ObjectChange
from dcim.models import SiteGroup
from ipam.choices import PrefixStatusChoices
from ipam.models import Prefix, VLANGroup
from netbox.context import events_queue
from utilities.exceptions import AbortRequest

from ..choices import SegmentStatusChoices
from ..exceptions import VLANManagerError
from ..models import Allocation, Segment, SegmentPool
from ..validators import clean_cluster_name
from . import audit, provisioning, timing, transactions
from .adoption import find_candidates
from .import_values import FALSE, TRUE
from .permissions import permitted_ids
from .takeover import cluster_key, find_clusters, make_allocation, write_allocations

__all__ = (
    "MigratedPool",
    "Migration",
    "Problem",
    "check_permission",
    "has_data",
    "migrate",
)

CLUSTER_FIELD, DHCP_FIELD = "Cluster", "DHCP"
GROUP_INFIX = "-ClickCluster-"
GROUP_NAME = re.compile(rf"(.+?){GROUP_INFIX}(.+)", re.IGNORECASE | re.DOTALL)

STATUSES = (PrefixStatusChoices.STATUS_ACTIVE, PrefixStatusChoices.STATUS_RESERVED)
PERMISSIONS = tuple(f"netbox_vlan_manager.add_{name}" for name in ("segmentpool", "segment", "allocation"))

# For the change log.
MESSAGE = gettext_lazy("Migrated from the first generation")

DISABLED_REASON = "reserved without a cluster in the first generation"

# A container that is made is no shorter than this, by IP version: what lies far apart gets several.
SHORTEST_CONTAINER = {4: 16, 6: 32}

# How many objects are written with one call of `audit.write`.
BATCH = 500


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


@dataclass
class _Row:
    """One prefix of the first generation, and what is wrong with it."""

    prefix: Prefix
    clusters: list = field(default_factory=list)
    dhcp: bool = False
    errors: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    candidate: object = None
    allocations: list = field(default_factory=list)

    @property
    def status(self):
        """The status that its segment gets. A cluster's name counts more than the prefix's status."""
        if self.clusters:
            return SegmentStatusChoices.ALLOCATED
        if self.prefix.status == PrefixStatusChoices.STATUS_RESERVED:
            return SegmentStatusChoices.DISABLED
        return SegmentStatusChoices.AVAILABLE


@dataclass
class _Group:
    """The prefixes whose VLANs are in one of the first generation's VLAN groups."""

    vlan_group: VLANGroup
    vrf: object
    site: str
    rows: list = field(default_factory=list)


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
    with timing.operation("migrate", dry_run=dry_run, user=user) as operation:
        groups, others = _find_rows(viewer)
        pools = []
        for number, group in enumerate(groups):
            if report:
                report(number, len(groups))
            pools.append(_migrate_group(group, user, viewer, dry_run))
        if others:
            outcome = MigratedPool(_("Prefixes of no pool"), problems=_problems(others), failed=len(others))
            pools.append(outcome)
        migration = Migration(dry_run, pools)
        operation.outcome = migration.summary()
        return migration


def has_data(user=None):
    """Whether there is anything of the first generation's that `user` may view; None sees all."""
    return _visible(_first_generation(), user).exists()


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


def _visible(queryset, user):
    return queryset if user is None else queryset.restrict(user, "view")


def _first_generation():
    """Return the prefixes with a VLAN in one of the first generation's groups, or with a cluster."""
    prefixes = Prefix.objects.annotate(cluster_text=KeyTextTransform(CLUSTER_FIELD, "custom_field_data"))
    return prefixes.filter(Q(vlan__group__name__icontains=GROUP_INFIX) | Q(cluster_text__gt=""))


def _find_rows(viewer):
    """Return the _Groups, and the _Rows that belong to none and are in no segment."""
    prefixes = list(
        _visible(_first_generation(), viewer)
        .select_related("vrf", "vlan__group", "tenant", "role", "segment", "ipv6_segment")
        .prefetch_related("scope")
        .order_by("vrf__name", "vrf", "vlan__group__name", "vlan__vid", "prefix", "pk")
    )
    groups, others = {}, []
    for prefix in prefixes:
        row = _Row(prefix)
        vlan_group = prefix.vlan and prefix.vlan.group
        match = vlan_group and GROUP_NAME.fullmatch(vlan_group.name)
        if error := _misplaced(prefix, match):
            row.errors.append(error)
            others.append(row)
        else:
            _read_fields(row)
            key = vlan_group.pk, prefix.vrf_id
            groups.setdefault(key, _Group(vlan_group, prefix.vrf, match[2])).rows.append(row)
    others += _without_vlan(groups.values(), prefixes, viewer)
    _check_namesakes(groups.values())
    return list(groups.values()), [row for row in others if not _segment_of(row.prefix)]


def _misplaced(prefix, match):
    """Return why a prefix belongs to no group, or None; `match` is that of its VLAN group's name."""
    if prefix.vrf_id is None:
        return _("The prefix is in no VRF.")
    if prefix.vlan_id is None:
        return _("The prefix has no VLAN.")
    if not match:
        if prefix.vlan.group_id is None:
            return _("VLAN {vlan} is in no VLAN group.").format(vlan=prefix.vlan)
        return _("VLAN {vlan} is in VLAN group {group}, not in one named <VRF>{infix}<Site>.").format(
            vlan=prefix.vlan, group=prefix.vlan.group, infix=GROUP_INFIX
        )
    if match[1].casefold() != prefix.vrf.name.casefold():
        return _("VLAN {vlan} is in VLAN group {group}, which is not of the prefix's VRF {vrf}.").format(
            vlan=prefix.vlan, group=prefix.vlan.group, vrf=prefix.vrf
        )
    return None


def _without_vlan(groups, known, viewer):
    """Return _Rows for prefixes with DHCP but neither VLAN nor cluster, where the first generation has others."""
    places = {(group.vrf.pk, row.prefix.scope_type_id, row.prefix.scope_id) for group in groups for row in group.rows}
    prefixes = (
        _visible(Prefix.objects.all(), viewer)
        .annotate(dhcp_text=KeyTextTransform(DHCP_FIELD, "custom_field_data"))
        .filter(vrf__in={vrf for vrf, _type, _pk in places}, vlan=None, dhcp_text__gt="", status__in=STATUSES)
        .exclude(pk__in=[prefix.pk for prefix in known])
        .select_related("segment", "ipv6_segment")
        .order_by("prefix", "pk")
    )
    return [
        _Row(prefix, errors=[_("The prefix has no VLAN.")])
        for prefix in prefixes
        if (prefix.vrf_id, prefix.scope_type_id, prefix.scope_id) in places
    ]


def _check_namesakes(groups):
    """Add errors to the rows of VLAN groups of one name, which NetBox allows at several scopes: they are one pool."""
    by_name = {}
    for group in groups:
        by_name.setdefault((group.vrf.pk, group.site.casefold()), []).append(group)
    for namesakes in by_name.values():
        if len(namesakes) > 1:
            for group in namesakes:
                for row in group.rows:
                    row.errors.append(
                        _("There are {count} VLAN groups named {group}: merge them, or rename the others.").format(
                            count=len(namesakes), group=group.vlan_group
                        )
                    )


def _segment_of(prefix):
    return getattr(prefix, "segment", None) or getattr(prefix, "ipv6_segment", None)


def _read_fields(row):
    """Read status, clusters and DHCP of a row's prefix."""
    prefix = row.prefix
    if prefix.status not in STATUSES:
        row.errors.append(
            _("The status is {status}: it has to be Active or Reserved.").format(status=prefix.get_status_display())
        )
    seen = set()
    for name in _as_text(prefix.custom_field_data.get(CLUSTER_FIELD)).split(","):
        if not name.strip():
            continue
        try:
            name = clean_cluster_name(name)
        except ValidationError as error:
            row.errors += error.messages
            continue
        if cluster_key(name) not in seen:
            seen.add(cluster_key(name))
            row.clusters.append(name)
    dhcp = _as_text(prefix.custom_field_data.get(DHCP_FIELD)).strip().lower()
    row.dhcp = dhcp in TRUE
    if dhcp not in TRUE | FALSE:
        row.errors.append(_("DHCP is {value}: it has to be true or false.").format(value=repr(dhcp[:60])))
    if row.clusters and prefix.status == PrefixStatusChoices.STATUS_ACTIVE:
        row.notes.append(_("It is active although a cluster holds it: taken as allocated."))
    if not row.clusters and prefix.status == PrefixStatusChoices.STATUS_RESERVED:
        row.notes.append(_("It is reserved without a cluster: its segment is disabled."))


def _as_text(value):
    """Return the value of a custom field as text; one that takes several choices is a list."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _migrate_group(group, user, viewer, dry_run):
    """Return the MigratedPool of a _Group."""
    try:
        with audit.change_tracking(user), _no_events():
            return transactions.run(partial(_write_group, group, user, viewer, dry_run))
    except _Undo as undo:
        return undo.outcome
    except (ValidationError, VLANManagerError, AbortRequest, PermissionDenied) as error:
        rows = [row for row in group.rows if not _segment_of(row.prefix)]
        outcome = _outcome(group)
        outcome.error = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        outcome.unchanged = len(group.rows) - len(rows)
        outcome.failed = len(rows)
        outcome.problems = _problems(rows)
        return outcome


@contextmanager
def _no_events():
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
        made = _build(pool, [row for row in rows if not row.errors], viewer)
        write_allocations([(segment, row.allocations) for row, segment in made if row.allocations])
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
    missing, uncovered = _find_containers(group.vrf, containers, [row for row in rows if not row.errors])
    networks, alone = _cover(sorted({row.prefix.prefix for row in uncovered}), _Foreign(group.vrf, uncovered))
    for row in uncovered:
        if row.prefix.prefix in alone:
            row.errors.append(
                _(
                    "No container holds the prefix, and one made for it would overlap other prefixes: make a container "
                    "around it, or give the prefix around it the status Container."
                )
            )
    outcome.containers = [str(network) for network in networks]
    if pool and not missing and not networks:
        return pool
    prefixes = [*containers, *missing, *networks]
    if pool:
        return provisioning.update_pool(pool, user=user, prefixes=prefixes)
    if not prefixes:
        return None
    shared = {name: {getattr(row.prefix, name) for row in group.rows} - {None} for name in ("tenant", "role")}
    return provisioning.create_pool(
        user=user,
        vrf=group.vrf,
        scope=scope,
        prefixes=prefixes,
        vlan_group=group.vlan_group,
        changelog_message=MESSAGE,
        **{name: values.pop() for name, values in shared.items() if len(values) == 1},
    )


def _find_containers(vrf, containers, rows):
    """
    Return the container prefixes of a VRF that hold the rows, the smallest for each, and the rows that none holds.

    Args:
        vrf: The VRF.
        containers: The pool's Prefixes; what lies in these needs no other.
        rows: _Rows
    """
    own = {_position(prefix.prefix, prefix.prefix.prefixlen): prefix for prefix in containers}
    existing = {
        _position(prefix.prefix, prefix.prefix.prefixlen): prefix
        for prefix in Prefix.objects.filter(vrf=vrf, status=PrefixStatusChoices.STATUS_CONTAINER).order_by()
    }
    missing, uncovered = {}, []
    for row in rows:
        network = row.prefix.prefix
        around = [_position(network, length) for length in range(network.prefixlen - 1, -1, -1)]
        if any(position in own for position in around):
            continue
        container = next((existing[position] for position in around if position in existing), None)
        if container:
            missing[container.pk] = container
        else:
            uncovered.append(row)
    return list(missing.values()), uncovered


def _position(network, length):
    """Return what identifies the network of that length around, or at, `network`."""
    return network.version, length, network.first >> ((32 if network.version == 4 else 128) - length)


class _Foreign:
    """The prefixes of a VRF other than those of some rows: no new container may overlap them."""

    def __init__(self, vrf, rows):
        prefixes = Prefix.objects.filter(vrf=vrf).exclude(pk__in=[row.prefix.pk for row in rows]).order_by()
        networks = list(prefixes.values_list("prefix", flat=True)) if rows else []
        self.positions = {_position(network, network.prefixlen) for network in networks}
        self.starts = sorted((network.version, network.first) for network in networks)

    def overlaps(self, network):
        place = bisect_left(self.starts, (network.version, network.first))
        if self.starts[place : place + 1] and self.starts[place] <= (network.version, network.last):
            return True
        return any(_position(network, length) in self.positions for length in range(network.prefixlen + 1))


def _cover(networks, foreign):
    """
    Return few networks that hold all of `networks` and overlap nothing foreign, and those that none of them can hold.

    Args:
        networks: netaddr.IPNetworks, each once and sorted.
        foreign: _Foreign
    """
    if not networks:
        return [], []
    versions = {network.version for network in networks}
    if len(versions) == 1:
        around = spanning_cidr(networks) if len(networks) > 1 else networks[0]
        if around in networks and around.prefixlen:
            around = around.supernet(around.prefixlen - 1)[0]
        if around.prefixlen >= SHORTEST_CONTAINER[around.version] and not foreign.overlaps(around):
            return [around], []
    if len(networks) == 1:
        return [], networks
    if len(versions) == 2:
        first = [network for network in networks if network.version == 4]
    else:
        lower_half = next(iter(around.subnet(around.prefixlen + 1)))
        first = [network for network in networks if network in lower_half]
    # Where one network holds the others, they are all in one half.
    if len(first) in (0, len(networks)):
        first = networks[: len(networks) // 2]
    covers, alone = [], []
    for part in (first, networks[len(first) :]):
        more, left = _cover(part, foreign)
        covers += more
        alone += left
    return covers, alone


def _build(pool, rows, viewer):
    """Return (_Row, Segment) pairs for the rows that become segments; the others get errors."""
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
        texts = [*candidate.conflict_texts]
        if len(both) < len(candidate.prefixes):
            texts.append(_("The other prefix of its VLAN cannot be migrated."))
        for row in both:
            row.errors += texts
        if not texts:
            (row,) = (row for row in both if row.prefix.pk == candidate.prefix.pk)
            _merge(row, both)
            leading.append((row, both))
    _plan_allocations(pool, [row for row, _both in leading])
    leading = [(row, both) for row, both in leading if not _share_errors(row, both)]

    specs = [
        row.candidate.make_spec(
            pool,
            dhcp=row.dhcp,
            description=row.prefix.description,
            changelog_message=str(MESSAGE),
            status=row.status,
            disabled_reason=DISABLED_REASON if row.status == SegmentStatusChoices.DISABLED else "",
        )
        for row, _both in leading
    ]
    segments, errors = provisioning.build_segments(specs)
    made = []
    for (row, both), segment, error in zip(leading, segments, errors, strict=True):
        if segment:
            made.append((row, segment))
        for texts in error.values():
            row.errors += [texts] if isinstance(texts, str) else texts
        _share_errors(row, both)
    return made


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


def _plan_allocations(pool, rows):
    """
    Give the rows their Allocations, not saved and without their segments yet.

    A cluster that holds several segments of a pool keeps the lowest VLAN ID without a purpose; that is the one it gets
    when it asks again. The others have the purposes 2, 3, and so on.
    """
    now = timezone.now()
    times = _allocation_times(rows)
    clusters = find_clusters({name for row in rows for name in row.clusters})
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
            purpose = _free_purpose(name, held)
            if purpose:
                row.notes.append(
                    _(
                        "Cluster {cluster} holds several segments of the pool: this one has the purpose {purpose}."
                    ).format(cluster=name, purpose=purpose)
                )
            try:
                allocation = make_allocation(
                    pool,
                    changelog_message=str(MESSAGE),
                    cluster_name=name,
                    cluster_id=clusters.get(cluster_key(name)),
                    purpose=purpose,
                    allocated_at=min(times.get(row.prefix.pk) or row.prefix.last_updated or now, now),
                    shared=number > 0,
                    vid=candidate.vlan.vid,
                    epg_name=candidate.vlan.name,
                    prefix=candidate.prefix.prefix,
                    ipv6_prefix=candidate.ipv6_prefix and candidate.ipv6_prefix.prefix,
                )
            except ValidationError as error:
                row.errors += error.messages
            else:
                held.add((cluster_key(name), purpose))
                row.allocations.append(allocation)


def _free_purpose(name, held):
    purpose, number = "", 1
    while (cluster_key(name), purpose) in held:
        number += 1
        purpose = str(number)
    return purpose


def _allocation_times(rows):
    """Return {prefix id: when it got its clusters}, by the change log, as far as that goes back."""
    changes = (
        ObjectChange.objects.filter(
            changed_object_type=ContentType.objects.get_for_model(Prefix),
            changed_object_id__in=[row.prefix.pk for row in rows if row.clusters],
        )
        .order_by()
        .values_list("changed_object_id")
    )
    empty = Value("")
    before, after = (
        Coalesce(KeyTextTransform(CLUSTER_FIELD, KeyTransform("custom_fields", name)), empty, output_field=TextField())
        for name in ("prechange_data", "postchange_data")
    )
    named = changes.annotate(before=before, after=after).exclude(after="").exclude(after=F("before"))
    return dict(changes.annotate(Max("time"))) | dict(named.values_list("changed_object_id").annotate(Max("time")))


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
