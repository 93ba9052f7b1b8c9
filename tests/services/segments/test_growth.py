"""Pools that grow: they make a segment from free space when they have none available."""

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from ipam.models import VLAN
from netbox_vlan_manager.choices import PoolLevelChoices
from netbox_vlan_manager.exceptions import PoolExhausted, VIDUnavailable
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    allocate_many,
    create_segment,
    release,
    update_pool,
)
from netbox_vlan_manager.services.allocations.requests import AllocationRequest
from netbox_vlan_manager.services.reporting.forecast import forecast
from netbox_vlan_manager.services.reporting.thresholds import refresh
from tests.drift import find_drift
from tests.factories import make_segment

pytestmark = pytest.mark.django_db


def errors(error):
    return error.value.message_dict


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
    # The pool hands out available segments before it makes more.
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
    requests = [AllocationRequest.clean(name, pool=growing) for name in "ab"]
    told = allocate_many(requests, user=user, dry_run=True)
    assert [(r.allocation.pk, r.allocation.segment, r.allocation.vid) for r in told] == [
        (None, None, 100),
        (None, None, 101),
    ]
    assert Segment.objects.count() == VLAN.objects.count() == 0
    assert [result.allocation.vid for result in allocate_many(requests, user=user)] == [100, 101]

    # Asked for twice in one dry run, it is the segment that the pool would grow both times.
    requests = [AllocationRequest.clean(name, pool=growing) for name in "cC"]
    told = allocate_many(requests, user=user, dry_run=True)
    assert [(r.allocation.pk, r.allocation.segment, r.allocation.vid, r.created) for r in told] == [
        (None, None, 102, True),
        (None, None, 102, False),
    ]

    # A batch is all or nothing: the new segments are rolled back.
    requests = [AllocationRequest.clean(name, pool=growing) for name in "cde"]
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


def test_quarantine_is_left_alone_while_the_pool_can_grow(user, growing):
    pool = update_pool(growing, user=user, cooldown=3600)
    allocate("a", user=user, pool=pool)
    release("a", user=user, pool=pool)
    assert allocate("b", user=user, pool=pool).allocation.vid == 101
    assert Segment.objects.get(vid=100).quarantined_until > timezone.now()
    # A cluster that comes back gets the same segment.
    assert allocate("a", user=user, pool=pool).allocation.vid == 100


def test_segment_made_by_hand_beside_grown_ones(user, growing):
    allocate("a", user=user, pool=growing)
    create_segment(growing, user=user, vid=101, epg_name="x", prefix="10.0.1.0/24")
    assert allocate("b", user=user, pool=growing).allocation.epg_name == "x"


def test_growth_passes_over_a_vlan_id_whose_name_is_taken(user, growing):
    VLAN.objects.create(group=growing.vlan_group, vid=500, name="EPG_Site1_100")
    assert allocate("a", user=user, pool=growing).allocation.vid == 101
