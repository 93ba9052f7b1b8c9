import re
import xml.etree.ElementTree as ET
from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from netbox_vlan_manager.models import PoolSnapshot, SegmentPool, SegmentUsage
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.reporting.snapshots import UsagePoint
from netbox_vlan_manager.ui.plots import utilization_plot
from tests.factories import make_pool, make_user, permit

SVG = "{http://www.w3.org/2000/svg}"


def make_points(*allocated, total=10):
    """Return a UsagePoint a day, from 1 January on."""
    first = date(2026, 1, 1)
    return [
        UsagePoint(first + timedelta(days=day), SegmentUsage(total, number, total - number))
        for day, number in enumerate(allocated)
    ]


def parse(svg):
    # Inside HTML, SVG needs no namespace.
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def texts(svg):
    return [element.text for element in parse(svg).iter(f"{SVG}text")]


class TestPlot:
    @pytest.mark.parametrize("count", [0, 1])
    def test_none_for_fewer_than_two_points(self, count):
        assert utilization_plot(make_points(*[1] * count), title="Pool") == ""

    def test_curve_follows_the_points(self):
        curve = parse(utilization_plot(make_points(0, 5, 10), title="Pool")).find(f"{SVG}svg")
        area, line = (path.get("d") for path in curve.iter(f"{SVG}path"))

        assert curve.get("viewBox") == "0 0 2 100"
        assert line == "M0 100.0 L1 50.0 L2 0.0"
        assert area == f"{line} L2 100 L0 100 Z"

    def test_days_without_a_snapshot_keep_their_place(self):
        points = make_points(0, 5, 10)
        del points[1]

        assert "M0 100.0 L2 0.0" in utilization_plot(points, title="Pool")

    def test_a_pool_without_segments(self):
        assert "M0 100.0 L1 100.0" in utilization_plot(make_points(0, 0, total=0), title="Pool")

    def test_axes(self):
        assert texts(utilization_plot(make_points(1, 2, 3), title="Pool")) == [
            *("0%", "25%", "50%", "75%", "100%"),
            *("2026-01-01", "2026-01-02", "2026-01-03"),
        ]

    def test_thresholds(self):
        both = texts(utilization_plot(make_points(1, 2), title="Pool", warning=80, critical=95))
        assert both[-2:] == ["Warning: 80%", "Critical: 95%"]

        one = texts(utilization_plot(make_points(1, 2), title="Pool", critical=90))
        assert [text for text in one if ":" in text] == ["Critical: 90%"]

    def test_thresholds_lie_where_they_are(self):
        svg = parse(utilization_plot(make_points(1, 2), title="Pool", warning=50, critical=100))
        levels = {line.get("style"): line.get("y1") for line in reversed(list(svg.iter(f"{SVG}line")))}
        grid = [line.get("y1") for line in svg.iter(f"{SVG}line")][:5]

        assert levels["stroke: var(--tblr-warning)"] == grid[2]
        assert levels["stroke: var(--tblr-danger)"] == grid[4]

    def test_says_what_it_shows(self):
        svg = parse(utilization_plot(make_points(1, 9, 3), title="Utilization of A"))
        gist = "From 10.0% on 2026-01-01 to 30.0% on 2026-01-03; the highest was 90.0% on 2026-01-02."

        assert svg.get("role") == "img"
        assert svg.get("aria-label") == f"Utilization of A. {gist}"
        assert svg.find(f"{SVG}title").text == "Utilization of A"
        assert svg.find(f"{SVG}desc").text == gist
        assert "2026-01-02: 90.0%, 9 of 10 allocated" in [title.text for title in svg.iter(f"{SVG}title")]

    def test_has_the_colours_of_the_theme_alone(self):
        svg = utilization_plot(make_points(1, 9), title="Pool", warning=80, critical=95)

        for color in re.findall(r'(?:fill|stroke)(?:: |=")([^;"]+)', svg):
            assert color == "none" or re.fullmatch(r"var\(--tblr-[a-z-]+\)", color)

    def test_names_are_escaped(self):
        svg = utilization_plot(make_points(1, 2), title="</title><script>alert(1)</script>\"'&")

        assert "<script" not in svg
        assert parse(svg).find(f"{SVG}title").text == "</title><script>alert(1)</script>\"'&"


