from datetime import timedelta

import pytest
from django.utils import timezone

from core.models import ObjectChange
from ipam.models import Prefix
from netbox_vlan_manager import exceptions
from netbox_vlan_manager.exceptions import PoolExhausted, VIDUnavailable
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import allocate, allocate_many, release, set_clusters, share
from netbox_vlan_manager.services.allocations.requests import AllocationRequest
from netbox_vlan_manager.services.pools.merging import merge_pool
from netbox_vlan_manager.services.reporting.thresholds import refresh
from tests.factories import make_pool, make_segment
from tests.services.allocations.base import configure

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_drift")]


def test_hands_out_the_lowest_available_segment(pool, user):
    result = allocate("prod-01", site="Site1", vrf="Network1", user=user)

    assert result.created
    assert result.allocation.vid == 100
    assert result.allocation.segment.status == "allocated"
    assert str(result.allocation.prefix) == "10.0.0.0/24"
    assert result.allocation.allocated_by == user
    assert Prefix.objects.get(prefix="10.0.0.0/24").status == "reserved"


def test_answers_the_same_when_the_cluster_asks_again(pool, user):
    first = allocate("prod-01", pool=pool, user=user)
    again = allocate("  PROD-01 ", pool=pool, user=user)

    assert not again.created
    assert again.allocation == first.allocation


def test_a_merged_pool_is_not_called_exhausted(pool, user):
    other = make_pool(scope="Site2", container="10.1.0.0/16")
    merge_pool(pool, other, user=user)
    with pytest.raises(exceptions.Busy):
        allocate("prod-01", pool=pool, user=user)


def test_exhausted_pool(pool, user):
    for number in range(5):
        allocate(f"prod-{number}", pool=pool, user=user)
    with pytest.raises(exceptions.PoolExhausted):
        allocate("prod-6", pool=pool, user=user)


@pytest.mark.parametrize(
    ("asked", "vid"),
    [
        ({"vid": 103}, 103),
        ({"vid": "103"}, 103),
        ({"vid_min": 102}, 102),
        ({"vid_min": 101, "vid_max": 103}, 101),
        ({"vid_max": 101}, 100),
        ({"prefix_length": 24}, 100),
        ({"prefix_length": 24, "vid_min": 104}, 104),
    ],
)
def test_criteria_choose_the_segment(pool, user, asked, vid):
    assert allocate("a", pool=pool, user=user, **asked).allocation.vid == vid


def test_a_given_segment(pool, user):
    segment = Segment.objects.get(vid=102)
    assert allocate("a", pool=pool, user=user, segment=segment).allocation.segment == segment


def test_a_prefix_length(pool, user):
    make_segment(pool, 110, prefix="10.0.200.0/26")
    assert allocate("a", pool=pool, user=user, prefix_length=26).allocation.vid == 110
    with pytest.raises(PoolExhausted, match="with a /26"):
        allocate("b", pool=pool, user=user, prefix_length=26)


def test_unavailable_vids_say_why_but_not_who(pool, user):
    allocate("secret-holder", pool=pool, user=user, vid=100)
    Segment.objects.filter(vid=101).update(status="disabled")
    until = timezone.now() + timedelta(hours=1)
    Segment.objects.filter(vid=102).update(status="quarantined", quarantined_until=until)
    for vid, text in (
        (100, "is allocated to another cluster"),
        (101, "disabled"),
        (102, "quarantined until"),
        (999, "no segment"),
    ):
        with pytest.raises(VIDUnavailable, match=text) as error:
            allocate("b", pool=pool, user=user, vid=vid)
        assert "secret-holder" not in str(error.value)


def test_a_cluster_that_holds_another_one(pool, user):
    allocate("a", pool=pool, user=user, vid=100)
    assert not allocate("a", pool=pool, user=user, vid=100).created
    assert not allocate("a", pool=pool, user=user, vid_min=100, prefix_length=24).created
    for asked in ({"vid": 101}, {"vid_min": 101}, {"vid_max": 99}, {"prefix_length": 25}):
        with pytest.raises(VIDUnavailable, match="holds VLAN ID 100"):
            allocate("a", pool=pool, user=user, **asked)
    assert allocate("a", pool=pool, user=user, vid=101, purpose="storage").created


