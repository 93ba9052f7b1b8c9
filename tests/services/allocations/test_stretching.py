from unittest.mock import patch

import pytest
from django.core.exceptions import ValidationError

from netbox_vlan_manager.exceptions import Busy, PoolExhausted, VIDUnavailable
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, allocate_stretched, release
from netbox_vlan_manager.services.allocations import stretching
from netbox_vlan_manager.services.pools.merging import merge_pool
from tests.drift import find_drift
from tests.factories import make_pool

pytestmark = pytest.mark.django_db

GROWS = {"auto_grow": True, "grow_prefix_length": 24}


@pytest.fixture(autouse=True)
def no_drift():
    yield
    assert find_drift() == []


def make_pools(*fields):
    return [
        make_pool(scope=f"Site{n}", container=f"10.{n}.0.0/16", slug=f"site-{n}", **values)
        for n, values in enumerate(fields)
    ]


def ask(cluster, pools, user, **asked):
    results = allocate_stretched(cluster, pools=pools, user=user, **asked)
    return [(one.allocation.vid, one.created) for one in results]


def release_all(cluster, pools, user):
    for pool in pools:
        release(cluster, pool=pool, user=user)


def test_stretched(user):
    pools = [make_pool("Network1", f"Site{number}", container=f"10.{number}.0.0/16", segments=4) for number in range(3)]
    allocate("x", pool=pools[0], user=user, vid=100)
    allocate("y", pool=pools[2], user=user, vid=101)
    results = allocate_stretched("a", pools=pools, user=user)
    assert [result.allocation.vid for result in results] == [102, 102, 102]
    assert not any(result.created for result in allocate_stretched("a", pools=pools, user=user))
    assert [r.allocation.vid for r in allocate_stretched("b", pools=pools, vid=103, user=user, dry_run=True)] == [
        103
    ] * 3

    with pytest.raises(VIDUnavailable, match="101 is not available"):
        allocate_stretched("b", pools=pools, vid=101, user=user)
    allocate("b", pool=pools[1], user=user, vid=103)
    # The cluster holds a VLAN ID at one site, and gets the same at the others.
    assert [r.allocation.vid for r in allocate_stretched("b", pools=pools, user=user)] == [103] * 3
    with pytest.raises(PoolExhausted, match="one VLAN ID"):
        allocate_stretched("c", pools=pools, user=user)
    assert not Allocation.objects.filter(cluster_name="c").exists()
    with pytest.raises(ValidationError):
        allocate_stretched("c", pools=pools[:1], user=user)
    with pytest.raises(ValidationError):
        allocate_stretched("c", pools=[pools[0], pools[0]], user=user)


def test_stretched_over_different_vids(user):
    pools = [make_pool("Network1", f"Site{number}", container=f"10.{number}.0.0/16", segments=4) for number in range(2)]
    allocate("a", pool=pools[0], user=user, vid=100)
    allocate("a", pool=pools[1], user=user, vid=101)
    with pytest.raises(VIDUnavailable, match="different VLAN IDs"):
        allocate_stretched("a", pools=pools, user=user)


def test_pools_that_grow_make_what_they_lack(user):
    pools = make_pools(GROWS, GROWS)
    assert ask("a", pools, user) == [(100, True)] * 2
    assert ask("b", pools, user) == [(101, True)] * 2
    assert ask("a", pools, user) == [(100, False)] * 2


def test_what_is_available_comes_first(user):
    pools = make_pools({"segments": 3} | GROWS, {"segments": 3, "vid_ranges": ((102, 199),)} | GROWS)
    assert ask("a", pools, user) == [(102, True)] * 2
    assert Segment.objects.count() == 6
    # One pool has an available segment, and the other grows.
    assert ask("b", pools, user) == [(103, True)] * 2


def test_one_that_grows_beside_one_that_does_not(user):
    pools = make_pools({"segments": 2}, GROWS)
    allocate("x", pool=pools[0], user=user)
    assert ask("a", pools, user) == [(101, True)] * 2
    with pytest.raises(PoolExhausted):
        ask("b", pools, user)


def test_the_vlan_id_that_the_cluster_holds_already(user):
    pools = make_pools({"segments": 2}, GROWS)
    allocate("a", pool=pools[0], user=user, vid=101)
    assert ask("a", pools, user) == [(101, False), (101, True)]
    assert ask("b", make_pools_of(pools), user, vid=100) == [(100, True)] * 2


def make_pools_of(pools):
    return list(SegmentPool.objects.filter(pk__in=[pool.pk for pool in pools]).order_by("pk"))


def test_it_says_why_a_pool_cannot_grow(user):
    pools = make_pools({"segments": 2}, GROWS | {"grow_limit": 1})
    assert ask("a", pools, user) == [(100, True)] * 2
    with pytest.raises(PoolExhausted, match="growth limit of 1"):
        ask("b", pools, user)
    with pytest.raises(VIDUnavailable, match="growth limit of 1"):
        ask("b", pools, user, vid=101)
    assert Segment.objects.count() == 3


def test_pools_of_one_vlan_group_have_no_vlan_id_in_common(user):
    first = make_pool(**GROWS)
    second = make_pool("Network2", "Site2", container="10.1.0.0/16", vlan_group=first.vlan_group, slug="x", **GROWS)
    with pytest.raises(PoolExhausted):
        ask("a", [first, second], user)
    assert not Segment.objects.exists()


def test_a_dry_run_makes_nothing(user):
    pools = make_pools(GROWS, GROWS)
    assert ask("a", pools, user, dry_run=True) == [(100, True)] * 2
    assert not Segment.objects.exists()
    assert not Allocation.objects.exists()


@pytest.mark.parametrize("fields", [{}, GROWS], ids=["fixed", "grows"])
def test_a_cluster_gets_its_own_vlan_id_back(user, fields):
    pools = make_pools(*[{"segments": 3, "cooldown": 3600} | fields] * 2)
    ask("first", pools, user)
    assert ask("a", pools, user) == [(101, True)] * 2
    release_all("first", pools, user)
    release_all("a", pools, user)
    assert ask("b", pools, user) == [(102, True)] * 2
    assert ask("a", pools, user) == [(101, True)] * 2


def test_its_own_at_one_site_and_an_available_one_at_the_other(user):
    pools = make_pools({"segments": 3, "cooldown": 3600}, {"segments": 3})
    ask("first", pools, user)
    ask("a", pools, user)
    release_all("a", pools, user)
    release_all("first", pools, user)
    assert ask("a", pools, user) == [(101, True)] * 2


def test_its_own_is_not_forced_on_a_wish(user):
    pools = make_pools(*[{"segments": 3, "cooldown": 3600}] * 2)
    ask("a", pools, user)
    release_all("a", pools, user)
    assert ask("a", pools, user, vid=102) == [(102, True)] * 2


def test_a_merged_pool_is_not_called_exhausted(user):
    pools = make_pools({"segments": 1}, {"segments": 1})
    into = make_pool(scope="Site9", container="10.9.0.0/16", vid_ranges=((900, 999),))
    SegmentPool.objects.filter(pk=into.pk).update(name="Into")
    lowest = stretching._lock_lowest

    def merge_first(*args, **kwargs):
        if SegmentPool.objects.filter(pk=pools[0].pk).exists():
            merge_pool(pools[0], into, user=user)
        return lowest(*args, **kwargs)

    group = into.vlan_group
    group.vid_ranges = [*group.vid_ranges, *pools[0].vlan_group.vid_ranges]
    group.save()
    with patch.object(stretching, "_lock_lowest", merge_first), pytest.raises(Busy):
        ask("a", pools, user)
