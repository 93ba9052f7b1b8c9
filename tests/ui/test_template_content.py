"""The panels on the pages of NetBox's own objects."""

import re
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VLAN, VRF, Prefix, VLANGroup
from netbox.registry import registry
from netbox_vlan_manager import template_content
from netbox_vlan_manager.exceptions import PoolNotFound
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release_allocation
from netbox_vlan_manager.services.base.resolution import resolve_pool
from tests.factories import make_pool, make_site, make_user, make_vrf, permit
from virtualization.models import Cluster, ClusterType

pytestmark = pytest.mark.django_db

LISTS = "/plugins/vlan-manager"
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def admin():
    return make_user("root", is_superuser=True)


@pytest.fixture
def pool():
    return make_pool(segments=3)


@pytest.fixture
def cluster():
    return Cluster.objects.create(name="prod-01", type=ClusterType.objects.create(name="K8s", slug="k8s"))


def rendered(instance, user, rf):
    """Return the plugin's panels for `user` as NetBox renders them, without the page around them."""
    request = rf.get("/")
    request.user = user
    context = {"object": instance, "request": request}
    extensions = registry["plugins"]["template_extensions"][instance._meta.label_lower]
    ours = [extension for extension in extensions if extension.__module__ == template_content.__name__]
    assert ours
    return unescape("".join(extension(context).right_page() for extension in ours))


def rows_of(content):
    """Return the rows of the table in a panel, each as a list of its cells' texts."""
    rows = re.findall(r"<tr>(.*?)</tr>", content, re.DOTALL)
    return [
        [
            " ".join(re.sub("<.*?>", " ", cell, flags=re.DOTALL).split())
            for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, re.DOTALL)
        ]
        for row in rows
    ]


def lists_of(content):
    """Return {link to a list: number} of a panel."""
    return {
        unescape(url): int(count)
        for url, count in re.findall(
            r'<a href="([^"]*)" class="list-group-item.*?<span.*?>(\d+)</span>', content, re.DOTALL
        )
    }


class TestSegment:
    @pytest.mark.parametrize("model", [VLAN, Prefix])
    def test_available(self, rf, admin, pool, model):
        segment = Segment.objects.get(vid=101)
        content = rendered(getattr(segment, model._meta.model_name), admin, rf)

        assert rows_of(content) == [["Segment", "EPG_101 (101)"], ["Status", "Available"], ["Pool", "Network1 Site1"]]
        assert f'href="{segment.get_absolute_url()}"' in content
        assert f'href="{pool.get_absolute_url()}"' in content

    @pytest.mark.parametrize("model", [VLAN, Prefix])
    def test_allocated(self, rf, admin, pool, model):
        held = allocate(EVIL[:20], pool=pool, user=make_user("alice")).allocation
        content = rendered(getattr(held.segment, model._meta.model_name), admin, rf)

        rows = dict(rows_of(content))
        assert rows["Status"] == "Allocated"
        assert rows["Allocated by"] == "alice"
        assert rows["Allocated at"].startswith(str(held.allocated_at.year))
        assert f'href="{held.get_absolute_url()}"' in content

    def test_released(self, rf, admin, pool):
        held = allocate("prod-01", pool=pool, user=admin).allocation
        vlan = held.segment.vlan
        release_allocation(held, user=admin)

        assert "prod-01" not in rendered(vlan, admin, rf)

    def test_nothing_where_there_is_no_segment(self, rf, admin, pool):
        vlan = VLAN.objects.create(vid=500, name="Other", group=pool.vlan_group)
        prefix = Prefix.objects.create(prefix="10.99.0.0/24", vrf=pool.vrf)

        assert rendered(vlan, admin, rf).strip() == ""
        assert rendered(prefix, admin, rf).strip() == ""

    def test_shows_what_the_user_may_view_only(self, rf, pool):
        held = allocate("prod-01", pool=pool, user=make_user()).allocation
        vlan = held.segment.vlan
        user = permit(make_user("alice"), held.segment, "view")
        assert rows_of(rendered(vlan, user, rf)) == [["Segment", "EPG_100 (100)"], ["Status", "Allocated"]]

        assert "Network1 Site1" in rendered(vlan, permit(user, pool, "view"), rf)
        assert "prod-01" in rendered(vlan, permit(user, held, "view"), rf)
        assert rendered(Segment.objects.get(vid=101).vlan, user, rf).strip() == ""