def test_orders(pool, user):
    pool = configure(pool, allocation_order="highest")
    assert allocate("a", pool=pool, user=user).allocation.vid == 104

    pool = configure(pool, allocation_order="least-recently-used")
    for name in ("b", "c", "d", "e"):
        allocate(name, pool=pool, user=user)
    for name in ("c", "a", "b", "d", "e"):
        release(name, pool=pool, user=user)
    # The segments come in the order of their release.
    vids = [allocate(name, pool=pool, user=user).allocation.vid for name in "vwxyz"]
    assert vids == [101, 104, 100, 102, 103]


def test_random_order(pool, user):
    pool = configure(pool, allocation_order="random")
    firsts = set()
    for _try in range(40):
        firsts.add(allocate("a", pool=pool, user=user).allocation.vid)
        release("a", pool=pool, user=user)
    # Forty random choices among five segments are all equal once in 10**27 runs.
    assert len(firsts) > 1


def test_many_or_none(pool, user):
    other = make_pool("Network2", container="10.1.0.0/16", segments=1)
    requests = [
        AllocationRequest.clean("a", pool=pool),
        AllocationRequest.clean("a", pool=other),
        AllocationRequest.clean("b", pool=pool),
    ]
    results = allocate_many(requests, user=user)
    assert [(result.allocation.pool, result.allocation.vid) for result in results] == [
        (pool, 100),
        (other, 100),
        (pool, 101),
    ]
    assert not any(result.created for result in allocate_many(requests, user=user))

    with pytest.raises(PoolExhausted):
        allocate_many([AllocationRequest.clean("c", pool=pool), AllocationRequest.clean("c", pool=other)], user=user)
    assert not Allocation.objects.filter(cluster_name="c").exists()


def test_dry_runs_change_nothing(pool, user):
    def state():
        return (
            list(Segment.objects.values_list("vid", "status")),
            Allocation.objects.count(),
            ObjectChange.objects.count(),
        )

    allocate("held", pool=pool, user=user)
    before = state()
    assert allocate("held", pool=pool, user=user, dry_run=True).created is False
    result = allocate("a", pool=pool, user=user, dry_run=True)
    assert (result.created, result.allocation.vid, result.allocation.pk) == (True, 101, None)
    requests = [AllocationRequest.clean(name, pool=pool) for name in "abc"]
    assert [one.allocation.vid for one in allocate_many(requests, user=user, dry_run=True)] == [101, 102, 103]
    assert share(Segment.objects.get(vid=100), "b", user=user, dry_run=True).allocation.shared
    set_clusters(Segment.objects.get(vid=100), [], user=user, dry_run=True)
    assert state() == before


def test_same_again_only_within_the_wish_and_purpose(pool, user):
    pool = configure(pool, cooldown=3600)
    allocate("a", pool=pool, user=user)
    release("a", pool=pool, user=user)
    assert allocate("a", pool=pool, user=user, purpose="storage").allocation.vid == 101
    assert allocate("a", pool=pool, user=user, vid=103).allocation.vid == 103


def test_each_level_is_announced_once(pool, user):
    pool = configure(pool, warning_threshold=40, critical_threshold=80)
    levels = []
    for name in "abcde":
        allocate(name, pool=pool, user=user)
        levels.append([changed.level for changed in refresh()])
    assert levels == [[], ["warning"], [], ["critical"], ["exhausted"]]
    assert refresh() == []
    with pytest.raises(PoolExhausted):
        allocate("f", pool=pool, user=user)
    for name in "abcd":
        release(name, pool=pool, user=user)
    assert [changed.level for changed in refresh()] == ["normal"]
