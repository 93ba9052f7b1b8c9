"""
Reads the sheets of XLSX files as lines of texts. No file is trusted: a workbook may be broken, or far larger than it
looks.
"""

import io
from contextlib import contextmanager
from zipfile import BadZipFile, ZipFile

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from openpyxl import load_workbook
from openpyxl.utils import get_column_letter
from openpyxl.worksheet._reader import FORMULA_TAG, WorkSheetParser

from .import_values import as_text

__all__ = (
    "MAX_COLUMNS",
    "XLSX_START",
    "open_workbook",
    "sheet_lines",
)

XLSX_START = b"PK\x03\x04"

# An XLSX is a ZIP. The largest size of its unpacked content, in bytes; 20,000 rows have about 10 MB.
XLSX_SIZE = 50 * 10**6
# The most columns of a sheet.
MAX_COLUMNS = 100
# The last row that a sheet can have. Rows keep their numbers: one far below would make as many empty lines.
MAX_ROW = 1_048_576


class _SheetParser(WorkSheetParser):
    """Refuses cells without the value that people see: of formulas that were never calculated, and of errors."""

    def parse_cell(self, element):
        cell = super().parse_cell(element)
        if cell["data_type"] == "e":
            text = _("Cell {cell} has the error {error}: correct it.")
            raise ValidationError({"xlsx": text.format(cell=_coordinate(cell), error=cell["value"])})
        # A formula that results in an empty text is of type str.
        if cell["value"] is None and element.find(FORMULA_TAG) is not None and element.get("t") != "str":
            text = _("Cell {cell} has a formula whose value was not saved: open the file in a spreadsheet and save it.")
            raise ValidationError({"xlsx": text.format(cell=_coordinate(cell))})
        return cell


def _coordinate(cell):
    return f"{get_column_letter(min(cell['column'], 18278))}{cell['row']}"


@contextmanager
def open_workbook(content, rows):
    """
    Open a workbook, and give the block its worksheets. The values of formulas are those that were saved with them.

    Args:
        content: The file, as bytes.
        rows: The word for its rows in errors, such as "segments".

    Raises:
        ValidationError: Keyed by xlsx. It is none, is too large, or reading it in the block fails.
    """
    _check_archive(content, rows)
    try:
        yield load_workbook(io.BytesIO(content), read_only=True, data_only=True).worksheets
    except ValidationError:
        raise
    except Exception as error:
        # A broken workbook raises any exception; openpyxl has no error of its own.
        raise ValidationError(
            {"xlsx": _("The workbook is broken: save it again. ({error})").format(error=error)}
        ) from None


def _check_archive(content, rows):
    """Raise a ValidationError if bytes are no ZIP of an XLSX, or unpack to too much."""
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            names = archive.namelist()
    except BadZipFile:
        raise ValidationError({"xlsx": _("The workbook is broken: save it again.")}) from None
    if size > XLSX_SIZE:
        text = _("The workbook has {size} MB, unpacked: give the {rows} alone, as one sheet.")
        raise ValidationError({"xlsx": text.format(size=size // 10**6, rows=rows)})
    if "[Content_Types].xml" not in names or "xl/workbook.bin" in names:
        # The formats of LibreOffice and Numbers are ZIPs too, and so is Excel's binary format.
        raise ValidationError({"xlsx": _("This is a ZIP but no XLSX, or is broken: save the sheet as XLSX.")})


def sheet_lines(sheet):
    """
    Yield (row number, texts) for each row of a sheet that has any text, each as long as the first one with several.

    This reads rows as openpyxl's `iter_rows` does, which trusts the size that a sheet states, makes a row for each that
    is missing, and leaves out those that are not in order.
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
