"""
The change log of the services: every write is logged with its user and request id, for all callers.

REST and the web pages bring a request, and with it NetBox's change tracking. Commands, jobs and nbshell do not; for
them `change_tracking` makes one. Objects are written through `write`, which does in a few statements what save() does
one by one, and logs the same.
"""

import json
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core import serializers
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import connection, transaction
from django.db.models import ManyToManyRel, ManyToOneRel
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.utils import timezone
from django.utils.translation import gettext as _
from django_prometheus.models import model_deletes, model_inserts, model_updates

from core.choices import ObjectChangeActionChoices
from core.events import OBJECT_CREATED, OBJECT_DELETED, OBJECT_UPDATED
from core.models import ObjectChange, ObjectType
from core.signals import _signals_received, handle_changed_object, handle_deleted_object
from extras.events import EventContext, enqueue_event, flush_events, get_snapshots
from extras.models import CustomField, EventRule, Subscription, Tag, TaggedItem
from extras.signals import notify_object_changed
from extras.utils import run_validators
from ipam.signals import handle_prefix_deleted, handle_prefix_saved
from netbox.config import get_config
from netbox.context import current_request, events_queue, query_cache
from netbox.context_managers import event_tracking
from netbox.models.features import ChangeLoggingMixin
from netbox.registry import registry
from netbox.search.signals import caching_handler
from utilities.data import get_config_value_ci
from utilities.exceptions import AbortRequest
from utilities.request import NetBoxFakeRequest

from ... import branching
from . import operations
from .prepared_queries import insert_objects, update_object

__all__ = (
    "announce",
    "change_tracking",
    "create",
    "delete",
    "get_user",
    "prepare",
    "update",
    "write",
)

# Whom the change log names for what the system's jobs do.
SYSTEM = "system"

# What `write` and its callers do themselves, for all objects at once.
REPLACED_RECEIVERS = (handle_changed_object, handle_prefix_saved)

OWN_SIGNALS = "netbox_vlan_manager.signals"

DEFAULT_EVENTS_PIPELINE = ["extras.events.process_event_queue"]

