"""Moving over from the first generation and back, compared with a model of its rules (`first_generation_model`)."""

import contextlib
import random
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils import timezone

from core.models import ObjectChange
from extras.models import CustomField
from ipam.models import VLAN, VRF, IPAddress, Prefix
from netbox_vlan_manager.exceptions import AllocationNotFound, NotMigrated, PoolExhausted
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    create_segment,
    disable_segment,
    enable_segment,
    generate_segments,
    release,
    share,
    update_pool,
)
from netbox_vlan_manager.services.drift.findings import find_drift
from netbox_vlan_manager.services.onboarding.first_generation.migrating import migrate
from netbox_vlan_manager.services.onboarding.first_generation.undoing import finish, undo
from tenancy.models import Tenant
from tests import first_generation_model as model
from tests.factories import make_pool, make_user, permit
from tests.first_generation import make_fields, make_group, make_prefix
from utilities.exceptions import AbortRequest

pytestmark = pytest.mark.django_db

PLACE = "Network1", "Site1"
AT = {"vrf": "Network1", "site": "Site1"}
COLUMNS = ("status", "vlan", "tenant", "scope_id", "description", "comments", "custom_field_data")


@pytest.fixture
def user():
    return make_user("alice")


@pytest.fixture
def group(user):
    make_fields()
    return make_group()


@pytest.fixture
def pool(user):
    return make_pool("Network9", "Site9", segments=1)


@pytest.fixture
def tenant(user):
    return Tenant.objects.create(name="Platform", slug="platform")


def run(work=migrate, **kwargs):
    return work(user="alice", enforce=False, **kwargs)


def problems_of(result):
    return {problem.network: problem.text for pool in result.pools for problem in pool.problems}


def held_by_plugin():
    """Return {cluster: (prefix, VLAN ID, EPG name)} of what the plugin answers without a purpose."""
    found = Allocation.objects.active().filter(purpose="")
    return {one.cluster_name: (str(one.prefix), one.vid, one.epg_name) for one in found}


def answers_of(clusters):
    """Return the same by the model, for the clusters that it answers."""
    found = {name: model.answer(*PLACE, name) for name in clusters}
    return {name: (str(one.prefix), one.vlan.vid, one.vlan.name) for name, one in found.items() if one}


def all_prefixes():
    return {row["pk"]: row for row in Prefix.objects.values("pk", *COLUMNS)}


def make_random_world(rng, tenant):
    """Make a first generation's prefixes of every kind, and return the clusters that it answers."""
    make_fields()
    group = make_group(container=rng.choice(["10.0.0.0/16", None]))
    clusters = []
    vids = rng.sample(range(100, 900), 24)
    for number, vid in enumerate(vids):
        names, fields = None, {}
        kind = rng.choice(["free", "free", "exact", "exact", "shared", "again", "older", "nobody"])
        if kind == "exact":
            names = f"c{number}"
        elif kind == "shared":
            names = rng.choice([",", ", "]).join(
                [f"s{number}", f"t{number}", *rng.sample(clusters, min(1, len(clusters)))]
            )
        elif kind == "again" and clusters:
            names = rng.choice(clusters)
        elif kind == "older":
            fields = {"status": "reserved", "description": f"Cluster: o{number}"}
        elif kind == "nobody":
            fields = {"status": "reserved"}
        if names:
            clusters += [name.strip() for name in names.split(",")]
        if kind == "older":
            clusters.append(f"o{number}")
        else:
            fields |= rng.choice([{}, {"description": f"Rack {number}"}, {"comments": f"What people wrote, {number}"}])
        dhcp = rng.choice([True, False])
        make_prefix(group, vid, f"10.0.{number * 2}.0/24", cluster=names, tenant=tenant, dhcp=dhcp, **fields)
    return sorted(set(clusters))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.slow("Migrates a world there and back, and works in it")
