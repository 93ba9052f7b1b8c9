"""Change tracking for the calls of services: whose changes they are, and under which request."""

import uuid
from contextlib import contextmanager
from functools import partial

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from extras.events import flush_events
from extras.models import CustomField
from netbox.context import current_request, events_queue, query_cache
from netbox.context_managers import event_tracking
from utilities.request import NetBoxFakeRequest

from .. import operations

__all__ = (
    "change_tracking",
    "get_user",
    "get_viewer",
    "is_system",
    "prepare",
)


def get_user(user):
    """
    Return `user`, a User or a user name, as a User.

    Raises:
        ValidationError: There is no user of that name.
    """
    if not isinstance(user, str):
        return user
    User = get_user_model()
    try:
        return User.objects.get(username=user)
    except ObjectDoesNotExist:
        raise ValidationError({"user": _("There is no user {name!r}.").format(name=user)}) from None


@contextmanager
def change_tracking(user):
    """
    Log what the block changes as `user`'s, or as the system's if that is None.

    The changes have the id of the request that is being served, or else one of their own. In the latter case events
    leave when the changes are committed, so that none outlives a rollback of the caller's.
    """
    if current_request.get() is not None:
        yield
        return
    request = NetBoxFakeRequest(
        {
            "META": {},
            "COOKIES": {},
            "POST": {},
            "GET": {},
            "FILES": {},
            "user": user,
            "method": "POST",
            "path": "",
            "path_info": "",
            "id": uuid.uuid4(),
        }
    )
    operations.note(request=request.id)
    with event_tracking(request):
        yield
        events = list(events_queue.get().values())
        events_queue.set({})
    if user is None:
        # NetBox's own events of jobs have no request either. A script would log its changes as the request's user.
        for event in events:
            del event["request"]
    transaction.on_commit(partial(flush_events, events))


def get_viewer():
    """
    Return the User for whom the current call works, who reads its errors; None for the system, and outside of calls.

    It is the user of the request that is being served, or the one of `change_tracking`.
    """
    request = current_request.get()
    return request and request.user


def is_system():
    """Return whether changes are logged as the system's."""
    request = current_request.get()
    return request is not None and request.user is None


def prepare(model, has_custom_fields):
    """
    Fill NetBox's cache, before any lock, with the custom fields of `model`, which NetBox reads when an object is made.

    Args:
        model: The model.
        has_custom_fields: False, if a query has shown that there are none, saves NetBox two statements.
    """
    # NetBox's own cache, which ends with its request.
    known = query_cache.get()["custom_fields"]
    if model in known:
        return
    if has_custom_fields:
        CustomField.objects.get_for_model(model)
    else:
        known[model] = []
