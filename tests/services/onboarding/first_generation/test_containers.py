import pytest

from ipam.models import VRF, Prefix
from netbox_vlan_manager.models import SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    update_pool,
)
from netbox_vlan_manager.services.onboarding.first_generation.undoing import undo
from tests.drift import find_drift
from tests.first_generation import make_fields, make_group, make_prefix
from tests.services.onboarding.first_generation.base import AT, assert_failed, problems_of, run

pytestmark = pytest.mark.django_db


class TestContainers:
    @pytest.fixture
    def group(self):
        make_fields()
        return make_group(container=None)

    def containers(self):
        return sorted(str(prefix) for prefix in SegmentPool.objects.get().prefixes.all())

    def test_the_smallest_that_is_there(self, group, user):
        vrf = VRF.objects.get()
        for network in ("10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24"):
            Prefix.objects.create(prefix=network, vrf=vrf, status="container")
        make_prefix(group, 100, "10.0.1.0/24")
        migration = run()
        assert self.containers() == ["10.0.0.0/16"]
        assert migration.pools[0].containers == []

    def test_made_where_there_is_none(self, group, user):
        for number in range(4):
            make_prefix(group, 100 + number, f"10.0.{number}.0/24")
        make_prefix(group, 200, "192.168.0.0/24")
        migration = run()
        assert self.containers() == ["10.0.0.0/22", "192.168.0.0/23"]
        assert sorted(migration.pools[0].containers) == self.containers()
        assert find_drift() == []

    def test_around_what_is_foreign(self, group, user):
        vrf = VRF.objects.get()
        Prefix.objects.create(prefix="10.0.2.0/24", vrf=vrf)
        for number in (0, 1, 5):
            make_prefix(group, 100 + number, f"10.0.{number}.0/24")
        run()
        assert self.containers() == ["10.0.0.0/23", "10.0.4.0/23"]

    def test_none_can_be_made(self, group, user):
        Prefix.objects.create(prefix="10.0.0.0/16", vrf=VRF.objects.get())
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        assert_failed(run(), prefix, "status Container")
        assert not SegmentPool.objects.exists()
        assert Prefix.objects.count() == 2

    def test_two_sites_in_one_network(self, group, user):
        other = make_group(site="Site2", container=None)
        for number in range(8):
            make_prefix((group, other)[number // 2 % 2], 100 + number, f"10.0.{number}.0/24")
        migration = run()
        assert migration.count("migrated") == 8
        assert sum(len(pool.containers) for pool in migration.pools) == 4
        assert find_drift() == []


class TestSizes:
    @pytest.fixture
    def group(self, user):
        make_fields()
        return make_group(container=None)

    @pytest.mark.parametrize(
        ("networks", "containers"),
        [
            (["10.0.0.0/16"], ["10.0.0.0/15"]),
            (["10.0.0.0/16", "10.1.0.0/16"], ["10.0.0.0/15"]),
            (["10.0.0.0/16", "10.1.0.0/24"], ["10.0.0.0/15"]),
            (["10.0.0.0/16", "10.3.0.0/16"], ["10.0.0.0/15", "10.2.0.0/15"]),
        ],
    )
    def test_networks_as_large_as_a_segment_may_be(self, group, networks, containers):
        for vid, network in enumerate(networks, 10):
            make_prefix(group, vid, network)
        assert run().failed == 0
        assert sorted(map(str, SegmentPool.objects.get().prefixes.all())) == containers
        assert find_drift() == []

    def test_network_that_is_too_large(self, group):
        make_prefix(group, 10, "10.0.0.0/24")
        make_prefix(group, 11, "172.0.0.0/8")
        texts = problems_of(run())
        assert "/16" in texts["172.0.0.0/8"]
        assert "container" not in texts["172.0.0.0/8"]

    def test_networks_of_two_sites_between_each_other(self, group):
        other = make_group(site="Site2", container=None)
        for number in range(8):
            make_prefix((group, other)[number % 2], 100 + number, f"10.0.{number}.0/24", cluster=f"c{number}")
        tried = run(dry_run=True)
        migration = run()
        assert migration.failed == 0
        assert [pool.containers for pool in tried.pools] == [pool.containers for pool in migration.pools]
        assert sum(len(pool.containers) for pool in migration.pools) == 1
        for number in range(8):
            found = allocate(f"c{number}", user="alice", vrf="Network1", site=f"Site{number % 2 + 1}")
            assert (found.created, found.allocation.vid) == (False, 100 + number)
        assert find_drift() == []
        run(undo)
        assert not Prefix.objects.filter(status="container").exists()

    def test_others_between_stay_in_the_way(self, group):
        make_prefix(group, 10, "10.0.0.0/24")
        Prefix.objects.create(prefix="10.0.1.0/24", vrf=VRF.objects.get())
        assert "make a container around it" in problems_of(run())["10.0.0.0/24"]
        assert not SegmentPool.objects.exists()


def test_growing_stays_off_what_is_held(group):
    make_prefix(group, 100, "10.0.0.0/24", cluster="b")
    make_prefix(group, 101, "10.0.1.0/24", cluster="a", vlan_name="EPG/101")
    run()
    pool = SegmentPool.objects.get()
    update_pool(pool, user="alice", auto_grow=True, grow_prefix_length=24)
    grown = allocate("c", user="alice", **AT).allocation
    assert str(grown.prefix) != "10.0.1.0/24"
    assert grown.vid != 101
