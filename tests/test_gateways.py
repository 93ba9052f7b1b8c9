"""Which address of a network is its gateway."""

import pytest
from django.core.exceptions import ValidationError
from netaddr import IPNetwork

from netbox_vlan_manager.gateways import clean_gateway, count_usable, find_gateway, move_gateway


@pytest.mark.parametrize(
    ("network", "first", "last", "third"),
    [
        ("10.0.0.0/24", "10.0.0.1", "10.0.0.254", "10.0.0.3"),
        ("10.0.0.0/30", "10.0.0.1", "10.0.0.2", None),
        ("10.0.0.4/31", "10.0.0.4", "10.0.0.5", None),
        ("10.0.0.4/32", None, None, None),
        ("2001:db8::/64", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::3"),
        ("2001:db8::/126", "2001:db8::1", "2001:db8::3", "2001:db8::3"),
        ("2001:db8::2/127", "2001:db8::2", "2001:db8::3", None),
        ("2001:db8::2/128", None, None, None),
    ],
)
def test_rules(network, first, last, third):
    network = IPNetwork(network)
    found = find_gateway(network, "first"), find_gateway(network, "last"), find_gateway(network, "nth", 3)
    assert found == (first, last, third)
    assert find_gateway(network, "none") is None
    for gateway in filter(None, found):
        assert clean_gateway(gateway, network) == gateway
    assert bool(third) == (count_usable(network.version, network.prefixlen) >= 3)


@pytest.mark.parametrize(
    ("value", "network", "says"),
    [
        ("10.0.0.0", "10.0.0.0/24", "no host address"),
        ("10.0.0.255", "10.0.0.0/24", "no host address"),
        ("2001:db8::", "2001:db8::/64", "no host address"),
        ("10.0.1.1", "10.0.0.0/24", "not in prefix"),
        ("2001:db8::1", "10.0.0.0/24", "not in prefix"),
        ("10.0.0.1/24", "10.0.0.0/24", "without a mask, such as 10.0.0.1"),
        ("1", "10.0.0.0/24", "no IP address"),
        ("x" * 999, "10.0.0.0/24", "no IP address"),
        ("10.0.0.1", None, "no IPv6 prefix"),
    ],
)
def test_values_that_are_no_gateway(value, network, says):
    with pytest.raises(ValidationError, match=says):
        clean_gateway(value, network and IPNetwork(network))


@pytest.mark.parametrize("value", [None, "", " "])
def test_no_gateway(value):
    assert clean_gateway(value, None) is None


@pytest.mark.parametrize(
    ("gateway", "old", "new", "rule", "moved"),
    [
        ("10.0.0.1", "10.0.0.0/24", "10.1.0.0/24", "first", "10.1.0.1"),
        ("10.0.0.254", "10.0.0.0/24", "10.0.0.0/23", "last", "10.0.1.254"),
        ("10.0.0.254", "10.0.0.0/24", "10.1.0.0/24", "first", "10.1.0.254"),
        ("10.0.0.254", "10.0.0.0/24", "10.1.0.0/25", "first", "10.1.0.1"),
        ("10.0.0.254", "10.0.0.0/24", "10.1.0.0/25", "none", None),
        (None, "10.0.0.0/24", "10.1.0.0/24", "first", None),
        (None, "10.0.0.0/32", "10.1.0.0/24", "first", "10.1.0.1"),
        ("10.0.0.1", "10.0.0.0/24", "2001:db8::/64", "none", None),
        # Moved already.
        ("10.1.0.9", "10.0.0.0/24", "10.1.0.0/24", "first", "10.1.0.9"),
    ],
)
def test_network_changes(gateway, old, new, rule, moved):
    assert move_gateway(gateway, IPNetwork(old), IPNetwork(new), rule) == moved
