import threading
import time
import uuid
from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import patch

import django_rq
from django.core.cache import cache
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.db.migrations.recorder import MigrationRecorder
from django.test import TestCase, override_settings
from django.utils import timezone
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import ConnectionError as RedisConnectionError
from rest_framework.test import APIClient
from rq import Worker

from core.choices import JobStatusChoices
from core.models import Job
from netbox.config import clear_config
from netbox_vlan_manager.api.views import health
from netbox_vlan_manager.caching import once_a_second
from netbox_vlan_manager.jobs import LifeCycleJob
from netbox_vlan_manager.services import allocate
from tests.api.base import url_of
from tests.factories import make_pool, make_user

VIEW = "netbox_vlan_manager.api.views.health"
SERVICE = "netbox_vlan_manager.services.reporting.health"
FINE = {
    "status": "ok",
    "database": "ok",
    "migrations": "ok",
    "jobs": "unknown",
    "pools_low": 0,
    "cache": "ok",
    "queue": "ok",
    "workers": "ok",
}


@contextmanager
def worker_of(queue):
    """A worker of a queue, registered in Redis."""
    worker = Worker([queue], connection=django_rq.get_connection(queue), name=f"test-{uuid.uuid4()}")
    worker.register_birth()
    try:
        yield worker
    finally:
        worker.register_death()


def make_job(age=timedelta(0), status=JobStatusChoices.STATUS_COMPLETED):
    job = Job.objects.create(name=LifeCycleJob.name, job_id=uuid.uuid4())
    Job.objects.filter(pk=job.pk).update(status=status, completed=timezone.now() - age)


class HealthTestCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=1)

    def setUp(self):
        self.client = APIClient()
        self.url = url_of("health")
        self.enterContext(worker_of("default"))
        health.check_health.forget()
        health.HealthThrottle.cache.clear()
        self.addCleanup(health.check_health.forget)

    def ask(self, status=200, **headers):
        health.check_health.forget()
        response = self.client.get(self.url, headers=headers)
        self.assertEqual(response.status_code, status, response.content)
        return response.json()

    def test_without_login(self):
        for login_required in (True, False):
            with override_settings(LOGIN_REQUIRED=login_required), self.assertNumQueries(3):
                self.assertEqual(self.ask(), FINE)

    def test_a_token_that_is_wrong_does_not_matter(self):
        self.ask(authorization="Bearer nbt_x.y")

    def test_pools_that_run_short(self):
        allocate("prod-01", pool=self.pool, user=make_user())
        self.assertEqual(self.ask(), FINE | {"pools_low": 1})

    def test_database_down(self):
        down = {"status": "unavailable", "database": "down", "migrations": "unknown", "pools_low": None}
        for error in (OperationalError, InterfaceError):
            for name in (
                f"{SERVICE}.count_low_pools",
                f"{SERVICE}._is_migrated",
                "netbox_vlan_manager.jobs.system.LifeCycleJob.last_success",
            ):
                with patch(name, side_effect=error):
                    self.assertEqual(self.ask(503), FINE | down)

    def test_migrations_pending(self):
        latest = MigrationRecorder.Migration.objects.filter(app="netbox_vlan_manager").latest("name")
        latest.delete()
        with patch(f"{SERVICE}.count_low_pools", side_effect=ProgrammingError("no such column")):
            self.assertEqual(
                self.ask(503), FINE | {"status": "unavailable", "migrations": "pending", "pools_low": None}
            )

    def test_newer_migrations_than_the_code_s(self):
        MigrationRecorder.Migration.objects.create(app="netbox_vlan_manager", name="9999_later", applied=timezone.now())
        self.assertEqual(self.ask(), FINE)

    def test_queue_down(self):
        with patch.object(django_rq.get_connection("default").__class__, "ping", side_effect=RedisConnectionError):
            self.assertEqual(self.ask(503), FINE | {"status": "unavailable", "queue": "down", "workers": "unknown"})

    def test_no_worker(self):
        with patch.object(Worker, "all", return_value=[]):
            self.assertEqual(self.ask(), FINE | {"status": "degraded", "workers": "down"})

    def test_worker_of_another_queue_and_one_that_died(self):
        for worker in Worker.all(queue=django_rq.get_queue("default")):
            worker.register_death()
        with worker_of("low"), worker_of("default") as killed:
            # The worker is still listed, but its heartbeat has expired.
            killed.connection.delete(killed.key)
            self.assertEqual(self.ask()["workers"], "down")

    def test_jobs(self):
        make_job(timedelta(hours=1))
        self.assertEqual(self.ask(), FINE | {"status": "degraded", "jobs": "late"})
        make_job(status=JobStatusChoices.STATUS_ERRORED)
        self.assertEqual(self.ask()["jobs"], "late")
        make_job()
        self.assertEqual(self.ask(), FINE | {"jobs": "ok"})

    def test_is_computed_once_a_second(self):
        self.ask()
        with self.assertNumQueries(0), patch.object(Worker, "all", side_effect=AssertionError):
            for _number in range(20):
                self.assertEqual(self.client.get(self.url).json(), FINE)
        with patch("time.monotonic", return_value=time.monotonic() + 1), self.assertNumQueries(3):
            self.client.get(self.url)

    def test_throttle_counts_each_address(self):
        def ask(address):
            return self.client.get(self.url, headers={"X-Real-IP": address})

        with patch(f"{VIEW}.get_setting", return_value="3/min"):
            statuses = [ask("192.0.2.1").status_code for _number in range(5)]
            self.assertEqual(statuses, [200, 200, 200, 429, 429])
            self.assertEqual(ask("192.0.2.2").status_code, 200)
            refused = ask("192.0.2.1")
            self.assertEqual(refused.json()["code"], "throttled")
            self.assertTrue(0 < int(refused["Retry-After"]) <= 60)
            # All clients whose address is invalid share one limit, so inventing addresses does not help.
            statuses = [ask(f"nobody-{number}").status_code for number in range(4)]
            self.assertEqual(statuses, [200, 200, 200, 429])
        with patch(f"{VIEW}.get_setting", return_value=None):
            self.assertEqual(ask("192.0.2.1").status_code, 200)

    def test_without_redis_netbox_fails_and_health_answers(self):
        self.client.raise_request_exception = False
        clear_config()
        with patch.object(cache, "get", side_effect=ConnectionInterrupted(None)):
            answer = self.ask(503)
            self.assertEqual(self.client.get(url_of("statistics")).status_code, 500)
        clear_config()
        self.assertEqual(answer, FINE | {"status": "unavailable", "cache": "down"})

    def test_memory_of_the_throttle_is_bounded(self):
        for number in range(1000):
            self.client.get(self.url, headers={"X-Real-IP": f"192.0.{number // 250}.{number % 250}"})
        self.assertLessEqual(len(health.HealthThrottle.cache._cache), 300)


class MemoryTestCase(TestCase):
    def test_those_that_come_meanwhile_wait_for_the_answer(self):
        calls = []

        @once_a_second
        def slow():
            calls.append(1)
            time.sleep(0.1)
            return len(calls)

        answers = []
        threads = [threading.Thread(target=lambda: answers.append(slow())) for _number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, [1] * 10)

    def test_an_error_is_not_kept(self):
        calls = []

        @once_a_second
        def fail_first():
            calls.append(1)
            if len(calls) == 1:
                raise ValueError
            return "done"

        self.assertRaises(ValueError, fail_first)
        self.assertEqual(fail_first(), "done")
