from itertools import count
from unittest.mock import patch

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from core.models import ObjectChange
from dcim.models import Site
from ipam.models import VLAN, VRF, IPAddress, Prefix, VLANGroup
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.base import audit
from netbox_vlan_manager.services.drift import repair
from netbox_vlan_manager.services.drift.consistency import KINDS, find_drift
from netbox_vlan_manager.services.drift.repair import repair_drift, report_drift
from tests.factories import make_pool, make_segment, make_site, make_user, permit
from tests.services.drift.test_consistency import unguarded
from virtualization.models import Cluster, ClusterType

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice", is_superuser=True)


@pytest.fixture
def bob():
    """Who may do nothing."""
    return make_user("bob")


@pytest.fixture
def pool(user):
    """A pool with segments 100, which prod-01 holds, 101 and 102, each with an IPv6 prefix."""
    pool = make_pool(segments=3)
    pool.prefixes.add(Prefix.objects.create(prefix="2001:db8::/48", vrf=pool.vrf, status="container"))
    for number, segment in enumerate(Segment.objects.all()):
        prefix = Prefix.objects.create(prefix=f"2001:db8:0:{number}::/64", vrf=pool.vrf, vlan=segment.vlan)
        Segment.objects.filter(pk=segment.pk).update(ipv6_prefix=prefix)
    allocate("prod-01", pool=pool, user=user)
    ObjectChange.objects.all().delete()
    assert find_drift() == []
    return pool


def vlan(vid=100, **values):
    assert VLAN.objects.filter(vid=vid).update(**values)


def prefix(network="10.0.0.0/24", **values):
    assert Prefix.objects.filter(prefix=network).update(**values)


def other_vrf():
    return VRF.objects.create(name="Other")


IPV6 = "2001:db8::/64"