class TestContainer:
    def test_shows_its_pools(self, rf, admin, pool):
        allocate("prod-01", pool=pool, user=admin)
        content = rendered(pool.prefixes.get(), admin, rf)

        assert rows_of(content)[1] == ["Network1 Site1 Network1 site Site1", "1 of 3", "2", "33.3%"]

    def test_not_those_that_may_not_be_viewed(self, rf, pool):
        user = permit(make_user("alice"), make_pool(scope="Site2", container="10.1.0.0/16"), "view")

        assert rendered(pool.prefixes.get(), user, rf).strip() == ""


class TestPlaces:
    @pytest.fixture
    def places(self):
        """Europe and Sites contain Site1, which contains Hall and Cage; Europe also contains Site2."""
        region = Region.objects.create(name="Europe", slug="europe")
        group = SiteGroup.objects.create(name="Sites", slug="sites")
        site = make_site("Site1", region=region, group=group)
        make_site("Site2", region=region)
        hall = Location.objects.create(name="Hall", slug="hall", site=site)
        cage = Location.objects.create(name="Cage", slug="cage", site=site, parent=hall)
        return {"region": region, "group": group, "site": site, "hall": hall, "cage": cage}

    @pytest.fixture
    def pools(self, places):
        """A pool for each place, in its own VRF, and another one for Site1 in the region's VRF."""
        pools = {
            name: make_pool(vrf=f"VRF-{name}", scope=place, container=f"10.{index}.0.0/16", segments=index)
            for index, (name, place) in enumerate(places.items(), 1)
        }
        pools["nearer"] = make_pool(
            vrf="VRF-region", scope=places["site"], container="10.9.0.0/16", vlan_group=pools["site"].vlan_group
        )
        return pools

    @pytest.mark.parametrize(
        ("place", "own", "enclosing"),
        [
            ("region", ["region"], []),
            ("group", ["group"], []),
            ("site", ["nearer", "site"], ["group"]),
            ("hall", ["hall"], ["group", "nearer", "site"]),
            ("cage", ["cage"], ["group", "hall", "nearer", "site"]),
        ],
    )
    def test_own_pools_and_those_of_enclosing_places(self, rf, admin, places, pools, place, own, enclosing):
        rows = rows_of(rendered(places[place], admin, rf))[1:]

        names = [pools[name].name for name in own]
        assert sorted(name for name in names if any(row[0].startswith(name) for row in rows[: len(own)])) == sorted(
            names
        )
        assert all(" from " not in row[0] for row in rows[: len(own)])
        assert [row[0].split(" from ")[1] for row in rows[len(own) :]] == [
            f"{pools[name].scope._meta.verbose_name} {pools[name].scope}"
            for name in sorted(enclosing, key=lambda name: pools[name].name)
        ]

    @pytest.mark.parametrize("place", ["region", "group", "site", "hall", "cage"])
    def test_shows_what_callers_get(self, rf, admin, places, pools, place):
        """The panel shows the pools that resolve_pool() finds for the place in each VRF."""
        content = rendered(places[place], admin, rf)

        for vrf in VRF.objects.all():
            try:
                pool = resolve_pool(places[place].name, vrf.name).pool
            except PoolNotFound:
                assert vrf.name not in content
            else:
                assert f'href="{pool.get_absolute_url()}"' in content

    def test_leads_to_the_pools_inside(self, client, rf, admin, places, pools):
        for place, parameter, count in (
            ("region", "region_id", 5),
            ("group", "site_group_id", 5),
            ("site", "site_id", 4),
            ("hall", "location_id", 2),
        ):
            lists = lists_of(rendered(places[place], admin, rf))
            url = f"{LISTS}/pools/?{parameter}={places[place].pk}"
            assert lists == {url: count}
            client.force_login(admin)
            assert len(client.get(url).context["table"].rows) == count
        assert lists_of(rendered(places["cage"], admin, rf)) == {}

    def test_a_place_with_pools_only_inside(self, rf, admin, places):
        make_pool(scope=places["cage"])
        content = rendered(places["region"], admin, rf)

        assert "<table" not in content
        assert list(lists_of(content).values()) == [1]

    def test_nothing_without_pools(self, rf, admin, places):
        for place in places.values():
            assert rendered(place, admin, rf).strip() == ""

    def test_a_pool_that_may_not_be_viewed_still_serves(self, rf, places, pools):
        """The region's pool does not serve the site: a pool that the user may not view does, and stays hidden."""
        user = permit(make_user("alice"), pools["region"], "view")

        assert rendered(places["site"], user, rf).strip() == ""
        assert pools["region"].name in rendered(places["region"], user, rf)

    def test_nothing_of_others_pools(self, rf, places, pools):
        user = permit(make_user("alice"), pools["cage"], "view")

        for name, place in places.items():
            content = rendered(place, user, rf)
            for other in pools.keys() - {"cage"}:
                assert pools[other].name not in content
            assert list(lists_of(content).values()) == ([] if name == "cage" else [1])

    def test_many_pools_are_cut_short(self, client, rf, admin, places):
        for number in range(12):
            make_pool(
                vrf=f"VRF{number}",
                scope=places["site"] if number else places["region"],
                container=f"10.{number}.0.0/16",
            )
        content = rendered(places["site"], admin, rf)

        assert len(rows_of(content)) == 11
        served = next(url for url in lists_of(content) if "id=" in url and "site_id" not in url)
        assert lists_of(content)[served] == 12
        client.force_login(admin)
        assert len(client.get(served).context["table"].rows) == 12


