import pytest
from django.core.exceptions import ValidationError

from core.models import ObjectChange
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.exceptions import PoolConflict
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import (
    allocate,
    disable_segment,
    update_pool,
)
from netbox_vlan_manager.services.pools.resizing import resize_pool
from tests.factories import make_pool, make_segment, make_user, make_vrf, permit
from tests.services.pools.world import state, texts

pytestmark = pytest.mark.django_db


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
            ({"vid_ranges": [(20, 10)]}, "vid_ranges", "is reversed"),
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
