"""Files of other programs and other locales are read completely, or refused with the reason."""

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from openpyxl import Workbook

from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services.base.import_values import clean_bool, clean_time
from netbox_vlan_manager.services.onboarding.import_files import parse_file
from netbox_vlan_manager.services.onboarding.importing import import_segments
from tests.factories import make_pool, make_user

HEADER = ("site", "vlan_id", "epg_name", "segment", "vrf", "dhcp")
FILES = Path(__file__).parent / "files"
EXCEL_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")


def line(number, dhcp="true"):
    return ("Site1", number, f"EPG_{number}", f"10.0.{number - 100}.0/24", "Network1", dhcp)


def xlsx(*lines, titles=()):
    """Return a workbook with one sheet, or with a sheet for each title; each sheet has the lines."""
    workbook = Workbook()
    for title in titles:
        workbook.create_sheet(title)
    if titles:
        workbook.remove(workbook.worksheets[0])
    for sheet in workbook.worksheets:
        for values in lines:
            sheet.append(values)
    file = io.BytesIO()
    workbook.save(file)
    return file.getvalue()


def edited(content, pattern, replacement):
    """Return a workbook with the XML of its first sheet changed."""
    out = io.BytesIO()
    with ZipFile(io.BytesIO(content)) as old, ZipFile(out, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "xl/worksheets/sheet1.xml":
                text, count = re.subn(pattern, replacement, data.decode())
                assert count
                data = text.encode()
            new.writestr(name, data)
    return out.getvalue()


def csv_of(*lines, delimiter=","):
    return "".join(delimiter.join(map(str, values)) + "\r\n" for values in lines)


def vids(content, kind=""):
    return [row["vlan_id"] for _line, row in parse_file(content, kind)]


def refusal(content, kind=""):
    with pytest.raises(ValidationError) as error:
        parse_file(content, kind)
    return " ".join(error.value.messages)


class TestSheets:
    @pytest.mark.parametrize("size", ["A1:E3", "A1", "A1:XFD1048576", "B2:C2"])
    def test_size_that_is_not_true(self, size):
        content = xlsx(HEADER, *map(line, range(100, 106)))
        content = edited(content, r'<dimension ref="[^"]+" ?/>', f'<dimension ref="{size}"/>')
        assert vids(content) == [str(vid) for vid in range(100, 106)]

    def test_rows_that_are_far_apart_or_out_of_order(self):
        content = xlsx(HEADER, line(100), line(101))
        assert vids(edited(content, '<row r="3"', '<row r="1048576"')) == ["100", "101"]
        rows = edited(content, '(<row r="2".*?</row>)(<row r="3".*?</row>)', r"\2\1")
        assert vids(rows) == ["101", "100"]

    def test_many_empty_rows_between(self):
        content = xlsx(HEADER, line(100), *[(None,) * 6] * 3000, line(101))
        assert vids(content) == ["100", "101"]
        assert len(parse_file(xlsx(HEADER, *(values for vid in range(15_000) for values in (line(100), ()))))) == 15_000

    def test_value_in_a_far_column_is_not_lost(self):
        assert "column 200" in refusal(xlsx(HEADER, (*line(100), *[None] * 193, "a note")))

    def test_title_above_the_header(self):
        content = xlsx(("Networks of the data centre",), (), ("Stand: 27.11.2026",), HEADER, line(100))
        assert parse_file(content)[0][0] == 5
        assert vids(csv_of(("Networks, as of today, all of them".replace(",", ""),), HEADER, line(100))) == ["100"]

    def test_several_sheets(self):
        workbook = Workbook()
        workbook.active.title = "Read me"
        workbook.active.append(("This workbook has our networks", "and more"))
        for values in (HEADER, line(100)):
            workbook.create_sheet("Networks").append(values) if values is HEADER else workbook["Networks"].append(
                values
            )
        file = io.BytesIO()
        workbook.save(file)
        assert vids(file.getvalue()) == ["100"]
        assert "Several sheets have segments: Berlin, Hamburg" in refusal(
            xlsx(HEADER, line(100), titles=("Berlin", "Hamburg"))
        )

    def test_formula_without_its_value_and_error(self):
        formula = xlsx(HEADER, (*line(100)[:5], '=IF(1,"true")'))
        assert "Cell F2 has a formula whose value was not saved" in refusal(formula)
        calculated = edited(formula, r"<v ?/>|<v></v>|(?<=</f>)(?=</c>)", "<v>1</v>")
        assert parse_file(calculated)[0][1]["dhcp"] == "1"
        wrong = edited(xlsx(HEADER, line(100)), '<c r="F2".*?</c>', '<c r="F2" t="e"><v>#REF!</v></c>')
        assert "Cell F2 has the error #REF!" in refusal(wrong)

    def test_no_xlsx(self):
        assert "no XLSX" in refusal((FILES / "libreoffice.ods").read_bytes())
        assert "older format" in refusal((FILES / "libreoffice.xls").read_bytes())


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["libreoffice.xlsx", "libreoffice-semicolons.csv", "libreoffice-utf16-tabs.csv"])
def test_saved_by_libreoffice(name):
    make_pool()
    result = import_segments(parse_file((FILES / name).read_bytes(), name), user=make_user(), enforce=False)
    assert [row.errors for row in result.results] == [{}] * 3
    assert [(s.vid, s.dhcp, s.status) for s in Segment.objects.order_by("vid")] == [
        (100, True, "allocated"),
        (101, False, "disabled"),
        (102, True, "available"),
    ]
    assert Segment.objects.get(vid=100).description == "Web, two lines\nand umlauts: äöü"
    assert Allocation.objects.get().allocated_at == datetime(2025, 3, 1, 8, 15, tzinfo=UTC)


