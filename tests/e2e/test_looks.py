from datetime import date, timedelta

import pytest
from playwright.sync_api import expect

from tests.e2e.rest import call, make_pool

pytestmark = pytest.mark.e2e

PLUGIN = "/plugins/vlan-manager"

# SQL that adds ninety daily snapshots of a pool that fills up.
SNAPSHOTS = """
INSERT INTO netbox_vlan_manager_poolsnapshot
    (pool_id, date, total_segments, allocated, available, quarantined, disabled)
SELECT %s, current_date - age, 100, 90 - age, 10 + age, 0, 0 FROM generate_series(1, 90) AS age
"""

# A function that returns the texts of the page's body with their contrast and the minimum contrast. The minimum is
# WCAG's, except for NetBox's own badges, buttons and bars, some of which are pale.
READ = """() => {
  const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  function blend(color, below) {
    for (const style of [`rgb(${below})`, color]) {
      pixel.fillStyle = style;
      pixel.fillRect(0, 0, 1, 1);
    }
    return [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3);
  }
  function background(element) {
    const below = element.parentElement ? background(element.parentElement) : [255, 255, 255];
    return blend(getComputedStyle(element).backgroundColor, below);
  }
  function luminance(color) {
    const [red, green, blue] = color.map((value) => ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }
  function look(what, element, color, least) {
    const below = background(element);
    const [dark, light] = [below, blend(color, below)].map(luminance).sort((one, other) => one - other);
    return { what, contrast: (light + 0.05) / (dark + 0.05), least, background: luminance(below) };
  }

  const parts = [];
  for (const element of document.querySelectorAll(".page-body *:not(script, style, title, desc, .visually-hidden)")) {
    const style = getComputedStyle(element);
    const text = [...element.childNodes].map((node) => (node.nodeType === 3 ? node.data : "")).join("").trim();
    if (!element.checkVisibility()) {
      continue;
    }
    if (text) {
      const color = element instanceof SVGElement ? style.fill : style.color;
      parts.push(look(text, element, color, element.closest(".badge, .btn, .progress-bar") ? 2 : 4.5));
    } else if (element.matches(".vlan-map-cell, .vlan-map-ten > [aria-label]")) {
      parts.push(look(element.className, element, style.color, 3));
    } else if (element.matches("#utilization-history path[fill=none]")) {
      parts.push(look("curve", element, style.stroke, 3));
    }
  }
  return parts;
}"""

# A function that returns the number of buttons in rows of tables, and the labels of those outside of the table's area.
ROW_BUTTONS = """() => {
  const buttons = [...document.querySelectorAll(".table-responsive td .btn")];
  const outside = buttons.filter((button) => {
    const area = button.closest(".table-responsive").getBoundingClientRect();
    const { left, right } = button.getBoundingClientRect();
    return button.checkVisibility() && (left < area.left || right > area.right);
  });
  return { count: buttons.length, outside: outside.map((button) => button.ariaLabel) };
}"""


