"""
Reads the rows of an import from files: CSV, XLSX, JSON or YAML, told apart by what they begin with.

Nothing here asks the database, and nothing is believed: a file may be broken, huge, or made to be. It is read whole or
not at all.
"""

import csv
import io
import json
import re
from itertools import islice
from zipfile import BadZipFile, ZipFile

import yaml
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from openpyxl import load_workbook
from openpyxl.utils import get_column_letter
from openpyxl.worksheet._reader import FORMULA_TAG, WorkSheetParser

from ...settings import get_setting
from ..base.import_values import as_text
from ..reporting.export import arm, defuse
from ..segments.segment_columns import COLUMNS, IGNORED_COLUMNS, POOL_COLUMNS, REQUIRED_COLUMNS, clean_name

__all__ = (
    "MAX_SIZE",
    "as_rows",
    "check_number",
    "decode",
    "parse_csv",
    "parse_file",
    "read_file",
    "write_csv",
    "write_failed",
)

# How long a file may be, in bytes; 20,000 rows have about 2 MB.
MAX_SIZE = 10 * 10**6

XLSX_START = b"PK\x03\x04"
# What the binary formats of older spreadsheets begin with, and XLSX with a password.
OLE_START = b"\xd0\xcf\x11\xe0"
UTF16_STARTS = (b"\xff\xfe", b"\xfe\xff")
JSON_START = re.compile(r"[\[{]")
YAML_START = re.compile(r"(---|-\s|rows\s*:)")
YAML_NAME = re.compile(r"(^|[./+-])ya?ml$", re.IGNORECASE)

# An XLSX is a ZIP: more than so much in it, in bytes, is no list of segments; 20,000 rows have about 10 MB.
XLSX_SIZE = 50 * 10**6
# A sheet with more columns is none either.
MAX_COLUMNS = 100
# The last row that a sheet can have. Rows keep their numbers: one far below would make as many empty lines.
MAX_ROW = 1_048_576
# How many lines may stand above the header: a title, a date, and what tells a spreadsheet the delimiter.
MAX_TITLES = 20
# How much of a line is looked at for its delimiter: more than any header has.
HEADER_LENGTH = 10_000
# How deep a YAML may be nested: a list with objects, under `rows`, and some more for the error to be about the value.
YAML_DEPTH = 10

DELIMITERS = ",;\t"
# What stands for a line break within a value of a CSV that was an XLSX, whose lines keep their numbers so.
LINE_BREAK = "\u2028"


