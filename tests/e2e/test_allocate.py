import re

import pytest
import requests
from playwright.sync_api import expect

pytestmark = pytest.mark.e2e


def post(live, path, **data):
    """Create something through REST, as the superuser."""
    response = requests.post(
        f"{live.url}/api/{path}/", json=data, headers={"Authorization": f"Bearer {live.token}"}, timeout=60
    )
    assert response.ok, response.text
    return response.json()


@pytest.fixture(scope="module")
def pool(live_netbox):
    """The name of a pool with two segments."""
    site = post(live_netbox, "dcim/sites", name="E2E site", slug="e2e-site")
    vrf = post(live_netbox, "ipam/vrfs", name="E2E network")
    group = post(live_netbox, "ipam/vlan-groups", name="E2E group", slug="e2e-group", vid_ranges=[[700, 799]])
    container = post(live_netbox, "ipam/prefixes", prefix="10.70.0.0/16", vrf=vrf["id"], status="container")
    pool = post(
        live_netbox,
        "plugins/vlan-manager/pools",
        name="E2E pool",
        slug="e2e-pool",
        vrf=vrf["id"],
        scope_type="dcim.site",
        scope_id=site["id"],
        vlan_group=group["id"],
        prefixes=[container["id"]],
    )
    for vid in (700, 701):
        post(
            live_netbox,
            "plugins/vlan-manager/segments",
            pool=pool["id"],
            vid=vid,
            epg_name=f"EPG_{vid}",
            prefix=f"10.70.{vid - 700}.0/24",
        )
    return pool["name"]


def test_allocate_then_release(page, pool):
    page.goto("/plugins/vlan-manager/allocations/")
    page.get_by_role("button", name="Allocate").click()

    page.locator("#id_pool-ts-control").click()
    page.get_by_role("option", name=f"{pool} (2 of 2 available)").click()
    page.get_by_label("Cluster name").fill("prod,01")
    page.get_by_role("button", name="Allocate", exact=True).last.click()
    expect(page.get_by_text("leave out commas")).to_be_visible()

    page.get_by_label("Cluster name").fill("prod-01")
    page.get_by_role("button", name="Allocate", exact=True).last.click()
    expect(page).to_have_url(re.compile(r"/allocations/\d+/$"))
    expect(page.get_by_text("Allocated VLAN 700, prefix 10.70.0.0/24, EPG EPG_700 to cluster prod-01.")).to_be_visible()

    page.goto("/plugins/vlan-manager/allocations/")
    row = page.get_by_role("row").filter(has_text="prod-01")
    expect(row).to_contain_text("Active")
    expect(row).to_contain_text("EPG_700")

    row.get_by_role("link", name="prod-01").click()
    release = page.get_by_role("button", name="Release")
    release.click()
    dialog = page.locator("#htmx-modal")
    expect(dialog).to_contain_text("Cluster prod-01 will no longer hold VLAN 700")
    dialog.get_by_role("button", name="Release").click()
    expect(page.get_by_text("Released prod-01: EPG_700 (700).")).to_be_visible()
    expect(release).to_have_count(0)
