"""
Ends a migration: gives pools back to the first generation, or ends their trial in favour of the plugin.
"""

from functools import partial
from itertools import batched
from typing import NamedTuple

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from core.choices import ObjectChangeActionChoices
from core.models import ObjectChange
from ipam.models import Prefix
from utilities.exceptions import AbortRequest

from ....choices import FirstGenerationChoices, ReleaseReasonChoices, SegmentStatusChoices
from ....exceptions import Busy, VLANManagerError
from ....models import Allocation, Segment, SegmentPool
from ...base import audit, operations, transactions
from ...pools import retiring
from ...segments.first_generation_fields import CLUSTER_FIELD
from ...segments.hierarchy import delete_prefixes
from ...segments.prefix_status import status_when_available
from ...segments.unmigrated import find_unmigrated
from .migrating import check_permitted, no_events
from .results import EndedPool, Ending, Problem
from .writing import has_cluster_field, plan_prefixes

__all__ = (
    "check_finish_permission",
    "check_undo_permission",
    "finish",
    "has_pools",
    "undo",
)

UNDO_PERMISSIONS = tuple(
    f"netbox_vlan_manager.{name}" for name in ("delete_segmentpool", "delete_segment", "release_segmentpool")
)

# How many objects are written with one call of `audit.write`.
BATCH = 500


def has_pools(user=None):
    """Return whether there are migrated pools that `user` may view; None may view all."""
    return _pools(user).exists()


def _pools(user):
    pools = SegmentPool.objects.all() if user is None else SegmentPool.objects.restrict(user, "view")
    return pools.exclude(first_generation="")


def check_undo_permission(user):
    """
    Make sure that `user` has the permission to undo the migration.

    Raises:
        PermissionDenied: No object permission grants it.
    """
    if not user.has_perms(UNDO_PERMISSIONS):
        raise PermissionDenied(
            _(
                "You may not undo the migration: ask for the permission to delete segment pools and segments, and to "
                "release."
            )
        )


def check_finish_permission(user):
    """
    Make sure that `user` has the permission to end a trial.

    Raises:
        PermissionDenied: No object permission grants it.
    """
    if not user.has_perm("netbox_vlan_manager.change_segmentpool"):
        raise PermissionDenied(_("You may not end the trial: ask for the permission to change segment pools."))


def undo(*, user, enforce=True, dry_run=False, report=None):
    """
    Give the migrated pools back to the first generation, or say what that would do.

    Prefixes get the state that the plugin has: Reserved with the clusters in Cluster if the segment is held, Reserved
    without clusters if it is disabled, else Active. Then pools and segments are deleted. VLANs and prefixes stay, also
    those that the plugin has made since. Allocations end, and stay as history. Containers that were made for a pool are
    deleted.

    Each pool is one transaction, which locks its VRF, its VLAN group and its segments' rows. All writes are
    change-logged. No events are sent, because nothing in the network changes.

    Args:
        user: The User, or the user name, for the change log.
        enforce: Hold the user to their object permissions: to view, delete and release from the pools, and to delete
            their segments. Commands, whose users have the database anyway, do not.
        dry_run: Change nothing.
        report: Called with (pools done, pools in all) before each pool, outside any transaction.

    Returns:
        Ending

    Raises:
        PermissionDenied: The user lacks one of the permissions.
    """
    return _end(UNDO, user, enforce, dry_run, report)


def finish(*, user, enforce=True, dry_run=False, report=None):
    """
    End the trial of the pools that are on it: from then on only the plugin hands out, and Cluster is not written.

    A pool stays on trial if a cluster holds one of its prefixes that could not be migrated. Arguments are those of
    `undo`; it takes the permission to change the pools.

    Returns:
        Ending

    Raises:
        PermissionDenied: The user may change no pool.
    """
    return _end(FINISH, user, enforce, dry_run, report)


def _end(way, user, enforce, dry_run, report):
    """Return the Ending of all pools; arguments but the first are those of `undo`."""
    user = audit.get_user(user)
    viewer = user if enforce else None
    if viewer:
        way.check_permission(viewer)
    with operations.track(way.name, dry_run=dry_run, user=user) as operation:
        pools = _pools(viewer)
        if way.only_trial:
            pools = pools.filter(first_generation=FirstGenerationChoices.TRIAL)
        pools, outcomes = list(pools.order_by("name")), []
        for number, pool in enumerate(pools):
            if report:
                report(number, len(pools))
            outcomes.append(_try(way.end_locked, pool, user, viewer, dry_run))
        ending = Ending(dry_run, outcomes)
        operation.outcome = ending.summary()
        return ending


def _try(work, pool, user, viewer, dry_run):
    """Return the EndedPool of a pool."""
    try:
        with audit.change_tracking(user), no_events():
            return transactions.run(partial(work, pool.pk, user, viewer), dry_run)
    except (ValidationError, VLANManagerError, AbortRequest, PermissionDenied) as error:
        text = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        return EndedPool(pool.name, pool.pk, error=text)