# Each kind that can be repaired, and what brings it about: {name: (kinds, function, what shows that it is repaired)}
REPAIRABLE = {
    # No signal tells of it.
    "cluster": (
        ["cluster_link"],
        lambda: Cluster.objects.bulk_create(
            [Cluster(name="PROD-01", type=ClusterType.objects.create(name="Kind", slug="kind"))]
        ),
        lambda: has(Allocation, cluster__name="PROD-01"),
    ),
    "vlan": (
        ["vlan_renumbered", "allocation_stale"],
        lambda: VLAN.objects.filter(vid=100).update(vid=150),
        lambda: has(Allocation, vid=150, segment__vid=150, segment__vlan__vid=150),
    ),
    "no group": (
        ["vlan_group_changed"],
        lambda: vlan(group=None),
        lambda: has(VLAN, vid=100, group__segment_pools__name="Network1 Site1"),
    ),
    "another group": (
        ["vlan_group_changed"],
        lambda: vlan(group=VLANGroup.objects.create(name="Other", slug="other")),
        lambda: has(VLAN, vid=100, group__segment_pools__name="Network1 Site1"),
    ),
    "renumbered in another group": (
        ["vlan_group_changed", "vlan_renumbered"],
        lambda: VLAN.objects.filter(vid=101).update(group=None, vid=151),
        lambda: has(Segment, vid=151, vlan__group__segment_pools__name="Network1 Site1"),
    ),
    "name of an allocated one": (
        ["epg_name_invalid", "allocation_stale"],
        lambda: vlan(name="no EPG"),
        lambda: has(VLAN, vid=100, name="EPG_100"),
    ),
    "name": (
        ["epg_name_invalid"],
        lambda: vlan(101, name=" my EPG (101) "),
        lambda: has(VLAN, vid=101, name="my_EPG_101_"),
    ),
    "valid name": (
        ["allocation_stale"],
        lambda: vlan(name="Renamed"),
        lambda: has(Allocation, epg_name="Renamed"),
    ),
    "VLAN status": (
        ["vlan_status"],
        lambda: vlan(101, status="deprecated"),
        lambda: has(Segment, vid=101, status="disabled", disabled_reason="VLAN deprecated"),
    ),
    "no VRF": (
        ["prefix_vrf_changed"],
        lambda: prefix(vrf=None),
        lambda: has(Prefix, prefix="10.0.0.0/24", vrf__name="Network1"),
    ),
    "VRF": (
        ["prefix_vrf_changed"],
        lambda: prefix(vrf=other_vrf()),
        lambda: has(Prefix, prefix="10.0.0.0/24", vrf__name="Network1"),
    ),
    "IPv6 VRF": (
        ["ipv6_prefix_vrf_changed"],
        lambda: prefix(IPV6, vrf=other_vrf()),
        lambda: has(Prefix, prefix=IPV6, vrf__name="Network1"),
    ),
    "no VLAN": (
        ["prefix_vlan_changed"],
        lambda: prefix(vlan=None),
        lambda: has(Prefix, prefix="10.0.0.0/24", vlan__vid=100),
    ),
    # The other one is available, and its VLAN has a prefix that is not its own.
    "VLAN of another": (
        ["prefix_vlan_changed", "segment_in_use"],
        lambda: prefix(vlan=VLAN.objects.get(vid=101)),
        lambda: has(Prefix, prefix="10.0.0.0/24", vlan__vid=100),
    ),
    "IPv6 VLAN": (
        ["ipv6_prefix_vlan_changed"],
        lambda: prefix(IPV6, vlan=None),
        lambda: has(Prefix, prefix=IPV6, vlan__vid=100),
    ),
    "prefix status": (
        ["prefix_status"],
        lambda: prefix(status="deprecated"),
        lambda: has(Prefix, prefix="10.0.0.0/24", status="reserved"),
    ),
    "status of a free prefix": (
        ["prefix_status"],
        lambda: prefix("10.0.1.0/24", status="reserved"),
        lambda: has(Prefix, prefix="10.0.1.0/24", status="active"),
    ),
    "IPv6 prefix status": (
        ["ipv6_prefix_status"],
        lambda: prefix(IPV6, status="active"),
        lambda: has(Prefix, prefix=IPV6, status="reserved"),
    ),
    "allocated, and nobody holds it": (
        ["segment_status", "prefix_status", "ipv6_prefix_status"],
        lambda: unguarded_update(Segment.objects.filter(vid=101), status="allocated"),
        lambda: has(Segment, vid=101, status="available"),
    ),
    "held, and in quarantine": (
        ["segment_status", "prefix_status", "ipv6_prefix_status"],
        lambda: unguarded_update(
            Segment.objects.filter(vid=100), status="quarantined", quarantined_until=timezone.now()
        ),
        lambda: has(Segment, vid=100, status="allocated"),
    ),
    "released by hand": (
        ["segment_status"],
        lambda: unguarded_update(Allocation.objects.all(), released_at=timezone.now()),
        lambda: has(Prefix, prefix="10.0.0.0/24", status="active"),
    ),
    "CIDR": (
        ["allocation_stale"],
        lambda: prefix(prefix="10.0.9.0/24"),
        lambda: has(Allocation, prefix="10.0.9.0/24"),
    ),
    "IPv6 CIDR": (
        ["allocation_stale"],
        lambda: prefix(IPV6, prefix="2001:db8:0:9::/64"),
        lambda: has(Allocation, ipv6_prefix="2001:db8:0:9::/64"),
    ),
    "allocation": (
        ["allocation_stale"],
        lambda: Allocation.objects.update(vid=7, epg_name="EPG_7", prefix="10.0.7.0/24", ipv6_prefix=None),
        lambda: has(Allocation, ipv6_prefix=IPV6, vid=100, epg_name="EPG_100", prefix="10.0.0.0/24"),
    ),
    "pool of an allocation": (
        ["allocation_stale"],
        lambda: Allocation.objects.update(pool=make_pool("Network2"), pool_name="x", vrf_name="y"),
        lambda: has(Allocation, pool__name="Network1 Site1", pool_name="Network1 Site1", vrf_name="Network1"),
    ),
    "places": (
        ["pool_places"],
        lambda: SegmentPool.objects.update(_site=make_site("Site2")),
        lambda: has(SegmentPool, _site__name="Site1"),
    ),
    "container VRF": (
        ["container_vrf", "prefix_outside_containers", "prefix_outside_containers", "prefix_outside_containers"],
        lambda: prefix("10.0.0.0/16", vrf=other_vrf()),
        lambda: has(Prefix, prefix="10.0.0.0/16", vrf__name="Network1"),
    ),
    "container status": (
        ["container_status"],
        lambda: Prefix.objects.filter(status="container").update(status="active"),
        lambda: Prefix.objects.filter(status="container").count() == 2,
    ),
}


