import json
import re
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import PropertyMock, patch

import pytest
from django.utils import timezone
from django_rq import get_queue
from rq import SimpleWorker

from core.choices import JobStatusChoices, ManagedFileRootPathChoices
from core.models import Job, ObjectType
from dcim.models import Site
from extras.models import EventRule, Notification, NotificationGroup, Script, ScriptModule, Webhook
from extras.scripts import Script as ScriptClass
from ipam.models import IPAddress, Prefix
from netbox.registry import registry
from netbox_vlan_manager.events import (
    ALLOCATED,
    DRIFT_FOUND,
    EXHAUSTED,
    EXPIRED,
    EXPIRING,
    RELEASED,
    THRESHOLD_PASSED,
)
from netbox_vlan_manager.exceptions import PoolExhausted
from netbox_vlan_manager.jobs import DriftJob, LifeCycleJob
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release, set_clusters, share
from netbox_vlan_manager.services.allocations.leases import expire_due, warn_expiring
from netbox_vlan_manager.services.drift.repair import repair_drift
from netbox_vlan_manager.services.reporting.thresholds import refresh
from tests.api.base import client_of, grant, url_of
from tests.factories import make_pool
from tests.stack.database import PROJECT

pytestmark = pytest.mark.django_db

TYPES = (ALLOCATED, RELEASED, EXPIRING, EXPIRED, THRESHOLD_PASSED, EXHAUSTED, DRIFT_FOUND)


@pytest.fixture
def pool():
    return make_pool(segments=10)


@pytest.fixture
def received():
    """The requests that a web server at `received.url` got."""
    bodies = Bodies()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bodies.url = f"http://127.0.0.1:{server.server_port}/"
        yield bodies
        server.shutdown()


class Bodies(list):
    @property
    def events(self):
        return sorted(body["event"] for body in self)

    def of(self, event):
        """Return the only body of an event."""
        (body,) = [body for body in self if body["event"] == event]
        return body


def documented(event):
    """Return the payload of an event that docs/events.md shows."""
    text = (PROJECT / "docs" / "events.md").read_text()
    bodies = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    return next(body for body in bodies if body.get("event") == event)


def missing(expected, body, path=""):
    """Yield the paths of the fields of `expected` that `body` lacks."""
    for name, value in expected.items():
        if name not in body:
            yield f"{path}{name}"
        elif isinstance(value, dict):
            yield from missing(value, body[name], f"{path}{name}.")


def make_rule(action_type, action_object, *event_types):
    """Make an event rule for the plugin's objects with this `action_object`."""
    rule = EventRule.objects.create(
        name=action_type, event_types=list(event_types or TYPES), action_type=action_type, action_object=action_object
    )
    rule.object_types.set([ObjectType.objects.get_for_model(model) for model in (Allocation, SegmentPool)])


@pytest.fixture
def webhook(received):
    make_rule("webhook", Webhook.objects.create(name="Receiver", payload_url=received.url))


@pytest.fixture
def deliver(django_capture_on_commit_callbacks):
    """A function that calls a function, commits, and runs the queued jobs."""
    queue = get_queue("default")
    forget_jobs(queue)

    def do(work, *args, **kwargs):
        with django_capture_on_commit_callbacks(execute=True):
            result = work(*args, **kwargs)
        SimpleWorker([queue], connection=queue.connection).work(burst=True, logging_level="ERROR")
        assert queue.failed_job_registry.count == 0
        return result

    yield do
    # A failed job must not fail other tests.
    forget_jobs(queue)


def forget_jobs(queue):
    queue.empty()
    for job in queue.failed_job_registry.get_job_ids():
        queue.failed_job_registry.remove(job, delete_job=True)


def expire_in(seconds, **conditions):
    Allocation.objects.filter(**conditions).update(expires_at=timezone.now() + timedelta(seconds=seconds))


