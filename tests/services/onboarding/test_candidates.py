import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VLAN, VRF, Prefix, VLANGroup
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services.onboarding.adoption import adopt
from netbox_vlan_manager.services.onboarding.candidates import find_candidates
from tests.factories import make_pool, make_segment, make_site, make_user, permit
from tests.services.onboarding.base import adopt_all, make_candidate, make_prefix, make_vlan, only

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice")


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

    def test_several_prefixes_on_a_vlan_are_named_if_viewable(self, pool, user):
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