def _undo_locked(pk, user, viewer):
    """End one pool in the caller's transaction, and return its EndedPool."""
    pool, segments = _lock(pk)
    outcome = _count(EndedPool(pool.name), segments)
    if viewer:
        check_permitted(viewer, "delete", SegmentPool, [pool.pk])
        check_permitted(viewer, "delete", Segment, [segment.pk for segment in segments])
        check_permitted(viewer, "release", SegmentPool, [pool.pk])
    if outcome.allocated and not has_cluster_field():
        raise ValidationError(
            _("Prefixes have no custom field {name}, where the first generation looks: add it, a text.").format(
                name=CLUSTER_FIELD
            )
        )
    now = timezone.now()
    held = {segment: [] for segment in segments}
    unreleased = list(Allocation.objects.unreleased().filter(pool=pool).order_by("shared", "allocated_at", "pk"))
    by_pk = {segment.pk: segment for segment in segments}
    for one in unreleased:
        # An expired allocation is free to the first generation.
        if one.expires_at is None or one.expires_at > now:
            held[by_pk[one.segment_id]].append(one)
    changes, notes = plan_prefixes(held)
    outcome.written = len(changes)
    outcome.problems = [
        Problem(segment.prefix_id, str(segment.prefix.prefix), text, failed=False) for segment, text in notes.items()
    ]
    # This comes first, so that `following` does not write back what follows.
    audit.update(pool, first_generation="")
    _write(changes)
    for one in unreleased:
        one.pool = pool
        one._changelog_message = _("Given back to the first generation")
    _write([(one, _ending_values(one, pool, user, now)) for one in unreleased])
    # VLANs and prefixes stay, also those that the plugin made.
    kept = {"owns_vlan": False, "owns_prefix": False, "owns_ipv6_prefix": False}
    Segment.objects.filter(pool=pool).update(**kept, gateway_ip_address=None, ipv6_gateway_ip_address=None)
    containers = list(pool.prefixes.all())
    made = _made_with_pools(containers)
    retiring.delete_if_drained_locked(pool, user)
    outcome.containers = _remove_containers(pool, containers, made)
    return outcome


def _finish_locked(pk, user, viewer):
    """End one pool in the caller's transaction, and return its EndedPool."""
    pool, segments = _lock(pk)
    outcome = _count(EndedPool(pool.name, pool.pk), segments)
    if viewer:
        check_permitted(viewer, "change", SegmentPool, [pool.pk])
    if count := len(find_unmigrated([pool])):
        raise ValidationError(
            _(
                "{count} prefixes that clusters hold could not be migrated: correct them and migrate again first."
            ).format(count=count)
        )
    audit.update(pool, first_generation=FirstGenerationChoices.OVER)
    status = status_when_available()
    changes = [
        (prefix, {"status": status})
        for segment in segments
        if segment.status == SegmentStatusChoices.DISABLED
        for prefix in (segment.prefix, segment.ipv6_prefix)
        if prefix and prefix.status != status
    ]
    outcome.written = len(changes)
    _write(changes)
    return outcome


def _lock(pk):
    """
    Lock a pool and its segments, and return them.

    Raises:
        Busy: The pool was deleted.
    """
    pool = retiring.lock_pool(pk)
    if pool is None or not pool.first_generation:
        raise Busy
    segments = Segment.objects.filter(pool=pool).select_related("prefix", "ipv6_prefix", "vlan")
    segments = list(segments.select_for_update(of=("self",)).order_by("pool_id", "vid"))
    for segment in segments:
        segment.pool = pool
    return pool, segments


def _count(outcome, segments):
    outcome.segments = len(segments)
    for segment in segments:
        # A cool-down ends with the pool.
        status = segment.status if segment.status != SegmentStatusChoices.QUARANTINED else "available"
        setattr(outcome, status, getattr(outcome, status) + 1)
    return outcome


def _write(updates):
    for batch in batched(updates, BATCH):
        audit.write(updates=batch)


def _ending_values(one, pool, user, now):
    has_expired = one.expires_at is not None and one.expires_at <= now
    return {
        "released_at": max(now, one.allocated_at),
        "released_by": user,
        "release_reason": ReleaseReasonChoices.EXPIRED if has_expired else ReleaseReasonChoices.RELEASED,
        "pool_name": pool.name,
        "vrf_name": pool.vrf.name,
    }


def _made_with_pools(containers):
    """Return the ids of those containers that were made in a request that changed a pool, by the change log."""
    changes = ObjectChange.objects.order_by()
    of_pools = changes.filter(changed_object_type=ContentType.objects.get_for_model(SegmentPool))
    made = changes.filter(
        changed_object_type=ContentType.objects.get_for_model(Prefix),
        changed_object_id__in=[prefix.pk for prefix in containers],
        action=ObjectChangeActionChoices.ACTION_CREATE,
        request_id__in=of_pools.values("request_id"),
    )
    return set(made.values_list("changed_object_id", flat=True))


def _remove_containers(pool, containers, made):
    """
    Delete the containers of the deleted pool that were made for pools and no other pool has; return their networks.

    A container that is no longer in the change log loses the tenant and the scope that older versions gave it: with
    both, the first generation takes it for a segment without a VLAN.
    """
    used = set(SegmentPool.prefixes.through.objects.filter(prefix__in=containers).values_list("prefix", flat=True))
    gone = [prefix for prefix in containers if prefix.pk in made - used]
    for prefix in containers:
        scope = prefix.scope_type_id, prefix.scope_id
        is_like_pool = scope == (pool.scope_type_id, pool.scope_id) and prefix.tenant_id == pool.tenant_id
        if prefix.pk not in made | used and is_like_pool and prefix.tenant_id:
            prefix.snapshot()
            prefix.tenant = prefix.scope = None
            prefix.save()
    delete_prefixes(gone)
    return [str(prefix.prefix) for prefix in gone]


class _Way(NamedTuple):
    """A way to end a trial or a migration: its name, the permission it takes, and the function that ends one pool."""

    name: str
    check_permission: object
    end_locked: object
    only_trial: bool


UNDO = _Way("undo", check_undo_permission, _undo_locked, only_trial=False)
FINISH = _Way("finish", check_finish_permission, _finish_locked, only_trial=True)
