import re

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VRF
from netbox_vlan_manager.exceptions import AmbiguousPool, PoolNotFound
from netbox_vlan_manager.models import SegmentPool
from netbox_vlan_manager.services.base.resolution import (
    check_pool_permission,
    combinations,
    resolve_pool,
    resolve_pool_by_name,
    visible_pools,
)
from tests.factories import make_pool, make_site, make_user, make_vrf, permit

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(vrf=make_vrf(rd="65000:1"))


def make_region(name, parent=None):
    return Region.objects.create(name=name, slug=name.lower().replace(" ", "-"), parent=parent)


def make_group(name, parent=None):
    return SiteGroup.objects.create(name=name, slug=name.lower().replace(" ", "-"), parent=parent)


def make_location(name, site, parent=None):
    return Location.objects.create(name=name, slug=name.lower().replace(" ", "-"), site=site, parent=parent)


def resolve(site, vrf="Network1", **kwargs):
    return resolve_pool(site, vrf, **kwargs).pool


# Valid values of site and VRF


@pytest.mark.parametrize("site", ["Site1", "site1", "SITE1", " Site1 "])
def test_site_by_name_or_slug_without_case(pool, site):
    assert resolve(site) == pool


def test_site_by_a_slug_that_is_not_its_name():
    pool = make_pool(scope=make_site("Data Centre 1"))
    assert resolve("DATA-centre-1") == pool


def test_site_by_a_name_that_is_not_ascii():
    pool = make_pool(scope=make_site("Straße"))
    assert resolve("Straße") == resolve("straße") == pool


def test_site_by_id(pool):
    assert resolve(pool.scope_id) == pool


def test_site_by_id_as_text(pool):
    assert resolve(str(pool.scope_id)) == pool


@pytest.mark.parametrize("vrf", ["Network1", "network1", " NETWORK1 ", "65000:1"])
def test_vrf_by_name_or_rd_without_case(pool, vrf):
    assert resolve("Site1", vrf) == pool


def test_vrf_by_id(pool):
    assert resolve("Site1", pool.vrf_id) == resolve("Site1", str(pool.vrf_id)) == pool


@pytest.mark.parametrize("make", [make_region, make_group], ids=["region", "sitegroup"])
def test_place_by_name_and_slug(make):
    pool = make_pool(scope=make("Far North"))
    assert resolve("far north") == resolve("far-north") == pool


def test_location_by_name_and_slug():
    pool = make_pool(scope=make_location("Hall A", make_site()))
    assert resolve("hall a") == resolve("hall-a") == pool


def test_id_is_a_site_s_and_no_other_place_s():
    region = make_region("North")
    make_pool(scope=region)
    make_pool(scope=make_group("South"))
    with pytest.raises(PoolNotFound):
        resolve(region.pk)
    with pytest.raises(PoolNotFound):
        resolve(str(region.pk))


@pytest.mark.parametrize("kind", ["location", "site", "site_group", "region"])
def test_id_that_says_whose_it_is(kind):
    site = make_site("Site1", region=make_region("Region"), group=make_group("Group"))
    places = {"location": make_location("Hall", site), "site": site, "site_group": site.group, "region": site.region}
    pools = {name: make_pool(scope=place, name=name, slug=name) for name, place in places.items()}
    place = places[kind]
    assert resolve(f"{kind}:{place.pk}") == resolve(f" {kind.upper()}:{place.pk} ") == pools[kind]
    with pytest.raises(PoolNotFound):
        resolve(f"{kind}:{place.pk + 1000}")


@pytest.mark.parametrize(
    "site", ["hall:1", "location:", "location:x", "location:-1", "location: 1", f"region:{10**18}"]
)
def test_what_is_no_typed_id_is_a_name(pool, site):
    with pytest.raises(PoolNotFound):
        resolve(site)


@pytest.mark.parametrize(
    ("called", "site"), [("slug", "data-centre"), ("name", "Data Centre"), ("asked", "DATA-centre")]
)
def test_what_answers_call_the_place(settings, called, site):
    settings.PLUGINS_CONFIG = {
        "netbox_vlan_manager": settings.PLUGINS_CONFIG["netbox_vlan_manager"] | {"site_in_answers": called}
    }
    region = make_region("North")
    place = make_site("Data Centre", region=region)
    pool = make_pool(scope=region)
    assert resolve_pool("DATA-centre", "Network1") == (pool, site, (f"dcim.site:{place.pk}",), True)