LOOK_UP = f"""
SELECT 'tag', item.content_type_id, item.object_id, tag.name
FROM {TaggedItem._meta.db_table} AS item JOIN {Tag._meta.db_table} AS tag ON tag.id = item.tag_id
WHERE (item.content_type_id, item.object_id) IN ({{keys}})
UNION ALL
SELECT 'subscription', object_type_id, object_id, NULL
FROM {Subscription._meta.db_table}
WHERE (object_type_id, object_id) IN ({{keys}})
UNION ALL
SELECT DISTINCT 'event rule', link.contenttype_id, NULL::bigint, NULL
FROM {EventRule._meta.db_table} AS rule
JOIN {EventRule.object_types.through._meta.db_table} AS link ON link.eventrule_id = rule.id
WHERE rule.enabled AND link.contenttype_id = ANY (%s)
"""


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

    It goes under the request that is being served, or else a request id of its own. In the latter case events leave
    when the changes are committed, so that none outlives a rollback of the caller's.
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
        # NetBox's own events of jobs have no request either. A script would log its changes as that request's user.
        for event in events:
            del event["request"]
    transaction.on_commit(partial(flush_events, events))


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
    every signal receiver that other plugins connect. The statements are one for each object updated and a fixed number
    for all else, however many are created. What is left to the caller is validation, the locks of the rows updated, and
    the cached depths of prefixes created.

    Args:
        updates: (instance, {field name: new value}) pairs; only those fields are written.
        creates: Unsaved instances of one model, without tags.
        events: (instance, event type) pairs of what is written: what it means, beside that it was created or updated.
    """
    if not updates and not creates:
        return
    updated = [instance for instance, _values in updates]
    known = _look_up(updated, creates)
    changes = []
    for instance, values in updates:
        tags = [Tag(name=name) for name in known.tags.get(_key(instance), ())]
        changes.append(_update(instance, values, tags))
    if creates:
        changes += _create(creates)
    request = current_request.get()
    for change in changes:
        change.user = request.user
        change.user_name = request.user.username if request.user else SYSTEM
        change.request_id = request.id
    insert_objects(changes)
    branching.notice_changes(changes)

    for instance, values in updates:
        _send_post_save(instance, values, subscribed=_key(instance) in known.subscribed)
    for instance in creates:
        _call_receivers(instance, REPLACED_RECEIVERS, created=True, update_fields=None)

    queue = events_queue.get()
    for instances, event_type in ((updated, OBJECT_UPDATED), (creates, OBJECT_CREATED)):
        for instance in instances:
            if known.wants_events(instance):
                enqueue_event(queue, instance, request, event_type)
    for instance, event_type in events:
        if known.wants_events(instance):
            _enqueue(queue, instance, request, event_type)
    events_queue.set(queue)


@operations.part("delete")
def delete(objects):
    """
    Delete objects of one model, change-logged, in a transaction of the caller's.

    It stands for a delete() of each, with a fixed number of statements for all that nothing else refers to. What is
    left to the caller are the rules of `guards`, what a segment owns, and the child counts of prefixes around those
    deleted.

    Raises:
        ProtectedError: Something else uses one of them.
        AbortRequest: A protection rule of NetBox's forbids it.
    """
    model, request = type(objects[0]), current_request.get()
    referenced = _referenced(objects)
    if referenced and request.user is None:
        raise AbortRequest(
            _("Other objects refer to {type}: delete it as a user, whom their change log can name.").format(
                type=model._meta.verbose_name
            )
        )
    alone = [instance for instance in objects if instance.pk not in referenced]
    for instance in objects:
        if instance.pk in referenced:
            instance.delete()
    objects = alone
    if not objects:
        return
    collector = Collector(using=connection.alias, origin=objects)
    collector.collect(objects)
    del collector.data[model]
    # Journal entries, contacts and the like. NetBox's own receiver cannot log what the system does.
    related = [one for found in collector.data.values() for one in found if isinstance(one, ChangeLoggingMixin)]
    known = _look_up([*objects, *related], ())
    rules = get_config_value_ci(get_config().PROTECTION_RULES, model._meta.label_lower, default=[])
    changes = []
    for instance in (*objects, *related):
        if rules and type(instance) is model:
            _check_protection(instance, rules)
        instance._prefetched_objects_cache = {"tags": [Tag(name=name) for name in known.tags.get(_key(instance), ())]}
        instance.snapshot()
        change = instance.to_objectchange(ObjectChangeActionChoices.ACTION_DELETE)
        change.user = request.user
        change.user_name = request.user.username if request.user else SYSTEM
        change.request_id = request.id
        changes.append(change)
    done = (handle_deleted_object, handle_prefix_deleted, *_own_receivers(model))
    for instance in objects:
        quiet = () if _key(instance) in known.subscribed else (notify_object_changed,)
        _call_receivers(instance, (*done, *quiet), pre_delete, origin=instance)
    insert_objects(changes)
    branching.notice_changes(changes)
    _note_as_deleted(related)
    collector.delete()
    model._base_manager.filter(pk__in=[instance.pk for instance in objects])._raw_delete(connection.alias)
    queue = events_queue.get()
    for instance in objects:
        _call_receivers(instance, done, post_delete, origin=instance)
    for instance in (*objects, *related):
        if known.wants_events(instance):
            enqueue_event(queue, instance, request, OBJECT_DELETED)
    events_queue.set(queue)
    transaction.on_commit(partial(model_deletes.labels(model._meta.model_name).inc, len(objects)))


def _note_as_deleted(instances):
    """Tell NetBox's receiver of deletions that it has seen these."""
    if not hasattr(_signals_received, "pre_delete"):
        _signals_received.pre_delete = set()
    _signals_received.pre_delete.update(
        (ContentType.objects.get_for_model(instance), instance.pk) for instance in instances
    )


def _referenced(objects):
    """Return the ids of those `objects` of one model whose deletion changes or is refused by other logged objects."""
    pks, referenced = [instance.pk for instance in objects], set()
    for relation in type(objects[0])._meta.related_objects:
        # As NetBox has it: the other end of a one-to-one relation is the caller's matter.
        if type(relation) in (ManyToOneRel, ManyToManyRel) and issubclass(relation.related_model, ChangeLoggingMixin):
            name = relation.remote_field.name
            others = relation.related_model._base_manager.filter(**{f"{name}__in": pks}).order_by()
            referenced.update(others.values_list(name, flat=True))
    return referenced.intersection(pks)