class TestVRFAndVLANGroup:
    def test_shows_their_pools(self, rf, admin, pool):
        make_pool(scope="Site2", container="10.1.0.0/16", vlan_group=pool.vlan_group)
        make_pool(vrf="Network2", container="10.2.0.0/16")

        assert [row[0] for row in rows_of(rendered(pool.vrf, admin, rf))[1:]] == [
            "Network1 Site1 site Site1",
            "Network1 Site2 site Site2",
        ]
        assert [row[0] for row in rows_of(rendered(pool.vlan_group, admin, rf))[1:]] == [
            "Network1 Site1 Network1 site Site1",
            "Network1 Site2 Network1 site Site2",
        ]

    def test_many_are_cut_short(self, rf, admin):
        for number in range(12):
            make_pool(scope=f"Site{number}", container=f"10.{number}.0.0/16")
        vrf = make_vrf()
        content = rendered(vrf, admin, rf)

        assert len(rows_of(content)) == 11
        assert lists_of(content) == {f"{LISTS}/pools/?vrf_id={vrf.pk}": 12}

    def test_nothing_of_others_pools(self, rf, pool):
        other = make_pool(scope="Site2", container="10.1.0.0/16", vlan_group=pool.vlan_group)
        user = permit(make_user("alice"), other, "view")

        for instance in (pool.vrf, pool.vlan_group):
            content = rendered(instance, user, rf)
            assert "Network1 Site2" in content
            assert "Site1" not in content

    def test_a_paused_pool_says_so(self, rf, admin, pool):
        SegmentPool.objects.update(status="paused")

        assert "Paused" in rows_of(rendered(pool.vrf, admin, rf))[1][0]

    @pytest.mark.parametrize(("allocated", "color"), [(1, "bg-success"), (2, "bg-warning"), (3, "bg-danger")])
    def test_the_bar_follows_the_pool_s_thresholds(self, rf, admin, pool, allocated, color):
        SegmentPool.objects.update(warning_threshold=50, critical_threshold=90)
        for number in range(allocated):
            allocate(f"prod-{number}", pool=pool, user=admin)

        assert color in rendered(pool.vrf, admin, rf)


