"""System jobs, which NetBox schedules when a worker starts."""

from datetime import timedelta

from django.db.models.expressions import RawSQL
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily
from rq.timeouts import JobTimeoutException

from core.choices import JobIntervalChoices, JobStatusChoices
from netbox.jobs import system_job

from ..logs import as_line
from ..services.allocations.leases import expire_due, warn_expiring
from ..services.base.idempotency import forget_old_keys
from ..services.drift.reports import announce_drift
from ..services.pools.retiring import delete_drained
from ..services.reporting import gauges, health
from ..services.reporting.snapshots import take_snapshots
from ..services.reporting.thresholds import refresh
from ..services.segments.quarantine import promote_all
from .runners import LastingJobRunner

__all__ = (
    "JOBS",
    "DriftJob",
    "LifeCycleJob",
    "PoolSnapshotJob",
)

# The life-cycle job is late if its last success is longer ago.
LATE = timedelta(minutes=10)


@system_job(interval=JobIntervalChoices.INTERVAL_MINUTELY)
class LifeCycleJob(LastingJobRunner):
    """
    Ends cool-downs and leases that are over, and sends the events of leases that end soon and of pools that get full.

    A step that fails, or a lease that cannot be ended, does not stop the other steps; the job then ends as errored.
    """

    class Meta:
        name = "VLAN Manager: cool-downs, leases and thresholds"

    def work(self):
        steps = (
            (promote_all, "Made {} quarantined segments available"),
            (expire_due, "Released {} expired allocations"),
            (warn_expiring, "Warned of {} expiring allocations"),
            (delete_drained, "Deleted {} retiring pools"),
            (lambda: len(refresh()), "Found {} pools at another level"),
            (forget_old_keys, "Forgot {} idempotency keys"),
        )
        errors = []
        for step, text in steps:
            try:
                self.logger.info(text.format(step()))
            except JobTimeoutException:
                raise
            except ExceptionGroup as group:
                for error in group.exceptions:
                    self.logger.error(as_line(str(error)))
                self.logger.error(group.message)
                errors.append(group)
            except Exception as error:
                self.logger.error(as_line(f"{text.format('no')}: {error}"))
                errors.append(error)
        if errors:
            raise ExceptionGroup("Some steps failed", errors)


@system_job(interval=JobIntervalChoices.INTERVAL_DAILY)
class PoolSnapshotJob(LastingJobRunner):
    """Stores the usage of the pools, for the plots."""

    class Meta:
        name = "VLAN Manager: daily snapshot of pools"

    def work(self):
        pools = take_snapshots()
        self.logger.info(f"Took snapshots of {pools} pools")


@system_job(interval=JobIntervalChoices.INTERVAL_HOURLY)
class DriftJob(LastingJobRunner):
    """
    Finds drift, and sends an event for each pool with new findings. It repairs nothing.

    The job's data are {pool id: names of findings}. The next job sends no event for these.
    """

    class Meta:
        name = "VLAN Manager: drift"

    def work(self):
        earlier = self.get_jobs().filter(data__isnull=False).exclude(pk=self.job.pk)
        last = earlier.order_by("-created", "-pk").first()
        self.job.data = announce_drift(last.data if last else {})
        # Only the last data are needed, and they may be long.
        earlier.update(data=None)
        count = sum(map(len, self.job.data.values()))
        self.logger.info(f"Found {count} things that do not fit in {len(self.job.data)} pools")

    @classmethod
    def count_findings(cls):
        """Return the number of findings of the last job that succeeded; None if none did."""
        done = cls.get_jobs().filter(status=JobStatusChoices.STATUS_COMPLETED, data__isnull=False)
        # Counted by PostgreSQL: the names may be long, and are not needed here.
        count = RawSQL("(SELECT coalesce(sum(jsonb_array_length(value)), 0) FROM jsonb_each(core_job.data))", ())
        return done.order_by("-created").annotate(findings=count).values_list("findings", flat=True).first()


# The jobs by their names in /metrics.
JOBS = {"life_cycle": LifeCycleJob, "drift": DriftJob, "snapshot": PoolSnapshotJob}


@health.register("jobs")
def check_jobs():
    """Return "late" if the life-cycle job has not succeeded for ten minutes; "unknown" if it never did."""
    ended = LifeCycleJob.last_success()
    if ended is None:
        return "unknown"
    return "ok" if timezone.now() - ended < LATE else "late"


@gauges.register
def read_successes():
    """Yield the time of each job's last success."""
    successes = GaugeMetricFamily(
        f"{gauges.PREFIX}job_last_success_timestamp_seconds", "When a job ended well last", labels=["job"]
    )
    for name, job in JOBS.items():
        if ended := job.last_success():
            successes.add_metric((name,), ended.timestamp())
    yield successes


@gauges.register
def read_drift():
    """Yield the number of findings of the last drift job that succeeded."""
    drift = GaugeMetricFamily(f"{gauges.PREFIX}drift_findings", "What no longer fitted when the drift job looked last")
    if (found := DriftJob.count_findings()) is not None:
        drift.add_metric((), found)
    yield drift
