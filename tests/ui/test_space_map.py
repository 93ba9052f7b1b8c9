"""The page that shows what a pool's networks are used for."""

import re

import pytest
from django.urls import reverse

from ipam.models import Prefix
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import allocate, update_pool
from tests.factories import make_pool, make_segment, make_user, permit

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client):
    user = make_user("root", is_superuser=True)
    client.force_login(user)
    return user


def space_url(pool):
    return reverse("plugins:netbox_vlan_manager:segmentpool_space", kwargs={"pk": pool.pk})


def show(client, pool):
    response = client.get(space_url(pool))
    assert response.status_code == 200
    return response.content.decode()


def cell(content, network):
    """Return (status, label, URL) of the cell of a network."""
    (found,) = re.findall(rf'<(?:a|span) [^>]*aria-label="{re.escape(network)}, [^>]*>', content)
    href = re.search(r'href="(.*?)"', found)
    label = re.search(r'aria-label="(.*?)"', found)[1]
    return re.search(r'class="is-(\w+)"', found)[1], label, href and href[1].replace("&amp;", "&")


def test_cells_say_and_open_what_is_there(client, admin):
    pool = make_pool(container="10.0.0.0/22", segments=1)
    allocate("prod-01", pool=pool, user=admin)
    Prefix.objects.create(prefix="10.0.1.0/25", vrf=pool.vrf)
    Prefix.objects.create(prefix="10.0.2.0/24", vrf=pool.vrf)

    content = show(client, pool)
    segment = Segment.objects.get()
    assert cell(content, "10.0.0.0/24") == (
        "allocated",
        "10.0.0.0/24, Allocated, EPG_100, prod-01",
        segment.get_absolute_url(),
    )
    # A part of it is free, which has no room for a segment of the usual length.
    status, label, url = cell(content, "10.0.1.0/24")
    assert (status, label) == ("taken", "10.0.1.0/24, Taken")
    assert [str(one) for one in client.get(url).context["table"].data] == ["10.0.1.0/25"]
    assert cell(content, "10.0.2.0/24")[:2] == ("taken", "10.0.2.0/24, Taken")
    assert cell(content, "10.0.3.0/24")[:2] == ("unused", "10.0.3.0/24, Free")
    assert "75% used, room for 1 more /24" in content


def test_a_free_network_opens_the_form_for_a_segment(client, admin):
    pool = make_pool(container="10.0.0.0/22", segments=1)
    url = cell(show(client, pool), "10.0.2.0/24")[2]
    form = client.get(url).context["form"]
    assert (form.initial["pool"], form.initial["prefix"]) == (str(pool.pk), "10.0.2.0/24")

    values = {"pool": pool.pk, "vid": 101, "epg_name": "EPG_101", "prefix": "10.0.2.0/24"}
    assert client.post(url, values).url == space_url(pool)
    assert cell(show(client, pool), "10.0.2.0/24")[0] == "available"


def test_a_free_network_of_the_second_version(client, admin):
    pool = make_pool(container="10.0.0.0/22")
    update_pool(pool, user=admin, prefixes=["10.0.0.0/22", "2001:db8::/62"])
    form = client.get(cell(show(client, pool), "2001:db8:0:2::/64")[2]).context["form"]
    assert form.initial["ipv6_prefix"] == "2001:db8:0:2::/64"


def test_a_free_part_begins_with_the_usual_length(client, admin):
    pool = make_pool(container="10.0.0.0/8", segments=1)
    form = client.get(cell(show(client, pool), "10.64.0.0/16")[2]).context["form"]
    assert form.initial["prefix"] == "10.64.0.0/24"


def test_links_are_those_that_the_user_may_follow(client):
    pool = make_pool(container="10.0.0.0/22", segments=1)
    user = permit(permit(make_user("viewer"), SegmentPool, "view"), Segment, "view")
    client.force_login(user)
    content = show(client, pool)
    assert cell(content, "10.0.0.0/24")[2] == Segment.objects.get().get_absolute_url()
    assert cell(content, "10.0.3.0/24")[2] is None
    assert "Add a segment there" not in content

    make_segment(pool, 101, prefix="10.0.1.0/25")
    assert cell(show(client, pool), "10.0.1.0/24")[2] is None
    permit(user, Prefix, "view")
    assert "within_include" in cell(show(client, pool), "10.0.1.0/24")[2]


def test_a_pool_without_containers(client, admin):
    pool = make_pool()
    # By the table: the plugin refuses it.
    SegmentPool.prefixes.through.objects.all().delete()
    assert "The pool has no containers in its VRF." in show(client, pool)
