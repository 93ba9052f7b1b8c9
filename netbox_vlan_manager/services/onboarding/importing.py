"""
Imports segments in bulk from rows of text, for REST, the pages and the command.

Pool and VLAN ID identify the segment of a row. A row of a segment that exists updates it or leaves it unchanged, so
importing the same file again changes nothing. All rows are written in one transaction. Clusters that a row names hold
its segment afterwards; an import releases no allocation.
"""

from bisect import bisect_left
from collections import Counter
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from ...choices import SegmentStatusChoices
from ...exceptions import Busy, VLANManagerError
from ...gateways import GATEWAYS
from ...models import Segment
from ..base import audit, operations, transactions
from ..base.cluster_keys import cluster_key
from ..base.import_values import unify_lines
from ..base.sheets import check_number
from ..base.visibility import permitted_ids
from ..reporting.places import holdings_elsewhere
from ..segments import provisioning
from ..segments.updating import update_segments_locked
from .import_holders import plan_holders_locked, write_holders_locked
from .import_rows import Row, RowResult, by_column, check_rows

__all__ = (
    "ImportResult",
    "import_segments",
)

HELD = SegmentStatusChoices.ALLOCATED


@dataclass
class ImportResult:
    """The results of the rows of an import, or of a dry run."""

    results: list

    def count(self, status):
        """Return the number of rows with a status."""
        return sum(result.status == status for result in self.results)

    def summary(self):
        """Return the numbers of rows by status, in words for a log."""
        return ", ".join(f"{self.count(status)} {status}" for status in ("created", "updated", "unchanged", "failed"))


class _Undo(Exception):
    """Rolls the transaction back; `denied` are the rows whose segments the user may not write."""

    def __init__(self, denied=()):
        self.denied = denied


