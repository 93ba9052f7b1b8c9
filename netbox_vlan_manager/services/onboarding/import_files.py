"""
Files with segments: their columns, for the reader of files (see `base.sheets`).
"""

from django.utils.translation import gettext_lazy

from ..base import sheets
from ..segments.segment_columns import COLUMNS, IGNORED_COLUMNS, POOL_COLUMNS, REQUIRED_COLUMNS, clean_name

__all__ = (
    "as_rows",
    "parse_csv",
    "parse_file",
    "read_file",
    "write_csv",
    "write_failed",
)


def _needed(header):
    """Return the names that a header must have: one with a pool needs no place and no VRF."""
    return {*REQUIRED_COLUMNS} if "pool" in header else {*POOL_COLUMNS, *REQUIRED_COLUMNS}


SEGMENTS = sheets.Columns(
    names=COLUMNS,
    ignored=IGNORED_COLUMNS,
    clean_name=clean_name,
    needed=_needed,
    row=gettext_lazy("segment"),
    rows=gettext_lazy("segments"),
)


def parse_file(content, kind=""):
    """Return the rows of a file; arguments and errors are those of `sheets.read_file`."""
    return sheets.read_file(content, kind, SEGMENTS)[0]


def read_file(content, kind=""):
    """Return the rows of a file and a text with the same rows, as `sheets.read_file` does."""
    return sheets.read_file(content, kind, SEGMENTS)


def parse_csv(text):
    """Return the rows of a CSV text, as `sheets.parse_csv` does."""
    return sheets.parse_csv(text, SEGMENTS)


def as_rows(objects):
    """Return the objects of a list as rows, as `sheets.as_rows` does."""
    return sheets.as_rows(objects, SEGMENTS)


def write_csv(rows):
    """Return rows of a sheet as CSV text, as `sheets.write_csv` does."""
    return sheets.write_csv(rows, SEGMENTS)


def write_failed(rows, errors):
    """Return the rows that failed as CSV text, as `sheets.write_failed` does."""
    return sheets.write_failed(rows, errors, SEGMENTS)
