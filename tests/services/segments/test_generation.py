"""Segments made of what is free: many at once, and one by one by a pool that grows."""

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from netaddr import IPNetwork

from core.models import ObjectChange
from ipam.models import VLAN, IPAddress, IPRange, Prefix, VLANGroup
from netbox_vlan_manager.choices import PoolLevelChoices
from netbox_vlan_manager.exceptions import Busy, PoolExhausted, VIDUnavailable
from netbox_vlan_manager.models import Segment, SegmentPool, SegmentUsage
from netbox_vlan_manager.services import (
    allocate,
    allocate_many,
    create_segment,
    generate_segments,
    release,
    update_pool,
)
from netbox_vlan_manager.services.allocations.allocation import clean_request
from netbox_vlan_manager.services.drift.findings import find_drift
from netbox_vlan_manager.services.reporting.forecast import forecast
from netbox_vlan_manager.services.reporting.thresholds import refresh
from netbox_vlan_manager.services.segments.generation import find_networks, find_vids, with_room
from tests.factories import make_pool, make_segment, make_user, make_vrf, permit

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice", is_superuser=True)


@pytest.fixture
def pool():
    return make_pool()


def errors(error):
    return error.value.message_dict


def taken(pool, *cidrs, **fields):
    for cidr in cidrs:
        Prefix.objects.create(prefix=cidr, vrf=pool.vrf, **fields)


def cidrs(networks):
    return [str(network) for network in networks]


def test_range_gives_a_segment_for_each_vlan_id(user, pool):
    result = generate_segments(pool, user=user, vid_min=100, vid_max=103, prefix_length=24)

    rows = [(s.vid, s.epg_name, str(s.prefix), s.status) for s in Segment.objects.order_by("vid")]
    assert rows == [(100 + n, f"EPG_Site1_{100 + n}", f"10.0.{n}.0/24", "available") for n in range(4)]
    assert [segment.pk for segment in result.segments] == list(Segment.objects.values_list("pk", flat=True))
    assert result.skipped == []
    assert find_drift() == []
    assert ObjectChange.objects.filter(user=user, changed_object_type__model="segment", action="create").count() == 4


def test_count_takes_the_lowest(user, pool):
    make_segment(pool, 101, 5)
    result = generate_segments(pool, user=user, count=3, prefix_length=25, epg_template="net-{vrf}-{pool}-{vid}")
    assert [(s.vid, s.epg_name, str(s.prefix)) for s in result.segments] == [
        (100, "net-Network1-Network1_Site1-100", "10.0.0.0/25"),
        (102, "net-Network1-Network1_Site1-102", "10.0.0.128/25"),
        (103, "net-Network1-Network1_Site1-103", "10.0.1.0/25"),
    ]


def test_what_is_used_is_passed_over(user, pool):
    VLAN.objects.create(group=pool.vlan_group, vid=101, name="other")
    make_segment(pool, 102, 1)
    taken(pool, "10.0.0.0/28", "10.0.2.64/26", "10.0.4.0/23")
    taken(pool, "10.0.6.0/24", status="container")
    result = generate_segments(pool, user=user, vid_min=100, vid_max=105, prefix_length=24)
    assert [s.vid for s in result.segments] == [100, 103, 104, 105]
    assert cidrs(s.prefix for s in result.segments) == ["10.0.3.0/24", "10.0.7.0/24", "10.0.8.0/24", "10.0.9.0/24"]
    assert result.skipped == [101, 102]

    # The same range again finds nothing to do.
    result = generate_segments(pool, user=user, vid_min=100, vid_max=105, prefix_length=24)
    assert (result.segments, result.skipped) == ([], [100, 101, 102, 103, 104, 105])


def test_prefixes_of_other_vrfs_are_no_matter(user, pool):
    Prefix.objects.create(prefix="10.0.0.0/24")
    assert cidrs(find_networks(pool, 24, 1)) == ["10.0.0.0/24"]


