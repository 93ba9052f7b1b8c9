"""
Tries the sockets of the services with the wing `specimen`, in a copy of the plugin that has it: see test_wings.
"""

import pytest
from django.db import connection
from django.db.models import ProtectedError
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import (
    allocate,
    delete_segment,
    end_quarantine,
    generate_segments,
    release,
    share,
    update_pool,
    update_segment,
)
from netbox_vlan_manager.services.base import hooks
from netbox_vlan_manager.services.base.hooks import Vetoed
from netbox_vlan_manager.services.drift.findings import find_drift
from netbox_vlan_manager.services.onboarding.importing import import_segments
from netbox_vlan_manager.services.pools.merging import merge_pool
from netbox_vlan_manager.services.pools.retiring import retire_pool
from netbox_vlan_manager.services.reporting.gauges import database_metrics
from netbox_vlan_manager.services.reporting.health import check_health
from netbox_vlan_manager.specimen.models import Specimen
from netbox_vlan_manager.specimen.sockets import heard
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_segment, make_user, permit

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def table(db):
    with connection.schema_editor() as editor:
        editor.create_model(Specimen)
    heard.clear()


@pytest.fixture
def user():
    return make_user("root", is_superuser=True)


@pytest.fixture
def pool():
    return make_pool(segments=2)


@pytest.fixture
def segment(pool):
    heard.clear()
    return pool.segments.get(vid=100)


@pytest.fixture
def noted(segment):
    """A segment with a note."""
    Specimen.objects.create(segment=segment, note="seen")
    return segment


def test_hold_share_and_release(user, pool, segment):
    allocate("a", pool=pool, user=user)
    share(segment, "b", user=user)
    assert heard == [("held", [segment.pk]), ("held", [segment.pk])]
    allocate("a", pool=pool, user=user)
    assert len(heard) == 2
    release("a", pool=pool, user=user)
    assert heard[2:] == [("released", [segment.pk])]


def test_dry_runs_are_heard_and_rolled_back(user, pool, segment):
    allocate("a", pool=pool, user=user, dry_run=True)
    assert Allocation.objects.count() == 0


def test_new_segments(user, pool, segment):
    generated = generate_segments(pool, user=user, count=3, prefix_length=24)
    assert heard == [("changed", sorted(segment.pk for segment in generated.segments))]
    heard.clear()
    made = make_segment(pool, 300, 50)
    row = {"site": "Site1", "vrf": "Network1", "vlan_id": "400", "epg_name": "X", "segment": "10.0.90.0/24"}
    import_segments([(None, row)], user=user, atomic=True, enforce=False)
    assert heard == [("changed", [made.pk]), ("changed", [Segment.objects.get(vid=400).pk])]


def test_changes(user, segment):
    update_segment(segment, user=user, epg_name="New")
    # One signal for the VLAN, and one for the segment.
    assert heard == [("changed", [segment.pk])] * 2
    heard.clear()
    segment.vlan.snapshot()
    segment.vlan.name = "Newer"
    segment.vlan.save()
    assert heard == [("changed", [segment.pk])]
    heard.clear()
    prefix = segment.prefix
    prefix.snapshot()
    prefix.prefix = "10.0.77.0/24"
    prefix.save()
    assert heard == [("changed", [segment.pk])]


def test_merge_and_retirement(user, pool, segment):
    other = make_pool(scope="Site2", container="10.1.0.0/16", vlan_group=pool.vlan_group)
    moved = sorted(pool.segments.values_list("pk", flat=True))
    heard.clear()
    merge_pool(pool, other, user=user)
    assert heard == [("changed", moved)]
    heard.clear()
    retire_pool(other, user=user)
    assert heard == [("deleted", moved)]


def test_deletions(user, pool, segment):
    delete_segment(segment, user=user)
    assert heard == [("deleted", [segment.pk])]


def test_veto_of_deletions(user, noted):
    with pytest.raises(Vetoed, match="before you delete") as error:
        delete_segment(noted, user=user)
    assert error.value.code == "specimen_there"
    client = client_of(user)
    answer = client.delete(url_of("segment-detail", pk=noted.pk))
    assert (answer.status_code, answer.json()["code"]) == (409, "specimen_there")
    pages = Client()
    pages.force_login(user)
    for way in ("segment_delete", "segment_bulk_delete"):
        url = reverse(f"plugins:netbox_vlan_manager:{way}", args=[noted.pk] if way == "segment_delete" else ())
        page = pages.post(url, {"confirm": True, "_confirm": True, "pk": [noted.pk]}, follow=True)
        assert "Take the note off before you delete" in page.content.decode()
    with pytest.raises((Vetoed, ProtectedError)):
        retire_pool(noted.pool, user=user)
    assert Segment.objects.filter(pk=noted.pk).exists()


