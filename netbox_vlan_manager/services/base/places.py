"""
Places that pools serve: locations, sites, site groups and regions; their keys, their names, and the places around them.

A place's key is (content type id, id). Its text, as an Allocation stores it, is such as "dcim.site:12".
"""

import re

from django.contrib.contenttypes.models import ContentType
from django.db.models import Q

from dcim.models import Location, Region, Site, SiteGroup

__all__ = (
    "PLACE_ID",
    "PLACE_TYPES",
    "clean_id",
    "enclosing_places",
    "key_of",
    "place_condition",
    "place_key",
    "places_around",
    "places_of",
    "type_id_of",
    "typed_name",
    "vrf_condition",
)

SCOPE_MODELS = (Location, Site, SiteGroup, Region)
# The kinds of places by the names that a caller gives with an id, as in "location:5".
PLACE_TYPES = {"location": Location, "site": Site, "site_group": SiteGroup, "region": Region}
PLACE_ID = re.compile(r"(location|site|site_group|region):([0-9]{1,18})", re.ASCII | re.IGNORECASE)


def place_key(key):
    """Return the text of a key, which an Allocation stores for a place, such as "dcim.site:12"."""
    type_id, pk = key
    return f"{ContentType.objects.get_for_id(type_id).model_class()._meta.label_lower}:{pk}"


def key_of(place):
    """Return the key of a place."""
    return type_id_of(type(place)), place.pk


def type_id_of(model):
    """Return the content type id of a model; Django keeps it in memory."""
    return ContentType.objects.get_for_model(model).pk


def typed_name(type_id, pk):
    """Return the unique name of a place, such as "site_group:7"."""
    model = ContentType.objects.get_for_id(type_id).model_class()
    return next(f"{name}:{pk}" for name, named in PLACE_TYPES.items() if named is model)


def clean_id(value):
    """Return `value` as an id that the database can have, or None."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) <= 18):
        return None
    return int(value) if 0 <= int(value) < 2**63 else None


def place_condition(kind, text):
    """Return the condition for the places that a text names in `resolve_pool`, of one of the kinds PLACE_TYPES."""
    if typed := PLACE_ID.fullmatch(text):
        return Q(pk=int(typed[2])) if typed[1].lower() == kind else Q(pk__in=())
    condition = Q(slug__iexact=text) | Q(name__iexact=text)
    number = clean_id(text) if kind == "site" else None
    return condition if number is None else condition | Q(pk=number)


def vrf_condition(text):
    """Return the condition for the VRFs that a text names in `resolve_pool`."""
    condition = Q(name__iexact=text) | Q(rd__iexact=text)
    number = clean_id(text)
    return condition if number is None else condition | Q(pk=number)


def places_of(keys):
    """Return the places of `keys`; one query for each kind of place."""
    return [
        place
        for model in SCOPE_MODELS
        if (pks := [pk for type_id, pk in keys if type_id == type_id_of(model)])
        for place in model.objects.filter(pk__in=pks)
    ]


def enclosing_places(place):
    """Yield the places around `place`, the nearest first."""
    if isinstance(place, Location):
        yield from _ancestors(place)
        yield place.site
        place = place.site
    if isinstance(place, Site):
        for outer in (place.group, place.region):
            if outer:
                yield outer
                yield from _ancestors(outer)
    else:
        yield from _ancestors(place)


def places_around(keys):
    """Return the keys (see `place_key`) of these places and of those around them, the nearest first."""
    ids = {}
    for label, pk in (key.split(":") for key in keys):
        ids.setdefault(label, []).append(int(pk))
    around = []
    for model in SCOPE_MODELS:
        for place in model.objects.filter(pk__in=ids.get(model._meta.label_lower, ())):
            around += [place_key(key_of(outer)) for outer in (place, *enclosing_places(place))]
    return around


def _ancestors(node):
    """Return the ancestors of a tree node, the nearest first."""
    return node.get_ancestors(ascending=True) if node.parent_id else ()
