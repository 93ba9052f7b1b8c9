"""
The change log of the services: every write is logged with its user and request id, whoever calls.

REST and the web pages bring a request, and with it NetBox's change tracking. Commands, jobs and nbshell do not; for
them `change_tracking` makes one. Writing many objects goes through `create`, which does in a few statements what save()
does one by one.
"""

import uuid
from contextlib import contextmanager
from functools import partial

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import connection, transaction
from django.db.models.signals import post_save, pre_save
from django.utils.translation import gettext as _
from django_prometheus.models import model_inserts

from core.choices import ObjectChangeActionChoices
from core.events import OBJECT_CREATED
from core.models import ObjectChange
from core.signals import handle_changed_object
from extras.events import enqueue_event, flush_events
from extras.models import CustomField, Tag
from ipam.signals import handle_prefix_saved
from netbox.context import current_request, events_queue
from netbox.context_managers import event_tracking
from utilities.request import NetBoxFakeRequest

__all__ = (
    "change_tracking",
    "create",
    "get_user",
    "update",
)

BATCH_SIZE = 1000

# What `create` and its callers do themselves, for all objects at once.
REPLACED_RECEIVERS = (handle_changed_object, handle_prefix_saved)


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
    Log what the block changes as `user`'s, under the request that is being served or else a request id of its own.

    In the latter case events leave when the changes are committed, so that none outlives a rollback of the caller's.
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
    with event_tracking(request):
        yield
        if connection.in_atomic_block:
            events = list(events_queue.get().values())
            events_queue.set({})
            transaction.on_commit(partial(flush_events, events))


def update(instance, **values):
    """Set `values` on `instance` and save only those, change-logged. Call it under the lock of the instance's row."""
    instance.snapshot()
    for name, value in values.items():
        setattr(instance, name, value)
    instance.save(update_fields=(*values, "last_updated"))


def create(objects):
    """
    Insert new objects of one model, change-logged, with a number of statements that does not grow with theirs.

    It stands for a save() of each: custom field defaults, change log, events, counters, search, and every signal
    receiver that other plugins connect. What is left to the caller is validation, and the cached depths of prefixes.

    Args:
        objects: Unsaved instances of one model, without tags.

    Returns:
        The same list, with primary keys.
    """
    if not objects:
        return objects
    model = type(objects[0])
    request = current_request.get()
    defaults = CustomField.objects.get_defaults_for_model(model)
    for instance in objects:
        instance.custom_field_data = {**defaults, **instance.custom_field_data}
        pre_save.send(sender=model, instance=instance, raw=False, using=connection.alias, update_fields=None)
    model.objects.bulk_create(objects, batch_size=BATCH_SIZE)

    changes = []
    for instance in objects:
        # Nothing just made has tags; without this each change would ask the database for them.
        instance._prefetched_objects_cache = {"tags": Tag.objects.none()}
        change = instance.to_objectchange(ObjectChangeActionChoices.ACTION_CREATE)
        change.user = request.user
        change.user_name = request.user.username
        change.request_id = request.id
        changes.append(change)
    ObjectChange.objects.bulk_create(changes, batch_size=BATCH_SIZE)

    queue = events_queue.get()
    for instance in objects:
        enqueue_event(queue, instance, request, OBJECT_CREATED)
    events_queue.set(queue)
    model_inserts.labels(model._meta.model_name).inc(len(objects))

    receivers, _async_receivers = post_save._live_receivers(model)
    for instance in objects:
        del instance._prefetched_objects_cache["tags"]
        for receiver in receivers:
            if receiver not in REPLACED_RECEIVERS:
                receiver(
                    signal=post_save,
                    sender=model,
                    instance=instance,
                    created=True,
                    raw=False,
                    using=connection.alias,
                    update_fields=None,
                )
    return objects