@pytest.mark.usefixtures("webhook")
class TestWebhooks:
    def test_allocated(self, pool, user, received, deliver):
        allocation = deliver(allocate, "prod-01", pool=pool, user=user, purpose="storage").allocation
        body = received.of(ALLOCATED)
        assert received.events == [ALLOCATED]
        assert body["object_type"] == "netbox_vlan_manager.allocation"
        assert body["request"]["user"] == "alice"
        data = body["data"]
        assert (data["id"], data["cluster_name"], data["purpose"]) == (allocation.pk, "prod-01", "storage")
        assert (data["vid"], data["epg_name"], data["prefix"]) == (100, "EPG_100", "10.0.0.0/24")
        assert (data["pool_name"], data["vrf_name"], data["pool"]["id"]) == (pool.name, "Network1", pool.pk)
        assert data["status"]["value"] == "active"
        assert data["allocated_by"]["username"] == "alice"
        assert (data["expires_at"], data["shared"], data["release_reason"]) == (None, False, None)
        assert (body["snapshots"]["prechange"], body["snapshots"]["postchange"]["vid"]) == (None, 100)

        # A second call sends nothing.
        deliver(allocate, "prod-01", pool=pool, user=user, purpose="storage")
        deliver(allocate, "prod-02", pool=pool, user=user, dry_run=True)
        assert received.events == [ALLOCATED]

    def test_released(self, pool, user, received, deliver):
        allocate("prod-01", pool=pool, user=user)
        allocation = deliver(release, "prod-01", pool=pool, user=user).allocation
        body = received.of(RELEASED)
        assert received.events == [RELEASED]
        data = body["data"]
        assert (data["id"], data["status"]["value"], data["vid"]) == (allocation.pk, "released", 100)
        assert (data["release_reason"]["value"], data["released_by"]["username"]) == ("released", "alice")
        assert body["snapshots"]["prechange"]["released_at"] is None
        assert body["snapshots"]["postchange"]["released_at"]

    def test_expiring_and_expired(self, pool, user, received, deliver):
        allocation = allocate("prod-01", pool=pool, user=user).allocation
        expire_in(60)
        assert deliver(warn_expiring) == 1
        assert deliver(warn_expiring) == 0
        assert received.events == [EXPIRING]
        body = received.of(EXPIRING)
        assert (body["data"]["id"], body["data"]["status"]["value"]) == (allocation.pk, "active")
        assert body["data"]["expires_at"]
        # Without a request, the event has none.
        assert "request" not in body

        expire_in(-1)
        assert deliver(expire_due) == 1
        assert deliver(expire_due) == 0
        assert received.events == [EXPIRED, EXPIRING]
        body = received.of(EXPIRED)
        assert "request" not in body
        assert (body["data"]["release_reason"]["value"], body["data"]["released_by"]) == ("expired", None)
        assert body["data"]["status"]["value"] == "released"
        assert list(missing(documented(EXPIRED), body)) == []

    def test_threshold_passed_and_exhausted(self, pool, user, received, deliver):
        SegmentPool.objects.update(warning_threshold=50, critical_threshold=90)
        for number in range(5):
            allocate(f"prod-{number}", pool=pool, user=user)
        deliver(refresh)
        deliver(refresh)
        assert received.events == [THRESHOLD_PASSED]
        body = received.of(THRESHOLD_PASSED)
        assert body["object_type"] == "netbox_vlan_manager.segmentpool"
        data = body["data"]
        assert (data["id"], data["name"], data["level"]["value"]) == (pool.pk, pool.name, "warning")
        counts = [data[name] for name in ("total_segments", "allocated", "available", "quarantined", "disabled")]
        assert (counts, data["utilization"]) == ([10, 5, 5, 0, 0], 50.0)
        assert (data["warning_threshold"], data["critical_threshold"]) == (50, 90)
        assert list(missing(documented(THRESHOLD_PASSED), body)) == []
        assert "request" not in body

        for number in range(5, 10):
            allocate(f"prod-{number}", pool=pool, user=user)
        with pytest.raises(PoolExhausted):
            deliver(fail_to_allocate, pool, user)
        deliver(lambda: None)
        deliver(refresh)
        assert received.events == [EXHAUSTED, THRESHOLD_PASSED]
        data = received.of(EXHAUSTED)["data"]
        assert (data["level"]["value"], data["available"], data["utilization"]) == ("exhausted", 0, 100.0)

    @pytest.mark.django_db(transaction=True)
    def test_drift_found(self, pool, received, deliver):
        other = make_pool("Network2", segments=1)
        Prefix.objects.filter(segment__pool=pool, segment__vid=101).update(status="deprecated")
        # Drift of the lowest severity.
        network = Prefix.objects.get(segment__pool=other).prefix
        IPAddress.objects.create(address=f"{network[5]}/24", vrf=other.vrf)
        deliver(DriftJob.enqueue)
        body = received.of(DRIFT_FOUND)
        assert (body["object_type"], body["data"]["id"]) == ("netbox_vlan_manager.segmentpool", pool.pk)
        assert list(missing(documented(THRESHOLD_PASSED), body)) == []
        assert "request" not in body

        # Drift is announced once, as long as it lasts.
        deliver(DriftJob.enqueue)
        assert received.events == [DRIFT_FOUND]
        received.clear()
        Prefix.objects.filter(segment__pool=pool, segment__vid=102).update(vlan=None)
        Prefix.objects.filter(segment__pool=other).update(vlan=None)
        deliver(DriftJob.enqueue)
        assert sorted(body["data"]["id"] for body in received) == [pool.pk, other.pk]

        # Drift that recurs after a repair is new.
        repair_drift(user=None, enforce=False)
        received.clear()
        deliver(DriftJob.enqueue)
        assert received.events == []
        Prefix.objects.filter(segment__pool=pool, segment__vid=101).update(status="deprecated")
        deliver(DriftJob.enqueue)
        assert received.events == [DRIFT_FOUND]
        assert set(Job.objects.values_list("status", "error")) == {(JobStatusChoices.STATUS_COMPLETED, "")}
        # Only the findings of the last run are kept.
        assert Job.objects.filter(data__isnull=False).count() == 1

    def test_each_cluster_of_a_shared_segment(self, pool, user, received, deliver):
        segment = Segment.objects.get(vid=100)
        deliver(share, segment, "a", user=user)
        deliver(share, segment, "b", user=user)
        assert [body["data"]["shared"] for body in received] == [False, True]
        received.clear()
        deliver(set_clusters, segment, ["c"], user=user)
        assert received.events == [ALLOCATED, RELEASED, RELEASED]

    def test_calls_of_the_api(self, pool, user, received, deliver):
        grant(user, "view", "allocate", "release", model=SegmentPool)
        client = client_of(user)
        body = {"cluster_name": "prod-01", "pool": pool.pk}
        held = deliver(client.post, url_of("allocation-list"), body, format="json").json()
        assert received.of(ALLOCATED)["data"]["id"] == held["id"]
        assert received.of(ALLOCATED)["request"]["user"] == "alice"
        deliver(client.delete, url_of("allocation-detail", pk=held["id"]))
        assert received.events == [ALLOCATED, RELEASED]

        Segment.objects.filter(status="available").update(status="disabled")
        refused = deliver(client.post, url_of("allocation-list"), {**body, "cluster_name": "x"}, format="json")
        assert refused.status_code == 409
        assert received.events == [ALLOCATED, EXHAUSTED, RELEASED]

    def test_a_refused_call_with_a_key_sends_nothing_rolled_back(self, pool, user, received, deliver):
        grant(user, "view", "allocate", model=SegmentPool)
        Segment.objects.update(status="disabled")
        body = {"cluster_name": "prod-01", "pool": pool.pk}
        headers = {"Idempotency-Key": "k"}
        client = client_of(user)
        for _time in range(2):
            deliver(client.post, url_of("allocation-list"), body, format="json", headers=headers)
        assert received.events == []
        deliver(refresh)
        assert received.events == [EXHAUSTED]

    @pytest.mark.django_db(transaction=True)
    def test_a_worker_does_it_all(self, pool, user, received, deliver):
        SegmentPool.objects.update(warning_threshold=20)
        for name in ("over", "soon", "stays"):
            allocate(name, pool=pool, user=user)
        expire_in(-1, cluster_name="over")
        expire_in(60, cluster_name="soon")
        deliver(lambda: None)
        received.clear()
        for _time in range(2):
            deliver(LifeCycleJob.enqueue)
        assert set(Job.objects.values_list("status", "error")) == {(JobStatusChoices.STATUS_COMPLETED, "")}
        assert received.events == [EXPIRED, EXPIRING, THRESHOLD_PASSED]
        assert received.of(EXPIRED)["data"]["cluster_name"] == "over"
        assert received.of(EXPIRING)["data"]["cluster_name"] == "soon"
        assert received.of(THRESHOLD_PASSED)["data"]["allocated"] == 2


