"""
Writes segments and statistics as CSV, JSON or XLSX. The memory does not grow with the number of rows.

Rows are tuples of plain values. A spreadsheet that opens a CSV or XLSX runs no formula that a description contains (see
`base.formulas`).
"""

import csv
import io
import json
from datetime import datetime
from itertools import batched
from tempfile import TemporaryFile

from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, Subquery
from django.db.models.functions import JSONObject
from django.utils import timezone
from django.utils.translation import gettext as _
from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from ...choices import SegmentStatusChoices
from ...models import Allocation, Segment
from ...models.pools import scope_name
from ..base.formulas import escape_formula
from ..base.import_values import unify_lines
from .places import held_elsewhere
from .statistics import iterate_statistics

__all__ = (
    "STATISTICS_COLUMNS",
    "csv_chunks",
    "json_chunks",
    "segment_rows",
    "statistics_rows",
    "xlsx_file",
)

# Name in JSON and heading in CSV and XLSX. The headings are not translated, because programs read them.
STATISTICS_COLUMNS = {
    "pool": "Pool ID",
    "pool_name": "Pool",
    "site": "Site",
    "vrf": "VRF",
    "total_segments": "Total Segments",
    "allocated": "Allocated",
    "available": "Available",
    "quarantined": "Quarantined",
    "disabled": "Disabled",
    "utilization": "Utilization",
    "held_elsewhere": "Held Elsewhere",
}

# The values that are read of a segment for its row.
SEGMENT_VALUES = (
    "site",
    "pool__vrf__name",
    "vid",
    "vlan__name",
    "prefix__prefix",
    "dhcp",
    "description",
    "holders",
    "released_at",
    "status",
    "ipv6_prefix__prefix",
    "pool__slug",
    "disabled_reason",
    "quarantined_until",
    "comments",
    "gateway",
    "ipv6_gateway",
)

# The number of rows that are fetched, and written, at a time: so few that a small and a large export take as much
# memory.
CHUNK_SIZE = 200
# The longest text in a cell of an XLSX; openpyxl would cut longer ones.
CELL_MAX = 32767


def segment_rows(segments, viewer=None):
    """
    Yield a row of `segment_columns.EXPORTED` for each segment, by pool and VLAN ID.

    Cluster, Purpose, Allocated At and Expires At are those of the allocations that hold the segment (see `_joined`). If
    none does, Released At is that of the last one.

    Args:
        segments: A queryset of the segments that the caller may view.
        viewer: The user whose view decides which allocations appear; None sees all.
    """
    for row in _read_segments(segments, viewer).iterator(CHUNK_SIZE):
        yield _segment_row(*row)


def _read_segments(segments, viewer):
    """Return a queryset of the values that `_segment_row` takes."""
    allocations = Allocation.objects.all() if viewer is None else Allocation.objects.restrict(viewer, "view")
    history = allocations.filter(segment=OuterRef("pk"))
    # The cluster that did not come to share the segment is first, as in an import.
    holders = history.active().order_by("shared", "pk")
    holder = JSONObject(name="cluster_name", purpose="purpose", allocated_at="allocated_at", expires_at="expires_at")
    released = history.filter(released_at__isnull=False).order_by("-released_at").values("released_at")
    # A query of its own: the filters of `segments` may have any joins and any order.
    rows = Segment.objects.filter(pk__in=segments.order_by().values("pk")).annotate(
        site=scope_name("pool__"),
        holders=ArraySubquery(holders.values(holder=holder)),
        released_at=Subquery(released[:1]),
    )
    return rows.order_by("pool_id", "vid").values_list(*SEGMENT_VALUES)


def _segment_row(*values):
    """Return the row of a segment; `values` are SEGMENT_VALUES."""
    *first, prefix, dhcp, description, holders, released_at, status, ipv6_prefix, pool, reason, until = values[:-3]
    comments, *gateways = values[-3:]
    # NULL if the viewer may view no allocation at all: then there is no subquery.
    holders = holders or ()
    return (
        *first,
        str(prefix),
        dhcp,
        unify_lines(description),
        ", ".join(holder["name"] for holder in holders),
        _joined(_timestamp(_time(holder["allocated_at"])) for holder in holders),
        "" if status == SegmentStatusChoices.ALLOCATED else _timestamp(released_at),
        status,
        str(ipv6_prefix or ""),
        pool,
        _joined(holder["purpose"] for holder in holders),
        _joined(_timestamp(_time(holder["expires_at"])) for holder in holders),
        unify_lines(reason),
        _timestamp(until),
        unify_lines(comments),
        *(gateway or "" for gateway in gateways),
    )


def _joined(texts):
    """Return the clusters' texts with commas between, or one text if all are equal."""
    texts = list(texts)
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def _time(text):
    """Return the datetime of a time in PostgreSQL's JSON."""
    return datetime.fromisoformat(text) if text else None


def statistics_rows(pools, viewer):
    """
    Yield a row of STATISTICS_COLUMNS for each of `pools`, by name.

    Args:
        pools: A queryset of the pools that the viewer may view.
        viewer: The User.
    """
    held = held_elsewhere(dict(pools.order_by().values_list("pk", "vrf")), viewer)
    for row in iterate_statistics(pools):
        usage = row.usage
        yield (
            row.pool,
            row.pool_name,
            row.site,
            row.vrf,
            usage.total_segments,
            usage.allocated,
            usage.available,
            usage.quarantined,
            usage.disabled,
            usage.utilization,
            held[row.pool],
        )


def csv_chunks(columns, rows):
    """Yield the text of a CSV of `rows` under the headings of `columns`, in pieces."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns.values())
    yield buffer.getvalue()
    for batch in batched(rows, CHUNK_SIZE):
        buffer.seek(0)
        buffer.truncate()
        writer.writerows(map(escape_formula, row) for row in batch)
        yield buffer.getvalue()


def json_chunks(columns, rows):
    """Yield the text of a JSON list of objects with the names of `columns`, in pieces."""
    separator = "["
    for batch in batched(rows, CHUNK_SIZE):
        objects = (json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in batch)
        yield separator + ",\n".join(objects)
        separator = ",\n"
    yield "]" if separator != "[" else "[]"


def xlsx_file(columns, rows):
    """
    Return an open temporary file with an XLSX of `rows` under the headings of `columns`.

    Raises:
        ValidationError: Keyed by format. A text is too long for a cell.
    """
    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet()
    sheet.append(tuple(columns.values()))
    for row in rows:
        if any(isinstance(value, str) and len(value) > CELL_MAX for value in row):
            text = _(
                "A cell of an XLSX holds at most {most} characters, and some comments are longer: use CSV or JSON."
            )
            raise ValidationError({"format": text.format(most=CELL_MAX)})
        sheet.append([escape_formula(_printable(value)) for value in row])
    file = TemporaryFile()  # noqa: SIM115 - the caller closes it
    workbook.save(file)
    file.seek(0)
    return file


def _timestamp(value):
    return timezone.localtime(value).isoformat(timespec="seconds") if value else ""


def _printable(value):
    """Return `value` without the control characters that no XLSX may have."""
    return ILLEGAL_CHARACTERS_RE.sub("", value) if isinstance(value, str) else value
