"""
Imports segments in bulk, from rows of text: what REST, the pages and the command share.

A row is keyed on its pool and VLAN ID. One that names a segment which is there updates it, or leaves it unchanged;
importing the same file again changes nothing. All rows are written in one transaction. Clusters that a row names hold
its segment afterwards; nobody is ever released by an import.
"""

from bisect import bisect_left
from collections import Counter
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from django.core.exceptions import ValidationError
from django.db.models.functions import Upper
from django.utils import timezone
from django.utils.translation import gettext as _

from ...choices import SegmentStatusChoices
from ...exceptions import Busy, VLANManagerError
from ...models import Allocation, Segment
from ..allocations import recording
from ..allocations.releasing import end_overdue_locked
from ..base import audit, operations, transactions
from ..base.cluster_keys import cluster_key
from ..base.import_values import unify_lines
from ..base.visibility import permitted_ids
from ..reporting.places import holdings_elsewhere
from ..segments import provisioning
from ..segments.updating import update_segments_locked
from .import_files import check_number
from .import_rows import Row, RowResult, by_column, check_rows, collect

__all__ = (
    "ImportResult",
    "import_segments",
)

HELD = SegmentStatusChoices.ALLOCATED
DISABLED = SegmentStatusChoices.DISABLED


@dataclass
class ImportResult:
    """What became of each row, or would become of it."""

    results: list

    def count(self, status):
        """Return how many rows ended with `status`."""
        return sum(result.status == status for result in self.results)

    def summary(self):
        """Return how many rows ended with which status, in words for a log."""
        return ", ".join(f"{self.count(status)} {status}" for status in ("created", "updated", "unchanged", "failed"))


class _Undo(Exception):
    """Rolls the transaction back; `denied` holds the rows whose segments the user may not write."""

    def __init__(self, denied=()):
        self.denied = denied


def import_segments(rows, *, user, atomic=False, enforce=True, dry_run=False, report=None):
    """
    Create or update a segment for each row, or say what that would do.

    Locks the VRFs and VLAN groups of all pools named until the transaction ends. So does a dry run: it does all that an
    import does, takes as long, and then rolls it back. Only signal receivers of other plugins could tell.

    Args:
        rows: (line number or None, {column: value}) pairs; the columns are those of COLUMNS.
        user: The User, or the user name, whom the change log names.
        atomic: Change nothing if any row fails; otherwise the good rows land.
        enforce: Hold the user to their object permissions: to view pools, to add and change segments, to allocate in
            the pools of rows that name clusters. Commands, whose users have the database anyway, do not.
        dry_run: Change nothing; the results say what an import would come to. Segments to be created have no id.
        report: Called with "checks" and "write" as these begin, outside any transaction of the import.

    Returns:
        ImportResult

    Raises:
        ValidationError: There are no rows, or more than the setting `import_max_rows`.
        Busy: Locks were not had in time; nothing was changed.
    """
    rows = list(rows)
    if not rows:
        raise ValidationError({"rows": _("There are no rows: give at least one.")})
    check_number(rows, "rows")
    with operations.track("import", dry_run=dry_run, rows=len(rows), user=user) as operation:
        result = _import(rows, audit.get_user(user), atomic, enforce, dry_run, report or (lambda phase: None))
        statuses = Counter(row.status for row in result.results)
        operation.outcome = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
        return result


def _import(rows, user, atomic, enforce, dry_run, report):
    """Return the ImportResult of a number of rows that may be."""
    viewer = user if enforce else None
    checked = [Row(RowResult(index=index, line=line), values) for index, (line, values) in enumerate(rows)]
    report("checks")
    check_rows(checked, viewer)
    # Before the write, so that a dry run finds the same.
    held = _held_elsewhere(checked, viewer)
    report("write")
    with audit.change_tracking(user):
        while True:
            try:
                transactions.run(partial(_write, checked, user, viewer, atomic), dry_run)
            except _Undo as undo:
                for row in undo.denied:
                    row.result.errors = {"vlan_id": [_("You may not write this segment: ask for the permission.")]}
                for row in checked:
                    row.result.segment, row.result.changes = None, {}
                    row.result.status = "failed" if row.result.errors else "skipped"
                if undo.denied and not atomic:
                    continue
            if dry_run:
                for row in checked:
                    if row.result.status == "created":
                        row.result.segment = None
            _warn([row for row in checked if row.result.status in ("created", "updated")], held)
            return ImportResult([row.result for row in checked])


