"""
Migrates the first generation's prefixes to pools, segments and allocations. A later run leaves migrated ones alone.
"""

from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import partial

from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q
from django.utils.translation import gettext as _
from netaddr import IPNetwork

from netbox.context import events_queue
from utilities.exceptions import AbortRequest

from ....exceptions import VLANManagerError
from ....models import Allocation, Segment, SegmentPool
from ...allocations.recording import write_allocations_locked
from ...base import audit, operations, transactions
from ...base.visibility import permitted_ids
from . import following
from .building import build_segments_locked
from .pools import provide_pool_locked
from .reading import find_rows, segment_of
from .results import MigratedPool, Migration, make_problems

__all__ = (
    "check_permission",
    "check_permitted",
    "migrate",
    "no_events",
)

PERMISSIONS = tuple(f"netbox_vlan_manager.add_{name}" for name in ("segmentpool", "segment", "allocation"))


class _Undo(Exception):
    """Rolls back a dry run, or a try that made nothing; `outcome` is the MigratedPool."""

    def __init__(self, outcome):
        self.outcome = outcome


def migrate(*, user, enforce=True, dry_run=False, report=None):
    """
    Make pools, segments and allocations of the first generation's data, or say what that would make.

    Each pool is one transaction, which locks its VRF and its VLAN group: a run that is killed leaves whole pools, and
    the next one does the rest. Prefixes that are in a segment already stay as they are, so a second run changes
    nothing. All writes are change-logged. No events are sent, because nothing in the network changes.

    Args:
        user: The User, or the user name, for the change log.
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
            outcome = MigratedPool(_("Prefixes of no pool"), problems=make_problems(others), failed=len(others))
            pools.append(outcome)
        migration = Migration(dry_run, pools)
        operation.outcome = migration.summary()
        return migration


def check_permission(user):
    """
    Make sure that `user` has the permission to migrate.

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
        # The prefixes already have the values that `following` would write back.
        with audit.change_tracking(user), no_events(), following.paused():
            return transactions.run(partial(_write_group_locked, group, user, viewer, dry_run))
    except _Undo as undo:
        return undo.outcome
    except (ValidationError, VLANManagerError, AbortRequest, PermissionDenied) as error:
        rows = [row for row in group.rows if not segment_of(row.prefix)]
        outcome = _outcome(group)
        outcome.error = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        outcome.unchanged = len(group.rows) - len(rows)
        outcome.failed = len(rows)
        outcome.problems = make_problems(rows)
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


def _write_group_locked(group, user, viewer, dry_run):
    """
    Migrate one group in the caller's transaction, and return its MigratedPool.

    The clusters are not locked. If one of them allocates in a pool that existed before, the unique index refuses this
    try, and the next one reads what that cluster holds.

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
    pool, made = None, []
    if any(not row.errors for row in rows):
        pool = provide_pool_locked(group, rows, user, outcome)
    if pool:
        made = build_segments_locked(pool, rows, viewer)
        write_allocations_locked([(segment, row.allocations) for row, segment in made if row.allocations])
    if viewer and made:
        _check_permitted(pool, outcome, made, viewer)
    outcome.migrated = sum(not row.errors for row in rows)
    outcome.failed = len(rows) - outcome.migrated
    outcome.problems = make_problems(rows)
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
    """Return the ids of the rows' prefixes that are in a segment, and of the other prefix of each of these segments."""
    pks = [row.prefix.pk for row in rows]
    found = Segment.objects.filter(Q(prefix__in=pks) | Q(ipv6_prefix__in=pks)).order_by()
    return {pk for pair in found.values_list("prefix", "ipv6_prefix") for pk in pair}


def _check_permitted(pool, outcome, made, viewer):
    """
    Make sure that the user may add all new objects.

    Raises:
        PermissionDenied: An object permission has constraints that exclude some of it.
    """
    allocations = [allocation.pk for row, _segment in made for allocation in row.allocations]
    check_permitted(viewer, "add", Segment, [segment.pk for _row, segment in made])
    check_permitted(viewer, "add", Allocation, allocations)
    if outcome.created:
        check_permitted(viewer, "add", SegmentPool, [pool.pk])
    elif outcome.containers:
        check_permitted(viewer, "change", SegmentPool, [pool.pk])


def check_permitted(viewer, action, model, pks):
    """
    Make sure that a user may do `action` with all objects of these ids.

    Raises:
        PermissionDenied: They may not with some.
    """
    if len(permitted_ids(model, viewer, action, pks)) < len(pks):
        raise PermissionDenied(
            _("You may not {action} the {objects} of this pool: ask for the permission.").format(
                action=action, objects=model._meta.verbose_name_plural
            )
        )
