"""A cluster that asks again for the same place gets its segment, even if another pool serves the place by then."""

import json
import re

import pytest
from django.core.exceptions import PermissionDenied
from django.urls import reverse

from core.models import ObjectChange
from dcim.models import Location, Site, SiteGroup
from netbox_vlan_manager.exceptions import (
    AllocationNotFound,
    AmbiguousPool,
    Busy,
    PoolNotFound,
    VIDUnavailable,
)
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, allocate_many, allocate_stretched, release, share, update_pool
from netbox_vlan_manager.services.allocations.requests import AllocationRequest, locate
from netbox_vlan_manager.services.onboarding.importing import import_segments
from netbox_vlan_manager.services.pools.merging import merge_pool
from netbox_vlan_manager.services.reporting.places import held_elsewhere, holdings_elsewhere
from tests.api.base import client_of, url_of
from tests.drift import find_drift
from tests.factories import make_pool, make_site, make_user, permit

pytestmark = pytest.mark.django_db

VRF = "Network1"


@pytest.fixture
def user():
    return make_user("alice")


@pytest.fixture(autouse=True)
def no_drift():
    yield
    assert find_drift() == []


@pytest.fixture
def group():
    return SiteGroup.objects.create(name="G", slug="g")


@pytest.fixture
def outer(group):
    """The pool at site group G, with sites R and R2 in it."""
    for name in ("R", "R2", "R3"):
        make_site(name, group=group)
    return make_pool(scope=group, segments=6, name="Outer")


def add_nearer(site="R", **fields):
    """Return a pool at a site, with VLAN IDs from 500."""
    fields = {"name": f"Nearer {site}", "slug": f"nearer-{str(site).lower()}", "container": "10.5.0.0/16"} | fields
    place = make_site(site) if isinstance(site, str) else site
    return make_pool(scope=place, vid_ranges=((500, 599),), segments=4, **fields)


def ask(cluster="c1", site="R", **asked):
    result = allocate(cluster, site=site, vrf=VRF, user="operator", **asked)
    return result.allocation.vid, result.created


def give_back(cluster="c1", site="R", **asked):
    return release(cluster, site=site, vrf=VRF, user="operator", **asked).allocation.vid


def forget_places():
    """Remove the places of allocations, as in the data of older releases."""
    Allocation.objects.update(places=["*"])


# Another pool serves the place


def test_a_nearer_pool_renumbers_nobody(outer):
    assert ask() == (100, True)
    add_nearer()
    assert ask() == (100, False)
    assert ask("c2") == (500, True)
    assert give_back() == 100
    with pytest.raises(AllocationNotFound):
        give_back()
    assert ask() == (501, True)


def test_a_place_that_moves_takes_its_segments_along(outer):
    ask()
    other = SiteGroup.objects.create(name="G2", slug="g2")
    make_pool(scope=other, segments=2, name="Other", container="10.6.0.0/16", vid_ranges=((600, 699),))
    Site.objects.filter(name="R").update(group=other)
    assert ask() == (100, False)
    assert ask("c2") == (600, True)
    assert give_back() == 100


def test_a_place_that_no_pool_serves_any_more(outer):
    ask()
    Site.objects.filter(name="R").update(group=None)
    assert ask() == (100, False)
    with pytest.raises(PoolNotFound):
        ask("c2")
    assert give_back() == 100
    with pytest.raises(PoolNotFound):
        give_back()


def test_a_pool_that_moves(outer, user):
    ask()
    far = SiteGroup.objects.create(name="Far", slug="far")
    update_pool(outer, user=user, scope=far)
    assert ask() == (100, False)
    add_nearer()
    assert ask() == (100, False)
    assert give_back() == 100


def test_released_while_it_was_found(outer, user):
    ask()
    Site.objects.filter(name="R").update(group=None)
    found = locate("c1", "R", VRF)
    assert (found.pool, found.serves) == (outer, False)
    give_back()
    with pytest.raises(Busy):
        allocate("c1", pool=found.pool, places=found.places, serves=found.serves, user=user)


def test_a_merged_pool_takes_them_along(outer, user):
    ask()
    nearer = make_pool(
        scope=make_site("R"), vlan_group=outer.vlan_group, vid_ranges=((500, 599),), segments=1, container="10.5.0.0/16"
    )
    assert ask("c2") == (500, True)
    merge_pool(outer, nearer, user=user)
    assert ask() == (100, False)
    assert ask("c2") == (500, False)


