import re
from html import unescape
from unittest.mock import patch

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from core.models import Job, ObjectChange
from ipam.models import VLAN, IPAddress, Prefix
from netbox_vlan_manager.jobs import DriftRepairJob
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services.drift.findings import find_drift
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db

URL = "/plugins/vlan-manager/drift/"
REPAIR_URL = f"{URL}repair/"


@pytest.fixture
def pool():
    """A pool in which VLAN 101 is deprecated, prefix 102 detached, and 103 outside the container."""
    pool = make_pool(segments=4)
    VLAN.objects.filter(vid=101).update(status="deprecated")
    Prefix.objects.filter(prefix="10.0.2.0/24").update(vlan=None)
    Prefix.objects.filter(prefix="10.0.3.0/24").update(prefix="10.9.0.0/24")
    return pool


@pytest.fixture
def user(client, pool):
    user = permit(permit(make_user("alice"), SegmentPool, "view", "change"), Segment, "view")
    client.force_login(user)
    return user


def get(client, **params):
    response = client.get(URL, params)
    assert response.status_code == 200
    return response.content.decode()


def post(client, data, url=REPAIR_URL):
    return client.post(url, data, follow=True).content.decode()


def items():
    return {drift.kind: drift.item for drift in find_drift()}


def boxes(content):
    return re.findall(r'type="checkbox" name="pk" value="([^"]+)"', content)


def test_menu(client, user):
    assert f'href="{URL}"' in client.get("/").content.decode()
    assert reverse("plugins:netbox_vlan_manager:drift") == URL


def test_everything_fits(client, user):
    Segment.objects.all().delete()
    make_pool("Network2", segments=2)
    content = get(client)
    assert "Everything fits" in content
    assert "Repair" not in content


def test_report(client, user, pool):
    content = get(client)
    for text in (
        "Prefix 10.0.2.0/24 of segment EPG_102 (102) is not assigned to its VLAN",
        "Assign prefix 10.0.2.0/24 to VLAN EPG_102 (102).",
        "add a container around it to the pool",
        Segment.objects.get(vid=102).get_absolute_url(),
        pool.get_absolute_url(),
        "Repair all (2)",
    ):
        assert text in content, text
    found = items()
    # Findings that users must resolve have neither a check box nor a button.
    assert boxes(content) == [found["vlan_status"], found["prefix_vlan_changed"]]


def test_filters(client, user, pool):
    other = make_pool("Network2", container="10.2.0.0/16", segments=1)
    Prefix.objects.filter(prefix="10.2.0.0/24").update(vlan=None)
    assert len(boxes(get(client))) == 3
    assert boxes(get(client, kind="vlan_status")) == [items()["vlan_status"]]
    assert len(boxes(get(client, kind="prefix_vlan_changed"))) == 2
    assert len(boxes(get(client, kind="prefix_vlan_changed", pool_id=other.pk))) == 1
    assert "Repair all (1)" in get(client, pool_id=other.pk)
    IPAddress.objects.create(address="10.0.0.5/24", vrf=pool.vrf)
    assert "EPG_100 (100) is available, but in use" in get(client, pool_id=pool.pk, severity="info")
    assert "No finding matches these filters" in get(client, pool_id=other.pk, severity="info")
    assert len(boxes(get(client, kind="nonsense", pool_id="x"))) == 3


def test_pages(client, user, pool):
    make_pool("Network2", container="10.2.0.0/16", segments=30)
    Prefix.objects.filter(segment__isnull=False).update(vlan=None)
    # One of the first 25 findings cannot be repaired.
    assert len(boxes(get(client, per_page=25))) == 24
    content = get(client, per_page=25, page=2)
    assert "Showing 26-36 of 36" in content
    assert "Repair all (35)" in content


@pytest.mark.parametrize("name", ["pk", "_one"])
def test_repair_of_one(client, user, pool, name):
    found = items()
    # The button of a row repairs only that row, not the ticked ones.
    data = {"pk": found["vlan_status"], name: found["prefix_vlan_changed"], "return_url": f"{URL}?severity=warning"}
    content = client.post(REPAIR_URL, data).content.decode()
    assert "Repair 1 finding?" in content
    assert "Assign prefix 10.0.2.0/24 to VLAN EPG_102 (102)." in content
    assert len(items()) == 3
    data = {
        "pk": found["prefix_vlan_changed"],
        "_confirm": "",
        "changelog_message": "Because",
        "return_url": f"{URL}?severity=warning",
    }
    response = client.post(REPAIR_URL, data)
    assert response.url == f"{URL}?severity=warning"
    assert "Repaired 1 finding." in get(client)
    assert sorted(items()) == ["prefix_outside_containers", "vlan_status"]
    change = ObjectChange.objects.order_by("time").last()
    assert (change.user, change.message, change.changed_object) == (
        user,
        "Because",
        Prefix.objects.get(prefix="10.0.2.0/24"),
    )
    assert "Nothing in the selection can be repaired." in post(client, data)


def test_repair_of_all(client, user, pool):
    content = client.post(REPAIR_URL, {"_all": ""}).content.decode()
    assert "Repair 2 findings?" in content
    assert 'name="_all"' in content
    assert "Repaired 2 findings." in post(client, {"_all": "", "_confirm": ""})
    assert list(items()) == ["prefix_outside_containers"]
    assert "Nothing in the selection can be repaired." in post(client, {"_all": "", "_confirm": ""})