class TestText:
    @pytest.mark.parametrize("encoding", EXCEL_ENCODINGS)
    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize("start", ["", "sep={}\r\n", '"sep={}"\r\n', "\r\n\r\n"])
    def test_as_excel_saves_it(self, encoding, delimiter, start):
        text = start.format(delimiter) + csv_of(HEADER, line(100), line(101), delimiter=delimiter)
        assert vids(text.encode(encoding)) == ["100", "101"]

    def test_other_encodings_are_refused(self):
        text = csv_of((*HEADER, "description"), (*line(100), "Büro"))
        assert "UTF-8" in refusal(text.encode("cp1252"))
        assert "zero bytes" in refusal(text.replace("ü", "u").encode("utf-16-le"))

    def test_columns_and_rows_that_are_empty(self):
        text = csv_of((*HEADER, "", ""), (*line(100), "", ""), ("",) * 8, (*line(101), "", " "), ("",) * 8)
        assert vids(text) == ["100", "101"]
        # A column with a value is not empty, even without a heading.
        ((_line, row),) = parse_file(csv_of((*HEADER, ""), (*line(100), "x")))
        assert None in row

    def test_line_that_is_cut_off(self):
        ((_line, row),) = parse_file(csv_of(HEADER, line(100)[:5]))
        assert row[None][1] == 6

    @pytest.mark.parametrize(
        ("heading", "column"),
        [
            ("VLAN ID", "vlan_id"),
            ("Vlan #", "vlan_id"),
            ("VLAN-ID", "vlan_id"),
            ("vid", "vlan_id"),
            ("VLAN\u00a0ID", "vlan_id"),
            (" EPG Name ", "epg_name"),
            ("Prefix", "segment"),
            ("subnet*", "segment"),
        ],
    )
    def test_headings_of_other_tools(self, heading, column):
        header = [heading if name == column else name for name in HEADER]
        for content in (csv_of(header, line(100)), xlsx(header, line(100))):
            ((_line, row),) = parse_file(content)
            assert set(row) == set(HEADER)

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            # Infoblox NIOS, NetBox's own exports, and phpIPAM.
            ("header-network,address*,netmask*,comment\nnetwork,10.0.0.0,255.255.255.0,x\n", ["no header"]),
            ("ID,VID,Name,Site,Group,Prefixes,Tenant,Status,Role\n1,100,a,b,c,d,e,f,g\n", ["ID", "Name", "Prefixes"]),
            ("Prefix,Status,Children,VRF,Tenant,VLAN,Role\n10.0.0.0/24,Active,0,a,b,c,d\n", ["Children", "Tenant"]),
            ("VRF,Subnet,Mask,Description,VLAN number,Domain\na,10.0.0.0,24,b,5,c\n", ["Mask", "Domain"]),
        ],
    )
    def test_of_another_kind(self, text, names):
        for name in names:
            assert name in refusal(text)

    @pytest.mark.parametrize("text", ["# our networks\n\n", "# a, b\n# c\n---\n", "%YAML 1.1\n---\n", "---\n# x\n", ""])
    def test_yaml(self, text):
        rows = "".join(f"- {json.dumps(dict(zip(HEADER, line(vid), strict=True)))}\n" for vid in (100, 101))
        assert vids(text + rows) == ["100", "101"] or vids(text + rows) == [100, 101]

    def test_yaml_by_its_name_or_content_type(self):
        text = "[{site: Site1, vlan_id: 100, epg_name: a, segment: 10.0.0.0/24, vrf: Network1}]"
        for kind in ("networks.yml", "a.YAML", "application/yaml", "application/x-yaml", "text/yaml"):
            assert vids(text, kind) == ["100"]
        assert "no JSON" in refusal(text)
        assert "Give a list" in refusal("site: a\nvlan_id: 5\n", "networks.yaml")

    def test_json_lines(self):
        rows = [dict(zip(HEADER, line(vid), strict=True)) for vid in (100, 101)]
        assert vids("\n".join(map(json.dumps, rows)) + "\n") == [100, 101]
        assert "no JSON" in refusal(json.dumps(rows[0]) + "\n{broken\n")


