import logging
import threading
from collections import Counter
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.db import connection
from django.utils import timezone

from core.choices import JobIntervalChoices, JobStatusChoices
from core.models import Job, ObjectChange
from netbox.registry import registry
from netbox_vlan_manager import jobs
from netbox_vlan_manager.jobs import LifeCycleJob
from netbox_vlan_manager.models import Allocation, IdempotencyKey, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, leases, release
from netbox_vlan_manager.services.consistency import find_drift
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db

LEASES, COOLDOWNS = 6, 6


@pytest.fixture
def pool():
    """A pool with leases that are over, cool-downs that are over, a lease that ends soon, and one segment more."""
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
    """Run the job as a worker does, and return it as it ended."""
    return Job.objects.get(pk=LifeCycleJob.enqueue(immediate=True).pk)


def messages_of(job):
    return [entry["message"] for entry in job.log_entries]


def assert_done(pool):
    """All that was due was done, once each, and no more."""
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
        "Found 1 pools at another level",
        "Forgot 1 idempotency keys",
    ]
    assert_done(pool)
    assert [message.split()[1] for message in messages_of(run())] == ["0", "0", "of", "0", "0"]
    assert_done(pool)


def test_a_step_that_fails_keeps_none_of_the_others(pool):
    with (
        patch.object(jobs, "promote_all", side_effect=ValueError("out of order")),
        patch.object(jobs, "warn_expiring", side_effect=KeyError("lost")),
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
    """No error that anything may catch."""


@pytest.mark.parametrize("step", ["expire_due", "warn_expiring", "refresh", "forget_old_keys"])
def test_killed_between_two_steps(pool, step):
    with patch.object(jobs, step, side_effect=Killed), pytest.raises(Killed):
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
    # What each said in one process both of the jobs log.
    done = Counter()
    for message in caplog.messages:
        done[message.split()[0]] += int("".join(filter(str.isdigit, message)))
    assert done == {"Made": COOLDOWNS, "Released": LEASES, "Warned": 1, "Found": 1, "Forgot": 1}
    assert_done(pool)
