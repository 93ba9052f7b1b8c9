from datetime import timedelta
from unittest.mock import patch

import pytest
from django.utils import timezone

from ipam.models import VLAN
from netbox_vlan_manager.exceptions import Busy, LimitReached, PoolExhausted, PoolPaused, VIDUnavailable
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    allocate_many,
    delete_segment,
    end_quarantine,
    release,
    set_clusters,
    share,
)
from netbox_vlan_manager.services.allocations import leases as leases_module
from netbox_vlan_manager.services.allocations.leases import expire_due
from netbox_vlan_manager.services.allocations.requests import AllocationRequest
from tenancy.models import Tenant
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_user
from virtualization.models import Cluster, ClusterType

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice")


@pytest.fixture
def pool():
    return make_pool(segments=4, cooldown=3600)


@pytest.fixture(autouse=True)
def no_drift():
    yield
    assert find_drift() == []


def vid_for(cluster, pool, user, **asked):
    return allocate(cluster, pool=pool, user=user, **asked).allocation.vid


def test_same_again_is_not_out_of_another_cluster_s_cool_down(pool, user):
    segment = allocate("a", pool=pool, user=user).allocation.segment
    release("a", pool=pool, user=user)
    end_quarantine(segment, user=user)
    assert vid_for("b", pool, user) == 100
    release("b", pool=pool, user=user)

    assert vid_for("a", pool, user) == 101
    assert vid_for("b", pool, user) == 100


def test_same_again_is_for_the_last_of_those_that_shared_it(pool, user):
    segment = allocate("a", pool=pool, user=user).allocation.segment
    share(segment, "b", user=user)
    release("a", pool=pool, user=user)
    release("b", pool=pool, user=user)

    assert vid_for("a", pool, user) == 101
    assert vid_for("b", pool, user) == 100


def test_same_again_is_what_is_wanted_as_it_is_now(pool, user):
    vid_for("a", pool, user)
    release("a", pool=pool, user=user)
    vlan = VLAN.objects.get(vid=100)
    vlan.snapshot()
    vlan.vid = 200
    vlan.save()

    with pytest.raises(VIDUnavailable, match="no segment"):
        allocate("a", pool=pool, user=user, vid=100)
    assert vid_for("a", pool, user, vid=200) == 200


def test_a_segment_that_is_gone_meanwhile(pool, user):
    segment = Segment.objects.select_related("pool").get(vid=100)
    delete_segment(Segment.objects.get(pk=segment.pk), user=user)

    with pytest.raises(Busy):
        end_quarantine(segment, user=user)
    with pytest.raises(Busy):
        share(segment, "a", user=user)


def test_one_lease_that_is_held_up_keeps_none_of_the_others(pool, user):
    for name in "abc":
        allocate(name, pool=pool, user=user)
    Allocation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    release_allocation = leases_module.release_allocation

    def be_busy(allocation, **kwargs):
        if allocation.cluster_name == "a":
            raise Busy
        return release_allocation(allocation, **kwargs)

    with patch.object(leases_module, "release_allocation", be_busy):
        assert expire_due() == 2
    assert [one.cluster_name for one in Allocation.objects.unreleased()] == ["a"]
    assert expire_due() == 1


def test_a_batch_serves_those_first_that_ask_for_one_segment(pool, user):
    requests = [AllocationRequest.clean("a", pool=pool), AllocationRequest.clean("b", pool=pool, vid=100)]
    assert [result.allocation.vid for result in allocate_many(requests, user=user)] == [101, 100]


def test_a_batch_says_which_request_failed(pool, user):
    requests = [AllocationRequest.clean("a", pool=pool), AllocationRequest.clean("b", pool=pool, vid=999)]
    with pytest.raises(VIDUnavailable) as error:
        allocate_many(requests, user=user)
    assert error.value.index == 1


def test_a_dry_run_of_what_is_asked_for_twice_has_no_ids(pool, user):
    results = allocate_many([AllocationRequest.clean(name, pool=pool) for name in ("a", "A")], user=user, dry_run=True)
    assert [(result.allocation.pk, result.created) for result in results] == [(None, True), (None, False)]


def test_a_dry_run_tells_nobody_that_the_pool_is_exhausted(pool, user):
    for name in "abcd":
        allocate(name, pool=pool, user=user)
    with pytest.raises(PoolExhausted):
        allocate("e", pool=pool, user=user, dry_run=True)
    assert SegmentPool.objects.get().level == "normal"
    with pytest.raises(PoolExhausted):
        allocate("e", pool=pool, user=user)
    assert SegmentPool.objects.get().level == "exhausted"


def test_a_paused_pool_gives_nothing_to_who_released_meanwhile(pool, user):
    allocate("a", pool=pool, user=user)
    SegmentPool.objects.update(status="paused")
    paused = SegmentPool.objects.get()
    other = make_pool("Network2", container="10.1.0.0/16", segments=1)
    requests = [AllocationRequest.clean("a", pool=paused), AllocationRequest.clean("a", pool=other)]

    def release_meanwhile(request):
        if request.pool == paused:
            release("a", pool=paused, user=user)
        return request

    target = "netbox_vlan_manager.services.allocations.allocating.look_up_cluster"
    with patch(target, release_meanwhile), pytest.raises(PoolPaused):
        allocate_many(requests, user=user)


def test_a_limit_counts_those_only_that_stay(user):
    kind = ClusterType.objects.create(name="K", slug="k")
    tenant = Tenant.objects.create(name="T", slug="t")
    for name in "ab":
        Cluster.objects.create(name=name, type=kind, tenant=tenant)
    pool = make_pool(segments=1, max_per_tenant=1)
    segment = allocate("a", pool=pool, user=user).allocation.segment

    set_clusters(segment, ["b"], user=user)
    assert [one.cluster_name for one in Allocation.objects.active()] == ["b"]
    with pytest.raises(LimitReached):
        set_clusters(segment, ["a", "b"], user=user)


def test_each_segment_of_a_cool_down_is_kept_for_its_old_owner(user):
    pool = make_pool(segments=2, cooldown=3600)
    make_segment(pool, 200, prefix="10.0.100.0/26")
    wishes = [{"prefix_length": 24}, {"prefix_length": 26}]
    for wish in wishes:
        vid_for("a", pool, user, **wish)
        release("a", pool=pool, user=user)
    allocate("b", pool=pool, user=user)

    for wish in wishes:
        assert vid_for("a", pool, user, **wish) == {24: 100, 26: 200}[wish["prefix_length"]]
        release("a", pool=pool, user=user)
    # If any will do, the segment that the cluster released last comes first; no other cluster gets it in its cool-down.
    assert vid_for("a", pool, user) == 200
    release("b", pool=pool, user=user)
    with pytest.raises(PoolExhausted):
        allocate("c", pool=pool, user=user)
    assert vid_for("b", pool, user) == 101
