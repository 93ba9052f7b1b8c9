"""The tabs of pools and segments, and those by status above the list of segments."""

import re
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, disable_segment, release
from tests.factories import make_pool, make_segment, make_user, permit

pytestmark = pytest.mark.django_db

LIST_URL = "/plugins/vlan-manager/segments/"


@pytest.fixture
def pool():
    return make_pool(segments=3)


@pytest.fixture
def held(pool):
    return allocate("prod-01", pool=pool, user=make_user()).allocation


@pytest.fixture
def admin(client):
    user = make_user("root", is_superuser=True)
    client.force_login(user)
    return user


def tab_url(instance, name):
    return f"{instance.get_absolute_url()}{name}/"


def tabs_of(client, page):
    """Return {address: label and badge} of the tabs of a page."""
    content = client.get(page).content.decode()
    links = re.findall(r'<a\s+href="([^"]+)" class="nav-link[^>]*>(.*?)</a>', content, re.DOTALL)
    return {url: " ".join(re.sub("<[^>]+>", " ", label).split()) for url, label in links}


class TestPool:
    def test_tabs_with_badges(self, client, admin, pool, held):
        make_pool(scope="Site2", container="10.1.0.0/16", segments=1)

        for page in (pool.get_absolute_url(), tab_url(pool, "changelog"), tab_url(pool, "allocations")):
            tabs = tabs_of(client, page)
            assert tabs[tab_url(pool, "segments")] == "Segments 3"
            assert tabs[tab_url(pool, "allocations")] == "Allocations 1"
            for name in ("contacts", "journal", "changelog"):
                assert tab_url(pool, name) in tabs

    def test_badges_count_what_the_user_may_view(self, client, pool, held):
        user = permit(permit(make_user("bob"), SegmentPool, "view"), Segment, "view", constraints={"vid": 101})
        client.force_login(permit(user, Allocation, "view", constraints={"cluster_name": "another"}))

        tabs = tabs_of(client, pool.get_absolute_url())
        assert tabs[tab_url(pool, "segments")] == "Segments 1"
        assert tabs[tab_url(pool, "allocations")] == "Allocations"
        assert [row.record.vid for row in client.get(tab_url(pool, "segments")).context["table"].rows] == [101]
        content = client.get(tab_url(pool, "allocations")).content.decode()
        assert "prod-01" not in content
        assert "No allocations found" in content

    def test_without_the_permission_there_is_no_tab(self, client, pool):
        client.force_login(permit(make_user("bob"), SegmentPool, "view"))

        tabs = tabs_of(client, pool.get_absolute_url())
        for name in ("segments", "allocations"):
            assert tab_url(pool, name) not in tabs
            assert client.get(tab_url(pool, name)).status_code == 403

    def test_of_a_pool_that_may_not_be_viewed(self, client, pool):
        other = make_pool(scope="Site2", container="10.1.0.0/16")
        user = permit(permit(make_user("bob"), other, "view"), Segment, "view")
        client.force_login(permit(user, Allocation, "view"))

        for name in ("segments", "allocations"):
            assert client.get(tab_url(pool, name)).status_code == 404
            assert client.get(tab_url(other, name)).status_code == 200

    def test_segments(self, client, admin, pool, held):
        other = make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
        response = client.get(tab_url(pool, "segments"))

        assert [row.record.vid for row in response.context["table"].rows] == [100, 101, 102]
        content = response.content.decode()
        assert f'href="{held.get_absolute_url()}"' in content
        assert f"/allocations/{held.pk}/release/" in content
        assert Segment.objects.get(pool=other).get_absolute_url() + '"' not in content
        columns = {name for name, _label in response.context["table"].selected_columns}
        assert {"vid", "epg_name", "prefix", "status", "cluster"} <= columns
        assert not {"pool", "vrf", "scope"} & set(response.context["table"].columns.names())

    def test_filters_and_quick_search(self, client, admin, pool, held):
        url = tab_url(pool, "segments")

        for params, vids in (
            ({"q": "PROD-0"}, [100]),
            ({"status": "available"}, [101, 102]),
            ({"q": "10.0.2.7"}, [102]),
        ):
            assert [row.record.vid for row in client.get(url, params).context["table"].rows] == vids
        partial = client.get(url, {"q": "epg_101"}, headers={"HX-Request": "true"}).content.decode()
        assert "EPG_101" in partial
        assert "<html" not in partial
        rows = client.get(tab_url(pool, "allocations"), {"status": "released"}).context["table"].rows
        assert len(rows) == 0

    def test_bulk_buttons_follow_the_permission(self, client, pool, held):
        url = tab_url(pool, "segments")
        buttons = {
            "/segments/edit/": (Segment, "change"),
            "/segments/disable/": (Segment, "change"),
            "/segments/enable/": (Segment, "change"),
            "/segments/delete/": (Segment, "delete"),
            "/segments/release/": (SegmentPool, "release"),
            "/segments/add/": (Segment, "add"),
            "/allocations/allocate/": (SegmentPool, "allocate"),
            f"{pool.get_absolute_url()}edit/": (SegmentPool, "change"),
        }
        for number, (path, (model, action)) in enumerate(buttons.items()):
            user = make_user(f"user-{number}")
            for viewed in (SegmentPool, Segment, Allocation):
                user = permit(user, viewed, "view")
            client.force_login(user)
            assert path not in client.get(url).content.decode()
            client.force_login(permit(user, model, action))
            assert path in client.get(url).content.decode(), path

    def test_add_a_segment_and_come_back(self, client, admin, pool):
        url = tab_url(pool, "segments")
        form = unescape(re.search(r'href="([^"]*/segments/add/\?[^"]*)"', client.get(url).content.decode())[1])
        page = client.get(form)
        assert page.context["form"].initial["pool"] == str(pool.pk)

        data = {"pool": pool.pk, "vid": 200, "epg_name": "EPG_200", "prefix": "10.0.99.0/24"}
        assert client.post(form, data).url == url

    def test_empty(self, client, admin):
        pool = make_pool()

        assert "This pool has no segments yet" in client.get(tab_url(pool, "segments")).content.decode()
        assert "No allocations found" in client.get(tab_url(pool, "allocations")).content.decode()
        assert tabs_of(client, pool.get_absolute_url())[tab_url(pool, "segments")] == "Segments"

    def test_released_allocations_are_there(self, client, admin, pool, held):
        release("prod-01", pool=pool, user=admin)

        (row,) = client.get(tab_url(pool, "allocations")).context["table"].rows
        assert (row.record.cluster_name, row.record.status) == ("prod-01", "released")
        # The number is of the active ones.
        assert tabs_of(client, pool.get_absolute_url())[tab_url(pool, "allocations")] == "Allocations"

    @pytest.mark.parametrize("tab", ["", "segments/", "allocations/", "map/"])
    def test_buttons_of_a_pool_are_on_all_tabs(self, client, admin, pool, held, tab):
        url = f"{pool.get_absolute_url()}{tab}"
        allocate_url = f'href="/plugins/vlan-manager/allocations/allocate/?pool={pool.pk}"'
        content = client.get(url).content.decode()
        assert f"{pool.get_absolute_url()}retire/" in content
        assert allocate_url in content
        for status in ("paused", "retiring"):
            SegmentPool.objects.update(status=status)
            assert allocate_url not in client.get(url).content.decode()


