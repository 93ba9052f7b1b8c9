"""Finds a background job for a page, and shows its progress."""

import django_rq
from django.db.models import Q
from django.http import Http404, HttpResponse
from rq.job import JobStatus

from core.choices import JobStatusChoices
from core.models import Job
from utilities.rqworker import any_workers_for_queue

__all__ = (
    "answer_htmx",
    "get_job",
    "get_progress",
)

RQ_ENDED = (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED)


def get_job(runner, user, pk, **data):
    """
    Return the Job of a JobRunner that has the id `pk` and that `user` started or may view.

    Args:
        pk: The id as the page's URL gives it.
        data: Values that the job's data must have.

    Raises:
        Http404: No job matches.
    """
    if not str(pk).isdecimal() or len(str(pk)) > 18:
        raise Http404
    jobs = Job.objects.filter(Q(user=user) | Q(pk__in=Job.objects.restrict(user, "view").values("pk")))
    job = jobs.filter(pk=pk, name=runner.name).first()
    if job is None or not data.items() <= (job.data or {}).items():
        raise Http404
    return job


def get_progress(job, phase=""):
    """
    Return the values of job_progress.html: whether the job runs, waits, or waits while no worker is there, and its
    errors.
    """
    running = job.status in JobStatusChoices.ENQUEUED_STATE_CHOICES and not _is_dead(job)
    waiting = running and job.status != JobStatusChoices.STATUS_RUNNING
    no_worker = waiting and not any_workers_for_queue(job.queue_name)
    return {
        "job": job,
        "running": running,
        "waiting": waiting,
        "no_worker": no_worker,
        "errors": [text for texts in (job.data or {}).get("errors", {}).values() for text in texts],
        "state": f"{job.status}-{running}-{no_worker}-{phase}",
    }


def answer_htmx(request, progress):
    """Answer a page that polls the state of its job: the page reloads if the state has changed."""
    if request.GET.get("state") == progress["state"]:
        return HttpResponse(status=204)
    return HttpResponse(headers={"HX-Refresh": "true"})


def _is_dead(job):
    """Return whether a job that NetBox takes for running never ends: its worker was killed, or Redis lost it."""
    rq_job = django_rq.get_queue(job.queue_name).fetch_job(str(job.job_id))
    return rq_job is None or rq_job.get_status() in RQ_ENDED
