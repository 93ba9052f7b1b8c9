import csv
import io

import pytest
from openpyxl import load_workbook
from playwright.sync_api import expect

from tests.e2e.rest import call, make_pool

pytestmark = pytest.mark.e2e

URL = "/plugins/vlan-manager/segments/"


def download(page, name):
    """Choose an entry of the Export menu, and return the downloaded bytes."""
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as started:
        page.get_by_role("link", name=name).click()
    return started.value.path().read_bytes()


def test_filter_and_export(page, live_netbox):
    pool = make_pool(live_netbox, "Export", range(800, 806))
    for number in range(3):
        call(
            live_netbox,
            "POST",
            "plugins/vlan-manager/allocations/",
            json={"pool": pool, "cluster_name": f"export-{number}"},
        )

    page.goto(URL)
    page.get_by_role("tab", name="Filters").click()
    page.locator("#id_pool_id-ts-control").fill("Export")
    page.get_by_role("option", name="Export", exact=True).click()
    page.get_by_role("button", name="Search", exact=True).click()
    rows = page.locator("#object_list tbody tr")
    expect(rows).to_have_count(6)

    page.get_by_role("link", name="Allocated", exact=True).click()
    expect(rows).to_have_count(3)
    expected = {("Export network", str(800 + number), f"export-{number}", "allocated") for number in range(3)}
    exported = csv.DictReader(io.StringIO(download(page, "Segments and allocations (CSV)").decode("utf-8-sig")))
    assert {(row["VRF"], row["VLAN ID"], row["Cluster"], row["Status"]) for row in exported} == expected

    # The page's address does not contain the typed text.
    page.get_by_placeholder("Quick search").press_sequentially("export-2")
    expect(rows).to_have_count(1)
    sheet = load_workbook(io.BytesIO(download(page, "Segments and allocations (XLSX)"))).active
    header, *exported = sheet.iter_rows(values_only=True)
    assert [dict(zip(header, row, strict=True))["Cluster"] for row in exported] == ["export-2"]


def test_disable_then_enable(page, live_netbox):
    pool = make_pool(live_netbox, "Disable", (810, 811))
    page.goto(f"{URL}?pool_id={pool}")
    page.get_by_role("link", name="EPG_810").click()
    page.get_by_role("button", name="Disable").click()
    dialog = page.locator("#htmx-modal")
    dialog.get_by_label("Reason").fill("Cable is cut")
    dialog.get_by_role("button", name="Disable").click()
    expect(page.get_by_text("Cable is cut", exact=True)).to_be_visible()

    # Without being disabled, the segment would be allocated first.
    given = call(
        live_netbox, "POST", "plugins/vlan-manager/allocations/", json={"pool": pool, "cluster_name": "disable-01"}
    )
    assert given["vid"] == 811

    page.get_by_role("button", name="Enable", exact=True).click()
    expect(dialog).to_contain_text("Disabled because: Cable is cut")
    dialog.get_by_role("button", name="Enable").click()
    expect(page.get_by_text("Cable is cut", exact=True)).to_have_count(0)
    expect(page.get_by_role("row").filter(has_text="Status").first).to_contain_text("Available")
