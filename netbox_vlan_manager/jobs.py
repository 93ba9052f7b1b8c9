from collections import Counter
from datetime import timedelta
from itertools import chain

import django_rq
from django.contrib.auth import get_user_model
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied
from django.db import transaction
from django.db.models.expressions import RawSQL
from django.utils import timezone
from django.utils.translation import gettext as _
from django_pg_utils import advisory_lock
from rq.job import JobStatus
from rq.timeouts import JobTimeoutException

from core.choices import JobIntervalChoices, JobNotificationChoices, JobStatusChoices
from core.exceptions import JobFailed
from netbox.constants import ADVISORY_LOCK_KEYS
from netbox.jobs import JobRunner, system_job

from .logs import as_line
from .models import SegmentPool
from .services.allocations.leases import expire_due, warn_expiring
from .services.base.idempotency import forget_old_keys
from .services.base.refusals import SERVICE_ERRORS, get_error_texts
from .services.drift.repair import FAILED, STATUSES, repair_drift
from .services.drift.reports import announce_drift
from .services.onboarding.first_generation.actions import ACTIONS
from .services.onboarding.import_files import parse_file
from .services.onboarding.importing import import_segments
from .services.pools.retiring import delete_drained
from .services.reporting.snapshots import take_snapshots
from .services.reporting.thresholds import refresh
from .services.segments.generation import generate_segments
from .services.segments.quarantine import promote_all

__all__ = (
    "REPAIRED_AT_ONCE",
    "DriftJob",
    "DriftRepairJob",
    "GenerateSegmentsJob",
    "LifeCycleJob",
    "MigrationJob",
    "PoolSnapshotJob",
    "SegmentImportJob",
)

# What NetBox holds the schedule of its system jobs under. It belongs to the session, and may be taken again within.
SCHEDULE_LOCK = ADVISORY_LOCK_KEYS["job-schedules"]

WAITING = (JobStatusChoices.STATUS_PENDING, JobStatusChoices.STATUS_SCHEDULED)
RQ_ENDED = (JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED)


class LastingJobRunner(JobRunner):
    """
    A system job that goes on after the death of a worker.

    NetBox schedules the next run only when a run ends. A killed worker never ends its run, so NetBox waits for it for
    ever. Here the next run is scheduled before the work begins; NetBox finds it at the end and makes no second one. A
    run that takes longer than the interval may meet the next one: the work has to bear that.
    """

    def run(self, *args, **kwargs):
        if self.job.interval:
            with advisory_lock(SCHEDULE_LOCK):
                self._end_lost(self.job)
                self._schedule_next()
        self.work()

    def work(self):
        """Do what the job is for."""
        raise NotImplementedError

    @classmethod
    def last_success(cls):
        """Return when the job was last done without an error, a datetime, or None if it never was."""
        done = cls.get_jobs().filter(status=JobStatusChoices.STATUS_COMPLETED, completed__isnull=False)
        # By the one column of jobs that has an index.
        return done.order_by("-created").values_list("completed", flat=True).first()

    @classmethod
    @advisory_lock(SCHEDULE_LOCK)
    def enqueue_once(cls, *args, **kwargs):
        cls._end_lost()
        return super().enqueue_once(*args, **kwargs)

    @classmethod
    def _end_lost(cls, own=None):
        """
        End the runs as errored that RQ has no more, or has ended: their worker was killed, or Redis lost its data.

        RQ notices that a worker is dead only minutes later. The caller holds the lock of the schedule, so that a run
        which is being scheduled is not taken for a lost one.

        Args:
            own: The Job that asks, which is not lost.
        """
        with transaction.atomic():
            known = cls.get_jobs().filter(
                status__in=JobStatusChoices.ENQUEUED_STATE_CHOICES, interval__isnull=False, object_id__isnull=True
            )
            for job in known.exclude(pk=own and own.pk).select_for_update():
                rq_job = django_rq.get_queue(job.queue_name).fetch_job(str(job.job_id))
                if rq_job is None or rq_job.get_status(refresh=False) in RQ_ENDED:
                    job.terminate(JobStatusChoices.STATUS_ERRORED, error=_("The worker ended before the job did."))

    def _schedule_next(self):
        job = self.job
        if self.get_jobs().filter(status__in=WAITING, interval=job.interval).exclude(pk=job.pk).exists():
            return
        self.enqueue(
            schedule_at=timezone.now() + timedelta(minutes=job.interval),
            interval=job.interval,
            user=job.user,
            notifications=job.notifications,
        )


