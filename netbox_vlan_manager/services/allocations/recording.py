"""
Records allocations that exist already, in bulk, for an import or a migration.

No limit is checked and no event is sent, since no segment is handed out.
"""

from django.db.models.functions import Collate, Upper

from virtualization.models import Cluster

from ...choices import SegmentStatusChoices
from ...models import ANY_PLACE, Allocation
from ..base import audit, hooks
from ..base.cluster_keys import cluster_keys
from ..segments.prefix_status import status_when_allocated

__all__ = (
    "find_clusters",
    "make_allocation",
    "prefix_updates",
    "write_allocations_locked",
)

# How many segments one call of `audit.write` writes.
BATCH = 500


def find_clusters(names):
    """Return {cluster_key: id} of the virtualization.Clusters of these names, where there is exactly one."""
    found = {}
    clusters = Cluster.objects.annotate(upper=Upper(Collate("name", "default")))
    clusters = clusters.filter(upper__in=set(cluster_keys(names).values()))
    for pk, key in clusters.order_by().values_list("pk", "upper"):
        found.setdefault(key, []).append(pk)
    return {key: pks[0] for key, pks in found.items() if len(pks) == 1}


def make_allocation(pool, *, changelog_message="", **fields):
    """
    Return an unsaved Allocation, validated as NetBox does. Its segment need not be saved yet.

    Args:
        pool: The SegmentPool, with its VRF.
        changelog_message: The reason, for the change log.
        fields: The fields of Allocation, without the names of pool and VRF, and without the segment, which
            `write_allocations_locked` sets.

    Raises:
        ValidationError: A custom validator of NetBox's refused the allocation.
    """
    allocation = Allocation(pool=pool, pool_name=pool.name, vrf_name=pool.vrf.name, places=[ANY_PLACE], **fields)
    allocation._changelog_message = changelog_message
    allocation.full_clean(
        exclude=("segment", "pool", "cluster", "allocated_by"), validate_unique=False, validate_constraints=False
    )
    return allocation


def write_allocations_locked(held):
    """
    Write allocations, and the statuses that their segments and prefixes get.

    The caller has locked the segments' rows, in a transaction. If another transaction allocates a segment to one of the
    clusters at the same time, the unique index refuses this one, and `transactions.run` tries again.

    Args:
        held: (Segment with its prefixes, its new Allocations) pairs.
    """
    status = status_when_allocated()
    for start in range(0, len(held), BATCH):
        updates, creates = [], []
        for segment, allocations in held[start : start + BATCH]:
            if segment.status != SegmentStatusChoices.ALLOCATED:
                updates.append((segment, {"status": SegmentStatusChoices.ALLOCATED, "quarantined_until": None}))
                updates += prefix_updates(segment, status)
            for allocation in allocations:
                allocation.segment = segment
                allocation.gateway, allocation.ipv6_gateway = segment.gateway, segment.ipv6_gateway
                creates.append(allocation)
        audit.write(updates=updates, creates=creates)
        hooks.send(hooks.segments_held, {allocation.segment_id for allocation in creates})


def prefix_updates(segment, status):
    """Return the `updates` of `audit.write` that give the prefixes of `segment` a status."""
    prefixes = [segment.prefix, segment.ipv6_prefix] if segment.ipv6_prefix_id else [segment.prefix]
    return [(prefix, {"status": status}) for prefix in prefixes]