# Each place is separate


def test_one_segment_for_all_places_that_a_pool_serves(outer):
    assert ask() == (100, True)
    assert ask(site="R2") == (100, False)
    add_nearer("R2")
    assert ask(site="R2") == (100, False)
    assert ask() == (100, False)
    (held,) = Allocation.objects.all()
    assert set(held.places) == {f"dcim.site:{make_site(name).pk}" for name in ("R", "R2")}


def test_a_place_never_asked_for_gets_its_own(outer):
    ask()
    add_nearer("R3")
    assert ask(site="R3") == (500, True)
    assert ask() == (100, False)
    assert ask(site="R3") == (500, False)


def test_a_place_is_written_down_once(outer):
    ask()
    before = ObjectChange.objects.count()
    ask(site="R2")
    (change,) = ObjectChange.objects.order_by("pk")[before:]
    assert "dcim.site:" in str(change.postchange_data["places"])
    ask(site="R2")
    ask("c1", "R2", dry_run=True)
    assert ObjectChange.objects.count() == before + 1


def test_a_dry_run_writes_no_place_down(outer):
    ask()
    assert ask(site="R2", dry_run=True) == (100, False)
    assert len(Allocation.objects.get().places) == 1


def test_purposes_and_clusters_are_apart(outer):
    ask()
    add_nearer()
    assert ask(purpose="storage") == (500, True)
    assert ask("c2") == (501, True)
    assert ask(purpose="storage") == (500, False)
    assert ask("C1") == (100, False)


def test_a_wish_that_it_does_not_meet_names_the_pool_that_holds(outer):
    ask()
    add_nearer()
    with pytest.raises(VIDUnavailable, match=r"holds VLAN ID 100 .* of pool Outer"):
        ask(vid=500)


# A pool that the caller names directly


def test_a_pool_that_is_named_decides(outer, user):
    ask()
    nearer = add_nearer()
    assert allocate("c1", pool=nearer, user=user).allocation.vid == 500
    assert allocate("c1", pool=outer, user=user).allocation.vid == 100
    # Both allocations are for R: the older one is the answer.
    assert ask() == (100, False)
    assert give_back() == 100
    assert ask() == (500, False)


def test_a_pool_that_is_named_is_asked_for_its_own_place(outer, user):
    allocate("c1", pool=outer, user=user)
    assert ask(site="G") == (100, False)
    add_nearer()
    assert ask() == (500, True)


def test_sharing_is_in_the_segment_s_pool(outer, user):
    ask()
    nearer = add_nearer()
    segment = nearer.segments.first()
    assert share(segment, "c1", user=user).created
    assert ask() == (100, False)


# Several at once


def test_lists_and_stretched(outer, user):
    ask()
    ask(site="R2")
    add_nearer()
    found = [locate("c1", site, VRF) for site in ("R", "R2")]
    requests = [AllocationRequest.clean("c1", pool=one.pool, places=one.places) for one in found]
    assert [(one.allocation.vid, one.created) for one in allocate_many(requests, user=user)] == [(100, False)] * 2
    places = {one.pool: {"places": one.places} for one in found}
    results = allocate_stretched("c1", pools=[one.pool for one in found], places=places, user=user)
    assert [(one.allocation.vid, one.created) for one in results] == [(100, False)] * 2


# Names that mean more than one place


def test_a_name_that_came_to_mean_two_pools(outer, group):
    group.name = "R"
    group.save()
    assert ask() == (100, True)
    nearer = add_nearer()
    # The allocation is for either of the two places with the name.
    assert ask() == (100, False)
    with pytest.raises(AmbiguousPool):
        ask("c2")
    assert ask("c2", f"site:{nearer.scope_id}") == (500, True)
    with pytest.raises(AmbiguousPool):
        ask("c2")
    assert give_back() == 100


def test_namesakes_of_which_one_is_held_stay_ambiguous():
    for name in ("S1", "S2"):
        hall = Location.objects.create(name="Hall", slug="hall", site=make_site(name))
        if name == "S1":
            make_pool(scope=hall, segments=2, name="First")
            assert ask(site="Hall") == (100, True)
    make_pool(scope=hall, segments=2, name="Second", container="10.6.0.0/16", slug="second")
    with pytest.raises(AmbiguousPool):
        ask(site="Hall")


