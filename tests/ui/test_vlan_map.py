import gzip
import os
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from ipam.models import VLAN, VLANGroup
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.reporting.vlan_map import vlan_map
from tests.benchmarks.world import fill
from tests.factories import make_pool, make_segment, make_user, permit
from tests.stack.database import Database

pytestmark = pytest.mark.django_db

MAX_SIZE = 150_000


@pytest.fixture
def admin(client):
    user = make_user("root", is_superuser=True)
    client.force_login(user)
    return user


@pytest.fixture
def user(client):
    """A user who may view pools, and nothing else."""
    user = permit(make_user("viewer"), SegmentPool, "view")
    client.force_login(user)
    return user


def map_url(pool):
    return reverse("plugins:netbox_vlan_manager:segmentpool_map", kwargs={"pk": pool.pk})


def show(client, pool):
    response = client.get(map_url(pool))
    assert response.status_code == 200
    return response.content.decode()


def cell(content, vid):
    """Return the HTML of a VLAN ID's cell."""
    (found,) = re.findall(rf'<(?:a|span) [^>]*aria-label="VLAN {vid}, [^>]*>', content)
    return found


def label(content, vid):
    return re.search(r'aria-label="(.*?)"', cell(content, vid))[1]


def href(content, vid):
    found = re.search(r'href="(.*?)"', cell(content, vid))
    return found and found[1].replace("&amp;", "&")


def legend(content):
    """Return the counts of the legend, {label: count}."""
    found = re.findall(r'aria-hidden="true"></span>\s*(.*?)\s*<span class="text-secondary">([\d,]+)</span>', content)
    return {name: int(count.replace(",", "")) for name, count in found}


def test_tells_vid_status_cidr_epg_and_cluster(client, admin):
    pool = make_pool(segments=4, vid_ranges=((100, 109),))
    allocate("prod-01", pool=pool, user=admin)
    Segment.objects.filter(vid=102).update(status="quarantined")
    Segment.objects.filter(vid=103).update(status="disabled")

    content = show(client, pool)
    assert [label(content, vid) for vid in range(100, 105)] == [
        "VLAN 100, Allocated, 10.0.0.0/24, EPG_100, prod-01",
        "VLAN 101, Available, 10.0.1.0/24, EPG_101",
        "VLAN 102, Quarantined, 10.0.2.0/24, EPG_102",
        "VLAN 103, Disabled, 10.0.3.0/24, EPG_103",
        "VLAN 104, Unused",
    ]
    statuses = ("allocated", "available", "quarantined", "disabled", "unused")
    assert all(f'class="is-{status}"' in cell(content, 100 + number) for number, status in enumerate(statuses))
    assert legend(content) == {
        "Available": 1,
        "Allocated": 1,
        "Quarantined": 1,
        "Disabled": 1,
        "Unused": 6,
        "Taken": 0,
    }


def test_a_click_opens_the_segment_or_adds_one(client, admin):
    pool = make_pool(segments=1)
    allocate("prod-01", pool=pool, user=admin)

    content = show(client, pool)
    assert href(content, 100) == Segment.objects.get().get_absolute_url()
    form = client.get(href(content, 101)).context["form"]
    assert (form.initial["pool"], form.initial["vid"]) == (str(pool.pk), "101")
    rendered = client.get(href(content, 101)).content.decode()
    assert re.search(r'<input[^>]*name="vid"[^>]*value="101"|<input[^>]*value="101"[^>]*name="vid"', rendered)
    assert re.search(rf'<option value="{pool.pk}"\s+selected\s*>{pool}<', rendered)


def test_back_to_the_map_after_a_segment_was_added(client, admin):
    pool = make_pool()
    url = href(show(client, pool), 101)
    values = {"pool": pool.pk, "vid": 101, "epg_name": "EPG_101", "prefix": "10.0.1.0/24"}

    assert client.post(url, values).url == map_url(pool)
    assert label(show(client, pool), 101) == "VLAN 101, Available, 10.0.1.0/24, EPG_101"


def test_only_who_may_add_segments_is_led_to_the_form(client, user):
    pool = make_pool()
    assert href(show(client, pool), 101) is None
    assert "Choose a VLAN ID" not in show(client, pool)

    permit(user, Segment, "add")
    assert href(show(client, pool), 101)
    assert "Choose a VLAN ID" in show(client, pool)


