"""Writes the table of docs/permissions.md: the REST calls of the matrix, each with a body that changes something."""

from django.urls import reverse

from . import matrix
from .world import HIDDEN_WORD

__all__ = ("replace_table",)

BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
HEADER = """| call | no token | none | view | one VRF | allocate | read-only | expired | superuser |
|---|---|---|---|---|---|---|---|---|
"""
# Objects that some of the personas may not use.
OUT_OF_REACH = ("near", "far", "inside", "hidden")


def replace_table(text):
    """Return the document with the table that the matrix gives."""
    before, rest = text.split(BEGIN)
    _table, after = rest.split(END)
    return before + BEGIN + HEADER + "".join(_lines()) + END + after


def _lines():
    rows = {}
    for row in matrix.read():
        if not isinstance(row, matrix.Row) or row.kind != "rest":
            continue
        if not any(word in f"{row.objects} {row.body}" for word in (*OUT_OF_REACH, HIDDEN_WORD)):
            rows.setdefault(row.endpoint, []).append(row)
    for tried in rows.values():
        # Prefer a row that changes something to one that is refused for its values.
        row = next((row for row in tried if "+" in row.answers[-1]), tried[0])
        answers = " | ".join(answer.rstrip("~") for answer in row.answers)
        yield f"| `{row.method} {_path(row)}` | {answers} |\n"


def _path(row):
    root = reverse(f"{matrix.NAMESPACES['rest']}api-root")
    # The id 0, which no object has.
    path = row.get_url(dict.fromkeys((row.objects or "").split(","), 0)).removeprefix(root.rstrip("/"))
    return path.partition("?")[0].lstrip("/").replace("/0/", "/{id}/") or root
