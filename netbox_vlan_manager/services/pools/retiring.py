"""
Retires pools: a retiring pool makes no new allocations, and is deleted when its last allocation is released.

Its segments are deleted with it, and so are the VLANs and prefixes that were created with them; adopted ones stay. The
history stays too: released allocations have the names of the pool, the VLAN and the prefix themselves.
"""

import logging
from dataclasses import dataclass
from functools import partial

from django.contrib.contenttypes.models import ContentType
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _
from rq.timeouts import BaseTimeoutException

from core.models import ObjectChange
from utilities.exceptions import AbortRequest

from ...choices import SegmentPoolStatusChoices
from ...exceptions import Busy, PoolConflict, VLANManagerError
from ...models import Allocation, Segment, SegmentPool
from ..allocations.releasing import end_overdue_locked
from ..base import audit, operations, transactions
from ..base.protection import PROTECTED_ERRORS, protected_conflicts
from ..segments.deletion import delete_segments_locked, unlink_allocations
from ..segments.locks import lock_rows

__all__ = (
    "RetireResult",
    "delete_drained",
    "delete_if_drained_locked",
    "lock_pool",
    "retire_pool",
)

logger = logging.getLogger("netbox_vlan_manager.retiring")


@dataclass(frozen=True)
class RetireResult:
    """
    The state of a pool after a call, or after it if it were no dry run: its status, how many active allocations and
    segments it has, and whether it was deleted.

    `conflicts` are, in a dry run, the objects that keep it from being deleted.
    """

    pool: SegmentPool
    status: str
    active_allocations: int
    segments: int
    deleted: bool
    conflicts: tuple = ()


def retire_pool(pool, *, user, changelog_message="", dry_run=False):
    """
    Stop new allocations of a pool, and delete it as soon as it has no active ones: now, or in `delete_drained`.

    The pool stays if a user sets its status back to active before. If it is deleted now, the rows of its segments are
    locked until the transaction ends.

    Args:
        pool: The SegmentPool.
        user: The User, or the user name, for the change log.
        changelog_message: Why, for the change log of the pool.
        dry_run: Return what would be done, and change nothing.

    Returns:
        RetireResult

    Raises:
        PoolConflict: The pool could be deleted now, but another object in NetBox uses one of its VLANs or prefixes (not
            in a dry run); nothing was changed.
        Busy: Locks were not had in time, or the pool was deleted; nothing was changed.
    """
    user = audit.get_user(user)
    with operations.track("retire", dry_run=dry_run, pool=pool, user=user), audit.change_tracking(user):
        work = partial(_retire_locked, pool.pk, user, changelog_message, dry_run)
        return transactions.run(work, dry_run)


def _retire_locked(pk, user, changelog_message, dry_run):
    end_overdue_locked(Allocation.objects.filter(pool=pk))
    pool = lock_pool(pk)
    if pool is None:
        raise Busy
    pool._changelog_message = changelog_message
    held = Allocation.objects.unreleased().filter(pool=pool)
    segments = pool.segments.count()
    retiring = SegmentPoolStatusChoices.RETIRING
    try:
        if not held.exists() and delete_if_drained_locked(pool, user):
            return RetireResult(pool, retiring, 0, segments, deleted=True)
    except PoolConflict as error:
        if not dry_run:
            raise
        return RetireResult(pool, pool.status, 0, segments, deleted=False, conflicts=tuple(error.conflicts))
    if pool.status != retiring:
        audit.update(pool, status=retiring)
    return RetireResult(pool, pool.status, held.count(), segments, deleted=False)


def delete_drained():
    """
    Delete the retiring pools without active allocations, each in a transaction of its own; return how many.

    A pool that cannot be deleted, or whose locks are not had in time, is logged and left to the next run.

    Raises:
        ExceptionGroup: Of the unexpected errors, after all pools that can be deleted are.
    """
    held = Allocation.objects.unreleased().filter(pool=OuterRef("pk")).order_by()
    retiring = SegmentPool.objects.filter(~Exists(held), status=SegmentPoolStatusChoices.RETIRING)
    total, errors = 0, []
    for pool in list(retiring.order_by("pk")):
        try:
            user = _find_retirer(pool)
            with operations.track("delete drained", pool=pool, user=user), audit.change_tracking(user):
                total += transactions.run(partial(_delete_retiring_locked, pool.pk, user))
        except (VLANManagerError, AbortRequest) as error:
            # Quoted: a name with a line end in it must not make a line of its own.
            logger.warning("Retiring pool %a (%s) cannot be deleted: %a", str(pool), pool.pk, str(error.message))
        except BaseTimeoutException:
            # The time of the job is over, not that of one pool.
            raise
        except Exception as error:
            logger.exception("Retiring pool %a (%s) was not deleted", str(pool), pool.pk)
            errors.append(error)
    if errors:
        raise ExceptionGroup(f"Deleted {total} retiring pools; {len(errors)} could not be deleted", errors)
    return total


def _find_retirer(pool):
    """Return the User who retired `pool` according to the change log, or None. The deletion is logged as theirs."""
    changes = ObjectChange.objects.filter(
        changed_object_type=ContentType.objects.get_for_model(pool), changed_object_id=pool.pk
    )
    retired = changes.filter(postchange_data__status=SegmentPoolStatusChoices.RETIRING)
    retired = retired.exclude(prechange_data__status=SegmentPoolStatusChoices.RETIRING)
    change = retired.select_related("user").order_by("-time").first()
    return change and change.user


def _delete_retiring_locked(pk, user):
    pool = lock_pool(pk)
    # A user may have made it active again.
    return bool(pool and pool.status == SegmentPoolStatusChoices.RETIRING and delete_if_drained_locked(pool, user))


def lock_pool(pk):
    """Lock the VRF, the VLAN group and the row of a pool, and return the pool as it is now, or None."""
    pool = SegmentPool.objects.filter(pk=pk).first()
    if pool is None:
        return None
    # No service creates or moves segments of the pool until the commit. NetBox's own endpoints may create prefixes and
    # VLANs, since this transaction creates none.
    transactions.lock_spaces([pool.vrf_id], [pool.vlan_group_id], exclude_netbox=False)
    return SegmentPool.objects.select_for_update(no_key=True, of=("self",)).filter(pk=pk).order_by().first()


def delete_if_drained_locked(pool, user):
    """Delete `pool` with its segments and return True; return False if a cluster holds one of them."""
    rows = Segment.objects.filter(pool=pool).order_by("pool_id", "vid")
    lock_rows(rows)
    # No allocation of a segment begins while its row is locked.
    if Allocation.objects.unreleased().filter(pool=pool).exists():
        return False
    try:
        delete_segments_locked(rows)
        unlink_allocations(Allocation.objects.filter(pool=pool), "pool")
        pool.snapshot()
        audit.delete([pool])
    except PROTECTED_ERRORS as error:
        raise PoolConflict(
            _("Pool {pool} cannot be deleted: something else in NetBox uses one of its VLANs or prefixes.").format(
                pool=pool
            ),
            protected_conflicts(error, user),
        ) from error
    return True
