"""How an answer shows what a service returned, or the job that does what was asked for."""

from rest_framework.response import Response
from rest_framework.reverse import reverse

__all__ = (
    "describe_job",
    "describe_results",
    "get_outcome",
)


def describe_job(job, dry_run, request):
    """Return the answer to a call that a job does, which has been started."""
    url = reverse("core-api:job-detail", kwargs={"pk": job.pk}, request=request)
    return Response({"job": job.pk, "url": url, "dry_run": dry_run}, status=202, headers={"Location": url})


def get_outcome(result):
    """Return what an answer calls that which became of a request."""
    return "allocated" if result.created else "held"


def describe_results(results, get_serializer):
    """
    Return AllocationResults as an answer has them; what a dry run would have made has no id.

    Args:
        results: A list of AllocationResults.
        get_serializer: Returns the serializer of a list of Allocations, given `many`.
    """
    previews = [allocation.pk is None for allocation, _created in results]
    for (allocation, _created), is_preview in zip(results, previews, strict=True):
        if is_preview:
            # Relations are not to be read without an id.
            allocation.pk = 0
            allocation._prefetched_objects_cache = {"tags": []}
    rows = get_serializer([allocation for allocation, _created in results], many=True).data
    for row, result, is_preview in zip(rows, results, previews, strict=True):
        if is_preview:
            row.update({name: None for name in ("id", "url", "display_url") if name in row})
        row["outcome"] = get_outcome(result)
    return rows
