"""The reader of tables with any columns; tests/services/onboarding has the files with segments."""

import pytest
from django.core.exceptions import ValidationError

from netbox_vlan_manager.services.base.sheets import (
    LEFT_OUT,
    Columns,
    UnknownHeadings,
    as_rows,
    parse_csv,
    read_file,
    rename_columns,
    write_csv,
    write_failed,
)

DEVICES = Columns(
    names=("name", "serial", "place"),
    ignored=frozenset(["errors"]),
    clean_name=str.lower,
    needed=lambda header: {"name"} if "serial" in header else {"name", "place"},
    row="device",
    rows="devices",
)


def errors_of(content, key):
    with pytest.raises(ValidationError) as caught:
        read_file(content, "", DEVICES)
    return " ".join(caught.value.message_dict[key])


def test_rows_have_the_columns_that_are_given():
    assert parse_csv("Devices\nName;Serial;Errors\na;1;bad\n", DEVICES) == [(3, {"name": "a", "serial": "1"})]
    assert read_file('[{"Name": "a"}]', "", DEVICES)[0] == as_rows([{"Name": "a"}], DEVICES) == [(None, {"name": "a"})]


def test_errors_name_the_columns_and_the_kind_of_rows():
    assert errors_of("", "csv") == "The file is empty: give a header, name,serial,place, and a line for each device."
    assert errors_of("x,y\n", "csv") == "The first line is no header: begin with name,serial,place."
    assert errors_of("name,x\n", "csv").startswith("Unknown column: x. The columns are name, serial, place.")
    assert errors_of("name\nplace\n", "csv").startswith("The first line is no header")
    assert errors_of("name,errors\na,b\n", "csv") == "Missing column: place."
    assert errors_of("[]", "json") == "The list is empty: give an object for each device."


def test_written_rows_are_read_again():
    rows = [(2, {"name": "=1+1", "serial": "a\nb"}), (4, {"name": "c", "serial": ""})]
    text = write_csv(rows, DEVICES)
    assert text.startswith("name,serial\n'=1+1,a\u2028b\n\n")
    assert parse_csv(text, DEVICES) == rows


def test_failed_rows_have_their_errors():
    rows = [(2, {"name": "a"}), (3, {"name": "=b"})]
    assert write_failed(rows, [{}, {"name": ["bad"]}], DEVICES) == "name,errors\r\n'=b,name: bad\r\n"


def test_an_unknown_header_can_be_named():
    text = "Devices\nGerät;Nr;Raum\n\na;1;R1\n"
    with pytest.raises(UnknownHeadings) as caught:
        read_file(text, "", DEVICES)
    error = caught.value
    assert (error.headings, error.samples, error.text) == (["Gerät", "Nr", "Raum"], [[], ["a", "1", "R1"]], text)

    named = rename_columns(text, ["name", LEFT_OUT, "place"], DEVICES)
    assert named == "Devices\nname;-;place\n\na;1;R1\n"
    assert read_file(named, "", DEVICES)[0] == [(4, {"name": "a", "place": "R1"})]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_only_the_header_is_named(newline):
    text = newline.join(['"Ger', 'ät",Raum', '"a', 'b",R1', ""])
    named = rename_columns(text, ["name", "place"], DEVICES)
    assert named == newline.join(["name,place"]) + "\n" + newline.join(['"a', 'b",R1', ""])


def test_columns_are_left_out_more_than_once():
    assert parse_csv("name,-,place,-\na,1,b,2\n", DEVICES) == [(2, {"name": "a", "place": "b"})]
