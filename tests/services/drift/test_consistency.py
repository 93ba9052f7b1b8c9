from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VLAN, VRF, Prefix, VLANGroup
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.drift.consistency import find_drift
from tests.factories import make_pool, make_segment, make_site, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    """A pool with segments 100, which prod-01 holds, 101 and 102."""
    pool = make_pool(segments=3)
    allocate("prod-01", pool=pool, user=make_user())
    return pool


@pytest.fixture
def held(pool):
    return Allocation.objects.get()


@contextmanager
def unguarded(*without):
    """Let the block write what the database would refuse: without its triggers, and without the indexes named."""
    tables = [model._meta.db_table for model in (Segment, Allocation)]
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for name in without:
            cursor.execute(f"DROP INDEX netbox_vlan_manager_{name}")
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def drifts():
    """Return the drift that is found, as (kind, object) pairs."""
    return [(drift.kind, drift.object) for drift in find_drift()]


def segment(vid):
    return Segment.objects.get(vid=vid)


# What fits


def test_healthy_data(pool):
    assert find_drift() == []


def test_empty_netbox():
    assert find_drift() == []


def test_demo_data():
    make_user("admin")
    call_command("vlan_manager_demo", user="admin", verbosity=0)
    assert Segment.objects.count() == 60
    assert find_drift() == []


def test_history_is_no_drift(pool):
    release("prod-01", pool=pool, user=make_user())
    allocate("prod-02", pool=pool, user=make_user())
    VLAN.objects.get(vid=100).save()
    assert find_drift() == []


@pytest.mark.parametrize("status", ["quarantined", "disabled"])
def test_segments_that_are_not_handed_out_are_no_drift(pool, status):
    Segment.objects.filter(vid=101).update(status=status)
    assert find_drift() == []


def test_pools_at_each_kind_of_place_are_no_drift():
    region = Region.objects.create(name="Region", slug="region")
    group = SiteGroup.objects.create(name="Group", slug="group")
    site = make_site("Site", region=region, group=group)
    for scope in (region, group, site, Location.objects.create(name="Hall", slug="hall", site=site)):
        make_pool(scope=scope, slug=scope.slug)
    assert find_drift() == []


def test_pool_with_both_ip_families_is_no_drift(pool):
    pool.prefixes.add(Prefix.objects.create(prefix="2001:db8::/48", vrf=pool.vrf, status="container"))
    make_segment(pool, 110, prefix="2001:db8:0:1::/64")
    assert find_drift() == []


def test_same_networks_in_two_vrfs_are_no_drift(pool):
    make_pool("Network2", segments=3)
    assert find_drift() == []


# VLANs


def test_vlan_renumbered(pool):
    VLAN.objects.filter(vid=101).update(vid=150)
    assert drifts() == [("vlan_renumbered", segment(101))]


def test_vlan_of_an_allocation_renumbered(pool, held):
    VLAN.objects.filter(vid=100).update(vid=150)
    assert drifts() == [("vlan_renumbered", segment(100)), ("allocation_stale", held)]


def test_segment_renumbered(pool):
    Segment.objects.filter(vid=101).update(vid=150)
    assert drifts() == [("vlan_renumbered", segment(150))]


@pytest.mark.parametrize("group", [None, "Other"])
def test_vlan_in_another_group(pool, group):
    group = group and VLANGroup.objects.create(name=group, slug="other")
    VLAN.objects.filter(vid=101).update(group=group)
    assert drifts() == [("vlan_group_changed", segment(101))]


@pytest.mark.parametrize(("ranges", "outside"), [([(101, 999)], 100), ([(1, 100), (102, 999)], 101), ([(1, 101)], 102)])
def test_vid_out_of_the_ranges(pool, ranges, outside):
    numeric_range = type(pool.vlan_group.vid_ranges[0])
    ranges = [numeric_range(first, last + 1) for first, last in ranges]
    VLANGroup.objects.filter(pk=pool.vlan_group_id).update(vid_ranges=ranges)
    assert drifts() == [("vid_out_of_range", segment(outside))]


@pytest.mark.parametrize("name", ["EPG 101", "", " EPG_101", "EPG_101\n", "ÉPG", "EPG\n101"])
def test_epg_name_invalid(pool, name):
    VLAN.objects.filter(vid=101).update(name=name)
    assert drifts() == [("epg_name_invalid", segment(101))]


# Prefixes


@pytest.mark.parametrize("vrf", [None, "Other"])
def test_prefix_in_another_vrf(pool, vrf):
    vrf = vrf and VRF.objects.create(name=vrf)
    Prefix.objects.filter(prefix="10.0.1.0/24").update(vrf=vrf)
    assert drifts() == [("prefix_vrf_changed", segment(101))]


def test_prefix_of_another_vlan(pool):
    Prefix.objects.filter(prefix="10.0.1.0/24").update(vlan=segment(102).vlan)
    # The other one is available, and its VLAN has a prefix that is not its own.
    assert drifts() == [("prefix_vlan_changed", segment(101)), ("segment_in_use", segment(102))]


def test_prefix_of_no_vlan(pool):
    Prefix.objects.filter(prefix="10.0.1.0/24").update(vlan=None)
    assert drifts() == [("prefix_vlan_changed", segment(101))]


def test_prefix_outside_the_containers(pool):
    Prefix.objects.filter(prefix="10.0.1.0/24").update(prefix="10.9.0.0/24")
    assert drifts() == [("prefix_outside_containers", segment(101))]


def test_prefix_around_the_container(pool):
    Prefix.objects.filter(prefix="10.0.0.0/16").update(prefix="10.0.0.0/23")
    assert drifts() == [("prefix_outside_containers", segment(102))]


