"""Events of what is written and deleted, NetBox's own and the plugin's."""

from core.models import ObjectType
from extras.events import EventContext, enqueue_event, get_snapshots
from netbox.context import current_request, events_queue

from .known import look_up

__all__ = (
    "announce",
    "queue_events",
)


def announce(events):
    """
    Queue events of the plugin for objects that `write` did not write. The caller tracks changes.

    They leave with the request's other events, or when the transaction is committed.

    Args:
        events: (instance, event type) pairs.
    """
    known = look_up([instance for instance, _event_type in events], ())
    queue_events(known, current_request.get(), own=events)


def queue_events(known, request, events=(), own=()):
    """
    Queue events of objects that somebody wants to know of.

    Args:
        known: The Known of the objects.
        request: The request under which they were written.
        events: (instance, event type) pairs with NetBox's types.
        own: The same with the plugin's types, which come after those.
    """
    queue = events_queue.get()
    for instance, event_type in events:
        if known.wants_events(instance):
            enqueue_event(queue, instance, request, event_type)
    for instance, event_type in own:
        if known.wants_events(instance):
            _enqueue(queue, instance, request, event_type)
    events_queue.set(queue)


def _enqueue(queue, instance, request, event_type):
    """Queue an event of one of the plugin's types: NetBox's own `enqueue_event` keeps one event for an object."""
    queue[f"{instance._meta.label_lower}:{instance.pk}:{event_type}"] = EventContext(
        object_type=ObjectType.objects.get_for_model(instance),
        object_id=instance.pk,
        object=instance,
        event_type=event_type,
        snapshots=get_snapshots(instance, event_type),
        request=request,
        user=request.user,
    )