def test_pools_of_other_vrfs_and_sites_are_not_meant(pool):
    make_pool("Network2")
    make_pool(scope="Site2")
    assert resolve("Site1") == pool


@pytest.mark.parametrize("value", [None, "", "  ", True, False, 1.5, ["Site1"], {"name": "Site1"}, b"Site1"])
def test_neither_id_nor_name(value):
    with pytest.raises(ValidationError) as caught:
        resolve_pool(value, "Network1")
    assert caught.value.message_dict == {"site": ["Name the site by its id, slug or name."]}


def test_all_missing_values_are_reported_together():
    with pytest.raises(ValidationError) as caught:
        resolve_pool(None, "")
    assert set(caught.value.message_dict) == {"site", "vrf"}


@pytest.mark.parametrize("value", ["Site\0", "\0", "Site\ud800", "\udfff"], ids=ascii)
def test_text_that_the_database_cannot_hold(pool, value):
    with pytest.raises(ValidationError) as caught:
        resolve_pool(value, value)
    assert set(caught.value.message_dict) == {"site", "vrf"}


@pytest.mark.parametrize(
    "value", [0, -1, 2**31, 2**63, 2**70, -(2**70), "9" * 18, "9" * 19, "9" * 5000, "x" * 5000, "%", "_"]
)
def test_strange_values_find_nothing(pool, value):
    with pytest.raises(PoolNotFound):
        resolve(value)
    with pytest.raises(PoolNotFound):
        resolve("Site1", value)


# The nearest enclosing pool


@pytest.fixture
def places():
    """Nested places, the innermost first: the order in which the pool of the room is searched."""
    country = make_region("Country")
    city = make_region("City", parent=country)
    company = make_group("Company")
    branch = make_group("Branch", parent=company)
    site = make_site("Campus", region=city, group=branch)
    hall = make_location("Hall", site)
    room = make_location("Room", site, parent=hall)
    return [room, hall, site, branch, company, city, country]


def test_nearest_pool_is_found_all_the_way_out(places):
    room = places[0]
    for place in reversed(places):
        pool = make_pool(scope=place, slug=place.slug)
        assert resolve(room.name) == pool


def test_site_does_not_find_the_pool_of_a_location_in_it(places):
    make_pool(scope=places[0])
    with pytest.raises(PoolNotFound):
        resolve("Campus")


def test_site_group_finds_the_pool_of_the_group_around_it(places):
    pool = make_pool(scope=places[4])
    assert resolve("Branch") == pool


def test_region_finds_the_pool_of_the_region_around_it(places):
    pool = make_pool(scope=places[6])
    assert resolve("City") == pool


def test_site_without_group_and_region_finds_nothing(pool):
    make_site("Alone")
    with pytest.raises(PoolNotFound):
        resolve("Alone")


def test_nearest_pool_is_that_of_the_vrf(places):
    make_pool("Network2", scope=places[2])
    pool = make_pool("Network1", scope=places[6])
    assert resolve("Campus", "Network1") == pool


def test_nearest_pool_for_a_site_by_id(places):
    pool = make_pool(scope=places[6])
    assert resolve(places[2].pk) == pool


def test_paused_pool_is_still_the_nearest(places):
    make_pool(scope=places[6])
    paused = make_pool(scope=places[2], status="paused", slug="paused")
    assert resolve("Campus") == paused


# Two matches


def test_two_places_of_one_name_are_an_error_naming_both_pools():
    first = make_pool(scope=make_site("North"), name="First")
    second = make_pool(scope=make_region("North"), name="Second")
    with pytest.raises(AmbiguousPool) as caught:
        resolve("north")
    assert str(caught.value) == (
        "Site 'north' and VRF 'Network1' match more than one pool: "
        f"First (site 'site:{first.scope_id}', VRF '{first.vrf_id}', pool {first.pk}), "
        f"Second (site 'region:{second.scope_id}', VRF '{first.vrf_id}', pool {second.pk}). "
        "Use the names or the id of one of them."
    )
    assert caught.value.code == "invalid"


def test_names_in_ambiguities_and_combinations_mean_one_pool():
    pools = set()
    for rd, site in (("1:1", "Site1"), ("1:1", "Site2"), (None, "Site1"), (None, "Site2")):
        vrf = VRF.objects.get_or_create(name="Shared", rd=rd)[0]
        hall = Location.objects.filter(site__name=site).first() or make_location("Hall", make_site(site))
        pools.add(make_pool(vrf=vrf, scope=hall, name=f"{rd} {site}", slug=f"{vrf.pk}-{hall.pk}"))
    with pytest.raises(AmbiguousPool) as caught:
        resolve("Hall", "Shared")
    named = re.findall(r"site '([^']+)', VRF '([^']+)', pool (\d+)", str(caught.value))
    assert {resolve(site, vrf) for site, vrf, _pool in named} == pools
    assert {resolve_pool_by_name(pool).pool for _site, _vrf, pool in named} == pools
    assert len(set(combinations())) == 4
    assert {resolve(site, vrf) for site, vrf in combinations()} == pools


