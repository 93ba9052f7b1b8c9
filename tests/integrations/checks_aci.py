"""Checks of the features with netbox-aci-plugin, in a NetBox that has it. Run by test_integrations.py."""

import django

django.setup()

import re  # noqa: E402

import pytest  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext, override_settings  # noqa: E402
from netbox_aci_plugin.models import (  # noqa: E402
    ACIVRF,
    ACIAppProfile,
    ACIBridgeDomain,
    ACIEndpointGroup,
    ACIFabric,
    ACITenant,
)

from netbox_vlan_manager.models import Segment  # noqa: E402
from netbox_vlan_manager.services import allocate  # noqa: E402
from tests.factories import make_pool, make_user, permit  # noqa: E402

EPGS = "/plugins/aci/endpoint-groups/"


@pytest.fixture(scope="module")
def pool():
    return make_pool("ACI", "Site2", container="10.20.0.0/16", vid_ranges=[(500, 599)], segments=4)


@pytest.fixture(scope="module")
def profiles():
    """Two application profiles, since EPG names are unique in a profile."""
    fabric = ACIFabric.objects.create(name="Fabric2", fabric_id=2, infra_vlan_vid=3967)
    tenant = ACITenant.objects.create(name="Platform", aci_fabric=fabric)
    return [ACIAppProfile.objects.create(name=name, aci_tenant=tenant) for name in ("Clusters", "Storage")]


@pytest.fixture(scope="module")
def make_epg(profiles):
    tenant = profiles[0].aci_tenant
    vrf = ACIVRF.objects.create(name="Network2", aci_tenant=tenant)
    domain = ACIBridgeDomain.objects.create(name="BD", aci_tenant=tenant, aci_vrf=vrf)

    def make(name, profile=0):
        return ACIEndpointGroup.objects.create(name=name, aci_app_profile=profiles[profile], aci_bridge_domain=domain)

    return make


@pytest.fixture(scope="module")
def epgs(make_epg):
    """One EPG with the name of the first segment, two with that of the second, none with that of the third."""
    return [make_epg("EPG_500"), make_epg("EPG_501"), make_epg("EPG_501", 1)]


def login(user):
    client = Client()
    client.force_login(user)
    return client


def link_of(html, epg_name):
    """Return the link of each mention of an EPG's name; None for plain text."""
    html = html.replace("<wbr>", "")
    found = re.findall(rf'(?:<a [^>]*?href="([^"]*)"[^>]*>|<(?:span|td)[^>]*>)\s*{epg_name}\s*</', html)
    return {link or None for link in found}


def test_page_of_a_segment(pool, epgs):
    client = login(make_user("aci-admin", is_superuser=True))
    one, several, none = (pool.segments.get(vid=vid) for vid in (500, 501, 502))
    assert f"{EPGS}{epgs[0].pk}/" in link_of(client.get(one.get_absolute_url()).text, "EPG_500")
    assert f"{EPGS}?name=EPG_501" in link_of(client.get(several.get_absolute_url()).text, "EPG_501")
    assert not [link for link in link_of(client.get(none.get_absolute_url()).text, "EPG_502") if EPGS in str(link)]
    # The list has exactly these two EPGs.
    listed = client.get(f"{EPGS}?name=EPG_501").text
    assert listed.count(">EPG_501<") == 2
    assert ">EPG_500<" not in listed
    assert client.get(f"{EPGS}{epgs[0].pk}/").status_code == 200


def test_page_of_an_allocation(pool, epgs):
    allocation = allocate("aci-01", pool=pool, user=make_user("aci-admin", is_superuser=True), vid=500).allocation
    client = login(make_user("aci-admin"))
    assert f"{EPGS}{epgs[0].pk}/" in link_of(client.get(allocation.get_absolute_url()).text, "EPG_500")


def test_links_are_those_that_the_user_may_view(pool, epgs):
    user = make_user("aci-reader")
    permit(user, Segment, "view")
    segments = [pool.segments.get(vid=vid) for vid in (500, 501)]
    pages = [segment.get_absolute_url() for segment in segments] + ["/plugins/vlan-manager/segments/"]
    for page in pages:
        html = login(user).get(page).text
        assert not {link for name in ("EPG_500", "EPG_501") for link in link_of(html, name) if EPGS in str(link)}

    # If the user may view only one of two EPGs with the name, the link leads to that one.
    permit(user, epgs[2], "view")
    assert not [link for link in link_of(login(user).get(pages[0]).text, "EPG_500") if EPGS in str(link)]
    assert f"{EPGS}{epgs[2].pk}/" in link_of(login(user).get(pages[1]).text, "EPG_501")


@pytest.mark.parametrize(
    "path", ["segments/?vid=500&vid=501&vid=502&vid=503", "allocations/", "pools/{pool}/segments/"]
)
def test_lists_ask_once(pool, epgs, make_epg, path):
    admin = make_user("aci-admin", is_superuser=True)
    for cluster, vid in (("aci-01", 500), ("aci-02", 501)):
        allocate(cluster, pool=pool, user=admin, vid=vid)
    client = login(admin)
    path = f"/plugins/vlan-manager/{path.format(pool=pool.pk)}"
    with CaptureQueriesContext(connection) as queries:
        html = client.get(path).text
    asked = [query["sql"] for query in queries if 'FROM "netbox_aci_plugin_aciendpointgroup"' in query["sql"]]
    assert len(asked) == 1
    assert link_of(html, "EPG_500") == {f"{EPGS}{epgs[0].pk}/"}
    assert link_of(html, "EPG_501") == {f"{EPGS}?name=EPG_501"}


def test_segments_without_an_epg_lead_to_themselves(pool, epgs):
    client = login(make_user("aci-admin", is_superuser=True))
    segment = pool.segments.get(vid=502)
    html = client.get("/plugins/vlan-manager/segments/?vid=502").text
    assert link_of(html, "EPG_502") == {segment.get_absolute_url()}


def test_exports_ask_nothing(pool, epgs):
    client = login(make_user("aci-admin", is_superuser=True))
    with CaptureQueriesContext(connection) as queries:
        response = client.get("/plugins/vlan-manager/segments/?export=table")
        text = response.getvalue().decode()
    assert "EPG_500" in text
    assert not [query for query in queries if "aciendpointgroup" in query["sql"]]


@override_settings(EXEMPT_VIEW_PERMISSIONS=["netbox_vlan_manager.segment"])
def test_nobody_in_particular_is_shown_no_links(pool, epgs):
    segment = pool.segments.get(vid=500)
    with override_settings(LOGIN_REQUIRED=False):
        html = Client().get(segment.get_absolute_url()).text
    assert EPGS not in html
