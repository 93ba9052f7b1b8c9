"""
Checks the rows of an import before any lock: finds their pools, and cleans their values.

All errors of a row are found at once.
"""

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from ...choices import SegmentStatusChoices
from ...exceptions import VLANManagerError
from ...gateways import GATEWAYS
from ...models import Segment, SegmentPool
from ...validators import UNSTORABLE, clean_cidr, clean_cluster_name, clean_epg_name, clean_purpose, clean_vid
from ..allocations.requests import clean_expiry
from ..base import operations
from ..base.cluster_keys import cluster_keys
from ..base.import_values import as_text, clean_bool, clean_time, unify_lines
from ..base.resolution import resolve_pool, resolve_pool_by_name
from ..base.visibility import permitted_ids
from ..segments.segment_columns import COLUMNS, POOL_COLUMNS, REQUIRED_COLUMNS
from ..segments.spaces import Containers
from ..segments.specs import clean_spec

__all__ = (
    "Holder",
    "Row",
    "RowResult",
    "by_column",
    "check_rows",
    "collect",
)

# The columns have the first generation's names; the services have their own names for the same values.
COLUMN_OF_FIELD = {"vid": "vlan_id", "prefix": "segment"}

AVAILABLE = SegmentStatusChoices.AVAILABLE
HELD = SegmentStatusChoices.ALLOCATED
DISABLED = SegmentStatusChoices.DISABLED
QUARANTINED = SegmentStatusChoices.QUARANTINED

# The columns with details of a status, and the status.
STATUS_OF_COLUMN = {"disabled_reason": DISABLED, "quarantined_until": QUARANTINED}
# The columns with details of the clusters: one value for all of them, or one for each, with commas between.
HOLDER_COLUMNS = ("purpose", "allocated_at", "expires_at")


@dataclass
class RowResult:
    """
    The result of one row.

    `status` is created, updated, unchanged, failed, or skipped: the row has no errors, but an atomic import changes
    nothing if another row fails. `changes` of an update is {column: {"old": value, "new": value}}; `warnings` are
    texts.
    """

    index: int
    line: int | None = None
    status: str = "failed"
    segment: int | None = None
    errors: dict = field(default_factory=dict)
    changes: dict = field(default_factory=dict)
    warnings: list = field(default_factory=list)

    def as_json(self):
        """Return the values that are not empty as a dictionary that JSON can hold, without the index."""
        values = {name: value for name, value in vars(self).items() if value not in (None, {}, [])}
        del values["index"]
        return values


class Holder(NamedTuple):
    """
    A cluster that shall hold the segment of a row. Its name is compared by `key`. `purpose` is None if the row has no
    such column.
    """

    name: str
    purpose: str | None
    allocated_at: object
    expires_at: object
    key: str = ""


@dataclass
class Row:
    """A row on its way from the file to its segment: its cleaned values, and its result."""

    result: RowResult
    values: dict
    pool: object = None
    spec: object = None
    # The clusters that shall hold the segment, the allocations of those that do not yet, and the change of the clusters
    # if the segment exists.
    holders: list = field(default_factory=list)
    allocations: list = field(default_factory=list)
    joining: dict = field(default_factory=dict)
    # The status that the segment shall have, with its details; None leaves it as it is.
    status: dict | None = None
    writes_segment: bool = False


@operations.part("checks")
def check_rows(rows, viewer):
    """Find the pool of each row and check its values, before any lock; errors go into the row's result."""
    pools, containers, seen = {}, {}, {}
    for row in rows:
        errors = row.result.errors
        values = _clean_columns(row.values, errors)
        if values is None:
            continue
        row.values = {}
        if errors.keys().isdisjoint(("pool", *POOL_COLUMNS)):
            with collect(errors):
                row.pool = _pool(values, pools, viewer)
        optional = {"dhcp": clean_bool, "description": unify_lines, "comments": unify_lines}
        for name in optional.keys() & values.keys():
            with collect(errors, name):
                row.values[name] = optional[name](values[name])
        row.holders = _clean_holders(values, errors)
        row.status = _clean_status(values, errors, bool(row.holders))
        with collect(errors):
            row.spec = _clean_spec(row, values, containers)
        if row.spec is None:
            continue
        if "ipv6_prefix" in values:
            row.values["ipv6_prefix"] = row.spec.ipv6_prefix
        row.values |= {name: getattr(row.spec, name) for name in GATEWAYS.values() if values.get(name)}
        first = seen.get((row.pool.pk, row.spec.vid))
        if first is not None:
            text = _("VLAN ID {vid} of this pool is in row {row} already: give it once.")
            errors["vlan_id"] = [text.format(vid=row.spec.vid, row=first.result.line or first.result.index)]
        elif not errors:
            seen[row.pool.pk, row.spec.vid] = row
    _compare_holders([row for row in rows if row.holders and not row.result.errors])
    if viewer and (named := [row for row in rows if row.holders and row.pool]):
        permitted = permitted_ids(SegmentPool, viewer, "allocate", {row.pool.pk for row in named})
        for row in named:
            if row.pool.pk not in permitted:
                row.result.errors.setdefault("cluster_name", []).append(
                    _("You may not allocate in this pool: leave this empty, or ask for the permission.")
                )


