import pytest
from django.core.exceptions import ValidationError
from netaddr import IPNetwork

from core.models import ObjectChange
from ipam.models import VLAN, IPAddress, Prefix
from netbox.signals import post_clean
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    create_pool,
    create_segment,
    delete_segment,
    disable_segment,
    update_segment,
)
from netbox_vlan_manager.services.onboarding.adoption import Decision, adopt
from netbox_vlan_manager.services.onboarding.importing import import_segments
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_site, make_user, permit
from tests.services.onboarding.base import adopt_all, make_candidate, make_prefix, make_vlan, only
from utilities.exceptions import AbortRequest
from wireless.models import WirelessLAN

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice")


class TestDualStack:
    @pytest.fixture
    def pool(self):
        pool = make_pool()
        pool.prefixes.add(make_prefix(pool, "2001:db8::/32", None, status="container"))
        return pool

    def test_one_candidate_of_two_prefixes(self, pool, user):
        ipv4 = make_candidate(pool, 105)
        ipv6 = make_prefix(pool, "2001:db8:5::/64", ipv4.vlan)
        candidate = only(pool)
        assert (candidate.prefix, candidate.ipv6_prefix) == (ipv4, ipv6)
        assert candidate.ready
        result = adopt_all(pool, prefixes=[ipv6.pk, ipv4.pk])
        segment = Segment.objects.get()
        assert result.adopted == 1
        assert [(row.prefix, row.status, row.segment) for row in result.results] == [
            (ipv6.pk, "adopted", segment.pk),
            (ipv4.pk, "adopted", segment.pk),
        ]
        assert (segment.prefix, segment.ipv6_prefix) == (ipv4, ipv6)
        assert not any((segment.owns_vlan, segment.owns_prefix, segment.owns_ipv6_prefix))
        assert find_drift() == []

    def test_ipv6_alone(self, pool, user):
        make_prefix(pool, "2001:db8:5::/64", make_vlan(pool, 105))
        assert adopt_all(pool).adopted == 1
        assert find_drift() == []

    def test_ipv6_prefix_that_does_not_fit(self, pool, user):
        ipv4 = make_candidate(pool, 105)
        make_prefix(pool, "2001:db8:5::/128", ipv4.vlan)
        assert list(only(pool).conflicts) == ["ipv6_prefix"]

    def test_ipv6_prefix_outside_the_containers(self, pool, user):
        ipv4 = make_candidate(pool, 105)
        make_prefix(pool, "2001:dead::/64", ipv4.vlan)
        assert "also 2001:dead::/64" in only(pool).conflict_texts[0]


class TestAdopt:
    def test_all_that_are_ready(self, pool, user):
        prefixes = [make_candidate(pool, vid) for vid in (105, 106)]
        make_candidate(pool, 5, "10.0.9.0/24")
        result = adopt_all(pool)
        assert (result.adopted, result.failed) == (2, 0)
        assert [row.prefix for row in result.results] == [prefix.pk for prefix in prefixes]
        segment = Segment.objects.get(vid=105)
        assert (segment.pool, segment.vlan, segment.prefix) == (pool, prefixes[0].vlan, prefixes[0])
        assert (segment.epg_name, segment.status) == ("web_105", "available")
        assert find_drift() == []
        assert ObjectChange.objects.filter(user_name="alice", changed_object_id=segment.pk, action="create").exists()
        assert allocate("prod-01", pool=pool, user=user).allocation.segment == segment

    def test_again_nothing_is_left(self, pool, user):
        prefix = make_candidate(pool, 105)
        adopt_all(pool)
        changes = ObjectChange.objects.count()
        assert adopt_all(pool).results == []
        (row,) = adopt_all(pool, prefixes=[prefix.pk]).results
        assert (row.status, row.segment) == ("unchanged", Segment.objects.get().pk)
        assert ObjectChange.objects.count() == changes

    def test_adopted_objects_outlive_their_segment(self, pool, user):
        prefix = make_candidate(pool, 105)
        adopt_all(pool)
        delete_segment(Segment.objects.get(), user=user)
        assert Prefix.objects.get(pk=prefix.pk).vlan == prefix.vlan
        assert only(pool).ready

    def test_what_is_free_is_available_with_both_active(self, pool, user):
        make_candidate(pool, 105, status="reserved")
        VLAN.objects.update(status="deprecated")
        adopt_all(pool, decisions={None: Decision("available")})
        segment = Segment.objects.get()
        assert (segment.status, segment.disabled_reason) == ("available", "")
        assert (segment.vlan.status, segment.prefix.status) == ("active", "active")
        assert find_drift() == []

    def test_dry_run_changes_nothing(self, pool, user):
        make_candidate(pool, 105)
        before = ObjectChange.objects.count()
        (row,) = adopt_all(pool, dry_run=True).results
        assert (row.status, row.segment) == ("adopted", None)
        assert ObjectChange.objects.count() == before
        assert not Segment.objects.exists()

    def test_chosen_ones_that_are_no_candidates(self, pool, user):
        site = make_site("Site2")
        other = create_pool(user=user, vrf=pool.vrf, scope=site, prefixes=["10.0.0.0/16"])
        theirs = make_segment(other, 300, 30)
        foreign = make_candidate(pool, 105, vrf=None)
        bare = make_prefix(pool, "10.0.6.0/24", None)
        outside = make_candidate(pool, 107, "172.16.0.0/24")
        container = pool.prefixes.get()
        good = make_candidate(pool, 108)
        pks = [theirs.prefix_id, foreign.pk, bare.pk, outside.pk, container.pk, 10**12, good.pk, good.pk]
        result = adopt_all(pool, prefixes=pks)
        texts = [row.errors.get("prefix", [row.status])[0] for row in result.results]
        for text, expected in zip(
            texts,
            (
                "another pool's segment",
                "not in VRF Network1",
                "has no VLAN",
                "outside the pool's containers",
                "is a container",
                "no prefix 1000000000000",
                "adopted",
            ),
            strict=True,
        ):
            assert expected in text
        assert (result.adopted, result.failed) == (1, 6)

    def test_permission_to_add_holds_for_each(self, pool, user):
        for vid in (105, 106):
            make_candidate(pool, vid)
        for model in (Prefix, VLAN, SegmentPool):
            user = permit(user, model, "view")
        user = permit(user, Segment, "add", constraints={"vid": 106})
        result = adopt(pool, user=user)
        assert [row.status for row in result.results] == ["failed", "adopted"]
        assert "may not add" in result.results[0].errors["prefix"][0]
        assert list(Segment.objects.values_list("vid", flat=True)) == [106]

    def test_validation_of_others(self, pool, user):
        make_candidate(pool, 105)

        def refuse(instance, **kwargs):
            raise AbortRequest("Not today")

        post_clean.connect(refuse, sender=Segment)
        try:
            with pytest.raises(AbortRequest):
                adopt_all(pool)
        finally:
            post_clean.disconnect(refuse, sender=Segment)
        assert not Segment.objects.exists()


