"""
Files with segments: their columns, for the reader of files (see `base.sheets`).
"""

from dataclasses import replace

import netaddr
from django.utils.translation import gettext_lazy

from ...validators import VID_MAX, VID_MIN
from ..base import headings, sheets
from ..segments.segment_columns import COLUMNS, IGNORED_COLUMNS, POOL_COLUMNS, REQUIRED_COLUMNS, clean_name

__all__ = (
    "as_rows",
    "parse_csv",
    "parse_file",
    "read_file",
    "rename_columns",
    "suggest_columns",
    "write_csv",
    "write_failed",
)


def _needed(header):
    """Return the names that a header must have: one with a pool needs no place and no VRF."""
    return {*REQUIRED_COLUMNS} if "pool" in header else {*POOL_COLUMNS, *REQUIRED_COLUMNS}


SEGMENTS = sheets.Columns(
    names=COLUMNS,
    ignored=IGNORED_COLUMNS,
    clean_name=clean_name,
    needed=_needed,
    row=gettext_lazy("segment"),
    rows=gettext_lazy("segments"),
)


# Segments of one pool, whose rows need not name it.
SEGMENTS_OF_POOL = replace(SEGMENTS, needed=lambda header: {*REQUIRED_COLUMNS})


def _is_network(text, version):
    try:
        return "/" in text and netaddr.IPNetwork(text).version == version
    except (netaddr.AddrFormatError, ValueError):
        return False


def _is_vid(text):
    return text.isascii() and text.isdecimal() and len(text) < 5 and VID_MIN <= int(text) <= VID_MAX


# The words of other languages and tools for the columns.
HINTS = headings.Hints(
    words={
        **dict.fromkeys(("standort", "ort", "location", "datacenter", "rz", "emplacement", "sede", "sitio"), "site"),
        **dict.fromkeys(
            ("vlanid", "vlan_nr", "vlan_no", "vlan_nummer", "vlan_num", "nummer", "tag", "number"), "vlan_id"
        ),
        **dict.fromkeys(("name", "bezeichnung", "vlanname", "nombre", "nom", "label", "epgname"), "epg_name"),
        **dict.fromkeys(("netz", "netzwerk", "subnetz", "net", "ipv4", "reseau", "réseau", "red", "range"), "segment"),
        **dict.fromkeys(("ipv6", "ipv6_netz", "ipv6_network", "prefix6"), "ipv6_prefix"),
        **dict.fromkeys(("routing_instance", "vrf_name", "kontext", "context", "network_view"), "vrf"),
        **dict.fromkeys(
            ("beschreibung", "descripcion", "descripción", "desc", "zweck", "usage", "notiz"), "description"
        ),
        **dict.fromkeys(
            ("kommentar", "bemerkung", "comment", "remarks", "notes", "comentario", "commentaire"), "comments"
        ),
        **dict.fromkeys(("verwendet_von", "used_by", "owner", "kunde", "customer", "assigned_to"), "cluster_name"),
        **dict.fromkeys(("zustand", "state", "estado", "etat"), "status"),
        **dict.fromkeys(("expires", "ablauf", "gueltig_bis", "gültig_bis", "valid_until"), "expires_at"),
    },
    kinds={
        "vlan_id": (_is_vid, gettext_lazy("All values are VLAN IDs")),
        "segment": (lambda text: _is_network(text, 4), gettext_lazy("All values are IPv4 networks")),
        "ipv6_prefix": (lambda text: _is_network(text, 6), gettext_lazy("All values are IPv6 networks")),
    },
)


def parse_file(content, kind="", pool=None):
    """Return the rows of a file, as `read_file` does."""
    return read_file(content, kind, pool)[0]


def read_file(content, kind="", pool=None):
    """
    Return the rows of a file and a text with the same rows, as `sheets.read_file` does.

    Args:
        content, kind: As for `sheets.read_file`.
        pool: The slug of the pool of those rows that name none, and neither a site nor a VRF.
    """
    rows, text = sheets.read_file(content, kind, SEGMENTS_OF_POOL if pool else SEGMENTS)
    return [(line, _in_pool(values, pool)) for line, values in rows] if pool else rows, text


def _in_pool(values, pool):
    """Return the values of a row, with the pool if they say nothing of one."""
    says = isinstance(values, dict) and (None in values or any(values.get(name) for name in ("pool", *POOL_COLUMNS)))
    return {**values, "pool": pool} if isinstance(values, dict) and not says else values


def suggest_columns(error):
    """Return the Suggestions (see `headings`) for the headings of an UnknownHeadings."""
    return headings.suggest(error.headings, error.samples, SEGMENTS, HINTS)


def rename_columns(text, names):
    """Return a CSV text with other headings, as `sheets.rename_columns` does."""
    return sheets.rename_columns(text, names, SEGMENTS)


def parse_csv(text):
    """Return the rows of a CSV text, as `sheets.parse_csv` does."""
    return sheets.parse_csv(text, SEGMENTS)


def as_rows(objects):
    """Return the objects of a list as rows, as `sheets.as_rows` does."""
    return sheets.as_rows(objects, SEGMENTS)


def write_csv(rows):
    """Return rows of a sheet as CSV text, as `sheets.write_csv` does."""
    return sheets.write_csv(rows, SEGMENTS)


def write_failed(rows, errors):
    """Return the rows that failed as CSV text, as `sheets.write_failed` does."""
    return sheets.write_failed(rows, errors, SEGMENTS)