@contextmanager
def collect(errors, column=None):
    """Add the ValidationError of the block to `errors`, {column: texts}; one without fields is about `column`."""
    try:
        yield
    except ValidationError as error:
        found = error.message_dict if column is None else {column: error.messages}
        for name, texts in by_column(found).items():
            # The first error of a column is kept.
            errors.setdefault(name, texts)


def _clean_columns(values, errors):
    """Return the row's values as trimmed text by column, or None if it is no row; errors go into `errors`."""
    if not isinstance(values, dict):
        errors["row"] = [_("This is no object with the columns {columns}.").format(columns=", ".join(COLUMNS))]
        return None
    if None in values:
        found, expected = len(values[None][0]), values[None][1]
        text = _("The line has {found} values, the header {expected}: put text that has the delimiter in quotes.")
        if found < expected:
            text = _(
                "The line has {found} values, the header {expected}: end it with as many delimiters as the header has, "
                "or save the sheet as XLSX."
            )
        errors["row"] = [text.format(found=found, expected=expected)]
        return None
    for name in values:
        if name not in COLUMNS:
            errors[str(name)] = [_("Unknown column: use {columns}.").format(columns=", ".join(COLUMNS))]
    cleaned = {}
    for name, value in values.items():
        with collect(errors, str(name)):
            cleaned[name] = as_text(value)
            if UNSTORABLE.search(cleaned[name]):
                raise ValidationError(_("No value may have a NUL or half a surrogate pair."))
    if type(values.get("pool")) is int:
        # A number of JSON is an id; a text may be a slug.
        cleaned["pool"] = values["pool"]
    needed = REQUIRED_COLUMNS if cleaned.get("pool") else (*POOL_COLUMNS, *REQUIRED_COLUMNS)
    for name in needed:
        if not cleaned.get(name):
            errors.setdefault(name, [_("This column needs a value.")])
    if re.fullmatch(r"[0-9]{1,4}\.00?", cleaned.get("vlan_id", "")):
        # A sheet has no whole numbers, and some programs write 100.0. Three zeros would mean a thousand to many people.
        cleaned["vlan_id"] = cleaned["vlan_id"].partition(".")[0]
    return cleaned


def _clean_spec(row, values, containers):
    """Return the SegmentSpec of a row, or raise a ValidationError with all errors; None if it has no pool."""
    names = {"vid": "vlan_id", "epg_name": "epg_name", "prefix": "segment", "ipv6_prefix": "ipv6_prefix"}
    if row.pool is not None:
        if row.pool.pk not in containers:
            containers[row.pool.pk] = Containers(row.pool)
        typed = {name: values.get(column) for name, column in names.items()}
        # An empty gateway is that of the pool's rule, and one of a segment that exists stays.
        gateways = {name: values[name] for name in GATEWAYS.values() if values.get(name)}
        return clean_spec(row.pool, containers[row.pool.pk], **typed, **row.values, **gateways)
    cleaners = {"vlan_id": clean_vid, "epg_name": clean_epg_name, "segment": clean_cidr, "ipv6_prefix": clean_cidr}
    errors = {}
    for column, clean in cleaners.items():
        if values.get(column):
            with collect(errors, column):
                clean(values[column])
    if errors:
        raise ValidationError(errors)
    return None


def _pool(values, pools, viewer):
    """Return the pool of a row; rows that name the same pool share one look-up."""
    key = tuple(values.get(name, "") for name in ("pool", *POOL_COLUMNS))
    if key not in pools:
        try:
            pools[key] = _find_pool(*key, viewer)
        except VLANManagerError as error:
            pools[key] = ValidationError({"pool" if key[0] else "site": error.message})
        except ValidationError as error:
            pools[key] = error
        else:
            # Rows of one pool share its instance, and the related objects that are read through it.
            pools[key] = next((pool for pool in pools.values() if pool == pools[key]), pools[key])
    if isinstance(pools[key], ValidationError):
        raise pools[key]
    return pools[key]


def _find_pool(name, site, vrf, viewer):
    """
    Return the pool with this name, or without a name the pool that serves `site` in `vrf`.

    Raises:
        ValidationError: The pool has another site or VRF.
        VLANManagerError: There is no such pool, or more than one.
    """
    if not name:
        return resolve_pool(site, vrf, user=viewer).pool
    pool = resolve_pool_by_name(name, user=viewer).pool
    errors = {}
    if vrf and not _is_one_of(vrf, pool.vrf_id, pool.vrf.name, pool.vrf.rd):
        errors["vrf"] = _("Pool {pool} is in VRF {vrf}: correct this, or leave it empty.").format(
            pool=pool, vrf=pool.vrf
        )
    if site and not _is_one_of(site, pool.scope_id, pool.scope.name, getattr(pool.scope, "slug", None)):
        try:
            # The site may be a place inside that of the pool.
            served = resolve_pool(site, pool.vrf_id, user=viewer).pool
        except VLANManagerError:
            served = None
        if served != pool:
            errors["site"] = _("Pool {pool} is at {place}: correct this, or leave it empty.").format(
                pool=pool, place=pool.scope
            )
    if errors:
        raise ValidationError(errors)
    return pool


