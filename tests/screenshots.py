"""Takes the pictures of the README and the documentation, on a NetBox with demo data: python -m tests.screenshots"""

import io
import signal
import sys

import requests
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser import BrowserError, launch_browser
from tests.stack import Stack, StackError
from tests.stack.database import PROJECT

FOLDER = PROJECT / "docs" / "images"
PLUGIN = "/plugins/vlan-manager"

CSV = """site,vlan_id,epg_name,segment,vrf,dhcp,description
Site1,120,EPG_Site1_Network1_120,10.11.20.0/24,Network1,true,Production
Site1,121,EPG_Site1_Network1_121,10.11.21.0/24,Network1,true,Production
Site1,122,EPG Site1 122,10.11.22.0/24,Network1,true,Production
Site1,109,EPG_Site1_Network1_109,10.11.9.0/24,Network1,true,Staging
Site1,5000,EPG_Site1_Network1_5000,10.11.23.0/24,Network1,true,Staging
Site1,108,EPG_Site1_Network1_108,10.11.8.0/24,Network1,true,
Site1,124,EPG_Site1_Network1_124,192.168.24.0/24,Network1,true,Lab
"""


def main():
    """
    Take the pictures.

    Returns:
        The exit code.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Stack() as stack, sync_playwright() as playwright:
            netbox = stack.serve(stack.create_database(), 8000, username="admin")
            netbox.database.netbox("vlan_manager_demo", "--user", "admin")
            fill_pool(netbox)
            break_pool(netbox)
            browser = launch_browser(playwright)
            FOLDER.mkdir(parents=True, exist_ok=True)
            with browser.new_context(base_url=netbox.url) as context:
                context.add_cookies(netbox.login())
                take_pictures(context.new_page())
    except (BrowserError, StackError) as e:
        print(e, file=sys.stderr)
        return 1
    return 0


def fill_pool(netbox):
    """Give one pool of the demo more VLAN IDs, and segments with every status, for its VLAN map."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {netbox.token}"

    def call(method, path, **kwargs):
        response = session.request(method, f"{netbox.url}/api/{path}", timeout=60, **kwargs)
        response.raise_for_status()
        return response.json()

    place = {"site": "Site3", "vrf": "Network1"}
    (group,) = call("GET", "ipam/vlan-groups/", params={"name": "Network1-Site3"})["results"]
    call("PATCH", f"ipam/vlan-groups/{group['id']}/", json={"vid_ranges": [[2100, 2699]]})
    for vid in range(2680, 2690):
        call("POST", "ipam/vlans/", json={"group": group["id"], "vid": vid, "name": f"Transit_{vid}"})
    vids = (*range(2110, 2150), *range(2200, 2280), *range(2300, 2400), *range(2450, 2470))
    rows = [
        place | {"vlan_id": vid, "epg_name": f"EPG_Site3_Network1_{vid}", "segment": f"10.13.{number}.0/24"}
        for number, vid in enumerate(vids, 10)
    ]
    call("POST", "plugins/vlan-manager/segments/import/", json=rows)
    for number in range(90):
        call("POST", "plugins/vlan-manager/allocate-vlan/", json=place | {"cluster_name": f"edge-{number + 10}"})
    for number in (17, 24, 25, 47, 81):
        call("POST", "plugins/vlan-manager/release-vlan/", json=place | {"cluster_name": f"edge-{number}"})
    for vid in (2262, 2263, 2264, 2265):
        (segment,) = call("GET", "plugins/vlan-manager/segments/", params={"vid": vid})["results"]
        call("POST", f"plugins/vlan-manager/segments/{segment['id']}/disable/", json={"reason": "Cabling"})


def break_pool(netbox):
    """Cause drift with changes past the guards, as a script does, for the page that reports it."""
    with netbox.database.connect() as connection:
        connection.execute("UPDATE ipam_prefix SET vlan_id = NULL WHERE prefix = '10.22.1.0/24'")
        connection.execute("UPDATE ipam_prefix SET prefix = '10.99.4.0/24' WHERE prefix = '10.22.4.0/24'")
        connection.execute("UPDATE ipam_vlan SET status = 'deprecated' WHERE name = 'EPG_Site2_Network2_1202'")
        connection.execute("UPDATE ipam_vlan SET name = 'web servers' WHERE name = 'EPG_Site2_Network2_1203'")


def take_pictures(page):
    """Open the pages and write a picture of each."""

    def show(path, link=None, height=800):
        page.set_viewport_size({"width": 1280, "height": height})
        page.goto(path)
        if link:
            page.get_by_role("link", name=link, exact=True).click()

    def take(name):
        page.wait_for_load_state("networkidle")
        # Hidden scroll bars would leave a stripe.
        data = page.screenshot(animations="disabled", style="html { scrollbar-gutter: auto !important }")
        # The pages have few colors: a palette halves the file.
        Image.open(io.BytesIO(data)).convert("RGB").quantize().save(FOLDER / f"{name}.png", optimize=True)

    show(f"{PLUGIN}/overview/")
    page.evaluate("setMode('dark')")
    take("overview-dark")
    page.evaluate("setMode('light')")
    take("overview")

    page.locator("#id_pool-ts-control").click()
    page.get_by_role("option", name="Site1 in Network1").click()
    page.get_by_label("Cluster name").fill("prod-01")
    page.get_by_role("button", name="Allocate").click()
    page.locator("#allocate-result").wait_for()
    take("allocate")

    show(f"{PLUGIN}/allocations/allocate/")
    page.locator("#id_pool-ts-control").click()
    page.get_by_role("option", name="Network1 Site1 (5 of 10 available)").click()
    page.get_by_label("Cluster name").fill("prod-04")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("heading", name="Preview").wait_for()
    take("preview")

    show(f"{PLUGIN}/pools/", "Network1 Site2", height=950)
    take("pool")

    page.get_by_role("button", name="More").click()
    page.get_by_role("link", name="Generate segments").click()
    page.get_by_label("Number of segments").fill("8")
    page.get_by_label("Prefix length", exact=True).fill("24")
    page.get_by_label("IPv6 prefix length").fill("64")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Generate 8 segments").wait_for()
    take("generate")

    show(f"{PLUGIN}/pools/", "Network1 Site3", height=640)
    page.get_by_role("link", name="VLAN Map").click()
    page.get_by_role("link", name="VLAN 2225").hover()
    take("map")

    show(f"{PLUGIN}/segments/import/")
    page.get_by_label("Data", exact=True).fill(CSV)
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("heading", name="Import preview").wait_for()
    take("import")

    show("/dcim/site-groups/?name=Site2", "Site2")
    take("site-group")

    show(f"{PLUGIN}/drift/", height=760)
    take("drift")


if __name__ == "__main__":
    sys.exit(main())