def _check_protection(instance, rules):
    try:
        run_validators(instance, rules)
    except ValidationError as error:
        raise AbortRequest(_("Deletion is prevented by a protection rule: {message}").format(message=error)) from error


def _own_receivers(model):
    """Return the plugin's own receivers of deletions; each keeps a rule that the caller has kept already."""
    receivers = [receiver for signal in (pre_delete, post_delete) for receiver in signal._live_receivers(model)[0]]
    return [receiver for receiver in receivers if receiver.__module__ == OWN_SIGNALS]


def announce(events):
    """
    Queue (instance, event type) pairs of what was not written by `write`. Call it where changes are tracked.

    They leave with the request's other events, or when the transaction is committed.
    """
    known = _look_up([instance for instance, _event_type in events], ())
    queue = events_queue.get()
    for instance, event_type in events:
        if known.wants_events(instance):
            _enqueue(queue, instance, current_request.get(), event_type)
    events_queue.set(queue)


def _enqueue(queue, instance, request, event_type):
    """
    Queue an event of one of our types. NetBox's own `enqueue_event` keeps one event for an object.
    """
    queue[f"{instance._meta.label_lower}:{instance.pk}:{event_type}"] = EventContext(
        object_type=ObjectType.objects.get_for_model(instance),
        object_id=instance.pk,
        object=instance,
        event_type=event_type,
        snapshots=get_snapshots(instance, event_type),
        request=request,
        user=request.user,
    )


@dataclass(frozen=True)
class _Known:
    """What other tables say about the objects written, which are named by (content type id, primary key)."""

    tags: dict
    subscribed: set
    types_with_rules: set

    def wants_events(self, instance):
        """Whether anything would look at an event of `instance`: an event rule, or a stage that a plugin added."""
        return list(settings.EVENTS_PIPELINE) != DEFAULT_EVENTS_PIPELINE or _key(instance)[0] in self.types_with_rules


def _key(instance):
    return ContentType.objects.get_for_model(instance).pk, instance.pk


def _look_up(updated, created):
    """
    Return what is _Known about objects, in one statement where NetBox's own code makes one or more for each object.

    It is raw SQL because of that: no ORM query spans these tables.
    """
    keys = [_key(instance) for instance in updated]
    types = sorted({_key(instance)[0] for instance in (*updated, *created[:1])})
    with connection.cursor() as cursor:
        cursor.execute(
            LOOK_UP.format(keys=", ".join(["(%s, %s)"] * len(keys)) or "(NULL, NULL)"),
            [*(part for key in keys for part in key)] * 2 + [types],
        )
        rows = cursor.fetchall()
    known = _Known(tags={}, subscribed=set(), types_with_rules=set())
    for kind, content_type, pk, name in rows:
        if kind == "tag":
            known.tags.setdefault((content_type, pk), []).append(name)
        elif kind == "subscription":
            known.subscribed.add((content_type, pk))
        else:
            known.types_with_rules.add(content_type)
    return known


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

    # The rest of the row is as the snapshot found it a moment ago, under the caller's lock.
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
        # Nothing just made has tags; without this each change would ask the database for them.
        instance._prefetched_objects_cache = {"tags": []}
        changes.append(instance.to_objectchange(ObjectChangeActionChoices.ACTION_CREATE))
        del instance._prefetched_objects_cache["tags"]
    return changes


def _send_post_save(instance, values, subscribed):
    """Call the receivers of post_save whose work is not done here, or for which there is none."""
    names = frozenset((*values, "last_updated"))
    done = [*REPLACED_RECEIVERS]
    if not subscribed:
        done.append(notify_object_changed)
    if not _is_indexed(instance, names):
        done.append(caching_handler)
    _call_receivers(instance, done, created=False, update_fields=names)


def _call_receivers(instance, done, signal=post_save, **kwargs):
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
