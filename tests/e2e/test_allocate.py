import re

import pytest
from playwright.sync_api import expect

from tests.e2e.forms import choose
from tests.e2e.rest import call, make_pool

pytestmark = pytest.mark.e2e

OVERVIEW_URL = "/plugins/vlan-manager/overview/"
ALLOCATIONS_URL = "/plugins/vlan-manager/allocations/"
ALLOCATE_URL = f"{ALLOCATIONS_URL}allocate/"


def log_in_again(page, live_netbox):
    page.get_by_label("Username").fill(live_netbox.username)
    page.get_by_label("Password").fill(live_netbox.password)
    page.get_by_role("button", name="Sign In").click()


def cluster_names(live_netbox, pool):
    """Return the clusters of all allocations in a pool, released ones included."""
    found = call(live_netbox, "GET", "plugins/vlan-manager/allocations/", params={"pool_id": pool})
    return [allocation["cluster_name"] for allocation in found["results"]]


def test_allocate_then_release(page, live_netbox):
    make_pool(live_netbox, "Release pool", (700, 701))
    page.goto(ALLOCATIONS_URL)
    page.get_by_role("button", name="Allocate").click()

    choose(page, "pool", "Release pool (2 of 2 available)")
    page.get_by_label("Cluster name").fill("prod,01")
    page.get_by_role("button", name="Allocate", exact=True).last.click()
    expect(page.get_by_text("leave out commas")).to_be_visible()

    page.get_by_label("Cluster name").fill("prod-01")
    page.get_by_role("button", name="Allocate", exact=True).last.click()
    expect(page).to_have_url(re.compile(r"/allocations/\d+/$"))
    expect(page.get_by_text("Allocated VLAN 700, prefix 10.70.0.0/24, EPG EPG_700 to cluster prod-01.")).to_be_visible()

    page.goto(ALLOCATIONS_URL)
    row = page.get_by_role("row").filter(has_text="prod-01")
    expect(row).to_contain_text("Active")
    expect(row).to_contain_text("EPG_700")

    row.get_by_role("link", name="prod-01", exact=True).click()
    release = page.get_by_role("button", name="Release", exact=True)
    release.click()
    dialog = page.locator("#htmx-modal")
    expect(dialog).to_contain_text("Cluster prod-01 will no longer hold VLAN 700")
    dialog.get_by_role("button", name="Release").click()
    expect(page.get_by_text("Released prod-01: EPG_700 (700).")).to_be_visible()
    expect(release).to_have_count(0)


def test_quick_allocate(page, live_netbox):
    make_pool(live_netbox, "Quick", (710,))
    make_pool(live_netbox, "Other")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(OVERVIEW_URL)

    choose(page, "vrf", "Quick network")
    expect(page.locator("#id_pool option")).to_have_text(["---------", "Quick site: Quick"])
    choose(page, "pool", "Quick site: Quick")
    page.get_by_label("Cluster name").fill("quick-01")
    page.get_by_role("button", name="Allocate").click()

    result = page.locator("#allocate-result")
    expect(result).to_contain_text("Allocated to cluster quick-01.")
    for label, value in (("VLAN ID", "710"), ("Prefix", "10.70.0.0/24"), ("EPG", "EPG_710")):
        result.get_by_role("button", name=f"Copy {label}").click()
        assert page.evaluate("navigator.clipboard.readText()") == value
    expect(page.get_by_role("listitem").filter(has_text="quick-01")).to_contain_text("VLAN 710, 10.70.0.0/24, EPG_710")

    # The pool has only one segment. Its holder still gets it; another cluster gets the reason for the refusal.
    expect(page.locator("#id_pool option:checked")).to_have_text("Quick site: Quick (no segment available)")
    page.get_by_label("Cluster name").fill("QUICK-01")
    page.get_by_role("button", name="Allocate").click()
    expect(result).to_contain_text("already holds this; nothing new was allocated")
    page.get_by_label("Cluster name").fill("quick-02")
    page.get_by_role("button", name="Allocate").click()
    expect(page.get_by_role("alert")).to_contain_text("no available segment")
    expect(page.get_by_label("Cluster name")).to_have_value("quick-02")


def test_double_click_on_the_overview(page, live_netbox):
    pool = make_pool(live_netbox, "Twice", (720, 721))
    posts = []
    page.on("request", lambda request: posts.append(request) if request.method == "POST" else None)
    page.goto(OVERVIEW_URL)
    choose(page, "pool", "Twice site: Twice in Twice network")
    page.get_by_label("Cluster name").fill("twice-01")
    page.get_by_role("button", name="Allocate").dblclick()

    expect(page.locator("#allocate-result")).to_contain_text("Allocated to cluster twice-01.")
    page.wait_for_load_state("networkidle")
    assert len(posts) == 1
    assert cluster_names(live_netbox, pool) == ["twice-01"]


def test_double_click_on_the_form(page, live_netbox):
    pool = make_pool(live_netbox, "Twice more", (730, 731))
    posts = []
    page.on("request", lambda request: posts.append(request) if request.method == "POST" else None)
    page.goto(f"{ALLOCATE_URL}?pool={pool}&cluster_name=twice-02")
    page.get_by_role("button", name="Allocate", exact=True).last.dblclick()

    expect(page.get_by_text("Allocated VLAN 730")).to_be_visible()
    assert len(posts) == 1
    assert cluster_names(live_netbox, pool) == ["twice-02"]