def test_prefix_inside_another(pool):
    Prefix.objects.filter(prefix="10.0.1.0/24").update(prefix="10.0.2.0/25")
    assert drifts() == [("prefix_overlap", segment(102))]


def test_prefix_twice(pool):
    Prefix.objects.filter(prefix="10.0.1.0/24").update(prefix="10.0.2.0/24")
    assert drifts() == [("prefix_overlap", segment(101)), ("prefix_overlap", segment(102))]


@pytest.mark.parametrize(
    ("vid", "status"), [(101, "reserved"), (101, "container"), (100, "active"), (100, "deprecated")]
)
def test_prefix_status(pool, vid, status):
    Prefix.objects.filter(segment__vid=vid).update(status=status)
    assert drifts() == [("prefix_status", segment(vid))]


# Invariants


def test_allocated_segment_that_nobody_holds(pool):
    with unguarded():
        Segment.objects.filter(vid=101).update(status="allocated")
        Prefix.objects.filter(segment__vid=101).update(status="reserved")
    assert drifts() == [("segment_status", segment(101))]


@pytest.mark.parametrize("status", ["available", "quarantined", "disabled"])
def test_held_segment_that_is_not_allocated(pool, status):
    with unguarded():
        Segment.objects.filter(vid=100).update(status=status)
        Prefix.objects.filter(segment__vid=100).update(status="active")
    assert drifts() == [("segment_status", segment(100))]


def test_released_allocation_of_an_allocated_segment(pool):
    with unguarded():
        Allocation.objects.update(released_at=timezone.now())
    assert drifts() == [("segment_status", segment(100))]


def twin(held, **values):
    """Insert a copy of an allocation with other values."""
    Allocation.objects.filter(pk=held.pk).update(description="")
    copy = Allocation.objects.get(pk=held.pk)
    copy.pk = None
    copy._state.adding = True
    for name, value in values.items():
        setattr(copy, name, value)
    copy.save()
    return copy


def test_segment_held_twice(pool, held):
    with unguarded("allocation_unique_segment"):
        twin(held, cluster_name="prod-02")
    assert drifts() == [("segment_held_twice", segment(100))]


def test_cluster_that_holds_two_segments(pool, held):
    with unguarded("allocation_one_active"):
        other = twin(
            held, cluster_name="PROD-01", segment=segment(101), vid=101, epg_name="EPG_101", prefix="10.0.1.0/24"
        )
        Segment.objects.filter(vid=101).update(status="allocated")
        Prefix.objects.filter(segment__vid=101).update(status="reserved")
    assert sorted(drifts(), key=lambda drift: drift[1].pk) == [("allocated_twice", held), ("allocated_twice", other)]


@pytest.mark.parametrize("values", [{"vid": 7}, {"epg_name": "EPG_7"}, {"prefix": "10.0.7.0/24"}], ids=str)
def test_allocation_that_says_something_else(pool, held, values):
    Allocation.objects.update(**values)
    assert drifts() == [("allocation_stale", held)]


def test_allocation_of_another_pool(pool, held):
    other = make_pool("Network2")
    Allocation.objects.update(pool=other)
    assert drifts() == [("allocation_stale", held)]


def test_released_allocation_may_say_something_else(pool):
    release("prod-01", pool=pool, user=make_user())
    Allocation.objects.update(vid=7, epg_name="EPG_7")
    assert find_drift() == []


# Pools


def test_scope_that_is_gone(pool):
    SegmentPool.objects.update(scope_id=0)
    assert drifts() == [("pool_scope", pool)]


def test_scope_that_was_changed_behind_the_pool_s_back(pool):
    SegmentPool.objects.update(scope_id=make_site("Site2").pk)
    assert drifts() == [("pool_places", pool)]


def test_place_of_the_scope_that_the_pool_does_not_know(pool):
    region = Region.objects.create(name="North", slug="north")
    Site.objects.update(region=region)
    assert find_drift() == []
    SegmentPool.objects.update(_region=None)
    assert drifts() == [("pool_places", pool)]


def test_container_in_another_vrf():
    pool = make_pool()
    pool.prefixes.update(vrf=VRF.objects.create(name="Other"))
    assert drifts() == [("container_vrf", pool)]


def test_container_that_is_none():
    pool = make_pool()
    pool.prefixes.update(status="active")
    assert drifts() == [("container_status", pool)]


def test_pool_without_containers():
    pool = make_pool()
    SegmentPool.prefixes.through.objects.filter(segmentpool=pool).delete()
    assert drifts() == [("container_missing", pool)]


# The report


def test_messages_are_sentences_about_the_object(pool):
    VLAN.objects.filter(vid=101).update(name="EPG 101", group=None)
    assert [drift.message for drift in find_drift()] == [
        "The VLAN of segment EPG 101 (101) is not in the VLAN group of pool Network1 Site1",
        "The VLAN name 'EPG 101' of segment 101 in pool Network1 Site1 is no valid EPG name",
    ]


def test_queries_do_not_grow_with_segments_pools_or_drift(pool):
    counts = []
    for numbers in ([0], range(1, 5)):
        for number in numbers:
            other = make_pool(f"Other{number}", segments=4)
            allocate("prod-01", pool=other, user=make_user())
        VLAN.objects.update(group=None)
        Prefix.objects.filter(segment__isnull=False).update(vlan=None, status="deprecated", vrf=None)
        Allocation.objects.update(vid=7)
        with CaptureQueriesContext(connection) as queries:
            found = find_drift()
        counts.append(len(queries))
    assert len(found) > 50
    assert counts[0] == counts[1]
