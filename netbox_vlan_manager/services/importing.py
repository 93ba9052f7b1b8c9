"""
Imports segments in bulk, from rows of text: what REST, the pages and the command share.

A row is keyed on its pool and VLAN ID. One that names a segment which is there updates it, or leaves it unchanged;
importing the same file again changes nothing. All rows are written in one transaction. Clusters that a row names hold
its segment afterwards; nobody is ever released by an import.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import partial

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

from ..choices import SegmentStatusChoices
from ..exceptions import Busy, VLANManagerError
from ..models import Allocation, Segment, SegmentPool
from ..validators import UNSTORABLE, clean_cluster_name
from . import audit, provisioning, takeover, timing, transactions
from .allocation import end_overdue
from .import_files import COLUMNS, REQUIRED_COLUMNS, as_text, check_number
from .permissions import permitted_ids
from .resolution import resolve_pool
from .spaces import Containers
from .takeover import cluster_key

__all__ = (
    "ImportResult",
    "RowResult",
    "import_segments",
)

# The columns are the first generation's; the services have the design's words for the same things.
COLUMN_OF_FIELD = {"vid": "vlan_id", "prefix": "segment"}

HELD = SegmentStatusChoices.ALLOCATED

TRUE = frozenset(("true", "yes", "on", "1", "y", "t"))
FALSE = frozenset(("false", "no", "off", "0", "n", "f", ""))


@dataclass
class RowResult:
    """
    What became of one row, or would become of it.

    `status` is created, updated, unchanged, failed, or skipped: nothing was wrong with the row, but an atomic import
    changes nothing when another row fails. `changes` of an update is {column: {"old": value, "new": value}}.
    """

    index: int
    line: int | None = None
    status: str = "failed"
    segment: int | None = None
    errors: dict = field(default_factory=dict)
    changes: dict = field(default_factory=dict)

    def as_json(self):
        """Return what there is to tell of the row, as a dictionary that JSON can hold; its place is its index."""
        values = {name: value for name, value in vars(self).items() if value not in (None, {})}
        del values["index"]
        return values


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


@dataclass
class _Row:
    result: RowResult
    values: dict
    pool: object = None
    spec: object = None
    # The names of the clusters that shall hold the segment, the allocations of those that do not yet, and what these
    # change where the segment is there.
    clusters: list = field(default_factory=list)
    allocated_at: object = None
    allocations: list = field(default_factory=list)
    joining: dict = field(default_factory=dict)
    writes_segment: bool = False


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
    with timing.operation("import", dry_run=dry_run, rows=len(rows), user=user) as operation:
        result = _import(rows, audit.get_user(user), atomic, enforce, dry_run, report or (lambda phase: None))
        statuses = Counter(row.status for row in result.results)
        operation.outcome = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
        return result


def _import(rows, user, atomic, enforce, dry_run, report):
    """Return the ImportResult of a number of rows that may be."""
    viewer = user if enforce else None
    checked = [_Row(RowResult(index=index, line=line), values) for index, (line, values) in enumerate(rows)]
    report("checks")
    _check_rows(checked, viewer)
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
            return ImportResult([row.result for row in checked])


@timing.part("checks")
def _check_rows(rows, viewer):
    """Find each row's pool and check its values, before any lock; what is wrong goes into the row's result."""
    pools, containers, seen = {}, {}, {}
    for row in rows:
        try:
            values = _clean_columns(row.values)
            row.pool = _pool(values, pools, viewer)
            if row.pool.pk not in containers:
                containers[row.pool.pk] = Containers(row.pool)
            optional = {"dhcp": _clean_bool, "description": str}
            row.values = {name: optional[name](values[name]) for name in optional if name in values}
            row.spec = provisioning.clean_spec(
                row.pool,
                containers[row.pool.pk],
                vid=values["vlan_id"],
                epg_name=values["epg_name"],
                prefix=values["segment"],
                ipv6_prefix=values.get("ipv6_prefix"),
                **row.values,
            )
            if "ipv6_prefix" in values:
                row.values["ipv6_prefix"] = row.spec.ipv6_prefix
            row.clusters, row.allocated_at = _clean_holders(values)
            first = seen.setdefault((row.pool.pk, row.spec.vid), row)
            if first is not row:
                raise ValidationError(
                    {
                        "vlan_id": _("VLAN ID {vid} of this pool is in row {row} already: give it once.").format(
                            vid=row.spec.vid, row=first.result.line or first.result.index
                        )
                    }
                )
        except ValidationError as error:
            row.result.errors = _by_column(error.message_dict)
    if viewer and (named := [row for row in rows if row.clusters and not row.result.errors]):
        permitted = permitted_ids(SegmentPool, viewer, "allocate", {row.pool.pk for row in named})
        for row in named:
            if row.pool.pk not in permitted:
                row.result.errors = {
                    "cluster_name": [
                        _("You may not allocate in this pool: leave this empty, or ask for the permission.")
                    ]
                }


def _clean_columns(values):
    """Return the row's values as trimmed text by column, with every required one present."""
    if not isinstance(values, dict):
        raise ValidationError(
            {"row": _("This is no object with the columns {columns}.").format(columns=", ".join(COLUMNS))}
        )
    if None in values:
        found, expected = values[None]
        raise ValidationError(
            {
                "row": _(
                    "The line has {found} values, the header {expected}: put text that has the delimiter in quotes."
                ).format(found=found, expected=expected)
            }
        )
    errors = {
        str(name): _("Unknown column: use {columns}.").format(columns=", ".join(COLUMNS))
        for name in values
        if name not in COLUMNS
    }
    cleaned = {}
    for name, value in values.items():
        try:
            cleaned[name] = as_text(value)
        except ValidationError as error:
            errors.setdefault(str(name), error.messages)
        else:
            if UNSTORABLE.search(cleaned[name]):
                errors[str(name)] = _("No value may have a NUL or half a surrogate pair.")
    for name in REQUIRED_COLUMNS:
        if not cleaned.get(name):
            errors.setdefault(name, _("This column needs a value."))
    if errors:
        raise ValidationError(errors)
    return cleaned