@pytest.mark.django_db
def test_numbers_of_sheets_are_the_same_everywhere():
    make_pool()
    values = ("Site1", "100.0", "EPG_100", "10.0.0.0/24", "Network1", "1")
    rows = {
        "csv": csv_of(HEADER, values),
        "json": json.dumps([dict(zip(HEADER, values, strict=True)) | {"vlan_id": 100.0}]),
        "xlsx": xlsx(HEADER, (values[0], 100.0, *values[2:])),
    }
    for content in rows.values():
        (row,) = import_segments(parse_file(content), user=make_user(), enforce=False, dry_run=True).results
        assert (row.status, row.errors) == ("created", {})


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["1.000", "102,0", "102.5", "1e2", "0x64", "1 000"])
def test_numbers_that_may_be_others_are_refused(text):
    make_pool()
    row = dict(zip(HEADER, line(100), strict=True)) | {"vlan_id": text}
    (result,) = import_segments([(None, row)], user=make_user(), enforce=False).results
    assert result.errors.keys() == {"vlan_id"}


# Words for true and false that Excel and users write, in every language of NetBox.
WORDS = {
    "cs": ("PRAVDA", "NEPRAVDA", "ano", "ne"),
    "da": ("SAND", "FALSK", "ja", "nej"),
    "de": ("WAHR", "FALSCH", "ja", "nein"),
    "en": ("TRUE", "FALSE", "yes", "no"),
    "es": ("VERDADERO", "FALSO", "sí", "no"),
    "fr": ("VRAI", "FAUX", "oui", "non"),
    "it": ("VERO", "FALSO", "sì", "no"),
    "ja": ("TRUE", "FALSE", "はい", "いいえ"),
    "ko": ("TRUE", "FALSE", "예", "아니요"),
    "lv": ("PATIESS", "APLAMS", "jā", "nē"),
    "nl": ("WAAR", "ONWAAR", "ja", "nee"),
    "pl": ("PRAWDA", "FAŁSZ", "tak", "nie"),
    "pt": ("VERDADEIRO", "FALSO", "sim", "não"),
    "ru": ("ИСТИНА", "ЛОЖЬ", "да", "нет"),
    "tr": ("DOĞRU", "YANLIŞ", "evet", "hay\u0131r"),
    "uk": ("ІСТИНА", "ХИБНІСТЬ", "так", "ні"),
    "zh": ("TRUE", "FALSE", "是", "否"),
}