def test_there_and_back_in_any_world(tenant, seed):
    rng = random.Random(seed)
    clusters = make_random_world(rng, tenant)
    before, prefixes = answers_of(clusters), all_prefixes()
    assert before.keys() == set(clusters)

    assert run(dry_run=True).failed == 0
    assert all_prefixes() == prefixes
    assert run().failed == 0
    for name in clusters:
        result = allocate(name, user="alice", **AT)
        assert not result.created
    assert held_by_plugin() == before
    # Containers that were made do not disturb the first generation, nor has anything else changed for it.
    assert answers_of(clusters) == before
    assert {pk: row for pk, row in all_prefixes().items() if pk in prefixes} == prefixes
    assert find_drift() == []

    assert run(undo, dry_run=True).failed == 0
    assert SegmentPool.objects.count() == 1
    assert run(undo).failed == 0
    # At once, it is as it was, containers included.
    assert all_prefixes() == prefixes
    assert not SegmentPool.objects.exists()
    assert not Segment.objects.exists()

    assert run().failed == 0
    assert held_by_plugin() == before

    # Both work in it, in turns: after each step they answer all clusters alike.
    for step in range(20):
        names = sorted(held_by_plugin())
        what = rng.choice(["take", "take", "take there", "give", "give there", "share", "share there"])
        if what == "take":
            with contextlib.suppress(PoolExhausted):
                allocate(f"n{step}", user="alice", **AT)
        elif what == "take there":
            model.allocate(*PLACE, f"n{step}")
        elif what == "give":
            release(rng.choice(names), user="alice", **AT)
        elif what == "give there":
            model.release(*PLACE, rng.choice(names))
        else:
            # Shared, it comes after any list before it that names the cluster; see below.
            several = set(Allocation.objects.active().exclude(purpose="").values_list("cluster_name", flat=True))
            alone = Allocation.objects.active().exclude(segment__allocations__cluster_name__in=several)
            segment = alone.get(cluster_name=rng.choice(list(alone.values_list("cluster_name", flat=True)))).segment
            if what == "share" or not model.cluster_of(segment.prefix):
                share(segment, f"n{step}", user="alice")
            else:
                model.share(segment.prefix, f"n{step}")
        clusters.append(f"n{step}")
        held = held_by_plugin()
        answered = answers_of(clusters)
        # What a cluster holds beside comes forward there when it gives the first one back.
        others = set(Allocation.objects.active().exclude(purpose="").values_list("cluster_name", flat=True))
        assert {name: answered[name] for name in answered if name in held or name not in others} == held, what
        assert find_drift() == []

    held = held_by_plugin()
    assert run(undo).failed == 0
    assert {name: answers_of([name])[name] for name in held} == held
    assert not Allocation.objects.active().exists()
    assert run().failed == 0
    assert {name: held_by_plugin()[name] for name in held} == held


