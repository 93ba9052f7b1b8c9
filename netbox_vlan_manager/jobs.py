from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils.translation import gettext as _
from rq.timeouts import JobTimeoutException

from core.choices import JobIntervalChoices, JobNotificationChoices
from core.exceptions import JobFailed
from netbox.jobs import JobRunner, system_job

from .api.idempotency import forget_old_keys
from .forms.errors import SERVICE_ERRORS, get_error_texts
from .services.importing import import_segments, parse_csv
from .services.leases import expire_due, warn_expiring
from .services.quarantine import promote_all
from .services.snapshots import take_snapshots
from .services.thresholds import refresh

__all__ = (
    "LifeCycleJob",
    "PoolSnapshotJob",
    "SegmentImportJob",
)

# Seconds: several times what an import of the most rows takes on a slow machine.
IMPORT_TIMEOUT = 3600


@system_job(interval=JobIntervalChoices.INTERVAL_MINUTELY)
class LifeCycleJob(JobRunner):
    """
    Ends cool-downs and leases that are over, and tells of those that end soon and of pools that get full.

    A step that fails keeps none of the others from being done; the job ends as errored then.
    """

    class Meta:
        name = "VLAN Manager: cool-downs, leases and thresholds"

    def run(self, *args, **kwargs):
        steps = (
            (promote_all, "Made {} quarantined segments available"),
            (expire_due, "Released {} expired allocations"),
            (warn_expiring, "Warned of {} expiring allocations"),
            (lambda: len(refresh()), "Found {} pools at another level"),
            (forget_old_keys, "Forgot {} idempotency keys"),
        )
        errors = []
        for step, text in steps:
            try:
                self.logger.info(text.format(step()))
            except JobTimeoutException:
                raise
            except Exception as error:
                self.logger.error(f"{text.format('no')}: {error}")
                errors.append(error)
        if errors:
            raise ExceptionGroup("Some steps failed", errors)


@system_job(interval=JobIntervalChoices.INTERVAL_DAILY)
class PoolSnapshotJob(JobRunner):
    """Writes down how full the pools are, for the plots."""

    class Meta:
        name = "VLAN Manager: daily snapshot of pools"

    def run(self, *args, **kwargs):
        pools = take_snapshots()
        self.logger.info(f"Took snapshots of {pools} pools")


class SegmentImportJob(JobRunner):
    """
    Imports segments as the job's user, or tries what that would do. All of it is one transaction: a job that is killed
    leaves nothing behind.

    The job's data begin as `csv`, `atomic` and `dry_run`. To these come `phase`, what it is at (see `import_segments`),
    and in the end either `results`, a dictionary for each row, or `errors`, texts that say why nothing was done.
    """

    class Meta:
        name = "VLAN Manager: import of segments"

    @classmethod
    def start(cls, csv, *, user, atomic=False, dry_run=False):
        """Return a new Job for a worker, which imports the rows of a CSV text."""
        notifications = (
            JobNotificationChoices.NOTIFICATION_NEVER if dry_run else JobNotificationChoices.NOTIFICATION_ALWAYS
        )
        # The worker is told at the end of the transaction, when the job has its data.
        with transaction.atomic():
            job = cls.enqueue(user=user, job_timeout=IMPORT_TIMEOUT, notifications=notifications)
            job.data = {"csv": csv, "atomic": atomic, "dry_run": dry_run}
            job.save()
        return job

    def run(self, *args, **kwargs):
        data = self.job.data
        # As they are now: the job has the user of when it was made, permissions included.
        user = get_user_model().objects.filter(pk=self.job.user_id, is_active=True).first()
        if user is None:
            self._refuse([_("The user who started this may no longer log in.")])
        try:
            result = import_segments(
                parse_csv(data["csv"]),
                user=user,
                # What a row would do shows even where another one fails.
                atomic=data["atomic"] and not data["dry_run"],
                dry_run=data["dry_run"],
                report=self._report,
            )
        except SERVICE_ERRORS as error:
            self._refuse(get_error_texts(error))
        data["results"] = [row.as_json() for row in result.results]
        self.logger.info(result.summary())

    def _report(self, phase):
        self.job.data["phase"] = phase
        self.job.save()

    def _refuse(self, texts):
        self.job.data["errors"] = texts
        for text in texts:
            self.logger.error(text)
        raise JobFailed