# Allocations without recorded places


def test_unknown_places_are_all_that_the_pool_is_around(outer):
    ask()
    forget_places()
    add_nearer()
    assert ask() == (100, False)
    assert ask(site="R") == (100, False)
    add_nearer("R3", container="10.7.0.0/16")
    assert ask(site="R3") == (100, False)
    make_site("Elsewhere")
    add_nearer("Elsewhere", container="10.8.0.0/16")
    assert ask(site="Elsewhere") == (500, True)


def test_the_nearest_of_those_around_it(outer, group, user):
    top = SiteGroup.objects.create(name="Top", slug="top")
    SiteGroup.objects.filter(pk=group.pk).update(parent=top)
    SiteGroup.objects.get(pk=group.pk).save()
    widest = make_pool(scope=top, segments=1, name="Widest", container="10.9.0.0/16", vid_ranges=((900, 999),))
    allocate("c1", pool=widest, user=user)
    allocate("c1", pool=outer, user=user)
    forget_places()
    add_nearer()
    assert ask() == (100, False)


def test_the_serving_pool_comes_before_those_around(outer, user):
    nearer = add_nearer()
    for pool in (outer, nearer):
        allocate("c1", pool=pool, user=user)
    forget_places()
    assert ask() == (500, False)


# Permissions


@pytest.fixture
def c1_at_both(outer):
    """c1 holds VLAN 100 of the outer pool for R, and a nearer pool serves R."""
    ask()
    return add_nearer()


def ask_as(user, cluster="c1", name="allocate-vlan"):
    return client_of(user).post(url_of(name), {"cluster_name": cluster, "site": "R", "vrf": VRF}, format="json")


def test_the_pool_that_holds_is_enough(outer, c1_at_both):
    user = permit(make_user("bob"), outer, "allocate", "release")
    answer = ask_as(user).json()
    assert (answer["vlan_id"], answer["created"], answer["pool"]) == (100, False, outer.pk)
    # The pool that serves the place is hidden, as for clusters that hold nothing.
    assert ask_as(user, "c2").status_code == 404
    assert ask_as(user, name="release-vlan").status_code == 200
    assert ask_as(user).status_code == 404


def test_a_pool_that_may_be_seen_and_not_used_is_refused(outer, c1_at_both):
    user = permit(make_user("bob"), outer, "view")
    user = permit(user, c1_at_both, "allocate", "release")
    for name in ("allocate-vlan", "release-vlan"):
        answer = ask_as(user, name=name)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        assert "Outer" in answer.json()["detail"]
    assert Allocation.objects.active().count() == 1
    with pytest.raises(PermissionDenied):
        ask(viewer=user)


def test_a_hidden_pool_is_as_if_it_were_not_there(outer, c1_at_both):
    user = permit(make_user("bob"), c1_at_both, "allocate", "release")
    held, new = ask_as(user).json(), ask_as(user, "c2").json()
    assert (held["vlan_id"], held["created"], new["vlan_id"]) == (500, True, 501)
    assert held.keys() == new.keys()
    assert (ask_as(user).json()["vlan_id"], ask()) == (500, (100, False))
    assert ask_as(user, name="release-vlan").status_code == 200
    assert ask_as(user, name="release-vlan").json()["code"] == "allocation_not_found"


def test_a_visible_serving_pool_is_no_way_to_one_that_holds(outer, c1_at_both):
    user = permit(make_user("bob"), SegmentPool, "view")
    assert ask_as(user).status_code == ask_as(user, "c2").status_code == 403


def test_rest_allocations_go_the_same_way(outer, c1_at_both):
    client = client_of(permit(make_user("bob"), outer, "allocate"))
    names = {"cluster_name": "c1", "site": "R", "vrf": VRF}
    answer = client.post(url_of("allocation-list"), names, format="json")
    assert (answer.status_code, answer.json()["vid"], answer.json()["outcome"]) == (200, 100, "held")
    answer = client.post(url_of("allocation-list"), [names], format="json")
    assert (answer.status_code, answer.json()[0]["vid"]) == (200, 100)
    answer = client.post(url_of("allocation-list"), {**names, "dry_run": True}, format="json")
    assert (answer.status_code, answer.json()["vid"]) == (200, 100)


