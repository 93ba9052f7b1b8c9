import pytest
from django.urls import reverse

from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate, update_pool
from tests.factories import make_pool, make_segment, make_user

pytestmark = pytest.mark.django_db

CIDR = "2001:db8::/64"
NAMESPACE = "plugins:netbox_vlan_manager"


@pytest.fixture
def segment():
    pool = make_pool()
    update_pool(pool, user=make_user(), prefixes=["10.0.0.0/16", "2001:db8::/48"])
    return make_segment(pool, 100, ipv6_prefix=CIDR)


@pytest.fixture
def browser(client):
    client.force_login(make_user("admin", is_superuser=True))
    return client


def test_every_page_shows_both(browser, segment):
    allocation = allocate("prod-01", user=make_user(), pool=segment.pool).allocation
    for url in (
        reverse(f"{NAMESPACE}:segment_list"),
        segment.get_absolute_url(),
        reverse(f"{NAMESPACE}:segmentpool_segments", args=[segment.pool.pk]),
        reverse(f"{NAMESPACE}:segmentpool_map", args=[segment.pool.pk]),
        reverse(f"{NAMESPACE}:allocation_list"),
        allocation.get_absolute_url(),
        reverse(f"{NAMESPACE}:segment_history", args=[segment.pk]),
    ):
        text = browser.get(url).text
        assert CIDR in text, url
        assert "10.0.0.0/24" in text, url
    # The panel is on the pages of both prefixes and of the VLAN.
    for part in (segment.prefix, segment.ipv6_prefix, segment.vlan):
        assert "prod-01" in browser.get(part.get_absolute_url()).text


def test_form_adds_changes_and_removes_it(browser, segment):
    url = reverse(f"{NAMESPACE}:segment_edit", args=[segment.pk])
    assert f'value="{CIDR}"' in browser.get(url).text
    form = {"vid": 100, "epg_name": "EPG_100", "prefix": "10.0.0.0/24"}

    response = browser.post(url, {**form, "ipv6_prefix": "10.0.9.0/24"})
    assert "is IPv4" in response.text
    for value, stored in (("2001:db8:0:5::/64", "2001:db8:0:5::/64"), ("", "None"), (CIDR, CIDR)):
        assert browser.post(url, {**form, "ipv6_prefix": value}).status_code == 302
        assert str(Segment.objects.get().ipv6_prefix) == stored


def test_form_keeps_it_while_the_segment_is_allocated(browser, segment):
    allocate("prod-01", user=make_user(), pool=segment.pool)
    url = reverse(f"{NAMESPACE}:segment_edit", args=[segment.pk])
    browser.post(url, {"vid": 100, "epg_name": "EPG_renamed", "prefix": "10.0.0.0/24", "ipv6_prefix": ""})
    segment.refresh_from_db()
    assert (segment.epg_name, str(segment.ipv6_prefix)) == ("EPG_renamed", CIDR)


def test_deletion_names_both(browser, segment):
    text = browser.get(reverse(f"{NAMESPACE}:segment_delete", args=[segment.pk]), headers={"HX-Request": "true"}).text
    assert "10.0.0.0/24" in text
    assert CIDR in text


def test_form_leaves_the_gateway_to_the_rule(browser, segment):
    update_pool(segment.pool, user=make_user(), gateway_rule="first", dns_servers=["192.0.2.53"])
    url = reverse(f"{NAMESPACE}:segment_edit", args=[segment.pk])
    form = {"vid": 100, "epg_name": "EPG_100", "prefix": "10.0.0.0/24", "ipv6_prefix": CIDR}
    assert "not in prefix" in browser.post(url, {**form, "gateway": "10.0.9.1"}).text
    browser.post(url, {**form, "gateway": "10.0.0.1"})
    assert "10.0.0.1" in browser.get(segment.get_absolute_url()).text
    assert "192.0.2.53" in browser.get(segment.get_absolute_url()).text
    # The user changes the prefix only: the gateway follows.
    browser.post(url, {**form, "prefix": "10.0.9.0/24", "gateway": "10.0.0.1"})
    assert Segment.objects.get().gateway == "10.0.9.1"
