import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from netaddr import IPNetwork

from core.models import ObjectChange
from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VLAN, VRF, IPAddress, Prefix, VLANGroup
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
from netbox_vlan_manager.services.drift.findings import find_drift
from netbox_vlan_manager.services.onboarding.adoption import Decision, adopt, find_candidates
from netbox_vlan_manager.services.onboarding.importing import import_segments
from tests.factories import make_pool, make_segment, make_site, make_user, permit
from utilities.exceptions import AbortRequest
from wireless.models import WirelessLAN

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice")


@pytest.fixture
def pool():
    return make_pool()


def make_vlan(pool, vid, name=None, **fields):
    return VLAN.objects.create(**{"group": pool.vlan_group, "vid": vid, "name": name or f"web_{vid}", **fields})


def make_prefix(pool, network, vlan, **fields):
    return Prefix.objects.create(**{"prefix": IPNetwork(network), "vrf": pool.vrf, "vlan": vlan, **fields})


def make_candidate(pool, vid, network=None, **fields):
    network = network or f"10.0.{vid - 100}.0/24"
    return make_prefix(pool, network, make_vlan(pool, vid), **fields)


def only(pool, user=None):
    """Return the only candidate of a pool."""
    (candidate,) = find_candidates(pool, user)
    return candidate


def adopt_all(pool, **kwargs):
    return adopt(pool, enforce=False, **{"user": "alice", **kwargs})


