import pytest
from playwright.sync_api import expect

from tests.e2e.forms import choose
from tests.e2e.rest import call

pytestmark = pytest.mark.e2e


def test_make_and_edit_an_event_rule(page, live_netbox):
    values = {"name": "Fabric of pools", "payload_url": "http://localhost/"}
    call(live_netbox, "POST", "extras/webhooks/", json=values)
    page.goto("/extras/event-rules/add/")
    page.get_by_label("Name", exact=True).fill("Tell the fabric")
    choose(page, "object_types", "VLAN Manager > Allocation")
    # The list of a multiple-choice field stays open after a choice.
    page.keyboard.press("Escape")
    choose(page, "event_types", "Segment allocated")
    page.keyboard.press("Escape")
    choose(page, "action_choice", "Fabric of pools")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_text("Segment allocated").first).to_be_visible()

    (rule,) = call(live_netbox, "GET", "extras/event-rules/?name=Tell%20the%20fabric")["results"]
    assert rule["event_types"] == ["vlan_manager_allocated"]
    page.goto(f"/extras/event-rules/{rule['id']}/edit/")
    choose(page, "event_types", "Allocation expired")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Allocation expired").first).to_be_visible()
    assert call(live_netbox, "GET", f"extras/event-rules/{rule['id']}/")["event_types"] == [
        "vlan_manager_allocated",
        "vlan_manager_expired",
    ]