def _held_elsewhere(rows, viewer):
    """Return what the clusters of rows hold in other pools, as `holdings_elsewhere` does."""
    rows = [row for row in rows if row.holders and not row.result.errors]
    if not rows:
        return {}
    keys = {holder.key for row in rows for holder in row.holders}
    return holdings_elsewhere({row.pool for row in rows}, keys, viewer)


def _warn(rows, held):
    """Say in the results of rows which of their new holders hold a segment of another pool for the same places."""
    text = _("Cluster {cluster} holds VLAN ID {vid} of pool {pool} for the same place, and this as well.")
    for row in rows:
        for allocation in row.allocations if held else ():
            key = cluster_key(allocation.cluster_name)
            for other in held.get((row.pool.pk, key, allocation.purpose), ()):
                row.result.warnings.append(
                    text.format(cluster=allocation.cluster_name, vid=other.vid, pool=other.pool.name)
                )


def _write(rows, user, viewer, atomic):
    """Write the rows that have no errors; the caller's transaction holds all of it, or none after _Undo."""
    good = [row for row in rows if not row.result.errors]
    failed_before = len(good) < len(rows)
    transactions.lock_spaces({row.pool.vrf_id for row in good}, {row.pool.vlan_group_id for row in good})
    existing = {
        (segment.pool_id, segment.vid): segment
        for segment in Segment.objects.filter(
            pool__in={row.pool.pk for row in good}, vid__in={row.spec.vid for row in good}
        )
        # Not by a join: right after an import PostgreSQL has no statistics for it, and may choose to read a table again
        # for each row.
        .prefetch_related("vlan", "prefix", "ipv6_prefix")
        .order_by()
    }
    problems = _plan_holders([row for row in good if row.holders or row.status], existing, user)
    new, changing = [], []
    for row in good:
        if row.result.index in problems:
            continue
        segment = existing.get((row.pool.pk, row.spec.vid))
        changes = _changes(segment, row) if segment else {}
        row.writes_segment = bool(changes) or segment is None
        row.result.changes = changes | row.joining
        if segment is None:
            new.append(row)
            continue
        row.result.segment = segment.pk
        segment.pool = row.pool
        row.result.status = "updated" if row.writes_segment or row.allocations else "unchanged"
        if row.writes_segment:
            changing.append((row, segment))
    if viewer and changing:
        permitted = permitted_ids(Segment, viewer, "change", [segment.pk for _row, segment in changing])
        if denied := [row for row, segment in changing if segment.pk not in permitted]:
            raise _Undo(denied)
    for rows_and_segments in _moving_together(changing):
        problems |= _update(rows_and_segments)

    # Those that come with holders are allocated from the first.
    held = {row.result.index for row in new if row.allocations}
    specs = [
        replace(row.spec, status=HELD) if row.result.index in held else replace(row.spec, **row.status or {})
        for row in new
    ]
    segments, errors = provisioning.build_segments(specs)
    for row, segment, problem in zip(new, segments, errors, strict=True):
        if problem:
            problems[row.result.index] = by_column(problem)
        else:
            row.result.status, row.result.segment = "created", segment.pk
    _write_allocations([row for row in good if row.allocations and row.result.index not in problems])

    if viewer and (denied := _denied(good, viewer)):
        raise _Undo(denied)
    for row in good:
        if row.result.index in problems:
            row.result.errors = problems[row.result.index]
            row.result.status, row.result.segment, row.result.changes = "failed", None, {}
    if atomic and (problems or failed_before):
        raise _Undo


