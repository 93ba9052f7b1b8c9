import logging
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import patch

import django_rq
import pytest
from django.db import connection
from django.db.models.signals import pre_save
from django.utils import timezone
from rq.job import JobStatus
from rq.timeouts import JobTimeoutException

from core.choices import JobIntervalChoices, JobStatusChoices
from core.models import Job, ObjectChange
from ipam.models import VLANGroup
from netbox.registry import registry
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.jobs import LifeCycleJob, system
from netbox_vlan_manager.jobs.runners import UserJobRunner
from netbox_vlan_manager.models import Allocation, IdempotencyKey, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.allocations import leases
from netbox_vlan_manager.services.segments import quarantine
from tests.drift import find_drift
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db

LEASES, COOLDOWNS = 6, 6


@pytest.fixture
def pool():
    """A pool with expired leases, ended cool-downs, a lease that ends soon, and one more segment."""
    pool, user = make_pool(segments=LEASES + COOLDOWNS + 2, cooldown=3600, warning_threshold=1), make_user("alice")
    for number in range(LEASES):
        allocate(f"lease-{number}", pool=pool, user=user)
    for number in range(COOLDOWNS):
        allocate(f"gone-{number}", pool=pool, user=user)
    allocate("soon", pool=pool, user=user, expires_at=timezone.now() + timedelta(hours=1))
    for number in range(COOLDOWNS):
        release(f"gone-{number}", pool=pool, user=user)
    past = timezone.now() - timedelta(minutes=1)
    Allocation.objects.filter(cluster_name__startswith="lease").update(expires_at=past, expiry_warned=True)
    Segment.objects.filter(status="quarantined").update(quarantined_until=past)
    IdempotencyKey.objects.create(user=user, key="k", fingerprint="", status_code=200)
    IdempotencyKey.objects.update(created=timezone.now() - timedelta(days=2))
    ObjectChange.objects.all().delete()
    return pool


def run():
    """Run the job as a worker does, and return the ended job."""
    return Job.objects.get(pk=LifeCycleJob.enqueue(immediate=True).pk)


def messages_of(job):
    return [entry["message"] for entry in job.log_entries]


def assert_done(pool):
    """Check that the job did all due work once, and nothing else."""
    by_reason = Allocation.objects.order_by().values_list("release_reason", flat=True)
    assert sorted(by_reason) == ["", *["expired"] * LEASES, *["released"] * COOLDOWNS]
    assert Allocation.objects.get(release_reason="").expiry_warned
    statuses = Segment.objects.order_by().values_list("status", flat=True)
    assert sorted(statuses) == ["allocated", *["available"] * (COOLDOWNS + 1), *["quarantined"] * LEASES]
    changes = ObjectChange.objects.filter(changed_object_type__app_label="netbox_vlan_manager")
    assert changes.filter(changed_object_type__model="allocation").count() == LEASES
    assert changes.filter(changed_object_type__model="segment").count() == LEASES + COOLDOWNS
    assert set(changes.values_list("user", "user_name")) == {(None, "system")}
    assert SegmentPool.objects.get(pk=pool.pk).level == "warning"
    assert not IdempotencyKey.objects.exists()
    assert find_drift() == []


def test_is_a_system_job_of_every_minute():
    assert registry["system_jobs"][LifeCycleJob] == {"interval": JobIntervalChoices.INTERVAL_MINUTELY}
    assert JobIntervalChoices.INTERVAL_MINUTELY == 1


def test_does_all_that_is_due_once(pool):
    job = run()
    assert (job.status, job.error) == (JobStatusChoices.STATUS_COMPLETED, "")
    assert messages_of(job) == [
        "Made 6 quarantined segments available",
        "Released 6 expired allocations",
        "Warned of 1 expiring allocations",
        "Deleted 0 retiring pools",
        "Found 1 pools at another level",
        "Forgot 1 idempotency keys",
    ]
    assert_done(pool)
    assert [message.split()[1] for message in messages_of(run())] == ["0", "0", "of", "0", "0", "0"]
    assert_done(pool)


def test_a_step_that_fails_keeps_none_of_the_others(pool):
    with (
        patch.object(system, "promote_all", side_effect=ValueError("out of order")),
        patch.object(system, "warn_expiring", side_effect=KeyError("lost")),
    ):
        job = run()
    assert job.status == JobStatusChoices.STATUS_ERRORED
    assert "out of order" in job.error
    assert "lost" in job.error
    assert Allocation.objects.filter(release_reason="expired").count() == LEASES
    assert "Released 6 expired allocations" in messages_of(job)
    assert "Forgot 1 idempotency keys" in messages_of(job)

    assert run().status == JobStatusChoices.STATUS_COMPLETED
    assert_done(pool)


