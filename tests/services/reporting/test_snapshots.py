import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from core.choices import JobIntervalChoices, JobStatusChoices
from core.models import Job, ObjectChange
from netbox.registry import registry
from netbox_vlan_manager.jobs import PoolSnapshotJob
from netbox_vlan_manager.models import PoolSnapshot, Segment, SegmentPool, SegmentUsage
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.reporting import snapshots
from netbox_vlan_manager.services.reporting.snapshots import take_snapshots, usage_history
from netbox_vlan_manager.settings import get_setting
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(segments=4)


def make_other_pool(number=2, **kwargs):
    return make_pool(scope=f"Site{number}", container=f"10.{number}.0.0/16", **kwargs)


def make_snapshot(pool, age, allocated=0, total=10):
    """Return a snapshot of a pool from that many days ago."""
    return PoolSnapshot.objects.create(
        pool=pool,
        date=timezone.localdate() - timedelta(days=age),
        total_segments=total,
        allocated=allocated,
        available=total - allocated,
        quarantined=0,
        disabled=0,
    )


def history(pools, days, **kwargs):
    """Return the history as (days ago, allocated, segments)."""
    today = timezone.localdate()
    return [
        ((today - point.date).days, point.usage.allocated, point.usage.total_segments)
        for point in usage_history(pools, days, **kwargs)
    ]


class TestTakeSnapshots:
    def test_one_for_each_pool(self, pool):
        empty = make_other_pool()
        allocate("prod-01", pool=pool, user=make_user())
        Segment.objects.filter(vid=102).update(status="quarantined")
        Segment.objects.filter(vid=103).update(status="disabled")

        assert take_snapshots() == 2
        assert PoolSnapshot.objects.get(pool=pool).usage == SegmentUsage(4, 1, 1, 1, 1)
        assert PoolSnapshot.objects.get(pool=empty).usage == SegmentUsage()
        assert set(PoolSnapshot.objects.values_list("date", flat=True)) == {timezone.localdate()}

    def test_again_on_the_same_day_replaces(self, pool):
        take_snapshots()
        allocate("prod-01", pool=pool, user=make_user())
        take_snapshots()

        assert PoolSnapshot.objects.get().usage == SegmentUsage(4, 1, 3)

    def test_without_pools(self):
        assert take_snapshots() == 0

    def test_forgets_what_is_past_the_retention(self, pool):
        retention = get_setting("snapshot_retention")
        kept = make_snapshot(pool, retention)
        make_snapshot(pool, retention + 1)
        take_snapshots()

        assert set(PoolSnapshot.objects.exclude(date=timezone.localdate())) == {kept}

    def test_is_not_change_logged(self, pool):
        before = ObjectChange.objects.count()
        take_snapshots()

        assert ObjectChange.objects.count() == before

    def test_no_more_queries_for_more_pools(self, pool):
        counts = []
        for number in (2, 5):
            for other in range(2, number + 1):
                make_other_pool(10 * number + other, segments=1)
            for stale in SegmentPool.objects.all():
                make_snapshot(stale, 10_000 + number)
            with CaptureQueriesContext(connection) as queries:
                take_snapshots()
            counts.append(len(queries))

        assert counts[0] == counts[1]

    def test_a_pool_that_goes_between_count_and_write_is_left_out(self, pool, monkeypatch):
        other = make_other_pool()
        count = snapshots.iterate_statistics

        def count_then_delete(pools):
            yield from list(count(pools))
            other.delete()

        monkeypatch.setattr(snapshots, "iterate_statistics", count_then_delete)

        assert take_snapshots() == 1
        assert PoolSnapshot.objects.get().pool == pool

    def test_snapshots_go_with_their_pool(self, pool):
        other = make_other_pool()
        take_snapshots()
        other.delete()

        assert PoolSnapshot.objects.get().pool == pool


