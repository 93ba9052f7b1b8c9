"""
Errors that refuse a deletion and name only objects that the user may view.

NetBox names and counts all objects of a ProtectedError, in its pages and in REST. So the error is raised without the
objects that the user may not view; one stand-in says that there are some.
"""

from contextlib import contextmanager

from django.db.models import ProtectedError, RestrictedError
from django.utils.translation import gettext as _

from netbox.context import current_request

__all__ = (
    "HiddenObjects",
    "get_viewed",
    "name_viewed_only",
    "protect",
    "protected_error",
)

MESSAGE = "Objects of VLAN Manager use it."


class HiddenObjects:
    """Stand-in for any number of objects that the user may not view. All stand-ins are equal."""

    # NetBox shows it in brackets after each name.
    pk = None

    def __eq__(self, other):
        return isinstance(other, HiddenObjects)

    def __hash__(self):
        return hash(HiddenObjects)

    def __str__(self):
        return _("something that you may not view")


def protected_error(message, objects):
    """Return a ProtectedError with those of `objects` that the user of the current request may view."""
    viewed, hidden = get_viewed(objects)
    return ProtectedError(message, [*viewed, HiddenObjects()] if hidden else viewed)


def get_viewed(objects, user=None):
    """
    Return the `objects` that the user may view, as a list, and whether there are others.

    Args:
        objects: Objects of any models; a HiddenObjects means that there are others.
        user: The User; None for the user of the current request. Without either, all objects may be viewed.
    """
    request = current_request.get()
    user = user or (request and request.user)
    by_model, hidden = {}, False
    for instance in objects:
        if isinstance(instance, HiddenObjects):
            hidden = True
        else:
            by_model.setdefault(type(instance), []).append(instance)
    viewed = []
    for model, instances in by_model.items():
        queryset = model._default_manager
        if user is not None and hasattr(queryset, "restrict"):
            pks = set(
                queryset.restrict(user, "view")
                .filter(pk__in=[instance.pk for instance in instances])
                .order_by()
                .values_list("pk", flat=True)
            )
            hidden = hidden or len(pks) < len({instance.pk for instance in instances})
            instances = [instance for instance in instances if instance.pk in pks]
        viewed += instances
    return viewed, hidden


def protect(collector, field, sub_objs, using):
    """
    An `on_delete`: Django's PROTECT, but the error leaves out objects that the user may not view.

    Raises:
        ProtectedError: Always.
    """
    raise protected_error(MESSAGE, sub_objs)


@contextmanager
def name_viewed_only():
    """Leave out of a ProtectedError or RestrictedError of the block the objects that the user may not view."""
    try:
        yield
    except ProtectedError as error:
        raise protected_error(error.args[0], error.protected_objects) from error
    except RestrictedError as error:
        raise protected_error(error.args[0], error.restricted_objects) from error
