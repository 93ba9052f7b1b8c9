"""
Finds the containers around the first generation's prefixes, and plans new ones for prefixes without one.
"""

from bisect import bisect_left

from netaddr import spanning_cidr

from ipam.choices import PrefixStatusChoices
from ipam.models import Prefix

__all__ = ("find_containers", "plan_containers")

# The shortest container that is made around several prefixes, by IP version: prefixes that lie far apart get several.
# A container around a single prefix is one bit shorter than the prefix.
SHORTEST_CONTAINER = {4: 16, 6: 32}


def find_containers(vrf, containers, rows):
    """
    Return the container prefixes of a VRF that hold the rows, the smallest for each, and the rows that none holds.

    Args:
        vrf: The VRF.
        containers: The pool's Prefixes; rows inside these need no other.
        rows: Rows
    """
    own = {_position(prefix.prefix, prefix.prefix.prefixlen): prefix for prefix in containers}
    existing = {
        _position(prefix.prefix, prefix.prefix.prefixlen): prefix
        for prefix in Prefix.objects.filter(vrf=vrf, status=PrefixStatusChoices.STATUS_CONTAINER).order_by()
    }
    missing, uncovered = {}, []
    for row in rows:
        network = row.prefix.prefix
        around = [_position(network, length) for length in range(network.prefixlen - 1, -1, -1)]
        if any(position in own for position in around):
            continue
        container = next((existing[position] for position in around if position in existing), None)
        if container:
            missing[container.pk] = container
        else:
            uncovered.append(row)
    return list(missing.values()), uncovered


def plan_containers(vrf, rows, known):
    """
    Return the networks of new containers that hold the rows, and the set of those networks that none can hold.

    They overlap nothing else in the VRF, or if that is impossible only other prefixes of the first generation: two
    sites with interleaved networks get one container, which belongs to both pools.

    Args:
        vrf: The VRF.
        rows: Rows that no container holds.
        known: Ids of all prefixes of the first generation in the VRF.
    """
    if not rows:
        return [], set()
    own = {row.prefix.pk for row in rows}
    prefixes = list(Prefix.objects.filter(vrf=vrf).exclude(pk__in=own).order_by().values_list("pk", "prefix"))
    networks = sorted({row.prefix.prefix for row in rows})
    covers, alone = _cover(networks, _Foreign(prefixes, inside=()))
    if alone:
        more, alone = _cover(alone, _Foreign(prefixes, inside=known))
        covers += more
    # The two calls may find the same container, or one inside another.
    covers = [one for one in dict.fromkeys(covers) if not any(one != other and one in other for other in covers)]
    return covers, set(alone)


def _position(network, length):
    """Return a key of the network with that prefix length around `network`, or of itself."""
    return network.version, length, network.first >> ((32 if network.version == 4 else 128) - length)


class _Foreign:
    """The prefixes, as (id, network), that no new container may overlap; those with ids in `inside` may lie inside."""

    def __init__(self, prefixes, inside):
        self.positions = {_position(network, network.prefixlen) for _pk, network in prefixes}
        self.starts = sorted((network.version, network.first) for pk, network in prefixes if pk not in inside)

    def overlaps(self, network):
        place = bisect_left(self.starts, (network.version, network.first))
        if self.starts[place : place + 1] and self.starts[place] <= (network.version, network.last):
            return True
        return any(_position(network, length) in self.positions for length in range(network.prefixlen + 1))


def _cover(networks, foreign):
    """
    Return few networks that hold `networks` and overlap nothing foreign, and those of `networks` that none can hold.

    Args:
        networks: netaddr.IPNetworks, each once and sorted.
        foreign: _Foreign
    """
    versions = {network.version for network in networks}
    if len(networks) == 1:
        (network,) = networks
        around = network.prefixlen and network.supernet(network.prefixlen - 1)[0]
        return ([], networks) if not around or foreign.overlaps(around) else ([around], [])
    if len(versions) == 1:
        around = spanning_cidr(networks)
        if around in networks and around.prefixlen:
            around = around.supernet(around.prefixlen - 1)[0]
        if around.prefixlen >= SHORTEST_CONTAINER[around.version] and not foreign.overlaps(around):
            return [around], []
    if len(versions) == 2:
        first = [network for network in networks if network.version == 4]
    else:
        lower_half = next(iter(around.subnet(around.prefixlen + 1)))
        first = [network for network in networks if network in lower_half]
    # If one network holds the others, they are all in one half.
    if len(first) in (0, len(networks)):
        first = networks[: len(networks) // 2]
    covers, alone = [], []
    for part in (first, networks[len(first) :]):
        more, left = _cover(part, foreign)
        covers += more
        alone += left
    return covers, alone
