"""How an answer shows what a service returned, or the job that does what was asked for."""

from rest_framework.response import Response
from rest_framework.reverse import reverse

from ...services.base.visibility import known_allocations

__all__ = (
    "describe_job",
    "describe_results",
    "get_outcome",
    "leave_out_unknown",
)

# What people wrote about an allocation, and who they are: as an answer shows it to those who may not view it.
UNTOLD = {"allocated_by": None, "owner": None, "description": "", "comments": "", "tags": [], "custom_fields": {}}


def describe_job(job, dry_run, request):
    """Return the answer to a call that a job does, which has been started."""
    url = reverse("core-api:job-detail", kwargs={"pk": job.pk}, request=request)
    return Response({"job": job.pk, "url": url, "dry_run": dry_run}, status=202, headers={"Location": url})


def get_outcome(result):
    """Return what an answer calls that which became of a request."""
    return "allocated" if result.created else "held"


def leave_out_unknown(rows, allocations, user):
    """
    Leave out of answers what people wrote about allocations that `user` may neither view nor made.

    Who may allocate is told which segment the cluster that they name holds, and no more. It takes no query where the
    user made the allocations.

    Args:
        rows: What the answer has of each allocation; changed in place.
        allocations: The Allocations.
        user: Who gets the answer.
    """
    if user.is_superuser:
        return
    others = [allocation.pk for allocation in allocations if allocation.pk and allocation.allocated_by_id != user.pk]
    known = set(known_allocations(user).filter(pk__in=others).values_list("pk", flat=True)) if others else ()
    for row, allocation in zip(rows, allocations, strict=True):
        if allocation.pk in others and allocation.pk not in known:
            row.update({name: value for name, value in UNTOLD.items() if name in row})


def describe_results(results, get_serializer, user):
    """
    Return AllocationResults as an answer has them; what a dry run would have made has no id.

    Args:
        results: A list of AllocationResults.
        get_serializer: Returns the serializer of a list of Allocations, given `many`.
        user: Who gets the answer, see `leave_out_unknown`.
    """
    previews = [allocation.pk is None for allocation, _created in results]
    for (allocation, _created), is_preview in zip(results, previews, strict=True):
        if is_preview:
            # Relations are not to be read without an id.
            allocation.pk = 0
            allocation._prefetched_objects_cache = {"tags": []}
    rows = get_serializer([allocation for allocation, _created in results], many=True).data
    leave_out_unknown(rows, [allocation for allocation, _created in results], user)
    for row, result, is_preview in zip(rows, results, previews, strict=True):
        if is_preview:
            row.update({name: None for name in ("id", "url", "display_url") if name in row})
        row["outcome"] = get_outcome(result)
    return rows
