"""The timeline: who held a VLAN ID, a prefix, or what a cluster held, when."""

import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release, release_allocation
from netbox_vlan_manager.ui.timeline import Holding, get_holdings, timeline_plot
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db

URL = "/plugins/vlan-manager/allocations/timeline/"
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def root():
    return make_user("root", is_superuser=True)


@pytest.fixture
def pool(root):
    """Two pools: two clusters have held VLAN ID 100 of the first, one of them still does, and holds it in the other."""
    pool = make_pool(segments=3)
    other = make_pool("Network2", "Site2", container="10.1.0.0/16", segments=3)
    allocate("former", pool=pool, user=root)
    release("former", pool=pool, user=root)
    allocate("present", pool=pool, user=root)
    allocate("present", pool=other, user=root)
    return pool


def held_of(client, query):
    """Return (cluster, pool) of each row."""
    response = client.get(f"{URL}?{query}")
    assert response.status_code == 200
    return [(held.allocation.cluster_name, held.allocation.pool_name) for held in response.context["holdings"]]


def test_vlan_id_prefix_and_cluster(client, root, pool):
    client.force_login(root)
    here, there = "Network1 Site1", "Network2 Site2"
    assert held_of(client, "vid=100") == [("present", there), ("present", here), ("former", here)]
    assert held_of(client, "contains=10.0.0.7") == [("present", here), ("former", here)]
    assert held_of(client, "contains=10.0.0.0/24&vrf_name=Network2") == []
    assert held_of(client, "cluster_name=FORMER") == [("former", here)]
    assert held_of(client, "") == []
    content = client.get(f"{URL}?vid=100").content.decode()
    assert "Timeline: VLAN ID 100" in content
    assert content.count("<rect") == 3


def test_what_was_deleted_stays(client, root, pool):
    allocation = Allocation.objects.active().get(pool=pool)
    release_allocation(allocation, user=root)
    Segment.objects.filter(pool=pool).delete()
    pool.delete()
    client.force_login(root)
    held = held_of(client, "vid=100")
    assert [pool_name for _cluster, pool_name in held] == ["Network2 Site2", "Network1 Site1", "Network1 Site1"]


def test_a_user_sees_what_they_may_view(client, pool):
    user = make_user("alice")
    client.force_login(user)
    assert client.get(URL).status_code == 403
    permit(user, Allocation, "view", constraints={"vrf_name": "Network2"})
    assert held_of(client, "vid=100") == [("present", "Network2 Site2")]
    content = client.get(f"{URL}?vid=100").content.decode()
    assert "former" not in content
    assert "Network1" not in content
    assert f"/pools/{pool.pk}/" not in content
    assert held_of(client, "cluster_name=former") == []


def test_wrong_input_is_named(client, root, pool):
    client.force_login(root)
    for query, name in (("vid=x", "vid"), ("contains=nonsense", "contains"), ("vlan=100", "vlan")):
        response = client.get(f"{URL}?{query}")
        assert [name in str(message) for message in response.context["messages"]] == [True]
        assert response.context["holdings"] == []


def test_queries_do_not_grow(client, root, pool):
    client.force_login(root)

    def count(query):
        client.get(f"{URL}?{query}")
        with CaptureQueriesContext(connection) as queries:
            client.get(f"{URL}?{query}")
        return len(queries)

    few = count("cluster_name=former")
    for number in range(5):
        allocate("former", pool=pool, user=root)
        release("former", pool=pool, user=make_user(f"user{number}", is_superuser=True))
    assert len(held_of(client, "cluster_name=former")) == 6
    assert count("cluster_name=former") == few


def test_links(client, root, pool):
    client.force_login(root)
    segment = Segment.objects.get(pool=pool, vid=100)
    held = segment.allocations.active().get()
    for page, query in (
        (segment.get_absolute_url(), "vid=100"),
        (segment.get_absolute_url(), "contains=10.0.0.0%2F24&amp;vrf_name=Network1"),
        (held.get_absolute_url(), "vid=100"),
        (held.get_absolute_url(), "cluster_name=present"),
        (segment.vlan.get_absolute_url(), "vid=100"),
        (segment.prefix.get_absolute_url(), "contains=10.0.0.0%2F24&amp;vrf_name=Network1"),
    ):
        assert f'href="{URL}?{query}"' in client.get(page).content.decode(), page
    assert f'action="{URL}"' in client.get(f"/plugins/vlan-manager/pools/{pool.pk}/map/").content.decode()


def holding(start, end=None, cluster="prod-01", vid=100):
    allocation = SimpleNamespace(cluster_name=cluster, pool_name="Pool", vid=vid)
    return Holding(allocation, START + timedelta(days=start), None if end is None else START + timedelta(days=end))


def bars(holdings, now=10):
    """Return (x, width, y) of each bar."""
    svg = timeline_plot(holdings, START + timedelta(days=now))
    found = []
    for rect in re.findall(r"<rect[^>]*>", svg):
        values = dict(re.findall(r'(\w+)="([^"%]*)%?"', rect))
        found.append(tuple(float(values[name]) for name in ("x", "width", "y")))
    return found


def test_bars():
    assert timeline_plot([], START) == ""
    # Intervals of one cluster and segment share a lane; an active one goes on until now.
    assert bars([holding(0, 5), holding(6), holding(5, 5, vid=101)]) == [
        (0, 50, 18),
        (60, 40, 18),
        (50, 0.5, 52),
    ]
    # An allocation of no length, and one that begins in the future.
    assert bars([holding(0, 0)], now=0) == [(0, 0.5, 18)]
    assert bars([holding(20)]) == [(0, 0.5, 18)]


def test_an_allocation_ends_when_it_expires():
    now = timezone.now()
    before, later = now - timedelta(hours=1), now + timedelta(hours=1)
    for released_at, expires_at, end in (
        (None, None, None),
        (None, later, None),
        (None, before, before),
        (now, before, before),
        (before, later, before),
    ):
        allocation = Allocation(allocated_at=before, released_at=released_at, expires_at=expires_at)
        assert get_holdings([allocation], now) == [(allocation, before, end)]


def test_names_are_escaped(client, root, pool):
    Allocation.objects.update(cluster_name="<script>alert(1)</script>")
    client.force_login(root)
    content = client.get(f"{URL}?vid=100").content.decode()
    assert "<script>alert" not in content
    assert SegmentPool.objects.count() == 2
