import threading
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from core.events import OBJECT_CREATED
from core.models import Job, ObjectChange, ObjectType
from extras.models import EventRule, Webhook
from ipam.models import VLAN, VRF, Prefix, VLANGroup
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, delete_segment, release
from netbox_vlan_manager.services.onboarding.first_generation import migrating
from netbox_vlan_manager.services.onboarding.first_generation.migrating import migrate
from netbox_vlan_manager.services.onboarding.first_generation.reading import has_data
from tests.drift import find_drift
from tests.factories import make_user, permit
from tests.first_generation import make_fields, make_group, make_prefix, make_world
from tests.services.onboarding.first_generation.base import assert_failed, problems_of, run
from virtualization.models import Cluster, ClusterType

pytestmark = pytest.mark.django_db


def assert_statuses(migration, world):
    for status in ("available", "allocated", "disabled"):
        expected = {
            "available": world.available,
            "allocated": [*world.allocated, *world.shared],
            "disabled": world.disabled,
        }[status]
        found = Segment.objects.filter(status=status).values_list("prefix", flat=True)
        assert sorted(found) == sorted(prefix.pk for prefix in expected)
        assert migration.count(status) == len(expected)
    assert set(Segment.objects.filter(status="disabled").values_list("disabled_reason", flat=True)) == {
        "reserved without a cluster in the first generation"
    }


def assert_holders(world):
    holders = {}
    for prefix, name, shared in Allocation.objects.order_by("pk").values_list(
        "segment__prefix", "cluster_name", "shared"
    ):
        assert shared == (prefix in holders)
        holders.setdefault(prefix, []).append(name)
    assert holders == {
        prefix.pk: [name.strip() for name in prefix.custom_field_data["Cluster"].split(",")]
        for prefix in (*world.allocated, *world.shared)
    }


def assert_fields():
    """Check that segments and pools have the values of their VLANs and prefixes."""
    for segment in Segment.objects.select_related("prefix", "vlan", "pool__vrf", "pool__tenant", "pool__role"):
        assert (segment.owns_vlan, segment.owns_prefix) == (False, False)
        assert segment.dhcp == segment.prefix.custom_field_data["DHCP"]
        assert segment.description == segment.prefix.description
        assert segment.pool.vlan_group_id == segment.vlan.group_id
        assert segment.pool.vrf_id == segment.prefix.vrf_id
        assert segment.pool.scope == segment.prefix.scope
        assert (segment.pool.tenant.name, segment.pool.role.name) == ("Platform", "Cluster network")


@pytest.mark.slow("2,000 prefixes")
class TestTwoThousand:
    def test_all_of_it_and_then_nothing_more(self, user):
        world = make_world()
        group = VLANGroup.objects.get(name="Network1-ClickCluster-Site1")
        dirty = [
            make_prefix(group, 3000, "10.0.250.0/25", vlan_name="EPG 3000"),
            make_prefix(group, 3001, "10.0.250.128/25", dhcp="perhaps"),
            make_prefix(group, None, "10.0.251.0/25", vlan=None),
            make_prefix(group, 3002, "10.0.251.128/25", vlan=VLAN.objects.get(group=group, vid=101)),
        ]
        # The VLAN has two prefixes now.
        (doubled,) = (prefix for prefix in world.allocated + world.available if prefix.vlan_id == dirty[-1].vlan_id)
        world.available.remove(doubled)
        dirty.append(doubled)
        before = dict(Prefix.objects.values_list("pk", "status"))
        migration = run()

        assert (migration.pools_created, migration.count("migrated"), migration.count("failed")) == (4, 1999, 5)
        assert {problem.prefix for pool in migration.pools for problem in pool.problems if problem.failed} == {
            prefix.pk for prefix in dirty
        }
        assert SegmentPool.objects.count() == 4
        assert_statuses(migration, world)
        assert_holders(world)
        assert_fields()
        assert dict(Prefix.objects.values_list("pk", "status")) == before
        # Autovacuum does this within a minute. Without statistics, PostgreSQL may need minutes for the checks.
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        assert find_drift() == []

        changes = ObjectChange.objects.count()
        again = run()
        assert (again.count("migrated"), again.count("unchanged"), again.count("failed")) == (0, 1999, 5)
        assert again.pools_created == 0
        assert ObjectChange.objects.count() == changes

    def test_reads_do_not_grow_with_the_rows(self, user):
        numbers = []
        for number in (40, 120):
            with transaction.atomic():
                make_world(number, vrfs=1, sites=1)
                with CaptureQueriesContext(connection) as queries:
                    assert run().count("migrated") == number
                transaction.set_rollback(True)
            numbers.append(len([query for query in queries if query["sql"].startswith("SELECT")]))
        assert numbers[1] - numbers[0] <= 5