def _moving_together(changing):
    """
    Return (row, segment) pairs in lists: the rows of one list take EPG names or networks that others of it give up.

    Any order of the rows would do for a chain, but two that change places have none.
    """
    together = list(range(len(changing)))

    def find(number):
        while together[number] != number:
            together[number] = together[together[number]]
            number = together[number]
        return number

    names, spans, wanted = {}, [], []
    for number, (row, segment) in enumerate(changing):
        group, vrf = row.pool.vlan_group_id, row.pool.vrf_id
        if row.spec.epg_name != segment.epg_name:
            names[group, segment.epg_name] = number
        for column, prefix, network in (
            ("segment", segment.prefix, row.spec.prefix),
            ("ipv6_prefix", segment.ipv6_prefix, row.spec.ipv6_prefix),
        ):
            if column not in row.result.changes:
                continue
            if prefix:
                old = prefix.prefix
                spans.append((vrf, old.version, old.first, old.last, number))
            if network:
                wanted.append((vrf, network.version, network.first, network.last, number))
    spans.sort()
    for number, (row, _segment) in enumerate(changing):
        together[find(number)] = find(names.get((row.pool.vlan_group_id, row.spec.epg_name), number))
    for vrf, version, first, last, number in wanted:
        # The networks of segments do not overlap: only the one before can reach into this.
        position = max(bisect_left(spans, (vrf, version, first)) - 1, 0)
        while position < len(spans) and spans[position][:3] <= (vrf, version, last):
            *place, _first, end, other = spans[position]
            if place == [vrf, version] and end >= first:
                together[find(number)] = find(other)
            position += 1
    groups = {}
    for number, pair in enumerate(changing):
        groups.setdefault(find(number), []).append(pair)
    return groups.values()


def _update(rows_and_segments):
    """
    Write rows of segments that are there: all of them together, or else those that can be.

    Returns:
        {index: {column: texts}} for the rows that cannot be.
    """
    try:
        transactions.run(partial(_update_in_transaction, rows_and_segments))
    except Busy:
        # Of the whole import, which is tried again.
        raise
    except (ValidationError, VLANManagerError) as error:
        if len(rows_and_segments) > 1:
            problems = {}
            for pair in rows_and_segments:
                problems |= _update([pair])
            return problems
        ((row, _segment),) = rows_and_segments
        if isinstance(error, ValidationError):
            return {row.result.index: by_column(error.message_dict)}
        return {row.result.index: {"segment": [error.message]}}
    return {}


def _update_in_transaction(rows_and_segments):
    # Of copies: what is rolled back stays as it was in the segments too.
    audit.write(
        updates=[
            (copy(segment), _status_values(row)) for row, segment in rows_and_segments if "status" in row.result.changes
        ]
    )
    update_segments_locked(
        [
            (segment, {"epg_name": row.spec.epg_name, "prefix": row.spec.prefix, **row.values})
            for row, segment in rows_and_segments
        ]
    )


def _status_values(row):
    """Return what a segment's columns become with the status that a row says."""
    return {"disabled_reason": "", "quarantined_until": None, **row.status}


def _plan_holders(rows, existing, user):
    """
    Give each row the allocations of those of its clusters that do not hold its segment yet, as a change where there is
    one, and see whether its segment can have the status that it says. Locks the rows of the segments that are there.

    Returns:
        {index: {column: texts}} for the rows that cannot be.
    """
    problems = {}
    if not rows:
        return problems
    pools = {row.pool.pk for row in rows}
    end_overdue_locked(Allocation.objects.filter(pool__in=pools))
    segments = [existing[key] for row in rows if (key := (row.pool.pk, row.spec.vid)) in existing]
    locked = Segment.objects.select_for_update(no_key=True).filter(pk__in=[segment.pk for segment in segments])
    names = ("status", "disabled_reason", "quarantined_until")
    now_of = {values["pk"]: values for values in locked.order_by("pool_id", "vid").values("pk", *names)}
    for segment in segments:
        for name in names:
            setattr(segment, name, now_of[segment.pk][name])
    holders, segment_of = {}, {}
    active = Allocation.objects.unreleased().filter(pool__in=pools).order_by("pk")
    for pool, name, key, purpose, expires_at, segment in active.values_list(
        "pool", "cluster_name", Upper("cluster_name"), "purpose", "expires_at", "segment"
    ):
        holders.setdefault(segment, {})[key, purpose] = name, expires_at
        segment_of[pool, key, purpose] = segment
    clusters = recording.find_clusters({holder.name for row in rows for holder in row.holders})
    for row in rows:
        row.allocations, row.joining = [], {}
        segment = existing.get((row.pool.pk, row.spec.vid))
        held_by = holders.get(segment.pk, {}) if segment else {}
        errors = {}
        if row.status and (text := _status_error(row, segment)):
            errors["status"] = [text]
        if row.holders:
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


