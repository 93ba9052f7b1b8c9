import pytest

from dcim.models import SiteGroup
from ipam.models import VRF, VLANGroup
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import create_pool
from tests.drift import find_drift
from tests.first_generation import make_group, make_prefix
from tests.services.onboarding.first_generation.base import problems_of, run

pytestmark = pytest.mark.django_db


class TestPools:
    def test_two_groups_of_one_name(self, group, user):
        make_prefix(group, 100, "10.0.0.0/24")
        other = VLANGroup.objects.create(name=group.name, slug="other")
        make_prefix(other, 101, "10.0.1.0/24")
        migration = run()
        assert migration.count("failed") == 2
        assert "2 VLAN groups" in problems_of(migration)["10.0.1.0/24"]
        assert not SegmentPool.objects.exists()

    def test_no_site_group_of_that_name(self, group, user):
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        SiteGroup.objects.update(name="Elsewhere")
        run()
        assert Segment.objects.get().pool.scope == prefix.scope

    def test_no_scope_at_all(self, group, user):
        make_prefix(group, 100, "10.0.0.0/24", scope=None)
        SiteGroup.objects.update(name="Elsewhere")
        migration = run()
        assert "no site group Site1" in migration.pools[0].error
        assert migration.count("failed") == 1
        assert not SegmentPool.objects.exists()

    def test_existing_pool_gets_the_containers_that_it_lacks(self, group, user):
        make_prefix(group, 100, "10.0.0.0/24")
        make_prefix(group, 101, "10.9.0.0/24")
        pool = create_pool(
            user=user,
            vrf=VRF.objects.get(),
            scope=SiteGroup.objects.get(),
            prefixes=["10.0.0.0/16"],
            vlan_group=group,
            name="Mine",
        )
        migration = run()
        assert (migration.count("migrated"), migration.pools_created) == (2, 0)
        assert {str(prefix) for prefix in pool.prefixes.all()} == {"10.0.0.0/16", "10.9.0.0/23"}
        assert Segment.objects.filter(pool=pool).count() == 2
        assert find_drift() == []

    def test_pool_with_another_vlan_group(self, group, user):
        make_prefix(group, 100, "10.0.0.0/24")
        create_pool(
            user=user, vrf=VRF.objects.get(), scope=SiteGroup.objects.get(), prefixes=["10.0.0.0/16"], name="Mine"
        )
        migration = run()
        assert "from VLAN group Network1-Site1" in migration.pools[0].error
        assert migration.count("failed") == 1

    def test_one_pool_that_fails_leaves_the_others(self, group, user):
        make_prefix(group, 100, "10.0.0.0/24")
        other = make_group(site="Site2")
        make_prefix(other, 100, "10.0.1.0/24")
        create_pool(
            user=user,
            vrf=VRF.objects.get(),
            scope=SiteGroup.objects.get(name="Site1"),
            prefixes=["10.0.0.0/16"],
            name="Mine",
        )
        migration = run()
        assert (migration.count("migrated"), migration.count("failed")) == (1, 1)
