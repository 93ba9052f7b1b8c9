"""
Reads the rows of an import from files: CSV, XLSX, JSON or YAML, told apart by what they begin with.

Nothing here asks the database, and nothing is believed: a file may be broken, huge, or made to be.
"""

import csv
import io
import json
import re
from datetime import date
from itertools import islice
from zipfile import BadZipFile, ZipFile

import yaml
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from openpyxl import load_workbook

from ..settings import get_setting
from .export import arm

__all__ = (
    "COLUMNS",
    "MAX_SIZE",
    "REQUIRED_COLUMNS",
    "as_text",
    "check_number",
    "parse_csv",
    "parse_file",
    "write_csv",
)

REQUIRED_COLUMNS = ("site", "vlan_id", "epg_name", "segment", "vrf")
COLUMNS = (*REQUIRED_COLUMNS, "ipv6_prefix", "dhcp", "description", "cluster_name", "allocated_at")

# So that an export can be imported: what its headings say otherwise, and what they say beside.
ALIASES = {"cluster": "cluster_name"}
IGNORED_COLUMNS = frozenset(("released_at", "status"))

# How long a file may be, in bytes; 20,000 rows have about 2 MB.
MAX_SIZE = 10 * 10**6

XLSX_START = b"PK\x03\x04"
JSON_START = re.compile(r"[\[{]")
YAML_START = re.compile(r"(---|-\s|rows\s*:)")

# An XLSX is a ZIP: more than so much in it, in bytes, is no list of segments; 20,000 rows have about 10 MB.
XLSX_SIZE = 50 * 10**6
# A sheet with more columns is none either. One cell far to the right would make each row as long.
MAX_COLUMNS = 100
# How many rows without a value end a sheet.
BLANK_ROWS = 1000
# How deep a YAML may be nested: a list with objects, under `rows`, and some more for the error to be about the value.
YAML_DEPTH = 10


