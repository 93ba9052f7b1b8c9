from io import BytesIO

from django.utils.translation import gettext as _
from rest_framework import parsers
from rest_framework.exceptions import ParseError, ValidationError

from ..services.base.sheets import MAX_SIZE
from ..validators import UNSTORABLE

__all__ = (
    "CSVParser",
    "JSONParser",
    "OldYAMLParser",
    "TextYAMLParser",
    "XLSXParser",
    "YAMLParser",
)


class JSONParser(parsers.JSONParser):
    """Refuses valid JSON whose values PostgreSQL could neither compare nor store, before any query runs."""

    def parse(self, stream, media_type=None, parser_context=None):
        try:
            data = super().parse(BytesIO(_read(stream)), media_type, parser_context)
            for name, value in _entries(data):
                if _is_unstorable(value):
                    raise ValidationError(
                        {str(name): [_("No value may have a NUL, half a surrogate pair or an infinite number.")]}
                    )
        except RecursionError:
            raise ParseError(_("JSON parse error - the body is nested too deeply.")) from None
        return data


def _read(stream):
    """Return a body, and stop reading at MAX_SIZE: REST framework has no limit."""
    body = stream.read(MAX_SIZE + 1)
    if len(body) > MAX_SIZE:
        text = _("The body is too large: send at most {most} MB.")
        raise ValidationError({"body": [text.format(most=MAX_SIZE // 10**6)]})
    return body


def _entries(data):
    """Return the (name, value) pairs of a body for errors: the fields of an object, or the positions of a list."""
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
    """Passes the body as bytes to a service, which reads it."""

    media_type = "text/csv"

    def parse(self, stream, media_type=None, parser_context=None):
        return _read(stream)


class XLSXParser(CSVParser):
    media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class YAMLParser(CSVParser):
    media_type = "application/yaml"


class OldYAMLParser(CSVParser):
    """YAML under one of its media types from before RFC 9512."""

    media_type = "application/x-yaml"


class TextYAMLParser(CSVParser):
    media_type = "text/yaml"
