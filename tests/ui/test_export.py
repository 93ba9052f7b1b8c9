"""The Export menus, and their downloads in a browser session."""

import csv
import io
import re
from html import unescape

import openpyxl
import pytest

from core.models import ObjectType
from extras.models import CustomField, SavedFilter, TableConfig
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.factories import make_pool, make_segment, make_user, permit

pytestmark = pytest.mark.django_db

SEGMENTS_URL = "/plugins/vlan-manager/segments/"
POOLS_URL = "/plugins/vlan-manager/pools/"
EXPORT = "/api/plugins/vlan-manager/export/"


@pytest.fixture
def pool():
    return make_pool(segments=3)


@pytest.fixture
def other_pool():
    return make_pool("Network2", "Site2", container="10.1.0.0/16", segments=1)


@pytest.fixture
def admin(client, pool, other_pool):
    user = make_user("root", is_superuser=True)
    client.force_login(user)
    allocate("prod-01", pool=pool, user=user)
    return user


def links_of(client, page):
    """Return the links to the plugin's files in the Export menu of a page."""
    content = client.get(page).content.decode()
    return [unescape(url) for url in re.findall(r'class="dropdown-item" href="(/api/[^"]+)"', content)]


def rows_of(response):
    assert response.status_code == 200
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))


def vids_of(client, page):
    csv_url, _xlsx_url = links_of(client, page)
    return [int(row["VLAN ID"]) for row in rows_of(client.get(csv_url))]


def test_segments(client, admin):
    csv_url, xlsx_url = links_of(client, SEGMENTS_URL)
    response = client.get(csv_url)

    assert response.headers["Content-Disposition"] == 'attachment; filename="segments.csv"'
    rows = rows_of(response)
    assert list(rows[0]) == [
        "Site",
        "VRF",
        "VLAN ID",
        "EPG Name",
        "Segment",
        "DHCP",
        "Description",
        "Cluster",
        "Allocated At",
        "Released At",
        "Status",
        "IPv6 Prefix",
        "Pool",
        "Purpose",
        "Expires At",
        "Disabled Reason",
        "Quarantined Until",
        "Comments",
        "Gateway",
        "IPv6 Gateway",
    ]
    assert [(row["Site"], row["VLAN ID"], row["Cluster"], row["Status"]) for row in rows] == [
        ("Site1", "100", "prod-01", "allocated"),
        ("Site1", "101", "", "available"),
        ("Site1", "102", "", "available"),
        ("Site2", "100", "", "available"),
    ]
    response = client.get(xlsx_url)
    assert response.headers["Content-Disposition"] == 'attachment; filename="segments.xlsx"'
    sheet = openpyxl.load_workbook(io.BytesIO(b"".join(response.streaming_content))).active
    assert [row[2] for row in sheet.iter_rows(values_only=True)] == ["VLAN ID", 100, 101, 102, 100]


@pytest.mark.parametrize(
    ("query", "vids"),
    [
        ("status=allocated", [100]),
        ("status=available&q=10.0", [101, 102]),
        ("q=PROD-0", [100]),
        ("q=epg_102", [102]),
        ("vid=101&vid=102", [101, 102]),
        ("vid__gte=102", [102]),
        ("epg_name__ic=g_101", [101]),
        ("site=site2", [100]),
        # Parameters for the list's display do not affect the file.
        ("page=2&per_page=1&sort=-vid&exclude_columns=vid&site=site1", [100, 101, 102]),
        ("return_url=/x&format=json&limit=1&offset=2&ordering=-vid&nonsense=1&site=site2", [100]),
    ],
)
def test_of_what_the_list_shows(client, admin, query, vids):
    assert vids_of(client, f"{SEGMENTS_URL}?{query}") == vids


def test_custom_fields_and_table_configurations(client, admin, pool):
    field = CustomField.objects.create(name="ticket", type="text")
    field.object_types.set([ObjectType.objects.get_for_model(Segment)])
    Segment.objects.filter(pool=pool, vid=101).update(custom_field_data={"ticket": "NET-1"})
    config = TableConfig.objects.create(
        name="Short",
        table="SegmentTable",
        object_type=ObjectType.objects.get_for_model(Segment),
        columns=["vid"],
        user=admin,
    )
    assert vids_of(client, f"{SEGMENTS_URL}?cf_ticket=NET-1&tableconfig_id={config.pk}") == [101]