class _YAMLLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Leaves values as the text that they are, but for null: some of YAML's numbers take hours to read."""

    yaml_implicit_resolvers = {
        start: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
        for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse_file(content):
    """
    Return the rows of a file as (line number or None, {column: value}) pairs.

    Args:
        content: Bytes, or text.

    Raises:
        ValidationError: Keyed by the format, csv, xlsx, json or yaml, or by file where it is too long. It cannot be
            read, is empty, lacks or repeats a column, has one that is not known, or has more rows than the setting
            `import_max_rows`.
    """
    if len(content) > MAX_SIZE:
        text = _("{size} MB are too much for one import: give at most {most} MB.")
        raise ValidationError({"file": text.format(size=len(content) // 10**6, most=MAX_SIZE // 10**6)})
    if isinstance(content, bytes):
        if content.startswith(XLSX_START):
            return _parse_xlsx(content)
        try:
            content = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ValidationError(
                {"csv": _("This is neither XLSX nor UTF-8: save the sheet as XLSX or as CSV (UTF-8).")}
            ) from None
    start = content.removeprefix("\ufeff").lstrip()
    if JSON_START.match(start):
        return _parse_json(start)
    if YAML_START.match(start):
        return _parse_yaml(start)
    return parse_csv(content)


def parse_csv(text):
    """
    Return the rows of a CSV text as (line number, {column: value}) pairs.

    A byte order mark, any line ends, and comma, semicolon or tab as the delimiter are taken as they come. Blank lines
    are passed over. A line with too many or too few values comes back with the key None, for `import_segments` to
    report with the other rows.

    Raises:
        ValidationError: As `parse_file`, keyed by csv.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise ValidationError({"csv": _("This is no text: it has zero bytes. Save the sheet as CSV (UTF-8).")})
    if not text.strip():
        raise ValidationError(
            {
                "csv": _("The file is empty: give a header, {columns}, and a line for each segment.").format(
                    columns=",".join(COLUMNS)
                )
            }
        )
    header_line = text.lstrip().splitlines()[0]
    delimiter = max(",;\t", key=header_line.count)
    # Strict, lest a quote that is never closed swallow the lines after it.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    return _read_lines(_numbered(reader), "csv")


def _numbered(reader):
    """Yield (line, values) for each line of a CSV; `line` is where it begins."""
    line = 1
    try:
        for values in reader:
            yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValidationError({"csv": _("Line {line}: {error}.").format(line=reader.line_num, error=error)}) from None


def _read_lines(lines, name):
    """
    Return the rows of a sheet: (line, values) pairs, of which the first that has any value is the header.

    Raises:
        ValidationError: Keyed by `name`.
    """
    rows, header, count, most = [], None, 0, get_setting("import_max_rows")
    for line, values in lines:
        if any(value.strip() for value in values):
            if header is None:
                header = _clean_header(values, name)
                continue
            count += 1
            if count > most:
                # Counted for the error, but not kept.
                continue
            if len(values) == len(header):
                cells = dict(zip(header, map(arm, values), strict=True))
                rows.append((line, {column: cells[column] for column in cells if column not in IGNORED_COLUMNS}))
            else:
                rows.append((line, {None: (len(values), len(header))}))
    if not rows:
        raise ValidationError({name: _("There is a header but no line under it: give one for each segment.")})
    _check_count(count, name)
    return rows


def _clean_header(values, name):
    """Return the column names of a header line, or raise a ValidationError that says what is wrong with it."""
    if len(values) > MAX_COLUMNS:
        raise ValidationError(
            {
                name: _("The header has {count} columns: give {columns}.").format(
                    count=len(values), columns=", ".join(COLUMNS)
                )
            }
        )
    header = [value.strip().lower().replace(" ", "_") for value in values]
    header = [ALIASES.get(value, value) for value in header]
    known = {*COLUMNS, *IGNORED_COLUMNS}
    if known.isdisjoint(header):
        raise ValidationError(
            {name: _("The first line is no header: begin with {columns}.").format(columns=",".join(COLUMNS))}
        )
    unknown = [value or _("(no name)") for value in header if value not in known]
    missing = [value for value in REQUIRED_COLUMNS if value not in header]
    repeated = sorted({value for value in header if header.count(value) > 1})
    problems = []
    if unknown:
        problems.append(
            _("Unknown column: {names}. The columns are {columns}.").format(
                names=", ".join(unknown), columns=", ".join(COLUMNS)
            )
        )
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


def write_csv(rows):
    """Return rows of a sheet (see `parse_file`) as CSV text, in which each stands on the line that it says."""
    header = next(list(values) for _line, values in rows if None not in values)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    written = 1
    for line, values in rows:
        buffer.write("\n" * (line - written - 1))
        # A line break within a value would move the lines after it.
        writer.writerow([" ".join(value.splitlines()) for value in values.values()])
        written = line
    return buffer.getvalue()


def _parse_xlsx(content):
    """Return the rows of the first sheet of a workbook; the values of formulas are those that were saved with them."""
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except BadZipFile:
        raise ValidationError({"xlsx": _("The workbook is broken: save it again.")}) from None
    if size > XLSX_SIZE:
        text = _("The workbook has {size} MB, unpacked: give the segments alone, as one sheet.")
        raise ValidationError({"xlsx": text.format(size=size // 10**6)})
    try:
        workbook = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        lines = list(_sheet_lines(workbook.worksheets[0]))
    except ValidationError:
        raise
    except Exception as error:
        # A broken workbook raises whatever it happens to break; openpyxl has no error of its own.
        raise ValidationError(
            {"xlsx": _("The workbook is broken: save it again. ({error})").format(error=error)}
        ) from None
    if not lines:
        raise ValidationError({"xlsx": _("The first sheet is empty: put a header there, and a line for each segment.")})
    return _read_lines(lines, "xlsx")


def _sheet_lines(sheet):
    """Yield (row number, texts) of a sheet up to its last column with a heading."""
    width, blank = None, 0
    most = get_setting("import_max_rows") + BLANK_ROWS
    rows = sheet.iter_rows(max_col=MAX_COLUMNS + 1, values_only=True)
    for line, values in enumerate(islice(rows, most), 1):
        texts = [as_text(value) for value in values]
        if not any(texts):
            blank += 1
            if blank > BLANK_ROWS:
                return
            continue
        blank = 0
        while texts and not texts[-1]:
            texts.pop()
        width = width or len(texts)
        yield line, texts + [""] * (width - len(texts))


def _parse_json(text):
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValidationError({"json": _("This is no JSON: {error}.").format(error=error)}) from None
    return _read_objects(data, "json")


def _parse_yaml(text):
    try:
        _check_yaml(text)
        data = yaml.load(text, Loader=_YAMLLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValidationError({"yaml": _("This is no YAML: {error}.").format(error=error)}) from None
    return _read_objects(data, "yaml")


def _check_yaml(text):
    """
    Raise a ValidationError if a YAML has what makes much of little, or what no list of segments needs.

    Before it is loaded: aliases multiply what they stand for, and nesting without end ends the process.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_YAMLLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise ValidationError({"yaml": _("Write each value out: leave out anchors (&), aliases (*) and tags (!).")})
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > YAML_DEPTH:
            raise ValidationError({"yaml": _("This is nested too deeply: give a list with an object for each row.")})


def _read_objects(data, name):
    if isinstance(data, dict) and list(data) == ["rows"]:
        data = data["rows"]
    if not isinstance(data, list):
        raise ValidationError({name: _("Give a list with an object for each segment, or an object with it as rows.")})
    if not data:
        raise ValidationError({name: _("The list is empty: give an object for each segment.")})
    check_number(data, name)
    return [(None, row) for row in data]


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
    return str(value).strip()