class TestCluster:
    @pytest.fixture
    def held(self, cluster, pool):
        return allocate(cluster.name, pool=pool, user=make_user()).allocation

    def test_shows_what_it_holds(self, rf, admin, cluster, held):
        other = allocate("prod-01", pool=held.pool, purpose="storage", user=admin).allocation
        release_allocation(allocate("prod-01", pool=held.pool, purpose="old", user=admin).allocation, user=admin)
        allocate("prod-02", pool=held.pool, user=admin)
        content = rendered(cluster, admin, rf)

        (_, first, second) = rows_of(content)
        assert first[:2] == ["EPG_101 (101) 10.0.1.0/24 storage", "Network1 Site1"]
        assert second[:2] == ["EPG_100 (100) 10.0.0.0/24", "Network1 Site1"]
        for instance in (held, other, held.segment, held.pool):
            assert f'href="{instance.get_absolute_url()}"' in content
        assert lists_of(content) == {f"{LISTS}/allocations/?cluster_id={cluster.pk}&status=active": 2}

    def test_leads_to_the_list(self, client, rf, admin, cluster, held):
        client.force_login(admin)
        (url,) = lists_of(rendered(cluster, admin, rf))

        assert [row.record for row in client.get(url).context["table"].rows] == [held]

    def test_leads_to_the_form_with_its_name(self, client, rf, admin, cluster):
        Cluster.objects.update(name='a & "b" ü')
        cluster.refresh_from_db()
        content = rendered(cluster, admin, rf)
        url = re.search(f'href="({LISTS}/allocations/allocate/.*?)"', content)[1]
        client.force_login(admin)
        response = client.get(url)

        assert response.context["allocate_form"]["cluster_name"].value() == cluster.name
        assert response.context["return_url"] == cluster.get_absolute_url()

    def test_the_button_is_for_who_may_allocate(self, rf, cluster, held):
        user = permit(make_user("alice"), Allocation, "view")
        assert "allocate/?cluster_name" not in rendered(cluster, user, rf)

        assert "allocate/?cluster_name" in rendered(cluster, permit(user, SegmentPool, "allocate"), rf)

    def test_nothing_without_allocations_for_who_may_not_allocate(self, rf, cluster):
        user = permit(make_user("alice"), Allocation, "view")
        assert rendered(cluster, user, rf).strip() == ""
        assert "None" in rendered(cluster, permit(user, SegmentPool, "allocate"), rf)

    def test_shows_what_the_user_may_view_only(self, rf, admin, cluster, held):
        other = allocate("prod-01", pool=held.pool, purpose="storage", user=admin).allocation
        user = permit(make_user("alice"), other, "view")
        content = rendered(cluster, user, rf)

        assert "EPG_101" in content
        assert "EPG_100" not in content
        assert list(lists_of(content).values()) == [1]
        assert f'href="{other.segment.get_absolute_url()}"' not in content
        assert f'href="{other.pool.get_absolute_url()}"' not in content


@pytest.fixture
def instances(pool, cluster):
    """One object of each kind that has a panel."""
    region = Region.objects.create(name="Europe", slug="europe")
    group = SiteGroup.objects.create(name="Sites", slug="sites")
    Site.objects.update(region=region, group=group)
    site = make_site()
    location = Location.objects.create(name="Hall", slug="hall", site=site)
    segment = allocate(cluster.name, pool=pool, user=make_user()).allocation.segment
    container = pool.prefixes.get()
    return [segment.vlan, segment.prefix, container, site, region, group, location, pool.vrf, pool.vlan_group, cluster]


def test_on_their_pages(client, admin, instances):
    """NetBox's pages show each panel once."""
    client.force_login(admin)
    for instance in instances:
        content = client.get(instance.get_absolute_url()).content.decode()
        title = {"vlan": "Segment", "cluster": "Segments"}.get(instance._meta.model_name, "Segment Pools")
        if instance._meta.model_name == "prefix" and instance.status != "container":
            title = "Segment"
        if isinstance(instance, Region | SiteGroup):
            assert f'href="{LISTS}/pools/?' in content
        assert len(re.findall(rf'<h2 class="card-header">\s*{title}\s*<', content)) == 1, instance
        assert 'class="card-header text-danger"' not in content


def test_who_may_view_nothing_gets_no_panel_and_costs_no_query(rf, instances):
    user = permit(make_user("alice"), SegmentPool, "allocate", "add")
    user.get_all_permissions()

    for instance in instances:
        with CaptureQueriesContext(connection) as queries:
            assert rendered(instance, user, rf).strip() == ""
        assert [query["sql"] for query in queries] == []


@pytest.mark.parametrize("model", [VLAN, Prefix, Site, Region, SiteGroup, Location, VRF, VLANGroup, Cluster])
def test_more_rows_take_no_more_queries(rf, instances, pool, cluster, model):
    user = make_user("alice")
    for viewed in (SegmentPool, Segment, Allocation):
        user = permit(user, viewed, "view", "allocate", constraints={"pk__gt": 0})
    user.get_all_permissions()
    instance = next(instance for instance in reversed(instances) if isinstance(instance, model))

    def count():
        rendered(instance, user, rf)
        fresh = model.objects.get(pk=instance.pk)
        with CaptureQueriesContext(connection) as queries:
            assert rendered(fresh, user, rf).strip()
        return len(queries)

    few = count()
    site = Site.objects.get()
    for number in range(1, 13):
        more = make_pool(
            vrf=f"VRF{number}",
            scope=site,
            container=f"10.{number}.0.0/16",
            segments=2,
            vid_ranges=((200 + 2 * number, 999),),
            vlan_group=pool.vlan_group,
        )
        allocate(cluster.name, pool=more, user=make_user())
        make_pool(scope=f"Other{number}", container=f"10.{100 + number}.0.0/16")
    # A container may belong to several pools.
    for other in SegmentPool.objects.all():
        other.prefixes.add(pool.prefixes.get())

    assert count() == few <= 12