class TestPermissions:
    @pytest.fixture
    def pool(self, user):
        pool = make_pool(segments=2)
        for name in ("prod-01", "prod-02"):
            allocate(name, pool=pool, user=user.__class__.objects.create(username=name, is_superuser=True))
        return pool

    def test_of_segments(self, client, user, pool):
        permit(user, Segment.objects.get(vid=101), "view")

        content = show(client, pool)
        assert label(content, 100) == "VLAN 100, Taken"
        assert href(content, 100) is None
        assert label(content, 101) == "VLAN 101, Allocated, 10.0.1.0/24, EPG_101"
        assert (legend(content)["Allocated"], legend(content)["Taken"]) == (1, 1)
        assert not re.search("10.0.0.0/24|EPG_100|prod-0", content)

    def test_of_allocations(self, client, user, pool):
        permit(user, Segment, "view")
        permit(user, Allocation.objects.get(vid=101), "view")

        content = show(client, pool)
        assert label(content, 100) == "VLAN 100, Allocated, 10.0.0.0/24, EPG_100"
        assert label(content, 101) == "VLAN 101, Allocated, 10.0.1.0/24, EPG_101, prod-02"
        assert "prod-01" not in content

    def test_a_viewable_allocation_does_not_show_its_segment(self, client, user, pool):
        permit(user, Allocation, "view")

        assert label(show(client, pool), 100) == "VLAN 100, Taken"

    def test_of_pools(self, client, user, pool):
        client.force_login(permit(make_user("other"), Segment, "view"))

        assert client.get(map_url(pool)).status_code == 403

    def test_the_tab_is_for_who_may_view_segments(self, client, user, pool):
        assert map_url(pool) not in client.get(pool.get_absolute_url()).content.decode()

        permit(user, Segment, "view")
        assert map_url(pool) in client.get(pool.get_absolute_url()).content.decode()


class TestTakenByOthers:
    @pytest.fixture
    def pool(self):
        pool = make_pool(segments=1)
        other = make_pool(scope="Site2", container="10.2.0.0/16", vlan_group=pool.vlan_group)
        make_segment(other, 200)
        VLAN.objects.create(vid=300, name="Printers", group=pool.vlan_group)
        VLAN.objects.create(vid=301, name="Elsewhere", group=VLANGroup.objects.create(name="Other", slug="other"))
        return pool

    def test_shows_what_the_user_may_view(self, client, admin, pool):
        content = show(client, pool)

        assert label(content, 200) == "VLAN 200, Taken, 10.2.0.0/24, EPG_200"
        assert href(content, 200) == Segment.objects.get(vid=200).get_absolute_url()
        assert label(content, 300) == "VLAN 300, Taken, Printers"
        assert href(content, 300) == VLAN.objects.get(vid=300).get_absolute_url()
        assert label(content, 301) == "VLAN 301, Unused"
        assert legend(content)["Taken"] == 2

    def test_no_more_than_that(self, client, user, pool):
        permit(user, Segment, "view", constraints={"pool": pool.pk})

        content = show(client, pool)
        assert [label(content, vid) for vid in (200, 300)] == ["VLAN 200, Taken", "VLAN 300, Taken"]
        assert [href(content, vid) for vid in (200, 300)] == [None, None]
        assert not re.search("EPG_200|10.2.0.0|Printers", content)

    def test_a_cluster_of_another_pool_is_not_the_pool_s(self, client, admin, pool):
        allocate("prod-01", pool=SegmentPool.objects.exclude(pk=pool.pk).get(), user=admin)

        assert label(show(client, pool), 200) == "VLAN 200, Taken, 10.2.0.0/24, EPG_200"


class TestRanges:
    def test_small_ones(self, client, admin):
        content = show(client, make_pool(vid_ranges=((1, 3), (95, 104), (2000, 2000), (4094, 4094))))

        assert re.findall(r'aria-label="VLAN (\d+),', content) == [
            *("1", "2", "3"),
            *map(str, range(95, 105)),
            *("2000", "4094"),
        ]
        assert re.findall(r'role="group" aria-label="VLAN IDs (\d+ to \d+)"', content) == [
            "1 to 99",
            "100 to 104",
            "2000 to 2000",
            "4094 to 4094",
        ]

    def test_cells_stand_where_their_last_two_digits_belong(self, client, admin):
        content = show(client, make_pool(vid_ranges=((112, 113),)))

        assert re.search(
            r'<div class="vlan-map-tens"><div class="vlan-map-ten"></div>'
            r'<div class="vlan-map-ten"><i></i><i></i><a [^>]*VLAN 112,[^>]*></a><a [^>]*VLAN 113,',
            content,
        )

    def test_a_segment_that_the_ranges_have_left_behind(self, client, admin):
        pool = make_pool(segments=1, vid_ranges=((100, 109),))
        VLANGroup.objects.update(vid_ranges=[(101, 105)])

        content = show(client, pool)
        assert label(content, 100) == "VLAN 100, Available, 10.0.0.0/24, EPG_100"
        assert legend(content)["Unused"] == 4

    def test_a_pool_without_segments(self, client, admin):
        content = show(client, make_pool(vid_ranges=((1, 4094),)))

        assert "The pool has no segments yet. Choose a VLAN ID to add the first one." in content
        assert legend(content)["Unused"] == 4094