def fail_to_allocate(pool, user):
    allocate("one-too-many", pool=pool, user=user)


class TestOtherActions:
    def test_notifications(self, pool, user, deliver):
        group = NotificationGroup.objects.create(name="Operators")
        group.users.add(user)
        make_rule("notification", group)
        allocate("prod-01", pool=pool, user=user)
        expire_in(-1)
        deliver(expire_due)
        deliver(Segment.objects.filter(status="available").update, status="disabled")
        deliver(refresh)
        told = {str(notification.event): notification.object for notification in Notification.objects.all()}
        assert told == {"Allocation expired": Allocation.objects.get(), "Segment pool exhausted": pool}

    @pytest.mark.parametrize("is_system", [True, False])
    def test_scripts_may_write(self, pool, user, deliver, is_system):
        class Renamer(ScriptClass):
            def run(self, data, commit):
                site = Site.objects.get()
                site.snapshot()
                site.description = f"{data['cluster_name']} left"
                site.save()

        with patch.object(ScriptModule, "sync_classes"):
            module = ScriptModule.objects.create(file_root=ManagedFileRootPathChoices.SCRIPTS, file_path="renamer.py")
        script = Script.objects.create(module=module, name="Renamer", is_executable=True)
        make_rule("script", script, EXPIRED, RELEASED)
        allocate("prod-01", pool=pool, user=user)
        with patch.object(Script, "python_class", new_callable=PropertyMock, return_value=Renamer):
            if is_system:
                expire_in(-1)
                deliver(expire_due)
            else:
                deliver(release, "prod-01", pool=pool, user=user)
        job = Job.objects.get()
        assert (job.status, job.error) == (JobStatusChoices.STATUS_COMPLETED, "")
        assert Site.objects.get().description == "prod-01 left"

    def test_event_types_are_offered_to_rules(self):
        assert set(TYPES) <= registry["event_types"].keys()
        assert all(type(str(registry["event_types"][name])) is str for name in TYPES)
