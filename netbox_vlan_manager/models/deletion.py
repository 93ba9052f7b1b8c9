"""
What stands in the way of a deletion, as the user who deletes may know it.

NetBox names and counts all objects that a ProtectedError lists, in its pages and in REST. So those that the user may
not view are left out where the error is raised, and one stand-in says that there are some.
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
    """Stands for objects that the user may not view, however many there are: all stand-ins are equal."""

    # NetBox puts it in brackets behind each name.
    pk = None

    def __eq__(self, other):
        return isinstance(other, HiddenObjects)

    def __hash__(self):
        return hash(HiddenObjects)

    def __str__(self):
        return _("something that you may not view")


def protected_error(message, objects):
    """Return a ProtectedError that lists those of `objects` which the user of the current request may view."""
    viewed, hidden = get_viewed(objects)
    return ProtectedError(message, [*viewed, HiddenObjects()] if hidden else viewed)


def get_viewed(objects, user=None):
    """
    Return those of `objects`, of any models, that the user may view, and whether there are others.

    Args:
        objects: The objects. One that is no model's stands for hidden ones.
        user: The User; None for that of the current request. The system, which has no user, may view all.
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
    The `on_delete` of what one of our objects cannot be without: Django's PROTECT, without what the user may not view.

    Raises:
        ProtectedError: Always.
    """
    raise protected_error(MESSAGE, sub_objs)


@contextmanager
def name_viewed_only():
    """Leave out of a ProtectedError or RestrictedError of the block what the user may not view."""
    try:
        yield
    except ProtectedError as error:
        raise protected_error(error.args[0], error.protected_objects) from error
    except RestrictedError as error:
        raise protected_error(error.args[0], error.restricted_objects) from error