USES = {
    "": lambda pool, prefix: None,
    "prefix reserved": lambda pool, prefix: Prefix.objects.update(status="reserved"),
    "prefix deprecated": lambda pool, prefix: Prefix.objects.update(status="deprecated"),
    "prefix marked as utilized": lambda pool, prefix: Prefix.objects.update(mark_utilized=True),
    "VLAN reserved": lambda pool, prefix: VLAN.objects.update(status="reserved"),
    "VLAN deprecated": lambda pool, prefix: VLAN.objects.update(status="deprecated"),
    "2 IP addresses": lambda pool, prefix: [
        IPAddress.objects.create(address=IPNetwork(f"10.0.5.{number}/24"), vrf=pool.vrf) for number in (7, 8)
    ],
    "1 prefix": lambda pool, prefix: make_prefix(pool, "10.0.5.64/26", None),
    "1 wireless LAN": lambda pool, prefix: WirelessLAN.objects.create(ssid="w", vlan=prefix.vlan),
}


class TestUse:
    """Segments that NetBox shows as used, or perhaps used, are not handed out unless the user says so."""

    @pytest.fixture(params=USES)
    def doubt(self, request, pool, user):
        prefix = make_candidate(pool, 105)
        USES[request.param](pool, prefix)
        # Some uses change the status of all prefixes, so the container's is reset.
        Prefix.objects.filter(segment_pools=pool).update(status="container")
        return request.param

    @property
    def made(self):
        return Segment.objects.values_list("status", flat=True).get()

    def test_as_it_is(self, pool, doubt):
        candidate = only(pool)
        assert (candidate.will_be, candidate.doubt) == ("disabled" if doubt else "available", doubt)
        (row,) = adopt_all(pool).results
        assert (row.segment_status, self.made) == (candidate.will_be, candidate.will_be)
        known = doubt if "VLAN " in doubt or doubt.startswith("prefix") else "in use"
        segment = Segment.objects.get()
        assert segment.disabled_reason == row.disabled_reason == (f"When it was made: {known}" if doubt else "")
        assert [drift for drift in find_drift() if drift.severity != "info"] == []

    @pytest.mark.parametrize("status", ["available", "disabled"])
    def test_as_decided(self, pool, doubt, status):
        (row,) = adopt_all(pool, decisions={None: Decision(status)}).results
        assert (row.segment_status, row.disabled_reason, self.made) == (status, "", status)
        kinds = [drift.kind for drift in find_drift()]
        is_used = doubt and status == "available" and "VLAN" not in doubt and "prefix " not in doubt.removeprefix("1 ")
        assert kinds in ([], ["segment_in_use"]), kinds
        if is_used:
            assert kinds == ["segment_in_use"]

    def test_held_by_a_cluster(self, pool, doubt):
        adopt_all(pool, decisions={None: Decision(cluster_name=" prod-01 ")})
        assert self.made == "allocated"
        allocation = Allocation.objects.get()
        assert (allocation.cluster_name, allocation.vid, str(allocation.prefix)) == ("prod-01", 105, "10.0.5.0/24")
        assert allocation.allocated_by == make_user("alice")
        assert find_drift() == []
        assert allocate("PROD-01", pool=pool, user="alice").allocation == allocation

    def test_in_a_segment_that_is_made(self, pool, doubt):
        fields = {"vid": 105, "epg_name": "web_105", "prefix": "10.0.5.0/24", "user": "alice"}
        segment = create_segment(pool, **fields)
        assert segment.status == ("disabled" if doubt else "available")
        delete_segment(segment, user="alice")
        assert create_segment(pool, **fields, status="available").status == "available"
        assert [drift for drift in find_drift() if drift.severity != "info"] == []

    def test_in_an_import(self, pool, doubt):
        row = {"site": "Site1", "vrf": "Network1", "vlan_id": 105, "epg_name": "web_105", "segment": "10.0.5.0/24"}
        import_segments([(None, row)], user="alice", enforce=False)
        assert self.made == ("disabled" if doubt else "available")
        assert [drift for drift in find_drift() if drift.severity != "info"] == []

    def test_of_a_prefix_that_a_segment_would_move_to(self, pool, doubt):
        segment = make_segment(pool, 110, 10)
        VLAN.objects.filter(vid=105).update(group=None)
        Prefix.objects.filter(vlan__vid=105).delete()
        is_inside = doubt in ("2 IP addresses", "1 prefix")
        if is_inside:
            with pytest.raises(ValidationError, match="is in use in VRF Network1"):
                update_segment(segment, user="alice", prefix="10.0.5.0/24")
            disable_segment(segment, user="alice")
        update_segment(segment, user="alice", prefix="10.0.5.0/24")


