"""What other tables say about objects that are written: their tags, subscriptions and event rules."""

from dataclasses import dataclass

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from extras.models import EventRule, Subscription, Tag, TaggedItem

__all__ = (
    "Known",
    "key_of",
    "look_up",
)

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


@dataclass(frozen=True)
class Known:
    """
    What other tables say about objects, by the keys of the objects (see `key_of`).

    `tags` are {key: names of its tags}; `subscribed` are the keys of the objects that somebody is subscribed to;
    `types_with_rules` are the ids of the content types that an event rule is for.
    """

    tags: dict
    subscribed: set
    types_with_rules: set

    def tags_of(self, instance):
        """Return the tags of an object as unsaved Tags, which is enough for the change log."""
        return [Tag(name=name) for name in self.tags.get(key_of(instance), ())]

    def wants_events(self, instance):
        """Whether an event of `instance` has a reader: an event rule, or a stage that another plugin added."""
        return list(settings.EVENTS_PIPELINE) != DEFAULT_EVENTS_PIPELINE or key_of(instance)[0] in self.types_with_rules


def key_of(instance):
    """Return (content type id, primary key) of an object."""
    return ContentType.objects.get_for_model(instance).pk, instance.pk


def look_up(updated, created):
    """
    Return what is Known about objects, in one statement where NetBox's own code makes one or more for each object.

    It is raw SQL for this reason: no ORM query spans these tables.

    Args:
        updated: Objects that the database has, of any models.
        created: New objects of one model.
    """
    keys = [key_of(instance) for instance in updated]
    types = sorted({key_of(instance)[0] for instance in (*updated, *created[:1])})
    with connection.cursor() as cursor:
        cursor.execute(
            LOOK_UP.format(keys=", ".join(["(%s, %s)"] * len(keys)) or "(NULL, NULL)"),
            [*(part for key in keys for part in key)] * 2 + [types],
        )
        rows = cursor.fetchall()
    known = Known(tags={}, subscribed=set(), types_with_rules=set())
    for kind, content_type, pk, name in rows:
        if kind == "tag":
            known.tags.setdefault((content_type, pk), []).append(name)
        elif kind == "subscription":
            known.subscribed.add((content_type, pk))
        else:
            known.types_with_rules.add(content_type)
    return known