def has(model, **values):
    return model.objects.filter(**values).exists()


def unguarded_update(queryset, **values):
    with unguarded():
        queryset.update(**values)
        # What is deferred would be checked at the end of a test that repairs nothing.
        connection.cursor().execute("SET CONSTRAINTS ALL IMMEDIATE")


def kinds():
    return [found.kind for found in find_drift()]


def statuses(results):
    return [result.status for result in results]


@pytest.fixture
def snapshot(django_user_model):
    """A function that returns all that a repair might write."""

    def take():
        models = (Segment, Allocation, SegmentPool, VLAN, Prefix, ObjectChange)
        return [list(model.objects.order_by("pk").values()) for model in models]

    return take


@pytest.mark.parametrize("name", REPAIRABLE)
class TestRepairs:
    @pytest.mark.slow("Repairs each kind of drift, all at once")
    def test_all(self, pool, user, name):
        expected, plant, is_repaired = REPAIRABLE[name]
        plant()
        ObjectChange.objects.all().delete()
        assert kinds() == expected
        assert not is_repaired()
        results = repair_drift(user=user)
        assert set(statuses(results)) <= {"repaired", "skipped"}
        assert (find_drift(), is_repaired()) == ([], True)
        assert set(ObjectChange.objects.values_list("user__username", flat=True)) == {"alice"}
        before = ObjectChange.objects.count()
        assert repair_drift(user=user) == []
        assert ObjectChange.objects.count() == before

    @pytest.mark.slow("Repairs each kind of drift, one by one")
    def test_one_by_one(self, pool, user, name):
        REPAIRABLE[name][1]()
        for found in find_drift():
            (result,) = repair_drift([found.item], user=user, changelog_message="Because")
            # One repair may be what another one is about.
            assert (result.item, result.status in ("repaired", "skipped")) == (found.item, True), result
        for found in find_drift():
            (result,) = repair_drift([found.item], user=user)
            assert result.status == "repaired"
        assert find_drift() == []
        messages = set(ObjectChange.objects.values_list("message", flat=True))
        assert "Because" in messages
        # What was repaired is left alone.
        (again,) = repair_drift([result.item], user=user)
        assert again.status == "skipped"

    def test_dry_run(self, pool, user, name, snapshot):
        REPAIRABLE[name][1]()
        before, found = snapshot(), find_drift()
        results = repair_drift(user=user, dry_run=True)
        assert [result.item for result in results] == [one.item for one in found]
        repairs = {one.item: one.repair for one in found}
        assert statuses(results) == ["would_repair" if repairs[result.item] else "skipped" for result in results]
        assert all(result.message == repairs[result.item] for result in results if repairs[result.item])
        assert snapshot() == before


def overlap():
    prefix("10.0.1.0/24", prefix="10.0.2.0/25")


def cover(network="10.0.0.0/23", **values):
    """Make a prefix, past NetBox, which refuses some of them."""
    vrf = SegmentPool.objects.get().vrf
    (prefix,) = Prefix.objects.bulk_create([Prefix(prefix=network, vrf=vrf, **{"status": "active", **values})])
    return prefix


