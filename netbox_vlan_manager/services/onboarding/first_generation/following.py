"""
Keeps the first generation and the plugin up to date while a pool is on trial: both hand out its segments.

A status or Cluster that the first generation writes on a prefix becomes an allocation or a release;
`first_generation_fields` has refused values that are neither. Allocations of the plugin are written on the prefix. Each
write and its copy are one transaction, so neither hands out what the other holds.
"""

from contextlib import contextmanager
from contextvars import ContextVar

from django.db.models.functions import Upper
from django.utils.translation import gettext as _

from ....choices import SegmentStatusChoices
from ....models import Allocation, Segment
from ...allocations import availability
from ...allocations.allocating import write_allocation_locked
from ...allocations.releasing import end_overdue_locked, release_locked
from ...allocations.requests import AllocationRequest, look_up_cluster
from ...base import audit, transactions
from ...base.cluster_keys import cluster_key
from ...segments.first_generation_fields import DISABLED_REASON, FREE, read_holders
from .writing import has_cluster_field, plan_prefixes

__all__ = ("follow_prefix", "paused", "write_back")

_is_paused = ContextVar("netbox_vlan_manager_following_paused", default=False)


@contextmanager
def paused():
    """Write nothing back within the block, which writes the prefixes itself."""
    token = _is_paused.set(True)
    try:
        yield
    finally:
        _is_paused.reset(token)


def follow_prefix(segment, prefix, user):
    """
    Copy what the first generation has written on a segment's prefix to its allocations and its status.

    Locks the keys of the clusters and the segment's row; in a transaction, `first_generation_fields.check_followed` has
    locked them already.

    Args:
        segment: The Segment, of a pool on trial.
        prefix: The Prefix, as it was saved.
        user: The User whom the change log names; None for the system.
    """
    if not getattr(prefix, "first_generation_change", False):
        return
    prefix.first_generation_change = False
    with audit.change_tracking(user):
        transactions.run(lambda: _follow_locked(segment.pk, prefix, user))


def _follow_locked(pk, prefix, user):
    segments = Segment.objects.select_related("vlan", "prefix", "ipv6_prefix", "pool__vrf").order_by()
    segment = segments.select_for_update(no_key=True, of=("self",)).get(pk=pk)
    unreleased = Allocation.objects.unreleased().filter(segment=segment).select_related("pool")
    held = {cluster_key(one.cluster_name): one for one in unreleased}
    wanted = {cluster_key(name): name for name in read_holders(prefix).names}
    if held and prefix.status == FREE:
        # The first generation released the prefix without removing the name; `write_back` removes it.
        wanted = {}
    message = _("Written by the first generation")
    # A cluster that is named although its allocation has expired gets a new one, without an end.
    kept = {key for key, one in held.items() if key in wanted and not one.is_over}
    for key, one in held.items():
        if key not in kept:
            release_locked(one, user, message)
    if prefix.status == FREE and not wanted and not held:
        availability.enable_segment(segment, user=user, changelog_message=message)
    elif prefix.status != FREE and not wanted and segment.status != SegmentStatusChoices.DISABLED:
        availability.disable_segment(segment, user=user, reason=DISABLED_REASON, changelog_message=message)
    for key, name in wanted.items():
        if key not in kept:
            _hand_over_locked(segment, name, user, message)
    write_back(segment.pool, pk)


def _hand_over_locked(segment, name, user, message):
    """Allocate the segment to a cluster; other clusters may hold it, and the cluster may hold others."""
    pool = segment.pool
    others = Allocation.objects.of_cluster(name).filter(pool=pool)
    end_overdue_locked(others)
    purposes = set(others.unreleased().order_by().values_list("purpose", flat=True))
    purpose = next(text for text in ["", *map(str, range(2, len(purposes) + 3))] if text not in purposes)
    request = AllocationRequest.clean(name, pool=pool, purpose=purpose, changelog_message=message)
    request = look_up_cluster(request)
    segment.refresh_from_db(fields=("status", "disabled_reason", "quarantined_until"))
    if segment.disabled_reason:
        audit.update(segment, disabled_reason="")
    write_allocation_locked(segment, request, user, shared=segment.status == SegmentStatusChoices.ALLOCATED)


def write_back(pool, pk):
    """
    Write what the first generation reads on the prefixes of a segment, and of the other segments of its clusters.

    Args:
        pool: The SegmentPool; without a trial, nothing is written.
        pk: The segment's id.
    """
    if pool is None or not pool.is_on_trial or _is_paused.get() or not has_cluster_field():
        return
    # An expired allocation keeps its segment, and the status of its prefix, until it is released.
    unreleased = Allocation.objects.unreleased().filter(pool=pool).annotate(key=Upper("cluster_name")).order_by()
    keys = list(unreleased.filter(segment=pk).values_list("key", flat=True))
    pks = {pk, *unreleased.filter(key__in=keys).values_list("segment", flat=True)}
    held = {}
    for one in unreleased.filter(segment__in=pks).order_by("shared", "allocated_at", "pk"):
        held.setdefault(one.segment_id, []).append(one)
    segments = Segment.objects.filter(pk__in=pks).select_related("pool", "prefix", "ipv6_prefix").order_by("pk")
    changes, _notes = plan_prefixes({segment: held.get(segment.pk, []) for segment in segments})
    # A caller such as a script that edits a VLAN may track no changes.
    with audit.change_tracking(None):
        audit.write(updates=changes)
