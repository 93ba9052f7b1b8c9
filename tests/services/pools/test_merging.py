from datetime import date

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.models import ObjectChange
from dcim.models import Region
from extras.models import Tag
from ipam.models import VLAN
from netbox_vlan_manager.exceptions import PoolConflict
from netbox_vlan_manager.models import Allocation, PoolSnapshot, Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    disable_segment,
    release,
    release_allocation,
    share,
)
from netbox_vlan_manager.services.pools.merging import merge_pool
from netbox_vlan_manager.services.pools.retiring import retire_pool
from tests.factories import make_pool, make_segment, make_site, make_user, permit
from tests.services.pools.world import check, make_pair, state, texts

pytestmark = pytest.mark.django_db


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
        # The cluster asks again and gets its allocation, and a release finds it.
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
        # The permission for one of the two pools is not enough.
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
        # Each segment takes one more UPDATE.
        assert counts[1] - counts[0] == 3
