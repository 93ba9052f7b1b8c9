import re

import pytest
from playwright.sync_api import expect

from tests.e2e.rest import make_pool

pytestmark = pytest.mark.e2e

URL = "/plugins/vlan-manager/segments/import/"
HEADER = "site,vlan_id,epg_name,segment,vrf,dhcp,description\n"
JOB_URL = re.compile(r"/import/jobs/\d+/$")


@pytest.fixture(scope="module", autouse=True)
def _pool(live_netbox):
    make_pool(live_netbox, "Import")


def line(vid, epg_name=None):
    return (
        f"Import site,{vid},{epg_name or f'EPG_{vid}'},10.{72 + vid // 256}.{vid % 256}.0/24,Import network,true,Text\n"
    )


def test_import_with_three_bad_rows(page):
    bad = line(5000) + line(9, "not valid") + "Nowhere,10,EPG_10,10.72.10.0/24,Import network,,\n"
    page.goto("/plugins/vlan-manager/segments/")
    page.get_by_role("link", name="Import", exact=True).last.click()
    page.get_by_label("Data", exact=True).fill(HEADER + line(1) + bad + line(2))
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("row").filter(has_text="Fails")).to_have_count(3)
    expect(page.get_by_role("row").filter(has_text="Create")).to_have_count(2)

    page.get_by_role("button", name="Back").click()
    page.get_by_label("Data", exact=True).fill(HEADER + line(1) + bad + line(2) + line(3))
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Import the 3 good rows").click()
    expect(page.get_by_role("row").filter(has_text="Failed")).to_have_count(3)
    page.get_by_role("link", name="EPG_3 (3)").click()
    expect(page.get_by_role("heading", name="EPG_3 (3)")).to_be_visible()


def test_session_that_ends_loses_nothing(page, live_netbox):
    text = HEADER + line(1)
    page.goto(URL)
    page.get_by_label("Data", exact=True).fill(text)
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Preview").click()

    page.get_by_label("Username").fill(live_netbox.username)
    page.get_by_label("Password").fill(live_netbox.password)
    page.get_by_role("button", name="Sign In").click()
    expect(page.get_by_label("Data", exact=True)).to_have_value(text)


def log_in(page, live_netbox):
    page.get_by_label("Username").fill(live_netbox.username)
    page.get_by_label("Password").fill(live_netbox.password)
    page.get_by_role("button", name="Sign In").click()


def test_session_that_ends_loses_no_long_text(page, live_netbox, page_problems):
    """A text that came as a file is kept too; the preview page contains it as text."""
    text = HEADER + "".join(line(vid) for vid in range(100, 200))
    page.goto(URL)
    page.get_by_role("tab", name="Upload File").click()
    page.locator("#id_upload_upload_file").set_input_files(
        {"name": "a.csv", "mimeType": "text/csv", "buffer": text.encode()}
    )
    page.get_by_role("tabpanel").get_by_role("button", name="Preview").click()
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Import 100 segments").click()
    expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
    assert "403" in page_problems.pop()
    page.get_by_role("link", name="Log In").click()

    log_in(page, live_netbox)
    expect(page.get_by_label("Data", exact=True)).to_have_value(text)


def test_selection_is_sent_again_after_the_session_has_ended(page, live_netbox, page_problems):
    page.goto(URL)
    page.get_by_label("Data", exact=True).fill(HEADER + line(90) + line(91))
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Import 2 segments").click()
    page.goto("/plugins/vlan-manager/segments/?vid=90&vid=91")
    page.get_by_role("checkbox", name="Toggle all").check()
    page.get_by_role("button", name="Edit Selected").click()
    page.get_by_label("Description").fill("Sent <b>again</b>")
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("you can send it again")).to_be_visible()
    assert "403" in page_problems.pop()
    page.get_by_role("link", name="Log In").click()

    log_in(page, live_netbox)
    expect(page.get_by_role("row").filter(has_text="Selected objects")).to_contain_text("2")
    expect(page.get_by_role("row").filter(has_text="description")).to_contain_text("Sent <b>again</b>")
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("Updated 2 segments")).to_be_visible()
    page.goto("/plugins/vlan-manager/resend/")
    expect(page.get_by_text("There is nothing to send again")).to_be_visible()


def test_long_import(page, worker):
    """The text has too many rows to import while the browser waits, and is too long for a form field."""
    text = HEADER + "".join(line(vid) for vid in range(100, 700)) + (" " * 100_000 + "\n") * 27
    page.goto(URL)
    page.evaluate("text => document.getElementById('id_direct_data').value = text", text)
    page.get_by_role("button", name="Preview").click()
    expect(page).to_have_url(JOB_URL)
    page.get_by_role("button", name="Import 600 segments").click(timeout=120_000)

    expect(page.get_by_role("heading", name="Import results")).to_be_visible(timeout=120_000)
    expect(page.get_by_role("link", name="Created 600")).to_be_visible()
    page.get_by_role("link", name="EPG_100 (100)").click()
    expect(page.get_by_role("heading", name="EPG_100 (100)")).to_be_visible()