@pytest.mark.parametrize(
    ("containers", "used", "length", "expected"),
    [
        (["10.0.0.0/30"], [], 31, ["10.0.0.0/31", "10.0.0.2/31"]),
        (["10.0.0.0/30"], ["10.0.0.2/32"], 31, ["10.0.0.0/31"]),
        (["10.0.0.0/30"], ["10.0.0.0/32"], 31, ["10.0.0.2/31"]),
        (["10.0.0.0/30"], ["10.0.0.0/31", "10.0.0.2/31"], 31, []),
        (["10.0.0.0/24"], [], 23, []),
        # The container itself is no segment's network.
        (["10.0.0.0/24"], [], 24, []),
        (["10.0.0.0/24", "10.0.2.0/23"], [], 24, ["10.0.2.0/24", "10.0.3.0/24"]),
        (["10.0.2.0/24", "10.0.0.0/23"], ["10.0.0.0/24"], 24, ["10.0.1.0/24"]),
        (["10.0.0.0/22", "10.0.1.0/24"], [], 24, ["10.0.0.0/24", "10.0.2.0/24", "10.0.3.0/24"]),
        (["10.0.0.0/22", "10.0.1.0/24"], [], 23, ["10.0.2.0/23"]),
        (["10.0.2.0/24", "10.0.0.0/24"], [], 25, ["10.0.0.0/25", "10.0.0.128/25", "10.0.2.0/25", "10.0.2.128/25"]),
        # Nested containers are one space; what nests in what is used changes nothing.
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
    """A pool takes no such container; one may be there all the same."""
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
    # Those of another VRF, and of none, are no matter.
    IPAddress.objects.create(address="10.0.3.1/24")
    IPAddress.objects.create(address="10.0.3.1/24", vrf=make_vrf("Network2"))
    make_range("10.0.4.1/24", "10.0.4.9/24", None)

    told = generate_segments(pool, user=user, count=3, prefix_length=24, dry_run=True)
    assert cidrs(segment.prefix for segment in told.segments) == ["10.0.3.0/24", "10.0.4.0/24", "10.0.6.0/24"]
    # What is left of a /24 with an address in it.
    assert cidrs(find_networks(pool, 25, 3)) == ["10.0.0.128/25", "10.0.2.128/25", "10.0.3.0/25"]

    pool = update_pool(pool, user=user, auto_grow=True, grow_prefix_length=18)
    # In the first quarter there is use; the others have room.
    assert cidrs(find_networks(pool, 18, 9)) == ["10.0.64.0/18", "10.0.128.0/18", "10.0.192.0/18"]
    assert with_room(SegmentUsage(), pool).available == 3
    assert str(allocate("a", user=user, pool=pool).allocation.prefix) == "10.0.64.0/18"


def test_ipv6_addresses_are_use(user, pool):
    pool = update_pool(pool, user=user, prefixes=["10.0.0.0/16", "2001:db8::/48"])
    IPAddress.objects.create(address="2001:db8::1/64", vrf=pool.vrf)
    make_range("2001:db8:0:1::5/64", "2001:db8:0:1::9/64", pool.vrf)
    segments = generate_segments(pool, user=user, count=1, prefix_length=24, ipv6_prefix_length=64).segments
    assert [(str(s.prefix), str(s.ipv6_prefix)) for s in segments] == [("10.0.0.0/24", "2001:db8:0:2::/64")]


def test_free_networks_are_those_that_overlap_nothing(user, pool):
    """The same answer as trying each network in turn."""
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


@pytest.mark.parametrize(
    ("asked", "field", "says"),
    [
        ({}, "count", "how many"),
        ({"vid_min": 100}, "count", "how many"),
        ({"count": 0}, "count", "1 to 4094"),
        ({"count": 4095}, "count", "1 to 4094"),
        ({"vid_min": 0, "vid_max": 5}, "vid_min", "1 to 4094"),
        ({"vid_min": 5, "vid_max": 4}, "vid_max", "ends before"),
        ({"vid_min": 99, "vid_max": 101}, "vid_min", "not in VLAN group"),
        ({"vid_min": 100, "vid_max": 1000}, "vid_max", "not in VLAN group"),
        ({"count": 901}, "count", "has 900 free VLAN IDs"),
        ({"count": 11, "vid_min": 100, "vid_max": 109}, "count", "has 10 free VLAN IDs"),
        ({"count": 1, "prefix_length": None}, "prefix_length", "Give the prefix length"),
        ({"count": 1, "prefix_length": 15}, "prefix_length", "/16 to /31"),
        ({"count": 257}, "prefix_length", "room for 256 more /24, not 257"),
        ({"count": 1, "ipv6_prefix_length": 64}, "ipv6_prefix_length", "no IPv6 container"),
        ({"count": 1, "epg_template": "EPG"}, "epg_template", "no {vid}"),
        ({"count": 1, "epg_template": "{tenant}_{vid}"}, "epg_template", "{tenant}: use {site}"),
        ({"count": 1, "epg_template": "a b {vid}"}, "epg_template", "not valid"),
        ({"count": 1, "epg_template": "x" * 62 + "{vid}"}, "epg_template", "1 to 64"),
        ({"count": 1, "epg_template": "{vid"}, "epg_template", "no {vid}"),
    ],
)
def test_what_cannot_be_made_makes_nothing(user, pool, asked, field, says):
    with pytest.raises(ValidationError) as error:
        generate_segments(pool, user=user, **{"prefix_length": 24, **asked})
    assert list(errors(error)) == [field]
    assert says in errors(error)[field][0]
    assert VLAN.objects.count() == 0
    assert Prefix.objects.count() == 1


def test_name_that_is_taken_is_told_with_its_vlan_id(user, pool):
    VLAN.objects.create(group=pool.vlan_group, vid=500, name="EPG_Site1_101")
    with pytest.raises(ValidationError) as error:
        generate_segments(pool, user=user, count=3, prefix_length=24)
    assert errors(error)["epg_template"] == [
        "VLAN ID 101: EPG name 'EPG_Site1_101' is taken by VLAN 500 in VLAN group Network1-Site1: use another name."
    ]
    assert Segment.objects.count() == 0


def test_dual_stack(user, pool):
    update_pool(pool, user=user, prefixes=["10.0.0.0/16", "2001:db8::/48"])
    generate_segments(pool, user=user, count=2, prefix_length=24, ipv6_prefix_length=64)
    pairs = [(str(s.prefix), str(s.ipv6_prefix)) for s in Segment.objects.order_by("vid")]
    assert pairs == [("10.0.0.0/24", "2001:db8::/64"), ("10.0.1.0/24", "2001:db8:0:1::/64")]


def test_dry_run_tells_the_same_and_changes_nothing(user, pool):
    asked = {"user": user, "count": 3, "prefix_length": 24, "dhcp": True}
    told = generate_segments(pool, dry_run=True, **asked).segments
    assert (VLAN.objects.count(), Prefix.objects.count(), ObjectChange.objects.filter(user=user).count()) == (0, 1, 0)
    made = generate_segments(pool, **asked).segments
    assert [(s.pk, s.vid, s.epg_name, str(s.prefix)) for s in told] == [
        (None, s.vid, s.epg_name, str(s.prefix)) for s in made
    ]
    assert all(segment.dhcp for segment in Segment.objects.all())


def test_user_needs_the_permission_to_add_them(pool):
    user = make_user("bob")
    with pytest.raises(PermissionDenied):
        generate_segments(pool, user=user, count=1, prefix_length=24)
    user = permit(user, Segment, "add", constraints={"vid__lt": 102})
    generate_segments(pool, user=user, count=2, prefix_length=24)
    with pytest.raises(PermissionDenied):
        generate_segments(pool, user=user, count=1, prefix_length=24)
    assert Segment.objects.count() == 2


def test_pool_that_is_gone(user, pool):
    SegmentPool.objects.get().delete()
    with pytest.raises(Busy):
        generate_segments(pool, user=user, count=1, prefix_length=24)


def test_number_of_queries_hardly_grows(user):
    counts = []
    for number, count in enumerate((30, 120)):
        pool = make_pool(scope=f"Site{number}", container=f"10.{number}.0.0/16")
        with CaptureQueriesContext(
            connection,
        ) as queries:
            generate_segments(pool, user=user, count=count, prefix_length=24)
        counts.append(len(queries))
    assert counts[1] - counts[0] <= 3


@pytest.fixture
def growing(user, pool):
    return update_pool(pool, user=user, auto_grow=True, grow_prefix_length=24, grow_limit=3)


def test_pool_that_grows_makes_the_next_segment(user, growing):
    allocation, created = allocate("prod-01", user=user, pool=growing)
    assert created
    assert (allocation.vid, str(allocation.prefix), allocation.epg_name) == (100, "10.0.0.0/24", "EPG_Site1_100")
    assert Segment.objects.get().status == "allocated"
    assert allocation.segment.prefix.status == "reserved"
    assert not allocate("prod-01", user=user, pool=growing).created
    assert find_drift() == []
    release("prod-01", user=user, pool=growing)
    # What is there is used before more is made.
    assert allocate("prod-02", user=user, pool=growing).allocation.vid == 100
    assert Segment.objects.count() == 1


def test_growth_ends_at_the_limit(user, growing):
    for number in range(3):
        allocate(f"prod-{number}", user=user, pool=growing)
    with pytest.raises(PoolExhausted, match="cannot grow: It has reached its growth limit of 3"):
        allocate("prod-x", user=user, pool=growing)
    assert Segment.objects.count() == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vid_ranges": True}, "VLAN group Network1-Site1 has no free VLAN ID"),
        ({"grow_prefix_length": 15, "min_prefix_length": 8}, "No container has room for a /15"),
        ({"min_prefix_length": 25}, "/25 to /31"),
    ],
)
def test_growth_ends_with_the_space(user, growing, changes, says):
    if changes.pop("vid_ranges", None):
        VLAN.objects.bulk_create(VLAN(group=growing.vlan_group, vid=vid, name=f"v{vid}") for vid in range(100, 1000))
    # The services refuse such values; a restored dump may have them.
    SegmentPool.objects.update(**changes)
    with pytest.raises(PoolExhausted, match=says):
        allocate("prod-01", user=user, pool=SegmentPool.objects.get())