class TestUndo:
    def test_what_the_plugin_has_made_is_kept(self, group, tenant):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a", tenant=tenant)
        make_prefix(group, 101, "10.0.1.0/24", tenant=tenant)
        run()
        pool = SegmentPool.objects.get()
        create_segment(pool, user="alice", vid=200, epg_name="new", prefix="10.0.9.0/24")
        allocate("b", user="alice", vid=200, **AT)
        history = Allocation.objects.count()
        run(undo)
        assert answers_of(["a", "b"]) == {"a": ("10.0.0.0/24", 100, "EPG_100"), "b": ("10.0.9.0/24", 200, "new")}
        assert Allocation.objects.count() == history
        one = Allocation.objects.get(cluster_name="b")
        assert (one.pool, one.segment, one.released_by.username, one.vid) == (None, None, "alice", 200)

    def test_disabled_and_overdue(self, group):
        for number in range(3):
            make_prefix(group, 100 + number, f"10.0.{number}.0/24", cluster="a" if number == 0 else None)
        run()
        disable_segment(Segment.objects.get(vid=101), user="alice")
        Allocation.objects.update(expires_at=timezone.now())
        run(undo)
        assert list(Prefix.objects.filter(vlan__isnull=False).order_by("prefix").values_list("status", flat=True)) == [
            "active",
            "reserved",
            "active",
        ]
        assert answers_of(["a"]) == {}
        assert Allocation.objects.get().release_reason == "expired"

    def test_migrated_by_an_older_version(self, group, tenant):
        """It wrote no Cluster, left disabled prefixes active, and gave tenant and scope to the containers it made."""
        held = make_prefix(group, 100, "192.168.0.0/24", cluster="a", tenant=tenant)
        make_prefix(group, 101, "192.168.2.0/24", status="reserved", tenant=tenant)
        make_prefix(group, 102, "192.168.4.0/24", tenant=tenant)
        run()
        SegmentPool.objects.update(first_generation="over")
        Prefix.objects.filter(vlan__vid=101).update(status="active")
        container = SegmentPool.objects.get().prefixes.get()
        ObjectChange.objects.all().delete()
        container.tenant, container.scope = tenant, held.scope
        container.save()
        with pytest.raises(model.OddData):
            answers_of(["a"])
        release("a", user="alice", **AT)
        allocate("b", user="alice", vid=102, **AT)
        assert model.cluster_of(Prefix.objects.get(pk=held.pk)) == "a"
        run(undo)
        assert answers_of(["a", "b"]) == {"b": ("192.168.4.0/24", 102, "EPG_102")}
        assert Prefix.objects.get(vlan__vid=101).status == "reserved"

    def test_made_containers_go_and_others_stay(self, group):
        make_prefix(group, 100, "10.0.0.0/24")
        make_prefix(group, 101, "192.168.0.0/24")
        (made,) = run().pools[0].containers
        assert ObjectChange.objects.get(object_repr=made, action="create").message.startswith("Made around")
        prefix = Prefix.objects.get(prefix=made)
        assert (prefix.tenant, prefix.scope) == (None, None)
        assert run(undo).pools[0].containers == [made]
        assert list(map(str, Prefix.objects.filter(status="container"))) == ["10.0.0.0/16"]

    def test_a_second_purpose_does_not_change_the_answer(self, group):
        for number in range(3):
            make_prefix(group, 100 + number, f"10.0.{number}.0/24", cluster="a" if number == 2 else None)
        run()
        allocate("a", user="alice", purpose="storage", **AT)
        assert answers_of(["a"])["a"][1] == 102
        run(undo)
        assert answers_of(["a"])["a"][1] == 102
        assert model.allocate(*PLACE, "b").vlan.vid == 101

    def test_what_cannot_be_answered_alike_is_reported(self, group):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a,b")
        make_prefix(group, 101, "10.0.1.0/24", cluster="a")
        run()
        share(Segment.objects.get(vid=101), "c", user="alice")
        assert problems_of(run(undo)) == {
            "10.0.1.0/24": "Cluster a holds several segments: the first generation will answer 10.0.0.0/24."
        }
        assert answers_of(["a", "b", "c"])["c"][1] == 101

    def test_without_the_custom_field(self, group):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        CustomField.objects.filter(name="Cluster").delete()
        ending = run(undo)
        assert "no custom field Cluster" in ending.pools[0].error
        assert ending.failed == 1
        assert SegmentPool.objects.exists()

    def test_pools_of_no_first_generation_stay(self, group, pool):
        assert run(undo).pools == []
        assert SegmentPool.objects.get() == pool

    def test_permissions(self, group, user):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        with pytest.raises(PermissionDenied):
            undo(user=user)
        user = permit(user, Segment, "delete")
        user = permit(user, SegmentPool, "delete")
        user = permit(user, SegmentPool, "release")
        assert undo(user=user).pools == []
        user = permit(user, SegmentPool, "view")
        assert undo(user=user, dry_run=True).failed == 0

    @pytest.mark.parametrize(("target", "action"), [(Segment, "delete"), (SegmentPool, "release")])
    def test_constraints_hold(self, group, user, target, action):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        user = permit(user, SegmentPool, "view")
        for other, name in ((Segment, "delete"), (SegmentPool, "delete"), (SegmentPool, "release")):
            constraints = {"pk": 0} if (other, name) == (target, action) else None
            user = permit(user, other, name, constraints=constraints)
        ending = undo(user=user)
        assert f"You may not {action}" in ending.pools[0].error
        assert held_by_plugin().keys() == {"a"}