# Queries


def test_a_replay_takes_three_queries_in_every_case(outer, django_assert_num_queries):
    ask(site="G")
    add_nearer("R3")
    ask(site="R3")
    for site in ("G", "R3"):
        with django_assert_num_queries(3):
            assert not ask(site=site)[1]


def test_one_more_where_another_pool_holds(outer, django_assert_num_queries):
    ask()
    add_nearer()
    with django_assert_num_queries(4):
        assert ask() == (100, False)


# Pages


def test_pages_say_what_is_held_elsewhere(client, outer):
    admin = make_user("root", is_superuser=True)
    client.force_login(admin)
    ask()
    ask("c2", "R2")
    nearer = add_nearer()
    vrfs = {pool.pk: pool.vrf_id for pool in (nearer, outer)}
    assert held_elsewhere(vrfs, admin) == {nearer.pk: 1, outer.pk: 0}
    assert held_elsewhere(vrfs, permit(make_user("bob"), nearer, "view")) == {nearer.pk: 0, outer.pk: 0}
    rows = client_of(admin).get(url_of("statistics")).json()
    assert {row["pool"]: row["held_elsewhere"] for row in rows} == {nearer.pk: 1, outer.pk: 0}
    response = client_of(admin).get(url_of("export-statistics"), {"format": "json"})
    rows = json.loads(b"".join(response.streaming_content))
    assert {row["pool"]: row["held_elsewhere"] for row in rows} == {nearer.pk: 1, outer.pk: 0}
    page = client.get(nearer.get_absolute_url()).content.decode()
    assert re.search(r"Held in other pools for its places</th>\s*<td>\s*<div[^>]*>\s*<span[^>]*>1</span>", page)
    page = client.get(Allocation.objects.get(cluster_name="c1").get_absolute_url()).content.decode()
    assert f'<a href="{make_site("R").get_absolute_url()}">R</a>' in page


def test_what_is_held_elsewhere_tells_nothing_of_hidden_pools(outer):
    hall = Location.objects.create(name="Hall", slug="hall", site=make_site("R"))
    ask("c1", "Hall")
    nearer = add_nearer()
    vrfs = {pool.pk: pool.vrf_id for pool in (nearer, outer)}
    user = permit(make_user("bob"), SegmentPool, "view", constraints={"pk__in": [*vrfs]})
    known = held_elsewhere(vrfs, user)
    assert known == {nearer.pk: 1, outer.pk: 0}
    hidden = add_nearer(hall, container="10.7.0.0/16", name="Hall", slug="hall")
    assert held_elsewhere(vrfs, user) == known
    everything = {**vrfs, hidden.pk: hidden.vrf_id}
    assert held_elsewhere(everything, make_user("root", is_superuser=True)) == {**known, nearer.pk: 0, hidden.pk: 1}


def elsewhere(pool, user):
    return held_elsewhere({pool.pk: pool.vrf_id}, user)[pool.pk]


def test_held_elsewhere_takes_a_fixed_number_of_queries(outer, django_assert_num_queries, group):
    admin = make_user("root", is_superuser=True)
    site = make_site("R")
    hall = Location.objects.create(name="Hall", slug="hall", site=site)
    ask()
    ask("c2", "Hall")
    ask("c3", "G")
    nearer = add_nearer()
    with django_assert_num_queries(6):
        assert elsewhere(nearer, admin) == 2
    room = Location.objects.create(name="Room", slug="room", site=site, parent=hall)
    ask("c4", "Room")
    assert elsewhere(nearer, admin) == 2
    add_nearer(room, container="10.7.0.0/16", name="Room", slug="room")
    for number in range(3):
        ask(f"d{number}", "R2")
    with django_assert_num_queries(6):
        assert elsewhere(nearer, admin) == 2


# Imports


def import_row(user, cluster="c1", pool="nearer-r", vlan_id=510, **columns):
    """Import a segment with a cluster, and return the warnings of its row."""
    row = {"pool": pool, "vlan_id": str(vlan_id), "epg_name": f"EPG_{vlan_id}", "cluster_name": cluster, **columns}
    (result,) = import_segments([(None, {"segment": "10.5.99.0/24", **row})], user=user, dry_run=True).results
    assert result.errors == {}
    return result.warnings