# Pools that the caller names directly


def test_pool_by_id_slug_and_name(pool):
    for value in (pool.pk, str(pool.pk), pool.slug, pool.name.upper(), f" {pool.name} "):
        assert resolve_pool_by_name(value) == (pool, "site1", (), True)
    for value in ("Nowhere", 2**63, "9" * 30, 0, -1):
        with pytest.raises(PoolNotFound):
            resolve_pool_by_name(value)
    for value in (None, "", True, "\0", ["x"]):
        with pytest.raises(ValidationError) as caught:
            resolve_pool_by_name(value)
        assert list(caught.value.message_dict) == ["pool"]


def test_pool_named_like_the_id_of_another(pool):
    other = make_pool(scope="Site2", name=str(pool.pk), slug="other")
    with pytest.raises(AmbiguousPool, match=r"Site1 .*other"):
        resolve_pool_by_name(str(pool.pk))
    assert resolve_pool_by_name(pool.pk).pool == pool
    assert resolve_pool_by_name("other").pool == other


def test_hidden_pool_is_not_there_and_a_viewed_one_is_refused(pool, hidden):
    user = permit(make_user("bob"), pool, "view")
    assert resolve_pool_by_name(pool.slug, user=user).pool == pool
    with pytest.raises(PermissionDenied):
        resolve_pool_by_name(pool.slug, user=user, action="allocate")
    texts = []
    for value in (hidden.slug, "nowhere"):
        with pytest.raises(PoolNotFound) as caught:
            resolve_pool_by_name(value, user=user, action="allocate")
        texts.append(str(caught.value).replace(value, "…"))
    assert texts[0] == texts[1]


def test_id_tells_two_places_of_one_name_apart():
    first = make_pool(scope=make_site("North"), name="First")
    make_pool(scope=make_region("North"), name="Second")
    assert resolve(first.scope_id) == first


def test_site_named_like_another_s_slug_is_ambiguous():
    make_pool(scope=make_site("North Sea"), name="First")
    make_pool(scope=Site.objects.create(name="north-sea", slug="other"), name="Second")
    with pytest.raises(AmbiguousPool, match=r"First .* Second"):
        resolve("north-sea")


def test_site_named_like_another_s_id_is_ambiguous_as_text_only():
    first = make_pool(scope="Site1", name="First")
    make_pool(scope=str(first.scope_id), name="Second")
    with pytest.raises(AmbiguousPool):
        resolve(str(first.scope_id))
    assert resolve(first.scope_id) == first


def test_locations_of_one_name_with_a_pool_each_are_ambiguous():
    for name in ("Site1", "Site2"):
        make_pool(scope=make_location("Hall", make_site(name)), name=name, slug=name)
    with pytest.raises(AmbiguousPool, match=r"Site1 .* Site2"):
        resolve("Hall")


def test_location_with_a_pool_is_not_its_namesake():
    make_pool(scope=make_location("Hall", make_site("Site1")), name="First")
    make_location("Hall", make_site("Site2"))
    make_pool(scope="Site2", name="Second")
    with pytest.raises(AmbiguousPool, match=r"First .* Second"):
        resolve("Hall")


def test_namesakes_that_one_pool_serves_are_not_ambiguous():
    region = make_region("Region")
    for name in ("Site1", "Site2"):
        make_location("Hall", make_site(name, region=region))
    pool = make_pool(scope=region)
    assert resolve("Hall") == pool


def test_namesake_that_no_pool_serves_is_not_meant():
    make_location("Hall", make_site("Site1"))
    pool = make_pool(scope=make_location("Hall", make_site("Site2")))
    assert resolve("Hall") == pool


def test_region_around_a_site_of_its_name_is_no_second_match():
    country = make_region("Country")
    berlin = make_region("Berlin", parent=country)
    make_pool(scope=country, name="Country")
    pool = make_pool(scope=make_site("Berlin", region=berlin), name="Site")
    assert resolve("Berlin") == pool


