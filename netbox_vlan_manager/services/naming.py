"""What the errors of services may name: no more than whoever they are for may view."""

from netbox.context import current_request

__all__ = ("nameable",)


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
