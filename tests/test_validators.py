from types import SimpleNamespace

import netaddr
import pytest
from django.core.exceptions import ValidationError

from netbox_vlan_manager.validators import (
    clean_cidr,
    clean_cluster_name,
    clean_duration,
    clean_epg_name,
    clean_purpose,
    clean_vid,
    clean_vid_range,
    duration_text,
    parse_vid_ranges,
    prefix_length_bounds,
)


def refusal(clean, *args, **kwargs):
    """Return the only message with which `clean` refuses."""
    with pytest.raises(ValidationError) as caught:
        clean(*args, **kwargs)
    (message,) = caught.value.messages
    return message


@pytest.mark.parametrize(
    ("value", "vid"), [(1, 1), (4094, 4094), ("1", 1), ("4094", 4094), (" 7 ", 7), ("7\n", 7), ("0007", 7)]
)
def test_vid(value, vid):
    assert clean_vid(value) == vid


def test_range_of_vlan_ids():
    assert clean_vid_range("100", 199) == (100, 199)
    assert clean_vid_range(7, 7) == (7, 7)
    assert "is reversed" in refusal(clean_vid_range, 20, 10)
    assert "VLAN ID '5000'" in refusal(clean_vid_range, 1, 5000)


def test_ranges_as_text():
    assert parse_vid_ranges("100-199, 300,400-401") == [(100, 199), (300, 300), (400, 401)]
    for text in ("", "x", "1-2-3", "-5", "99999", "1;2"):
        with pytest.raises(ValidationError, match="is no range of VLAN IDs"):
            parse_vid_ranges(text)


@pytest.mark.parametrize(
    "value",
    [
        0, 4095, -1, 10**30, "0", "4095", "-1", "+5", "0004095", "0009999", "0000000", "9" * 5000,
        True, False, None, 1.0, 1.5, [7], b"7", "", " ", "1.5", "1.0", "1e3", "0x10", "1_0", "1 0", "7\0", "seven",
        "\N{FULLWIDTH DIGIT SEVEN}", "\N{ARABIC-INDIC DIGIT SEVEN}", "\N{SUPERSCRIPT TWO}",
    ],
    ids=lambda value: ascii(value)[:20],
)  # fmt: skip
def test_vid_out_of_range_or_no_whole_number(value):
    assert refusal(clean_vid, value).endswith("is not valid: use a whole number from 1 to 4094.")


def test_vid_message_names_the_value():
    assert refusal(clean_vid, "4095").startswith("VLAN ID '4095' ")


def test_long_value_is_cut_in_the_message():
    assert len(refusal(clean_vid, "9" * 4000)) < 200


@pytest.mark.parametrize("name", ["a", "EPG_1", "epg-1", "-", "_", "0", "A" * 64, "EPG.1", "EPG:1", "10.1.1.0_24-Mgmt"])
def test_epg_name(name):
    assert clean_epg_name(name) == name


def test_epg_name_is_trimmed():
    assert clean_epg_name("  EPG_1\n") == "EPG_1"


@pytest.mark.parametrize(
    "name",
    [
        None, "", " ", "A" * 65, "EPG 1", "EPG/1", "EPG;1", "EPG\\1", "EPG]1", "EPG\n1", "EPG\0", "ÉPG",
        "EPG_\N{FULLWIDTH DIGIT ONE}",
    ],
    ids=ascii,
)  # fmt: skip
def test_epg_name_with_other_characters_or_length(name):
    assert refusal(clean_epg_name, name).endswith("is not valid: use 1 to 64 letters (A-Z, a-z), digits and _ . : -.")


def test_epg_name_message_names_the_value():
    assert refusal(clean_epg_name, "EPG 1").startswith("EPG name 'EPG 1' ")


@pytest.mark.parametrize("name", ["a", "prod-01", "a b", "example.com:6443", "ü", "אשכול-1", "クラスタ", "x" * 100])
def test_cluster_name(name):
    assert clean_cluster_name(name) == name


def test_cluster_name_is_trimmed():
    assert clean_cluster_name("\t prod-01 \n") == "prod-01"


def test_cluster_name_is_composed():
    assert clean_cluster_name("e\u0301") == "é"