class TestTrial:
    def test_disabled_segments_are_not_free_there(self, group):
        make_prefix(group, 100, "10.0.0.0/24", status="reserved")
        make_prefix(group, 101, "10.0.1.0/24")
        run()
        assert model.allocate(*PLACE, "a").vlan.vid == 101
        assert model.allocate(*PLACE, "b") is None
        segment = Segment.objects.get(vid=100)
        enable_segment(segment, user="alice")
        assert find_drift() == []
        assert model.allocate(*PLACE, "b").vlan.vid == 100
        release("b", user="alice", **AT)
        disable_segment(segment, user="alice")
        assert Prefix.objects.get(vlan__vid=100).status == "reserved"
        model.write(Prefix.objects.get(vlan__vid=100), "active", "")
        assert Segment.objects.get(vid=100).status == "available"
        model.write(Prefix.objects.get(vlan__vid=100), "reserved", "")
        assert Segment.objects.get(vid=100).status == "disabled"
        assert find_drift() == []

    def test_older_reading_does_not_take_a_network_away(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        run()
        allocate("a", user="alice", **AT)
        # It has read ten minutes ago that it was free.
        with pytest.raises(ValidationError, match="Another cluster holds the prefix"):
            model.write(prefix, "reserved", "b")
        stale = Prefix.objects.get(pk=prefix.pk)
        stale.status, stale.custom_field_data["Cluster"] = "reserved", "b"
        with pytest.raises(AbortRequest, match="Another cluster holds the prefix"):
            stale.save()
        assert held_by_plugin().keys() == {"a"}

    @pytest.mark.parametrize(("status", "cluster"), [("deprecated", "a"), ("reserved", "x" * 101), ("container", "")])
    def test_what_cannot_be_followed(self, group, status, cluster):
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        run()
        with pytest.raises(ValidationError):
            model.write(prefix, status, cluster)
        assert held_by_plugin() == {}

    def test_name_left_behind(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        model.write(prefix, "active", "a")
        assert held_by_plugin() == {}
        assert model.cluster_of(Prefix.objects.get(pk=prefix.pk)) == ""
        assert find_drift() == []

    def test_change_log(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        run()
        model.write(prefix, "reserved", "a")
        one = Allocation.objects.get()
        assert one.allocated_by.username == "alice"
        change = ObjectChange.objects.get(
            changed_object_id=one.pk, action="create", changed_object_type__model="allocation"
        )
        assert change.message == "Written by the first generation"

    def test_other_edits_are_no_allocations(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        prefix = Prefix.objects.get(pk=prefix.pk)
        prefix.description = "new"
        prefix.full_clean()
        prefix.save()
        assert held_by_plugin().keys() == {"a"}

    def test_finish(self, group, user):
        make_prefix(group, 100, "10.0.0.0/24", status="reserved")
        prefix = make_prefix(group, 101, "10.0.1.0/24")
        run()
        assert run(finish, dry_run=True).failed == 0
        assert SegmentPool.objects.get().is_on_trial
        with pytest.raises(PermissionDenied):
            finish(user=user)
        assert run(finish).as_json()["done"] == 1
        assert find_drift() == []
        allocate("a", user="alice", **AT)
        assert model.cluster_of(Prefix.objects.get(pk=prefix.pk)) == ""
        with pytest.raises(ValidationError):
            model.write(prefix, "active", "")
        assert run(finish).pools == []
        # And back after all.
        run(undo)
        assert answers_of(["a"])["a"][1] == 101
        assert Prefix.objects.get(vlan__vid=100).status == "reserved"

    def test_vlan_that_is_reserved_is_not_free_there(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        run()
        vlan = VLAN.objects.get(vid=100)
        vlan.status = "reserved"
        vlan.save()
        assert Segment.objects.get().status == "disabled"
        assert Prefix.objects.get(pk=prefix.pk).status == "reserved"
        assert find_drift() == []

    def test_release_there_of_a_vlan_that_is_reserved_disables_it(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        vlan = VLAN.objects.get(vid=100)
        vlan.status = "reserved"
        vlan.save()
        model.release(*PLACE, "a")
        assert Segment.objects.get().status == "disabled"
        assert VLAN.objects.get(vid=100).status == "reserved"
        prefix = Prefix.objects.get(pk=prefix.pk)
        assert (prefix.status, model.cluster_of(prefix)) == ("reserved", "")
        assert find_drift() == []

    def test_new_segment_that_is_in_use_is_not_free_there(self, group):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        pool = SegmentPool.objects.get()
        IPAddress.objects.create(address="10.0.9.7/24", vrf=pool.vrf)
        segment = create_segment(pool, user="alice", vid=200, epg_name="new", prefix="10.0.9.0/24")
        assert (segment.status, segment.prefix.status) == ("disabled", "reserved")
        assert find_drift() == []

    def test_what_is_over_by_the_clock_is_free_for_another(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        Allocation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        model.write(prefix, "reserved", "b")
        assert held_by_plugin().keys() == {"b"}
        assert Allocation.objects.get(cluster_name="a").release_reason == "expired"
        assert model.cluster_of(Prefix.objects.get(pk=prefix.pk)) == "b"
        assert find_drift() == []

    def test_cluster_that_is_named_again_when_it_is_over_holds_on(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        Allocation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        model.write(prefix, "reserved", "a,b")
        assert set(Allocation.objects.active().values_list("cluster_name", "expires_at")) == {("a", None), ("b", None)}
        assert find_drift() == []

    def test_cluster_whose_time_is_over_gets_one_segment_there(self, group):
        first = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        second = make_prefix(group, 101, "10.0.1.0/24")
        run()
        Allocation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        model.write(second, "reserved", "a")
        assert held_by_plugin()["a"][1] == 101
        first = Prefix.objects.get(pk=first.pk)
        assert (first.status, model.cluster_of(first)) == ("active", "")
        assert not allocate("a", user="alice", **AT).created

    def test_pool_that_keeps_what_is_in_use_refuses_the_release_there(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        update_pool(SegmentPool.objects.get(), user="alice", release_in_use="refuse")
        address = IPAddress.objects.create(address="10.0.0.7/24", vrf=prefix.vrf)
        with pytest.raises(AbortRequest, match="still used by"), transaction.atomic():
            model.write(prefix, "active", "")
        assert held_by_plugin().keys() == {"a"}
        address.delete()
        model.write(prefix, "active", "")
        assert held_by_plugin() == {}

    def test_other_words_for_a_status_have_no_trial(self, group, settings):
        settings.PLUGINS_CONFIG["netbox_vlan_manager"]["prefix_status_allocated"] = "deprecated"
        try:
            make_prefix(group, 100, "10.0.0.0/24", cluster="a")
            run()
            assert SegmentPool.objects.get().first_generation == "over"
            run(undo)
            assert Prefix.objects.get(vlan__vid=100).status == "reserved"
        finally:
            settings.PLUGINS_CONFIG["netbox_vlan_manager"]["prefix_status_allocated"] = "reserved"


class TestUnmigrated:
    """What could not be migrated is in use all the same."""

    @pytest.fixture
    def held(self, group):
        make_prefix(group, 100, "10.0.0.0/24")
        make_prefix(group, 101, "10.0.1.0/24")
        prefix = make_prefix(group, 102, "10.0.2.0/24", cluster="a", vlan_name="EPG/102")
        assert run().failed == 1
        return prefix

    def test_its_cluster_gets_nothing_else(self, held):
        for name in ("a", "A"):
            with pytest.raises(NotMigrated):
                allocate(name, user="alice", **AT)
        with pytest.raises(NotMigrated):
            allocate("a", user="alice", dry_run=True, **AT)
        with pytest.raises(AllocationNotFound):
            release("a", user="alice", **AT)
        assert allocate("ab", user="alice", **AT).created

    def test_it_is_reported(self, held):
        (drift,) = (drift for drift in find_drift() if drift.kind == "prefix_unmigrated")
        assert (drift.object, drift.severity) == (held, "error")
        assert "held in the first generation by a" in drift.message

    def test_nobody_gets_it(self, held):
        pool = SegmentPool.objects.get()
        for vid, network in ((102, "10.0.9.0/24"), (300, "10.0.2.0/24"), (301, "10.0.2.0/25"), (302, "10.0.0.0/22")):
            with pytest.raises(ValidationError):
                create_segment(pool, user="alice", vid=vid, epg_name="EPG_102", prefix=network)
        result = generate_segments(pool, user="alice", count=8, prefix_length=24, enforce=False)
        assert "10.0.2.0/24" not in {str(segment.prefix.prefix) for segment in result.segments}
        assert 102 not in {segment.vid for segment in result.segments}

    @pytest.mark.parametrize(
        "fields",
        [
            {"vlan": None},
            {"vlan": None, "scope": None},
            {"vlan": None, "custom_field_data": {"Cluster": "x, a"}},
            {"status": "active", "vlan_name": "EPG/103"},
            {"cluster": None, "status": "reserved", "description": "Cluster: a", "vlan_name": "EPG/103"},
        ],
    )
    def test_every_form(self, group, fields):
        make_prefix(group, 100, "10.0.0.0/24")
        make_prefix(group, 103, "10.0.3.0/24", **{"cluster": "a", **fields})
        run()
        with pytest.raises(NotMigrated):
            allocate("a", user="alice", **AT)
        assert {drift.kind for drift in find_drift()} >= {"prefix_unmigrated"}

    def test_mended_it_is_answered(self, held):
        VLAN.objects.filter(vid=102).update(name="EPG_102")
        assert run().failed == 0
        assert allocate("a", user="alice", **AT).allocation.vid == 102
        assert find_drift() == []

    def test_the_trial_goes_on_until_then(self, held):
        ending = run(finish)
        assert "1 prefixes that clusters hold" in ending.pools[0].error
        assert SegmentPool.objects.get().is_on_trial

    def test_other_site(self, held):
        make_prefix(make_group(site="Site2"), 100, "10.0.8.0/24")
        run()
        assert allocate("a", user="alice", vrf="Network1", site="Site2").created

    def test_answer_that_could_not_be_migrated_is_not_given_by_another(self, group):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a", vlan_name="EPG/100")
        make_prefix(group, 101, "10.0.1.0/24", cluster="b,a")
        run()
        assert Allocation.objects.get(cluster_name="a").purpose == "2"
        with pytest.raises(NotMigrated):
            allocate("a", user="alice", **AT)
        VLAN.objects.filter(vid=100).update(name="EPG_100")
        run()
        assert allocate("a", user="alice", **AT).allocation.vid == 100

    def test_pools_of_no_first_generation_are_not_asked_about(self, pool, user, django_assert_num_queries):
        from netbox_vlan_manager.services.segments.unmigrated import find_unmigrated

        with django_assert_num_queries(0):
            assert find_unmigrated([pool], cluster_name="a") == []


class TestRules:
    def test_exact_name_comes_before_a_list(self, group):
        make_prefix(group, 10, "10.0.0.0/24", cluster="owner,member")
        make_prefix(group, 11, "10.0.1.0/24", cluster="member")
        text = problems_of(run())["10.0.0.0/24"]
        assert "Without a purpose it gets 10.0.1.0/24" in text
        assert allocate("member", user="alice", **AT).allocation.vid == 11
        assert answers_of(["member"])["member"][1] == 11

    def test_names_that_differ_in_case(self, group):
        make_prefix(group, 10, "10.0.0.0/24", cluster="Prod")
        make_prefix(group, 11, "10.0.1.0/24", cluster="prod")
        make_prefix(group, 12, "10.0.2.0/24", cluster="x,X")
        texts = problems_of(run())
        assert "Cluster prod differs from Prod, which holds 10.0.0.0/24, in case only" in texts["10.0.1.0/24"]
        assert "Cluster X differs from x in case only" in texts["10.0.2.0/24"]
        assert allocate("prod", user="alice", purpose="2", **AT).allocation.vid == 11
        run(undo)
        assert {name: found[1] for name, found in answers_of(["Prod", "prod", "x", "X"]).items()} == {
            "Prod": 10,
            "prod": 11,
            "x": 12,
            "X": 12,
        }

    def test_older_form(self, group):
        make_prefix(group, 10, "10.0.0.0/24", status="reserved", description="Rack 7. Cluster: legacy-01")
        make_prefix(group, 11, "10.0.1.0/24", description="Cluster: gone")
        run()
        assert allocate("legacy-01", user="alice", **AT).allocation.vid == 10
        assert allocate("new", user="alice", **AT).allocation.vid == 11
        run(undo)
        assert answers_of(["legacy-01", "gone", "new"]).keys() == {"legacy-01", "new"}

    @pytest.mark.parametrize(
        ("description", "comments", "expected"),
        [
            ("Rack 7", "", ("Rack 7", "")),
            ("", "Rack 7", ("Rack 7", "")),
            ("Rack 7", "More", ("Rack 7", "More")),
            ("", "x" * 500, ("x" * 199 + "…", "x" * 500)),
            ("", "One\n\nTwo", ("One Two", "One\n\nTwo")),
        ],
    )
    def test_descriptions(self, group, description, comments, expected):
        make_prefix(group, 10, "10.0.0.0/24", description=description, comments=comments)
        run()
        segment = Segment.objects.get()
        assert (segment.description, segment.comments) == expected
        prefix = Prefix.objects.get(vlan__vid=10)
        assert (prefix.description, prefix.comments) == (description, comments)

    def test_each_name_of_a_list_has_its_own_time(self, group):
        prefix = make_prefix(group, 10, "10.0.0.0/24")
        for names in ("a", "a,b", "a,b,c", "b,c", "b,c,a"):
            model.write(prefix, "reserved", names)
        changes = ObjectChange.objects.filter(changed_object_id=prefix.pk, action="update").order_by("pk")
        times = list(changes.values_list("time", flat=True))
        run()
        found = dict(Allocation.objects.values_list("cluster_name", "allocated_at"))
        assert found == {"a": times[4], "b": times[1], "c": times[2]}

    def test_segment_moved_to_another_site(self, group):
        other = make_group(site="Site2")
        make_prefix(other, 50, "10.0.9.0/24")
        moved = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        VLAN.objects.filter(pk=moved.vlan_id).update(group=other)
        make_prefix(group, 101, "10.0.1.0/24")
        text = problems_of(run())["10.0.0.0/24"]
        assert "Move VLAN EPG_100 (100) into VLAN group Network1-ClickCluster-Site1" in text
        with pytest.raises(NotMigrated):
            allocate("a", user="alice", **AT)
        VLAN.objects.filter(pk=moved.vlan_id).update(group=group)
        assert run().failed == 0
        assert allocate("a", user="alice", **AT).allocation.vid == 100


class TestContainers:
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
