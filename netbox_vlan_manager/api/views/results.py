"""The answers of calls: the result of a service, or the job that does the work."""

from rest_framework.response import Response
from rest_framework.reverse import reverse

from ...services.base.visibility import known_allocations

__all__ = (
    "describe_job",
    "describe_results",
    "leave_out_unknown",
)

# The fields of an allocation that name people or have their texts, as shown to a user who may not view the allocation.
UNTOLD = {"allocated_by": None, "owner": None, "description": "", "comments": "", "tags": [], "custom_fields": {}}


def describe_job(job, dry_run, request):
    """Return the answer to a call that has started a job."""
    url = reverse("core-api:job-detail", kwargs={"pk": job.pk}, request=request)
    return Response({"job": job.pk, "url": url, "dry_run": dry_run}, status=202, headers={"Location": url})


def leave_out_unknown(rows, allocations, user):
    """
    Empty the fields of UNTOLD in the rows of allocations that `user` may not view and has not made.

    A user who may allocate learns which segment the named cluster holds, and no more. Runs no query if the user made
    all the allocations.

    Args:
        rows: The serialized allocations; changed in place.
        allocations: The Allocations.
        user: The User who gets the answer.
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
    Return the rows of AllocationResults in an answer. The allocations of a dry run have no id.

    Args:
        results: A list of AllocationResults.
        get_serializer: Returns the serializer of a list of Allocations, given `many`.
        user: The User who gets the answer, see `leave_out_unknown`.
    """
    previews = [allocation.pk is None for allocation, _created in results]
    for (allocation, _created), is_preview in zip(results, previews, strict=True):
        if is_preview:
            # Django does not read relations of an object without an id.
            allocation.pk = 0
            allocation._prefetched_objects_cache = {"tags": []}
    rows = get_serializer([allocation for allocation, _created in results], many=True).data
    leave_out_unknown(rows, [allocation for allocation, _created in results], user)
    for row, result, is_preview in zip(rows, results, previews, strict=True):
        if is_preview:
            row.update({name: None for name in ("id", "url", "display_url") if name in row})
        row["outcome"] = result.outcome
    return rows