class _YAMLLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Leaves values as the text that they are, but for null: some of YAML's numbers take hours to read."""

    yaml_implicit_resolvers = {
        start: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
        for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def write_failed(rows, errors):
    """
    Return the rows that failed as CSV text, with why in a last column that an import passes over.

    Args:
        rows: As `parse_file` returns them.
        errors: What was wrong with each, {column: texts}, empty where nothing was.
    """
    failed = [(cells, texts) for (_line, cells), texts in zip(rows, errors, strict=True) if texts]
    named = [cells for cells, _texts in failed if isinstance(cells, dict) and None not in cells]
    header = list(dict.fromkeys(name for cells in named for name in cells)) or list(COLUMNS)
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
        writer.writerow(defuse([*values, why]))
    return buffer.getvalue()


class _SheetParser(WorkSheetParser):
    """Refuses cells without the value that people see: of formulas that were never calculated, and of errors."""

    def parse_cell(self, element):
        cell = super().parse_cell(element)
        if cell["data_type"] == "e":
            text = _("Cell {cell} has the error {error}: correct it.")
            raise ValidationError({"xlsx": text.format(cell=_coordinate(cell), error=cell["value"])})
        # One that results in an empty text is of type str.
        if cell["value"] is None and element.find(FORMULA_TAG) is not None and element.get("t") != "str":
            text = _("Cell {cell} has a formula whose value was not saved: open the file in a spreadsheet and save it.")
            raise ValidationError({"xlsx": text.format(cell=_coordinate(cell))})
        return cell


def _coordinate(cell):
    return f"{get_column_letter(min(cell['column'], 18278))}{cell['row']}"


def parse_file(content, kind=""):
    """
    Return the rows of a file as (line number or None, {column: value}) pairs.

    Args:
        content: Bytes, or text.
        kind: The file's name or content type. It matters where it says YAML: not every YAML begins as one.

    Raises:
        ValidationError: Keyed by the format, csv, xlsx, json or yaml, or by file where it is too long. It cannot be
            read, is empty, lacks or repeats a column, has one that is not known, or has more rows than the setting
            `import_max_rows`.
    """
    return read_file(content, kind)[0]


def read_file(content, kind=""):
    """Return the rows of a file (see `parse_file`), and a text with the same rows, CSV for a workbook."""
    if len(content) > MAX_SIZE:
        text = _("{size} MB are too much for one import: give at most {most} MB.")
        raise ValidationError({"file": text.format(size=len(content) // 10**6, most=MAX_SIZE // 10**6)})
    if isinstance(content, bytes) and content.startswith(XLSX_START):
        rows = _parse_xlsx(content)
        return rows, write_csv(rows)
    text = decode(content) if isinstance(content, bytes) else content.removeprefix("\ufeff")
    start = _without_comments(text)
    if YAML_START.match(start):
        return _parse_yaml(text), text
    if YAML_NAME.search(kind):
        # So marked, the text is taken for YAML wherever it is read next.
        return _parse_yaml(text), f"---\n{text}"
    if JSON_START.match(start):
        return _parse_json(start), text
    return parse_csv(text), text


def decode(content):
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


def _without_comments(text):
    """Return a text from where the comments and directives end that a YAML may begin with."""
    start = text.lstrip()
    while start.startswith(("#", "%")):
        start = start.partition("\n")[2].lstrip()
    return start


def parse_csv(text):
    """
    Return the rows of a CSV text as (line number, {column: value}) pairs.

    A byte order mark, any line ends, and comma, semicolon or tab as the delimiter are taken as they come. Blank lines
    are passed over, and so is what stands above the header with a single value: a title, or Excel's `sep=;`. A line
    with too many or too few values comes back with the key None, for `import_segments` to report with the other rows.

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
    # Strict: otherwise a quote that is never closed would swallow the lines after it.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=_find_delimiter(text), skipinitialspace=True, strict=True
    )
    return _read_lines(_numbered(reader), "csv")


def _find_delimiter(text):
    """Return the delimiter of a CSV: that of the first line which has two columns by it, or what is in its first."""
    lines = io.StringIO(text)
    lines = [line for line in islice(lines, MAX_TITLES) if line.strip()] or [text.lstrip()]
    for line in lines:
        line = line[:HEADER_LENGTH].strip()
        for delimiter in DELIMITERS:
            if sum(clean_name(value) in COLUMNS for value in line.split(delimiter)) > 1:
                return delimiter
    return max(DELIMITERS, key=lines[0].count)


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
            if titles <= MAX_TITLES and sum(bool(value.strip()) for value in values) == 1:
                continue
            header = _clean_header(values, name)
            continue
        count += 1
        if count > most:
            # Counted for the error, but not kept.
            continue
        if len(values) > len(header) and not any(map(str.strip, values[len(header) :])):
            # Some programs write as many values as the widest line of the sheet has.
            values = values[: len(header)]
        if len(values) == len(header):
            cells = dict(zip(header, map(_read_cell, values), strict=True))
            rows.append((line, {column: cells[column] for column in cells if column not in IGNORED_COLUMNS}))
        else:
            rows.append((line, {None: (tuple(values), len(header))}))
    if not titles:
        raise ValidationError({name: _("The sheet is empty: put a header there, and a line for each segment.")})
    if header is None:
        raise _no_header(name)
    if not rows:
        raise ValidationError({name: _("There is a header but no line under it: give one for each segment.")})
    _check_count(count, name)
    return rows


def _read_cell(value):
    return arm(value).replace(LINE_BREAK, "\n")


def _no_header(name):
    text = _("The first line is no header: begin with {columns}.")
    return ValidationError({name: text.format(columns=",".join(COLUMNS))})


def _clean_header(values, name):
    """Return the column names of a header line, or raise a ValidationError that says what is wrong with it."""
    while values and not values[-1].strip():
        values = values[:-1]
    if len(values) > MAX_COLUMNS:
        raise ValidationError(
            {
                name: _("The header has {count} columns: give {columns}.").format(
                    count=len(values), columns=", ".join(COLUMNS)
                )
            }
        )
    header = [clean_name(value) for value in values]
    known = {*COLUMNS, *IGNORED_COLUMNS}
    if known.isdisjoint(header):
        raise _no_header(name)
    unknown = [
        value.strip() or _("(no name)") for value, column in zip(values, header, strict=True) if column not in known
    ]
    needed = {*REQUIRED_COLUMNS} if "pool" in header else {*POOL_COLUMNS, *REQUIRED_COLUMNS}
    missing = [column for column in COLUMNS if column in needed - {*header}]
    repeated = sorted({column for column in header if column in known and header.count(column) > 1})
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
    header = next((list(values) for _line, values in rows if None not in values), REQUIRED_COLUMNS)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    written = 1
    for line, values in rows:
        buffer.write("\n" * (line - written - 1))
        cells = values[None][0] if None in values else defuse(values.values())
        writer.writerow([LINE_BREAK.join(value.splitlines()) for value in cells])
        written = line
    return buffer.getvalue()


def _parse_xlsx(content):
    """
    Return the rows of a workbook's only sheet with a header; the values of formulas are those that were saved with
    them.
    """
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            names = archive.namelist()
    except BadZipFile:
        raise ValidationError({"xlsx": _("The workbook is broken: save it again.")}) from None
    if size > XLSX_SIZE:
        text = _("The workbook has {size} MB, unpacked: give the segments alone, as one sheet.")
        raise ValidationError({"xlsx": text.format(size=size // 10**6)})
    if "[Content_Types].xml" not in names or "xl/workbook.bin" in names:
        # Those of LibreOffice and Numbers are ZIPs too, and so is Excel's binary format.
        raise ValidationError({"xlsx": _("This is a ZIP but no XLSX, or is broken: save the sheet as XLSX.")})
    try:
        workbook = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        return _read_lines(_find_sheet(workbook), "xlsx")
    except ValidationError:
        raise
    except Exception as error:
        # A broken workbook raises whatever it happens to break; openpyxl has no error of its own.
        raise ValidationError(
            {"xlsx": _("The workbook is broken: save it again. ({error})").format(error=error)}
        ) from None


def _find_sheet(workbook):
    """Return the lines of the sheet that has a header, or of the first where none has."""
    found = [sheet for sheet in workbook.worksheets if _has_header(sheet)]
    if len(found) > 1:
        text = _("Several sheets have segments: {sheets}. Give one, or import them one by one.")
        raise ValidationError({"xlsx": text.format(sheets=", ".join(sheet.title for sheet in found))})
    return _sheet_lines(*found or workbook.worksheets[:1])


def _has_header(sheet):
    for _line, texts in islice(_sheet_lines(sheet), MAX_TITLES + 1):
        if sum(clean_name(text) in COLUMNS for text in texts) > 1:
            return True
    return False


def _sheet_lines(sheet):
    """
    Yield (row number, texts) of the rows of a sheet that have any, each as long as the first one with several.

    It reads them as openpyxl's `iter_rows` does, which believes the size that a sheet says it has, makes a row for each
    that is missing, and leaves out those that are not in order.
    """
    width, workbook = 0, sheet.parent
    with sheet._get_source() as source:
        parser = _SheetParser(
            source,
            sheet._shared_strings,
            data_only=True,
            epoch=workbook.epoch,
            date_formats=workbook._date_formats,
            timedelta_formats=workbook._timedelta_formats,
        )
        for line, cells in parser.parse():
            texts = {cell["column"]: text for cell in cells if (text := as_text(cell["value"]))}
            if not texts:
                continue
            if line > MAX_ROW:
                raise ValidationError({"xlsx": _("The workbook is broken: save it again.")})
            last = max(texts)
            if last > MAX_COLUMNS:
                text = _("Row {line} has a value in column {column}: give at most {most} columns.")
                raise ValidationError({"xlsx": text.format(line=line, column=last, most=MAX_COLUMNS)})
            if len(texts) > 1:
                width = width or last
            yield line, [texts.get(column, "") for column in range(1, max(last, width) + 1)]


def _parse_json(text):
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        data = _parse_json_lines(text)
        if data is None:
            raise ValidationError({"json": _("This is no JSON: {error}.").format(error=error)}) from None
    return _read_objects(data, "json")


def _parse_json_lines(text):
    """Return the objects of a text with one on each line (JSON Lines), or None if it is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith("{") for line in lines):
        return None
    try:
        return [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return None


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
    return as_rows(data)


def as_rows(objects):
    """Return the objects of a list as rows (see `parse_file`), which are lines of no file."""
    return [(None, _with_names(one) if isinstance(one, dict) else one) for one in objects]


def _with_names(row):
    """Return an object with the names of its columns; where two names mean one column, as it is."""
    named = {clean_name(name) if isinstance(name, str) else name: value for name, value in row.items()}
    if len(named) < len(row):
        return row
    return {name: value for name, value in named.items() if name not in IGNORED_COLUMNS}
