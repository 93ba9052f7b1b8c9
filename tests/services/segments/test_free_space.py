"""The search for free networks and VLAN IDs."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from netaddr import IPNetwork

from ipam.models import VLAN, IPAddress, IPRange, Prefix, VLANGroup
from netbox_vlan_manager.models import SegmentUsage
from netbox_vlan_manager.services import (
    allocate,
    generate_segments,
    update_pool,
)
from netbox_vlan_manager.services.segments.free_space import find_networks, find_vids
from netbox_vlan_manager.services.segments.growth import usage_with_growth
from tests.drift import find_drift
from tests.factories import make_pool, make_vrf

pytestmark = pytest.mark.django_db


def taken(pool, *cidrs, **fields):
    for cidr in cidrs:
        Prefix.objects.create(prefix=cidr, vrf=pool.vrf, **fields)


def cidrs(networks):
    return [str(network) for network in networks]


@pytest.mark.parametrize(
    ("containers", "used", "length", "expected"),
    [
        (["10.0.0.0/30"], [], 31, ["10.0.0.0/31", "10.0.0.2/31"]),
        (["10.0.0.0/30"], ["10.0.0.2/32"], 31, ["10.0.0.0/31"]),
        (["10.0.0.0/30"], ["10.0.0.0/32"], 31, ["10.0.0.2/31"]),
        (["10.0.0.0/30"], ["10.0.0.0/31", "10.0.0.2/31"], 31, []),
        (["10.0.0.0/24"], [], 23, []),
        # A segment cannot use the container's own network.
        (["10.0.0.0/24"], [], 24, []),
        (["10.0.0.0/24", "10.0.2.0/23"], [], 24, ["10.0.2.0/24", "10.0.3.0/24"]),
        (["10.0.2.0/24", "10.0.0.0/23"], ["10.0.0.0/24"], 24, ["10.0.1.0/24"]),
        (["10.0.0.0/22", "10.0.1.0/24"], [], 24, ["10.0.0.0/24", "10.0.2.0/24", "10.0.3.0/24"]),
        (["10.0.0.0/22", "10.0.1.0/24"], [], 23, ["10.0.2.0/23"]),
        (["10.0.2.0/24", "10.0.0.0/24"], [], 25, ["10.0.0.0/25", "10.0.0.128/25", "10.0.2.0/25", "10.0.2.128/25"]),
        # Nested containers are one space; a prefix inside a used prefix changes nothing.
        (["10.0.0.0/24", "10.0.0.0/25"], [], 25, ["10.0.0.128/25"]),
        (["10.0.0.0/24", "10.0.0.0/25"], [], 26, [f"10.0.0.{n}/26" for n in (0, 64, 128, 192)]),
        (["10.0.0.0/24"], ["10.0.0.0/25", "10.0.0.0/26", "10.0.0.64/32"], 26, ["10.0.0.128/26", "10.0.0.192/26"]),
        (["223.255.255.0/24"], [], 25, ["223.255.255.0/25", "223.255.255.128/25"]),
        (["2001:db8::/64", "2001:db8:1::/63"], [], 64, ["2001:db8:1::/64", "2001:db8:1:1::/64"]),
        (["2001:db8::/62"], ["2001:db8:0:1::/64"], 64, ["2001:db8::/64", "2001:db8:0:2::/64", "2001:db8:0:3::/64"]),
        (["2001:db8::/32"], [], 64, [f"2001:db8:0:{n:x}::/64" if n else "2001:db8::/64" for n in range(9)]),
    ],
)
def test_free_networks(user, containers, used, length, expected):
    pool = make_pool(container=containers[0])
    update_pool(pool, user=user, prefixes=containers)
    taken(pool, *used)
    assert cidrs(find_networks(pool, length, 9)) == expected


@pytest.mark.parametrize("container", ["240.0.0.0/4", "255.255.255.0/24", "0.0.0.0/0", "128.0.0.0/1", "ffff::/16"])
def test_free_networks_up_to_the_last_address(pool, container):
    """A pool refuses such containers, but one may exist in the database."""
    network = IPNetwork(container)
    Prefix.objects.update(prefix=container)
    length = network.prefixlen + 1
    halves = cidrs(network.subnet(length))
    assert cidrs(find_networks(pool, length, 9)) == halves
    taken(pool, halves[1])
    assert cidrs(find_networks(pool, length, 9)) == halves[:1]
    taken(pool, halves[0])
    assert find_networks(pool, length, 9) == []


@pytest.mark.parametrize("length", [1, 8, 16, 32, 33, 64, 128, 129])
def test_length_of_any_kind_raises_nothing(pool, length):
    assert len(find_networks(pool, length, 1)) == (16 < length <= 32)


def make_range(first, last, vrf):
    IPRange.objects.create(start_address=IPNetwork(first), end_address=IPNetwork(last), vrf=vrf)


def test_addresses_and_ranges_are_use(user, pool):
    IPAddress.objects.create(address="10.0.0.10/16", vrf=pool.vrf)
    IPAddress.objects.create(address="10.0.5.255/24", vrf=pool.vrf)
    make_range("10.0.1.10/24", "10.0.2.99/24", pool.vrf)
    # IP addresses of another VRF, or of none, do not count.
    IPAddress.objects.create(address="10.0.3.1/24")
    IPAddress.objects.create(address="10.0.3.1/24", vrf=make_vrf("Network2"))
    make_range("10.0.4.1/24", "10.0.4.9/24", None)

    told = generate_segments(pool, user=user, count=3, prefix_length=24, dry_run=True)
    assert cidrs(segment.prefix for segment in told.segments) == ["10.0.3.0/24", "10.0.4.0/24", "10.0.6.0/24"]
    # Half of a /24 with an address in it is free.
    assert cidrs(find_networks(pool, 25, 3)) == ["10.0.0.128/25", "10.0.2.128/25", "10.0.3.0/25"]

    pool = update_pool(pool, user=user, auto_grow=True, grow_prefix_length=18)
    # The first quarter is used; the others are free.
    assert cidrs(find_networks(pool, 18, 9)) == ["10.0.64.0/18", "10.0.128.0/18", "10.0.192.0/18"]
    assert usage_with_growth(SegmentUsage(), pool).available == 3
    assert str(allocate("a", user=user, pool=pool).allocation.prefix) == "10.0.64.0/18"


def test_ipv6_addresses_are_use(user, pool):
    pool = update_pool(pool, user=user, prefixes=["10.0.0.0/16", "2001:db8::/48"])
    IPAddress.objects.create(address="2001:db8::1/64", vrf=pool.vrf)
    make_range("2001:db8:0:1::5/64", "2001:db8:0:1::9/64", pool.vrf)
    segments = generate_segments(pool, user=user, count=1, prefix_length=24, ipv6_prefix_length=64).segments
    assert [(str(s.prefix), str(s.ipv6_prefix)) for s in segments] == [("10.0.0.0/24", "2001:db8:0:2::/64")]


def test_free_networks_are_those_that_overlap_nothing(user, pool):
    """The search gives the same answer as trying each network in turn."""
    networks = list(IPNetwork("10.0.0.0/20").subnet(27))
    used = [network for number, network in enumerate(networks) if number * number % 7 in (1, 4)]
    taken(pool, *map(str, used), "10.0.8.0/29", "10.0.9.32/31", "10.0.3.0/24")
    stored = [prefix.prefix for prefix in Prefix.objects.exclude(status="container")]
    for number in range(0, 4000, 37):
        address = f"10.0.{number // 100}.{number % 100}"
        stored.append(IPNetwork(address))
        IPAddress.objects.create(address=f"{address}/24", vrf=pool.vrf)
    for length in (22, 24, 26, 28):
        free = [n for n in IPNetwork("10.0.0.0/16").subnet(length) if not any(n in s or s in n for s in stored)]
        assert find_networks(pool, length, 40) == free[:40]


def test_free_vlan_ids_heed_the_ranges_of_the_group(user):
    pool = make_pool(vid_ranges=((10, 12), (20, 21)))
    VLAN.objects.create(group=pool.vlan_group, vid=11, name="other")
    VLAN.objects.create(group=VLANGroup.objects.create(name="x", slug="x"), vid=10, name="elsewhere")
    assert find_vids(pool.vlan_group, 1, 4094, 9) == [10, 12, 20, 21]
    assert find_vids(pool.vlan_group, 12, 20, 9) == [12, 20]
    assert find_vids(pool.vlan_group, 1, 4094, 2, highest=True) == [21, 20]


def test_full_or_small_containers_are_passed_over(user, pool):
    pool = update_pool(
        pool, user=user, prefixes=["10.50.0.0/24", "10.51.0.0/16"], auto_grow=True, grow_prefix_length=24
    )
    assert str(allocate("a", user=user, pool=pool).allocation.prefix) == "10.51.0.0/24"
    (segment,) = generate_segments(pool, user=user, count=1).segments
    assert str(segment.prefix) == "10.51.1.0/24"
    assert find_drift() == []


def test_free_space_is_found_fast_among_many_addresses(pool):
    """The search reads only the addresses between the prefixes, by an index."""
    addresses = (f"10.0.{number // 200}.{number % 200 + 1}/24" for number in range(20000))
    IPAddress.objects.bulk_create([IPAddress(address=address, vrf=pool.vrf) for address in addresses], batch_size=5000)
    Prefix.objects.bulk_create([Prefix(prefix=f"10.0.{number}.0/24", vrf=pool.vrf) for number in range(100)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE ipam_ipaddress, ipam_prefix")
    with CaptureQueriesContext(connection) as queries:
        assert cidrs(find_networks(pool, 24, 1)) == ["10.0.100.0/24"]
    (query,) = (query["sql"] for query in queries if "unnest" in query["sql"])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
        plan = str(cursor.fetchone()[0])
    assert "ipam_ipaddress_host" in plan
