"""The use of a pool's networks: what is free, what is taken, and by which segment."""

from fractions import Fraction

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netaddr import IPNetwork, IPSet

from ipam.models import IPAddress, IPRange, Prefix
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, update_pool
from netbox_vlan_manager.services.reporting import space_map as module
from netbox_vlan_manager.services.reporting.space_map import space_map
from tests.factories import make_pool, make_segment, make_user, permit

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin():
    return make_user("root", is_superuser=True)


def statuses(container):
    """Return the cells that are not free, {network: status}."""
    return {str(cell.network): cell.status for cell in container.cells if cell.status != "unused"}


def blocks(container):
    return [(one.length, one.count, str(one.first)) for one in container.free_blocks]


def test_cells_and_free_networks(admin):
    pool = make_pool(container="10.0.0.0/21", segments=3)
    allocate("prod-01", pool=pool, user=admin)
    Segment.objects.filter(vid=102).update(status="disabled")
    Prefix.objects.create(prefix="10.0.5.0/24", vrf=pool.vrf)
    IPAddress.objects.create(address="10.0.6.9/24", vrf=pool.vrf)

    (container,) = space_map(pool, admin).containers
    assert [str(cell.network) for cell in container.cells] == [f"10.0.{number}.0/24" for number in range(8)]
    assert statuses(container) == {
        "10.0.0.0/24": "allocated",
        "10.0.1.0/24": "available",
        "10.0.2.0/24": "disabled",
        "10.0.5.0/24": "taken",
        "10.0.6.0/24": "taken",
    }
    first = container.cells[0]
    assert (first.segment, first.name, first.cluster_name) == (Segment.objects.get(vid=100).pk, "EPG_100", "prod-01")
    assert blocks(container) == [(24, 3, "10.0.3.0/24")]
    assert container.room == 3
    assert container.utilization == 62.5


@pytest.mark.parametrize(
    ("container", "cells", "first", "size"),
    [
        ("10.0.0.0/8", 256, "10.0.0.0/16", 256),
        ("10.0.0.0/13", 256, "10.0.0.0/21", 8),
        ("10.0.0.0/14", 1024, "10.0.0.0/24", 1),
        ("10.0.0.0/23", 2, "10.0.0.0/24", 1),
    ],
)
def test_a_large_container_has_larger_cells(admin, container, cells, first, size):
    pool = make_pool(container=container, segments=1)

    (found,) = space_map(pool, admin).containers
    assert len(found.cells) == cells
    assert statuses(found) == {first: "mixed" if size > 1 else "available"}
    assert (found.cells[0].segments, found.cells[0].free) == (1, Fraction(size - 1, size))
    assert found.room == cells * size - 1


def test_a_network_over_several_cells(admin):
    pool = make_pool(container="10.0.0.0/21", vid_ranges=((100, 199),))
    make_segment(pool, 100, prefix="10.0.0.0/23")
    make_segment(pool, 101, prefix="10.0.2.0/24")
    make_segment(pool, 102, prefix="10.0.3.0/24")

    (container,) = space_map(pool, admin).containers
    assert [cell.segment for cell in container.cells[:4]] == [
        *[Segment.objects.get(vid=100).pk] * 2,
        Segment.objects.get(vid=101).pk,
        Segment.objects.get(vid=102).pk,
    ]


def test_containers_of_both_versions(admin):
    pool = make_pool(container="10.0.0.0/24")
    update_pool(pool, user=admin, prefixes=["10.0.0.0/24", "10.0.0.128/25", "10.1.0.0/24", "2001:db8::/60"])
    make_segment(pool, 100, prefix="10.0.0.0/26", ipv6_prefix="2001:db8:0:1::/64")

    one, two, three = space_map(pool, admin).containers
    assert [str(container.network) for container in (one, two, three)] == [
        "10.0.0.0/24",
        "10.1.0.0/24",
        "2001:db8::/60",
    ]
    assert statuses(one) == {"10.0.0.0/26": "available"}
    assert statuses(two) == {}
    assert statuses(three) == {"2001:db8:0:1::/64": "available"}
    assert (two.utilization, three.utilization, three.room) == (0, 6.2, 15)


