"""
Holders of imported segments: the clusters that the rows of an import name, and the allocations made for them.
"""

from django.db.models.functions import Upper
from django.utils import timezone
from django.utils.translation import gettext as _

from ...choices import SegmentStatusChoices
from ...models import Allocation, Segment
from ..allocations import recording
from ..allocations.releasing import end_overdue_locked
from .import_rows import collect

__all__ = ("plan_holders_locked", "write_holders_locked")

HELD = SegmentStatusChoices.ALLOCATED
DISABLED = SegmentStatusChoices.DISABLED
# What others may change of a segment before its row is locked.
STATUS_FIELDS = ("status", "disabled_reason", "quarantined_until")


def plan_holders_locked(rows, existing, user):
    """
    Give each row the allocations of those of its clusters that do not hold its segment yet, and check its status.

    Releases expired allocations in the pools, and locks the rows of the segments that exist already.

    Args:
        rows: Rows with clusters or a status.
        existing: {(pool id, VLAN ID): Segment} of the segments that exist; their statuses are read again.
        user: The User, for the change log.

    Returns:
        {index: {column: texts}} for the rows that cannot be written.
    """
    problems = {}
    if not rows:
        return problems
    pools = {row.pool.pk for row in rows}
    end_overdue_locked(Allocation.objects.filter(pool__in=pools))
    _lock_segments([existing[key] for row in rows if (key := (row.pool.pk, row.spec.vid)) in existing])
    holders, segment_of = _find_holders(pools)
    clusters = recording.find_clusters({holder.name for row in rows for holder in row.holders})
    for row in rows:
        row.allocations, row.joining = [], {}
        segment = existing.get((row.pool.pk, row.spec.vid))
        errors = {}
        if row.status and (text := _status_error(row, segment)):
            errors["status"] = [text]
        if row.holders:
            held_by = holders.get(segment.pk, {}) if segment else {}
            joining, texts = _find_joining(row, segment, held_by, segment_of)
            if texts:
                errors["cluster_name"] = texts
            if text := _expiry_error(row, held_by):
                errors["expires_at"] = [text]
            if not errors:
                with collect(errors, "cluster_name"):
                    row.allocations = _make_allocations(row, segment, joining, bool(held_by), clusters, user)
            if segment and joining:
                old = [name for name, _expires_at in held_by.values()]
                new = [*old, *(holder.name for holder in joining)]
                row.joining = {"cluster_name": {"old": ", ".join(old), "new": ", ".join(new)}}
        if errors:
            problems[row.result.index] = errors
    return problems


def _lock_segments(segments):
    """Lock the rows of segments, and read their statuses again."""
    locked = Segment.objects.select_for_update(no_key=True).filter(pk__in=[segment.pk for segment in segments])
    now_of = {values["pk"]: values for values in locked.order_by("pool_id", "vid").values("pk", *STATUS_FIELDS)}
    for segment in segments:
        for name in STATUS_FIELDS:
            setattr(segment, name, now_of[segment.pk][name])


def _find_holders(pools):
    """
    Return what clusters hold in pools, given by their ids.

    Returns:
        {segment id: {(cluster key, purpose): (cluster name, expiry)}} and {(pool id, cluster key, purpose): segment id}
    """
    holders, segment_of = {}, {}
    active = Allocation.objects.unreleased().filter(pool__in=pools).order_by("pk")
    for pool, name, key, purpose, expires_at, segment in active.values_list(
        "pool", "cluster_name", Upper("cluster_name"), "purpose", "expires_at", "segment"
    ):
        holders.setdefault(segment, {})[key, purpose] = name, expires_at
        segment_of[pool, key, purpose] = segment
    return holders, segment_of


def _status_error(row, segment):
    """Return why the segment of a row (None if it is new) cannot have the status of the row, or None if it can."""
    is_held = segment is not None and segment.status == HELD
    if row.status["status"] == HELD:
        if row.holders or is_held:
            return None
        return _(
            "The row names no cluster: name the one that holds the segment, or set the status disabled"
            " to keep it unused."
        )
    if is_held:
        return _("The segment is allocated: release it first, or leave this empty.")
    return None


def _find_joining(row, segment, held_by, segment_of):
    """
    Return the Holders of a row that do not hold its segment yet, and texts about what prevents it.

    Args:
        row: The Row.
        segment: Its Segment, or None if it is new.
        held_by: {(cluster key, purpose): (cluster name, expiry)} of the segment's holders.
        segment_of: {(pool id, cluster key, purpose): what the cluster holds, or will}. The new holders are added.
    """
    held_keys = {key for key, _purpose in held_by}
    named = {(holder.key, holder.purpose) for holder in row.holders}
    # In a file without purposes, the name alone stands for a cluster.
    joining = [
        holder
        for holder in row.holders
        if holder.key not in held_keys or (holder.purpose is not None and (holder.key, holder.purpose) not in held_by)
    ]
    texts = []
    if any((key, purpose) not in named and (key, None) not in named for key, purpose in held_by):
        texts.append(_("Other clusters hold the segment: name them too, or release it first."))
    if joining and segment and segment.status == DISABLED:
        texts.append(_("The segment is disabled: enable it first."))
    for holder in joining:
        key = row.pool.pk, holder.key, holder.purpose or ""
        if key in segment_of:
            text = _("Cluster {cluster} holds another segment of the pool: release that first.")
            if holder.purpose is None:
                text = _(
                    "Cluster {cluster} holds another segment of the pool: release that first, or give this a purpose."
                )
            texts.append(text.format(cluster=holder.name))
        segment_of[key] = row
    return joining, texts


def _expiry_error(row, held_by):
    """Return why the times of a row contradict those of clusters that hold its segment already, or None."""
    for holder in row.holders:
        held = held_by.get((holder.key, holder.purpose or ""))
        # A file has no fractions of a second.
        if held and holder.expires_at and holder.expires_at != (held[1] and held[1].replace(microsecond=0)):
            return _("Cluster {cluster} holds the segment until another time: renew it, or leave this empty.").format(
                cluster=holder.name
            )
    return None


def _make_allocations(row, segment, joining, is_held, clusters, user):
    ipv6_prefix = row.spec.ipv6_prefix
    if segment and "ipv6_prefix" not in row.values:
        ipv6_prefix = segment.ipv6_prefix and segment.ipv6_prefix.prefix
    return [
        recording.make_allocation(
            row.pool,
            cluster_name=holder.name,
            cluster_id=clusters.get(holder.key),
            purpose=holder.purpose or "",
            allocated_at=holder.allocated_at or timezone.now(),
            expires_at=holder.expires_at,
            allocated_by=user,
            shared=is_held or number > 0,
            vid=row.spec.vid,
            epg_name=row.spec.epg_name,
            prefix=row.spec.prefix,
            ipv6_prefix=ipv6_prefix,
        )
        for number, holder in enumerate(joining)
    ]


def write_holders_locked(rows):
    """Write the allocations of rows whose segments have been written."""
    segments = Segment.objects.prefetch_related("vlan", "prefix", "ipv6_prefix").order_by()
    segments = segments.in_bulk([row.result.segment for row in rows]) if rows else {}
    for row in rows:
        segments[row.result.segment].pool = row.pool
    recording.write_allocations_locked([(segments[row.result.segment], row.allocations) for row in rows])
