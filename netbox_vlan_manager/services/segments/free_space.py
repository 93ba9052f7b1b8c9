"""
Finds free VLAN IDs in a VLAN group, and free networks in the containers of a pool.

A VLAN ID is free when no VLAN of the group has it. A network is free when no prefix, IP range or IP address of the VRF
lies in it. Gaps are filled.
"""

from itertools import islice

from django.db import connection
from netaddr import IPAddress, IPNetwork

from ...validators import ADDRESS_BITS

__all__ = (
    "containers_of",
    "find_gaps",
    "find_networks",
    "find_vids",
    "outermost",
)

# The VLAN IDs in the group's ranges that no VLAN has.
FREE_VIDS = """
SELECT vid FROM (
  SELECT generate_series(lower(vids), upper(vids) - 1) AS vid FROM unnest(%(ranges)s::int4range[]) AS vids
) AS in_range
WHERE vid BETWEEN %(first)s AND %(last)s
  AND NOT EXISTS (SELECT FROM ipam_vlan AS vlan WHERE vlan.group_id = %(group)s AND vlan.vid = in_range.vid)
ORDER BY CASE WHEN %(highest)s THEN -vid ELSE vid END
LIMIT %(count)s
"""

# The gaps that {used} leaves in each row of {space}, both rows of a first and a last address, if a network of that
# length fits in: the first such network and the last address. No address past the end of a space is computed, since
# the end may be the last address of the family.
GAPS = """
SELECT first, last FROM (
  SELECT last, CASE
    WHEN set_masklen(network(set_masklen(first, %(length)s))::inet, %(bits)s) = first THEN first
    WHEN set_masklen(broadcast(set_masklen(first, %(length)s)), %(bits)s) < last
      THEN set_masklen(broadcast(set_masklen(first, %(length)s)), %(bits)s) + 1
  END AS first
  FROM (
    SELECT CASE WHEN before IS NULL THEN space_first WHEN before < space_last THEN before + 1 END AS first,
      CASE WHEN used_first IS NULL THEN space_last WHEN used_first > space_first THEN used_first - 1 END AS last
    FROM (
      SELECT space.first AS space_first, space.last AS space_last, used.first AS used_first,
        max(used.last) OVER (
          PARTITION BY space.first ORDER BY used.first NULLS LAST ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before
      -- The row without addresses stands for the end of the space.
      FROM {space} AS space CROSS JOIN LATERAL ({used} UNION ALL SELECT NULL::inet, NULL::inet) AS used (first, last)
    ) AS step
  ) AS gap
  WHERE first <= last
) AS aligned
WHERE set_masklen(broadcast(set_masklen(first, %(length)s)), %(bits)s) <= last
"""

# A container of the pool does not use the container around it, but no segment gets the container's own network.
USED_BY_NETWORKS = """
SELECT set_masklen(network(prefix)::inet, %(bits)s), set_masklen(broadcast(prefix), %(bits)s)
FROM ipam_prefix
WHERE vrf_id = %(vrf)s AND prefix << space.prefix AND (id != ALL (%(own)s) OR masklen(prefix) >= %(length)s)
UNION ALL
SELECT host(start_address)::inet, host(end_address)::inet
FROM ipam_iprange
WHERE vrf_id = %(vrf)s AND host(start_address)::inet <= space.last AND host(end_address)::inet >= space.first
"""

# Each address uses the network that it lies in. Only the gaps between prefixes are searched: most addresses lie in
# prefixes.
USED_BY_ADDRESSES = """
SELECT DISTINCT set_masklen(network(set_masklen(address, %(length)s))::inet, %(bits)s),
  set_masklen(broadcast(set_masklen(address, %(length)s)), %(bits)s)
FROM ipam_ipaddress
WHERE vrf_id = %(vrf)s AND host(address)::inet BETWEEN space.first AND space.last
"""

FREE_SPACE = f"""
WITH container AS (
  SELECT prefix, set_masklen(prefix, %(bits)s) AS first, set_masklen(broadcast(prefix), %(bits)s) AS last
  FROM unnest(%(containers)s::inet[]) AS prefix
), room AS MATERIALIZED ({GAPS.format(space="container", used=USED_BY_NETWORKS)})
SELECT host(first), host(last) FROM ({GAPS.format(space="room", used=USED_BY_ADDRESSES)}) AS free
ORDER BY free.first
LIMIT %(count)s
"""


def find_vids(group, first, last, count, highest=False):
    """Return up to `count` VLAN IDs from `first` to `last` that no VLAN of a group has; lowest first, or highest."""
    values = {"ranges": group.vid_ranges, "group": group.pk, "first": first, "last": last}
    with connection.cursor() as cursor:
        cursor.execute(FREE_VIDS, {**values, "count": count, "highest": highest})
        return [vid for (vid,) in cursor.fetchall()]


def find_networks(pool, length, count, version=None):
    """
    Return up to `count` networks of a length that are free in a pool's containers, lowest first.

    No prefix, IP range or IP address of the VRF lies in them, and none is a container of the pool.

    Args:
        pool: The SegmentPool.
        length: Prefix length.
        count: How many.
        version: 4 or 6; None for IPv4 where the pool has such containers, else IPv6.
    """
    prefixes = containers_of(pool)
    version = version or min((prefix.prefix.version for prefix in prefixes), default=4)
    gaps = find_gaps(prefixes, version, length, count)
    return list(islice((network for first, last in gaps for network in _networks(first, last, length)), count))


def containers_of(pool):
    """Return the containers of a pool that are in its VRF, as a list of Prefixes."""
    return [prefix for prefix in pool.prefixes.all() if prefix.vrf_id == pool.vrf_id]


def outermost(prefixes, version):
    """Return the networks of those containers of an IP version that lie in no other one, in no order."""
    networks = [prefix.prefix for prefix in prefixes if prefix.prefix.version == version]
    return [one for one in networks if not any(one != other and one in other for other in networks)]


def find_gaps(prefixes, version, length, count):
    """
    Return up to `count` parts of a pool's containers in which a network of a length is free, lowest first.

    Each is (the first address of the lowest such network, the last address of the part), as text. Parts without room
    for such a network are left out.

    Args:
        prefixes: The pool's containers (see `containers_of`).
        version: 4 or 6.
        length: Prefix length.
        count: How many.
    """
    bits = ADDRESS_BITS[version]
    # No segment gets the network of a container itself.
    roomy = [network for network in outermost(prefixes, version) if network.prefixlen < length <= bits]
    if not roomy:
        return []
    values = {
        "containers": [str(network) for network in roomy],
        "own": [prefix.pk for prefix in prefixes],
        "vrf": prefixes[0].vrf_id,
        "length": length,
        "bits": bits,
        # Each gap has room for at least one network.
        "count": count,
    }
    with connection.cursor() as cursor:
        cursor.execute(FREE_SPACE, values)
        return cursor.fetchall()


def _networks(first, last, length):
    """Yield the networks of a length from one address to another."""
    network, last = IPNetwork(f"{first}/{length}"), IPAddress(last)
    while network.last <= int(last):
        yield network
        if network.last == int(last):
            return
        network = network.next()
