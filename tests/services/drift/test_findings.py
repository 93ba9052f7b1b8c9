from unittest.mock import patch

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dcim.models import Location, Region, SiteGroup
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.api.serializers.drift import DriftFilterSerializer, DriftSerializer
from netbox_vlan_manager.forms import DriftFilterForm
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.drift.findings import KINDS, Drift, find_drift, register, register_families
from tests.factories import make_pool, make_segment, make_site, make_user
from tests.services.drift.base import drifts

pytestmark = pytest.mark.django_db


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


def pools_named_by_a_check(pk):
    pools = SegmentPool.objects.all() if pk is None else SegmentPool.objects.filter(pk=pk)
    for pool in pools:
        yield Drift("test_kind", pool, pool, f"Pool {pool} is in the test")


class TestRegistry:
    def test_registered_kind_is_found_and_then_gone(self, pool):
        with patch.dict(KINDS):
            register("test_kind", "Kind of the test", "info", pools_named_by_a_check)
            assert drifts() == [("test_kind", pool)]
            assert find_drift("test_kind", pool.pk + 1) == []
            (found,) = find_drift("test_kind", pool.pk)
            assert (found.label, found.severity) == ("Kind of the test", "info")
            assert list(KINDS)[-1] == "test_kind"
        assert find_drift() == []
        assert "test_kind" not in KINDS

    def test_kind_of_both_families(self):
        names = []
        with patch.dict(KINDS):
            register_families("test_kind", ("IPv4", "IPv6"), "info", lambda pk, name: names.append(name) or ())
            assert [KINDS[kind].label for kind in ("test_kind", "ipv6_test_kind")] == ["IPv4", "IPv6"]
            find_drift()
        assert names == ["prefix", "ipv6_prefix"]

    def test_one_name_is_not_for_two_kinds(self):
        with pytest.raises(ValueError, match="pool_scope"):
            register("pool_scope", "Another", "info", pools_named_by_a_check)

    def test_order_is_that_of_the_repairs(self):
        groups = {"pool_scope": 0, "vlan_group_changed": 1, "prefix_vrf_changed": 2, "segment_status": 3}
        order = [kind for kind in KINDS if kind in groups]
        assert order == list(groups)
        assert list(KINDS)[-4:] == ["prefix_unmigrated", "prefix_orphan", "prefix_around", "segment_in_use"]

    def test_answers_of_rest_know_it(self):
        with patch.dict(KINDS):
            register("test_kind", "Kind of the test", "info", pools_named_by_a_check)
            assert "test_kind" in DriftSerializer().fields["kind"].choices
            assert DriftFilterSerializer(data={"kind": ["test_kind"]}).is_valid()
        assert not DriftFilterSerializer(data={"kind": ["test_kind"]}).is_valid()

    def test_filters_of_the_page_know_it(self, pool):
        with patch.dict(KINDS):
            register("test_kind", "Kind of the test", "info", pools_named_by_a_check)
            form = DriftFilterForm(findings=find_drift())
            assert form.fields["kind"].choices[1:] == [("test_kind", "Kind of the test")]
