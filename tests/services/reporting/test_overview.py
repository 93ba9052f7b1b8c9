from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from dcim.models import Location
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.reporting.overview import (
    most_used,
    pools_to_allocate_from,
    recent_activity,
    total_usage,
)
from tests.factories import make_pool, make_site, make_user, permit

pytestmark = pytest.mark.django_db


@pytest.fixture
def root():
    return make_user("root", is_superuser=True)


def test_the_most_used_come_first_and_equal_ones_by_name():
    for site, segments, used in (("Site10", 4, 1), ("Site9", 4, 1), ("Site3", 2, 2), ("Site4", 0, 0)):
        pool = make_pool(scope=site, container=f"10.{site[4:]}.0.0/16", segments=segments)
        for number in range(used):
            allocate(f"prod-{number}", pool=pool, user=make_user())

    assert [row.site for row in most_used(SegmentPool.objects.all())] == ["Site3", "Site9", "Site10", "Site4"]


def test_total_is_of_all_pools():
    pool = make_pool(segments=3)
    make_pool(scope="Site2", container="10.1.0.0/16", segments=2)
    allocate("prod-01", pool=pool, user=make_user())
    Segment.objects.filter(pool=pool, vid=102).update(status="disabled")

    usage = total_usage(most_used(SegmentPool.objects.all()))
    assert (usage.total_segments, usage.allocated, usage.available, usage.disabled) == (5, 1, 3, 1)
    assert usage.utilization == 20.0
    assert total_usage([]).utilization == 0.0


def test_activity_merges_allocations_and_releases_by_time(root):
    pool = make_pool(segments=3)
    first = allocate("prod-01", pool=pool, user=make_user("alice")).allocation
    second = allocate("prod-02", pool=pool, user=make_user("bob")).allocation
    release("prod-01", pool=pool, user=make_user("carol"))

    assert [(activity.allocation, activity.released, activity.user.username) for activity in recent_activity(root)] == [
        (first, True, "carol"),
        (second, False, "bob"),
        (first, False, "alice"),
    ]


def test_activity_is_the_last_of_both_kinds(root):
    pool = make_pool(segments=6)
    now = timezone.now()
    for number in range(6):
        allocate(f"prod-{number}", pool=pool, user=root)
        release(f"prod-{number}", pool=pool, user=root)
        # The first allocation is released last.
        Allocation.objects.filter(cluster_name=f"prod-{number}").update(
            allocated_at=now + timedelta(minutes=number), released_at=now + timedelta(minutes=20 - number)
        )

    shown = [(activity.allocation.cluster_name, activity.released) for activity in recent_activity(root, limit=3)]
    assert shown == [("prod-0", True), ("prod-1", True), ("prod-2", True)]


def test_activity_of_a_deleted_user_has_none(root):
    allocate("prod-01", pool=make_pool(segments=1), user=make_user("alice"))
    get_user_model().objects.get(username="alice").delete()

    (activity,) = recent_activity(root)
    assert activity.user is None


def test_activity_is_what_the_user_may_view():
    for vrf in ("Network1", "Network2"):
        allocate("prod-01", pool=make_pool(vrf, segments=1), user=make_user())
        release("prod-01", pool=SegmentPool.objects.get(vrf__name=vrf), user=make_user())
    alice = permit(make_user("alice"), Allocation, "view", constraints={"vrf_name": "Network1"})

    assert [activity.allocation.vrf_name for activity in recent_activity(alice)] == ["Network1"] * 2
    assert recent_activity(make_user("eve")) == []


def test_activity_takes_two_queries(root, django_assert_num_queries):
    pool = make_pool(segments=3)
    for number in range(3):
        allocate(f"prod-{number}", pool=pool, user=make_user(f"user-{number}"))
    release("prod-0", pool=pool, user=root)

    with django_assert_num_queries(2):
        assert len({str(activity.user) for activity in recent_activity(root)}) == 4


def test_pools_to_allocate_from_are_permitted_ones_by_vrf(django_assert_num_queries):
    site = make_site("Site10")
    hall = Location.objects.create(name="Hall 2", slug="hall-2", site=site)
    make_pool("Network2", "Site1", segments=1)
    empty = make_pool("Network1", "Site10", container="10.1.0.0/16", name="A")
    exhausted = make_pool("Network1", "Site2", container="10.2.0.0/16", name="B", segments=1)
    full = make_pool("Network1", hall, container="10.3.0.0/16", name="C", segments=1)
    allocate("prod-01", pool=exhausted, user=make_user())
    alice = permit(make_user("alice"), SegmentPool, "allocate", constraints={"vrf__name": "Network1"})
    alice = permit(alice, SegmentPool, "view")

    # Django reads the permissions when it is first asked for one.
    assert alice.has_perm("netbox_vlan_manager.allocate_segmentpool")
    list(pools_to_allocate_from(alice))
    with django_assert_num_queries(1):
        pools = [(pool, pool.scope_name, pool.has_available, pool.vrf.name) for pool in pools_to_allocate_from(alice)]
    assert pools == [
        (full, "Hall 2", True, "Network1"),
        (exhausted, "Site2", False, "Network1"),
        (empty, "Site10", False, "Network1"),
    ]
