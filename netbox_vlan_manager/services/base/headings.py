"""
Suggests the columns that the headings of a foreign file mean, with the reasons.

A suggestion comes from the heading, from the words that other tools and languages have for a column, or from the values
under it. It is a suggestion: a person confirms it (see `sheets.rename_columns`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple

from django.utils.translation import gettext as _

__all__ = (
    "Hints",
    "Suggestion",
    "suggest",
)

# The share of letters that a heading and a word have in common, from which one counts as the other misspelt.
SIMILAR = 0.8


@dataclass(frozen=True)
class Hints:
    """
    The words and values that suggest a column.

    `words` is {a word in lower case: column}. `kinds` is {column: (function of a text, phrase)}: the function returns
    whether the text is a value of that column, and of no other one as likely; the phrase says what all values are.
    """

    words: dict
    kinds: dict[str, tuple[Callable, str]] = field(default_factory=dict)


class Suggestion(NamedTuple):
    """The column that a heading may mean, or an empty text; `samples` are the first texts under it."""

    heading: str
    samples: list
    column: str = ""
    reason: str = ""


def suggest(headings, lines, columns, hints):
    """
    Return a Suggestion for each heading; no two suggest the same column.

    Args:
        headings: The texts of a header.
        lines: The texts of some lines under it.
        columns: The Columns that a file may have (see `sheets`).
        hints: Hints
    """
    under = [[line[number].strip() for line in lines if number < len(line)] for number in range(len(headings))]
    under = [[text for text in texts if text] for texts in under]
    found = {}
    for look in (_named, _known_word, _misspelt, _by_values):
        for number, heading in enumerate(headings):
            if number not in found:
                column, reason = look(heading, under[number], columns, hints)
                if column and all(column != other for other, _reason in found.values()):
                    found[number] = column, reason
    return [
        Suggestion(heading.strip(), under[number][:3], *found.get(number, ()))
        for number, heading in enumerate(headings)
    ]


def _named(heading, _texts, columns, _hints):
    name = columns.clean_name(heading)
    return (name, _("The heading names it")) if name in columns.names else ("", "")


def _known_word(heading, _texts, columns, hints):
    whole = columns.clean_name(heading)
    for word in (whole, *re.split(r"[\W_]+", whole)):
        if word in hints.words:
            return hints.words[word], _("“{word}” means it").format(word=word)
    return "", ""


def _misspelt(heading, _texts, columns, hints):
    names = {name: name for name in columns.names} | hints.words
    for match in get_close_matches(columns.clean_name(heading), names, 1, SIMILAR):
        return names[match], _("The heading is spelt like “{word}”").format(word=match)
    return "", ""


def _by_values(_heading, texts, _columns, hints):
    for column, (is_value, phrase) in hints.kinds.items():
        if texts and all(map(is_value, texts)):
            return column, str(phrase)
    return "", ""
