"""
The plugin's lines in NetBox's log, and a formatter that writes them as JSON. NetBox's setting LOGGING names it:

    "formatters": {"json": {"()": "netbox_vlan_manager.logs.JSONFormatter"}}

NetBox imports this module before the apps are ready, so it imports no models.
"""

import json
import logging
import re
from datetime import UTC, datetime

from netbox.context import current_request

__all__ = (
    "JSONFormatter",
    "as_line",
    "as_text",
)

# Text that needs no quotes. All other text is escaped, so that a name cannot write log lines of its own.
PLAIN = re.compile(r"[A-Za-z0-9_.:/@+-]+")


def as_line(text):
    """Return a text, which may quote user input, as one line: unprintable characters are escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def as_text(fields):
    """Return a dictionary as one line of ASCII: key=value, the values quoted as JSON where they are not plain."""
    return " ".join(f"{key}={_quote(str(value))}" for key, value in fields.items())


def _quote(text):
    return text if PLAIN.fullmatch(text) else _dump(text)


def _dump(value):
    # JSON does not escape this control character, DEL.
    return json.dumps(value, default=str).replace("\x7f", "\\u007f")


def get_request_id():
    """Return the id of the request that is being served, a UUID, or None."""
    request = current_request.get()
    return request and request.id


class JSONFormatter(logging.Formatter):
    """
    Writes each record as one line of JSON: time (UTC), level, logger, and either the fields of an operation or the
    message; the id of the request that is being served, and the traceback of an error.
    """

    def format(self, record):
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
        }
        if (request := get_request_id()) is not None:
            line["request"] = str(request)
        line |= getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _dump(line)
