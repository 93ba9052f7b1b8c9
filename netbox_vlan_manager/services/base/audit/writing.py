"""Updates and inserts of many objects at once, change-logged as a save() of each."""

import json
from functools import partial

from django.core import serializers
from django.db import connection, transaction
from django.db.models.signals import post_save, pre_save
from django.utils import timezone
from django_prometheus.models import model_inserts, model_updates

from core.choices import ObjectChangeActionChoices
from core.events import OBJECT_CREATED, OBJECT_UPDATED
from core.models import ObjectChange
from core.signals import handle_changed_object
from extras.models import CustomField
from extras.signals import notify_object_changed
from ipam.signals import handle_prefix_saved
from netbox.context import current_request
from netbox.registry import registry
from netbox.search.signals import caching_handler

from .... import branching
from .. import operations
from ..prepared_queries import insert_objects, update_object
from .events import queue_events
from .known import key_of, look_up

__all__ = (
    "call_receivers",
    "create",
    "log_changes",
    "update",
    "write",
)

# The user name in the change log of what the system's jobs do.
SYSTEM = "system"

# The receivers whose work `write` and its callers do, for all objects at once.
REPLACED_RECEIVERS = (handle_changed_object, handle_prefix_saved)


def update(instance, **values):
    """Set `values` on `instance` and save only those, change-logged. Call it under the lock of the instance's row."""
    write(updates=[(instance, values)])


def create(objects):
    """Insert new objects of one model, change-logged (see `write`), and return them."""
    write(creates=objects)
    return objects


@operations.part("write")
def write(updates=(), creates=(), events=()):
    """
    Update some objects and insert others, change-logged, in a transaction of the caller's.

    It stands for a save() of each: custom field defaults, change log, events, notifications, counters, search, and
    every signal receiver that other plugins connect. It takes one statement for each object updated and a fixed number
    for everything else, however many objects are created. The caller validates, locks the rows that are updated, and
    sets the cached depths of prefixes that are created.

    Args:
        updates: (instance, {field name: new value}) pairs; only those fields are written.
        creates: Unsaved instances of one model, without tags.
        events: (instance, event type) pairs with the plugin's own events of what is written.
    """
    if not updates and not creates:
        return
    updated = [instance for instance, _values in updates]
    known = look_up(updated, creates)
    changes = [_update(instance, values, known.tags_of(instance)) for instance, values in updates]
    if creates:
        changes += _create(creates)
    request = current_request.get()
    log_changes(changes, request)

    for instance, values in updates:
        _send_post_save(instance, values, subscribed=key_of(instance) in known.subscribed)
    for instance in creates:
        call_receivers(instance, REPLACED_RECEIVERS, created=True, update_fields=None)

    written = [(instance, OBJECT_UPDATED) for instance in updated]
    written += [(instance, OBJECT_CREATED) for instance in creates]
    queue_events(known, request, written, events)


def log_changes(changes, request):
    """Insert unsaved ObjectChanges, as those of the user of `request`."""
    for change in changes:
        change.user = request.user
        change.user_name = request.user.username if request.user else SYSTEM
        change.request_id = request.id
    insert_objects(changes)
    branching.notice_changes(changes)


def _update(instance, values, tags):
    """Write `values` and return the ObjectChange, not saved yet."""
    model = type(instance)
    names = (*values, "last_updated")
    # A snapshot has the tags, and would ask the database for them.
    instance._prefetched_objects_cache = {**getattr(instance, "_prefetched_objects_cache", {}), "tags": tags}
    instance.snapshot()
    del instance._prefetched_objects_cache["tags"]
    for name, value in values.items():
        setattr(instance, name, value)
    instance.last_updated = timezone.now()
    pre_save.send(sender=model, instance=instance, raw=False, using=connection.alias, update_fields=frozenset(names))
    update_object(instance, names)
    transaction.on_commit(model_updates.labels(model._meta.model_name).inc)

    # The rest of the row is as the snapshot found it, under the caller's lock.
    written = json.loads(serializers.serialize("json", [instance], fields=names))[0]["fields"]
    if "last_updated" not in instance._prechange_snapshot:
        del written["last_updated"]
    instance._postchange_snapshot = {**instance._prechange_snapshot, **written}
    return ObjectChange(
        changed_object=instance,
        object_repr=str(instance)[:200],
        action=ObjectChangeActionChoices.ACTION_UPDATE,
        message=instance._changelog_message or "",
        prechange_data=instance._prechange_snapshot,
        postchange_data=instance._postchange_snapshot,
    )


def _create(objects):
    """Insert `objects` and return their ObjectChanges, not saved yet."""
    model = type(objects[0])
    defaults = CustomField.objects.get_defaults_for_model(model)
    for instance in objects:
        instance.custom_field_data = {**defaults, **instance.custom_field_data}
        pre_save.send(sender=model, instance=instance, raw=False, using=connection.alias, update_fields=None)
    insert_objects(objects)
    transaction.on_commit(partial(model_inserts.labels(model._meta.model_name).inc, len(objects)))

    changes = []
    for instance in objects:
        # A new object has no tags; without this each change would ask the database for them.
        instance._prefetched_objects_cache = {"tags": []}
        changes.append(instance.to_objectchange(ObjectChangeActionChoices.ACTION_CREATE))
        del instance._prefetched_objects_cache["tags"]
    return changes


def _send_post_save(instance, values, subscribed):
    """Call the receivers of post_save but for those whose work is done here and those that have nothing to do."""
    names = frozenset((*values, "last_updated"))
    done = [*REPLACED_RECEIVERS]
    if not subscribed:
        done.append(notify_object_changed)
    if not _is_indexed(instance, names):
        done.append(caching_handler)
    call_receivers(instance, done, created=False, update_fields=names)


def call_receivers(instance, done, signal=post_save, **kwargs):
    """
    Call the receivers of a signal for one object.

    Args:
        instance: The object.
        done: The receivers that are left out.
        signal: The signal.
        kwargs: Its arguments, but for sender, instance and using.
    """
    model = type(instance)
    if signal is post_save:
        kwargs["raw"] = False
    receivers, _async_receivers = signal._live_receivers(model)
    for receiver in receivers:
        if receiver not in done:
            receiver(signal=signal, sender=model, instance=instance, using=connection.alias, **kwargs)


def _is_indexed(instance, names):
    """Whether the global search shows any of the fields."""
    indexer = registry["search"].get(instance._meta.label_lower)
    return indexer is not None and not names.isdisjoint(name for name, _weight in indexer.fields)
