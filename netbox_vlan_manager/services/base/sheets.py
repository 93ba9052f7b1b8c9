"""
Reads rows from files: CSV, XLSX, JSON or YAML, which are recognized by their beginning.

Nothing here queries the database, and no file is trusted: it may be broken, huge, or made to do harm. A file is read
whole or not at all.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from ...settings import get_setting
from .documents import JSON_START, YAML_NAME, YAML_START, load_json, load_yaml, without_comments
from .formulas import escape_formula, unescape_formula
from .workbooks import MAX_COLUMNS, XLSX_START, open_workbook, sheet_lines

__all__ = (
    "LEFT_OUT",
    "MAX_SIZE",
    "Columns",
    "UnknownHeadings",
    "as_rows",
    "check_number",
    "parse_csv",
    "read_file",
    "rename_columns",
    "write_csv",
    "write_failed",
)

# The largest file, in bytes; 20,000 rows have about 2 MB.
MAX_SIZE = 10 * 10**6

# The beginning of the binary formats of older spreadsheets, and of XLSX with a password.
OLE_START = b"\xd0\xcf\x11\xe0"
UTF16_STARTS = (b"\xff\xfe", b"\xfe\xff")

# The most lines above the header: a title, a date, and the line that tells a spreadsheet the delimiter.
MAX_TITLES = 20
# The part of a line that is searched for its delimiter, in characters: longer than any header.
HEADER_LENGTH = 10_000

DELIMITERS = ",;\t"
# The heading of a column that the reader leaves out.
LEFT_OUT = "-"
# The number of lines under an unknown header that its error has.
SAMPLE_LINES = 20
# Stands for a line break within a value of a CSV that was an XLSX, so that its lines keep their numbers.
LINE_BREAK = "\u2028"


@dataclass(frozen=True)
class Columns:
    """
    The columns of one kind of rows in files.

    `names` are in the order of texts, `ignored` are names that files may have and the reader leaves out. `clean_name`
    returns the name for a heading; `needed` returns the set of names that a header must have, given its names. `row`
    and `rows` are the words for a row in errors, such as "segment" and "segments".
    """

    names: tuple
    ignored: frozenset
    clean_name: Callable
    needed: Callable
    row: str
    rows: str

    def is_header(self, texts):
        """Return whether more than one of the texts names a column."""
        return sum(self.clean_name(text) in self.names for text in texts) > 1


class UnknownHeadings(ValidationError):
    """
    The header of a sheet does not name its columns. Its user may say what they are (see `rename_columns`).

    Args:
        error: The ValidationError that says what is wrong with the header.
        headings: Its texts.
        samples: The texts of some lines under it.
    """

    # The file as CSV text, with this header.
    text = ""

    def __init__(self, error, headings, samples):
        super().__init__(error.message_dict)
        self.headings, self.samples = headings, samples


def read_file(content, kind, columns):
    """
    Return the rows of a file as (line number or None, {column: value}) pairs, and a text with the same rows: CSV for a
    workbook.

    Args:
        content: Bytes, or text.
        kind: The file's name or content type. It matters where it says YAML: not every YAML begins as one.
        columns: Columns

    Raises:
        ValidationError: Keyed by the format, csv, xlsx, json or yaml, or by file where it is too long. It cannot be
            read, is empty, lacks or repeats a column, has an unknown one, or has more rows than the setting
            `import_max_rows`. It is UnknownHeadings where a sheet has other headings.
    """
    if len(content) > MAX_SIZE:
        text = _("{size} MB are too much for one import: give at most {most} MB.")
        raise ValidationError({"file": text.format(size=len(content) // 10**6, most=MAX_SIZE // 10**6)})
    if isinstance(content, bytes) and content.startswith(XLSX_START):
        with open_workbook(content, columns.rows) as worksheets:
            try:
                rows = _read_lines(_find_sheet(worksheets, columns), "xlsx", columns)
            except UnknownHeadings as error:
                error.text = _as_text(_find_sheet(worksheets, columns))
                raise
        return rows, write_csv(rows, columns)
    text = _decode(content) if isinstance(content, bytes) else content.removeprefix("\ufeff")
    start = without_comments(text)
    if YAML_START.match(start):
        return _read_objects(load_yaml(text), "yaml", columns), text
    if YAML_NAME.search(kind):
        # With this mark, the text is recognized as YAML wherever it is read next.
        return _read_objects(load_yaml(text), "yaml", columns), f"---\n{text}"
    if JSON_START.match(start):
        return _read_objects(load_json(start), "json", columns), text
    try:
        return parse_csv(text, columns), text
    except UnknownHeadings as error:
        error.text = text
        raise


def rename_columns(text, names, columns):
    """
    Return a CSV text with other headings; nothing else of it changes.

    Args:
        text: As that of an UnknownHeadings.
        names: The names of its columns, in the order of its header; LEFT_OUT for those that the reader leaves out.
        columns: Columns
    """
    delimiter = _find_delimiter(text, columns)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    titles = 0
    for line, values in _numbered(reader):
        if not any(map(str.strip, values)):
            continue
        titles += 1
        if titles > MAX_TITLES or not _is_title(values):
            # As the reader divides it.
            lines = list(io.StringIO(text, newline=""))
            header = io.StringIO()
            csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow(names)
            return "".join([*lines[: line - 1], header.getvalue(), *lines[reader.line_num :]])
    return text


def _as_text(lines):
    """Return the lines of a sheet as CSV text, each on the line that it says."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    written = 0
    for line, values in lines:
        buffer.write("\n" * (line - written - 1))
        writer.writerow([LINE_BREAK.join(value.splitlines()) for value in values])
        written = line
    return buffer.getvalue()


