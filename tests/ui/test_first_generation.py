import html
import re

import pytest
from django.urls import reverse

from core.choices import JobStatusChoices
from core.models import Job
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.jobs import MigrationJob
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from tests.factories import make_user, permit
from tests.first_generation import make_fields, make_group, make_prefix

pytestmark = pytest.mark.django_db

URL = "/plugins/vlan-manager/segments/migrate/"


@pytest.fixture
def user(client):
    user = make_user("alice")
    for model in (SegmentPool, Segment, Allocation):
        user = permit(user, model, "view", "add")
    for model in (Prefix, VLAN):
        user = permit(user, model, "view")
    client.force_login(user)
    return user


@pytest.fixture
def world():
    make_fields()
    group = make_group()
    make_prefix(group, 100, "10.0.0.0/24", cluster="prod-01")
    make_prefix(group, 101, "10.0.1.0/24", cluster="prod-02", status="active")
    make_prefix(group, 102, "10.0.2.0/24", vlan_name="no name")


def run_job(response):
    """Run the job that a page has started, as a worker does, and return the address of its page."""
    job = Job.objects.order_by("-pk").first()
    assert response.headers["location"] == reverse("plugins:netbox_vlan_manager:migration_job", kwargs={"pk": job.pk})
    MigrationJob.handle(job)
    return response.headers["location"]


def text_of(response):
    """Return the text of a page, without tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def test_preview_and_migration(client, user, world):
    page = run_job(client.post(URL, {"_preview": ""}))
    text = text_of(client.get(page))
    assert "Nothing has been written yet" in text
    assert "1 prefix cannot be migrated" in text
    assert "Network1 Site1 New 2 0 1 2 0 0" in text
    assert "10.0.2.0/24 Network1 Site1 Fails EPG name" in text
    assert "10.0.1.0/24 Network1 Site1 Migrate It is active although a cluster holds it" in text
    assert "Migrate 2 prefixes" in text
    assert not SegmentPool.objects.exists()

    page = run_job(client.post(URL, {"_migrate": ""}))
    response = client.get(page)
    assert SegmentPool.objects.get().get_absolute_url() in response.content.decode()
    assert "Preview again" in text_of(response)
    assert Allocation.objects.count() == 2
    text = text_of(client.get(run_job(client.post(URL, {"_migrate": ""}))))
    assert "Network1 Site1 0 2 1" in text


def test_pool_that_cannot_be_migrated(client, user, world):
    page = run_job(client.post(URL, {"_preview": ""}))
    job = Job.objects.get()
    (pool,) = (pool for pool in job.data["report"]["pools"] if pool["name"] == "Network1 Site1")
    pool["error"] = "Another pool serves Site1 already"
    job.save()
    text = text_of(client.get(page))
    assert "Another pool serves Site1 already" in text
    assert "10.0.2.0/24 Network1 Site1 Fails" in text
    # Because of the error, the other prefixes are not migrated either.
    assert "10.0.1.0/24" not in text


def test_nothing_to_do(client, user, world):
    VLAN.objects.filter(vid=102).update(name="EPG_102")
    for _time in range(2):
        page = run_job(client.post(URL, {"_migrate": ""}))
    text = text_of(client.get(page))
    assert "There was nothing to do" in text
    assert "Show pools" in text


def test_page_without_data(client, user):
    response = client.get(URL)
    assert "There is no data of the first generation" in text_of(response)
    assert response.content.decode().count(" disabled>") == 2


def test_page_leads_to_the_last_report(client, user, world):
    page = run_job(client.post(URL, {"_preview": ""}))
    assert page in client.get(URL).content.decode()
    assert "There is no data" not in text_of(client.get(URL))


def test_progress(client, user, world):
    job = MigrationJob.start(user=user)
    Job.objects.filter(pk=job.pk).update(
        status=JobStatusChoices.STATUS_RUNNING, data={"dry_run": False, "done": 1, "total": 4}
    )
    page = reverse("plugins:netbox_vlan_manager:migration_job", kwargs={"pk": job.pk})
    # Redis does not have the job, because the test's transaction never commits.
    assert "There is no report" in text_of(client.get(page))


def test_user_who_was_locked_out(client, user, world):
    job = MigrationJob.start(user=user)
    type(user).objects.filter(pk=user.pk).update(is_active=False)
    MigrationJob.handle(job)
    job.refresh_from_db()
    assert job.data["errors"] == {"__all__": ["The user who started this may no longer log in."]}
    assert not SegmentPool.objects.exists()


def test_who_may_not(client, world):
    client.force_login(permit(make_user("bob"), SegmentPool, "add"))
    assert client.get(URL).status_code == 403
    assert client.post(URL, {"_migrate": ""}).status_code == 403
    assert not Job.objects.exists()


def test_reports_of_others(client, user, world):
    page = run_job(client.post(URL, {"_preview": ""}))
    client.force_login(make_user("bob"))
    assert client.get(page).status_code == 404
    client.force_login(permit(make_user("carol"), Job, "view"))
    assert client.get(page).status_code == 200


def test_import_page_leads_here(client, user):
    assert URL in client.get("/plugins/vlan-manager/segments/import/").content.decode()


def test_going_back_with_a_preview(client, user, world):
    run_job(client.post(URL, {"_migrate": ""}))
    assert "Preview of going back" not in text_of(client.get(URL))
    assert client.post(URL, {"action": "undo"}).status_code == 403
    user = permit(permit(user, SegmentPool, "delete", "release"), Segment, "delete")
    assert "Preview of going back" in text_of(client.get(URL))
    page = run_job(client.post(URL, {"action": "undo", "_preview": ""}))
    text = text_of(client.get(page))
    assert "this is what going back would do" in text
    assert "Network1 Site1 2 2 0 0 0" in text
    assert "Go back with 1 pool" in text
    assert SegmentPool.objects.exists()
    page = run_job(client.post(URL, {"action": "undo", "_migrate": ""}))
    assert "Back to the first generation" in text_of(client.get(page))
    assert not SegmentPool.objects.exists()
    assert not Allocation.objects.active().exists()
    assert "There was nothing to do" in text_of(
        client.get(run_job(client.post(URL, {"action": "undo", "_migrate": ""})))
    )


def test_staying(client, user, world):
    run_job(client.post(URL, {"_migrate": ""}))
    assert client.post(URL, {"action": "finish"}).status_code == 403
    permit(user, SegmentPool, "change")
    text = text_of(client.get(run_job(client.post(URL, {"action": "finish"}))))
    assert "End the trial of 1 pool" in text
    run_job(client.post(URL, {"action": "finish", "_migrate": ""}))
    assert SegmentPool.objects.get().first_generation == "over"


def test_action_that_there_is_not(client, user, world):
    assert client.post(URL, {"action": "forget", "_migrate": ""}).headers["location"] == URL
    assert not Job.objects.exists()


def test_report_of_an_older_version(client, user, world):
    page = run_job(client.post(URL, {"_preview": ""}))
    job = Job.objects.get()
    del job.data["action"]
    job.save()
    assert "Migration preview" in text_of(client.get(page))
