from datetime import date

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import ProtectedError
from django.test.utils import CaptureQueriesContext

from core.models import ObjectChange
from dcim.models import Device, DeviceRole, DeviceType, Interface, Manufacturer, Region
from extras.models import JournalEntry, Tag
from ipam.models import VLAN, Prefix, VLANGroup
from netbox_vlan_manager.exceptions import PoolConflict, PoolPaused
from netbox_vlan_manager.models import Allocation, PoolSnapshot, Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    allocate_stretched,
    create_segment,
    disable_segment,
    release,
    release_allocation,
    renew,
    share,
    update_pool,
)
from netbox_vlan_manager.services.drift.findings import find_drift
from netbox_vlan_manager.services.onboarding.importing import import_segments
from netbox_vlan_manager.services.pools.merging import merge_pool
from netbox_vlan_manager.services.pools.resizing import parse_vid_ranges, resize_pool
from netbox_vlan_manager.services.pools.retiring import delete_drained, retire_pool
from tests.factories import make_pool, make_segment, make_site, make_user, make_vrf, permit

pytestmark = pytest.mark.django_db


@pytest.fixture
def user(django_user_model):
    return django_user_model.objects.create_superuser("root")


def make_pair(**fields):
    """Return two pools of one VRF, whose VLAN IDs and EPG names differ."""
    pool = make_pool(segments=3)
    into = make_pool(scope="Site2", container="10.1.0.0/16", vid_ranges=((100, 999),), **fields)
    for index in range(2):
        make_segment(into, 500 + index, index)
    return pool, into


def make_device():
    kind = DeviceType.objects.create(manufacturer=Manufacturer.objects.create(name="M", slug="m"), model="D", slug="d")
    role = DeviceRole.objects.create(name="R", slug="r")
    return Device.objects.create(name="leaf", device_type=kind, role=role, site=make_site())


