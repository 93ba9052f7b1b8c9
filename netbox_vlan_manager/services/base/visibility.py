"""What a user may do to which objects, and the objects that errors may name: those that the user may view."""

from functools import reduce
from operator import or_

from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.utils.translation import gettext as _

from users.models import User

from ...models import Allocation, SegmentPool
from . import audit

__all__ = (
    "check_change_of_others",
    "check_release",
    "check_renewal",
    "known_allocations",
    "may_import",
    "may_release",
    "may_release_any",
    "nameable",
    "permitted_ids",
    "pools_permitting",
    "releasable",
)

# The actions on segment pools that permit a release: of any allocation, and of those of the user and of their groups.
RELEASE_ACTIONS = ("release", "release_own")


def may_release_any(user):
    """Return whether `user` holds a permission to release in any pool at all; no query but for the permissions."""
    return any(user.has_perm(f"netbox_vlan_manager.{action}_segmentpool") for action in RELEASE_ACTIONS)


def releasable(user):
    """
    Return the condition for the allocations that `user` may release.

    These are all allocations of the pools with `release`, and in pools with `release_own` those that the user or a
    current member of one of the user's groups made.
    """
    everybodys, own = (
        Q(pool__in=SegmentPool.objects.restrict(user, action).order_by().values("pk")) for action in RELEASE_ACTIONS
    )
    return everybodys | own & _allocated_by(user)


def known_allocations(user):
    """Return the allocations that `user` may view, and those that the user or a member of their groups made."""
    viewed = Allocation.objects.restrict(user, "view").order_by().values("pk")
    return Allocation.objects.filter(Q(pk__in=viewed) | _allocated_by(user))


def _allocated_by(user):
    """Return the condition for the allocations that `user` or a member of one of their groups made."""
    colleagues = User.objects.filter(groups__in=user.groups.order_by().values("pk")).order_by().values("pk")
    return Q(allocated_by=user.pk) | Q(allocated_by__in=colleagues)


def pools_permitting(user, action):
    """
    Return the pools in which `user` may do `action`: "allocate", or "release" of at least some allocations.

    `may_release` checks a single allocation.
    """
    if action != "release":
        return SegmentPool.objects.restrict(user, action)
    pools = (SegmentPool.objects.restrict(user, name).order_by().values("pk") for name in RELEASE_ACTIONS)
    return SegmentPool.objects.filter(reduce(or_, (Q(pk__in=pks) for pks in pools)))


def may_release(user, allocation):
    """Return whether `user` may release `allocation`."""
    # Most users have this permission, and its query is the faster one.
    if SegmentPool.objects.restrict(user, "release").filter(pk=allocation.pool_id).exists():
        return True
    return Allocation.objects.filter(releasable(user), pk=allocation.pk).exists()


def check_release(user, allocation):
    """
    Make sure that `user` may release `allocation`.

    Raises:
        PermissionDenied: No object permission grants it.
    """
    if not may_release(user, allocation):
        raise PermissionDenied(
            _(
                "You may not release this allocation; ask for the permission “release” on segment pools, or for "
                "“release_own” if you or your group made it."
            )
        )


def check_renewal(user, allocation, expires_at):
    """
    Make sure that `user`, who may allocate in the pool, may let an active allocation end at `expires_at`.

    An earlier end is a release at that time, and needs the same permission.

    Raises:
        PermissionDenied: No object permission grants it.
    """
    # Pages show the time without a fraction of a second.
    if expires_at and (allocation.expires_at is None or expires_at < allocation.expires_at.replace(microsecond=0)):
        check_release(user, allocation)


def nameable(objects):
    """
    Return those of `objects`, a queryset or manager, that an error may name.

    They are those that the user of the call may view (see `audit.get_viewer`). Errors of the system's own work are for
    administrators, who may view all.
    """
    viewer = audit.get_viewer()
    return objects.all() if viewer is None else objects.restrict(viewer, "view")


def may_import(user):
    """Return whether `user` may import segments at all: add or change any. Which of them is checked with the rows."""
    return any(user.has_perm(f"netbox_vlan_manager.{action}_segment") for action in ("add", "change"))


def permitted_ids(model, user, action, ids):
    """
    Return those of `ids` that are of objects to which `user` may do `action`. It takes one query.

    Args:
        model: The model of the objects.
        user: The User.
        action: What object permissions allow, e.g. "view" or "allocate".
        ids: The ids of the objects.
    """
    return set(model.objects.restrict(user, action).filter(pk__in=ids).order_by().values_list("pk", flat=True))


def check_change_of_others(pools, user, subject):
    """
    Make sure that `user` may change each of the pools that share an object which is about to change.

    Args:
        pools: A queryset of the other SegmentPools.
        user: The User.
        subject: The shared object, such as "VLAN group V". It begins the text of the error.

    Raises:
        PermissionDenied: The user may not change one of them. The error names those that they may view.
    """
    pks = set(pools.order_by().values_list("pk", flat=True))
    refused = pks - permitted_ids(SegmentPool, user, "change", pks)
    if not refused:
        return
    viewed = SegmentPool.objects.restrict(user, "view").filter(pk__in=refused).order_by("name")
    names = [str(pool) for pool in viewed]
    if len(names) < len(refused):
        names.append(_("pools that you may not view"))
    text = _("{subject} is shared with {pools}: ask for the permission to change these too.")
    raise PermissionDenied(text.format(subject=subject, pools=", ".join(names)))