def _is_title(values):
    """Whether a line above the header has no more than a title."""
    return sum(bool(value.strip()) for value in values) == 1


def _decode(content):
    """
    Return bytes as text: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        ValidationError: Keyed by csv. They are neither.
    """
    encoding = "utf-16" if content.startswith(UTF16_STARTS) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        text = _("This is neither XLSX nor UTF-8: save the sheet as XLSX or as CSV (UTF-8).")
        if content.startswith(OLE_START):
            text = _("This is a workbook of an older format (XLS), or has a password: save it as XLSX, without one.")
        raise ValidationError({"csv": text}) from None


def parse_csv(text, columns):
    """
    Return the rows of a CSV text as (line number, {column: value}) pairs.

    It may have a byte order mark, any line ends, and comma, semicolon or tab as the delimiter. Blank lines are left
    out, and so are lines above the header with a single value: a title, or Excel's `sep=;`. A line with too many or too
    few values has the key None with (its values, the length of the header), so that all errors are reported together.

    Raises:
        ValidationError: As `read_file`, keyed by csv.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise ValidationError({"csv": _("This is no text: it has zero bytes. Save the sheet as CSV (UTF-8).")})
    if not text.strip():
        message = _("The file is empty: give a header, {columns}, and a line for each {row}.")
        raise ValidationError({"csv": message.format(columns=",".join(columns.names), row=columns.row)})
    # Strict: otherwise a quote that is never closed would swallow the lines after it.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=_find_delimiter(text, columns), skipinitialspace=True, strict=True
    )
    return _read_lines(_numbered(reader), "csv", columns)


def _find_delimiter(text, columns):
    """
    Return the delimiter that makes one of the first lines a header, else the most frequent one of the first line that
    has any.
    """
    lines = io.StringIO(text)
    lines = [line for line in islice(lines, MAX_TITLES) if line.strip()] or [text.lstrip()]
    for line in lines:
        line = line[:HEADER_LENGTH].strip()
        for delimiter in DELIMITERS:
            if columns.is_header(line.split(delimiter)):
                return delimiter
    several = (line for line in lines if any(delimiter in line for delimiter in DELIMITERS))
    return max(DELIMITERS, key=next(several, lines[0]).count)


def _numbered(reader):
    """Yield (line, values) for each line of a CSV; `line` is where it begins."""
    line = 1
    try:
        for values in reader:
            yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValidationError({"csv": _("Line {line}: {error}.").format(line=reader.line_num, error=error)}) from None


def _find_sheet(worksheets, columns):
    """Return the lines of the sheet that has a header, or of the first sheet if none has."""
    found = [sheet for sheet in worksheets if _has_header(sheet, columns)]
    if len(found) > 1:
        text = _("Several sheets have {rows}: {sheets}. Give one, or import them one by one.")
        sheets = ", ".join(sheet.title for sheet in found)
        raise ValidationError({"xlsx": text.format(rows=columns.rows, sheets=sheets)})
    return sheet_lines(*found or worksheets[:1])


def _has_header(sheet, columns):
    return any(columns.is_header(texts) for _line, texts in islice(sheet_lines(sheet), MAX_TITLES + 1))


def _read_lines(lines, name, columns):
    """
    Return the rows of a sheet: (line, values) pairs, of which the first with more than one value is the header.

    Raises:
        ValidationError: Keyed by `name`.
    """
    rows, header, titles, count, most = [], None, 0, 0, get_setting("import_max_rows")
    for line, values in lines:
        if not any(map(str.strip, values)):
            continue
        if header is None:
            titles += 1
            if titles <= MAX_TITLES and _is_title(values):
                continue
            try:
                header = _clean_header(values, name, columns)
            except ValidationError as error:
                samples = [texts for _line, texts in islice(lines, SAMPLE_LINES)]
                raise UnknownHeadings(error, values, samples) from None
            continue
        count += 1
        # Rows beyond the limit are counted for the error, but not kept.
        if count <= most:
            rows.append((line, _read_line(values, header, columns)))
    if not titles:
        text = _("The sheet is empty: put a header there, and a line for each {row}.")
        raise ValidationError({name: text.format(row=columns.row)})
    if header is None:
        raise _no_header(name, columns)
    if not rows:
        text = _("There is a header but no line under it: give one for each {row}.")
        raise ValidationError({name: text.format(row=columns.row)})
    _check_count(count, name)
    return rows


def _read_line(values, header, columns):
    """Return {column: value} of a line; one of another length than the header is {None: (values, header's length)}."""
    if len(values) > len(header) and not any(map(str.strip, values[len(header) :])):
        # Some programs write as many values as the widest line of the sheet has.
        values = values[: len(header)]
    if len(values) != len(header):
        return {None: (tuple(values), len(header))}
    cells = dict(zip(header, map(_read_cell, values), strict=True))
    return {column: cells[column] for column in cells if column not in columns.ignored and column != LEFT_OUT}


def _read_cell(value):
    return unescape_formula(value).replace(LINE_BREAK, "\n")


def _no_header(name, columns):
    text = _("The first line is no header: begin with {columns}.")
    return ValidationError({name: text.format(columns=",".join(columns.names))})


def _clean_header(values, name, columns):
    """Return the column names of a header line, or raise a ValidationError that says what is wrong with it."""
    while values and not values[-1].strip():
        values = values[:-1]
    names = ", ".join(columns.names)
    if len(values) > MAX_COLUMNS:
        text = _("The header has {count} columns: give {columns}.")
        raise ValidationError({name: text.format(count=len(values), columns=names)})
    header = [LEFT_OUT if value.strip() == LEFT_OUT else columns.clean_name(value) for value in values]
    known = {*columns.names, *columns.ignored, LEFT_OUT}
    if known.isdisjoint(header):
        raise _no_header(name, columns)
    unknown = [
        value.strip() or _("(no name)") for value, column in zip(values, header, strict=True) if column not in known
    ]
    lacking = columns.needed(header) - {*header}
    missing = [column for column in columns.names if column in lacking]
    repeated = sorted({column for column in header if column in columns.names and header.count(column) > 1})
    problems = []
    if unknown:
        text = _("Unknown column: {names}. The columns are {columns}.")
        problems.append(text.format(names=", ".join(unknown), columns=names))
    if missing:
        problems.append(_("Missing column: {names}.").format(names=", ".join(missing)))
    if repeated:
        problems.append(_("Column given twice: {names}.").format(names=", ".join(repeated)))
    if problems:
        raise ValidationError({name: problems})
    return header


def check_number(rows, name):
    """Raise a ValidationError, keyed by `name`, if there are too many rows."""
    _check_count(len(rows), name)


def _check_count(count, name):
    most = get_setting("import_max_rows")
    if count > most:
        text = _("{count} rows are too many for one import: give at most {most}.")
        raise ValidationError({name: text.format(count=count, most=most)})


def _read_objects(data, name, columns):
    if isinstance(data, dict) and list(data) == ["rows"]:
        data = data["rows"]
    if not isinstance(data, list):
        text = _("Give a list with an object for each {row}, or an object with it as rows.")
        raise ValidationError({name: text.format(row=columns.row)})
    if not data:
        text = _("The list is empty: give an object for each {row}.")
        raise ValidationError({name: text.format(row=columns.row)})
    check_number(data, name)
    return as_rows(data, columns)


def as_rows(objects, columns):
    """Return the objects of a list as rows (see `read_file`), which are lines of no file."""
    return [(None, _with_names(one, columns) if isinstance(one, dict) else one) for one in objects]


def _with_names(row, columns):
    """Return an object with the names of its columns, or as it is if two of its names mean one column."""
    named = {columns.clean_name(name) if isinstance(name, str) else name: value for name, value in row.items()}
    if len(named) < len(row):
        return row
    return {name: value for name, value in named.items() if name not in columns.ignored}


def write_csv(rows, columns):
    """Return rows of a sheet (see `read_file`) as CSV text, in which each is on the line that it says."""
    header = next((list(values) for _line, values in rows if None not in values), None)
    header = header or [name for name in columns.names if name in columns.needed(columns.names)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    written = 1
    for line, values in rows:
        buffer.write("\n" * (line - written - 1))
        cells = values[None][0] if None in values else map(escape_formula, values.values())
        writer.writerow([LINE_BREAK.join(value.splitlines()) for value in cells])
        written = line
    return buffer.getvalue()


def write_failed(rows, errors, columns):
    """
    Return the rows that failed as CSV text, with the errors in a last column that an import leaves out.

    Args:
        rows: As `read_file` returns them.
        errors: {column: texts} for each row, empty if nothing is wrong with it.
        columns: Columns
    """
    failed = [(cells, texts) for (_line, cells), texts in zip(rows, errors, strict=True) if texts]
    named = [cells for cells, _texts in failed if isinstance(cells, dict) and None not in cells]
    header = list(dict.fromkeys(name for cells in named for name in cells)) or list(columns.names)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*header, "errors"])
    for cells, texts in failed:
        if not isinstance(cells, dict):
            values = [str(cells)]
        elif None in cells:
            values = list(cells[None][0])
        else:
            values = ["" if cells.get(name) is None else str(cells[name]) for name in header]
        values += [""] * (len(header) - len(values))
        why = "; ".join(f"{column}: {text}" for column, column_texts in texts.items() for text in column_texts)
        writer.writerow(map(escape_formula, [*values, why]))
    return buffer.getvalue()