# What only people can decide: (kinds, function)
UNREPAIRABLE = {
    "out of the ranges": (
        ["vid_out_of_range"],
        lambda: VLANGroup.objects.update(
            vid_ranges=[type(VLANGroup.objects.first().vid_ranges[0])(101, 200)],
        ),
    ),
    "renumbered to what the group does not allow": (
        ["vlan_renumbered"],
        lambda: VLAN.objects.filter(vid=101).update(vid=2000),
    ),
    "twin in the group": (
        ["vlan_group_changed"],
        lambda: (
            vlan(101, group=None),
            VLAN.objects.create(vid=101, name="Twin", group=SegmentPool.objects.get().vlan_group),
        ),
    ),
    "no name": (["epg_name_invalid"], lambda: vlan(101, name="?")),
    "name of another": (
        ["epg_name_invalid"],
        lambda: vlan(101, name="EPG 102"),
    ),
    "outside": (["prefix_outside_containers"], lambda: prefix("10.0.1.0/24", prefix="10.9.0.0/24")),
    "IPv6 outside": (
        ["ipv6_prefix_outside_containers"],
        lambda: prefix("2001:db8:0:1::/64", prefix="2001:db9::/64"),
    ),
    "overlap": (["prefix_overlap"], overlap),
    "IPv6 overlap": (
        ["ipv6_prefix_overlap"],
        lambda: prefix("2001:db8:0:1::/64", prefix="2001:db8:0:2:1::/80"),
    ),
    "same prefix": (["prefix_covered"], lambda: cover("10.0.0.0/24")),
    "around two": (["prefix_around"], cover),
    "IPv6 around": (["prefix_around"], lambda: cover("2001:db8::/48")),
    "IPv6 covered": (["ipv6_prefix_covered"], lambda: cover("2001:db8::/64")),
    "moved, and its place taken": (
        ["prefix_vrf_changed"],
        lambda: (prefix(vrf=other_vrf()), cover("10.0.0.0/24", status="container")),
    ),
    "orphan": (["prefix_orphan"], lambda: cover("10.0.200.0/24", status="reserved")),
    "available, but in use": (
        ["segment_in_use"],
        lambda: IPAddress.objects.create(address="10.0.1.7/24", vrf=SegmentPool.objects.get().vrf),
    ),
    "held in the first generation": (
        ["prefix_unmigrated"],
        lambda: (
            SegmentPool.objects.update(first_generation="over"),
            cover("10.0.200.0/24", custom_field_data={"Cluster": "a"}),
        ),
    ),
    "no containers": (
        ["container_missing", *["prefix_outside_containers"] * 3, *["ipv6_prefix_outside_containers"] * 3],
        lambda: SegmentPool.prefixes.through.objects.all().delete(),
    ),
    "values": (["pool_values"], lambda: SegmentPool.objects.update(auto_grow=True, grow_prefix_length=64)),
    "scope": (["pool_scope"], lambda: SegmentPool.objects.update(scope_id=0)),
}


@pytest.mark.parametrize("name", UNREPAIRABLE)
def test_what_people_have_to_decide(pool, user, name, snapshot):
    expected, plant = UNREPAIRABLE[name]
    plant()
    found = find_drift()
    assert [one.kind for one in found] == expected
    assert all(one.advice.endswith(".") and not one.repair and not one.changes for one in found)
    before = snapshot()
    results = repair_drift(user=user)
    assert [(result.status, result.message) for result in results] == [("skipped", one.advice) for one in found]
    assert snapshot() == before


def test_every_kind_is_planted():
    planted = {kind for case in (*REPAIRABLE.values(), *UNREPAIRABLE.values()) for kind in case[0]}
    # The database refuses these, even here; see test_consistency.
    assert set(KINDS) - planted == {"segment_held_twice", "allocated_twice"}


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


def test_chain_of_renumbered_vlans_is_repaired_as_a_whole(pool, user):
    for vid in (102, 101, 100):
        VLAN.objects.filter(vid=vid).update(vid=vid + 1)
    results = repair_drift(user=user)
    assert {result.status for result in results} == {"repaired"}
    assert find_drift() == []
    assert list(Segment.objects.values_list("vid", flat=True)) == [101, 102, 103]


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_follows_a_repair_by_the_system(pool, dry_run):
    """A VLAN that is renamed brings its segment and the allocation up to date, with no user whom NetBox could name."""
    vlan(name="No EPG name")
    with unguarded():
        Segment.objects.filter(vid=100).update(vid=999)
        Allocation.objects.update(epg_name="EPG_of_old")
    found = find_drift()
    results = repair_drift(user=None, enforce=False, dry_run=dry_run)
    assert "failed" not in statuses(results)
    assert find_drift() == (found if dry_run else [])
    changes = [] if dry_run else [(None, audit.SYSTEM)]
    assert [*ObjectChange.objects.order_by().values_list("user", "user_name").distinct()] == changes