def test_many_repairs_are_a_job(client, user, pool, monkeypatch):
    monkeypatch.setattr("netbox_vlan_manager.views.drift.REPAIRED_AT_ONCE", 1)
    monkeypatch.setattr("netbox_vlan_manager.views.progress._is_dead", lambda job: False)
    content = post(client, {"_all": "", "_confirm": "", "changelog_message": "Because"})
    job = Job.objects.get(name=DriftRepairJob.name)
    assert (job.user, len(items())) == (user, 3)
    assert "Waiting for a worker" in content
    page_url = f"{REPAIR_URL}jobs/{job.pk}/"

    job.data |= {"done": 25, "total": 40}
    job.status = "running"
    job.save()
    assert "25 of 40 findings done" in client.get(page_url).content.decode()
    DriftRepairJob.handle(job)
    job.refresh_from_db()
    assert (job.status, job.error) == ("completed", "")
    assert [entry["message"] for entry in job.log_entries] == ["2 repaired"]
    assert {result["status"] for result in job.data["results"]} == {"repaired"}
    assert list(items()) == ["prefix_outside_containers"]
    assert set(ObjectChange.objects.filter(message="Because").values_list("user", flat=True)) == {user.pk}
    content = client.get(page_url).content.decode()
    assert ("Repaired" in content, "Not repaired" in content) == (True, False)
    client.force_login(make_user("stranger"))
    assert client.get(page_url).status_code == 404


def test_the_page_of_a_job_says_what_was_not_repaired(client, user, pool):
    finding = next(one for one in find_drift() if not one.repair)
    job = DriftRepairJob.start([finding.item, "vlan_status:netbox_vlan_manager.segment:0"], user=user)
    DriftRepairJob.handle(job)
    content = client.get(f"{REPAIR_URL}jobs/{job.pk}/").content.decode()
    assert "Not repaired" in content
    assert finding.advice in unescape(content)


def test_a_job_that_tries_all(user, pool):
    """REST starts this job without names and as a dry run."""
    reports = []
    job = DriftRepairJob.start(user=user, dry_run=True)
    with patch.object(DriftRepairJob, "_report", lambda self, done, total: reports.append((done, total))):
        DriftRepairJob.handle(job)
    job.refresh_from_db()
    assert sorted(result["status"] for result in job.data["results"]) == ["skipped", "would_repair", "would_repair"]
    assert reports == [(0, 3), (1, 3), (2, 3)]
    assert len(items()) == 3


def test_job_of_a_user_who_left(user, pool):
    job = DriftRepairJob.start(list(items().values()), user=user)
    type(user).objects.update(is_active=False)
    DriftRepairJob.handle(job)
    job.refresh_from_db()
    assert (job.status, len(items())) == ("failed", 3)


def test_repair_of_all_that_the_filters_find(client, user, pool):
    url = f"{REPAIR_URL}?kind=vlan_status"
    content = client.post(url, {"_all": ""}).content.decode()
    assert "Repair 1 finding?" in content
    assert f'action="{url}"' in content
    post(client, {"_all": "", "_confirm": ""}, url)
    assert sorted(items()) == ["prefix_outside_containers", "prefix_vlan_changed"]


@pytest.mark.parametrize("data", [{}, {"pk": "nonsense"}, {"_one": "vlan_status:netbox_vlan_manager.segment:0"}])
def test_nothing_selected(client, user, data):
    assert "Nothing in the selection can be repaired." in post(client, data)


def test_confirmation_cannot_be_opened_by_its_address(client, user):
    assert client.get(REPAIR_URL).url == URL


def test_permissions(client, pool):
    assert client.get(URL).status_code == 302
    user = make_user("bob")
    client.force_login(user)
    assert client.get(URL).status_code == 403
    user = permit(user, SegmentPool, "view")
    content = get(client)
    assert "3 more findings are about objects that you may not view." in content
    assert "EPG_102" not in content
    assert "Everything fits" not in content
    user = permit(user, Segment, "view")
    content = get(client)
    assert "EPG_102" in content
    assert boxes(content) == []
    assert "Repair all" not in content
    assert client.post(REPAIR_URL, {"_all": "", "_confirm": ""}).status_code == 403
    permit(user, make_pool("Network2", container="10.2.0.0/16"), "change")
    assert "Nothing in the selection can be repaired." in post(client, {"_all": "", "_confirm": ""})
    assert len(items()) == 3


def test_names_are_escaped(client, user):
    VLAN.objects.filter(vid=100).update(name='<b>"x"</b>')
    content = get(client)
    assert "<b>" not in content
    assert "&lt;b&gt;" in content
    assert "<b>" not in client.post(REPAIR_URL, {"_all": ""}).content.decode()


def test_queries_do_not_grow(client, user):
    VLAN.objects.filter(vid=100).update(name="no EPG")
    counts = []
    for numbers in ([0], [1, 2]):
        for number in numbers:
            make_pool(f"Other{number}", segments=4)
        VLAN.objects.update(status="deprecated")
        Prefix.objects.filter(segment__isnull=False).update(vlan=None, status="deprecated")
        get(client)
        with CaptureQueriesContext(connection) as queries:
            page = get(client)
        counts.append(len(queries))
    assert "Repair all (4" in page
    assert counts[0] == counts[1]
