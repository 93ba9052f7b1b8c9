"""
Checks the names in the body and the query string of a call.

An unknown name is an error: if a field or a flag such as `dry_run` were ignored, the call would do something else than
the client asked for.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice

from django.urls import reverse
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.permissions import SAFE_METHODS

__all__ = (
    "ANSWER_SHAPE",
    "FLAGS",
    "FORM_TOKEN",
    "NoBodySerializer",
    "RequestSerializer",
    "check_names",
    "check_query",
    "clean_body",
    "find_near",
    "read_flags",
    "refuse_other_calls",
    "writable_names",
)

# Query parameters that shape the answer of a viewset.
ANSWER_SHAPE = ("brief", "fields", "omit")
# Query parameters of every read: some clients add "_" so that no cache answers.
ANY_READ = ("format", "_")
# Query parameters of every other call; "background" has an error of its own where there is no job.
ANY_WRITE = ("format", "background")
# A browser adds it to a form.
FORM_TOKEN = "csrfmiddlewaretoken"
# {unknown name: names that the client may have meant}
SYNONYMS = {
    "vlan_id": ("vid",),
    "vlan": ("vid", "vid_ranges"),
    "vid": ("vlan_id",),
    "cluster": ("cluster_name", "cluster_names"),
    "name": ("cluster_name",),
    "location": ("site",),
    "sites": ("site",),
    "pools": ("pool", "pool_id"),
    "check": ("dry_run",),
    "preview": ("dry_run",),
}
FLAGS = frozenset({"atomic", "dry_run", "dryrun"})
# Names that calls of the plugin know, and that NetBox's own calls would ignore unless they have such a field.
OTHER_CALLS = frozenset(
    {
        *FLAGS,
        "all",
        "cluster_name",
        "cluster_names",
        "count",
        "expires_at",
        "into",
        "items",
        "pools",
        "prefix_length",
        "purpose",
        "reason",
        "remove_segments",
        "rows",
        "segment",
        "site",
        "sites",
        "vid_max",
        "vid_min",
        "vlan_id",
    }
)
# How many unknown names an error lists.
LISTED = 20
# How many known names an error lists. Lists have hundreds of filters.
LISTED_KNOWN = 50


def check_names(names, known):
    """
    Make sure that a call knows all `names`.

    Raises:
        ValidationError: Keyed by the unknown names; each error says which name may be meant and which are known.
    """
    unknown = list(islice((name for name in names if name not in known), LISTED))
    if unknown:
        raise serializers.ValidationError({name: [_describe(name, known)] for name in unknown})


def find_near(name, known):
    """Return the known name that an unknown one may stand for, or None."""
    meant = [other for other in SYNONYMS.get(name, ()) if other in known]
    meant += get_close_matches(name.lower().replace("-", "_")[:100], known, n=1, cutoff=0.7)
    return meant[0] if meant else None


def _describe(name, known):
    if not known:
        return _("This call does not know this name; it takes none.")
    texts = [_("This call does not know this name.")]
    if near := find_near(name, known):
        texts.append(_("Did you mean {meant}?").format(meant=near))
    if len(known) > LISTED_KNOWN:
        texts.append(_("Its parameters are listed at {url}.").format(url=reverse("api_docs")))
    else:
        texts.append(_("It knows: {known}.").format(known=", ".join(sorted(known))))
    return " ".join(texts)


def check_query(request, known):
    """
    Make sure that a call knows all names in its query string.

    Args:
        request: The request.
        known: The names that this call knows, in addition to those of every call.

    Raises:
        ValidationError: As `check_names` does.
    """
    if request.method == "OPTIONS":
        return
    common = ANY_READ if request.method in SAFE_METHODS else ANY_WRITE
    check_names([name for name in request.query_params if name not in common], known)


def read_flags(request, names, given):
    """
    Return {name: True or False} of the flags in the query string, the body or both.

    Args:
        request: The request; None if there is none, and so no query string.
        names: The flags that the call knows.
        given: The body, a dictionary.

    Raises:
        ValidationError: Keyed by flag: a value is no boolean, or the flag is given both as true and as false.
    """
    flags, errors = {}, {}
    query = getattr(request, "query_params", None)
    for name in names:
        values = [*(query.getlist(name) if query is not None else ()), *([given[name]] if name in given else ())]
        try:
            read = {serializers.BooleanField().run_validation(value) for value in values}
        except serializers.ValidationError:
            errors[name] = [_("Give true or false.")]
            continue
        if len(read) > 1:
            errors[name] = [_("This is given as true and as false: give it once.")]
        elif read:
            flags[name] = read.pop()
    if errors:
        raise serializers.ValidationError(errors)
    return flags


def clean_body(data, known, flags=(), request=None):
    """
    Return the body of a call with the flags of its query string added.

    Args:
        data: The body; anything but a dictionary is left to the serializer.
        known: The names that the body may have.
        flags: The `known` names that the query string may have as well.
        request: The request; None if there is none.

    Raises:
        ValidationError: As `check_names` and `read_flags` do.
    """
    if not isinstance(data, Mapping):
        return data
    check_names([name for name in data if _first_part(name) not in {*known, FORM_TOKEN}], known)
    given = read_flags(request, [name for name in flags if name in known], data)
    if given:
        data = data.copy()
        for name, value in given.items():
            data[name] = value
    return data


def refuse_other_calls(data, known):
    """
    Make sure that the body of a call of NetBox's own has no name of another call of the plugin.

    NetBox's own calls ignore unknown names.

    Raises:
        ValidationError: As `check_names` does.
    """
    if isinstance(data, Mapping):
        check_names([name for name in data if name in OTHER_CALLS and name not in known], known)


def _first_part(name):
    """Return the field of a form's name: `field.part` is a part of an object, `field[0]` of a list."""
    return re.split(r"[.\[]", name)[0]


class RequestSerializer(serializers.Serializer):
    """
    The body of one of the plugin's own calls.

    Attributes:
        flags: The boolean fields that the query string may have as well.
    """

    flags = ("dry_run",)

    def to_internal_value(self, data):
        return super().to_internal_value(
            clean_body(data, writable_names(self), self.flags, self.context.get("request"))
        )


class NoBodySerializer(RequestSerializer):
    """The empty body of a call without arguments."""


def writable_names(serializer):
    """Return the names of the fields that a client may send."""
    return {name for name, field in serializer.fields.items() if not field.read_only}
