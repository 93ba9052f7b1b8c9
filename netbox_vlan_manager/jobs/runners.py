"""Base classes of the jobs."""

from datetime import timedelta
from itertools import chain

import django_rq
from django.contrib.auth import get_user_model
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django_pg_utils import advisory_lock
from rq.job import JobStatus

from core.choices import JobNotificationChoices, JobStatusChoices
from core.exceptions import JobFailed
from netbox.constants import ADVISORY_LOCK_KEYS
from netbox.jobs import JobRunner

from ..logs import as_line
from ..services.base.refusals import SERVICE_ERRORS, get_error_texts

__all__ = (
    "LastingJobRunner",
    "UserJobRunner",
)

# The lock under which NetBox schedules its system jobs. It belongs to the session, which may take it again.
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
        """Do the job's work."""
        raise NotImplementedError

    @classmethod
    def last_success(cls):
        """Return when the job last ended without an error, a datetime, or None if it never did."""
        done = cls.get_jobs().filter(status=JobStatusChoices.STATUS_COMPLETED, completed__isnull=False)
        # Ordered by the only column of jobs that has an index.
        return done.order_by("-created").values_list("completed", flat=True).first()

    @classmethod
    @advisory_lock(SCHEDULE_LOCK)
    def enqueue_once(cls, *args, **kwargs):
        cls._end_lost()
        return super().enqueue_once(*args, **kwargs)

    @classmethod
    def _end_lost(cls, own=None):
        """
        End as errored the runs that RQ no longer has, or has ended: their worker was killed, or Redis lost its data.

        RQ notices that a worker is dead only minutes later. The caller holds the lock of the schedule, so that a run
        which is being scheduled is not taken for a lost one.

        Args:
            own: The Job that calls this, which is not lost.
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


class UserJobRunner(JobRunner):
    """
    A job that a user starts, and that works with this user's permissions.

    The job's data are the arguments of `work`. If the work is refused, `errors` are added to them: {field: texts}.

    Attributes:
        asked: The names of the arguments of `work`.
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
        # The worker gets the job at the end of the transaction, when the job has its data.
        with transaction.atomic():
            job = cls.enqueue(user=user, job_timeout=cls.timeout, notifications=notifications)
            job.data = data
            job.save()
        return job

    def run(self, *args, **kwargs):
        # Read the user again: the job's copy has the permissions of the time when the job was made.
        user = get_user_model().objects.filter(pk=self.job.user_id, is_active=True).first()
        try:
            if user is None:
                raise PermissionDenied(_("The user who started this may no longer log in."))
            # NetBox can queue a failed job again: the results of that run are no arguments.
            self.job.data = {name: self.job.data[name] for name in self.asked if name in self.job.data}
            self.work(user, **self.job.data)
        except (*SERVICE_ERRORS, PermissionDenied) as error:
            is_by_field = hasattr(error, "error_dict")
            errors = error.message_dict if is_by_field else {NON_FIELD_ERRORS: get_error_texts(error, user)}
            self.job.data["errors"] = errors
            for text in chain.from_iterable(errors.values()):
                self.logger.error(as_line(str(text)))
            raise JobFailed from error

    def work(self, user, **data):
        """Do the job's work, and add the results to its data."""
        raise NotImplementedError