def _is_one_of(text, *names):
    return text.casefold() in {str(name).casefold() for name in names if name}


def _clean_holders(values, errors):
    """Return the Holders of a row, without their keys; errors go into `errors`."""
    names = [name for text in values.get("cluster_name", "").split(",") if (name := text.strip())]
    given = {column: values[column] for column in HOLDER_COLUMNS if values.get(column)}
    if not names:
        if given:
            errors["cluster_name"] = [
                _("Name the cluster that holds the segment, or leave {columns} empty.").format(columns=", ".join(given))
            ]
        return []
    columns = {column: [""] * len(names) for column in HOLDER_COLUMNS}
    for column, text in given.items():
        texts = text.split(",")
        if len(texts) not in (1, len(names)):
            errors[column] = [
                _("There are {found} values for {count} clusters: give one for all, or one for each.").format(
                    found=len(texts), count=len(names)
                )
            ]
        else:
            columns[column] = texts * (len(names) if len(texts) == 1 else 1)
    holders = []
    for name, purpose, allocated_at, expires_at in zip(names, *columns.values(), strict=True):
        holder = {"name": name, "purpose": None, "allocated_at": None, "expires_at": None}
        with collect(errors, "cluster_name"):
            holder["name"] = clean_cluster_name(name)
        if "purpose" in values:
            with collect(errors, "purpose"):
                holder["purpose"] = clean_purpose(purpose)
        with collect(errors, "allocated_at"):
            holder["allocated_at"] = _clean_past(allocated_at)
        with collect(errors, "expires_at"):
            holder["expires_at"] = _clean_end(expires_at)
        holders.append(Holder(**holder))
    return holders


def _compare_holders(rows):
    """Give the Holders of all rows their keys, with one query, and keep each cluster and purpose of a row once."""
    keys = cluster_keys(holder.name for row in rows for holder in row.holders)
    for row in rows:
        once = {}
        for holder in row.holders:
            key = keys[holder.name]
            once.setdefault((key, holder.purpose), holder._replace(key=key))
        row.holders = list(once.values())


def _clean_past(text):
    time = clean_time(text.strip()) if text.strip() else None
    if time and time > timezone.now():
        raise ValidationError(
            _("This is in the future: give the time when the cluster got the segment, or leave it empty.")
        )
    return time


def _clean_end(text):
    time = clean_time(text.strip()) if text.strip() else None
    if time and time <= timezone.now():
        raise ValidationError(
            _("This is past, so that the cluster holds nothing: leave out the cluster, or give a later time or none.")
        )
    try:
        return clean_expiry(time)
    except ValidationError as error:
        raise ValidationError(error.messages) from None


def _clean_status(values, errors, has_holders):
    """Return the status of a row with its details (see Row), or None; errors go into `errors`."""
    status = values.get("status", "").lower()
    if status and status not in SegmentStatusChoices.values():
        errors["status"] = [
            _("{value!r} is no status: use one of {choices}.").format(
                value=status[:60], choices=", ".join(SegmentStatusChoices.values())
            )
        ]
        return None
    for column, of_status in STATUS_OF_COLUMN.items():
        if values.get(column) and status != of_status:
            errors[column] = [
                _("Only segments with the status {status} have this value: correct one of the two.").format(
                    status=of_status
                )
            ]
    if has_holders and status not in ("", HELD):
        errors["status"] = [
            _("The row names a cluster, which makes it allocated: leave one of the two empty, or correct it.")
        ]
    if not status:
        return None
    said = {"status": status}
    if status == DISABLED and "disabled_reason" in values:
        with collect(errors, "disabled_reason"):
            reason = unify_lines(values["disabled_reason"])
            said["disabled_reason"] = Segment._meta.get_field("disabled_reason").clean(reason, None)
    if status == QUARANTINED:
        with collect(errors, "quarantined_until"):
            if not values.get("quarantined_until"):
                raise ValidationError(_("Give the time when the cool-down ends, such as 2026-01-31T12:00:00Z."))
            until = clean_time(values["quarantined_until"])
            # A cool-down that is over makes the segment available, as it does by itself.
            is_over = until <= timezone.now()
            said = {"status": AVAILABLE} if is_over else {"status": QUARANTINED, "quarantined_until": until}
    return said


def by_column(errors):
    """Return {column: texts} from {field: texts or text}."""
    return {
        COLUMN_OF_FIELD.get(name, name): [texts] if isinstance(texts, str) else [str(text) for text in texts]
        for name, texts in errors.items()
    }