def import_segments(rows, *, user, atomic=False, enforce=True, dry_run=False, report=None):
    """
    Create or update a segment for each row, or say what that would do.

    Locks the VRFs and VLAN groups of all named pools until the transaction ends. A dry run does the same, takes as
    long, and rolls it back. Only signal receivers of other plugins could see it.

    Args:
        rows: (line number or None, {column: value}) pairs; the columns are those of COLUMNS.
        user: The User, or the user name, for the change log.
        atomic: Change nothing if any row fails; otherwise the good rows are written.
        enforce: Hold the user to their object permissions: to view pools, to add and change segments, to allocate in
            the pools of rows that name clusters. Commands, whose users have the database anyway, do not.
        dry_run: Change nothing, and return what an import would do. New segments have no id.
        report: Called with "checks" and "write" when these begin, outside any transaction of the import.

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
    """Return the ImportResult of rows whose number is permitted."""
    viewer = user if enforce else None
    checked = [Row(RowResult(index=index, line=line), values) for index, (line, values) in enumerate(rows)]
    report("checks")
    check_rows(checked, viewer)
    # Before the write, so that a dry run finds the same as an import.
    held = _held_elsewhere(checked, viewer)
    report("write")
    with audit.change_tracking(user):
        while True:
            try:
                transactions.run(partial(_write_locked, checked, user, viewer, atomic), dry_run)
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
    """Return what the clusters of rows hold in other pools (see `holdings_elsewhere`)."""
    rows = [row for row in rows if row.holders and not row.result.errors]
    if not rows:
        return {}
    keys = {holder.key for row in rows for holder in row.holders}
    return holdings_elsewhere({row.pool for row in rows}, keys, viewer)


def _warn(rows, held):
    """Add warnings to rows about new holders that hold a segment of another pool for the same places."""
    text = _("Cluster {cluster} also holds VLAN ID {vid} of pool {pool} for the same place.")
    for row in rows:
        for allocation in row.allocations if held else ():
            key = cluster_key(allocation.cluster_name)
            for other in held.get((row.pool.pk, key, allocation.purpose), ()):
                row.result.warnings.append(
                    text.format(cluster=allocation.cluster_name, vid=other.vid, pool=other.pool.name)
                )


def _write_locked(rows, user, viewer, atomic):
    """
    Write the rows that have no errors. The caller's transaction holds the locks and all that is written.

    Raises:
        _Undo: The user may not write some of it, or an atomic import has a row that fails.
    """
    good = [row for row in rows if not row.result.errors]
    failed_before = len(good) < len(rows)
    transactions.lock_spaces({row.pool.vrf_id for row in good}, {row.pool.vlan_group_id for row in good})
    existing = _find_segments(good)
    problems = plan_holders_locked([row for row in good if row.holders or row.status], existing, user)
    new, changing = _compare([row for row in good if row.result.index not in problems], existing)
    if viewer and changing:
        permitted = permitted_ids(Segment, viewer, "change", [segment.pk for _row, segment in changing])
        if denied := [row for row, segment in changing if segment.pk not in permitted]:
            raise _Undo(denied)
    for rows_and_segments in _moving_together(changing):
        problems |= _update(rows_and_segments)
    problems |= _create(new)
    write_holders_locked([row for row in good if row.allocations and row.result.index not in problems])
    if viewer and (denied := _denied(good, viewer)):
        raise _Undo(denied)
    for row in good:
        if row.result.index in problems:
            row.result.errors = problems[row.result.index]
            row.result.status, row.result.segment, row.result.changes = "failed", None, {}
    if atomic and (problems or failed_before):
        raise _Undo


def _find_segments(rows):
    """Return {(pool id, VLAN ID): Segment} of those segments of rows that exist."""
    found = Segment.objects.filter(pool__in={row.pool.pk for row in rows}, vid__in={row.spec.vid for row in rows})
    # Not by a join: right after an import PostgreSQL has no statistics for it, and may choose to read a table again for
    # each row.
    found = found.prefetch_related("vlan", "prefix", "ipv6_prefix").order_by()
    return {(segment.pool_id, segment.vid): segment for segment in found}


def _compare(rows, existing):
    """
    Write into the results of rows what changes, and return the rows of new segments, and (row, Segment) pairs of those
    to be changed.
    """
    new, changing = [], []
    for row in rows:
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
    return new, changing


def _create(rows):
    """
    Make the segments of rows; those with holders are allocated at once.

    Returns:
        {index: {column: texts}} for the rows that cannot be written.
    """
    specs = [
        replace(row.spec, status=HELD) if row.allocations else replace(row.spec, **row.status or {}) for row in rows
    ]
    problems = {}
    segments, errors = provisioning.build_segments_locked(specs)
    for row, segment, problem in zip(rows, segments, errors, strict=True):
        if problem:
            problems[row.result.index] = by_column(problem)
        else:
            row.result.status, row.result.segment = "created", segment.pk
    return problems


def _moving_together(changing):
    """
    Return (row, segment) pairs in lists: the rows of a list take EPG names or networks from each other.

    They are written together, since two segments that swap a name or a network have no order.
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
        # The networks of segments do not overlap: of those that begin before this, only the last can reach into it.
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
    Write rows of segments that exist: all together, or if that fails each that can be written.

    Returns:
        {index: {column: texts}} for the rows that cannot be written.
    """
    try:
        transactions.run(partial(_update_locked, rows_and_segments))
    except Busy:
        # This ends the try of the whole import, which is repeated.
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


def _update_locked(rows_and_segments):
    # Copies are written, so that the segments stay as they are if this is rolled back.
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
    """Return {field: value} of a segment for the status of its row."""
    return {"disabled_reason": "", "quarantined_until": None, **row.status}


def _changes(segment, row):
    """Return {column: {"old", "new"}} for the values in which the row differs from the segment."""
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
    pairs |= {
        name: (getattr(segment, name) or "", row.values[name]) for name in GATEWAYS.values() if name in row.values
    }
    changes = {column: {"old": old, "new": new} for column, (old, new) in pairs.items() if old != new}
    return changes | _status_changes(segment, row)


def _status_changes(segment, row):
    """Return the same for the status and its details; with a detail, the status is always included."""
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
