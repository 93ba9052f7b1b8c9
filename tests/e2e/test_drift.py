import pytest
from playwright.sync_api import expect

from tests.e2e.forms import choose
from tests.e2e.rest import call, find_segments, make_pool

pytestmark = pytest.mark.e2e


def test_repair(page, live_netbox, live_database):
    pool = make_pool(live_netbox, "Drifting", (830, 831, 832))
    segments = find_segments(live_netbox, pool)
    with live_database.connect() as connection:
        # Change the tables as a script does, without the guards.
        for segment in segments.values():
            connection.execute("UPDATE ipam_prefix SET vlan_id = NULL WHERE id = %s", [segment["prefix"]["id"]])

    def vlans():
        """Return the VLAN IDs of the segments whose prefixes have their VLAN again."""
        prefixes = {vid: segment["prefix"]["id"] for vid, segment in segments.items()}
        return {vid for vid, prefix in prefixes.items() if call(live_netbox, "GET", f"ipam/prefixes/{prefix}/")["vlan"]}

    page.goto("/plugins/vlan-manager/overview/")
    page.get_by_role("link", name="Drift", exact=True).click()
    choose(page, "pool_id", "Drifting")
    page.get_by_role("button", name="Filter").click()
    rows = page.get_by_role("row").filter(has_text="is not assigned to its VLAN")
    expect(rows).to_have_count(3)

    rows.filter(has_text="EPG_830 (830)").get_by_role("button", name="Repair").click()
    expect(page.get_by_role("heading", name="Repair 1 finding?")).to_be_visible()
    expect(page.get_by_text("Assign prefix 10.70.0.0/24 to VLAN EPG_830 (830).")).to_be_visible()
    assert vlans() == set()
    page.get_by_label("Changelog message").fill("After the script")
    page.get_by_role("button", name="Repair 1 finding").click()
    expect(page.get_by_text("Repaired 1 finding.")).to_be_visible()
    expect(rows).to_have_count(2)
    assert vlans() == {830}

    page.get_by_role("checkbox", name="Toggle all").check()
    page.get_by_role("button", name="Repair selected").click()
    page.get_by_role("button", name="Repair 2 findings").click()
    expect(page.get_by_text("Repaired 2 findings.")).to_be_visible()
    expect(rows).to_have_count(0)
    assert vlans() == {830, 831, 832}
    prefix = segments[830]["prefix"]["id"]
    params = {"changed_object_id": prefix, "changed_object_type": "ipam.prefix", "action": "update"}
    (change,) = call(live_netbox, "GET", "core/object-changes/", params=params)["results"]
    assert (change["user"]["username"], change["message"]) == (live_netbox.username, "After the script")