def test_growth_heeds_the_wish(user, growing):
    make_segment(growing, 100)
    assert allocate("a", user=user, pool=growing, vid=300).allocation.vid == 300
    allocation = allocate("b", user=user, pool=growing, vid_min=200, vid_max=210, prefix_length=26).allocation
    assert (allocation.vid, allocation.prefix.prefixlen) == (200, 26)
    with pytest.raises(VIDUnavailable, match="allocated to another"):
        allocate("c", user=user, pool=growing, vid=300)
    with pytest.raises(VIDUnavailable, match="no segment with VLAN ID 99"):
        allocate("c", user=user, pool=growing, vid=99)
    assert allocate("c", user=user, pool=growing).allocation.vid == 100


def test_growth_from_the_top_where_the_pool_allocates_from_there(user, growing):
    pool = update_pool(growing, user=user, allocation_order="highest")
    assert allocate("a", user=user, pool=pool).allocation.vid == 999


def test_growth_in_a_batch_and_in_a_dry_run(user, growing):
    requests = [clean_request(name, pool=growing) for name in "ab"]
    told = allocate_many(requests, user=user, dry_run=True)
    assert [(r.allocation.pk, r.allocation.segment, r.allocation.vid) for r in told] == [
        (None, None, 100),
        (None, None, 101),
    ]
    assert Segment.objects.count() == VLAN.objects.count() == 0
    assert [result.allocation.vid for result in allocate_many(requests, user=user)] == [100, 101]

    # Asked for twice in one dry run, it is the segment that the pool would grow both times.
    requests = [clean_request(name, pool=growing) for name in "cC"]
    told = allocate_many(requests, user=user, dry_run=True)
    assert [(r.allocation.pk, r.allocation.segment, r.allocation.vid, r.created) for r in told] == [
        (None, None, 102, True),
        (None, None, 102, False),
    ]

    # All or none: what had grown goes again.
    requests = [clean_request(name, pool=growing) for name in "cde"]
    with pytest.raises(PoolExhausted):
        allocate_many(requests, user=user)
    assert Segment.objects.count() == 2