class TestCandidates:
    def test_prefix_with_its_vlan(self, pool):
        prefix = make_candidate(pool, 105)
        candidate = only(pool)
        assert (candidate.prefix, candidate.vlan, candidate.ipv6_prefix) == (prefix, prefix.vlan, None)
        assert candidate.ready
        assert candidate.reasons == [
            "Prefix 10.0.5.0/24 is in VRF Network1, inside the pool's containers, and has VLAN web_105 (105).",
            "The VLAN is in VLAN group Network1-Site1.",
        ]

    def test_what_is_none(self, pool):
        make_segment(pool, 100)
        vlan = make_vlan(pool, 110)
        make_prefix(pool, "10.0.20.0/24", None)
        make_prefix(pool, "192.168.0.0/24", vlan)
        make_prefix(pool, "10.0.20.0/24", vlan, vrf=None)
        make_prefix(pool, "10.0.20.0/24", vlan, vrf=VRF.objects.create(name="Other"))
        Prefix.objects.filter(pk__in=pool.prefixes.values("pk")).update(vlan=vlan)
        assert find_candidates(pool) == []

    @pytest.mark.parametrize(
        ("vlan", "prefix", "field", "text"),
        [
            ({"group": None}, {}, "vid", "in no VLAN group: put it into Network1-Site1"),
            ({"group": "Campus"}, {}, "vid", "in VLAN group Campus"),
            ({"vid": 5}, {}, "vid", "use one of 100-999"),
            ({"name": "web servers"}, {}, "epg_name", "Rename the VLAN"),
            ({"name": " web"}, {}, "epg_name", "rename the VLAN"),
            ({}, {"prefix": "10.0.5.1/32"}, "prefix", "/16 to /31"),
            ({}, {"status": "container"}, "prefix", "is a container"),
            ({}, {"scope": "Site2"}, "prefix", "is at Site2, the pool serves Site1"),
            ({"site": "Site2"}, {}, "vid", "is at Site2, the pool serves Site1"),
        ],
    )
    def test_conflicts(self, pool, user, vlan, prefix, field, text):
        if vlan.get("group"):
            vlan["group"] = VLANGroup.objects.create(name="Campus", slug="campus")
        for values, name in ((prefix, "scope"), (vlan, "site")):
            if values.get(name):
                values[name] = make_site(values[name])
        vlan = VLAN.objects.create(**{"group": pool.vlan_group, "vid": 105, "name": "web", **vlan})
        found = make_prefix(pool, **{"network": prefix.pop("prefix", "10.0.5.0/24"), "vlan": vlan, **prefix})
        candidate = only(pool)
        assert not candidate.ready
        assert list(candidate.conflicts) == [field]
        assert text in " ".join(candidate.conflict_texts)
        (row,) = adopt_all(pool, prefixes=[found.pk]).results
        assert (row.status, row.errors) == ("failed", candidate.conflicts)
        assert adopt_all(pool).results == []
        assert not Segment.objects.exists()

    def test_vlan_of_another_segment(self, pool):
        segment = make_segment(pool, 100)
        make_prefix(pool, "10.0.9.0/24", segment.vlan)
        assert "belongs to another segment" in " ".join(only(pool).conflict_texts)

    def test_overlap_with_a_segment(self, pool):
        make_segment(pool, 100)
        make_candidate(pool, 105, "10.0.0.128/25")
        assert "overlaps another segment" in " ".join(only(pool).conflict_texts)

    def test_overlap_with_each_other(self, pool):
        for vid, network in ((105, "10.0.4.0/22"), (106, "10.0.5.0/24"), (107, "10.0.8.0/24")):
            make_candidate(pool, vid, network)
        outer, inner, alone = find_candidates(pool)
        assert "overlaps 10.0.5.0/24" in outer.conflict_texts[0]
        assert "overlaps 10.0.4.0/22" in inner.conflict_texts[0]
        assert alone.ready

    def test_network_that_is_there_twice(self, pool):
        VRF.objects.update(enforce_unique=False)
        make_candidate(pool, 105)
        make_prefix(pool, "10.0.5.0/24", None)
        assert "more than once" in only(pool).conflict_texts[0]

    def test_several_prefixes_on_a_vlan_are_named_to_who_may_view_them(self, pool, user):
        vlan = make_vlan(pool, 105)
        one, _other, outside = (
            make_prefix(pool, network, vlan) for network in ("10.0.5.0/24", "10.0.6.0/24", "172.16.0.0/24")
        )
        texts = [candidate.conflict_texts for candidate in find_candidates(pool)]
        assert "also 10.0.6.0/24, 172.16.0.0/24:" in texts[0][0]
        assert "also 10.0.5.0/24, 172.16.0.0/24:" in texts[1][0]
        user = permit(user, VLAN, "view")
        user = permit(user, one, "view")
        (text,) = only(pool, user).conflict_texts
        assert "also 2 that you may not view:" in text
        user = permit(user, outside, "view")
        (text,) = only(pool, user).conflict_texts
        assert "also 172.16.0.0/24, 1 that you may not view:" in text

    def test_what_the_user_may_not_view(self, pool, user):
        prefix = make_candidate(pool, 105)
        assert find_candidates(pool, user) == []
        user = permit(user, Prefix, "view")
        assert find_candidates(pool, user) == []
        (row,) = adopt(pool, user=user, prefixes=[prefix.pk]).results
        assert "may not view its VLAN" in row.errors["prefix"][0]
        user = permit(user, VLAN, "view")
        assert only(pool, user).ready

    def test_statements_do_not_grow(self, pool):
        numbers = []
        for vids in (range(100, 103), range(110, 160)):
            for vid in vids:
                make_candidate(pool, vid, scope=make_site())
            with CaptureQueriesContext(connection) as queries:
                assert all(candidate.ready for candidate in find_candidates(pool))
            numbers.append(len(queries))
        assert numbers[1] <= numbers[0]

    @pytest.mark.parametrize("kind", ["location", "site", "site group", "region"])
    def test_places(self, user, kind):
        region, group = (model.objects.create(name="R", slug="r") for model in (Region, SiteGroup))
        inner_region, inner_group = (
            model.objects.create(name="I", slug="i", parent=parent)
            for model, parent in ((Region, region), (SiteGroup, group))
        )
        site = Site.objects.create(name="S", slug="s", region=inner_region, group=inner_group)
        location = Location.objects.create(name="L", slug="l", site=site)
        room = Location.objects.create(name="M", slug="m", site=site, parent=location)
        stranger = Site.objects.create(name="X", slug="x")
        scope = {"location": location, "site": site, "site group": group, "region": region}[kind]
        pool = make_pool(scope=scope)
        places = [None, location, room, site, inner_region if kind != "site group" else inner_group, region]
        if kind == "site group":
            places.remove(region)
        for number, place in enumerate(places):
            make_candidate(pool, 100 + number, scope=place)
        make_candidate(pool, 200, scope=stranger)
        assert [candidate.ready for candidate in find_candidates(pool)] == [True] * len(places) + [False]


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
        adopt_all(pool, decision=Decision("available"))
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
    """What NetBox knows as in use, or is not sure to be free, is handed out to nobody unless somebody says so."""

    @pytest.fixture(params=USES)
    def doubt(self, request, pool, user):
        prefix = make_candidate(pool, 105)
        USES[request.param](pool, prefix)
        # Statuses that were set past NetBox are those of other prefixes too.
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
        (row,) = adopt_all(pool, decision=Decision(status)).results
        assert (row.segment_status, row.disabled_reason, self.made) == (status, "", status)
        kinds = [drift.kind for drift in find_drift()]
        is_used = doubt and status == "available" and "VLAN" not in doubt and "prefix " not in doubt.removeprefix("1 ")
        assert kinds in ([], ["segment_in_use"]), kinds
        if is_used:
            assert kinds == ["segment_in_use"]

    def test_held_by_a_cluster(self, pool, doubt):
        adopt_all(pool, decision=Decision(cluster_name=" prod-01 "))
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
