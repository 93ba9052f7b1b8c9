"""A page says which parameters of its URL do not filter, and exports and changes nothing by them."""

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from netbox_vlan_manager.filtersets import PAGE_PARAMETERS
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db

BASE = "/plugins/vlan-manager"


@pytest.fixture
def pool(client):
    root = make_user("root", is_superuser=True)
    client.force_login(root)
    pool = make_pool(segments=3)
    allocate("prod-01", pool=pool, user=root)
    return pool


def pages(pool):
    segment = Segment.objects.order_by("vid").first()
    return (
        *(f"{BASE}/{name}/" for name in ("pools", "segments", "allocations")),
        f"{BASE}/pools/{pool.pk}/segments/",
        f"{BASE}/pools/{pool.pk}/allocations/",
        f"{BASE}/segments/{segment.pk}/history/",
    )


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_unknown_filters_are_named(client, pool):
    for url in pages(pool):
        response = client.get(f"{url}?clusterr_name=x&site=Site1")
        assert response.status_code == 200
        (text,) = messages_of(response)
        assert text.startswith("The filter clusterr_name is unknown and ignored."), url
    assert "Did you mean held_at?" in messages_of(client.get(f"{BASE}/allocations/?held=2026-01-01"))[0]


def test_wrong_values_are_named(client, pool):
    for url, query in (
        (f"{BASE}/allocations/", "held_at=March"),
        (f"{BASE}/segments/", "within=x"),
        (f"{BASE}/pools/", "status=gone"),
    ):
        (text,) = messages_of(client.get(f"{url}?{query}"))
        assert text.startswith(f"The filter {query.partition('=')[0]} is ignored: "), url


def test_what_netbox_sends_is_known(client, pool):
    query = "&".join(f"{name}=" for name in PAGE_PARAMETERS if name not in ("export", "embedded"))
    for url in pages(pool):
        assert messages_of(client.get(f"{url}?{query}&q=&per_page=50&sort=pk")) == [], url


def test_htmx_leaves_no_message_for_the_next_page(client, pool):
    client.get(f"{BASE}/segments/?nonsense=1", headers={"HX-Request": "true", "HX-Target": "object_list"})
    assert messages_of(client.get(f"{BASE}/segments/")) == []


def test_nothing_is_exported(client, pool):
    for name in ("pools", "segments", "allocations"):
        for query in ("nonsense=1", "vrf_id=x"):
            response = client.get(f"{BASE}/{name}/?{query}&export=table")
            assert (response.status_code, response.url) == (302, f"{BASE}/{name}/?{query}")
            assert messages_of(response)[-1] == "Nothing was exported, because a filter is ignored."
        assert client.get(f"{BASE}/{name}/?q=&export=table")["Content-Type"].startswith("text/csv")


@pytest.mark.parametrize("query", ["nonsense=1", "pool_id=x"])
def test_nothing_is_changed(client, pool, query):
    for name in (
        "segmentpool_bulk_edit",
        "segmentpool_bulk_delete",
        "segment_bulk_edit",
        "segment_bulk_delete",
        "segment_bulk_disable",
        "segment_bulk_release",
        "allocation_bulk_edit",
        "allocation_bulk_release",
    ):
        url = reverse(f"plugins:netbox_vlan_manager:{name}")
        response = client.post(f"{url}?{query}", {"_all": "on", "_confirm": "1", "confirm": "1", "description": "x"})
        assert response.status_code == 302, name
        assert messages_of(response)[-1].startswith("Nothing was changed, because"), name
    assert Allocation.objects.active().count() == 1
    assert Segment.objects.count() == 3
    assert SegmentPool.objects.get().description == ""