class TestRows:
    def test_statuses_and_history(self, group, user):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="prod-01", description="Rack 7")
        changed = timezone.now() - timedelta(days=3)
        for days, before, after in ((9, None, "old"), (3, "old", "prod-01"), (1, "prod-01", "prod-01")):
            change = ObjectChange.objects.create(
                changed_object=prefix,
                object_repr="x",
                action="update",
                user=user,
                request_id="00000000-0000-0000-0000-000000000000",
                prechange_data={"custom_fields": {"Cluster": before}},
                postchange_data={"custom_fields": {"Cluster": after}},
            )
            ObjectChange.objects.filter(pk=change.pk).update(time=changed + timedelta(days=3 - days))
        cluster = Cluster.objects.create(
            name="Prod-01", type=ClusterType.objects.create(name="Kubernetes", slug="kubernetes")
        )
        run()
        allocation = Allocation.objects.get()
        assert (allocation.allocated_at, allocation.allocated_by) == (changed, None)
        assert (allocation.cluster, allocation.purpose, allocation.shared) == (cluster, "", False)
        assert (allocation.vid, str(allocation.prefix), allocation.pool_name) == (100, "10.0.0.0/24", "Network1 Site1")
        assert ObjectChange.objects.filter(user_name="alice", changed_object_id=allocation.pk).exists()
        assert allocate("PROD-01", site="Site1", vrf="Network1", user=user).allocation == allocation

    def test_without_a_change_log_the_prefix_says_when(self, group, user):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="prod-01")
        Prefix.objects.filter(pk=prefix.pk).update(last_updated="2025-01-02T03:04:05Z")
        run()
        assert Allocation.objects.get().allocated_at.isoformat() == "2025-01-02T03:04:05+00:00"

    def test_released_prefix_can_be_handed_out_again(self, group, user):
        make_prefix(group, 100, "10.0.0.0/24", cluster="prod-01")
        run()
        release("prod-01", site="Site1", vrf="Network1", user=user)
        # The custom field still names prod-01, but no longer counts.
        assert run().count("unchanged") == 1
        assert not Allocation.objects.active().exists()
        assert allocate("prod-02", site="Site1", vrf="Network1", user=user).created

    def test_migrated_objects_outlive_their_segment(self, group, user):
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        run()
        delete_segment(Segment.objects.get(), user=user)
        assert Prefix.objects.filter(pk=prefix.pk).exists()
        assert VLAN.objects.filter(vid=100).exists()

    def test_active_with_cluster_is_taken_as_allocated(self, group, user):
        make_prefix(group, 100, "10.0.0.0/24", cluster="prod-01", status="active")
        (problem,) = run().pools[0].problems
        assert (problem.network, problem.failed) == ("10.0.0.0/24", False)
        assert "taken as allocated" in problem.text
        assert Segment.objects.get().status == "allocated"
        assert Prefix.objects.get(prefix="10.0.0.0/24").status == "reserved"

    def test_cluster_with_several_segments_gets_the_lowest(self, group, user):
        for number, vid in enumerate((102, 100, 101)):
            make_prefix(group, vid, f"10.0.{number}.0/24", cluster="prod-01" if vid < 102 else "other, Prod-01")
        migration = run()
        found = Allocation.objects.filter(cluster_name__iexact="prod-01").order_by("vid")
        assert list(found.values_list("vid", "purpose")) == [(100, ""), (101, "2"), (102, "3")]
        assert "purpose 2" in problems_of(migration)["10.0.2.0/24"]
        assert allocate("prod-01", site="Site1", vrf="Network1", user=user).allocation.vid == 100
        assert find_drift() == []

    @pytest.mark.parametrize(
        ("dhcp", "expected"),
        [(True, True), (False, False), (None, False), ("true", True), ("Yes", True), ("no", False), ("", False)],
    )
    def test_dhcp(self, group, user, dhcp, expected):
        make_prefix(group, 100, "10.0.0.0/24", dhcp=dhcp)
        run()
        assert Segment.objects.get().dhcp is expected

    def test_dual_stack(self, group, user):
        Prefix.objects.create(prefix="2001:db8::/32", vrf=VRF.objects.get(), status="container")
        ipv4 = make_prefix(group, 100, "10.0.0.0/24", cluster="prod-01")
        make_prefix(group, 100, "2001:db8:1::/64", vlan=ipv4.vlan, status="reserved")
        migration = run()
        assert problems_of(migration) == {}
        assert (migration.count("migrated"), migration.count("allocated")) == (2, 1)
        segment = Segment.objects.get()
        assert (str(segment.prefix), str(segment.ipv6_prefix)) == ("10.0.0.0/24", "2001:db8:1::/64")
        assert not segment.owns_ipv6_prefix
        assert find_drift() == []
        assert run().count("unchanged") == 2


