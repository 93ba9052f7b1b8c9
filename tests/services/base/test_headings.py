"""Suggestions for the columns of foreign files."""

import pytest

from netbox_vlan_manager.services.base.sheets import UnknownHeadings
from netbox_vlan_manager.services.onboarding.import_files import (
    parse_file,
    read_file,
    rename_columns,
    suggest_columns,
)
from tests.services.onboarding.test_foreign_files import xlsx


def suggestions(text):
    """Return {heading: suggested column} for the header of a text."""
    with pytest.raises(UnknownHeadings) as caught:
        read_file(text)
    return {one.heading: one.column for one in suggest_columns(caught.value)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Standort;VLAN;Netz;Bezeichnung;VRF;Zimmer\nMuc;100;10.0.0.0/24;EPG_1;N1;2.11\n",
            {"Standort": "site", "VLAN": "vlan_id", "Netz": "segment", "Bezeichnung": "epg_name", "VRF": "vrf"},
        ),
        # By their values: nothing else says so.
        (
            "x,y,z,VRF\n100,10.0.0.0/24,2001:db8::/64,a\n",
            {"x": "vlan_id", "y": "segment", "z": "ipv6_prefix", "VRF": "vrf"},
        ),
        # Misspelt.
        (
            "site,vlan_idd,segmnt,discription\nS,1,10.0.0.0/24,x\n",
            {"site": "site", "vlan_idd": "vlan_id", "segmnt": "segment", "discription": "description"},
        ),
        # No column twice: the better reason wins.
        ("VLAN ID,Nummer,Foo\n1,2,3\n", {"VLAN ID": "vlan_id"}),
        ("Name of network,VLAN,Foo\na,1,b\n", {"Name of network": "epg_name", "VLAN": "vlan_id"}),
    ],
)
def test_columns_are_suggested(text, expected):
    found = suggestions(text)
    assert {heading: column for heading, column in found.items() if column} == expected


def test_each_suggestion_has_a_reason_and_samples():
    with pytest.raises(UnknownHeadings) as caught:
        read_file("Netz,Foo\n10.0.0.0/24,\n10.0.1.0/24,\n10.0.2.0/24,x\n10.0.3.0/24,y\n")
    netz, foo = suggest_columns(caught.value)
    assert (netz.reason, netz.samples) == ("“netz” means it", ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"])
    assert (foo.column, foo.reason, foo.samples) == ("", "", ["x", "y"])


def test_a_workbook_is_named_as_its_text():
    content = xlsx(("Standort", "VLAN", "Netz", "Name", "VRF", "Foo"), ("S", 100, "10.0.0.0/24", "EPG_1", "N", "x"))
    with pytest.raises(UnknownHeadings) as caught:
        read_file(content)
    names = ["site", "vlan_id", "segment", "epg_name", "vrf", "-"]
    expected = {"site": "S", "vlan_id": "100", "segment": "10.0.0.0/24", "epg_name": "EPG_1", "vrf": "N"}
    assert parse_file(rename_columns(caught.value.text, names)) == [(2, expected)]


def test_rows_of_one_pool_need_not_name_it():
    header = "vlan_id,epg_name,segment"
    rows = parse_file(f"{header}\n100,EPG_1,10.0.0.0/24\n", pool="network1-site1")
    assert rows == [(2, {"vlan_id": "100", "epg_name": "EPG_1", "segment": "10.0.0.0/24", "pool": "network1-site1"})]
    # Those that do are left as they are.
    named = f"pool,{header}\nother,100,EPG_1,10.0.0.0/24\n,101,EPG_2,10.0.1.0/24\n"
    assert [row["pool"] for _line, row in parse_file(named, pool="network1-site1")] == ["other", "network1-site1"]
    named = f"site,vrf,{header}\nS,N,100,EPG_1,10.0.0.0/24\n"
    assert "pool" not in parse_file(named, pool="network1-site1")[0][1]
    assert [row["pool"] for _line, row in parse_file('[{"vid": 1}]', pool="network1-site1")] == ["network1-site1"]