def _status_error(row, segment):
    """Return why the segment of a row, None if it is new, cannot have the status that the row says, or None."""
    is_held = segment is not None and segment.status == HELD
    if row.status["status"] == HELD:
        if row.holders or is_held:
            return None
        return _("The row names no cluster: name the one that holds the segment, or say disabled to keep it unused.")
    if is_held:
        return _("The segment is allocated: release it first, or leave this empty.")
    return None


def _find_joining(row, segment, held_by, segment_of):
    """
    Return the Holders of a row that do not hold its segment yet, and what keeps them from it.

    Args:
        row: The row.
        segment: Its segment, or None if it is new.
        held_by: Who holds the segment, by cluster key and purpose.
        segment_of: {(pool id, cluster key, purpose): what the cluster holds, or will}, to which they are added.
    """
    held_keys = {key for key, _purpose in held_by}
    named = {(holder.key, holder.purpose) for holder in row.holders}
    # A file that has no purposes means a cluster by its name.
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
    """Return why the times of a row cannot be those of clusters that hold its segment already, or None."""
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


def _write_allocations(rows):
    """Write the allocations of rows whose segments have been written."""
    segments = Segment.objects.prefetch_related("vlan", "prefix", "ipv6_prefix").order_by()
    segments = segments.in_bulk([row.result.segment for row in rows]) if rows else {}
    for row in rows:
        segments[row.result.segment].pool = row.pool
    recording.write_allocations_locked([(segments[row.result.segment], row.allocations) for row in rows])


def _changes(segment, row):
    """Return {column: {"old", "new"}} for what the row says and the segment is not yet."""
    pairs = {
        "epg_name": (segment.epg_name, row.spec.epg_name),
        "segment": (str(segment.prefix.prefix), str(row.spec.prefix)),
        **{name: (getattr(segment, name), value) for name, value in row.values.items()},
    }
    for name in ("description", "comments"):
        if name in row.values:
            pairs[name] = (unify_lines(getattr(segment, name)), row.values[name])
    if "ipv6_prefix" in row.values:
        old, new = segment.ipv6_prefix and segment.ipv6_prefix.prefix, row.spec.ipv6_prefix
        pairs["ipv6_prefix"] = (str(old or ""), str(new or ""))
    changes = {column: {"old": old, "new": new} for column, (old, new) in pairs.items() if old != new}
    return changes | _status_changes(segment, row)


def _status_changes(segment, row):
    """The same for the status, which is among them whenever anything that belongs to it is."""
    if not row.status or row.status["status"] == HELD or row.holders:
        return {}
    new = row.status if segment.status == row.status["status"] else _status_values(row)
    pairs = {name: (_shown(getattr(segment, name)), _shown(value)) for name, value in new.items()}
    if all(old == new for old, new in pairs.values()):
        return {}
    changes = {column: {"old": old, "new": new} for column, (old, new) in pairs.items() if old != new}
    return changes | {"status": {"old": segment.status, "new": row.status["status"]}}


def _shown(value):
    """Return a value as an export writes it."""
    return value.replace(microsecond=0).isoformat() if isinstance(value, datetime) else unify_lines(value or "")


def _denied(rows, viewer):
    """Return the rows whose segments `viewer` may not have added or changed."""
    denied = []
    for status, action in (("created", "add"), ("updated", "change")):
        written = {row.result.segment: row for row in rows if row.result.status == status and row.writes_segment}
        permitted = permitted_ids(Segment, viewer, action, written)
        denied += [row for pk, row in written.items() if pk not in permitted]
    return denied