def check():
    """Let the deferred trigger speak, and find no drift."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
    assert [drift.message for drift in find_drift()] == []


def texts(conflicts):
    return [conflict.message for conflict in conflicts]


def state():
    """Return all that a move may change."""
    return [
        list(model.objects.order_by("pk").values_list())
        for model in (SegmentPool, Segment, Allocation, VLAN, Prefix, VLANGroup, ObjectChange, PoolSnapshot)
    ] + [list(SegmentPool.prefixes.through.objects.order_by("pk").values_list())]


class TestMerge:
    def test_everything_moves(self, user):
        pool, into = make_pair()
        tag = Tag.objects.create(name="Keep", slug="keep")
        first = Segment.objects.get(vid=100)
        first.tags.add(tag)
        held = allocate("prod-01", pool=pool, user=user, expires_at=None).allocation
        old = release("prod-02", pool=pool, user=user).allocation if allocate("prod-02", pool=pool, user=user) else None
        disable_segment(Segment.objects.get(vid=102), user=user, reason="Cable")
        before = dict(Segment.objects.values_list("pk", "status"))

        result = merge_pool(pool, into, user=user, changelog_message="Ticket 7")

        assert (result.into, result.segments, result.allocations, result.vlans) == (into, 3, 1, 3)
        assert [str(network) for network in result.containers] == ["10.0.0.0/16"]
        assert result.conflicts == ()
        assert not SegmentPool.objects.filter(pk=pool.pk).exists()
        assert dict(Segment.objects.values_list("pk", "status")) == before
        assert set(Segment.objects.values_list("pool", flat=True)) == {into.pk}
        assert set(VLAN.objects.values_list("group", flat=True)) == {into.vlan_group_id}
        assert sorted(map(str, into.prefixes.values_list("prefix", flat=True))) == ["10.0.0.0/16", "10.1.0.0/16"]
        assert list(first.tags.all()) == [tag]
        held.refresh_from_db()
        assert (held.pool, held.pool_name, held.segment, held.vid) == (into, into.name, first, 100)
        old.refresh_from_db()
        assert (old.pool, old.pool_name) == (into, "Network1 Site1")
        check()
        # What the cluster asks for again is what it holds, and a release finds it.
        assert allocate("prod-01", pool=into, user=user) == (held, False)
        assert release_allocation(held, user=user).released

    def test_it_is_change_logged(self, user):
        pool, into = make_pair()
        allocate("prod-01", pool=pool, user=user)
        ObjectChange.objects.all().delete()
        merge_pool(pool, into, user=user, changelog_message="Ticket 7")

        changes = ObjectChange.objects.order_by("pk")
        assert len({change.request_id for change in changes}) == 1
        assert {change.user for change in changes} == {user}
        logged = [(change.changed_object_type.model, change.action) for change in changes]
        assert sorted(logged) == sorted(
            [("segmentpool", "update"), ("segmentpool", "delete"), ("allocation", "update")]
            + [("segment", "update"), ("vlan", "update")] * 3
        )
        gone = changes.get(action="delete")
        assert (gone.message, gone.prechange_data["name"]) == ("Ticket 7", "Network1 Site1")
        moved = changes.filter(changed_object_type__model="segment").first()
        assert (moved.prechange_data["pool"], moved.postchange_data["pool"]) == (pool.pk, into.pk)
        grown = changes.get(changed_object_type__model="segmentpool", action="update")
        assert (len(grown.prechange_data["prefixes"]), len(grown.postchange_data["prefixes"])) == (1, 2)

    def test_a_dry_run_says_the_same_and_changes_nothing(self, user):
        pool, into = make_pair()
        allocate("prod-01", pool=pool, user=user)
        before = state()
        dry = merge_pool(pool, into, user=user, dry_run=True)
        assert state() == before
        done = merge_pool(pool, into, user=user)
        assert (dry.segments, dry.allocations, dry.vlans, dry.containers) == (
            done.segments,
            done.allocations,
            done.vlans,
            done.containers,
        )

    def test_one_vlan_group(self, user):
        pool = make_pool(segments=2)
        into = make_pool(scope="Site2", container="10.1.0.0/16", vlan_group=pool.vlan_group)
        result = merge_pool(pool, into, user=user)
        assert (result.segments, result.vlans) == (2, 0)
        check()

    def test_containers_that_are_covered_are_not_added(self, user):
        pool = make_pool(segments=1)
        into = make_pool(scope="Site2", container="10.0.0.0/8")
        assert merge_pool(pool, into, user=user).containers == ()
        assert [str(prefix) for prefix in into.prefixes.all()] == ["10.0.0.0/8"]
        check()

    def test_all_conflicts_at_once(self, user):
        pool = make_pool(segments=3, vid_ranges=((100, 999),))
        into = make_pool(scope="Site2", container="10.1.0.0/16", vid_ranges=((101, 199),))
        make_segment(into, 101, epg_name="Other")
        VLAN.objects.create(group=into.vlan_group, vid=150, name="EPG_102")
        for name, purpose in (("prod-01", ""), ("prod-02", "dmz")):
            if not purpose:
                allocate(name, pool=pool, user=user)
                allocate(name.upper(), pool=into, user=user)
        before = state()

        expected = [
            "Cluster prod-01 holds a segment in both pools: release one of them.",
            "VLAN ID 100 is not in VLAN group Network1-Site2: add it to the group's ranges, or renumber it.",
            "VLAN ID 101 is taken in VLAN group Network1-Site2: renumber or remove one of the two VLANs.",
            "EPG name 'EPG_102' is taken in VLAN group Network1-Site2: rename one of the two VLANs.",
        ]
        assert texts(merge_pool(pool, into, user=user, dry_run=True).conflicts) == expected
        with pytest.raises(PoolConflict) as caught:
            merge_pool(pool, into, user=user)
        assert texts(caught.value.conflicts) == expected
        assert caught.value.conflicts[1].vid == 100
        assert state() == before

    def test_another_purpose_is_no_conflict(self, user):
        pool, into = make_pair()
        allocate("prod-01", pool=pool, user=user)
        allocate("prod-01", pool=into, user=user, purpose="dmz")
        merge_pool(pool, into, user=user)
        assert Allocation.objects.active().filter(pool=into).count() == 2

    def test_conflicts_name_only_what_the_user_may_view(self, user):
        pool = make_pool(segments=2)
        into = make_pool(scope="Site2", container="10.1.0.0/16", vid_ranges=((500, 600),))
        make_segment(into, 500)
        allocate("secret", pool=pool, user=user)
        allocate("secret", pool=into, user=user)

        nobody = make_user("nobody")
        hidden = texts(merge_pool(pool, into, user=nobody, dry_run=True).conflicts)
        assert hidden == [
            "Clusters that you may not view hold a segment in both pools: ask for one of each to be released.",
            "VLANs of segments that you may not view do not fit into VLAN group Network1-Site2.",
        ]
        # One of the two is not enough.
        half = permit(nobody, Allocation, "view", constraints={"pool": pool.pk})
        assert "secret" not in str(merge_pool(pool, into, user=half, dry_run=True).conflicts)
        both = permit(permit(half, Allocation, "view"), Segment, "view", constraints={"vid": 100})
        shown = texts(merge_pool(pool, into, user=both, dry_run=True).conflicts)
        assert shown[0].startswith("Cluster secret holds")
        assert shown[1].startswith("VLAN ID 100 is not in")
        assert shown[2].startswith("VLANs of segments that you may not view do")

    def test_pools_that_cannot_be_merged(self, user):
        pool, into = make_pair()
        with pytest.raises(ValidationError, match="the pool itself"):
            merge_pool(pool, pool, user=user)
        other = make_pool("Network2", container="10.9.0.0/16")
        with pytest.raises(ValidationError, match="is in VRF Network2: choose one of VRF Network1"):
            merge_pool(pool, other, user=user)
        allocate("prod-01", pool=into, user=user)
        retire_pool(into, user=user)
        with pytest.raises(PoolConflict, match="is retiring"):
            merge_pool(pool, into, user=user)

    def test_a_vlan_of_another_site(self, user):
        pool, into = make_pair()
        VLAN.objects.filter(vid=101).update(site=make_site())
        (conflict,) = merge_pool(pool, into, user=user, dry_run=True).conflicts
        assert "belongs to a site that VLAN group Network1-Site2 is not for" in conflict.message

    def test_callers_find_the_enclosing_pool(self, user):
        region = Region.objects.create(name="North", slug="north")
        site = make_site("Site1", region=region)
        outer = make_pool(scope=region, container="10.2.0.0/16", vid_ranges=((700, 800),))
        pool, into = make_pair()
        assert pool.scope == site
        result = merge_pool(pool, into, user=user)
        assert result.served_by == outer
        make_segment(outer, 700)
        assert allocate("new", site="Site1", vrf="Network1", user=user).allocation.pool == outer

    def test_shared_segments_and_snapshots(self, user):
        pool, into = make_pair()
        segment = Segment.objects.get(vid=100)
        for name in ("a", "b", "c"):
            share(segment, name, user=user)
        for number, (own, day) in enumerate(((pool, 1), (pool, 2), (into, 2))):
            PoolSnapshot.objects.create(
                pool=own,
                date=date(2026, 11, day),
                total_segments=10 + number,
                allocated=number,
                available=10,
                quarantined=0,
                disabled=0,
            )
        merge_pool(pool, into, user=user)
        assert Allocation.objects.active().filter(pool=into, segment=segment).count() == 3
        assert list(into.snapshots.order_by("date").values_list("total_segments", "allocated", "available")) == [
            (10, 0, 10),
            (23, 3, 20),
        ]
        check()

    def test_statements_do_not_multiply(self, user):
        counts = []
        for number in (3, 6):
            Allocation.objects.all()
            pool = make_pool(scope=f"A{number}", segments=number, container=f"10.{number}.0.0/16")
            into = make_pool(scope=f"B{number}", container=f"10.{number + 100}.0.0/16", vlan_group=pool.vlan_group)
            merge_pool(pool, into, user=user, dry_run=True)
            with CaptureQueriesContext(connection) as queries:
                merge_pool(pool, into, user=user)
            counts.append(len(queries))
        # One UPDATE for each segment.
        assert counts[1] - counts[0] == 3


class TestRetire:
    def test_an_empty_one_goes_at_once(self, user):
        pool = make_pool(segments=3)
        adopted = VLAN.objects.create(group=pool.vlan_group, vid=200, name="EPG_200")
        create_segment(pool, user=user, vid=200, epg_name="EPG_200", prefix="10.0.200.0/24")
        kept = Prefix.objects.create(prefix="10.0.201.0/24", vrf=pool.vrf)
        create_segment(pool, user=user, vid=201, epg_name="EPG_201", prefix="10.0.201.0/24")
        allocate("prod-01", pool=pool, user=user)
        release("prod-01", pool=pool, user=user)
        disable_segment(Segment.objects.get(vid=101), user=user)
        Segment.objects.filter(vid=102).update(status="quarantined")
        JournalEntry.objects.create(assigned_object=Segment.objects.get(vid=102), comments="Note")
        ObjectChange.objects.all().delete()

        result = retire_pool(pool, user=user, changelog_message="Ticket 7")

        assert (result.status, result.active_allocations, result.segments, result.deleted) == ("retiring", 0, 5, True)
        assert not SegmentPool.objects.exists()
        assert not Segment.objects.exists()
        assert list(VLAN.objects.all()) == [adopted]
        container, left = Prefix.objects.order_by("prefix")
        assert (str(container), container._children) == ("10.0.0.0/16", 1)
        assert (left, left.vlan) == (kept, None)
        history = Allocation.objects.get()
        assert (history.pool, history.segment) == (None, None)
        assert (history.pool_name, history.vid, history.epg_name) == ("Network1 Site1", 100, "EPG_100")
        assert str(history.prefix) == "10.0.0.0/24"
        logged = ObjectChange.objects.filter(action="delete")
        assert sorted(logged.values_list("changed_object_type__model", flat=True)) == sorted(
            ["segmentpool", "journalentry"] + ["segment"] * 5 + ["prefix"] * 4 + ["vlan"] * 4
        )
        assert set(logged.values_list("user_name", flat=True)) == {"root"}
        assert logged.get(changed_object_type__model="segmentpool").message == "Ticket 7"
        check()

    def test_what_is_logged_is_what_netbox_would_log(self, user):
        pool = make_pool(segments=2)
        tag = Tag.objects.create(name="Keep", slug="keep")
        for model in (Segment, VLAN, Prefix):
            for instance in model.objects.all():
                instance.tags.add(tag)
        plain = {}
        with transaction.atomic():
            from netbox_vlan_manager.services.base import audit

            with audit.change_tracking(user):
                Segment.objects.get(vid=100).delete()
            for change in ObjectChange.objects.filter(action="delete"):
                plain[change.changed_object_type.model] = (change.prechange_data, change.postchange_data)
            transaction.set_rollback(True)
        ObjectChange.objects.all().delete()
        retire_pool(pool, user=user)
        names = {"segment": "EPG_100 (100)", "vlan": "EPG_100 (100)", "prefix": "10.0.0.0/24"}
        for model, name in names.items():
            change = ObjectChange.objects.get(action="delete", changed_object_type__model=model, object_repr=name)
            assert (change.prechange_data, change.postchange_data) == plain[model]
        assert plain["segment"][0]["tags"] == ["Keep"]

    def test_it_drains_first(self, user):
        pool = make_pool(segments=2)
        held = allocate("prod-01", pool=pool, user=user).allocation
        result = retire_pool(pool, user=user)
        assert (result.status, result.active_allocations, result.segments, result.deleted) == ("retiring", 1, 2, False)
        assert delete_drained() == 0

        retiring = SegmentPool.objects.get()
        with pytest.raises(PoolPaused, match="is retiring"):
            allocate("prod-02", pool=retiring, user=user)
        with pytest.raises(PoolPaused):
            share(Segment.objects.get(vid=101), "prod-02", user=user)
        other = make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
        with pytest.raises(PoolPaused):
            allocate_stretched("prod-02", pools=[retiring, other], user=user)
        assert allocate("prod-01", pool=retiring, user=user) == (held, False)
        renew(held, user=user, expires_at=None)

        release_allocation(held, user=user)
        ObjectChange.objects.exclude(changed_object_type__model="segmentpool").delete()
        assert delete_drained() == 1
        assert list(SegmentPool.objects.all()) == [other]
        # It is the doing of who retired it.
        gone = ObjectChange.objects.filter(action="delete")
        assert set(gone.values_list("user_name", flat=True)) == {"root"}
        held.refresh_from_db()
        assert (held.pool_name, held.vid) == ("Network1 Site1", 100)

    def test_active_again_it_stays(self, user):
        pool = make_pool(segments=1)
        allocate("prod-01", pool=pool, user=user)
        retire_pool(pool, user=user)
        pool = SegmentPool.objects.get()
        pool.status = "active"
        pool.full_clean()
        pool.save()
        release("prod-01", pool=pool, user=user)
        assert delete_drained() == 0
        assert allocate("prod-01", pool=SegmentPool.objects.get(), user=user).created

    def test_a_plain_edit_does_not_retire(self, user):
        pool = make_pool(segments=1)
        pool.status = "retiring"
        with pytest.raises(ValidationError, match="by the action of that name"):
            pool.full_clean()
        pool.refresh_from_db()
        allocate("prod-01", pool=pool, user=user)
        retire_pool(pool, user=user)
        SegmentPool.objects.get().full_clean()

    def test_a_dry_run_changes_nothing(self, user):
        pool = make_pool(segments=2)
        before = state()
        assert retire_pool(pool, user=user, dry_run=True).deleted
        assert state() == before
        allocate("prod-01", pool=pool, user=user)
        before = state()
        assert not retire_pool(pool, user=user, dry_run=True).deleted
        assert state() == before

    def test_something_else_uses_a_vlan(self, user, caplog):
        pool = make_pool(segments=2)
        Prefix.objects.create(prefix="192.0.2.0/24", vlan=VLAN.objects.get(vid=101))
        before = state()
        with pytest.raises(PoolConflict) as caught:
            retire_pool(pool, user=user)
        assert texts(caught.value.conflicts) == ["prefix 192.0.2.0/24 uses it: detach or delete that first."]
        assert state() == before
        with pytest.raises(PoolConflict) as caught:
            retire_pool(pool, user=make_user("nobody"))
        assert texts(caught.value.conflicts) == [
            "Something that you may not view uses them: have it detached or deleted first."
        ]

        # It keeps no other from going.
        other = make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
        SegmentPool.objects.update(status="retiring")
        assert delete_drained() == 1
        assert not SegmentPool.objects.filter(pk=other.pk).exists()
        assert "Network1 Site1" in caplog.text
        Prefix.objects.filter(prefix="192.0.2.0/24").delete()
        assert delete_drained() == 1

    def test_interfaces_on_its_vlans_are_detached_and_logged(self, user):
        pool = make_pool(segments=2)
        interface = Interface.objects.create(
            device=make_device(), name="eth0", type="virtual", mode="access", untagged_vlan=VLAN.objects.get(vid=100)
        )
        retire_pool(pool, user=user)
        interface.refresh_from_db()
        assert interface.untagged_vlan is None
        change = ObjectChange.objects.get(changed_object_type__model="interface")
        assert (change.action, change.user) == ("update", user)

    def test_nobody_is_known_to_have_retired_it(self, user, caplog):
        pool = make_pool(segments=2)
        JournalEntry.objects.create(assigned_object=Segment.objects.get(vid=101), comments="Note")
        Interface.objects.create(
            device=make_device(), name="eth0", type="virtual", mode="access", untagged_vlan=VLAN.objects.get(vid=100)
        )
        SegmentPool.objects.update(status="retiring")
        assert delete_drained() == 0
        assert "Other objects refer to" in caplog.text
        Interface.objects.update(untagged_vlan=None)
        assert delete_drained() == 1
        gone = ObjectChange.objects.filter(action="delete")
        assert set(gone.values_list("user_name", flat=True)) == {"system"}
        assert gone.filter(changed_object_type__model="journalentry").exists()
        assert not pool.__class__.objects.exists()

    @pytest.mark.parametrize("is_known", [True, False])
    def test_prefixes_below_keep_their_depth(self, user, is_known):
        pool = make_pool(segments=2)
        below = Prefix.objects.create(prefix="10.0.0.0/28", vrf=pool.vrf)
        if is_known:
            retire_pool(pool, user=user)
        else:
            SegmentPool.objects.update(status="retiring")
            assert delete_drained() == 1
        below.refresh_from_db()
        container = Prefix.objects.get(prefix="10.0.0.0/16")
        assert (below._depth, container._children) == (1, 1)

    def test_statements_do_not_multiply(self, user):
        counts = []
        for number in (3, 9):
            pool = make_pool(scope=f"Site{number}", segments=number, container=f"10.{number}.0.0/16")
            retire_pool(pool, user=user, dry_run=True)
            with CaptureQueriesContext(connection) as queries:
                retire_pool(pool, user=user)
            counts.append(len(queries))
        assert counts[0] == counts[1]


class TestResize:
    def test_larger(self, user):
        pool = make_pool(segments=3)
        ObjectChange.objects.all().delete()
        result = resize_pool(
            pool,
            user=user,
            vid_ranges=[(100, 999), (2000, 2099)],
            prefixes=["10.0.0.0/16", "10.7.0.0/16"],
            changelog_message="Ticket 7",
        )
        assert (result.before.vid_ranges, result.before.vids, result.before.free_vids) == ("100-999", 900, 897)
        assert (result.after.vid_ranges, result.after.vids, result.after.free_vids) == ("100-999,2000-2099", 1000, 997)
        assert (result.before.addresses, result.after.addresses) == (2**16, 2**17)
        assert list(map(str, result.after.prefixes)) == ["10.0.0.0/16", "10.7.0.0/16"]
        assert (result.segments_outside, result.sharing_pools, result.conflicts) == ((), (), ())
        pool.vlan_group.refresh_from_db()
        assert pool.vlan_group.vid_ranges_list == "100-999,2000-2099"
        assert sorted(map(str, pool.prefixes.all())) == ["10.0.0.0/16", "10.7.0.0/16"]
        messages = ObjectChange.objects.filter(action="update")
        assert set(messages.values_list("changed_object_type__model", "message")) == {
            ("vlangroup", "Ticket 7"),
            ("segmentpool", "Ticket 7"),
        }

    def test_a_dry_run_changes_nothing(self, user):
        pool = make_pool(segments=3)
        before = state()
        dry = resize_pool(
            pool, user=user, vid_ranges=[(100, 101)], prefixes=["10.0.0.0/17"], remove_segments=True, dry_run=True
        )
        assert state() == before
        assert (dry.removed, dry.after.vids) == (1, 2)
        done = resize_pool(pool, user=user, vid_ranges=[(100, 101)], prefixes=["10.0.0.0/17"], remove_segments=True)
        assert done.after == dry.after
        assert sorted(Segment.objects.values_list("vid", flat=True)) == [100, 101]
        assert sorted(VLAN.objects.values_list("vid", flat=True)) == [100, 101]

    def test_past_segments(self, user):
        pool = make_pool(segments=4)
        allocate("prod-01", pool=pool, user=user, vid=102)
        disable_segment(Segment.objects.get(vid=103), user=user)
        before = state()
        texts_of = (
            "Segment EPG_101 (101), {}1{}, lies outside: keep it inside, or choose to remove segments.",
            "Segment EPG_102 (102), {}2{}, lies outside and is allocated: keep it inside, or release it first.",
            "Segment EPG_103 (103), {}3{}, lies outside and is disabled: keep it inside, or delete it first.",
        )
        for smaller in ({"vid_ranges": [(1, 100)]}, {"prefixes": ["10.0.0.0/24", "10.9.0.0/16"]}):
            smaller = {**smaller, "user": user}
            around = ("10.0.", ".0/24") if "prefixes" in smaller else ("VLAN ID 10", "")
            expected = [text.format(*around) for text in texts_of]
            if "prefixes" in smaller:
                smaller["prefixes"] = ["10.0.0.0/25", "10.9.0.0/16"]
                with pytest.raises(PoolConflict) as caught:
                    resize_pool(pool, **smaller)
                assert texts(caught.value.conflicts)[1:] == expected
                continue
            with pytest.raises(PoolConflict) as caught:
                resize_pool(pool, **smaller)
            assert texts(caught.value.conflicts) == expected
            with pytest.raises(PoolConflict) as caught:
                resize_pool(pool, remove_segments=True, **smaller)
            assert texts(caught.value.conflicts) == expected[1:]
            dry = resize_pool(pool, dry_run=True, **smaller)
            assert [(one.segment.vid, one.removable) for one in dry.segments_outside] == [
                (101, True),
                (102, False),
                (103, False),
            ]
        assert state() == before

    def test_names_what_lies_outside(self, user):
        pool = make_pool()
        update_pool(pool, user=user, prefixes=["10.0.0.0/16", "2001:db8::/32"])
        make_segment(pool, 100, ipv6_prefix="2001:db8:1::/64")
        for asked, parts in (
            ({"prefixes": ["10.0.0.0/16"]}, "2001:db8:1::/64"),
            ({"prefixes": ["2001:db8::/32"]}, "10.0.0.0/24"),
            ({"prefixes": ["10.9.0.0/16"]}, "10.0.0.0/24, 2001:db8:1::/64"),
            ({"vid_ranges": [(200, 300)]}, "VLAN ID 100"),
            ({"vid_ranges": [(200, 300)], "prefixes": ["10.0.0.0/16"]}, "VLAN ID 100, 2001:db8:1::/64"),
        ):
            (text,) = texts(resize_pool(pool, user=user, dry_run=True, **asked).conflicts)
            assert text.startswith(f"Segment EPG_100 (100), {parts}, lies outside:"), asked

    def test_what_the_user_may_not_view_or_delete(self, user):
        pool = make_pool(segments=3)
        nobody = make_user("nobody")
        asked = {"vid_ranges": [(100, 100)], "remove_segments": True, "dry_run": True, "enforce": True}
        dry = resize_pool(pool, user=nobody, **asked)
        assert dry.segments_outside == ()
        assert texts(dry.conflicts) == ["Segments that you may not view, or not remove, lie outside."]
        some = permit(permit(nobody, Segment, "view", constraints={"vid": 101}), Segment, "delete")
        dry = resize_pool(pool, user=some, **asked)
        assert ([one.segment.vid for one in dry.segments_outside], dry.removed) == ([101], 2)
        some = permit(make_user("some"), Segment, "delete", constraints={"vid": 101})
        assert resize_pool(pool, user=some, **asked).conflicts

    def test_a_group_that_others_share(self, user):
        pool = make_pool(segments=1)
        other = make_pool(scope="Site2", container="10.1.0.0/16", vlan_group=pool.vlan_group)
        make_segment(other, 300)
        dry = resize_pool(pool, user=user, vid_ranges=[(100, 199)], remove_segments=True, dry_run=True)
        assert [(one.pool, one.segments, one.segments_outside) for one in dry.sharing_pools] == [(other, 1, 1)]
        assert texts(dry.conflicts) == [
            "1 segment of pool Network1 Site2, which shares VLAN group Network1-Site1, lies outside: keep it inside."
        ]
        blind = resize_pool(pool, user=make_user("nobody"), vid_ranges=[(100, 199)], dry_run=True)
        assert blind.sharing_pools == ()
        assert "Network1 Site2" not in texts(blind.conflicts)[0]
        with pytest.raises(PoolConflict):
            resize_pool(pool, user=user, vid_ranges=[(100, 199)], remove_segments=True)

    @pytest.mark.parametrize(
        ("values", "field", "text"),
        [
            ({}, "vid_ranges", "Give other VLAN IDs"),
            ({"vid_ranges": []}, "vid_ranges", "at least one range"),
            ({"vid_ranges": [(0, 10)]}, "vid_ranges", ""),
            ({"vid_ranges": [(1, 5000)]}, "vid_ranges", ""),
            ({"vid_ranges": [(20, 10)]}, "vid_ranges", "upside down"),
            ({"vid_ranges": [(100, 200), (150, 300)]}, "vid_ranges", "VLAN ID 150 is in two"),
            ({"prefixes": []}, "prefixes", "at least one container"),
            ({"prefixes": ["10.0.0.0/16", "x"]}, "prefixes", ""),
            ({"prefixes": ["10.0.0.0/16", "10.0.0.0/24"]}, "prefixes", "Container"),
        ],
    )
    def test_bad_values(self, user, values, field, text):
        pool = make_pool(segments=1)
        before = state()
        with pytest.raises(ValidationError) as caught:
            resize_pool(pool, user=user, **values)
        assert list(caught.value.message_dict) == [field]
        assert text in str(caught.value)
        assert state() == before

    def test_containers_of_another_vrf(self, user):
        pool = make_pool(segments=1)
        foreign = Prefix.objects.create(prefix="10.0.0.0/8", vrf=make_vrf("Network2"), status="container")
        foreign.refresh_from_db()
        with pytest.raises(ValidationError, match="is in VRF Network2"):
            resize_pool(pool, user=user, prefixes=[foreign])

    def test_ranges_as_text(self):
        assert parse_vid_ranges("100-199, 300,400-401") == [(100, 199), (300, 300), (400, 401)]
        for text in ("", "x", "1-2-3", "-5", "99999", "1;2"):
            with pytest.raises(ValidationError, match="is no range of VLAN IDs"):
                parse_vid_ranges(text)


def test_one_thousand_segments(user):
    """Retiring and merging take a number of statements that is not a multiple of all objects."""
    pool = make_pool(vid_ranges=((1, 4094),))
    rows = [
        (None, {"site": "Site1", "vrf": "Network1", "vlan_id": n, "epg_name": f"E_{n}", "segment": f"10.0.{n}.0/24"})
        for n in range(1, 201)
    ]
    import_segments(rows, user=user, atomic=True, enforce=False)
    with CaptureQueriesContext(connection) as queries:
        assert retire_pool(pool, user=user).deleted
    assert len(queries) < 100


def test_protected_error_of_a_single_delete_is_unchanged(user):
    pool = make_pool(segments=1)
    allocate("prod-01", pool=pool, user=user)
    with pytest.raises(ProtectedError):
        Segment.objects.get().delete()