class Killed(BaseException):
    """Simulates a killed worker; no code may catch it."""


@pytest.mark.parametrize("step", ["expire_due", "warn_expiring", "refresh", "forget_old_keys"])
def test_killed_between_two_steps(pool, step):
    with patch.object(system, step, side_effect=Killed), pytest.raises(Killed):
        run()
    assert run().status == JobStatusChoices.STATUS_COMPLETED
    assert_done(pool)


def test_killed_in_the_middle_of_a_step(pool):
    calls = []

    def killed_at_the_third(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise Killed
        return release_allocation(*args, **kwargs)

    release_allocation = leases.release_allocation
    with patch.object(leases, "release_allocation", killed_at_the_third), pytest.raises(Killed):
        run()
    assert Allocation.objects.filter(release_reason="expired").count() == 2
    run()
    assert_done(pool)


@contextmanager
def refused(*cluster_names):
    """A signal receiver that refuses to end the leases of these clusters."""

    def refuse(instance, **kwargs):
        if instance.cluster_name in cluster_names:
            raise ValueError(f"{instance.cluster_name} is precious")

    pre_save.connect(refuse, sender=Allocation)
    try:
        yield
    finally:
        pre_save.disconnect(refuse, sender=Allocation)


def test_a_lease_that_cannot_be_ended_stops_no_others(pool, caplog):
    with refused("lease-0", "lease-3"):
        for released in (LEASES - 2, 0):
            job = run()
            assert job.status == JobStatusChoices.STATUS_ERRORED
            assert f"Released {released} expired allocations; 2 could not be released" in messages_of(job)
            for number in (0, 3):
                held = Allocation.objects.get(cluster_name=f"lease-{number}", released_at=None)
                text = f"Allocation {held.pk} ({held}) was not released: lease-{number} is precious"
                assert text in messages_of(job)
                assert text in job.error
            assert Allocation.objects.filter(release_reason="expired").count() == LEASES - 2
            assert ObjectChange.objects.filter(changed_object_type__model="allocation").count() == LEASES - 2
            assert find_drift() == []
    # The log has the traceback.
    assert any(record.exc_info for record in caplog.records if record.name == "netbox_vlan_manager.leases")

    assert run().status == JobStatusChoices.STATUS_COMPLETED
    assert_done(pool)


@pytest.mark.parametrize("batch", [2, 200])
def test_a_segment_that_cannot_be_promoted_stops_no_others(batch):
    pool = make_pool(segments=6)
    Segment.objects.update(status="quarantined", quarantined_until=timezone.now() - timedelta(hours=1))
    kept = {100, 101, 104}

    def refuse(instance, **kwargs):
        if instance.vid in kept and instance.status == "available":
            raise ValueError(f"{instance.vid} is precious")

    pre_save.connect(refuse, sender=Segment)
    try:
        with patch.object(quarantine, "BATCH_SIZE", batch):
            job = run()
    finally:
        pre_save.disconnect(refuse, sender=Segment)
    assert job.status == JobStatusChoices.STATUS_ERRORED
    assert "Made 3 quarantined segments available; 3 could not be" in messages_of(job)
    for segment in pool.segments.all():
        assert (segment.status == "quarantined") == (segment.vid in kept)
        assert (f"Segment {segment.pk} ({segment}) was not made available" in job.error) == (segment.vid in kept)
    assert ObjectChange.objects.filter(changed_object_type__model="segment").count() == 6 + 3

    assert run().status == JobStatusChoices.STATUS_COMPLETED
    assert not pool.segments.exclude(status="available").exists()


def test_a_lease_whose_locks_are_not_had_is_left_to_the_next_run(pool):
    release_allocation = leases.release_allocation

    def busy_at_first(allocation, **kwargs):
        if allocation.cluster_name == "lease-0":
            raise Busy
        return release_allocation(allocation, **kwargs)

    with patch.object(leases, "release_allocation", busy_at_first):
        assert run().status == JobStatusChoices.STATUS_COMPLETED
    assert Allocation.objects.filter(release_reason="expired").count() == LEASES - 1
    run()
    assert_done(pool)


def test_the_end_of_the_job_s_time_is_no_lease_s_failure(pool):
    with patch.object(leases, "release_allocation", side_effect=JobTimeoutException("too late")) as release_allocation:
        job = run()
    assert job.status == JobStatusChoices.STATUS_ERRORED
    assert release_allocation.call_count == 1
    run()
    assert_done(pool)


@pytest.fixture
def queue():
    """The queue of the system jobs, which is emptied at the end."""
    queue = django_rq.get_queue("default")
    queue.empty()
    yield queue
    for job in Job.objects.filter(name=LifeCycleJob.name):
        if rq_job := queue.fetch_job(str(job.job_id)):
            rq_job.delete()


def statuses():
    return list(Job.objects.filter(name=LifeCycleJob.name).order_by("pk").values_list("status", flat=True))


@pytest.mark.django_db(transaction=True)
def test_the_next_run_is_scheduled_before_the_work(queue):
    seen = []
    with patch.object(system, "promote_all", side_effect=lambda: seen.append(statuses())):
        LifeCycleJob.enqueue(immediate=True, interval=1)
    # A job without an interval was started by a user.
    LifeCycleJob.enqueue(immediate=True)
    assert seen == [["running", "scheduled"]]
    assert statuses() == ["completed", "scheduled", "completed"]
    following = Job.objects.get(status="scheduled")
    assert following.interval == 1
    assert timedelta(seconds=50) < following.scheduled - timezone.now() < timedelta(seconds=61)
    assert queue.fetch_job(str(following.job_id)).get_status() == JobStatus.SCHEDULED


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", ["pending", "scheduled", "running"])
@pytest.mark.parametrize("known", ["gone", JobStatus.FAILED])
def test_workers_that_start_end_what_is_lost_and_schedule_one(queue, status, known):
    lost = LifeCycleJob.enqueue_once(interval=1)
    rq_job = queue.fetch_job(str(lost.job_id))
    if known == "gone":
        rq_job.delete()
    else:
        rq_job.set_status(known)
    Job.objects.update(status=status, started=timezone.now() if status == "running" else None)

    barrier = threading.Barrier(2)

    def start():
        barrier.wait()
        try:
            LifeCycleJob.enqueue_once(interval=1)
        finally:
            connection.close()

    threads = [threading.Thread(target=start) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses() == ["errored", "pending"]
    assert Job.objects.get(pk=lost.pk).error == "The worker ended before the job did."


@pytest.mark.django_db(transaction=True)
def test_a_run_that_goes_on_is_left_alone(queue):
    going_on = LifeCycleJob.enqueue_once(interval=1)
    queue.fetch_job(str(going_on.job_id)).set_status(JobStatus.STARTED)
    Job.objects.update(status="running", started=timezone.now())
    assert LifeCycleJob.enqueue_once(interval=1) == going_on
    assert statuses() == ["running"]


@pytest.mark.django_db(transaction=True)
def test_two_at_once(pool, caplog):
    caplog.set_level(logging.INFO, f"netbox.jobs.{LifeCycleJob.__name__}")
    barrier, results = threading.Barrier(2), []

    def work():
        barrier.wait()
        try:
            results.append(run())
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [job.status for job in results] == [JobStatusChoices.STATUS_COMPLETED] * 2
    # In one process, the log of each job also has the lines of the other, so the test counts those of caplog.
    done = Counter()
    for message in caplog.messages:
        done[message.split()[0]] += int("".join(filter(str.isdigit, message)))
    assert done == Counter({"Made": COOLDOWNS, "Released": LEASES, "Warned": 1, "Found": 1, "Forgot": 1})
    assert_done(pool)


class DeletingJob(UserJobRunner):
    """A job that deletes a VLAN group, which a pool protects."""

    asked = ("group",)

    class Meta:
        name = "Delete a group"

    def work(self, user, group):
        VLANGroup.objects.get(pk=group).delete()


@pytest.mark.parametrize("may_view", [True, False])
def test_job_of_a_user_names_only_what_the_user_may_view(may_view):
    pool, user = make_pool(name="zqx-pool"), make_user("alice")
    if may_view:
        permit(user, SegmentPool, "view")
    job = DeletingJob.enqueue_for(user, group=pool.vlan_group_id)
    DeletingJob.handle(job)
    job = Job.objects.get(pk=job.pk)
    assert job.status == JobStatusChoices.STATUS_FAILED
    told = f"{job.data} {job.log_entries} {job.error}"
    assert ("zqx-pool" in told) is may_view
    assert ("something that you may not view" in told) is not may_view