@system_job(interval=JobIntervalChoices.INTERVAL_MINUTELY)
class LifeCycleJob(LastingJobRunner):
    """
    Ends cool-downs and leases that are over, and tells of those that end soon and of pools that get full.

    A step that fails keeps none of the others from being done, nor does a lease that cannot be ended; the job ends as
    errored then.
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
    """Writes down how full the pools are, for the plots."""

    class Meta:
        name = "VLAN Manager: daily snapshot of pools"

    def work(self):
        pools = take_snapshots()
        self.logger.info(f"Took snapshots of {pools} pools")


class UserJobRunner(JobRunner):
    """
    Does what a user asked for, as this user: the job's data are what was asked for. To these comes `errors`, {field:
    texts} that say why it was not done, if it was not.

    Attributes:
        asked: The names of what is asked for: the arguments of `work`.
    """

    asked = ()

    # Seconds: several times what an import of the most rows takes on a slow machine, or as many repairs as there are
    # VLAN IDs.
    timeout = 3600

    @classmethod
    def enqueue_for(cls, user, **data):
        """Return a new Job for a worker, with these data. Nobody is notified of a dry run."""
        is_told = not data.get("dry_run")
        notifications = (
            JobNotificationChoices.NOTIFICATION_ALWAYS if is_told else JobNotificationChoices.NOTIFICATION_NEVER
        )
        # The worker is told at the end of the transaction, when the job has its data.
        with transaction.atomic():
            job = cls.enqueue(user=user, job_timeout=cls.timeout, notifications=notifications)
            job.data = data
            job.save()
        return job

    def run(self, *args, **kwargs):
        try:
            # As they are now: the job has the user of when it was made, permissions included.
            user = get_user_model().objects.filter(pk=self.job.user_id, is_active=True).first()
            if user is None:
                raise PermissionDenied(_("The user who started this may no longer log in."))
            # NetBox can queue a job that has failed again: what came of that run is not asked for.
            self.job.data = {name: self.job.data[name] for name in self.asked if name in self.job.data}
            self.work(user, **self.job.data)
        except (*SERVICE_ERRORS, PermissionDenied) as error:
            is_by_field = hasattr(error, "error_dict")
            errors = error.message_dict if is_by_field else {NON_FIELD_ERRORS: get_error_texts(error)}
            self.job.data["errors"] = errors
            for text in chain.from_iterable(errors.values()):
                self.logger.error(as_line(str(text)))
            raise JobFailed from error

    def work(self, user, **data):
        """Do what the job is for, and add to its data what came out."""
        raise NotImplementedError


class SegmentImportJob(UserJobRunner):
    """
    Imports segments as the job's user, or tries what that would do. All of it is one transaction: a job that is killed
    leaves nothing behind.

    To the job's data come `phase`, what it is at (see `import_segments`), and in the end `results`, a dictionary for
    each row.
    """

    asked = ("text", "atomic", "dry_run")

    class Meta:
        name = "VLAN Manager: import of segments"

    @classmethod
    def start(cls, text, *, user, atomic=False, dry_run=False):
        """Return a new Job for a worker, which imports the rows of a text (see `import_files.parse_file`)."""
        return cls.enqueue_for(user, text=text, atomic=atomic, dry_run=dry_run)

    def work(self, user, text, atomic, dry_run):
        result = import_segments(
            parse_file(text),
            user=user,
            # What a row would do shows even where another one fails.
            atomic=atomic and not dry_run,
            dry_run=dry_run,
            report=self._report,
        )
        self.job.data["results"] = [row.as_json() for row in result.results]
        self.logger.info(result.summary())

    def _report(self, phase):
        self.job.data["phase"] = phase
        self.job.save()


@system_job(interval=JobIntervalChoices.INTERVAL_HOURLY)
class DriftJob(LastingJobRunner):
    """
    Looks for what no longer fits, and tells once of what is new in a pool. It repairs nothing.

    The data of the last job that was done are {pool id: names of findings}, which the next one tells no more.
    """

    class Meta:
        name = "VLAN Manager: drift"

    def work(self):
        earlier = self.get_jobs().filter(data__isnull=False).exclude(pk=self.job.pk)
        last = earlier.order_by("-created", "-pk").first()
        self.job.data = announce_drift(last.data if last else {})
        # Nobody asks for those before it, and they may be long.
        earlier.update(data=None)
        count = sum(map(len, self.job.data.values()))
        self.logger.info(f"Found {count} things that do not fit in {len(self.job.data)} pools")

    @classmethod
    def count_findings(cls):
        """Return how many things the last job that was done found; None if none was."""
        done = cls.get_jobs().filter(status=JobStatusChoices.STATUS_COMPLETED, data__isnull=False)
        # Counted by PostgreSQL: the names may be long, and nobody wants them here.
        count = RawSQL("(SELECT coalesce(sum(jsonb_array_length(value)), 0) FROM jsonb_each(core_job.data))", ())
        return done.order_by("-created").annotate(findings=count).values_list("findings", flat=True).first()


class MigrationJob(UserJobRunner):
    """
    Takes over the first generation's data as the job's user, gives it back, or ends the trial; or tries what that would
    do (see `services.onboarding.first_generation`).

    To the job's data come `done` and `total`, how many pools are, and in the end `report`, what `as_json` of what was
    done returns.
    """

    asked = ("dry_run", "action")

    class Meta:
        name = "VLAN Manager: migration from the first generation"

    @classmethod
    def start(cls, *, user, dry_run=False, action="migrate"):
        """Return a new Job for a worker."""
        return cls.enqueue_for(user, dry_run=dry_run, action=action)

    def work(self, user, dry_run, action="migrate"):
        # A job that waits since an older version has no action.
        result = ACTIONS[action].work(user=user, dry_run=dry_run, report=self._report)
        self.job.data["report"] = result.as_json()
        self.logger.info(result.summary())

    def _report(self, done, total):
        self.job.data |= {"done": done, "total": total}
        self.job.save()


# How many repairs a person or a client waits for; a hundred take a second or two. A job does more.
REPAIRED_AT_ONCE = 200


class DriftRepairJob(UserJobRunner):
    """
    Repairs drift as the job's user, the findings of some names or all, or tries what that would do. Each repair is a
    transaction of its own: a job that is killed leaves whole repairs only, and the rest may be repaired again.

    To the job's data come `done` and `total`, how many repairs are, and in the end `results`, a dictionary for each
    item.
    """

    asked = ("items", "changelog_message", "dry_run")
    # After so many repairs the job says how far it is.
    reported = 25

    class Meta:
        name = "VLAN Manager: repair of drift"

    @classmethod
    def start(cls, items=None, *, user, changelog_message="", dry_run=False):
        """Return a new Job for a worker, which repairs the findings of these names; None for all."""
        return cls.enqueue_for(user, items=items, changelog_message=changelog_message, dry_run=dry_run)

    def work(self, user, items, changelog_message, dry_run=False):
        results = repair_drift(
            items, user=user, changelog_message=changelog_message, dry_run=dry_run, report=self._report
        )
        self.job.data["results"] = [vars(result) for result in results]
        for result in results:
            if result.status == FAILED:
                self.logger.error(as_line(f"{result.item}: {result.message}"))
        counts = Counter(result.status for result in results)
        self.logger.info(", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]))

    def _report(self, done, total):
        if done % self.reported == 0:
            self.job.data |= {"done": done, "total": total}
            self.job.save()


class GenerateSegmentsJob(UserJobRunner):
    """
    Makes segments of a pool as the job's user, or tries what that would do. All of it is one transaction: a job that is
    killed leaves nothing behind.

    Its data have `pool`, its id, and `asked`, the arguments of `generate_segments`; to these comes in the end `result`,
    what `GenerateResult.as_json` returns.
    """

    asked = ("pool", "asked", "dry_run")
    # How many segments its data list.
    listed = 100

    class Meta:
        name = "VLAN Manager: generation of segments"

    @classmethod
    def start(cls, pool, asked, *, user, dry_run=False):
        """Return a new Job for a worker, which makes segments of a pool."""
        return cls.enqueue_for(user, pool=pool.pk, asked=asked, dry_run=dry_run)

    def work(self, user, pool, asked, dry_run):
        pool = SegmentPool.objects.restrict(user, "view").filter(pk=pool).first()
        if pool is None:
            raise PermissionDenied(_("The pool is gone, or you may no longer view it."))
        result = generate_segments(pool, user=user, dry_run=dry_run, **asked)
        self.job.data["result"] = result.as_json(self.listed)
        self.logger.info(f"{len(result.segments)} segments, {len(result.skipped)} VLAN IDs skipped")
