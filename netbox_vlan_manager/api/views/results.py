"""How an answer shows what the reservation service returned."""

__all__ = ("describe_results",)


def describe_results(results, get_serializer):
    """
    Return AllocationResults as an answer has them; what a dry run would have made has no id.

    Args:
        results: A list of AllocationResults.
        get_serializer: Returns the serializer of an Allocation.
    """
    answer = []
    for allocation, _created in results:
        is_new = allocation.pk is None
        if is_new:
            # Relations are not to be read without an id.
            allocation.pk = 0
            allocation._prefetched_objects_cache = {"tags": []}
        data = get_serializer(allocation).data
        answer.append({**data, **{name: None for name in ("id", "url", "display_url") if is_new and name in data}})
    return answer