def test_region_with_a_pool_around_its_namesake_matches_too():
    berlin = make_region("Berlin")
    make_pool(scope=berlin, name="Region")
    make_pool(scope=make_site("Berlin", region=berlin), name="Site")
    with pytest.raises(AmbiguousPool):
        resolve("Berlin")


def test_vrf_name_used_twice_is_ambiguous():
    for rd in ("1:1", "1:2"):
        make_pool(vrf=VRF.objects.create(name="Shared", rd=rd), name=f"Pool {rd}", slug=rd.replace(":", "-"))
    with pytest.raises(AmbiguousPool, match=r"Pool 1:1 .* Pool 1:2"):
        resolve("Site1", "Shared")
    assert resolve("Site1", "1:2").name == "Pool 1:2"


def test_vrf_name_used_twice_is_ambiguous_for_an_enclosing_pool():
    region = make_region("North")
    make_site("Site1", region=region)
    for rd in ("1:1", "1:2"):
        make_pool(vrf=VRF.objects.create(name="Shared", rd=rd), scope=region, name=rd, slug=rd.replace(":", "-"))
    with pytest.raises(AmbiguousPool):
        resolve("Site1", "Shared")


def test_vrf_name_used_twice_is_ambiguous_if_a_pool_is_nearer():
    region = make_region("North")
    site = make_site("Site1", region=region)
    for rd, scope in (("1:1", site), ("1:2", region)):
        make_pool(vrf=VRF.objects.create(name="Shared", rd=rd), scope=scope, name=rd, slug=rd.replace(":", "-"))
    with pytest.raises(AmbiguousPool):
        resolve("Site1", "Shared")


def test_vrf_name_used_twice_with_one_pool_is_not_ambiguous():
    VRF.objects.create(name="Network1", rd="9:9")
    pool = make_pool(vrf=VRF.objects.create(name="Network1", rd="1:1"))
    assert resolve("Site1", "Network1") == pool


# Missing objects


def test_unknown_site_lists_the_combinations_that_exist(pool):
    make_pool("Network2", "Site2")
    with pytest.raises(PoolNotFound) as caught:
        resolve("Site9")
    assert caught.value.combinations == [("Site1", "Network1"), ("Site2", "Network2")]
    assert str(caught.value) == (
        "No pool serves site 'Site9' in VRF 'Network1'. These exist: Site1 in Network1, Site2 in Network2."
    )


def test_unknown_site_names_the_five_likeliest_combinations():
    for number in range(8):
        make_pool("Network1", f"Berlin-{number}", container=f"10.{number}.0.0/16")
    make_pool("Network1", "Potsdam", container="10.9.0.0/16")
    with pytest.raises(PoolNotFound) as caught:
        resolve("potsdan")
    assert len(caught.value.combinations) == 9
    asked, named = str(caught.value).split("Did you mean ")
    assert named.startswith("Potsdam in Network1, Berlin-")
    assert named.count(" in Network1") == 5
    assert asked == "No pool serves site 'potsdan' in VRF 'Network1'. "


@pytest.mark.parametrize(("site", "vrf"), [("Site1", "Network9"), ("Site2", "Network1"), ("Site9", "Network9")])
def test_unknown_combination(pool, site, vrf):
    make_pool("Network2", "Site2")
    with pytest.raises(PoolNotFound):
        resolve(site, vrf)


def test_no_pool_at_all():
    with pytest.raises(PoolNotFound, match="There is no pool that you may use"):
        resolve("Site1")


def test_combinations_name_each_kind_of_place(places):
    for index in (1, 2, 3, 5):
        make_pool(scope=places[index], slug=f"pool-{index}")
    assert [site for site, _vrf in combinations()] == ["Branch", "Campus", "City", "Hall"]


def test_combinations_stop_at_fifty():
    pool = make_pool()
    for number in range(55):
        SegmentPool(
            name=f"{number}", slug=f"{number}", vrf=pool.vrf, scope=make_site(f"S{number}"), vlan_group=pool.vlan_group
        ).save()
    assert len(combinations()) == 50


# Permissions


@pytest.fixture
def hidden():
    """A pool at Site2 in Network1, which the users of these tests may not view."""
    return make_pool(scope="Site2")


@pytest.mark.parametrize("action", ["view", "allocate", "release"])
def test_user_with_any_permission_finds_the_pool(pool, hidden, action):
    user = permit(make_user("bob"), pool, action)
    assert resolve("Site1", user=user) == pool


@pytest.mark.parametrize("action", ["add", "change", "delete"])
def test_user_with_another_permission_does_not(pool, action):
    with pytest.raises(PoolNotFound):
        resolve("Site1", user=permit(make_user("bob"), SegmentPool, action))


