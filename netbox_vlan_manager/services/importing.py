"""
Imports segments in bulk, from rows of text: what REST, the pages and the command share.

A row is keyed on its pool and VLAN ID. One that names a segment which is there updates it, or leaves it unchanged;
importing the same file again changes nothing. All rows are written in one transaction.
"""

import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from ..exceptions import Busy, VLANManagerError
from ..models import Segment
from ..settings import get_setting
from . import audit, provisioning, timing, transactions
from .resolution import resolve_pool
from .spaces import Containers

__all__ = (
    "COLUMNS",
    "REQUIRED_COLUMNS",
    "ImportResult",
    "RowResult",
    "import_segments",
    "parse_csv",
)

REQUIRED_COLUMNS = ("site", "vlan_id", "epg_name", "segment", "vrf")
COLUMNS = (*REQUIRED_COLUMNS, "dhcp", "description")

# The columns are the first generation's; the services have the design's words for the same things.
COLUMN_OF_FIELD = {"vid": "vlan_id", "prefix": "segment"}

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


class _Undo(Exception):
    """Rolls the transaction back; `denied` holds the rows whose segments the user may not write."""

    def __init__(self, denied=()):
        self.denied = denied


class _DryRun(Exception):
    """Rolls back what was only tried."""


def parse_csv(text):
    """
    Return the rows of a CSV text as (line number, {column: value}) pairs.

    A byte order mark, any line ends, and comma, semicolon or tab as the delimiter are taken as they come. Blank lines
    are passed over. A line with too many or too few values comes back with the key None, for `import_segments` to
    report with the other rows.

    Raises:
        ValidationError: The text is empty, has no header, lacks or repeats a column, has one that is not known, or has
            more rows than the setting `import_max_rows`.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise ValidationError({"csv": _("This is no text: it has zero bytes. Save the sheet as CSV (UTF-8).")})
    if not text.strip():
        raise ValidationError(
            {
                "csv": _("The file is empty: give a header, {columns}, and a line for each segment.").format(
                    columns=",".join(COLUMNS)
                )
            }
        )
    header_line = text.lstrip().splitlines()[0]
    delimiter = max(",;\t", key=header_line.count)
    # Strict, lest a quote that is never closed swallow the lines after it.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows, header = [], None
    try:
        line = 1
        for values in reader:
            if any(value.strip() for value in values):
                if header is None:
                    header = _clean_header(values)
                elif len(values) == len(header):
                    rows.append((line, dict(zip(header, values, strict=True))))
                else:
                    rows.append((line, {None: (len(values), len(header))}))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValidationError({"csv": _("Line {line}: {error}.").format(line=reader.line_num, error=error)}) from None
    if not rows:
        raise ValidationError({"csv": _("There is a header but no line under it: give one for each segment.")})
    _check_number(rows, "csv")
    return rows


def _check_number(rows, name):
    """Raise a ValidationError, keyed by `name`, if there are too many rows."""
    most = get_setting("import_max_rows")
    if len(rows) > most:
        text = _("{count} rows are too many for one import: give at most {most}.")
        raise ValidationError({name: text.format(count=len(rows), most=most)})


def _clean_header(values):
    """Return the column names of a header line, or raise a ValidationError that says what is wrong with it."""
    header = [value.strip().lower() for value in values]
    known = set(COLUMNS)
    if known.isdisjoint(header):
        raise ValidationError(
            {"csv": _("The first line is no header: begin with {columns}.").format(columns=",".join(COLUMNS))}
        )
    unknown = [name or _("(no name)") for name in header if name not in known]
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    repeated = sorted({name for name in header if header.count(name) > 1})
    problems = []
    if unknown:
        problems.append(
            _("Unknown column: {names}. The columns are {columns}.").format(
                names=", ".join(unknown), columns=", ".join(COLUMNS)
            )
        )
    if missing:
        problems.append(_("Missing column: {names}.").format(names=", ".join(missing)))
    if repeated:
        problems.append(_("Column given twice: {names}.").format(names=", ".join(repeated)))
    if problems:
        raise ValidationError({"csv": problems})
    return header


def import_segments(rows, *, user, atomic=False, enforce=True, dry_run=False, report=None):
    """
    Create or update a segment for each row, or say what that would do.

    Locks the VRFs and VLAN groups of all pools named until the transaction ends. So does a dry run: it does all that an
    import does, takes as long, and then rolls it back. Only signal receivers of other plugins could tell.

    Args:
        rows: (line number or None, {column: value}) pairs; the columns are those of COLUMNS.
        user: The User, or the user name, whom the change log names.
        atomic: Change nothing if any row fails; otherwise the good rows land.
        enforce: Hold the user to their object permissions on pools and segments. Commands, whose users have the
            database anyway, do not.
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
    _check_number(rows, "rows")
    with timing.operation("import, dry run" if dry_run else "import", rows=len(rows)) as operation:
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
                transactions.run(partial(_write, checked, viewer, atomic, dry_run))
            except _DryRun:
                for row in checked:
                    if row.result.status == "created":
                        row.result.segment = None
            except _Undo as undo:
                for row in undo.denied:
                    row.result.errors = {"vlan_id": [_("You may not write this segment: ask for the permission.")]}
                for row in checked:
                    row.result.segment, row.result.changes = None, {}
                    row.result.status = "failed" if row.result.errors else "skipped"
                if undo.denied and not atomic:
                    continue
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
                **row.values,
            )
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
    cleaned = {name: "" if value is None else str(value).strip() for name, value in values.items()}
    for name in REQUIRED_COLUMNS:
        if not cleaned.get(name):
            errors[name] = _("This column needs a value.")
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


