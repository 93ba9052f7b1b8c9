import re

import pytest
from playwright.sync_api import expect

from tests.benchmarks.world import fill

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def map_url(live_database):
    """The path of the VLAN map of a pool whose group has all VLAN IDs, with VLANs 1 to 250, two of them allocated."""
    with live_database.connect() as connection:
        fill(connection, "Map", 1, 250, taken=2)
        (pool,) = connection.execute("SELECT id FROM netbox_vlan_manager_segmentpool WHERE name = 'Map-1'").fetchone()
    return f"/plugins/vlan-manager/pools/{pool}/map/"


def test_hover_and_click(page, map_url):
    page.goto(map_url)
    cell = page.get_by_role("link", name="VLAN 2, Allocated, 10.0.2.0/24, EPG_2, taken-2", exact=True)
    cell.hover()
    expect(page.locator(".tooltip.show")).to_have_text("VLAN 2, Allocated, 10.0.2.0/24, EPG_2, taken-2")

    cell.click()
    expect(page).to_have_url(re.compile(r"/segments/\d+/$"))
    expect(page.get_by_role("heading", name="EPG_2 (2)")).to_be_visible()


def test_add_a_segment_and_come_back(page, map_url):
    page.goto(map_url)
    page.get_by_role("link", name="VLAN 300, Unused", exact=True).click()
    expect(page.get_by_label("VLAN ID")).to_have_value("300")

    page.get_by_label("EPG name").fill("EPG_300")
    page.get_by_label("Prefix", exact=True).fill("10.1.44.0/24")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page).to_have_url(re.compile(map_url))
    expect(page.get_by_role("link", name="VLAN 300, Available, 10.1.44.0/24, EPG_300", exact=True)).to_be_visible()


@pytest.mark.parametrize(("width", "below"), [(1440, 151), (400, 121)])
def test_keyboard(page, map_url, width, below):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(map_url)
    expect(page.locator("#vlan-map[data-ready]")).to_be_attached()
    assert page.locator("#vlan-map [tabindex='0']").count() == 1

    def press(*keys):
        for key in keys:
            page.keyboard.press(key)
        return page.evaluate("document.activeElement.ariaLabel").split(",")[0]

    page.locator("#vlan-map [tabindex='0']").focus()
    assert press("ArrowLeft") == "VLAN 1"
    assert press("PageDown") == "VLAN 101"
    assert press("ArrowDown") == f"VLAN {below}"
    assert press("ArrowUp", "ArrowRight") == "VLAN 102"
    expect(page.locator(".tooltip.show")).to_have_text("VLAN 102, Available, 10.0.102.0/24, EPG_102")
    assert press("End") == "VLAN 4094"
    assert press("Home") == "VLAN 1"
    page.keyboard.press("Escape")
    expect(page.locator(".tooltip.show")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="EPG_1 (1)")).to_be_visible()


def test_without_scripts(browser, live_netbox, map_url):
    with browser.new_context(base_url=live_netbox.url, java_script_enabled=False) as context:
        context.add_cookies(live_netbox.login())
        page = context.new_page()
        page.goto(map_url)
        page.get_by_role("link", name=re.compile("^VLAN 2, Allocated")).click()
        expect(page.get_by_role("heading", name="EPG_2 (2)")).to_be_visible()