class TestSegment:
    def test_history(self, client, admin, pool, held):
        release("prod-01", pool=pool, user=admin)
        allocate("prod-02", pool=pool, user=admin)
        segment = held.segment

        for page in (segment.get_absolute_url(), tab_url(segment, "history")):
            assert tabs_of(client, page)[tab_url(segment, "history")] == "History 2"
        response = client.get(tab_url(segment, "history"))
        assert [row.record.cluster_name for row in response.context["table"].rows] == ["prod-02", "prod-01"]
        assert f"/allocations/{held.pk}/release/" not in response.content.decode()

    def test_history_is_what_the_user_may_view(self, client, pool, held):
        user = permit(make_user("bob"), Segment, "view")
        client.force_login(user)
        assert tab_url(held.segment, "history") not in tabs_of(client, held.segment.get_absolute_url())
        assert client.get(tab_url(held.segment, "history")).status_code == 403

        client.force_login(permit(user, Allocation, "view", constraints={"cluster_name": "another"}))
        assert tabs_of(client, held.segment.get_absolute_url())[tab_url(held.segment, "history")] == "History"
        assert "prod-01" not in client.get(tab_url(held.segment, "history")).content.decode()

    def test_standard_tabs(self, client, admin, held):
        for name in ("contacts", "journal", "changelog"):
            assert tab_url(held.segment, name) in tabs_of(client, held.segment.get_absolute_url())
            assert client.get(tab_url(held.segment, name)).status_code == 200
        for name in ("journal", "changelog"):
            assert tab_url(held, name) in tabs_of(client, held.get_absolute_url())
            assert client.get(tab_url(held, name)).status_code == 200


class TestUtilization:
    @pytest.mark.parametrize(
        ("thresholds", "colour"), [((80, 95), "success"), ((50, 95), "warning"), ((20, 50), "danger")]
    )
    def test_colour_by_the_pool_s_thresholds(self, client, admin, thresholds, colour):
        pool = make_pool(segments=2)
        SegmentPool.objects.update(warning_threshold=thresholds[0], critical_threshold=thresholds[1])
        allocate("prod-01", pool=pool, user=admin)

        for page in (pool.get_absolute_url(), reverse("plugins:netbox_vlan_manager:segmentpool_list")):
            content = client.get(page).content.decode()
            assert f'class="progress-bar bg-{colour}"' in content
            assert "50.0%" in content
        content = client.get(pool.get_absolute_url()).content.decode()
        for threshold in thresholds:
            assert f"{threshold}%" in content

    def test_a_pool_that_is_used_up_is_red(self, client, admin):
        pool = make_pool(segments=1)
        allocate("prod-01", pool=pool, user=admin)

        assert 'class="progress-bar bg-danger"' in client.get(pool.get_absolute_url()).content.decode()

    def test_in_the_export_it_is_a_number(self, client, admin, pool, held):
        lines = client.get("/plugins/vlan-manager/pools/", {"export": "table"}).content.decode()
        assert "33.3%" in lines