def test_veto_of_new_numbers(user, noted):
    with pytest.raises(Vetoed, match="before you renumber"):
        update_segment(noted, user=user, vid=300)
    update_segment(noted, user=user, epg_name="Another")
    client = client_of(user)
    answer = client.patch(url_of("segment-detail", pk=noted.pk), {"prefix": "10.0.70.0/24"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "specimen_there")
    url = reverse("ipam-api:vlan-detail", args=[noted.vlan_id])
    answer = client.patch(url, {"vid": 300}, format="json")
    assert (answer.status_code, [*answer.json()]) == (400, ["vid"])
    url = reverse("ipam-api:prefix-detail", args=[noted.prefix_id])
    answer = client.patch(url, {"prefix": "10.0.70.0/24"}, format="json")
    assert (answer.status_code, [*answer.json()]) == (400, ["prefix"])


def test_veto_of_another_use(user, noted):
    allocate("a", pool=noted.pool, user=user, vid=100)
    release("a", pool=noted.pool, user=user)
    noted.refresh_from_db()
    assert (noted.status, noted.quarantined_until) == ("quarantined", None)
    with pytest.raises(Vetoed, match="before you reuse"):
        end_quarantine(noted, user=user)
    assert allocate("b", pool=noted.pool, user=user).allocation.vid == 101
    Specimen.objects.all().delete()
    assert end_quarantine(noted, user=user).status == "available"


def test_drift(user, noted):
    assert "specimen_lost" not in {drift.kind for drift in find_drift()}
    Specimen.objects.update(note="lost")
    (drift,) = [drift for drift in find_drift() if drift.kind == "specimen_lost"]
    assert (drift.object, str(drift.label)) == (noted, "Lost notes")
    answer = client_of(user).get(url_of("drift"), {"kind": "specimen_lost"}).json()
    assert [row["message"] for row in answer["results"]] == ["The note is lost."]


def test_health_and_gauges(noted):
    assert check_health.__wrapped__()["specimens"] == "ok"
    Specimen.objects.update(note="late")
    health = check_health.__wrapped__()
    assert (health["specimens"], health["status"]) == ("late", "degraded")
    assert b"netbox_vlan_manager_specimens 1.0" in database_metrics.__wrapped__()


@pytest.fixture
def pools(user):
    """Three pools of one VRF: the nearest is paused, and the second is exhausted."""
    pools = [
        make_pool(scope=f"Site{number}", container=f"10.{number}.0.0/16", name=name, segments=segments)
        for number, (name, segments) in enumerate((("near", 1), ("full", 0), ("far", 1)), start=1)
    ]
    update_pool(pools[0], user=user, status="paused")
    return pools


def test_a_locator(user, pools):
    client = client_of(user)
    body = {"cluster_name": "a", "vrf": "Network1", "near": ["near", "full", "far"]}
    answer = client.post(url_of("allocation-list"), {**body, "dry_run": True}, format="json")
    assert (answer.status_code, answer.json()["pool"]["name"]) == (200, "far")
    answer = client.post(url_of("allocation-list"), body, format="json")
    assert (answer.status_code, answer.json()["pool"]["name"]) == (201, "far")
    assert allocate("a", user=user, vrf="Network1", near=["far"]).created is False

    for near, status, code in ((["near", "full"], 409, "pool_paused"), ([], 404, "pool_not_found")):
        answer = client.post(url_of("allocation-list"), {**body, "cluster_name": "b", "near": near}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    answer = client.post(url_of("allocation-list"), [body], format="json")
    assert (answer.status_code, "ask for one allocation" in answer.content.decode()) == (400, True)
    answer = client.post(url_of("allocation-list"), {**body, "site": "Site1"}, format="json")
    assert (answer.status_code, answer.json()["errors"]) == (400, {"site": ["Give one of site, near."]})


def test_a_locator_allocates_only_where_the_user_may(user, pools):
    allocator = permit(make_user("alice"), pools[2], "view", "allocate")
    allocator = permit(allocator, Allocation, "view")
    update_pool(pools[0], user=user, status="active")
    body = {"cluster_name": "a", "vrf": "Network1", "near": ["near", "far"]}
    answer = client_of(allocator).post(url_of("allocation-list"), body, format="json")
    assert (answer.status_code, answer.json()["pool"]["name"]) == (201, "far")
    answer = client_of(allocator).post(url_of("allocation-list"), {**body, "near": ["near"]}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (404, "pool_not_found")


def test_what_nobody_listens_to_costs_nothing(user, pool, django_assert_num_queries, monkeypatch):
    """A receiver that makes no queries adds none."""
    allocate("a", pool=pool, user=user)
    release("a", pool=pool, user=user)
    with CaptureQueriesContext(connection) as heard_by_one:
        allocate("a", pool=pool, user=user)
    release("a", pool=pool, user=user)
    monkeypatch.setattr(hooks.segments_held, "receivers", [])
    with django_assert_num_queries(len(heard_by_one)):
        allocate("a", pool=pool, user=user)
