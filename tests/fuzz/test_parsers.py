"""The parsers return a valid result for any input, or raise a ValidationError."""

import csv
import io
import ipaddress
import json
import re
import zipfile
from datetime import UTC

import pytest
import yaml
from django.core.exceptions import ValidationError
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from netbox_vlan_manager.services.base.import_values import clean_time
from netbox_vlan_manager.services.onboarding.import_files import parse_csv, parse_file, write_csv
from netbox_vlan_manager.services.segments.segment_columns import COLUMNS
from netbox_vlan_manager.validators import (
    UNUSABLE_NETWORKS,
    clean_cidr,
    clean_cluster_name,
    clean_epg_name,
    clean_purpose,
    clean_vid,
    parse_vid_ranges,
    render_epg_name,
    validate_epg_template,
)

tries = settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers()), st.uuids()
)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20))
JSON = st.recursive(
    SCALAR, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.sampled_from(COLUMNS), inner)), max_leaves=20
)
YAML_TAGS = (
    "!!int",
    "!!float",
    "!!bool",
    "!!timestamp",
    "!!binary",
    "!!set",
    "!!omap",
    "!!pairs",
    "!!null",
    "!!python/x",
)


def check_rows(content):
    """Parse `content`, and check the result."""
    try:
        rows = parse_file(content)
    except ValidationError as e:
        error = e
    else:
        error = None
    if error:
        assert error.message_dict.keys() <= {"csv", "xlsx", "json", "yaml", "file"}
        return
    assert isinstance(rows, list)
    for line, values in rows:
        assert line is None or line > 0
        if line is not None:
            assert all(isinstance(value, str | tuple) for value in values.values())
            assert values.keys() <= {*COLUMNS, None}


@tries
@given(st.one_of(st.binary(), st.text()))
@example(b"")
@example("\ufeff")
@example(b"PK\x03\x04")
@example("[" * 100_000)
@example("- " * 2000)
@example('[{"vlan_id": 1e999}]')
@example("9" * 5000)
@example("[" + "9" * 5000 + "]")
def test_any_file(content):
    check_rows(content)


@tries
@given(st.lists(st.lists(st.text(max_size=20), max_size=12), max_size=6), st.sampled_from(",;\t"), st.booleans())
def test_any_csv(lines, delimiter, with_header):
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter)
    if with_header:
        writer.writerow(COLUMNS)
    try:
        writer.writerows(lines)
    except csv.Error:
        assume(False)
    check_rows(buffer.getvalue())


CELL = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)
ROW = st.tuples(*[CELL] * len(COLUMNS)).filter(any).map(lambda cells: dict(zip(COLUMNS, cells, strict=True)))


@tries
@given(st.lists(ROW, min_size=1))
def test_what_is_written_as_csv_is_read_back(rows):
    read = [values for _line, values in parse_csv(write_csv([(index, row) for index, row in enumerate(rows, 2)]))]
    assert [{name: values.get(name, "") for name in COLUMNS} for values in read] == rows


@tries
@given(JSON)
@example({"rows": [[]]})
def test_any_json(data):
    check_rows(json.dumps(data))


@tries
@given(st.one_of(JSON.map(yaml.safe_dump), st.text(max_size=50)), st.sampled_from(("---\n", "- ", "rows:\n- ", "- - ")))
@example("&a [*a]", "- ")
@example("? [a]\n: b", "- ")
@example("2020-99-99", "- ")
@example("190:20:30.15", "- ")
def test_any_yaml(text, start):
    check_rows(start + text)


@tries
@given(st.sampled_from(YAML_TAGS), SCALAR.map(str))
def test_any_tagged_yaml(tag, text):
    check_rows(f"- {tag} {json.dumps(text)}")
    check_rows(f"- {tag} [{json.dumps(text)}]")