class TestStatusTabs:
    @pytest.fixture(autouse=True)
    def segments(self, pool, held, admin):
        disable_segment(Segment.objects.get(vid=102), user=admin, reason="Cable is cut")

    def tabs(self, client, query=""):
        """Return {label: its link's query, or None for the status that is shown}, and the VLAN IDs shown."""
        response = client.get(f"{LIST_URL}?{query}")
        tabs = {tab["label"]: None if tab["active"] else tab["params"] for tab in response.context["status_tabs"]}
        return tabs, [row.record.vid for row in response.context["table"].rows]

    def test_each_shows_its_segments(self, client):
        tabs, vids = self.tabs(client)
        assert tabs == {
            "All": None,
            "Available": "status=available",
            "Allocated": "status=allocated",
            "Quarantined": "status=quarantined",
            "Disabled": "status=disabled",
        }
        assert vids == [100, 101, 102]

        tabs, vids = self.tabs(client, "status=available")
        assert (tabs["All"], tabs["Available"], tabs["Allocated"]) == ("", None, "status=allocated")
        assert vids == [101]
        assert self.tabs(client, "status=allocated")[1] == [100]
        assert self.tabs(client, "status=disabled")[1] == [102]
        assert self.tabs(client, "status=quarantined")[1] == []

    def test_links_keep_other_filters_and_the_quick_search(self, client):
        tabs, _vids = self.tabs(client, "status=available&q=EPG&vid=100&vid=101&page=2&sort=vid")
        assert tabs == {
            "All": "q=EPG&vid=100&vid=101&sort=vid",
            "Available": None,
            "Allocated": "q=EPG&vid=100&vid=101&sort=vid&status=allocated",
            "Quarantined": "q=EPG&vid=100&vid=101&sort=vid&status=quarantined",
            "Disabled": "q=EPG&vid=100&vid=101&sort=vid&status=disabled",
        }
        assert self.tabs(client, tabs["Allocated"])[1] == [100]

    def test_other_filters_by_status_have_a_tab_while_they_are_used(self, client):
        tabs, vids = self.tabs(client, "status=available&status=disabled")
        assert (tabs["Available, Disabled"], tabs["Available"], vids) == (None, "status=available", [101, 102])
        tabs, vids = self.tabs(client, "status__n=available")
        assert (tabs["Other"], tabs["All"], vids) == (None, "", [100, 102])
        assert self.tabs(client, "status=nonsense")[0]["Other"] is None
        assert self.tabs(client, "status=")[0]["All"] is None

    def test_markup(self, client):
        content = client.get(LIST_URL, {"status": "available", "q": '"><script>x</script>'}).content.decode()
        query = "?q=%22%3E%3Cscript%3Ex%3C%2Fscript%3E&amp;status="
        assert "<script>x" not in content
        assert f'<a class="nav-link" href="{query}allocated" data-quick-search>Allocated</a>' in content
        assert f'href="{query}available" aria-current="page" data-quick-search>Available</a>' in content

    @pytest.mark.parametrize(
        ("text", "vids"),
        [
            ("PROD-0", [100]),
            ("epg_101", [101]),
            ("101", [101]),
            ("10.0.2.0/24", [102]),
            ("10.0.2.77", [102]),
            ("spine", [150]),
            ("nothing", []),
        ],
    )
    def test_quick_search(self, client, pool, text, vids):
        make_segment(pool, 150, 9, description="Spine links")

        assert self.tabs(client, f"q={text}")[1] == vids


class TestQueries:
    @pytest.mark.parametrize("name", ["segments", "allocations"])
    def test_a_pool_s_tabs(self, client, admin, pool, name):
        self.check(client, pool, tab_url(pool, name))

    def test_a_pool_s_page(self, client, admin, pool):
        self.check(client, pool, pool.get_absolute_url())

    def test_the_list_by_status(self, client, admin, pool):
        self.check(client, pool, f"{LIST_URL}?status=allocated&q=prod")

    def test_history(self, client, admin, pool):
        segment = Segment.objects.get(vid=100)
        counts = []
        for number in (1, 3):
            for _round in range(number):
                allocate("prod-01", pool=pool, user=admin)
                release("prod-01", pool=pool, user=make_user(f"user-{number}"))
            counts.append(self.count(client, tab_url(segment, "history")))
        assert counts[0] == counts[1]

    def check(self, client, pool, url):
        counts = []
        for numbers in ((1,), (2, 3, 4)):
            for number in numbers:
                make_segment(pool, 200 + number, 50 + number)
                allocate(f"prod-0{number}", pool=pool, user=make_user(f"user-{number}"))
            counts.append(self.count(client, url))
        assert counts[0] == counts[1]

    def count(self, client, url):
        assert client.get(url).status_code == 200
        with CaptureQueriesContext(connection) as queries:
            client.get(url)
        return len(queries)