def test_session_that_ends_loses_nothing(page, live_netbox):
    pool = make_pool(live_netbox, "Late", (740,))
    page.goto(ALLOCATE_URL)
    choose(page, "pool", "Late (1 of 1 available)")
    page.get_by_label("Cluster name").fill("late & <b>01</b>")
    page.get_by_label("Description").fill("Needed until Friday")
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Allocate", exact=True).last.click()

    expect(page.get_by_text("Your session has ended and nothing was saved")).to_be_visible()
    log_in_again(page, live_netbox)
    expect(page.locator("#id_pool option:checked")).to_contain_text("Late")
    expect(page.get_by_label("Cluster name")).to_have_value("late & <b>01</b>")
    expect(page.get_by_label("Description")).to_have_value("Needed until Friday")
    page.get_by_role("button", name="Allocate", exact=True).last.click()
    expect(page.get_by_role("heading", name="late & <b>01</b>")).to_be_visible()
    assert cluster_names(live_netbox, pool) == ["late & <b>01</b>"]


def test_session_that_ends_on_the_overview(page, live_netbox):
    make_pool(live_netbox, "Later", (750,))
    page.goto(OVERVIEW_URL)
    choose(page, "pool", "Later site: Later in Later network")
    page.get_by_label("Cluster name").fill("later-01")
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Allocate").click()

    log_in_again(page, live_netbox)
    expect(page.get_by_label("Cluster name")).to_have_value("later-01")
    page.get_by_role("button", name="Allocate").click()
    expect(page.locator("#result-vid")).to_have_text("750")


def test_the_end_of_a_lease_is_what_was_entered(page, live_netbox):
    make_pool(live_netbox, "Leases", (730,))
    page.goto(ALLOCATE_URL)
    choose(page, "pool", "Leases (1 of 1 available)")
    page.get_by_label("Cluster name").fill("lease-01")
    # NetBox's own date picker would silently change the date; the browser's field refuses this text.
    expires_at = page.get_by_label("Expires at")
    expires_at.click()
    page.keyboard.type("24.12.2034 18:00")
    expect(expires_at).to_have_value("")
    expires_at.fill("2034-12-24T18:00")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Preview").click()
    preview = page.locator("[role=status]").filter(has_text="Preview")
    expect(preview).to_contain_text(re.compile(r"until 2034-12-24 18:00 UTC \(in \d+ days\)"))
    expect(expires_at).to_have_value(re.compile("^2034-12-24T18:00"))
    page.get_by_role("button", name="Allocate", exact=True).last.click()
    expect(page.get_by_text("The cluster holds it until 2034-12-24 18:00 UTC")).to_be_visible()
    (held,) = call(live_netbox, "GET", "plugins/vlan-manager/allocations/?cluster_name=lease-01")["results"]
    assert held["expires_at"] == "2034-12-24T18:00:00Z"

    # The form sends the shown value unchanged.
    page.get_by_role("button", name="Renew").click()
    expect(page.get_by_label("Expires at")).to_have_value(re.compile("^2034-12-24T18:00"))
    page.get_by_role("button", name="Renew").click()
    expect(page.get_by_text("is held until 2034-12-24 18:00 UTC")).to_be_visible()


def test_release_says_what_still_uses_the_segment(page, live_netbox):
    pool = make_pool(live_netbox, "Used", (740, 741))
    made = call(live_netbox, "GET", f"plugins/vlan-manager/pools/{pool}/")
    values = {"cluster_name": "used-01", "pool": pool}
    held = call(live_netbox, "POST", "plugins/vlan-manager/allocations/", json=values)
    for number in (10, 11):
        address = held["prefix"].replace(".0/24", f".{number}/24")
        call(live_netbox, "POST", "ipam/ip-addresses/", json={"address": address, "vrf": made["vrf"]["id"]})
    call(live_netbox, "PATCH", f"plugins/vlan-manager/pools/{pool}/", json={"release_in_use": "refuse"})

    page.goto(f"{ALLOCATIONS_URL}{held['id']}/")
    page.get_by_role("button", name="Release").click()
    dialog = page.locator("#htmx-modal")
    expect(dialog).to_contain_text("is still used by 2 IP addresses. The pool refuses the release.")
    dialog.get_by_role("button", name="Release").click()
    expect(page.get_by_text("is not released: its segment is still used by 2 IP addresses.")).to_be_visible()

    call(live_netbox, "PATCH", f"plugins/vlan-manager/pools/{pool}/", json={"release_in_use": "quarantine"})
    page.goto(f"{ALLOCATIONS_URL}?cluster_name=used-01")
    page.locator("input[name=pk]").check()
    page.get_by_role("button", name="Release Selected").click()
    expect(page.get_by_text("1 of the segments is still in use:")).to_be_visible()
    page.get_by_role("button", name="Release 1 allocation").click()
    expect(page.get_by_text("Released 1 allocation.")).to_be_visible()
    segment = call(live_netbox, "GET", f"plugins/vlan-manager/segments/{held['segment']['id']}/")
    assert segment["status"]["value"] == "quarantined"
    assert segment["quarantined_until"] is None