@pytest.fixture(scope="module")
def paths(live_netbox):
    """The paths of the pages of a pool with data of every kind, and of the pages about all pools."""

    def post(path, **values):
        return call(live_netbox, "POST", f"{path}/", json=values)

    pool = make_pool(live_netbox, "Looks", range(900, 930))
    made = call(live_netbox, "GET", f"plugins/vlan-manager/pools/{pool}/")
    post("ipam/vlans", name="Taken", vid=950, group=made["vlan_group"]["id"])
    for number in range(25):
        name = f"looks-{number}-".ljust(100, "x")
        allocation = post("plugins/vlan-manager/allocations", pool=pool, cluster_name=name)
    (last,) = call(live_netbox, "GET", "plugins/vlan-manager/segments/", params={"vid": 929})["results"]
    post(f"plugins/vlan-manager/segments/{last['id']}/disable", reason="Cable is cut")
    shared = allocation["segment"]["id"]
    clusters = [allocation["cluster_name"], "looks-shared-a", "looks-shared-b"]
    call(live_netbox, "PUT", f"plugins/vlan-manager/segments/{shared}/clusters/", json={"cluster_names": clusters})
    expiring = {
        "pool": pool,
        "cluster_name": "looks-expiring",
        "expires_at": f"{date.today() + timedelta(days=30)}T12:00:00Z",
    }
    released = post("plugins/vlan-manager/allocations", **expiring)
    post("plugins/vlan-manager/allocations", **expiring, purpose="storage")
    place = {"site": "Looks site", "vrf": "Looks network"}
    post("plugins/vlan-manager/release-vlan", **place, cluster_name=released["cluster_name"])
    long_names = {"ipv6_prefix": "2001:db8:1234:5678::/64", "epg_name": "EPG_Munich_Campus_Building_7_3000"}
    container = post("ipam/prefixes", prefix="2001:db8::/32", vrf=made["vrf"]["id"], status="container")["id"]
    containers = [*(prefix["id"] for prefix in made["prefixes"]), container]
    call(live_netbox, "PATCH", f"plugins/vlan-manager/pools/{pool}/", json={"prefixes": containers})
    call(live_netbox, "PATCH", f"plugins/vlan-manager/segments/{shared}/", json=long_names)
    call(live_netbox, "PATCH", f"plugins/vlan-manager/pools/{pool}/", json={"name": "looks-".ljust(100, "x")})
    with live_netbox.database.connect() as connection:
        connection.execute(SNAPSHOTS, [pool])
        connection.execute("UPDATE ipam_prefix SET vlan_id = NULL WHERE id = %s", [last["prefix"]["id"]])
    return [
        f"{PLUGIN}/{path}"
        for path in (
            "overview/",
            "pools/",
            f"pools/{pool}/",
            f"pools/{pool}/map/",
            f"pools/{pool}/segments/",
            f"pools/{pool}/allocations/",
            f"pools/{pool}/generate/",
            f"pools/{pool}/adopt/",
            f"pools/{pool}/resize/",
            f"pools/{pool}/merge/",
            f"pools/{pool}/retire/",
            "segments/?q=looks-",
            f"segments/{last['id']}/",
            f"segments/{shared}/history/",
            "segments/import/",
            "segments/migrate/",
            "allocations/?q=looks-",
            f"allocations/{allocation['id']}/",
            "allocations/allocate/",
            "drift/",
            "help/",
        )
    ]


def test_dark_mode(page, paths):
    page.goto(paths[0])
    page.get_by_role("button", name="Enable dark mode").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    pale, bright = [], []
    for path in paths:
        page.goto(path)
        parts = page.evaluate(READ)
        assert len(parts) > 5
        pale += [(path, part) for part in parts if part["contrast"] < part["least"]]
        bright += [(path, part) for part in parts if part["least"] == 4.5 and part["background"] > 0.1]
    assert pale == []
    assert bright == []


def test_narrow_window(page, paths):
    page.set_viewport_size({"width": 400, "height": 800})
    widths = {}
    for path in paths:
        page.goto(path)
        widths[path] = page.evaluate("document.documentElement.scrollWidth")
        # Tables scroll.
        for button in page.locator(".table-responsive td .btn:visible").all()[-1:]:
            button.scroll_into_view_if_needed()
            expect(button).to_be_in_viewport(ratio=1)
    assert widths == dict.fromkeys(paths, 400)


def test_row_buttons_in_a_small_window(page, paths):
    page.set_viewport_size({"width": 1280, "height": 800})
    counts, outside = {}, {}
    for path in paths:
        page.goto(path)
        buttons = page.evaluate(ROW_BUTTONS)
        counts[path.split("?")[0].split("/")[-2]] = buttons["count"]
        if buttons["outside"]:
            outside[path] = buttons["outside"]
    assert outside == {}
    with_buttons = {name for name, count in counts.items() if count}
    assert with_buttons >= {"pools", "segments", "allocations", "history", "drift"}


def test_import_preview_in_a_narrow_window(page, paths):
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(f"{PLUGIN}/segments/import/")
    page.get_by_label("Data", exact=True).fill(
        "site,vlan_id,epg_name,segment,vrf\n"
        "Looks site,5000,EPG_900,10.70.0.0/24,Looks network\n"
        f"Looks site,901,{'EPG_' * 16},10.70.1.0/24,Looks network\n"
        "Looks site,931,EPG_931,10.70.31.0/24,Looks network\n"
    )
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("button", name="Import the 2 good rows")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 400
