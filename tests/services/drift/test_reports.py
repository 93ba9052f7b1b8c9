import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dcim.models import Site
from ipam.models import VLAN, VRF, Prefix
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services.drift.findings import find_drift
from netbox_vlan_manager.services.drift.repair import repair_drift
from netbox_vlan_manager.services.drift.reports import DriftReport, report_drift
from tests.factories import make_pool, make_segment, make_user, permit
from tests.services.drift.base import statuses
from tests.services.drift.planting import cover, vlan

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool(dual_stack_pool):
    return dual_stack_pool


@pytest.mark.parametrize(
    ("network", "values"),
    [
        ("10.0.0.0/25", {}),
        ("10.0.0.0/23", {"status": "container"}),
        ("10.0.0.0/8", {}),
        ("10.0.100.0/24", {}),
        ("10.0.0.0/23", {"vrf": None}),
    ],
    ids=str,
)
def test_prefixes_of_other_people_are_no_drift(pool, network, values):
    Prefix.objects.create(**{"prefix": network, "vrf": pool.vrf, "status": "active", **values})
    assert find_drift() == []


def test_hosts_on_a_segment_are_no_drift(pool):
    cover("10.0.0.128/25", status="reserved", vlan=VLAN.objects.get(vid=101)).delete()
    assert find_drift() == []


class TestPermissions:
    @pytest.fixture
    def other(self, pool):
        """Another pool, with one finding like the first pool."""
        other = make_pool("Network2", container="10.2.0.0/16", segments=1)
        Prefix.objects.filter(prefix__in=("10.0.1.0/24", "10.2.0.0/24")).update(status="deprecated")
        return other

    def test_nothing(self, other, bob):
        assert report_drift(bob) == DriftReport([])
        assert repair_drift(user=bob) == []

    def test_view(self, pool, other, bob):
        user = permit(bob, pool, "view")
        assert report_drift(user) == DriftReport([], hidden=1)
        user = permit(user, Segment, "view")
        (found,) = report_drift(user).findings
        assert found.pool == pool
        (result,) = repair_drift(user=user)
        assert (result.status, len(find_drift())) == ("failed", 2)
        assert result.message == "You may not change pool Network1 Site1: ask for the permission."

    def test_change(self, pool, other, bob):
        user = permit(permit(bob, pool, "view", "change"), Segment, "view")
        items = [found.item for found in find_drift()]
        results = repair_drift(items, user=user)
        assert statuses(results) == ["repaired", "skipped"]
        assert [found.pool for found in find_drift()] == [other]

    def test_superusers_and_the_system_see_all(self, other):
        assert len(report_drift(make_user("root", is_superuser=True)).findings) == 2
        assert len(report_drift().findings) == 2

    def test_other_prefixes_are_named_with_the_permission(self, pool, bob):
        other = cover("10.0.0.0/24")
        user = permit(permit(bob, pool, "view"), Segment, "view")
        (found,) = report_drift(user).findings
        assert found.message.endswith("by another prefix, of no segment")
        user = permit(user, other, "view")
        (found,) = report_drift(user).findings
        assert found.message.endswith("by another prefix, of no segment: 10.0.0.0/24")


def test_report_is_by_pool(pool):
    make_pool("Alpha", segments=2)
    Prefix.objects.filter(segment__isnull=False).update(status="deprecated", vlan=None)
    pools = [found.pool.name for found in report_drift().findings]
    assert pools == sorted(pools)
    assert len(pools) == 10


def test_queries_do_not_grow_with_findings(pool, bob):
    user = permit(permit(permit(bob, SegmentPool, "view", "change"), Segment, "view"), Prefix, "view")
    cover("10.0.0.0/24")
    vlan(102, name="EPG 1", status="reserved")
    counts = []
    for numbers in ([0], range(1, 6)):
        for number in numbers:
            make_segment(make_pool(f"Other{number}", segments=4), 110, 10)
            vrf = VRF.objects.get(name=f"Other{number}")
            # bulk_create() skips NetBox's validation, which refuses a second prefix of a segment's network.
            Prefix.objects.bulk_create(Prefix(prefix=f"10.0.{third}.0/24", vrf=vrf) for third in range(4))
        VLAN.objects.filter(vid=101).update(name="EPG 1", status="reserved", group=None)
        Prefix.objects.filter(segment__isnull=False).update(status="deprecated", vlan=None)
        report_drift(user)
        with CaptureQueriesContext(connection) as queries:
            report = report_drift(user)
        counts.append(len(queries))
    assert len(report.findings) > 50
    assert counts[0] == counts[1]


def test_scope_of_the_report_after_its_site_is_renamed(pool):
    Site.objects.update(name="Renamed")
    assert find_drift() == []