def _pool(values, pools, viewer):
    """Return the pool of a row, looked up once for each site and VRF."""
    key = (values["site"], values["vrf"])
    if key not in pools:
        try:
            pools[key] = resolve_pool(*key, user=viewer).pool
        except VLANManagerError as error:
            pools[key] = ValidationError({"site": error.message})
        else:
            # Rows of one pool share its instance, and with it what is read through it.
            pools[key] = next((pool for pool in pools.values() if pool == pools[key]), pools[key])
    if isinstance(pools[key], ValidationError):
        raise pools[key]
    return pools[key]


def _clean_bool(value):
    text = value.lower()
    if text not in TRUE | FALSE:
        raise ValidationError({"dhcp": _("{value!r} is neither true nor false.").format(value=value)})
    return text in TRUE


def _clean_holders(values):
    """Return the cluster names of a row, each once, and since when they hold the segment, None for now."""
    errors, clusters = {}, {}
    for text in filter(str.strip, values.get("cluster_name", "").split(",")):
        try:
            name = clean_cluster_name(text)
            clusters.setdefault(cluster_key(name), name)
        except ValidationError as error:
            errors.setdefault("cluster_name", []).extend(error.messages)
    allocated_at, text = None, values.get("allocated_at")
    if text:
        try:
            allocated_at = _parse_time(text)
        except ValueError:
            errors["allocated_at"] = _("{value!r} is no time: write it as 2026-01-31T12:00:00Z.").format(
                value=text[:60]
            )
        else:
            if allocated_at > timezone.now():
                errors["allocated_at"] = _("This is in the future: say since when, or leave it empty for now.")
        if not clusters and not errors:
            errors["cluster_name"] = _("Name the cluster that holds the segment, or leave the time empty.")
    if errors:
        raise ValidationError(errors)
    return list(clusters.values()), allocated_at


def _parse_time(text):
    """Return a time, or the beginning of a day, as an aware datetime; raise a ValueError if it is neither."""
    time = parse_datetime(text)
    if time is None:
        time = parse_datetime(f"{parse_date(text) or text}T00:00:00")
    if time is None:
        raise ValueError
    time = timezone.make_aware(time) if timezone.is_naive(time) else time
    try:
        # The database keeps it as UTC, in which it must be within the calendar too.
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError from None


def _by_column(errors):
    """Return {column: texts} from {field: texts or text}."""
    return {
        COLUMN_OF_FIELD.get(name, name): [texts] if isinstance(texts, str) else [str(text) for text in texts]
        for name, texts in errors.items()
    }


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
    new = []
    problems = _plan_allocations([row for row in good if row.clusters], existing, user)
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
        if not row.writes_segment:
            row.result.status = "updated" if row.allocations else "unchanged"
            continue
        try:
            segment.pool = row.pool
            values = {"epg_name": row.spec.epg_name, "prefix": row.spec.prefix, **row.values}
            transactions.run(partial(provisioning.update_segment_in_transaction, segment, values))
            row.result.status = "updated"
        except Busy:
            # Of the whole import, which is tried again.
            raise
        except ValidationError as error:
            problems[row.result.index] = _by_column(error.message_dict)
        except VLANManagerError as error:
            problems[row.result.index] = {"segment": [error.message]}

    # Those that come with holders are allocated from the first.
    held = {row.result.index for row in new if row.allocations}
    specs = [replace(row.spec, status=HELD) if row.result.index in held else row.spec for row in new]
    segments, errors = provisioning.build_segments(specs)
    for row, segment, problem in zip(new, segments, errors, strict=True):
        if problem:
            problems[row.result.index] = _by_column(problem)
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


