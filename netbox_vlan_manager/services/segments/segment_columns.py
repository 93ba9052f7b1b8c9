"""
The columns of segments in files: an export writes them, and an import reads them.

An import finds a column by its name, by the heading of the export, or by the word that REST and other tools have for
it. Case, spaces and punctuation do not matter.
"""

import re
from typing import NamedTuple

__all__ = (
    "COLUMNS",
    "EXPORTED",
    "IGNORED_COLUMNS",
    "POOL_COLUMNS",
    "REQUIRED_COLUMNS",
    "clean_name",
)


class _Column(NamedTuple):
    """
    `key` is its name in an export as JSON, `heading` in CSV and XLSX; both are empty if an export has no such column.
    Headings are not translated, because programs read them.
    """

    name: str
    heading: str = ""
    key: str = ""
    aliases: tuple = ()


# In the order of an import's documentation.
_COLUMNS = (
    _Column("site", "Site", "site"),
    _Column("vlan_id", "VLAN ID", "vlan_id", ("vid", "vlan", "vlan_number")),
    _Column("epg_name", "EPG Name", "epg_name", ("epg", "vlan_name")),
    _Column("segment", "Segment", "segment", ("prefix", "subnet", "network", "cidr")),
    _Column("vrf", "VRF", "vrf"),
    _Column("ipv6_prefix", "IPv6 Prefix", "ipv6_prefix"),
    _Column("gateway", "Gateway", "gateway", ("gw", "default_gateway")),
    _Column("ipv6_gateway", "IPv6 Gateway", "ipv6_gateway"),
    _Column("dhcp", "DHCP", "dhcp"),
    _Column("description", "Description", "description"),
    _Column("cluster_name", "Cluster", "cluster", ("clusters", "cluster_names")),
    _Column("purpose", "Purpose", "purpose"),
    _Column("allocated_at", "Allocated At", "allocated_at"),
    _Column("expires_at", "Expires At", "expires_at"),
    _Column("status", "Status", "status"),
    _Column("disabled_reason", "Disabled Reason", "disabled_reason", ("reason",)),
    _Column("quarantined_until", "Quarantined Until", "quarantined_until"),
    _Column("comments", "Comments", "comments"),
    _Column("pool", "Pool", "pool"),
)
COLUMNS = tuple(column.name for column in _COLUMNS)
# A row also names its pool: by `pool`, or by both of POOL_COLUMNS.
REQUIRED_COLUMNS = ("vlan_id", "epg_name", "segment")
POOL_COLUMNS = ("site", "vrf")
# Columns that an import skips: history, which it does not write, and the errors of an earlier import.
IGNORED_COLUMNS = frozenset(("released_at", "errors"))

# Programs read exports by the position of a column: new columns come last.
_EXPORT_ORDER = (
    "site",
    "vrf",
    "vlan_id",
    "epg_name",
    "segment",
    "dhcp",
    "description",
    "cluster_name",
    "allocated_at",
    "released_at",
    "status",
    "ipv6_prefix",
    "pool",
    "purpose",
    "expires_at",
    "disabled_reason",
    "quarantined_until",
    "comments",
    "gateway",
    "ipv6_gateway",
)
_BY_NAME = {column.name: column for column in (*_COLUMNS, _Column("released_at", "Released At", "released_at"))}
# {name in JSON: heading in CSV and XLSX}
EXPORTED = {_BY_NAME[name].key: _BY_NAME[name].heading for name in _EXPORT_ORDER}

_NAME_OF_ALIAS = {alias: column.name for column in _COLUMNS for alias in (column.key, *column.aliases)}


def clean_name(text):
    """Return the name of the column for a heading or a name in JSON; the column need not exist."""
    name = re.sub(r"\W+", "_", text.strip().casefold()).strip("_")
    return _NAME_OF_ALIAS.get(name, name)
