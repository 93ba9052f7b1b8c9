"""The space map: the use of a pool's L3 space, container by container."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from netaddr import IPAddress, IPNetwork, iprange_to_cidrs

from ...models import Allocation, Segment
from ...validators import ADDRESS_BITS, USUAL_PREFIX_LENGTHS
from ..segments.free_space import containers_of, find_gaps, outermost
from .vlan_map import TAKEN, UNUSED

__all__ = (
    "MIXED",
    "ContainerMap",
    "FreeBlocks",
    "SpaceCell",
    "SpaceMap",
    "space_map",
)

# The state of a cell, besides those of a VLANCell, in which several networks lie, or one that leaves some of it free.
MIXED = "mixed"

# A container has a cell for each network of the usual length, up to 2^10 of them; a larger container has 2^8 cells.
MOST_CELL_BITS = 10
COARSE_CELL_BITS = 8

# The number of free parts that are read, of all containers of one IP version.
MAX_GAPS = 10_000


class SpaceCell(NamedTuple):
    """
    One part of a container.

    `free` is the share of its addresses that is free, 0 to 1. `segments` is how many segments lie in it that the user
    may view. `segment` is the id of the one whose network covers the whole cell, with its EPG name and a cluster that
    holds it; a value is None if it does not exist or the user may not view it.
    """

    network: IPNetwork
    status: str
    free: Fraction
    segments: int = 0
    segment: int | None = None
    name: str | None = None
    cluster_name: str | None = None


class FreeBlocks(NamedTuple):
    """The free networks of one prefix length that are no part of a larger free network; `first` is the lowest."""

    length: int
    count: int
    first: IPNetwork


@dataclass(frozen=True)
class ContainerMap:
    """
    The use of one container of a pool.

    Args:
        network: The container.
        usual_length: The prefix length that most of the pool's segments have, or that it makes.
        cells: SpaceCells of equal size, by address.
        free_blocks: FreeBlocks, the largest first.
    """

    network: IPNetwork
    usual_length: int
    cells: list[SpaceCell]
    free_blocks: list[FreeBlocks]

    @property
    def counts(self):
        """Return how many cells have which status, {status: count}."""
        return Counter(cell.status for cell in self.cells)

    @property
    def utilization(self):
        """Return the share of the container's addresses that are not free, in percent."""
        free = sum(cell.free for cell in self.cells) / len(self.cells)
        return round(float(100 * (1 - free)), 1)

    @property
    def room(self):
        """Return how many networks of the usual length are free."""
        usual = self.usual_length
        return sum(blocks.count << usual - blocks.length for blocks in self.free_blocks if blocks.length <= usual)


class SpaceMap(NamedTuple):
    """The ContainerMaps of a pool; not `complete` if it has more free parts than are read, the last of which miss."""

    containers: list[ContainerMap]
    complete: bool = True


class _Segment(NamedTuple):
    pk: int
    status: str
    name: str
    cluster_name: str | None


def space_map(pool, user):
    """
    Return the SpaceMap of a pool, as far as `user` may view it; at most five queries.

    A container in another one is a part of that. A network of the usual length is free if a segment of the pool
    could get it (see `services.segments.free_space`). Every user who may view the pool sees that such a network is
    taken; only users who may view the segment see what takes it, and which part of it.
    """
    prefixes = containers_of(pool)
    segments = _segments(pool, user)
    versions = sorted({prefix.prefix.version for prefix in prefixes})
    maps, complete = [], True
    for version in versions:
        of_version = {network: segment for network, segment in segments.items() if network.version == version}
        usual = _usual_length(pool, of_version, version, versions)
        containers = sorted(outermost(prefixes, version))
        finest = min(max(usual, *(one.prefixlen + 1 for one in containers)), ADDRESS_BITS[version])
        unit = 1 << ADDRESS_BITS[version] - finest
        gaps = [
            # The end has no room for such a network where it is not at the end of one.
            (int(IPAddress(first)), (int(IPAddress(last)) + 1) // unit * unit - 1)
            for first, last in find_gaps(prefixes, version, finest, MAX_GAPS)
        ]
        complete = complete and len(gaps) < MAX_GAPS
        maps += [_container_map(container, usual, gaps, of_version) for container in containers]
    return SpaceMap(maps, complete)


def _segments(pool, user):
    """Return the pool's segments that the user may view, {network: _Segment}."""
    clusters = dict(
        Allocation.objects.restrict(user, "view")
        .active()
        .filter(pool=pool)
        .order_by()
        .values_list("segment", "cluster_name")
    )
    segments = Segment.objects.restrict(user, "view").filter(pool=pool).order_by()
    found = {}
    for pk, status, name, *networks in segments.values_list(
        "pk", "status", "vlan__name", "prefix__prefix", "ipv6_prefix__prefix"
    ):
        segment = _Segment(pk, status, name, clusters.get(pk))
        found |= {network: segment for network in networks if network}
    return found


def _usual_length(pool, segments, version, versions):
    """Return the prefix length that a new segment of the pool most probably gets."""
    grown = pool.grow_prefix_length if version == versions[0] else pool.grow_ipv6_prefix_length
    if grown or not segments:
        return grown or USUAL_PREFIX_LENGTHS[version]
    return Counter(network.prefixlen for network in segments).most_common(1)[0][0]


def _container_map(container, usual, gaps, segments):
    bits = ADDRESS_BITS[container.version]
    length = max(usual, container.prefixlen + 1)
    if length > container.prefixlen + MOST_CELL_BITS:
        length = container.prefixlen + COARSE_CELL_BITS
    size = 1 << bits - length
    inside = [(first, last) for first, last in gaps if container.first <= first <= container.last]
    free = _free_addresses(container.first, size, inside)
    in_cells = defaultdict(list)
    for network, segment in segments.items():
        if network in container:
            for number in range(
                (network.first - container.first) // size, (network.last - container.first) // size + 1
            ):
                in_cells[number].append((network, segment))
    cells = []
    for number in range(1 << length - container.prefixlen):
        network = IPNetwork((container.first + number * size, length), version=container.version)
        cells.append(_cell(network, Fraction(free[number], size), in_cells[number]))
    return ContainerMap(container, usual, cells, _free_blocks(inside, container.version))


def _free_addresses(start, size, gaps):
    """Return how many addresses of each cell are free, {number of the cell: count}."""
    free = defaultdict(int)
    for first, last in gaps:
        for number in range((first - start) // size, (last - start) // size + 1):
            cell_first = start + number * size
            free[number] += min(last, cell_first + size - 1) - max(first, cell_first) + 1
    return free


def _cell(network, free, segments):
    if free == 1:
        return SpaceCell(network, UNUSED, free)
    if len(segments) == 1 and network in segments[0][0]:
        segment = segments[0][1]
        return SpaceCell(network, segment.status, free, 1, segment.pk, segment.name, segment.cluster_name)
    return SpaceCell(network, MIXED if segments or free else TAKEN, free, len(segments))


def _free_blocks(gaps, version):
    blocks = {}
    for first, last in gaps:
        for network in iprange_to_cidrs(IPAddress(first, version), IPAddress(last, version)):
            known = blocks.get(network.prefixlen)
            blocks[network.prefixlen] = FreeBlocks(
                network.prefixlen, known.count + 1 if known else 1, known.first if known else network
            )
    return [blocks[length] for length in sorted(blocks)]