def test_what_the_user_may_not_view_is_taken(admin):
    pool = make_pool(container="10.0.0.0/22", segments=2)
    allocate("prod-01", pool=pool, user=admin)
    user = permit(make_user("viewer"), SegmentPool, "view")

    (container,) = space_map(pool, user).containers
    assert statuses(container) == {"10.0.0.0/24": "taken", "10.0.1.0/24": "taken"}
    assert {(cell.segment, cell.segments, cell.name) for cell in container.cells} == {(None, 0, None)}

    user = permit(user, Segment.objects.get(vid=100), "view")
    (container,) = space_map(pool, user).containers
    assert statuses(container) == {"10.0.0.0/24": "allocated", "10.0.1.0/24": "taken"}
    assert container.cells[0].cluster_name is None
    user = permit(user, Allocation, "view")
    assert space_map(pool, user).containers[0].cells[0].cluster_name == "prod-01"


def test_too_many_free_parts(admin, monkeypatch):
    pool = make_pool(container="10.0.0.0/24", segments=0)
    pool.grow_prefix_length = 28
    for number in range(0, 240, 32):
        IPAddress.objects.create(address=f"10.0.0.{number}/24", vrf=pool.vrf)
    assert space_map(pool, admin).complete
    monkeypatch.setattr(module, "MAX_GAPS", 3)
    assert not space_map(pool, admin).complete


def test_the_number_of_queries_is_constant(admin):
    def count(pool):
        pool = SegmentPool.objects.get(pk=pool.pk)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            space_map(pool, admin)
        return len(queries)

    small = make_pool(container="10.0.0.0/24", segments=0)
    large = make_pool(scope="Site2", container="10.1.0.0/16", segments=60, vid_ranges=((100, 999),))
    assert count(small) == count(large) == 4


used = st.one_of(
    st.tuples(st.just("prefix"), st.integers(0, 1023), st.integers(23, 32)),
    st.tuples(st.just("address"), st.integers(0, 1023), st.just(0)),
    st.tuples(st.just("range"), st.integers(0, 1000), st.integers(1, 23)),
)


@given(used=st.lists(used, max_size=8, unique_by=lambda one: one[1]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_adds_up_to_what_nothing_uses(used, admin):
    pool = SegmentPool.objects.first() or make_pool(container="10.0.0.0/22")
    for model in (IPAddress, IPRange):
        model.objects.all().delete()
    Prefix.objects.exclude(segment_pools=pool).delete()
    start, taken = IPNetwork("10.0.0.0/22").first, IPSet()
    for kind, offset, size in used:
        if kind == "prefix":
            network = IPNetwork((start + offset, size)).cidr
            Prefix.objects.create(prefix=network, vrf=pool.vrf)
            taken.add(network)
        elif kind == "address":
            network = IPNetwork((start + offset, 32))
            IPAddress.objects.create(address=str(network), vrf=pool.vrf)
            taken.add(network)
        else:
            first, last = (IPNetwork((start + number, 22)) for number in (offset, offset + size))
            IPRange.objects.create(start_address=first, end_address=last, vrf=pool.vrf)
            taken.update(IPNetwork((start + number, 32)) for number in range(offset, offset + size + 1))

    (container,) = space_map(pool, admin).containers
    free = IPSet(["10.0.0.0/22"]) - taken
    # A part has no room where it is smaller than a network of the usual length.
    expected = sum(256 for network in IPNetwork("10.0.0.0/22").subnet(24) if network in free)
    assert sum(cell.free * 256 for cell in container.cells) == expected
    assert sum(one.count << 32 - one.length for one in container.free_blocks) == expected
    for cell in container.cells:
        assert (cell.status == "unused") == (cell.network in free)