@pytest.fixture
def admin(client):
    user = make_user("root", is_superuser=True)
    client.force_login(user)
    return user


def make_history(pool, days):
    """Save snapshots of the last days, without today."""
    today = timezone.localdate()
    PoolSnapshot.objects.bulk_create(
        PoolSnapshot(
            pool=pool,
            date=today - timedelta(days=age),
            total_segments=4,
            allocated=0,
            available=4,
            quarantined=0,
            disabled=0,
        )
        for age in range(1, days + 1)
    )


@pytest.mark.django_db
@pytest.mark.usefixtures("admin")
class TestPanel:
    def show(self, client, pool, query=""):
        return client.get(f"{pool.get_absolute_url()}{query}").content.decode()

    def test_ends_with_what_is_now(self, client, admin):
        pool = make_pool(segments=4)
        make_history(pool, 2)
        allocate("prod-01", pool=pool, user=admin)

        content = self.show(client, pool)
        assert f"{timezone.localdate()}: 25.0%, 1 of 4 allocated" in content
        assert "Warning: 80%" in content
        assert "Critical: 95%" in content
        rows = re.findall(r'<th scope="row" class="text-nowrap fw-normal">(.*?)</th>\s*<td[^>]*>(.*?)</td>', content)
        assert [utilization for _day, utilization in rows] == ["25.0%", "0.0%", "0.0%"]

    @pytest.mark.parametrize(
        ("query", "rows"), [("", 91), ("?days=30", 31), ("?days=365", 366), ("?days=7", 91), ("?days=x", 91)]
    )
    def test_goes_as_far_back_as_asked(self, client, query, rows):
        pool = make_pool(segments=4)
        make_history(pool, 400)

        content = self.show(client, pool, query)
        assert content.count('<th scope="row" class="text-nowrap fw-normal">') == rows
        assert 'href="?days=30#utilization-history"' in content

    def test_says_when_there_will_be_something(self, client):
        content = self.show(client, make_pool())

        assert "appear tomorrow" in content
        assert "Show as table" not in content

    def test_names_are_escaped(self, client):
        pool = make_pool(name="<script>alert(1)</script>")
        make_history(pool, 2)

        content = self.show(client, pool)
        assert "Show as table" in content
        assert "<script>alert(1)" not in content

    def test_no_more_queries_for_more_days(self, client):
        pool = make_pool(segments=4)
        counts = []
        for days in (2, 300):
            PoolSnapshot.objects.all().delete()
            make_history(pool, days)
            self.show(client, pool)
            with CaptureQueriesContext(connection) as queries:
                self.show(client, pool, "?days=365")
            counts.append(len(queries))

        assert counts[0] == counts[1]
        # One query for the plot and one for the forecast.
        assert sum("poolsnapshot" in query["sql"] for query in queries) == 2


@pytest.mark.django_db
class TestSnapshotsOfAPool:
    def test_do_not_show_as_related_objects(self, client, admin):
        pool = make_pool()
        make_history(pool, 2)

        assert "napshots" not in client.get(pool.get_absolute_url()).content.decode()
        assert "napshot" not in client.get(f"{pool.get_absolute_url()}delete/").content.decode()

    def test_go_with_it_by_the_page_that_deletes_it(self, client, admin):
        pool = make_pool()
        make_history(pool, 2)

        assert client.post(f"{pool.get_absolute_url()}delete/", {"confirm": True}).status_code == 302
        assert not SegmentPool.objects.exists()
        assert not PoolSnapshot.objects.exists()

    def test_are_for_whoever_may_view_the_pool(self, client):
        pool, other = make_pool(), make_pool(scope="Site2", container="10.2.0.0/16")
        make_history(pool, 2)
        user = make_user("viewer")
        client.force_login(permit(user, pool, "view"))

        assert "Show as table" in client.get(pool.get_absolute_url()).content.decode()
        assert client.get(other.get_absolute_url()).status_code == 404
