"""
The values of an import's cells, as people and programs of many countries write them.

Nothing is guessed: a text that can be read in two ways is refused, with both of them.
"""

import re
import unicodedata
from datetime import UTC, date, datetime

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _
from openpyxl.utils.datetime import from_excel

__all__ = (
    "as_text",
    "clean_bool",
    "clean_time",
    "unify_lines",
)

# What strip() leaves at the ends of what is copied from web pages and documents.
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"


def _fold(text):
    """Return a word without case and accents. The Turkish i has no dot."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).replace("\u0131", "i")


# In the languages that NetBox has: what a spreadsheet writes for a logical value, and what people do.
TRUE = frozenset(
    map(
        _fold,
        (
            *("true", "yes", "on", "1", "y", "t", "x", "✓", "✔", "☑"),
            *("wahr", "ja", "vrai", "oui", "verdadero", "sí", "vero", "verdadeiro", "sim", "waar", "sand"),
            *("pravda", "ano", "prawda", "tak", "истина", "да", "істина", "так", "doğru", "evet", "patiess", "patiesi"),
            *("jā", "真", "はい", "是", "对", "예", "네", "참"),
        ),
    )
)
FALSE = frozenset(
    map(
        _fold,
        (
            *("false", "no", "off", "0", "n", "f", "", "-", "✗", "✘", "☐"),
            *("falsch", "nein", "faux", "non", "falso", "não", "onwaar", "nee", "falsk", "nej"),
            *("nepravda", "ne", "fałsz", "nie", "ложь", "нет", "хибність", "ні", "yanliş", "hayir", "aplams", "nē"),
            *("偽", "いいえ", "否", "假", "错", "아니요", "아니오", "거짓"),
        ),
    )
)

# Day, month and year with dots are always in this order, wherever people write dates so; with slashes or hyphens it
# depends on the country.
DAY_OR_MONTH_FIRST = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})\b")
YEAR_FIRST = re.compile(r"(\d{4})([./])\s?(\d{1,2})\2\s?(\d{1,2})\b\.?")
CLOCK = re.compile(r"(?:T|,?\s+)(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\s*([AP])\.?M\.?)?", re.IGNORECASE)
# What a spreadsheet counts days by: from 1954 to 2119.
SERIAL = re.compile(r"[2-7]\d{4}(?:\.\d{1,15})?")


def as_text(value):
    """
    Return a cell's value as trimmed text.

    Raises:
        ValidationError: It is a list or an object.
    """
    if value is None:
        return ""
    if isinstance(value, list | tuple | dict | set):
        raise ValidationError(_("Give text, a number, or true or false."))
    if isinstance(value, float) and value.is_integer():
        # A sheet has no whole numbers.
        value = int(value)
    if isinstance(value, date):
        return value.isoformat()
    text = str(value).strip()
    if text and (text[0] in INVISIBLE or text[-1] in INVISIBLE):
        text = text.strip(INVISIBLE).strip()
    return text


def unify_lines(text):
    """Return a text with one kind of line break: files and browsers change one into the other."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def clean_bool(text):
    """
    Return whether a text says yes, in any language that NetBox has; an empty one does not.

    Raises:
        ValidationError: It is none of the words.
    """
    word = _fold(text[:20])
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValidationError(_("{value!r} is neither true nor false.").format(value=text[:60]))


def clean_time(text):
    """
    Return a time, or the beginning of a day, as an aware datetime; without a zone it is NetBox's.

    Raises:
        ValidationError: It is none, or may be either of two days.
    """
    try:
        time = _parse_iso(text) or _parse_serial(text) or _parse_local(text)
    except ValueError:
        # No such day or hour.
        time = None
    if time is not None:
        time = timezone.make_aware(time) if timezone.is_naive(time) else time
        try:
            # The database keeps it as UTC, in which it must be within the calendar too.
            return time.astimezone(UTC)
        except OverflowError:
            pass
    raise ValidationError(_("{value!r} is no time: write it as 2026-01-31T12:00:00Z.").format(value=text[:60]))


def _parse_iso(text):
    return parse_datetime(text) or parse_datetime(f"{parse_date(text) or text}T00:00:00")


def _parse_serial(text):
    """Return the time of a spreadsheet's number, which a cell has that is not formatted as a date."""
    return from_excel(float(text)) if SERIAL.fullmatch(text) else None


def _parse_local(text):
    """Return the time of a date as countries write it, with a clock time after it or none; None if it is none."""
    text = text[:60]
    if match := YEAR_FIRST.match(text):
        year, _separator, month, day = match.groups()
    elif match := DAY_OR_MONTH_FIRST.match(text):
        day, separator, month, year = match.groups()
        if separator != "." and day != month:
            if int(day) <= 12 and int(month) <= 12:
                first, second = (date(int(year), int(m), int(d)).isoformat() for m, d in ((month, day), (day, month)))
                raise ValidationError(
                    _("{value!r} may mean {first} or {second}: write one of these.").format(
                        value=text, first=first, second=second
                    )
                )
            if int(month) > 12:
                day, month = month, day
    else:
        return None
    hour, minute, second, half = 0, 0, 0, None
    if rest := text[match.end() :].strip():
        clock = CLOCK.fullmatch(text[match.end() :].rstrip())
        if not clock or not rest:
            return None
        hour, minute, second, half = clock.groups()
    hour = int(hour)
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half.upper() == "P" else 0)
    return datetime(int(year), int(month), int(day), hour, int(minute), int(second or 0))