def test_swapped_vlans_are_left_alone(pool, user):
    for before, after in ((101, 999), (102, 101), (999, 102)):
        VLAN.objects.filter(vid=before).update(vid=after)
    assert statuses(repair_drift(user=user)) == ["skipped", "skipped"]
    assert kinds() == ["vlan_renumbered", "vlan_renumbered"]


def test_depths_of_prefixes_follow_a_repaired_vrf(pool, user):
    network = "10.0.1.0/24"
    Prefix.objects.filter(prefix=network).update(vrf=None, _depth=0)
    Prefix.objects.filter(prefix="10.0.0.0/16").update(_children=2)
    repair_drift(user=user)
    assert Prefix.objects.get(prefix=network)._depth == 1
    assert Prefix.objects.get(prefix="10.0.0.0/16")._children == 3


def test_what_another_plugin_refuses_fails_alone(pool, user):
    prefix("10.0.1.0/24", status="reserved")
    prefix("10.0.2.0/24", status="reserved")
    write, calls = repair.audit.write, count()

    def refuse_first(updates):
        write(updates=updates)
        if next(calls) == 0:
            raise Busy

    with patch.object(repair.audit, "write", refuse_first):
        results = repair_drift([found.item for found in find_drift()], user=user)
    assert statuses(results) == ["failed", "repaired"]
    assert kinds() == ["prefix_status"]
    assert ObjectChange.objects.count() == 1


def test_repaired_by_somebody_else_meanwhile(pool, user):
    prefix("10.0.1.0/24", status="reserved")
    lock = repair._lock

    def repair_first(found):
        lock(found)
        prefix("10.0.1.0/24", status="active")

    with patch.object(repair, "_lock", repair_first):
        results = repair_drift(user=user)
    assert [(result.status, result.message) for result in results] == [("skipped", "Already resolved.")]


@pytest.mark.parametrize("items", [[], ["x"], ["prefix_status:a.b"], ["no:a.b:1"], ["prefix_status:a.b:x"], [1]])
def test_items_that_are_none(pool, user, items):
    with pytest.raises(repair.ValidationError) as caught:
        repair_drift(items, user=user)
    assert list(caught.value.message_dict) == ["items"]


class TestPermissions:
    @pytest.fixture
    def other(self, pool):
        """Another pool, with one finding, as the first has."""
        other = make_pool("Network2", container="10.2.0.0/16", segments=1)
        Prefix.objects.filter(prefix__in=("10.0.1.0/24", "10.2.0.0/24")).update(status="deprecated")
        return other

    def test_nothing(self, other, bob):
        assert report_drift(bob) == repair.DriftReport([])
        assert repair_drift(user=bob) == []

    def test_view(self, pool, other, bob):
        user = permit(bob, pool, "view")
        assert report_drift(user) == repair.DriftReport([], hidden=1)
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

    def test_other_prefixes_are_named_to_who_may_view_them(self, pool, bob):
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
            # Past NetBox, which refuses a second prefix of a segment's network.
            Prefix.objects.bulk_create(Prefix(prefix=f"10.0.{third}.0/24", vrf=vrf) for third in range(4))
        VLAN.objects.filter(vid=101).update(name="EPG 1", status="reserved", group=None)
        Prefix.objects.filter(segment__isnull=False).update(status="deprecated", vlan=None)
        report_drift(user)
        with CaptureQueriesContext(connection) as queries:
            report = report_drift(user)
        counts.append(len(queries))
    assert len(report.findings) > 50
    assert counts[0] == counts[1]


def test_a_repair_is_committed_with_the_rows_it_needs_locked(pool, user):
    """The deferred trigger agrees at the commit, not only before."""
    unguarded_update(Segment.objects.filter(vid=101), status="allocated")
    assert statuses(repair_drift(user=user))[0] == "repaired"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_scope_of_the_report_after_its_site_is_renamed(pool):
    Site.objects.update(name="Renamed")
    assert find_drift() == []