def test_cluster_name_is_counted_as_it_is_stored():
    assert len(clean_cluster_name("e\u0301" * 100)) == 100


@pytest.mark.parametrize("name", ["", "  ", "\n"])
def test_cluster_name_is_needed(name):
    assert refusal(clean_cluster_name, name) == "Cluster name is empty: name the cluster that asks for the segment."


@pytest.mark.parametrize("name", [None, 5, True, ["prod"], b"prod"])
def test_cluster_name_is_text(name):
    assert refusal(clean_cluster_name, name).endswith("is not valid: use text.")


def test_cluster_name_of_101_characters():
    assert refusal(clean_cluster_name, "x" * 101).endswith("has 101 characters: use at most 100.")


@pytest.mark.parametrize(
    "name", ["a,b", "a\nb", "a\r\nb", "a\tb", "a\0b", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "a\u2029b", "a\ud800b"]
)
def test_cluster_name_with_comma_line_break_or_control_character(name):
    message = refusal(clean_cluster_name, name)
    assert message.endswith("is not valid: leave out commas, line breaks and control characters.")
    assert repr(name) in message


@pytest.mark.parametrize(
    ("value", "purpose"), [(None, ""), ("", ""), ("  ", ""), ("storage", "storage"), (" Storage ", "storage"), (1, "1")]
)
def test_purpose(value, purpose):
    assert clean_purpose(value) == purpose


@pytest.mark.parametrize("purpose", ["a b", "a,b", "ä", "a\0", "a\nb", "x" * 51])
def test_purpose_with_other_characters_or_length(purpose):
    message = refusal(clean_purpose, purpose)
    assert message.endswith("is not valid: use up to 50 letters (a-z), digits, _ or -.")
    assert message.startswith(f"Purpose {purpose!r} ")


@pytest.mark.parametrize(
    ("value", "network"),
    [
        ("10.0.0.0/24", "10.0.0.0/24"),
        (" 10.0.0.0/24\n", "10.0.0.0/24"),
        (netaddr.IPNetwork("10.0.0.0/24"), "10.0.0.0/24"),
        ("192.168.1.0/31", "192.168.1.0/31"),
        ("2001:DB8:0:0::/64", "2001:db8::/64"),
    ],
)
def test_cidr(value, network):
    assert clean_cidr(value) == netaddr.IPNetwork(network)


@pytest.mark.parametrize("value", ["10.0.0.0", "10.0.0.0/", "", None, 5, "2001:db8::"])
def test_cidr_without_mask(value):
    assert refusal(clean_cidr, value).endswith(
        "has no mask: write it as a network with its length, such as 192.168.1.0/24."
    )


@pytest.mark.parametrize(
    "value",
    [
        "10.0.0.0/ 24", "10.0.0.0 /24", "10.0.0.0/033", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/1.5", "10.0.0.0/x",
        "10.0.0.0/99999", "10.0.0.0/24/24", "10.0.0.0/255.255.255.0", "10.0.0.0/0.0.0.255", "/24", "x/24", "10/8",
        "010.0.0.0/24", "10.0.0/24", "0xa.0.0.0/8", "167772160/24", "256.0.0.0/24", "10.0.0.0\0/24", "10.0.0.0/24\0",
        "2001:db8::/129", "2001:db8:::/64", "2001:db8::%eth0/64", "[2001:db8::]/64",
        "10.0.0.0/\N{FULLWIDTH DIGIT EIGHT}",
    ],
    ids=ascii,
)  # fmt: skip
def test_cidr_that_is_none(value):
    assert refusal(clean_cidr, value) == (
        f"Prefix {value!r} is not valid: write a network with its length, such as 192.168.1.0/24."
    )


@pytest.mark.parametrize(
    ("value", "network"),
    [("10.1.2.3/24", "10.1.2.0/24"), ("10.1.2.1/31", "10.1.2.0/31"), ("2001:db8::1/64", "2001:db8::/64")],
)
def test_cidr_with_host_bits(value, network):
    assert refusal(clean_cidr, value) == f"Prefix {value!r} is not a network address: did you mean {network}?"