def _by_column(errors):
    """Return {column: texts} from {field: texts or text}."""
    return {
        COLUMN_OF_FIELD.get(name, name): [texts] if isinstance(texts, str) else [str(text) for text in texts]
        for name, texts in errors.items()
    }


def _write(rows, viewer, atomic, dry_run):
    """Write the rows that have no errors; the caller's transaction holds all of it, or none after _Undo or _DryRun."""
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
        .prefetch_related("vlan", "prefix")
        .order_by()
    }
    new = []
    problems = {}
    for row in good:
        segment = existing.get((row.pool.pk, row.spec.vid))
        row.result.changes = _changes(segment, row) if segment else {}
        if segment is None:
            new.append(row)
            continue
        row.result.segment = segment.pk
        if not row.result.changes:
            row.result.status = "unchanged"
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

    segments, errors = provisioning.build_segments([row.spec for row in new])
    for row, segment, problem in zip(new, segments, errors, strict=True):
        if problem:
            problems[row.result.index] = _by_column(problem)
        else:
            row.result.status, row.result.segment = "created", segment.pk

    if viewer and (denied := _denied(good, viewer)):
        raise _Undo(denied)
    for row in good:
        if row.result.index in problems:
            row.result.errors = problems[row.result.index]
            row.result.status, row.result.segment, row.result.changes = "failed", None, {}
    if atomic and (problems or failed_before):
        raise _Undo
    if dry_run:
        raise _DryRun


def _changes(segment, row):
    """Return {column: {"old", "new"}} for what the row says and the segment is not yet."""
    pairs = {
        "epg_name": (segment.epg_name, row.spec.epg_name),
        "segment": (str(segment.prefix.prefix), str(row.spec.prefix)),
        **{name: (getattr(segment, name), value) for name, value in row.values.items()},
    }
    return {column: {"old": old, "new": new} for column, (old, new) in pairs.items() if old != new}


def _denied(rows, viewer):
    """Return the rows whose segments `viewer` may not have added or changed."""
    denied = []
    for status, action in (("created", "add"), ("updated", "change")):
        written = {row.result.segment: row for row in rows if row.result.status == status}
        permitted = set(
            Segment.objects.restrict(viewer, action).filter(pk__in=written).order_by().values_list("pk", flat=True)
        )
        denied += [row for pk, row in written.items() if pk not in permitted]
    return denied