def _plan_allocations(rows, existing, user):
    """
    Give each row the allocations of those of its clusters that do not hold its segment yet, as a change where there is
    one. Locks the rows of the segments that are there.

    Returns:
        {index: {column: texts}} for the rows that cannot be.
    """
    problems = {}
    if not rows:
        return problems
    pools = {row.pool.pk for row in rows}
    end_overdue(Allocation.objects.filter(pool__in=pools))
    segments = [existing[key] for row in rows if (key := (row.pool.pk, row.spec.vid)) in existing]
    locked = Segment.objects.select_for_update(no_key=True).filter(pk__in=[segment.pk for segment in segments])
    statuses = dict(locked.order_by("pool_id", "vid").values_list("pk", "status"))
    holders, segment_of = {}, {}
    active = Allocation.objects.unreleased().filter(pool__in=pools).order_by("pk")
    for pool, name, purpose, segment in active.values_list("pool", "cluster_name", "purpose", "segment"):
        holders.setdefault(segment, {})[cluster_key(name)] = name
        if not purpose:
            segment_of[pool, cluster_key(name)] = segment
    clusters = takeover.find_clusters({name for row in rows for name in row.clusters})
    now = timezone.now()
    for row in rows:
        segment = existing.get((row.pool.pk, row.spec.vid))
        held_by = holders.get(segment and segment.pk, {}) if segment else {}
        joining = [name for name in row.clusters if cluster_key(name) not in held_by]
        row.allocations, row.joining = [], {}
        texts = []
        if held_by.keys() - {cluster_key(name) for name in row.clusters}:
            texts.append(_("Other clusters hold the segment: name them too, or release it first."))
        if joining and segment and statuses[segment.pk] == SegmentStatusChoices.DISABLED:
            texts.append(_("The segment is disabled: enable it first."))
        for name in joining:
            if (row.pool.pk, cluster_key(name)) in segment_of:
                texts.append(
                    _("Cluster {cluster} holds another segment of the pool: release that first.").format(cluster=name)
                )
            segment_of[row.pool.pk, cluster_key(name)] = row
        if texts:
            problems[row.result.index] = {"cluster_name": texts}
            continue
        ipv6_prefix = row.spec.ipv6_prefix
        if segment and "ipv6_prefix" not in row.values:
            ipv6_prefix = segment.ipv6_prefix and segment.ipv6_prefix.prefix
        try:
            row.allocations = [
                takeover.make_allocation(
                    row.pool,
                    cluster_name=name,
                    cluster_id=clusters.get(cluster_key(name)),
                    allocated_at=row.allocated_at or now,
                    allocated_by=user,
                    shared=bool(held_by) or number > 0,
                    vid=row.spec.vid,
                    epg_name=row.spec.epg_name,
                    prefix=row.spec.prefix,
                    ipv6_prefix=ipv6_prefix,
                )
                for number, name in enumerate(joining)
            ]
        except ValidationError as error:
            problems[row.result.index] = {"cluster_name": error.messages}
            continue
        if segment and joining:
            old = ", ".join(held_by.values())
            row.joining = {"cluster_name": {"old": old, "new": ", ".join([*held_by.values(), *joining])}}
    return problems


def _write_allocations(rows):
    """Write the allocations of rows whose segments have been written."""
    segments = Segment.objects.select_related("vlan", "prefix", "ipv6_prefix").order_by()
    segments = segments.in_bulk([row.result.segment for row in rows]) if rows else {}
    for row in rows:
        segments[row.result.segment].pool = row.pool
    takeover.write_allocations([(segments[row.result.segment], row.allocations) for row in rows])


def _changes(segment, row):
    """Return {column: {"old", "new"}} for what the row says and the segment is not yet."""
    pairs = {
        "epg_name": (segment.epg_name, row.spec.epg_name),
        "segment": (str(segment.prefix.prefix), str(row.spec.prefix)),
        **{name: (getattr(segment, name), value) for name, value in row.values.items()},
    }
    if "ipv6_prefix" in row.values:
        old, new = segment.ipv6_prefix and segment.ipv6_prefix.prefix, row.spec.ipv6_prefix
        pairs["ipv6_prefix"] = (str(old or ""), str(new or ""))
    return {column: {"old": old, "new": new} for column, (old, new) in pairs.items() if old != new}


def _denied(rows, viewer):
    """Return the rows whose segments `viewer` may not have added or changed."""
    denied = []
    for status, action in (("created", "add"), ("updated", "change")):
        written = {row.result.segment: row for row in rows if row.result.status == status and row.writes_segment}
        permitted = permitted_ids(Segment, viewer, action, written)
        denied += [row for pk, row in written.items() if pk not in permitted]
    return denied
