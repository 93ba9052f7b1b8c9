"""
Writes segments and statistics as CSV, JSON or XLSX, with a memory that does not grow with the number of rows.

Rows are tuples of plain values. Whoever opens a CSV or XLSX in a spreadsheet runs no formula that somebody hid in a
description: see `_defuse`, and `arm` for the way back.
"""

import csv
import io
import json
import re
from itertools import batched
from tempfile import TemporaryFile

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Subquery
from django.utils import timezone
from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from ..choices import SegmentStatusChoices
from ..models import Allocation, Segment
from .statistics import iterate_statistics, scope_name

__all__ = (
    "SEGMENT_COLUMNS",
    "STATISTICS_COLUMNS",
    "arm",
    "csv_chunks",
    "json_chunks",
    "segment_rows",
    "statistics_rows",
    "xlsx_file",
)

# Name in JSON and heading in CSV and XLSX. The headings are not translated, because programs read them.
SEGMENT_COLUMNS = {
    "site": "Site",
    "vrf": "VRF",
    "vlan_id": "VLAN ID",
    "epg_name": "EPG Name",
    "segment": "Segment",
    "dhcp": "DHCP",
    "description": "Description",
    "cluster": "Cluster",
    "allocated_at": "Allocated At",
    "released_at": "Released At",
    "status": "Status",
    "ipv6_prefix": "IPv6 Prefix",
}
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
}

# How many rows are fetched, and written, at a time: few enough that a small export takes as much memory as a large one.
CHUNK_SIZE = 200

# Where a formula begins, with the apostrophes that are there already: at a cell's begin, and where a spreadsheet that
# takes semicolons or tabs for the delimiter, or quotes for text, sees a cell begin. Some read the wide characters too.
FORMULA_START = re.compile(r"(^|[;\t\r\n])('*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
DEFUSED_START = re.compile(r"(^|[;\t\r\n])'('*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")


def segment_rows(segments, viewer=None):
    """
    Yield a row of SEGMENT_COLUMNS for each segment, by pool and VLAN ID.

    Cluster and Allocated At are those of the allocations that hold the segment, Released At is that of the last one
    which did, when none does now.

    Args:
        segments: A queryset of those that the caller may see.
        viewer: The user whose view decides which allocations appear; None sees all.
    """
    allocations = Allocation.objects.all() if viewer is None else Allocation.objects.restrict(viewer, "view")
    history = allocations.filter(segment=OuterRef("pk"))
    rows = (
        # A query of its own: the filters may have joined and sorted by whatever they like.
        Segment.objects.filter(pk__in=segments.order_by().values("pk"))
        .annotate(
            site=scope_name("pool__"),
            clusters=ArraySubquery(history.active().order_by("pk").values("cluster_name")),
            allocated_at=Subquery(history.active().order_by("allocated_at").values("allocated_at")[:1]),
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
            "clusters",
            "allocated_at",
            "released_at",
            "status",
            "ipv6_prefix__prefix",
        )
    )
    for row in rows.iterator(CHUNK_SIZE):
        *values, prefix, dhcp, description, clusters, allocated_at, released_at, status, ipv6_prefix = row
        if status == SegmentStatusChoices.ALLOCATED:
            released_at = None
        yield (
            *values,
            str(prefix),
            dhcp,
            description,
            # NULL where the viewer may view no allocation at all: then there is no subquery.
            ", ".join(clusters or ()),
            _timestamp(allocated_at),
            _timestamp(released_at),
            status,
            str(ipv6_prefix or ""),
        )


def statistics_rows(pools):
    """Yield a row of STATISTICS_COLUMNS for each of `pools`, a queryset of those that the caller may see, by name."""
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
        writer.writerows(map(_defuse, batch))
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
    """Return an open temporary file with an XLSX of `rows` under the headings of `columns`."""
    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet()
    sheet.append(tuple(columns.values()))
    for row in rows:
        sheet.append(_defuse(map(_printable, row)))
    file = TemporaryFile()  # noqa: SIM115 - the caller closes it
    workbook.save(file)
    file.seek(0)
    return file


def _timestamp(value):
    return timezone.localtime(value).isoformat(timespec="seconds") if value else ""


def _printable(value):
    """Return `value` without the control characters that no XLSX may have."""
    return ILLEGAL_CHARACTERS_RE.sub("", value) if isinstance(value, str) else value


def _defuse(row):
    """Return the values with an apostrophe before what a spreadsheet would take for a formula."""
    return [FORMULA_START.sub(r"\1'\2", value) if isinstance(value, str) else value for value in row]


def arm(value):
    """Return a text of an export as it was before, so that an import stores what was exported."""
    return DEFUSED_START.sub(r"\1\2", value)
