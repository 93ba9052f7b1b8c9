"""
Reads JSON, JSON Lines and YAML. No text is trusted: each may be broken, or made to need hours or all memory.
"""

import json
import re

import yaml
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

__all__ = (
    "JSON_START",
    "YAML_NAME",
    "YAML_START",
    "load_json",
    "load_yaml",
    "without_comments",
)

JSON_START = re.compile(r"[\[{]")
YAML_START = re.compile(r"(---|-\s|rows\s*:)")
YAML_NAME = re.compile(r"(^|[./+-])ya?ml$", re.IGNORECASE)

# The deepest nesting of a YAML: a list with objects, under `rows`, and some more so that the error is about the value.
YAML_DEPTH = 10


class _YAMLLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Leaves all values but null as text: some of YAML's numbers take hours to read."""

    yaml_implicit_resolvers = {
        start: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
        for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def without_comments(text):
    """Return a text without the comments and directives that a YAML may begin with."""
    start = text.lstrip()
    while start.startswith(("#", "%")):
        start = start.partition("\n")[2].lstrip()
    return start


def load_json(text):
    """
    Return the data of a JSON text, or the list of objects of a text with one on each line.

    Raises:
        ValidationError: Keyed by json.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        data = _load_json_lines(text)
        if data is None:
            raise ValidationError({"json": _("This is no JSON: {error}.").format(error=error)}) from None
        return data


def _load_json_lines(text):
    """Return the objects of a text with one on each line (JSON Lines), or None if it is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith("{") for line in lines):
        return None
    try:
        return [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return None


def load_yaml(text):
    """
    Return the data of a YAML text, in which all values but null are texts.

    Raises:
        ValidationError: Keyed by yaml.
    """
    try:
        _check_yaml(text)
        return yaml.load(text, Loader=_YAMLLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValidationError({"yaml": _("This is no YAML: {error}.").format(error=error)}) from None


def _check_yaml(text):
    """
    Raise a ValidationError if a YAML has aliases, anchors or tags, or is nested too deeply.

    This comes before loading: aliases multiply what they stand for, and endless nesting ends the process.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_YAMLLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise ValidationError({"yaml": _("Write each value out: leave out anchors (&), aliases (*) and tags (!).")})
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > YAML_DEPTH:
            raise ValidationError({"yaml": _("This is nested too deeply: give a list with an object for each row.")})