def test_pool_that_the_user_may_not_see_is_not_found_or_named(pool, hidden):
    user = permit(make_user("bob"), pool, "view")
    with pytest.raises(PoolNotFound) as caught:
        resolve("Site2", user=user)
    assert caught.value.combinations == [("Site1", "Network1")]
    assert str(caught.value).count("Site2") == 1


def test_hidden_pool_and_no_pool_read_the_same(pool, hidden):
    user = permit(make_user("bob"), pool, "view")
    texts = []
    for site in ("Site2", "Site9"):
        with pytest.raises(PoolNotFound) as caught:
            resolve(site, user=user)
        texts.append(str(caught.value).replace(site, "…"))
    assert texts[0] == texts[1]


def test_user_without_permission_is_told_of_no_pool(pool):
    with pytest.raises(PoolNotFound, match="There is no pool that you may use"):
        resolve("Site1", user=make_user("bob"))


def test_inactive_superuser_sees_nothing(pool):
    assert not visible_pools(make_user("gone", is_superuser=True, is_active=False)).exists()


def test_superuser_sees_all(pool, hidden):
    assert visible_pools(make_user("root", is_superuser=True)).count() == 2


def test_ambiguity_names_only_pools_that_the_user_may_see():
    for site in ("Site1", "Site2", "Site3"):
        make_pool(scope=make_location("Hall", make_site(site)), name=f"Pool {site}", slug=site)
    user = permit(make_user("bob"), SegmentPool, "view", constraints={"name__in": ["Pool Site1", "Pool Site3"]})
    with pytest.raises(AmbiguousPool) as caught:
        resolve("Hall", user=user)
    assert "Pool Site1" in str(caught.value)
    assert "Site2" not in str(caught.value)


def test_hidden_namesake_is_no_ambiguity_to_the_user():
    for site in ("Site1", "Site2"):
        make_pool(scope=make_location("Hall", make_site(site)), name=f"Pool {site}", slug=site)
    user = permit(make_user("bob"), SegmentPool, "view", constraints={"name": "Pool Site2"})
    assert resolve("Hall", user=user).name == "Pool Site2"


def test_hidden_pool_is_not_replaced_by_the_one_around_it():
    region = make_region("North")
    make_pool(scope=make_site("Site1", region=region), name="Hidden")
    make_pool(scope=region, name="Around")
    with pytest.raises(PoolNotFound):
        resolve("Site1", user=permit(make_user("bob"), SegmentPool, "view", constraints={"name": "Around"}))


def test_constraint_on_the_scope_holds(pool, hidden):
    user = permit(
        make_user("bob"), SegmentPool, "allocate", constraints={"vrf__name": "Network1", "_site__slug": "site1"}
    )
    assert list(visible_pools(user)) == [pool]


def test_permission_for_an_action(pool):
    check_pool_permission(permit(make_user("bob"), pool, "allocate"), pool, "allocate")


@pytest.mark.parametrize("action", ["view", "release", "change"])
def test_permission_for_another_action_is_not_enough(pool, action):
    with pytest.raises(PermissionDenied, match=f"You may not allocate in pool {pool}"):
        check_pool_permission(permit(make_user("bob"), SegmentPool, action), pool, "allocate")


def test_permission_for_another_pool_is_not_enough(pool, hidden):
    with pytest.raises(PermissionDenied):
        check_pool_permission(permit(make_user("bob"), hidden, "allocate"), pool, "allocate")


# Queries


@pytest.mark.parametrize("site", ["Site1", "SITE1", 0], ids=["name", "case", "id"])
def test_direct_hit_takes_two_queries(pool, django_assert_num_queries, site):
    site = site or pool.scope_id
    resolve(site)
    with django_assert_num_queries(2):
        found = resolve(site)
        assert found.vrf.name == "Network1"


def test_direct_hit_of_a_user_takes_no_more(pool, django_assert_num_queries):
    user = permit(make_user("bob"), pool, "allocate")
    resolve("Site1", user=user)
    with django_assert_num_queries(2):
        resolve("Site1", user=user)


def test_queries_for_an_enclosing_pool_do_not_grow(places, django_assert_max_num_queries):
    pool = make_pool(scope=places[6])
    for number in range(20):
        make_pool(scope=f"Site{number}", slug=f"pool-{number}")
    resolve("Room")
    with django_assert_max_num_queries(13):
        assert resolve("Room") == pool