@pytest.mark.parametrize("length", [16, 24, 31])
def test_cidr_within_bounds(length):
    assert clean_cidr(f"10.0.0.0/{length}", bounds=(16, 31)).prefixlen == length


@pytest.mark.parametrize("length", [8, 15, 32])
def test_cidr_out_of_bounds(length):
    assert refusal(clean_cidr, f"10.0.0.0/{length}", bounds=(16, 31)) == (
        f"Prefix 10.0.0.0/{length} has length /{length}: this pool takes /16 to /31."
    )


@pytest.mark.parametrize(
    ("value", "unusable"),
    [
        ("0.0.0.0/8", "0.0.0.0/8"),
        ("0.1.2.0/24", "0.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/8"),
        ("127.0.0.0/24", "127.0.0.0/8"),
        ("126.0.0.0/7", "127.0.0.0/8"),
        ("169.254.0.0/24", "169.254.0.0/16"),
        ("169.254.0.0/15", "169.254.0.0/16"),
        ("224.0.0.0/24", "224.0.0.0/4"),
        ("239.255.255.0/24", "224.0.0.0/4"),
        ("240.0.0.0/24", "240.0.0.0/4"),
        ("255.255.255.255/32", "240.0.0.0/4"),
        ("192.0.0.0/2", "224.0.0.0/4"),
        ("::/128", "::/127"),
        ("::1/128", "::/127"),
        ("::/0", "::/127"),
        ("fe80::/64", "fe80::/10"),
        ("fe00::/8", "fe80::/10"),
        ("ff02::/64", "ff00::/8"),
        ("::ffff:10.0.0.0/120", "::ffff:0.0.0.0/96"),
    ],
)
def test_cidr_that_hosts_cannot_use(value, unusable):
    assert refusal(clean_cidr, value) == (
        f"Prefix {netaddr.IPNetwork(value)} lies in or covers {unusable}, which hosts cannot use: take another network."
    )


@pytest.mark.parametrize("value", ["1.0.0.0/8", "126.0.0.0/8", "169.253.0.0/16", "223.0.0.0/8", "fc00::/7"])
def test_cidr_beside_what_hosts_cannot_use(value):
    assert str(clean_cidr(value)) == value


def pool(shortest=None, longest=None):
    return SimpleNamespace(min_prefix_length=shortest, max_prefix_length=longest)


@pytest.mark.parametrize(("version", "bounds"), [(4, (16, 31)), (6, (48, 127))])
def test_default_bounds(version, bounds):
    assert prefix_length_bounds(pool(), version, {version}) == bounds


def test_pool_sets_both_bounds():
    assert prefix_length_bounds(pool(20, 28), 4, {4}) == (20, 28)


def test_pool_sets_one_bound():
    assert prefix_length_bounds(pool(longest=28), 4, {4}) == (16, 28)


def test_bounds_of_an_ipv6_pool():
    assert prefix_length_bounds(pool(56, 64), 6, {6}) == (56, 64)


def test_bounds_of_a_pool_with_both_families_are_for_ipv4():
    assert prefix_length_bounds(pool(20, 28), 4, {4, 6}) == (20, 28)
    assert prefix_length_bounds(pool(20, 28), 6, {4, 6}) == (48, 127)


def test_bounds_of_a_pool_without_containers():
    assert prefix_length_bounds(pool(20, 28), 4, set()) == (20, 28)


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("0", 0, "0"),
        ("90", 90, "90s"),
        ("90m", 5400, "90m"),
        ("60m", 3600, "1h"),
        (" 1 H ", 3600, "1h"),
        ("24h", 86400, "1d"),
        ("7d", 604800, "1w"),
        ("10d", 864000, "10d"),
        ("2w", 1209600, "2w"),
        (3600, 3600, "1h"),
    ],
)
def test_durations(text, seconds, shown):
    assert clean_duration(text) == seconds
    assert duration_text(seconds) == shown
    assert clean_duration(shown) == seconds


@pytest.mark.parametrize("text", ["", "h", "1y", "1.5h", "-1h", "1h30m", "\u0661h", "9" * 30, None, True])
def test_what_is_no_duration(text):
    with pytest.raises(ValidationError, match="90m, 1h, 7d or 2w"):
        clean_duration(text)
