"""
Merges one pool into another of the same VRF: segments, allocations, containers and snapshots move, and the pool is
deleted.

Clusters keep their segments, under the same allocations. A call that allocates at the same time either commits before
the merge, and its allocation moves too, or finds the pool empty or deleted.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import batched

from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from dcim.models import Site, SiteGroup
from ipam.models import VLAN

from ...choices import SegmentPoolStatusChoices
from ...exceptions import Busy, Conflict, PoolConflict
from ...models import Allocation, PoolSnapshot, Segment, SegmentPool, SegmentUsage
from ..base import audit, hooks, operations, transactions
from ..base.protection import PROTECTED_ERRORS, protected_conflicts
from ..base.resolution import serving_pools
from ..base.visibility import permitted_ids
from ..segments.locks import lock_rows
from ..segments.spaces import vid_range_errors
from .parts import check_containers

__all__ = (
    "MergeResult",
    "merge_pool",
)

# How many objects one call of `audit.write` gets.
BATCH_SIZE = 500


@dataclass(frozen=True)
class MergeResult:
    """
    The effects of a merge, or of a dry run.

    `segments`, `allocations` (active ones) and `vlans` (those that change their VLAN group) are numbers. `containers`
    are the networks that `into` gets. `served_by` is the pool that now answers requests for the place of the deleted
    pool; None if there is none that the user may view.
    """

    pool: SegmentPool
    into: SegmentPool
    segments: int = 0
    allocations: int = 0
    vlans: int = 0
    containers: tuple = ()
    conflicts: tuple = ()
    served_by: SegmentPool | None = None


def merge_pool(pool, into, *, user, changelog_message="", dry_run=False):
    """
    Move the segments, allocations, containers and snapshots of `pool` into another pool of its VRF, and delete it.

    Active allocations keep their ids; released ones keep the names of their pool. VLANs move to the other pool's VLAN
    group if that is another one.

    Locks the VRF, both VLAN groups and the rows of the first one's segments and active allocations until the
    transaction ends.

    Args:
        pool: The SegmentPool that is deleted.
        into: The SegmentPool that stays.
        user: The User, or the user name, for the change log. The user's view decides what conflicts name.
        changelog_message: Why, for the change log of both pools.
        dry_run: Return what would be done, conflicts included, and change nothing.

    Returns:
        MergeResult

    Raises:
        ValidationError: The two pools are the same, or are in different VRFs.
        PoolConflict: The pools cannot be merged as they are (not in a dry run); nothing was changed.
        Busy: Locks were not had in time, or one of the pools was deleted; nothing was changed.
    """
    user = audit.get_user(user)
    if pool.pk == into.pk:
        raise ValidationError({"into": _("This is the pool itself: choose another one.")})
    with operations.track("merge", dry_run=dry_run, pool=pool, into=into, user=user), audit.change_tracking(user):
        work = partial(_merge_locked, pool.pk, into.pk, user, changelog_message, dry_run)
        return transactions.run(work, dry_run)


def _merge_locked(pk, into_pk, user, changelog_message, dry_run):
    pool, into, segments = _lock(pk, into_pk)
    if pool.vrf_id != into.vrf_id:
        text = _("Pool {pool} is in VRF {vrf}: choose one of VRF {own}.")
        raise ValidationError({"into": text.format(pool=into, vrf=into.vrf, own=pool.vrf)})
    held = Allocation.objects.unreleased().filter(pool=pool)
    vlans = [segment.vlan for segment in segments if segment.vlan.group_id != into.vlan_group_id]
    containers = _missing_containers(pool, into)
    result = MergeResult(
        pool=pool,
        into=into,
        segments=len(segments),
        allocations=held.count(),
        vlans=len(vlans),
        containers=tuple(prefix.prefix for prefix in containers),
    )
    if conflicts := _find_conflicts(into, segments, held, user):
        if not dry_run:
            raise _refused(pool, into, conflicts)
        return replace(result, conflicts=tuple(conflicts))
    for instance in (pool, into):
        instance.snapshot()
        instance._changelog_message = changelog_message
    if containers:
        check_containers(into, [*into.prefixes.all(), *containers])
    into.prefixes.add(*containers)
    _move(segments, pool=into)
    hooks.send(hooks.segments_changed, [segment.pk for segment in segments])
    # After the segments: a VLAN may go to the VLAN group of its segment's pool.
    _move(vlans, group=into.vlan_group)
    _move_allocations(pool, into)
    _move_snapshots(pool, into)
    place = pool.scope
    try:
        pool.delete()
    except PROTECTED_ERRORS as error:
        # Objects of another plugin.
        conflicts = protected_conflicts(error, user)
        if not dry_run:
            raise _refused(pool, into, conflicts) from error
        return replace(result, conflicts=tuple(conflicts))
    served_by = [found for found in serving_pools(place, user) if found.vrf_id == into.vrf_id]
    return replace(result, served_by=served_by[0] if served_by else None)


def _refused(pool, into, conflicts):
    reasons = " ".join(conflict.message for conflict in conflicts[:5])
    text = _("Pool {pool} cannot be merged into {into}: {reasons}")
    return PoolConflict(text.format(pool=pool, into=into, reasons=reasons), conflicts)


def _lock(pk, into_pk):
    """
    Take the locks, and return the two pools and the first one's segments as they are now.

    No allocation of a segment begins or ends while its row is locked. The keys of clusters are not locked: PostgreSQL
    keeps advisory locks in a table of a fixed size, which thousands of clusters would fill.
    """
    pools = SegmentPool.objects.in_bulk([pk, into_pk])
    transactions.lock_spaces([pool.vrf_id for pool in pools.values()], [pool.vlan_group_id for pool in pools.values()])
    rows = Segment.objects.filter(pool=pk).order_by("pool_id", "vid")
    lock_rows(rows)
    # Read again under the locks.
    pools = SegmentPool.objects.select_related("vrf", "vlan_group").in_bulk([pk, into_pk])
    if len(pools) < 2:
        raise Busy
    return pools[pk], pools[into_pk], list(rows.prefetch_related("vlan", "prefix"))


def _missing_containers(pool, into):
    """Return the containers of `pool` that lie in no container of `into`."""
    networks = [prefix.prefix for prefix in into.prefixes.all()]
    return [prefix for prefix in pool.prefixes.all() if not any(prefix.prefix in network for network in networks)]


def _find_conflicts(into, segments, held, user):
    """Return the Conflicts that keep `segments`, and the allocations `held` of them, from moving to pool `into`."""
    conflicts = []
    if into.status == SegmentPoolStatusChoices.RETIRING:
        conflicts.append(
            Conflict(_("Pool {pool} is retiring: set it to active first, or choose another.").format(pool=into))
        )
    return conflicts + _cluster_conflicts(into, held, user) + _vlan_conflicts(into, segments, user)


def _cluster_conflicts(into, held, user):
    def same(allocations):
        return allocations.filter(
            cluster_name__iexact=OuterRef("cluster_name"), purpose=OuterRef("purpose"), released_at=None, pool=into
        )

    viewed = Allocation.objects.restrict(user, "view").order_by()
    twice = held.filter(Exists(same(Allocation.objects.order_by()))).order_by("cluster_name", "purpose")
    twice = twice.annotate(is_viewed=Exists(viewed.filter(pk=OuterRef("pk"))) & Exists(same(viewed)))
    conflicts, hidden = [], False
    for allocation in twice:
        if not allocation.is_viewed:
            hidden = True
            continue
        text = _("Cluster {cluster} holds a segment in both pools: release one of them.")
        if allocation.purpose:
            text = _("Cluster {cluster} holds a segment for {purpose} in both pools: release one of them.")
        message = text.format(cluster=allocation.cluster_name, purpose=allocation.purpose)
        conflicts.append(Conflict(message, allocation.segment_id, allocation.vid))
    if hidden:
        text = _("Clusters that you may not view hold a segment in both pools: ask for one of each to be released.")
        conflicts.append(Conflict(text))
    return conflicts


def _vlan_conflicts(into, segments, user):
    """Return the Conflicts of VLANs that do not fit into the VLAN group of `into`."""
    group = into.vlan_group
    moving = [segment for segment in segments if segment.vlan.group_id != group.pk]
    if not moving:
        return []
    taken = VLAN.objects.filter(group=group).order_by()
    vids, names = set(taken.values_list("vid", flat=True)), set(taken.values_list("name", flat=True))
    viewed = permitted_ids(Segment, user, "view", [segment.pk for segment in moving])
    conflicts, hidden = [], False
    for segment in moving:
        vlan, texts = segment.vlan, []
        if vid_range_errors(group, vlan.vid):
            texts.append(
                _("VLAN ID {vid} is not in VLAN group {group}: add it to the group's ranges, or renumber it.").format(
                    vid=vlan.vid, group=group
                )
            )
        if vlan.vid in vids:
            texts.append(
                _("VLAN ID {vid} is taken in VLAN group {group}: renumber or remove one of the two VLANs.").format(
                    vid=vlan.vid, group=group
                )
            )
        if vlan.name in names:
            texts.append(
                _("EPG name {name!r} is taken in VLAN group {group}: rename one of the two VLANs.").format(
                    name=vlan.name, group=group
                )
            )
        if not _may_have_site(group, vlan):
            texts.append(
                _("VLAN {vlan} belongs to a site that VLAN group {group} is not for: clear the VLAN's site.").format(
                    vlan=vlan, group=group
                )
            )
        if segment.pk in viewed:
            conflicts += [Conflict(text, segment.pk, vlan.vid) for text in texts]
        else:
            hidden = hidden or bool(texts)
    if hidden:
        text = _("VLANs of segments that you may not view do not fit into VLAN group {group}.")
        conflicts.append(Conflict(text.format(group=group)))
    return conflicts


def _may_have_site(group, vlan):
    """Whether NetBox lets a VLAN have its site in a VLAN group."""
    if vlan.site_id is None:
        return True
    if isinstance(group.scope, Site):
        return vlan.site_id == group.scope.pk
    if isinstance(group.scope, SiteGroup):
        return group.scope.sites.filter(pk=vlan.site_id).exists()
    return True


def _move(objects, **values):
    for batch in batched(objects, BATCH_SIZE):
        audit.write(updates=[(instance, values) for instance in batch])


def _move_allocations(pool, into):
    allocations = Allocation.objects.filter(pool=pool).order_by("pk")
    # Locked, because the locks on segments do not stop a renewal.
    active = list(allocations.unreleased().select_for_update(no_key=True))
    _move(active, pool=into, pool_name=into.name)
    _move(list(allocations), pool=into)


def _move_snapshots(pool, into):
    """Move the snapshots of `pool`; those of days that `into` has too are added to the snapshots of `into`."""
    names = SegmentUsage.__dataclass_fields__
    there = {snapshot.date: snapshot for snapshot in into.snapshots.all()}
    changed, moved = [], []
    for snapshot in pool.snapshots.all():
        if other := there.get(snapshot.date):
            for name in names:
                setattr(other, name, getattr(other, name) + getattr(snapshot, name))
            changed.append(other)
        else:
            moved.append(snapshot.pk)
    PoolSnapshot.objects.bulk_update(changed, list(names), batch_size=BATCH_SIZE)
    PoolSnapshot.objects.filter(pk__in=moved).update(pool=into)