def test_every_language_of_netbox_has_its_words():
    assert {code.split("-")[0] for code, _name in settings.LANGUAGES} <= WORDS.keys()


@pytest.mark.parametrize("language", WORDS)
def test_logical_values(language):
    for true, false in (WORDS[language][:2], WORDS[language][2:]):
        for change in (str, str.upper, str.lower, str.capitalize):
            assert clean_bool(change(true)) is True
            assert clean_bool(change(false)) is False


@pytest.mark.parametrize("text", ["maybe", "2", "truefalse", "10", "vielleicht", "x" * 10**6])
def test_no_logical_value(text):
    with pytest.raises(ValidationError, match="neither true nor false"):
        clean_bool(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("27.10.2026 08:15", (2026, 10, 27, 8, 15)),
        ("01.11.2026", (2026, 11, 1)),
        ("1.11.2026 8:05:09", (2026, 11, 1, 8, 5, 9)),
        ("27/10/2026", (2026, 10, 27)),
        ("10/27/2026 8:15 PM", (2026, 10, 27, 20, 15)),
        ("12/13/2026 12:00 AM", (2026, 12, 13)),
        ("11/11/2026", (2026, 11, 11)),
        ("27-10-2026", (2026, 10, 27)),
        ("2026/10/27 8:15", (2026, 10, 27, 8, 15)),
        ("2026. 10. 27.", (2026, 10, 27)),
        ("46322.34375", (2026, 10, 27, 8, 15)),
        ("46322", (2026, 10, 27)),
        ("2026-10-27T08:15:00+02:00", (2026, 10, 27, 6, 15)),
    ],
)
def test_times(text, time):
    assert clean_time(text) == datetime(*time, tzinfo=UTC)


def test_day_that_may_be_another_is_refused_with_both():
    for text in ("10/11/2026", "10-11-2026 08:00"):
        with pytest.raises(ValidationError, match=r"may mean 2026-11-10 or 2026-10-11"):
            clean_time(text)


@pytest.mark.parametrize(
    "text", ["31.02.2026", "27.10.26", "13/13/2026", "27.10.2026 25:00", "27.10.2026 x", "1e5", "99999", "0.5", "8:15"]
)
def test_no_times(text):
    with pytest.raises(ValidationError, match="is no time"):
        clean_time(text)


@pytest.mark.django_db
def test_all_errors_of_a_row_at_once():
    make_pool()
    row = {
        "site": "Nowhere",
        "vrf": "Network1",
        "vlan_id": "5055",
        "epg_name": "a b",
        "segment": "10.0.0.1/24",
        "dhcp": "maybe",
        "cluster_name": "x" * 200,
        "allocated_at": "yesterday",
        "status": "broken",
        "colour": "red",
    }
    (result,) = import_segments([(None, row)], user=make_user(), enforce=False).results
    assert result.errors.keys() == row.keys() - {"vrf"}


@pytest.mark.django_db
def test_invisible_characters_around_values():
    make_pool()
    values = ["\u00a0Site1\u00a0", "\u200b100", "\ufeffEPG_100", "10.0.0.0/24\u00a0", " Network1", "\u00a0true"]
    (row,) = import_segments(parse_file(csv_of(HEADER, values)), user=make_user(), enforce=False).results
    assert row.errors == {}