@tries
@given(
    st.dictionaries(
        st.sampled_from(("[Content_Types].xml", "xl/workbook.xml", "xl/worksheets/sheet1.xml")), st.binary()
    )
)
def test_any_zip(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    check_rows(buffer.getvalue())


@tries
@given(ANYTHING)
@example("e\u0301" * 100)
def test_cluster_name(value):
    try:
        name = clean_cluster_name(value)
    except ValidationError:
        return
    assert 0 < len(name) <= 100
    assert name == name.strip()
    assert not {*",\0\r\n\u2028\ufeff"} & set(name)
    name.encode()
    assert clean_cluster_name(name) == name


@tries
@given(st.one_of(ANYTHING, st.from_regex(r"\s*[A-Za-z0-9_.:\-]{0,70}\s*")))
def test_epg_name(value):
    try:
        name = clean_epg_name(value)
    except ValidationError:
        assert not (isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", value))
        return
    assert re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", name, re.ASCII)
    assert clean_epg_name(name) == name


@tries
@given(st.one_of(ANYTHING, st.from_regex(r"\s*[A-Za-z0-9_\-]{0,60}\s*")))
def test_purpose(value):
    try:
        purpose = clean_purpose(value)
    except ValidationError:
        return
    assert re.fullmatch(r"[a-z0-9_-]{0,50}", purpose, re.ASCII)
    assert clean_purpose(purpose) == purpose


TEMPLATE = st.lists(
    st.one_of(st.sampled_from(["{site}", "{vrf}", "{pool}", "{vid}", "{", "}", "{vid!r}", "{0}"]), st.text(max_size=5))
).map("".join)


@tries
@given(TEMPLATE, st.text(), st.text(), st.text(), st.integers(1, 4094))
def test_every_template_that_is_taken_gives_names(template, site, vrf, pool, vid):
    try:
        validate_epg_template(template)
    except ValidationError:
        return
    try:
        name = render_epg_name(template, site=site, vrf=vrf, pool=pool, vid=vid)
    except ValidationError:
        # The template is valid: only too long names can fail.
        longest = template
        for value in (site, vrf, pool, str(vid)):
            longest += value * template.count("{")
        assert len(longest) > 64
        return
    assert clean_epg_name(name) == name
    assert str(vid) in name


ADDRESS = st.one_of(
    st.ip_addresses().map(str), st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.ip_address(n & ~0xFF)))
)
CIDR = st.one_of(
    st.text(max_size=50),
    st.builds("{}/{}".format, ADDRESS, st.integers(-1, 140)),
    st.builds(
        lambda address, length: str(ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)),
        st.ip_addresses(),
        st.integers(0, 128),
    ),
)


@settings(tries, max_examples=1000)
@given(CIDR)
@example("10.0.0.0/255.255.255.0")
@example("010.0.0.0/24")
@example("10.0.0/24")
@example("1/8")
@example("fe80::%eth0/64")
@example("10.0.0.0/24/24")
@example("10.0.0.0/٢٤")
@example("::ffff:10.0.0.0/120")
@example("10.0.0.0/024")
def test_cidr_is_what_the_ipaddress_module_says(text):
    try:
        network = clean_cidr(text)
    except ValidationError:
        network = None
    try:
        expected = ipaddress.ip_network(text.strip())
    except ValueError:
        expected = None
    if expected is not None:
        unusable = [ipaddress.ip_network(str(one)) for one in UNUSABLE_NETWORKS]
        written = "/" in text and re.fullmatch(r"[0-9]{1,3}", text.strip().partition("/")[2])
        zone = getattr(expected.network_address, "scope_id", None)
        if not written or zone or any(one.version == expected.version and one.overlaps(expected) for one in unusable):
            expected = None
    assert str(network) == str(expected)


@tries
@given(st.one_of(ANYTHING, st.integers(-10, 5000), st.integers(-10, 5000).map(str), st.from_regex(r"\s*0*\d{1,6}\s*")))
def test_vid(value):
    try:
        vid = clean_vid(value)
    except ValidationError:
        assert not (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4094)
        return
    assert 1 <= vid <= 4094
    assert int(value) == vid


@tries
@given(
    st.one_of(
        st.text(), st.text("0123456789-, \n"), st.lists(st.integers(0, 9999)).map(lambda vids: ",".join(map(str, vids)))
    )
)
def test_vid_ranges(text):
    try:
        ranges = parse_vid_ranges(text)
    except ValidationError:
        return
    assert ranges
    assert all(0 <= first <= 9999 and 0 <= last <= 9999 for first, last in ranges)
    again = ",".join(f"{first}-{last}" for first, last in ranges)
    assert parse_vid_ranges(again) == ranges


@tries
@given(
    st.one_of(
        st.text(max_size=40),
        st.datetimes(timezones=st.one_of(st.none(), st.timezones())).map(lambda time: time.isoformat()),
        st.dates().map(lambda day: day.isoformat()),
        st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:?\d\d)?", fullmatch=True),
    )
)
@example("0001-01-01T00:00:00+14:00")
@example("9999-12-31T23:59:59-12:00")
@example("0001-01-01")
def test_times_are_ones_that_the_database_can_give_back(text):
    try:
        time = clean_time(text)
    except ValidationError:
        return
    assert time.tzinfo is not None
    assert time.astimezone(UTC).year >= 1


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_times_beyond_the_calendar_are_no_times(text):
    with pytest.raises(ValidationError):
        clean_time(text)
