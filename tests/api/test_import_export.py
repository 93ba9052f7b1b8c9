"""Files that REST exports, posted to REST's import."""

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dcim.models import Location
from ipam.models import VRF
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import allocate, disable_segment
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_segment, make_site, make_user, permit
from tests.services.onboarding.test_foreign_files import HEADER, csv_of, line

pytestmark = pytest.mark.django_db

TYPES = {
    "csv": "text/csv",
    "json": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# An export of an older release, without pools, purposes and expiries.
OLD = """Site,VRF,VLAN ID,EPG Name,Segment,DHCP,Description,Cluster,Allocated At,Released At,Status,IPv6 Prefix\r
Site1,Network1,100,EPG_100,10.0.0.0/24,True,,"prod-01, prod-02",2025-03-01T08:00:00+00:00,,allocated,\r
Site1,Network1,101,EPG_101,10.0.1.0/24,False,,,,2025-03-01T08:00:00+00:00,available,\r
Site1,Network1,102,EPG_102,10.0.2.0/24,False,,,,,disabled,\r
"""


@pytest.fixture
def client():
    return client_of(make_user("root", is_superuser=True))


def post(client, content, kind, query=""):
    return client.generic("POST", url_of("segment-import") + query, content, content_type=TYPES.get(kind, kind))


def export(client, kind):
    response = client.get(url_of("export-segments"), {"format": kind})
    assert response.status_code == 200
    return b"".join(response.streaming_content)


def delete_segments():
    # The models refuse to delete history.
    Allocation.objects.order_by()._raw_delete(connection.alias)
    Segment.objects.update(status="available")
    for segment in Segment.objects.all():
        segment.delete()


@pytest.mark.parametrize("kind", TYPES)
def test_export_comes_back(client, kind):
    """The export has a disabled segment, a cluster with two purposes, and two places of one name."""
    user, vrf = make_user(), VRF.objects.create(name="V")
    pools = [
        make_pool(
            vrf,
            Location.objects.create(name="Hall", slug="hall", site=make_site(site)),
            container=f"10.{number}.0.0/16",
            name=f"Hall {site}",
            segments=3,
        )
        for number, site in enumerate("AB")
    ]
    disable_segment(Segment.objects.get(pool=pools[0], vid=100), user=user, reason="broken")
    allocate("p1", pool=pools[0], user=user)
    allocate("p1", pool=pools[0], purpose="storage", user=user)
    content = export(client, kind)

    answer = post(client, content, kind).json()
    assert (answer["unchanged"], answer["failed"]) == (6, 0), answer
    delete_segments()
    answer = post(client, content, kind).json()
    assert (answer["created"], answer["failed"]) == (6, 0), answer
    assert export(client, kind) == content or kind == "xlsx"
    held = Allocation.objects.order_by("vid").values_list("vid", "cluster_name", "purpose")
    assert list(held) == [(101, "p1", ""), (102, "p1", "storage")]
    assert allocate("next", pool=pools[1], user=user).allocation.vid == 100
    assert Segment.objects.get(pool=pools[0], vid=100).disabled_reason == "broken"


def test_export_of_an_earlier_version(client):
    make_pool()
    answer = post(client, OLD, "csv").json()
    assert (answer["created"], answer["failed"]) == (3, 0), answer
    assert post(client, OLD, "csv").json()["unchanged"] == 3
    assert list(Segment.objects.order_by("vid").values_list("status", flat=True)) == [
        "allocated",
        "available",
        "disabled",
    ]


def test_export_without_the_names_of_clusters_is_not_handed_out(client):
    pool = make_pool(segments=1)
    allocate("p1", pool=pool, user=make_user())
    content = export(client_of(permit(make_user("carol"), Segment, "view")), "csv")
    assert b"p1" not in content
    delete_segments()
    response = post(client, content, "csv")
    assert response.status_code == 400
    assert response.json()["results"][0]["errors"].keys() == {"status"}
    assert not Segment.objects.exists()


def test_an_xlsx_is_too_short_for_some_texts(client):
    segment = make_segment(make_pool(), 100)
    Segment.objects.filter(pk=segment.pk).update(comments="x" * 40_000)
    response = client.get(url_of("export-segments"), {"format": "xlsx"})
    assert response.status_code == 400
    assert "32767" in str(response.json())
    assert len(export(client, "csv")) > 40_000


@pytest.mark.parametrize("kind", ["application/yaml", "application/x-yaml", "text/yaml"])
def test_yaml_by_its_content_type(client, kind):
    make_pool()
    text = "# ours\n# and theirs\n- {site: Site1, vlan_id: 100, epg_name: a, segment: 10.0.0.0/24, vrf: Network1}\n"
    for content in (text, text.replace("- ", "[") + "]"):
        assert post(client, content, kind, "?dry_run=true").json()["created"] == 1


def test_names_that_exports_and_rest_have(client):
    make_pool()
    row = {"pool": "network1-site1", "vid": 100, "epg_name": "a", "prefix": "10.0.0.0/24", "cluster": "p1"}
    assert client.post(url_of("segment-import"), [row], format="json").json()["created"] == 1
    row |= {"cluster_name": "p2"}
    answer = client.post(url_of("segment-import"), [row], format="json").json()
    assert "Unknown column" in str(answer["results"][0]["errors"]["cluster"])


@pytest.mark.parametrize("name", ["", " ", "\t", "row", "None", "__class__", "a" * 10_000])
def test_columns_that_nobody_would_name(client, name):
    make_pool()
    row = dict(zip(HEADER, line(100), strict=True))
    values = ["a", "", None, [1], {"": ""}, 10**400]
    content = json.dumps([{**row, name: value} for value in values])
    answer = post(client, content, "json", "?dry_run=true").json()
    assert answer["failed"] == len(values)
    for result in answer["results"]:
        assert "Unknown column" in str(result["errors"])


def test_number_of_statements_does_not_grow_with_the_rows(client):
    make_pool()
    counts = []
    for first, last in ((100, 105), (110, 140)):
        with CaptureQueriesContext(connection) as queries:
            content = csv_of((*HEADER, "status"), *((*line(vid), "disabled") for vid in range(first, last)))
            assert post(client, content, "csv").json()["created"] == last - first
        counts.append(len(queries))
    # With many rows, NetBox updates the prefix hierarchy in another way.
    assert counts[1] <= counts[0]