@pytest.mark.parametrize("are_places_known", [True, False])
def test_an_import_warns_of_what_a_cluster_holds_elsewhere(outer, are_places_known):
    admin = make_user("root", is_superuser=True)
    ask()
    ask("c2", "R2")
    nearer = add_nearer()
    if not are_places_known:
        forget_places()
    warning = ["Cluster c1 also holds VLAN ID 100 of pool Outer for the same place."]
    assert import_row(admin) == warning
    assert import_row(admin, "c3, C1") == [warning[0].replace("c1", "C1")]
    assert import_row(admin, purpose="backup") == []
    assert import_row(admin, "c2") == (
        [] if are_places_known else [warning[0].replace("c1", "c2").replace("100", "101")]
    )
    # In the other direction, the nearer pool does not serve a place around its own.
    allocate("c4", pool=nearer, user="operator")
    forget_places()
    assert import_row(admin, "c4", "outer", 150, segment="10.0.99.0/24") == []
    give_back()
    assert import_row(admin) == []


def test_an_import_warns_of_no_hidden_pool(outer):
    ask()
    user = permit(make_user("bob"), add_nearer(), "view", "allocate")
    user = permit(user, Segment, "add", "change")
    assert import_row(user) == []
    # The permission to view a pool does not include its allocations.
    user = permit(user, outer, "view")
    assert import_row(user) == []
    knows = permit(user, Allocation, "view")
    assert len(import_row(knows)) == 1


def test_an_import_warns_of_what_an_allocation_would_answer(outer):
    ask()
    user = permit(make_user("bob"), add_nearer(), "view", "allocate")
    user = permit(user, Segment, "add", "change")
    assert import_row(user) == []
    user = permit(user, outer, "allocate")
    assert len(import_row(user)) == 1


def test_an_import_says_the_same_as_its_dry_run(outer):
    """The warnings agree even if one file gives a cluster a segment in both pools."""
    admin = make_user("root", is_superuser=True)
    ask()
    add_nearer()
    rows = [
        (None, {"pool": pool, "vlan_id": vid, "epg_name": f"EPG_{vid}", "segment": network, "cluster_name": cluster})
        for pool, vid, network, cluster in (
            ("nearer-r", "510", "10.5.90.0/24", "c1"),
            ("nearer-r", "511", "10.5.91.0/24", "c2"),
            ("outer", "150", "10.0.92.0/24", "c2"),
        )
    ]
    tried, done = (
        [result.warnings for result in import_segments(rows, user=admin, dry_run=dry_run).results]
        for dry_run in (True, False)
    )
    assert tried == done
    assert [len(warnings) for warnings in done] == [1, 0, 0]


def test_warnings_of_an_import_take_a_fixed_number_of_queries(outer, django_assert_num_queries):
    for number in range(6):
        ask(f"c{number}")
    nearer = add_nearer()
    for keys in ({"C1"}, {"C2", "C3", "C4"}):
        with django_assert_num_queries(5):
            assert holdings_elsewhere({nearer}, keys, None).keys() == {(nearer.pk, key, "") for key in keys}
    with django_assert_num_queries(1):
        assert holdings_elsewhere({nearer}, {"C9"}, None) == {}


def test_the_preview_of_an_import_shows_its_warnings_first(client, outer):
    client.force_login(make_user("root", is_superuser=True))
    ask()
    add_nearer()
    rows = "pool,vlan_id,epg_name,segment,cluster_name\n"
    rows += "nearer-r,590,EPG_590,10.5.90.0/24,c9\nnearer-r,591,EPG_591,10.5.91.0/24,c1\n"
    url = reverse("plugins:netbox_vlan_manager:segment_bulk_import")
    response = client.post(url, {"import_method": "direct", "data": rows, "_preview": ""})
    page = response.content.decode()
    assert page.index("EPG_591") < page.index("holds VLAN ID 100 of pool Outer") < page.index("EPG_590")
    # The page shows the values of the row, without separators for empty ones.
    assert re.search(r"10\.5\.91\.0/24\s*&middot; <bdi>nearer-r</bdi>\s*</div>", page)
