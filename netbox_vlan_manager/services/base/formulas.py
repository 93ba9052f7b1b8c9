"""
The formula guard: texts of a file that a spreadsheet opens must not run as formulas (CSV injection, CWE-1236).

An export puts an apostrophe before each formula; an import takes it away.
"""

import re

__all__ = ("escape_formula", "unescape_formula")

# Where a formula begins, with the apostrophes that are there already: at the start of a cell, and where a spreadsheet
# that takes semicolons or tabs for the delimiter, or quotes for text, sees a cell begin. Some read the wide characters.
FORMULA_START = re.compile(r"(^|[;\t\r\n])('*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
ESCAPED_START = re.compile(r"(^|[;\t\r\n])'('*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")


def escape_formula(value):
    """Return a value of a cell; a text has an apostrophe before each place that a spreadsheet takes for a formula."""
    return FORMULA_START.sub(r"\1'\2", value) if isinstance(value, str) else value


def unescape_formula(text):
    """Return a text as it was before `escape_formula`, so that an import stores what was exported."""
    return ESCAPED_START.sub(r"\1\2", text)