def test_names_are_escaped(client, admin):
    pool = make_pool(segments=1)
    allocate("<script>alert(1)</script>", pool=pool, user=admin)
    VLAN.objects.filter(vid=100).update(name='"><script>alert(2)</script>')
    VLAN.objects.create(vid=101, name='"><script>alert(3)</script>', group=pool.vlan_group)

    content = show(client, pool)
    assert "<script>alert(" not in content
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content
    assert "&quot;&gt;&lt;script&gt;alert(2)&lt;/script&gt;" in content
    assert "&quot;&gt;&lt;script&gt;alert(3)&lt;/script&gt;" in content


def test_queries(client, admin, django_assert_num_queries):
    counts = []
    pool = make_pool(vid_ranges=((1, 4094),), container="10.0.0.0/8")
    for first in (1, 11):
        for vid in range(first, first + first):
            make_segment(pool, vid, vid)
            allocate(f"prod-{vid}", pool=pool, user=admin)
        VLAN.objects.bulk_create(
            VLAN(vid=1000 + first + number, name=f"{first}-{number}", group=pool.vlan_group) for number in range(first)
        )
        show(client, pool)
        with CaptureQueriesContext(connection) as queries:
            show(client, pool)
        counts.append(len(queries))

    assert counts[0] == counts[1]
    pool = SegmentPool.objects.select_related("vlan_group").get()
    with django_assert_num_queries(4):
        vlan_map(pool, admin)


@pytest.mark.django_db(transaction=True)
def test_size_of_the_largest(client, admin, stack):
    with Database(os.environ["DB_NAME"], stack.env).connect() as database:
        fill(database, "large", 1, 4094, taken=4094)
        # Names of the greatest length.
        database.execute(
            "UPDATE ipam_vlan SET name = rpad(concat_ws('_', 'EPG', (ARRAY['PROD', 'STAGE', 'DEV'])[1 + vid % 3], "
            "'FRA', (ARRAY['WEB', 'DB', 'CACHE', 'QUEUE', 'BUILD', 'MAIL', 'DNS'])[1 + vid % 7], vid, "
            "'KUBERNETES_WORKERS_'), 64, 'OF_TENANT_PLATFORM_TEAM_')"
        )
        database.execute(
            "UPDATE netbox_vlan_manager_allocation SET cluster_name = rpad(concat_ws('-', "
            "(ARRAY['openshift', 'rancher', 'talos'])[1 + id % 3], (id * 7919) % 10000, 'frankfurt.clusters.'), "
            "100, 'infrastructure.example.com.')"
        )
    pool = SegmentPool.objects.get()

    response = client.get(map_url(pool), headers={"accept-encoding": "gzip"})
    content = gzip.decompress(response.content).decode()
    assert response.headers["Content-Encoding"] == "gzip"
    assert int(response.headers["Content-Length"]) == len(response.content) < MAX_SIZE
    assert len(re.findall(r'<a href="[^"]*" class="is-', content)) == 4094
    assert re.fullmatch(
        r"VLAN 7, Allocated, 10.0.7.0/24, EPG_STAGE_FRA_WEB_7_\w{44}, \w+-\d+-frankfurt.*", label(content, 7)
    )


def test_an_available_one_leads_to_its_allocation(client, user):
    pool = make_pool(segments=2)
    permit(permit(user, Segment, "view"), Allocation, "view")
    segment = Segment.objects.get(vid=101)
    assert href(show(client, pool), 101) == segment.get_absolute_url()

    permit(user, SegmentPool, "allocate")
    allocate("prod-01", pool=pool, user=user)
    url = href(show(client, pool), 101)
    assert href(show(client, pool), 100) == Segment.objects.get(vid=100).get_absolute_url()
    page = client.get(url)
    assert f'href="{segment.get_absolute_url()}"' in page.content.decode()
    form = page.context["allocate_form"]
    assert (form["pool"].value(), form["vid"].value()) == (str(pool.pk), "101")
    client.post(url, {"pool": pool.pk, "vid": "101", "cluster_name": "prod-02"})
    assert Allocation.objects.get(cluster_name="prod-02").segment == segment

    SegmentPool.objects.update(status="paused")
    segment = Segment.objects.get(vid=101)
    assert href(show(client, pool), 101) == segment.get_absolute_url()
