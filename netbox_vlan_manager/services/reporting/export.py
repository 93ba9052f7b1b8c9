"""
Writes segments and statistics as CSV, JSON or XLSX, with a memory that does not grow with the number of rows.

Rows are tuples of plain values. A CSV or XLSX that is opened in a spreadsheet runs no formula that somebody hid in a
description: see `defuse`, and `arm` for the way back.
"""

import csv
import io
import json
import re
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
from ..base.import_values import unify_lines
from .places import held_elsewhere
from .statistics import iterate_statistics

__all__ = (
    "STATISTICS_COLUMNS",
    "arm",
    "csv_chunks",
    "defuse",
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

# How many rows are fetched, and written, at a time: few enough that a small export takes as much memory as a large one.
CHUNK_SIZE = 200
# How long a text may be in a cell of an XLSX; openpyxl would cut it.
CELL_MAX = 32767

# Where a formula begins, with the apostrophes that are there already: at a cell's begin, and where a spreadsheet that
# takes semicolons or tabs for the delimiter, or quotes for text, sees a cell begin. Some read the wide characters too.
FORMULA_START = re.compile(r"(^|[;\t\r\n])('*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
DEFUSED_START = re.compile(r"(^|[;\t\r\n])'('*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")


def segment_rows(segments, viewer=None):
    """
    Yield a row of `segment_columns.EXPORTED` for each segment, by pool and VLAN ID.

    Cluster, Purpose, Allocated At and Expires At are those of the allocations that hold the segment (see `_joined`),
    Released At is that of the last one which did, when none does now.

    Args:
        segments: A queryset of those that the caller may see.
        viewer: The user whose view decides which allocations appear; None sees all.
    """
    allocations = Allocation.objects.all() if viewer is None else Allocation.objects.restrict(viewer, "view")
    history = allocations.filter(segment=OuterRef("pk"))
    # The first is who did not come to share it, as in an import.
    holders = history.active().order_by("shared", "pk")
    rows = (
        # A query of its own: the filters may have joined and sorted by whatever they like.
        Segment.objects.filter(pk__in=segments.order_by().values("pk"))
        .annotate(
            site=scope_name("pool__"),
            holders=ArraySubquery(
                holders.values(
                    holder=JSONObject(
                        name="cluster_name", purpose="purpose", allocated_at="allocated_at", expires_at="expires_at"
                    )
                )
            ),
            released_at=Subquery(
                history.filter(released_at__isnull=False).order_by("-released_at").values("released_at")[:1]
            ),
        )
        .order_by("pool_id", "vid")
        .values_list(
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
        )
    )
    for row in rows.iterator(CHUNK_SIZE):
        *values, prefix, dhcp, description, holders, released_at, status, ipv6_prefix, pool, reason, until, comments = (
            row
        )
        # NULL where the viewer may view no allocation at all: then there is no subquery.
        holders = holders or ()
        yield (
            *values,
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
        )


def _joined(texts):
    """Return what each of the clusters has, in their order with commas between, or once where all have the same."""
    texts = list(texts)
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def _time(text):
    """Return a time of PostgreSQL's JSON."""
    return datetime.fromisoformat(text) if text else None


def statistics_rows(pools, viewer):
    """
    Yield a row of STATISTICS_COLUMNS for each of `pools`, by name.

    Args:
        pools: A queryset of those that the viewer may see.
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
        writer.writerows(map(defuse, batch))
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
        sheet.append(defuse(map(_printable, row)))
    file = TemporaryFile()  # noqa: SIM115 - the caller closes it
    workbook.save(file)
    file.seek(0)
    return file


def _timestamp(value):
    return timezone.localtime(value).isoformat(timespec="seconds") if value else ""


def _printable(value):
    """Return `value` without the control characters that no XLSX may have."""
    return ILLEGAL_CHARACTERS_RE.sub("", value) if isinstance(value, str) else value


def defuse(row):
    """Return the values with an apostrophe before what a spreadsheet would take for a formula."""
    return [FORMULA_START.sub(r"\1'\2", value) if isinstance(value, str) else value for value in row]


def arm(value):
    """Return a text of an export as it was before, so that an import stores what was exported."""
    return DEFUSED_START.sub(r"\1\2", value)
