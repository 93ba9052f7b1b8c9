"""
Holders of migrated segments: the allocations of the clusters that prefixes name.
"""

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from ....models import Allocation
from ...allocations.recording import find_clusters, make_allocation
from ...base.cluster_keys import cluster_key
from .reading import MESSAGE, allocation_times

__all__ = ("plan_allocations",)


def plan_allocations(pool, rows, all_rows):
    """
    Give rows their Allocations, which are not saved and have no segments yet.

    If a cluster holds several prefixes of a pool, the one that the first generation answers it with has no purpose: the
    cluster gets it when it asks again. The others have the purposes 2, 3, and so on. If that one cannot be migrated, no
    prefix is without a purpose.

    Args:
        pool: The SegmentPool.
        rows: Rows that become segments, with their candidates.
        all_rows: All Rows of the group that are in no segment yet.
    """
    now = timezone.now()
    times = allocation_times(rows)
    clusters = find_clusters({name for row in rows for name in row.clusters})
    answers = _find_answers(all_rows)
    held = _find_held(pool)
    for row in sorted(rows, key=lambda row: row.candidate.vlan.vid):
        for number, name in enumerate(row.clusters):
            key = cluster_key(name)
            answer, other_name = answers[key]
            purpose = _free_purpose(key, held, is_answer=answer.prefix.pk == row.prefix.pk)
            if purpose:
                row.notes.append(_tell_purpose(name, other_name, answer, purpose))
            try:
                allocation = _make_allocation(
                    pool,
                    row.candidate,
                    cluster_name=name,
                    cluster_id=clusters.get(key),
                    purpose=purpose,
                    allocated_at=min(times.get((row.prefix.pk, key)) or row.prefix.last_updated or now, now),
                    shared=number > 0,
                )
            except ValidationError as error:
                row.errors += error.messages
            else:
                held.add((key, purpose))
                row.allocations.append(allocation)


def _find_held(pool):
    """Return the set of (cluster key, purpose) of the pool's unreleased allocations."""
    unreleased = Allocation.objects.unreleased().filter(pool=pool).order_by()
    return {(cluster_key(name), purpose) for name, purpose in unreleased.values_list("cluster_name", "purpose")}


def _make_allocation(pool, candidate, **fields):
    return make_allocation(
        pool,
        changelog_message=str(MESSAGE),
        vid=candidate.vlan.vid,
        epg_name=candidate.vlan.name,
        prefix=candidate.prefix.prefix,
        ipv6_prefix=candidate.ipv6_prefix and candidate.ipv6_prefix.prefix,
        **fields,
    )


def _find_answers(rows):
    """Return {cluster_key: (Row, name)} of the prefix with which the first generation answers each cluster."""
    answers = {}
    for row in sorted(rows, key=lambda row: (row.form, row.prefix.prefix.sort_key(), row.prefix.pk)):
        for name in row.clusters:
            answers.setdefault(cluster_key(name), (row, name))
    return answers


def _tell_purpose(name, other_name, answer, purpose):
    if name != other_name:
        return _(
            "Cluster {cluster} differs from {other}, which holds {prefix}, in case only: here both are one cluster. "
            "This prefix has the purpose {purpose}: ask with it, or rename one of the clusters."
        ).format(cluster=name, other=other_name, prefix=answer.prefix.prefix, purpose=purpose)
    return _(
        "Cluster {cluster} holds several segments of the pool: this one has the purpose {purpose}. Without a purpose "
        "it gets {prefix}, as from the first generation."
    ).format(cluster=name, purpose=purpose, prefix=answer.prefix.prefix)


def _free_purpose(key, held, is_answer):
    purpose, number = "" if is_answer else "2", 1
    while (key, purpose) in held:
        number += 1
        purpose = str(number)
    return purpose
