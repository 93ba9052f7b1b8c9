"""
The names that a call knows in its body and in its query string.

Any other is an error: a field or a flag, such as `dry_run`, that is ignored does something else than was asked for.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice

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
    "read_flags",
    "refuse_other_calls",
    "writable_names",
)

# What shapes the answer of a viewset.
ANSWER_SHAPE = ("brief", "fields", "omit")
# What any read may have in its query string: some clients add the second so that no cache answers.
ANY_READ = ("format", "_")
# And any other call; where there is no job, the second has an error of its own.
ANY_WRITE = ("format", "background")
# What a browser adds to a form.
FORM_TOKEN = "csrfmiddlewaretoken"
# Other words for what calls know.
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
# What means something to a call of the plugin's, and to NetBox's own calls only where they have such a field.
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


def check_names(names, known):
    """
    Make sure that a call knows all the names that it is given.

    Raises:
        ValidationError: Keyed by the unknown names; each error lists those that the call knows.
    """
    unknown = list(islice((name for name in names if name not in known), LISTED))
    if unknown:
        raise serializers.ValidationError({name: [_describe(name, known)] for name in unknown})


def _describe(name, known):
    meant = [other for other in SYNONYMS.get(name, ()) if other in known]
    meant += get_close_matches(name.lower().replace("-", "_")[:100], known, n=1, cutoff=0.7)
    if not known:
        return _("This call does not know this name; it takes none.")
    listed = ", ".join(sorted(known))
    if not meant:
        return _("This call does not know this name. It knows: {known}.").format(known=listed)
    return _("This call does not know this name. Did you mean {meant}? It knows: {known}.").format(
        meant=meant[0], known=listed
    )


def check_query(request, known):
    """
    Make sure that a call knows all the names of its query string.

    Args:
        request: The request.
        known: The names that this call knows beside those that any call may have.

    Raises:
        ValidationError: As `check_names` does.
    """
    if request.method == "OPTIONS":
        return
    common = ANY_READ if request.method in SAFE_METHODS else ANY_WRITE
    check_names([name for name in request.query_params if name not in common], known)


def read_flags(request, names, given):
    """
    Return {name: True or False} of the flags that a call is given in its query string, in its body or in both.

    Args:
        request: The request; None outside one, where there is no query string.
        names: The flags that the call knows.
        given: The body, a dictionary.

    Raises:
        ValidationError: Keyed by flag: it is neither true nor false, or is both.
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
    Return the body of a call, with the flags of its query string.

    Args:
        data: What the client sent; anything but a dictionary is left to the serializer.
        known: The names that the body may have.
        flags: Those of them that the query string may have as well.
        request: The request; None outside one.

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
    Make sure that the body of a call, which is NetBox's own and ignores names that it does not know, has none that
    means something to another call of the plugin's.

    Raises:
        ValidationError: As `check_names` does.
    """
    if isinstance(data, Mapping):
        check_names([name for name in data if name in OTHER_CALLS and name not in known], known)


def _first_part(name):
    """Return the field of a name: a form names the parts of an object `field.part`, and those of a list `field[0]`."""
    return re.split(r"[.\[]", name)[0]


class RequestSerializer(serializers.Serializer):
    """
    The body of a call that is the plugin's own.

    Attributes:
        flags: Its boolean fields that the query string may have as well.
    """

    flags = ("dry_run",)

    def to_internal_value(self, data):
        return super().to_internal_value(
            clean_body(data, writable_names(self), self.flags, self.context.get("request"))
        )


class NoBodySerializer(RequestSerializer):
    """For a call that takes nothing."""


def writable_names(serializer):
    """Return the names of the fields that a body may have."""
    return {name for name, field in serializer.fields.items() if not field.read_only}
