"""Deletion of many objects at once, change-logged."""

from functools import partial

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import ManyToManyRel, ManyToOneRel
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, pre_delete
from django.utils.translation import gettext as _
from django_prometheus.models import model_deletes

from core.choices import ObjectChangeActionChoices
from core.events import OBJECT_DELETED
from core.signals import _signals_received, handle_deleted_object
from extras.signals import notify_object_changed
from extras.utils import run_validators
from ipam.signals import handle_prefix_deleted
from netbox.config import get_config
from netbox.context import current_request
from netbox.models.features import ChangeLoggingMixin
from utilities.data import get_config_value_ci
from utilities.exceptions import AbortRequest

from .. import operations
from .events import queue_events
from .known import key_of, look_up
from .writing import call_receivers, log_changes

__all__ = (
    "delete",
    "skipped_by_delete",
)


# The receivers of deletions that `delete` leaves out (see `skipped_by_delete`).
_skipped = []


def skipped_by_delete(receiver):
    """Have `delete` leave out a receiver of deletions, whose rule its callers keep; return the receiver."""
    _skipped.append(receiver)
    return receiver


@operations.part("delete")
def delete(objects):
    """
    Delete objects of one model, change-logged, in a transaction of the caller's.

    It stands for a delete() of each, with a fixed number of statements for all that nothing else refers to. The caller
    keeps the rules of `guards`, deletes what a segment owns, and sets the child counts of prefixes around those
    deleted.

    Raises:
        ProtectedError: Something else uses one of them.
        AbortRequest: A protection rule of NetBox's forbids it.
    """
    model, request = type(objects[0]), current_request.get()
    referenced = _referenced(objects)
    if referenced and request.user is None:
        raise AbortRequest(
            _("Other objects refer to {type}: delete it as a user, so that their change log names one.").format(
                type=model._meta.verbose_name
            )
        )
    alone = [instance for instance in objects if instance.pk not in referenced]
    for instance in objects:
        if instance.pk in referenced:
            instance.delete()
    if alone:
        _delete_together(alone, request)


def _delete_together(objects, request):
    """Delete objects of one model to which no other logged object refers, with what belongs to them."""
    model = type(objects[0])
    collector = Collector(using=connection.alias, origin=objects)
    collector.collect(objects)
    del collector.data[model]
    # Journal entries, contacts and the like. NetBox's own receiver cannot log what the system does.
    related = [one for found in collector.data.values() for one in found if isinstance(one, ChangeLoggingMixin)]
    known = look_up([*objects, *related], ())
    changes = _changes_of(objects, related, known)
    done = (handle_deleted_object, handle_prefix_deleted, *_skipped)
    for instance in objects:
        quiet = () if key_of(instance) in known.subscribed else (notify_object_changed,)
        call_receivers(instance, (*done, *quiet), pre_delete, origin=instance)
    log_changes(changes, request)
    _note_as_deleted(related)
    collector.delete()
    model._base_manager.filter(pk__in=[instance.pk for instance in objects])._raw_delete(connection.alias)
    for instance in objects:
        call_receivers(instance, done, post_delete, origin=instance)
    queue_events(known, request, [(instance, OBJECT_DELETED) for instance in (*objects, *related)])
    transaction.on_commit(partial(model_deletes.labels(model._meta.model_name).inc, len(objects)))


def _changes_of(objects, related, known):
    """Return the unsaved ObjectChanges of objects that go; raises an AbortRequest where a rule protects one."""
    model = type(objects[0])
    rules = get_config_value_ci(get_config().PROTECTION_RULES, model._meta.label_lower, default=[])
    changes = []
    for instance in (*objects, *related):
        if rules and type(instance) is model:
            _check_protection(instance, rules)
        instance._prefetched_objects_cache = {"tags": known.tags_of(instance)}
        instance.snapshot()
        changes.append(instance.to_objectchange(ObjectChangeActionChoices.ACTION_DELETE))
    return changes


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
        # As in NetBox, the caller deletes or detaches the other end of a one-to-one relation.
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