def test_grown_segments_are_dual_stack_where_the_pool_is(user, growing):
    pool = update_pool(
        growing, user=user, prefixes=["10.0.0.0/16", "2001:db8::/48"], grow_ipv6_prefix_length=64, epg_template="n{vid}"
    )
    allocation = allocate("a", user=user, pool=pool).allocation
    assert (str(allocation.ipv6_prefix), allocation.epg_name) == ("2001:db8::/64", "n100")


def test_pool_that_can_grow_is_not_exhausted(user, growing):
    for name in "ab":
        allocate(name, user=user, pool=growing)
    refresh()
    growing.refresh_from_db()
    assert growing.level == PoolLevelChoices.NORMAL
    assert forecast(growing).days_until_exhausted != 0

    allocate("c", user=user, pool=growing)
    refresh()
    growing.refresh_from_db()
    assert growing.level == PoolLevelChoices.EXHAUSTED
    assert forecast(growing).days_until_exhausted == 0


def test_pool_that_grows_says_by_what(user, pool):
    with pytest.raises(ValidationError) as error:
        update_pool(pool, user=user, auto_grow=True)
    assert list(errors(error)) == ["grow_prefix_length"]
    assert not SegmentPool.objects.get().auto_grow


def test_quarantined_segments_are_left_alone_while_the_pool_can_grow(user, growing):
    pool = update_pool(growing, user=user, cooldown=3600)
    allocate("a", user=user, pool=pool)
    release("a", user=user, pool=pool)
    assert allocate("b", user=user, pool=pool).allocation.vid == 101
    assert Segment.objects.get(vid=100).quarantined_until > timezone.now()
    # Who comes back gets the same.
    assert allocate("a", user=user, pool=pool).allocation.vid == 100


def test_segment_made_by_hand_beside_grown_ones(user, growing):
    allocate("a", user=user, pool=growing)
    create_segment(growing, user=user, vid=101, epg_name="x", prefix="10.0.1.0/24")
    assert allocate("b", user=user, pool=growing).allocation.epg_name == "x"


def test_growth_passes_over_a_vlan_id_whose_name_is_taken(user, growing):
    VLAN.objects.create(group=growing.vlan_group, vid=500, name="EPG_Site1_100")
    assert allocate("a", user=user, pool=growing).allocation.vid == 101


def test_full_or_small_containers_are_passed_over(user, pool):
    pool = update_pool(
        pool, user=user, prefixes=["10.50.0.0/24", "10.51.0.0/16"], auto_grow=True, grow_prefix_length=24
    )
    assert str(allocate("a", user=user, pool=pool).allocation.prefix) == "10.51.0.0/24"
    (segment,) = generate_segments(pool, user=user, count=1).segments
    assert str(segment.prefix) == "10.51.1.0/24"
    assert find_drift() == []


def test_free_space_is_found_fast_among_many_addresses(pool):
    """Only the addresses between the prefixes are read, and those by an index."""
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
