import re

import pytest
from playwright.sync_api import expect

from tests.e2e.rest import call, find_segments, make_pool

pytestmark = pytest.mark.e2e

POOLS_URL = "/plugins/vlan-manager/pools/"
JOB_URL = re.compile(r"/generate/jobs/\d+/$")


def test_adopt(page, live_netbox):
    pool = make_pool(live_netbox, "Adoption")
    made = call(live_netbox, "GET", f"plugins/vlan-manager/pools/{pool}/")
    vlans = {}
    for vid, name in ((760, "EPG_760"), (761, "EPG_761"), (762, "EPG_762"), (763, "no name")):
        values = {"vid": vid, "name": name, "group": made["vlan_group"]["id"]}
        vlans[vid] = call(live_netbox, "POST", "ipam/vlans/", json=values)["id"]
        values = {"prefix": f"10.71.{vid - 760}.0/24", "vrf": made["vrf"]["id"], "vlan": vlans[vid]}
        call(live_netbox, "POST", "ipam/prefixes/", json=values)
    values = {"address": "10.71.0.7/24", "vrf": made["vrf"]["id"]}
    call(live_netbox, "POST", "ipam/ip-addresses/", json=values)

    page.goto(f"{POOLS_URL}{pool}/")
    page.get_by_role("button", name="More").click()
    page.get_by_role("link", name="Adopt segments").click()
    expect(page.get_by_role("row").filter(has_text="no name (763)")).to_contain_text("Conflict")
    expect(page.get_by_role("row").filter(has_text="EPG_760 (760)")).to_contain_text("1 IP address")
    page.get_by_label("The cluster that holds EPG_761 (761)").fill("prod-01")
    for vid in (760, 761):
        page.get_by_role("checkbox", name=f"Select EPG_{vid} ({vid})").check()
    page.get_by_role("button", name="Preview selected").click()
    expect(page.get_by_text("Nothing has been written yet: 2 segments would be made.")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="EPG_760 (760)")).to_contain_text("Disabled")
    expect(page.get_by_role("row").filter(has_text="EPG_761 (761)")).to_contain_text("Allocated")
    assert find_segments(live_netbox, pool) == {}

    page.get_by_role("button", name="Adopt 2 segments").click()
    expect(page.get_by_text("Adopted 2 segments.")).to_be_visible()
    expect(page.locator("#object_list tbody tr")).to_have_count(2)

    page.goto(f"{POOLS_URL}{pool}/adopt/")
    page.get_by_role("link", name="Ready 1").click()
    expect(page.get_by_role("checkbox", name=re.compile("^Select EPG"))).to_have_count(1)
    page.get_by_role("button", name="Adopt all 1").click()
    page.get_by_role("button", name="Adopt 1 segment").click()
    expect(page.get_by_role("link", name="EPG_762")).to_be_visible()
    segments = find_segments(live_netbox, pool)
    assert {vid: segment["vlan"]["id"] for vid, segment in segments.items()} == {
        vid: vlans[vid] for vid in (760, 761, 762)
    }
    assert segments[762]["prefix"]["prefix"] == "10.71.2.0/24"
    statuses = {vid: segment["status"]["value"] for vid, segment in segments.items()}
    assert statuses == {760: "disabled", 761: "allocated", 762: "available"}