def test_the_files_refuse_what_they_do_not_know(client, admin):
    for name in ("limit", "ordering", "tableconfig_id"):
        response = client.get(f"{EXPORT}segments/", {name: "1"})
        assert (response.status_code, list(response.json()["errors"])) == (400, [name])


def test_saved_filter(client, admin):
    saved = SavedFilter.objects.create(
        name="Available", slug="available", user=admin, shared=False, parameters={"status": ["available"]}
    )

    assert vids_of(client, f"{SEGMENTS_URL}?filter_id={saved.pk}&site=site1") == [101, 102]


def test_a_query_that_is_hostile(client, admin):
    content = client.get(SEGMENTS_URL, {"q": '"><script>x</script>'}).content.decode()
    assert "<script>x" not in content


def test_formulas_are_defused(client, admin, pool):
    make_segment(pool, 200, 50, description="=1+1")

    csv_url, _xlsx_url = links_of(client, f"{SEGMENTS_URL}?vid=200")
    assert rows_of(client.get(csv_url))[0]["Description"] == "'=1+1"


def test_pools(client, admin, pool):
    csv_url, xlsx_url = links_of(client, f"{POOLS_URL}?q=network1&sort=-name&per_page=1")
    response = client.get(csv_url)

    assert response.headers["Content-Disposition"] == 'attachment; filename="statistics.csv"'
    (row,) = rows_of(response)
    assert (row["Pool"], row["Total Segments"], row["Allocated"], row["Utilization"]) == (
        "Network1 Site1",
        "3",
        "1",
        "33.3",
    )
    assert 'filename="statistics.xlsx"' in client.get(xlsx_url).headers["Content-Disposition"]


def test_of_one_pool(client, admin, pool, other_pool):
    assert vids_of(client, f"{pool.get_absolute_url()}segments/") == [100, 101, 102]
    assert vids_of(client, f"{other_pool.get_absolute_url()}segments/") == [100]
    assert vids_of(client, f"{pool.get_absolute_url()}segments/?status=available&q=102") == [102]
    # The page always shows the pool's own segments.
    assert vids_of(client, f"{pool.get_absolute_url()}segments/?pool_id={other_pool.pk}") == [100, 101, 102]


def test_netbox_s_own_entries_are_there(client, admin):
    for page in (SEGMENTS_URL, POOLS_URL):
        content = client.get(page, {"q": "Net"}).content.decode()
        assert 'id="export_current_view" class="dropdown-item" href="?q=Net&export=table"' in content
        assert 'href="?q=Net&export"' in content
        assert client.get(page, {"export": "table"}).status_code == 200


def test_only_what_the_user_may_view(client, admin, pool):
    bob = permit(make_user("bob"), Segment, "view", constraints={"vid__gt": 100})
    client.force_login(bob)
    assert vids_of(client, SEGMENTS_URL) == [101, 102]

    carol = permit(make_user("carol"), Segment, "view")
    client.force_login(permit(carol, SegmentPool, "view", constraints={"vrf__name": "Network2"}))
    csv_url, _xlsx_url = links_of(client, SEGMENTS_URL)
    assert {row["Cluster"] for row in rows_of(client.get(csv_url))} == {""}
    csv_url, _xlsx_url = links_of(client, POOLS_URL)
    assert [row["Pool"] for row in rows_of(client.get(csv_url))] == ["Network2 Site2"]


def test_without_the_permission(client, admin, pool):
    client.force_login(permit(make_user("bob"), SegmentPool, "view"))
    assert client.get(f"{EXPORT}segments/").status_code == 403
    assert links_of(client, pool.get_absolute_url()) == []

    client.force_login(permit(make_user("carol"), Allocation, "view"))
    for name in ("segments", "statistics"):
        assert client.get(f"{EXPORT}{name}/").status_code == 403
    client.logout()
    for name in ("segments", "statistics"):
        assert client.get(f"{EXPORT}{name}/").status_code == 403
