"""
Which address of a network is its gateway.

IPv4 networks have no gateway at their network and broadcast addresses, except that both addresses of a /31 are usable
(RFC 3021). IPv6 networks have no broadcast address; their first address is the subnet-router anycast address (RFC 4291,
2.6.1), which is not used, except on a /127 (RFC 6164). A network of one address has no gateway: no host would be left.
"""

import netaddr
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from .choices import GatewayRuleChoices

__all__ = (
    "GATEWAYS",
    "clean_gateway",
    "count_usable",
    "find_gateway",
    "move_gateway",
)

# The fields of a segment's prefixes, each with the field of its gateway.
GATEWAYS = {"prefix": "gateway", "ipv6_prefix": "ipv6_gateway"}


def _usable(network):
    """Return the addresses that a gateway may have, as a range of integers."""
    if network.size == 1:
        return range(0)
    if network.size == 2:
        return range(network.first, network.last + 1)
    return range(network.first + 1, network.last + (network.version == 6))


def count_usable(version, prefix_length):
    """Return how many addresses of a network of this length a gateway may have."""
    usable = _usable(netaddr.IPNetwork((0, prefix_length), version=version))
    # len() refuses the number of addresses of most IPv6 networks.
    return usable.stop - usable.start


def find_gateway(network, rule, offset=None):
    """
    Return the gateway of a network by a rule, as text, or None.

    Args:
        network: A netaddr.IPNetwork.
        rule: One of GatewayRuleChoices.
        offset: With the rule NTH: 1 for the first usable address, 2 for the second. A network with fewer usable
            addresses has no gateway.
    """
    usable = _usable(network)
    if rule == GatewayRuleChoices.FIRST:
        value = usable.start
    elif rule == GatewayRuleChoices.LAST:
        value = usable.stop - 1
    elif rule == GatewayRuleChoices.NTH:
        value = usable.start + offset - 1
    else:
        return None
    return str(netaddr.IPAddress(value, network.version)) if value in usable else None


def clean_gateway(value, network):
    """
    Return a gateway that a user typed as the text that is stored; None if it is empty.

    Args:
        value: An IP address without a mask, or an empty value.
        network: The netaddr.IPNetwork that it has to be a usable address of; None if the segment has no such prefix.

    Raises:
        ValidationError: It is no such address.
    """
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    if network is None:
        raise ValidationError(_("The segment has no IPv6 prefix: leave its gateway empty."))
    try:
        address = netaddr.IPAddress(text, flags=netaddr.INET_PTON)
    except (netaddr.AddrFormatError, ValueError):
        raise ValidationError(
            _("Gateway {value} is no IP address: write it without a mask, such as {example}.").format(
                value=repr(text[:60]), example=find_gateway(network, GatewayRuleChoices.FIRST) or "192.0.2.1"
            )
        ) from None
    if address not in network:
        raise ValidationError(
            _("Gateway {value} is not in prefix {prefix}: use an address of it.").format(value=address, prefix=network)
        )
    if address.value not in _usable(network):
        raise ValidationError(
            _("Gateway {value} is no host address of prefix {prefix}: use another address of it.").format(
                value=address, prefix=network
            )
        )
    return str(address)


def move_gateway(gateway, old, new, rule, offset=None):
    """
    Return the gateway of a segment whose network changes, as text, or None.

    A gateway that the rule gave follows the rule. Another one keeps its place, counted from the network's first
    address, or follows the rule where the new network has no such place. A segment without the gateway that the rule
    gives stays without one.

    Args:
        gateway: The gateway in the old network, as text, or None.
        old, new: netaddr.IPNetworks.
        rule, offset: As `find_gateway` takes them.
    """
    if gateway == find_gateway(old, rule, offset):
        return find_gateway(new, rule, offset)
    if gateway is None:
        return None
    value = netaddr.IPAddress(gateway).value
    if old.first <= value <= old.last:
        value += new.first - old.first
    if new.version == old.version and value in _usable(new):
        return str(netaddr.IPAddress(value, new.version))
    return find_gateway(new, rule, offset)
