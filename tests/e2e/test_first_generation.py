import re

import pytest
from playwright.sync_api import expect

from tests.e2e.rest import call, find_segments

pytestmark = pytest.mark.e2e


@pytest.fixture
def prefixes(live_netbox):
    """First-generation prefixes, {VLAN ID: id}: two that are held, a free one, and one that cannot be migrated."""

    def post(path, **values):
        return call(live_netbox, "POST", f"{path}/", json=values)["id"]

    for name, kind in (("Cluster", "text"), ("DHCP", "boolean")):
        post("extras/custom-fields", name=name, type=kind, object_types=["ipam.prefix"])
    vrf = post("ipam/vrfs", name="Old")
    post("dcim/site-groups", name="Hall", slug="hall")
    post("ipam/prefixes", prefix="10.0.0.0/16", vrf=vrf, status="container")
    group = post("ipam/vlan-groups", name="Old-ClickCluster-Hall", slug="old-clickcluster-hall")
    rows = ((840, "EPG_840", "old-01"), (841, "EPG_841", "old-02"), (842, "EPG_842", None), (843, "no name", None))
    return {
        vid: post(
            "ipam/prefixes",
            prefix=f"10.0.{vid - 840}.0/24",
            vrf=vrf,
            vlan=post("ipam/vlans", vid=vid, name=name, group=group),
            status="reserved" if cluster else "active",
            custom_fields={"Cluster": cluster, "DHCP": True},
        )
        for vid, name, cluster in rows
    }


def test_migration(page, live_netbox, worker, prefixes):
    page.goto("/plugins/vlan-manager/segments/import/")
    page.get_by_role("link", name="Migrate").click()
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page).to_have_url(re.compile(r"/migrate/jobs/\d+/$"))
    expect(page.get_by_text("Nothing has been written yet")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("row").filter(has_text="10.0.3.0/24")).to_contain_text("Fails")
    assert call(live_netbox, "GET", "plugins/vlan-manager/pools/", params={"name": "Old Hall"})["count"] == 0

    page.get_by_role("button", name="Migrate 3 prefixes").click()
    expect(page.get_by_role("heading", name="Migration from the first generation")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="Old Hall")
    expect(row.first).to_be_visible(timeout=60_000)
    expect(page.get_by_text("1 prefix cannot be migrated and stays unchanged")).to_be_visible()
    row.first.get_by_role("link", name="Old Hall").click()
    expect(page.get_by_role("heading", name="Old Hall")).to_be_visible()

    pool = int(re.search(r"/pools/(\d+)/", page.url)[1])
    segments = find_segments(live_netbox, pool)
    assert {vid: (segment["prefix"]["id"], segment["status"]["value"]) for vid, segment in segments.items()} == {
        840: (prefixes[840], "allocated"),
        841: (prefixes[841], "allocated"),
        842: (prefixes[842], "available"),
    }
    params = {"pool_id": pool}
    held = call(live_netbox, "GET", "plugins/vlan-manager/allocations/", params=params)["results"]
    assert {allocation["vid"]: allocation["cluster_name"] for allocation in held} == {840: "old-01", 841: "old-02"}
