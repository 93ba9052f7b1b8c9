"""What users may do to objects, and what errors may name: no more than whoever they are for may view."""

from netbox.context import current_request

__all__ = (
    "may_import",
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