class TestDecisions:
    def test_each_has_its_own(self, pool, user):
        prefixes = [make_candidate(pool, vid) for vid in (105, 106, 107, 108)]
        decisions = {
            prefixes[1].pk: Decision("disabled"),
            prefixes[2].pk: Decision(cluster_name="prod-01"),
            prefixes[3].pk: Decision(),
        }
        adopt_all(pool, decisions=decisions)
        assert list(Segment.objects.values_list("status", flat=True)) == [
            "available",
            "disabled",
            "allocated",
            "available",
        ]
        assert find_drift() == []

    def test_either_prefix_of_two_says_it(self, user):
        pool = make_pool()
        pool.prefixes.add(make_prefix(pool, "2001:db8::/32", None, status="container"))
        ipv4 = make_candidate(pool, 105)
        ipv6 = make_prefix(pool, "2001:db8:5::/64", ipv4.vlan)
        adopt_all(pool, decisions={ipv6.pk: Decision(cluster_name="prod-01")})
        assert str(Allocation.objects.get().ipv6_prefix) == "2001:db8:5::/64"

    @pytest.mark.parametrize(
        ("values", "field"),
        [
            ({"status": "allocated"}, "status"),
            ({"status": "quarantined"}, "status"),
            ({"cluster_name": "a,b"}, "cluster_name"),
            ({"cluster_name": "x" * 101}, "cluster_name"),
            ({"cluster_name": "a", "status": "available"}, "cluster_name"),
        ],
    )
    def test_what_is_none(self, values, field):
        with pytest.raises(ValidationError) as caught:
            Decision(**values)
        assert list(caught.value.message_dict) == [field]

    def test_cluster_that_holds_another_segment_of_the_pool(self, pool, user):
        make_segment(pool, 100)
        allocate("straße", pool=pool, user=user)
        prefixes = [make_candidate(pool, vid) for vid in (105, 106, 107)]
        names = ("STRAßE", "dev", "DEV")
        result = adopt_all(
            pool,
            decisions={prefix.pk: Decision(cluster_name=name) for prefix, name in zip(prefixes, names, strict=True)},
        )
        assert [row.status for row in result.results] == ["failed", "adopted", "failed"]
        assert "holds another segment of the pool" in result.results[0].errors["cluster_name"][0]
        assert find_drift() == []

    def test_a_cluster_takes_the_permission_to_allocate(self, pool, user):
        prefix = make_candidate(pool, 105)
        for model in (Prefix, VLAN, SegmentPool):
            user = permit(user, model, "view")
        user = permit(user, Segment, "add")
        with pytest.raises(ValidationError, match="may not allocate in this pool"):
            adopt(pool, user=user, decisions={prefix.pk: Decision(cluster_name="prod-01")})
        user = permit(user, pool, "allocate")
        assert adopt(pool, user=user, decisions={prefix.pk: Decision(cluster_name="prod-01")}).adopted == 1

    def test_use_that_the_user_may_not_view(self, pool, user):
        make_candidate(pool, 105)
        IPAddress.objects.create(address=IPNetwork("10.0.5.7/24"), vrf=pool.vrf)
        for model in (Prefix, VLAN, SegmentPool):
            user = permit(user, model, "view")
        assert only(pool, user).doubt == "something that you may not view"
        adopt(pool, user=permit(user, Segment, "add"))
        assert Segment.objects.get().disabled_reason == "When it was made: in use"
