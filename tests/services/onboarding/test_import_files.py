"""The formats that an import reads, good and bad."""

import io
import json
from datetime import datetime
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import yaml
from django.core.exceptions import ValidationError
from openpyxl import Workbook

from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.onboarding.import_files import parse_csv, parse_file, write_csv
from netbox_vlan_manager.services.onboarding.importing import import_segments
from netbox_vlan_manager.services.reporting.export import csv_chunks, segment_rows, xlsx_file
from netbox_vlan_manager.services.segments.segment_columns import COLUMNS, EXPORTED
from tests.factories import make_pool, make_segment, make_user

HEADER = ("site", "vlan_id", "epg_name", "segment", "vrf", "dhcp")
ROW = {"site": "Site1", "vlan_id": 100, "epg_name": "EPG_a", "segment": "10.0.1.0/24", "vrf": "Network1", "dhcp": True}
TEXTS = {name: str(value) for name, value in ROW.items()}


def xlsx(*lines):
    workbook = Workbook()
    for line in lines:
        workbook.active.append(line)
    file = io.BytesIO()
    workbook.save(file)
    return file.getvalue()


def message(content):
    with pytest.raises(ValidationError) as error:
        parse_file(content)
    ((name, texts),) = error.value.message_dict.items()
    return name, " ".join(texts)


def test_every_format_gives_the_same_rows():
    assert parse_file(",".join(HEADER) + "\n" + ",".join(TEXTS.values()) + "\n") == [(2, TEXTS)]
    assert parse_file(xlsx(HEADER, tuple(ROW.values()))) == [(2, TEXTS)]
    # YAML values stay text as written: 010 does not become 8, and "no" does not become false.
    as_written = {**TEXTS, "dhcp": "true"}
    for dump, row in ((json.dumps, ROW), (yaml.safe_dump, as_written)):
        for data in ([ROW], {"rows": [ROW]}):
            assert parse_file(dump(data)) == [(None, row)]
            assert parse_file(b"\xef\xbb\xbf" + dump(data).encode()) == [(None, row)]
    assert parse_file("---\n" + yaml.safe_dump([ROW])) == [(None, as_written)]


def test_sheet_as_people_make_it():
    """The sheet has empty lines and columns, headings of an export, numbers with a point, and a column of notes."""
    content = xlsx(
        (),
        ("Site", "VLAN ID", "EPG Name", "Segment", "VRF", "Allocated At", None),
        ("Site1", 100.0, " EPG_a ", "10.0.1.0/24", "Network1", datetime(2026, 1, 31, 12)),
        (None, "", " "),
        ("Site1", 101, "EPG_b", "10.0.2.0/24", "Network1"),
        ("Site1", 102, "EPG_c", "10.0.3.0/24", "Network1", "", "a note"),
    )
    (first, second, third) = parse_file(content)
    assert first[0] == 3
    assert (first[1]["vlan_id"], first[1]["epg_name"], first[1]["allocated_at"]) == (
        "100",
        "EPG_a",
        "2026-01-31T12:00:00",
    )
    assert (second[0], second[1]["allocated_at"]) == (5, "")
    assert third == (6, {None: (("Site1", "102", "EPG_c", "10.0.3.0/24", "Network1", "", "a note"), 6)})


def test_sheet_as_csv_keeps_its_line_numbers():
    content = xlsx(HEADER, (), tuple(ROW.values()), ("Site1", 101, "line\nbreak", 'a "quote", comma', "Network1", "no"))
    rows = parse_file(content)
    assert [line for line, _values in rows] == [3, 4]
    again = parse_csv(write_csv(rows))
    assert [line for line, _values in again] == [3, 4]
    assert again[0] == rows[0]
    assert (again[1][1]["epg_name"], again[1][1]["segment"]) == ("line\nbreak", 'a "quote", comma')


def bomb(size):
    """Return a ZIP that unpacks to that many bytes."""
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"\0" * size)
    return file.getvalue()


def without_sheet():
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("hello.txt", "hello")
    return file.getvalue()


# Each of nine levels repeats the one below nine times: some 10 ** 9 entries for a reader that follows all aliases.
ALIASES = "- &a0 [x]\n" + "".join(f"- &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9))


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"\xff\xfe\0", "csv", "neither XLSX nor UTF-8"),
        (b"PK\x03\x04broken", "xlsx", "broken"),
        (without_sheet(), "xlsx", "broken"),
        (bomb(201 * 10**6), "xlsx", "201 MB"),
        (xlsx(), "xlsx", "sheet is empty"),
        (xlsx(HEADER), "xlsx", "no line under it"),
        (xlsx(("a", "b"), (1, 2)), "xlsx", "no header"),
        (xlsx((*HEADER, "colour"), (1,)), "xlsx", "Unknown column: colour"),
        (xlsx((*HEADER, "Cluster", "cluster_name"), (1,)), "xlsx", "given twice: cluster_name"),
        ("[", "json", "no JSON"),
        ("{}", "json", "Give a list"),
        ('{"rows": {}}', "json", "Give a list"),
        ("[]", "json", "list is empty"),
        ("[" * 100_000, "json", "no JSON"),
        ("- [", "yaml", "no YAML"),
        ("---\nsite: a", "yaml", "Give a list"),
        ("- !!python/object/apply:os.system [ls]", "yaml", "leave out anchors"),
        ("x" * (10**7 + 1), "file", "give at most 10 MB"),
        (json.dumps([{}] * 20_001), "json", "20001 rows are too many"),
    ],
)
def test_file_that_cannot_be_read(content, name, says):
    assert message(content)[0] == name
    assert says in message(content)[1]


@pytest.mark.django_db
@pytest.mark.parametrize("value", [[1], {"a": 1}, "a\0b", "\ud800"])
def test_value_that_is_no_text(value):
    make_pool()
    (row,) = import_segments([(None, {**ROW, "epg_name": value})], user=make_user(), enforce=False).results
    assert row.errors.keys() == {"epg_name"}


@pytest.mark.django_db
def test_aliases_of_yaml_are_not_followed():
    make_pool()
    with pytest.raises(ValidationError, match="anchors"):
        parse_file(ALIASES)


@pytest.mark.django_db
def test_export_is_imported_again_without_a_change():
    pool = make_pool(segments=3)
    make_segment(pool, 200, 9, description="=1+1")
    for name in ("a", "b"):
        allocate(name, user=make_user(), pool=pool)
    segments = Segment.objects.all()
    for content in (
        "".join(csv_chunks(EXPORTED, segment_rows(segments))),
        xlsx_file(EXPORTED, segment_rows(segments)).read(),
    ):
        result = import_segments(parse_file(content), user=make_user(), enforce=False)
        assert {row.status for row in result.results} == {"unchanged"}, [row.errors for row in result.results]


def test_columns_are_the_documented_ones():
    first = ("site", "vlan_id", "epg_name", "segment", "vrf", "ipv6_prefix", "gateway", "ipv6_gateway", "dhcp")
    assert COLUMNS[:9] == first
