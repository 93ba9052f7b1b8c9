"""What users may do to objects, and what errors may name: no more than whoever they are for may view."""

from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _

from netbox.context import current_request

from ..models import SegmentPool

__all__ = (
    "may_import",
    "check_change_of_others",
    "nameable",
    "permitted_ids",
)


def nameable(objects):
    """
    Return those of `objects`, a queryset or manager, that an error may name.

    An error is for the user of the request that is served, or as whom a service works (see `audit.change_tracking`).
    What the system does by itself it tells to those who run it.
    """
    request = current_request.get()
    if request is None or request.user is None:
        return objects.all()
    return objects.restrict(request.user, "view")


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
    Make sure that `user` may change each of the pools that live from what is about to change.

    Args:
        pools: A queryset of SegmentPools, those beside the one that is changed.
        user: The User.
        subject: What they live from, such as "VLAN group V". It begins the text of the error.

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