class TestDirtyRows:
    """Each bad row is reported with its prefix and stays unchanged; the good prefix is migrated."""

    @pytest.fixture(autouse=True)
    def good(self, group, user):
        return make_prefix(group, 999, "10.0.200.0/24")

    @pytest.fixture
    def lands(self, good):
        yield
        assert list(Segment.objects.values_list("prefix", flat=True)) == [good.pk]
        # Drift reports a held prefix that could not be migrated.
        assert {drift.kind for drift in find_drift()} <= {"prefix_orphan", "prefix_unmigrated"}
        assert run().count("migrated") == 0

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"dhcp": "perhaps"}, "'perhaps'"),
            ({"cluster": "prod\x0701"}, "prod"),
            ({"cluster": "x" * 101}, "xxx"),
            ({"vlan_name": "EPG 100"}, "EPG name"),
            ({"status": "deprecated"}, "Active or Reserved"),
            ({"vlan": None}, "has no VLAN"),
            ({"vlan": None, "cluster": "prod-01"}, "has no VLAN"),
            ({"vrf": None}, "in no VRF"),
        ],
    )
    def test_wrong_values(self, group, lands, fields, text):
        prefix = make_prefix(group, 100, "10.0.0.0/24", **fields)
        assert_failed(run(), prefix, text)

    def test_wrong_length(self, group, lands):
        prefix = make_prefix(group, 100, "10.0.0.5/32")
        assert_failed(run(), prefix, "/32")

    def test_two_prefixes_on_one_vlan(self, group, lands):
        first = make_prefix(group, 100, "10.0.0.0/24")
        second = make_prefix(group, 100, "10.0.1.0/24", vlan=first.vlan, cluster="prod-01")
        migration = run()
        assert_failed(migration, first, "10.0.1.0/24")
        assert_failed(migration, second, "10.0.0.0/24")

    def test_vlan_of_another_site(self, group, lands):
        other = make_group(site="Site2")
        prefix = make_prefix(group, 100, "10.0.0.0/24", vlan=VLAN.objects.create(group=other, vid=5, name="EPG_5"))
        assert_failed(run(), prefix, "its VLAN at Site2")

    def test_vlan_of_another_vrf(self, group, lands):
        other = make_group(vrf="Network2")
        prefix = make_prefix(group, 100, "10.0.0.0/24", vlan=VLAN.objects.create(group=other, vid=5, name="EPG_5"))
        assert_failed(run(), prefix, "not of the prefix's VRF Network1")

    def test_vlan_of_no_such_group(self, group, lands):
        others = VLANGroup.objects.create(name="Campus", slug="campus")
        vlan, alone = (VLAN.objects.create(group=one, vid=5, name="EPG_5") for one in (others, None))
        in_other = make_prefix(group, 100, "10.0.0.0/24", vlan=vlan, cluster="prod-01")
        in_none = make_prefix(group, 100, "10.0.1.0/24", vlan=alone, cluster="prod-02")
        migration = run()
        assert_failed(migration, in_other, "VLAN group Campus")
        assert_failed(migration, in_none, "in no VLAN group")

    def test_overlaps(self, group, lands):
        outer, inner = make_prefix(group, 100, "10.0.0.0/23"), make_prefix(group, 101, "10.0.1.0/24", cluster="a")
        migration = run()
        assert_failed(migration, outer, "overlaps 10.0.1.0/24")
        assert_failed(migration, inner, "overlaps 10.0.0.0/23")

    def test_vid_out_of_range(self, group, lands):
        VLANGroup.objects.filter(pk=group.pk).update(vid_ranges=["[900,1000)"])
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        assert_failed(run(), prefix, "900-999")

    def test_mended_row_is_migrated_by_the_next_run(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="prod-01", vlan_name="EPG 100")
        assert (run().count("failed"), run().count("failed")) == (1, 1)
        VLAN.objects.filter(pk=prefix.vlan_id).update(name="EPG_100")
        migration = run()
        assert (migration.count("migrated"), migration.count("unchanged"), migration.pools_created) == (1, 1, 0)
        assert Allocation.objects.get().cluster_name == "prod-01"


