import re

import pytest
from playwright.sync_api import expect

from tests.e2e.forms import choose
from tests.e2e.rest import call, find_segments, make_pool

pytestmark = pytest.mark.e2e

POOLS_URL = "/plugins/vlan-manager/pools/"


def get(live_netbox, path, **params):
    return call(live_netbox, "GET", f"plugins/vlan-manager/{path}/", params=params)


def open_move(page, pool, name):
    page.goto(f"{POOLS_URL}{pool}/")
    page.get_by_role("button", name="More").click()
    page.get_by_role("link", name=name, exact=True).click()


def test_merge(page, live_netbox):
    into = make_pool(live_netbox, "Merged into", (790,))
    vrf = get(live_netbox, f"pools/{into}")["vrf"]["id"]
    values = {"name": "Merged site", "slug": "merged-site"}
    site = call(live_netbox, "POST", "dcim/sites/", json=values)["id"]
    values = {"name": "Merged", "slug": "merged", "vid_ranges": [[1, 4094]]}
    group = call(live_netbox, "POST", "ipam/vlan-groups/", json=values)["id"]
    values = {"prefix": "172.16.0.0/16", "vrf": vrf, "status": "container"}
    container = call(live_netbox, "POST", "ipam/prefixes/", json=values)["id"]
    place = {"vrf": vrf, "scope_type": "dcim.site", "scope_id": site, "vlan_group": group, "prefixes": [container]}
    values = {"name": "Merged", "slug": "merged", **place}
    pool = call(live_netbox, "POST", "plugins/vlan-manager/pools/", json=values)["id"]
    for vid in (791, 792):
        values = {"pool": pool, "vid": vid, "epg_name": f"EPG_{vid}", "prefix": f"172.16.{vid - 790}.0/24"}
        call(live_netbox, "POST", "plugins/vlan-manager/segments/", json=values)
    values = {"pool": pool, "cluster_name": "merge-01"}
    allocation = call(live_netbox, "POST", "plugins/vlan-manager/allocations/", json=values)["id"]

    open_move(page, pool, "Merge into another pool")
    choose(page, "into", "Merged into")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("row", name="Segments that move 2")).to_be_visible()
    expect(page.get_by_role("row", name="Active allocations that move 1")).to_be_visible()
    assert set(find_segments(live_netbox, pool)) == {791, 792}

    page.get_by_role("button", name="Merge", exact=True).last.click()
    expect(page.get_by_text("Merged pool Merged, 2 segments, into Merged into.")).to_be_visible()
    expect(page.get_by_role("heading", name="Merged into")).to_be_visible()
    assert get(live_netbox, "pools", id=pool)["count"] == 0
    assert set(find_segments(live_netbox, into)) == {790, 791, 792}
    held = get(live_netbox, f"allocations/{allocation}")
    assert (held["pool"]["id"], held["cluster_name"], held["status"]["value"]) == (into, "merge-01", "active")


def test_retire(page, live_netbox):
    pool = make_pool(live_netbox, "Retired", (800, 801))
    values = {"pool": pool, "cluster_name": "retire-01"}
    allocation = call(live_netbox, "POST", "plugins/vlan-manager/allocations/", json=values)["id"]

    open_move(page, pool, "Retire")
    expect(page.get_by_role("row", name="Active allocations 1")).to_be_visible()
    page.get_by_label("Changelog message").fill("The hall is closed")
    page.get_by_role("button", name="Retire", exact=True).last.click()
    expect(page.get_by_text("it is deleted when its 1 active allocation is released")).to_be_visible()
    assert get(live_netbox, f"pools/{pool}")["status"]["value"] == "retiring"

    page.locator(".nav-tabs").get_by_role("link", name="Allocations 1").click()
    page.get_by_role("row").filter(has_text="retire-01").get_by_role("link", name="retire-01", exact=True).click()
    page.get_by_role("button", name="Release").click()
    page.locator("#htmx-modal").get_by_role("button", name="Release").click()
    expect(page.get_by_text("Released retire-01")).to_be_visible()

    open_move(page, pool, "Retire")
    expect(page.get_by_role("row", name="The pool is deleted at once")).to_be_visible()
    page.get_by_role("button", name="Retire", exact=True).last.click()
    expect(page.get_by_text("Deleted pool Retired.")).to_be_visible()
    assert get(live_netbox, "pools", id=pool)["count"] == 0
    assert call(live_netbox, "GET", "ipam/vlans/", params={"vid": [800, 801], "group": "retired"})["count"] == 0
    released = get(live_netbox, f"allocations/{allocation}")
    assert (released["status"]["value"], released["pool_name"], released["vid"]) == ("released", "Retired", 800)


def test_resize(page, live_netbox):
    pool = make_pool(live_netbox, "Resized", (810, 811, 820))
    open_move(page, pool, "Resize")
    page.get_by_role("textbox", name="VLAN IDs").fill("810-815")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert").filter(has_text="In the way").get_by_role("link", name="VLAN 820")).to_be_visible()
    expect(page.locator("[name=_confirm]")).to_have_count(0)

    page.get_by_label("Remove segments").check()
    page.get_by_label("New containers").fill("172.17.0.0/16")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("row", name=re.compile("^VLAN IDs"))).to_contain_text("810-815")
    expect(page.get_by_role("row", name="Segments outside")).to_contain_text("1 is deleted")
    assert set(find_segments(live_netbox, pool)) == {810, 811, 820}

    page.locator("[name=_confirm]").click()
    expect(page.get_by_text("Pool Resized now has the VLAN IDs 810-815")).to_be_visible()
    resized = get(live_netbox, f"pools/{pool}")
    group = call(live_netbox, "GET", f"ipam/vlan-groups/{resized['vlan_group']['id']}/")
    assert group["vid_ranges"] == [[810, 815]]
    assert {prefix["prefix"] for prefix in resized["prefixes"]} == {"10.0.0.0/8", "172.17.0.0/16"}
    assert set(find_segments(live_netbox, pool)) == {810, 811}
