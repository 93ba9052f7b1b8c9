import re

from django.utils.translation import gettext as _
from rest_framework import parsers
from rest_framework.exceptions import ParseError, ValidationError

__all__ = (
    "CSVParser",
    "JSONParser",
)

# PostgreSQL stores no NUL, and half of a surrogate pair is no text.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class JSONParser(parsers.JSONParser):
    """Refuses, before any query meets it, what is JSON but nothing that the database could compare or store."""

    def parse(self, stream, media_type=None, parser_context=None):
        try:
            data = super().parse(stream, media_type, parser_context)
            for name, value in _entries(data):
                if _is_unstorable(value):
                    raise ValidationError(
                        {str(name): [_("No value may have a NUL, half a surrogate pair or an infinite number.")]}
                    )
        except RecursionError:
            raise ParseError(_("JSON parse error - the body is nested too deeply.")) from None
        return data


def _entries(data):
    """Return what an error may name of a body: the fields of an object, or the positions of a list."""
    if isinstance(data, dict):
        return data.items()
    return enumerate(data) if isinstance(data, list) else [("body", data)]


def _is_unstorable(value):
    if isinstance(value, str):
        return UNSTORABLE.search(value) is not None
    if isinstance(value, float):
        return value in (float("inf"), float("-inf"))
    if isinstance(value, dict):
        return any(_is_unstorable(inner) for item in value.items() for inner in item)
    if isinstance(value, list):
        return any(_is_unstorable(inner) for inner in value)
    return False


class CSVParser(parsers.BaseParser):
    """Takes a body of CSV as text."""

    media_type = "text/csv"

    def parse(self, stream, media_type=None, parser_context=None):
        return decode(stream.read())


def decode(content):
    """
    Return bytes of CSV as text.

    Raises:
        ValidationError: They are not UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValidationError({"csv": [_("This is not UTF-8: save the sheet as CSV (UTF-8).")]}) from None