class TestRuns:
    def test_dry_run_says_the_same_and_changes_nothing(self, user):
        make_world(40)
        make_prefix(VLANGroup.objects.get(name="Network1-ClickCluster-Site1"), 900, "10.77.0.0/24")
        before = ObjectChange.objects.count(), Prefix.objects.count()
        tried = run(dry_run=True)
        assert (ObjectChange.objects.count(), Prefix.objects.count()) == before
        assert not SegmentPool.objects.exists()
        done = run()
        expected = done.as_json()
        assert all(pool["pool"] for pool in expected["pools"])
        for pool in expected["pools"]:
            pool["pool"] = None
        assert tried.as_json() == {**expected, "dry_run": True}

    def test_killed_between_pools_and_run_again(self, user, monkeypatch):
        make_world(40)

        class Killed(BaseException):
            pass

        def kill(done, total):
            if done == 2:
                raise Killed

        with pytest.raises(Killed):
            run(report=kill)
        assert (SegmentPool.objects.count(), Segment.objects.count()) == (2, 20)
        migration = run()
        assert (migration.count("migrated"), migration.count("unchanged")) == (20, 20)
        assert find_drift() == []

    def test_killed_inside_a_pool_leaves_nothing_of_it(self, user, monkeypatch):
        make_world(40)

        def kill(made):
            raise KeyboardInterrupt

        monkeypatch.setattr(migrating, "write_allocations_locked", kill)
        with pytest.raises(KeyboardInterrupt):
            run()
        assert not SegmentPool.objects.exists()
        monkeypatch.undo()
        assert run().count("migrated") == 40

    def test_sends_no_events(self, user, django_capture_on_commit_callbacks):
        make_world(40)
        rule = EventRule.objects.create(
            name="All",
            event_types=[OBJECT_CREATED],
            action_type="webhook",
            action_object_type=ObjectType.objects.get_for_model(Webhook),
            action_object_id=Webhook.objects.create(name="Hook", payload_url="http://localhost:9/").pk,
        )
        rule.object_types.set([ObjectType.objects.get_for_model(model) for model in (Segment, Allocation, Prefix)])
        with django_capture_on_commit_callbacks(execute=True):
            run()
        assert not Job.objects.filter(name__contains="Hook").exists()
        assert Segment.objects.count() == 40

    def test_nothing_there(self, user):
        assert not has_data()
        assert run().pools == []


class TestPermissions:
    @pytest.fixture
    def group(self):
        make_fields()
        group = make_group()
        make_prefix(group, 100, "10.0.0.0/24", cluster="prod-01")
        return group

    @pytest.fixture
    def mover(self, user):
        for model in (SegmentPool, Segment, Allocation):
            user = permit(user, model, "view", "add")
        return user

    def test_who_may_not_add(self, group, user):
        with pytest.raises(PermissionDenied):
            migrate(user=user)

    def test_sees_only_what_the_user_may_view(self, group, mover):
        assert not has_data(mover)
        assert migrate(user=mover).pools == []
        mover = permit(mover, Prefix, "view")
        migration = migrate(user=mover)
        assert "may not view its VLAN" in problems_of(migration)["10.0.0.0/24"]
        mover = permit(mover, VLAN, "view")
        assert migrate(user=mover).count("migrated") == 1

    def test_constraints_hold(self, group, user):
        for model in (SegmentPool, Allocation):
            user = permit(user, model, "view", "add")
        for model in (Prefix, VLAN):
            user = permit(user, model, "view")
        user = permit(user, Segment, "add", constraints={"vid__gt": 500})
        migration = migrate(user=user)
        assert "You may not add the segments" in migration.pools[0].error
        assert not SegmentPool.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_at_once():
    make_user("alice")
    make_world(80)
    barrier, results = threading.Barrier(2), []

    def work():
        barrier.wait()
        try:
            results.append(run())
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(migration.count("migrated") for migration in results) == 80
    assert sum(migration.count("unchanged") for migration in results) == 80
    assert sum(migration.pools_created for migration in results) == 4
    assert find_drift() == []