@pytest.mark.django_db(transaction=True)
class TestMeanwhile:
    def test_runs_at_once_write_one_for_each_pool(self):
        for number in range(2, 6):
            make_other_pool(number, segments=2)
        start = threading.Barrier(4)

        def run():
            try:
                connection.ensure_connection()
                start.wait()
                return [take_snapshots() for _ in range(5)]
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as threads:
            runs = [threads.submit(run) for _ in range(4)]

        assert [run.result() for run in runs] == [[4] * 5] * 4
        assert [snapshot.usage.total_segments for snapshot in PoolSnapshot.objects.all()] == [2] * 4

    def test_waits_for_a_deletion_and_leaves_the_pool_out(self, other_connection):
        pool, other = make_other_pool(2), make_other_pool(3)
        deleter = other_connection
        deleter.execute("DELETE FROM netbox_vlan_manager_segmentpool_prefixes WHERE segmentpool_id = %s", [other.pk])
        deleter.execute("DELETE FROM netbox_vlan_manager_segmentpool WHERE id = %s", [other.pk])
        commit = threading.Timer(0.5, deleter.commit)
        commit.start()

        assert take_snapshots() == 1
        assert PoolSnapshot.objects.get().pool == pool
        commit.join()

    def test_keeps_no_allocation_waiting(self, other_connection):
        pool = make_other_pool(2, segments=1)
        other = other_connection
        other.execute("SELECT id FROM netbox_vlan_manager_segmentpool FOR NO KEY UPDATE")

        assert allocate("prod-01", pool=pool, user=make_user()).created


@pytest.fixture
def other_connection(stack):
    """A second connection to the test database, in a transaction."""
    from tests.stack.database import Database

    with Database(os.environ["DB_NAME"], stack.env).connect(autocommit=False) as other:
        yield other
        other.rollback()


class TestUsageHistory:
    def test_oldest_first_and_no_further_back_than_asked(self, pool):
        for age in (1, 30, 31):
            make_snapshot(pool, age, allocated=age % 10)

        assert history(SegmentPool.objects.all(), 30) == [(30, 0, 10), (1, 1, 10)]

    def test_adds_up_pools(self, pool):
        other = make_other_pool()
        make_snapshot(pool, 2, allocated=3)
        make_snapshot(pool, 1, allocated=4)
        make_snapshot(other, 1, allocated=5, total=20)

        assert history(SegmentPool.objects.all(), 30) == [(2, 3, 10), (1, 9, 30)]

    def test_of_the_pools_given_alone(self, pool):
        other = make_other_pool()
        make_snapshot(pool, 1, allocated=4)
        make_snapshot(other, 1, allocated=5)

        assert history(SegmentPool.objects.with_usage().filter(pk=pool.pk), 30) == [(1, 4, 10)]
        assert history(SegmentPool.objects.none(), 30) == []

    def test_what_is_now_stands_for_today(self, pool):
        make_snapshot(pool, 1, allocated=4)
        make_snapshot(pool, 0, allocated=5)

        assert history(SegmentPool.objects.all(), 30) == [(1, 4, 10), (0, 5, 10)]
        current = SegmentUsage(total_segments=10, allocated=6)
        assert history(SegmentPool.objects.all(), 30, current=current) == [(1, 4, 10), (0, 6, 10)]

    def test_one_query(self, pool, django_assert_num_queries):
        other = make_other_pool()
        for age in range(50):
            make_snapshot(pool, age)
            make_snapshot(other, age)

        with django_assert_num_queries(1):
            assert len(usage_history(SegmentPool.objects.all(), 30, current=SegmentUsage())) == 31


class TestJob:
    def test_is_a_system_job_of_every_day(self):
        assert registry["system_jobs"][PoolSnapshotJob] == {"interval": JobIntervalChoices.INTERVAL_DAILY}

    def test_runs(self, pool):
        job = PoolSnapshotJob.enqueue(immediate=True)

        job = Job.objects.get(pk=job.pk)
        assert (job.status, job.error) == (JobStatusChoices.STATUS_COMPLETED, "")
        assert [entry["message"] for entry in job.log_entries] == ["Took snapshots of 1 pools"]
        assert PoolSnapshot.objects.get().pool == pool
