"""How an answer shows what the reservation service returned."""

__all__ = (
    "describe_results",
    "get_outcome",
)


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