def test_generate(page, live_netbox):
    pool = make_pool(live_netbox, "Generate")
    page.goto(f"{POOLS_URL}{pool}/")
    page.get_by_role("link", name="Segments", exact=True).last.click()
    expect(page.get_by_text("This pool has no segments yet")).to_be_visible()
    page.locator(".empty").get_by_role("link", name="Generate").click()

    # The test uses only the keyboard. Enter requests the preview, and never generates.
    page.get_by_label("Number of segments").focus()
    page.keyboard.type("3")
    page.keyboard.press("Tab")
    page.keyboard.type("770")
    length = page.get_by_label("Prefix length")
    expect(length).to_have_value("24")
    length.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("EPG_{pool}_{vid}")
    expect(page.get_by_text("→ EPG_Generate_770")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("row").filter(has_text="EPG_Generate_772")).to_contain_text("10.0.2.0/24")
    assert find_segments(live_netbox, pool) == {}

    # The preview is out of date once a field changes.
    page.get_by_label("Number of segments").fill("2")
    expect(page.get_by_role("button", name="Generate 3 segments")).to_have_count(0)
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Generate 2 segments").click()
    expect(page.get_by_text("Generated 2 segments.")).to_be_visible()
    expect(page.locator("#object_list tbody tr")).to_have_count(2)
    segments = find_segments(live_netbox, pool)
    assert {vid: (segment["epg_name"], segment["prefix"]["prefix"]) for vid, segment in segments.items()} == {
        770: ("EPG_Generate_770", "10.0.0.0/24"),
        771: ("EPG_Generate_771", "10.0.1.0/24"),
    }


def test_long_generation(page, live_netbox, worker):
    """Generates too many segments to make while the browser waits."""
    pool = make_pool(live_netbox, "Long")
    page.goto(f"{POOLS_URL}{pool}/generate/")
    page.get_by_label("Number of segments").fill("1001")
    page.get_by_label("Prefix length", exact=True).fill("28")
    page.get_by_role("button", name="Preview").click()
    expect(page).to_have_url(JOB_URL)
    generate = page.get_by_role("button", name="Generate 1,001 segments")
    expect(generate).to_be_visible(timeout=120_000)
    assert find_segments(live_netbox, pool) == {}

    generate.click()
    expect(page).to_have_url(JOB_URL)
    expect(page.get_by_role("heading", name="Generated 1,001 segments")).to_be_visible(timeout=120_000)
    page.get_by_role("link", name="Show segments").click()
    expect(page.get_by_role("link", name="Segments 1001")).to_be_visible()
    params = {"pool_id": pool, "ordering": "-vid", "limit": 1}
    found = call(live_netbox, "GET", "plugins/vlan-manager/segments/", params=params)
    (last,) = found["results"]
    assert (found["count"], last["vid"], last["prefix"]["prefix"]) == (1001, 1001, "10.0.62.128/28")


def test_dual_stack(page, live_netbox):
    pool = make_pool(live_netbox, "Dual")
    made = call(live_netbox, "GET", f"plugins/vlan-manager/pools/{pool}/")
    vrf = made["vrf"]["id"]
    values = {"prefix": "2001:db8::/32", "vrf": vrf, "status": "container"}
    container = call(live_netbox, "POST", "ipam/prefixes/", json=values)["id"]
    values = {"prefixes": [made["prefixes"][0]["id"], container]}
    call(live_netbox, "PATCH", f"plugins/vlan-manager/pools/{pool}/", json=values)

    page.goto(f"{POOLS_URL}{pool}/segments/")
    page.get_by_role("button", name="Add Segment").click()
    expect(page.locator("#id_pool option:checked")).to_have_text("Dual")
    page.get_by_label("VLAN ID").fill("780")
    page.get_by_label("EPG name").fill("EPG_780")
    page.get_by_label("Prefix", exact=True).fill("10.72.0.0/24")
    page.get_by_label("IPv6 prefix").fill("2001:db9::/64")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_text("Prefix 2001:db9::/64 lies in no container")).to_be_visible()
    page.get_by_label("IPv6 prefix").fill("2001:db8:72::/64")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page).to_have_url(re.compile(rf"/pools/{pool}/segments/"))

    page.get_by_role("link", name="EPG_780", exact=True).click()
    for prefix in ("10.72.0.0/24", "2001:db8:72::/64"):
        expect(page.get_by_role("link", name=prefix)).to_be_visible()
    segment = find_segments(live_netbox, pool)[780]
    assert segment["ipv6_prefix"]["prefix"] == "2001:db8:72::/64"
    prefixes = call(live_netbox, "GET", "ipam/prefixes/", params={"vrf_id": vrf, "vlan_id": segment["vlan"]["id"]})
    assert {prefix["prefix"] for prefix in prefixes["results"]} == {"10.72.0.0/24", "2001:db8:72::/64"}
