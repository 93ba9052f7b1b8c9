"""
Repairs drift.

NetBox is the truth for VLAN IDs and prefixes where these are valid; allocations are the truth for statuses. A repair
writes the values that the check found and no others. Findings that only a person can decide stay as they are.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial

from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils.translation import gettext as _

from ipam.models import VLAN, Prefix
from ipam.signals import handle_prefix_saved
from utilities.exceptions import AbortRequest

from ...exceptions import VLANManagerError
from ...models import Allocation, Segment, SegmentPool
from ..base import audit, operations, transactions
from .findings import KINDS, Drift, find_drift
from .reports import changeable_pools, report_drift

__all__ = (
    "FAILED",
    "REPAIRED",
    "SKIPPED",
    "STATUSES",
    "WOULD_REPAIR",
    "RepairResult",
    "clean_items",
    "repair_drift",
)

REPAIRED, WOULD_REPAIR, SKIPPED, FAILED = STATUSES = ("repaired", "would_repair", "skipped", "failed")

# The order in which the rows of a repair are locked, after the segments.
LOCKED_MODELS = (VLAN, Prefix, Allocation, SegmentPool)


@dataclass(frozen=True)
class RepairResult:
    """The result for one finding: one of STATUSES, and in words what was done or why nothing was done."""

    item: str
    status: str
    message: str


def repair_drift(items=None, *, user, enforce=True, dry_run=False, changelog_message="", report=None):
    """
    Repair findings of the report, or say what a repair would do. A finding that is already resolved is left alone.

    Each repair is a transaction of its own: it locks the VRFs and the VLAN group of the pool, the cluster of an
    allocation, and the rows that it writes, and checks again before it writes. A dry run does the same and rolls it
    back. Repairing all goes on as long as one repair makes another possible.

    Args:
        items: Names of findings (`Drift.item`); None for all.
        user: The User, or the user name, for the change log; None for the system.
        enforce: Hold the user to their object permissions: to view what is repaired, and to change its pool. Commands,
            whose users have the database anyway, do not.
        dry_run: Change nothing.
        changelog_message: The reason, for the change log.
        report: Called before each repair with the number of repairs that are done and of all that are known.

    Returns:
        A list of RepairResult, one for each item, in the order given.

    Raises:
        ValidationError: An item is no name of a finding, or there are none.
    """
    user = audit.get_user(user)
    viewer = user if enforce else None
    if items is not None:
        items = clean_items(items)
    count = "all" if items is None else len(items)
    with operations.track("repair", dry_run=dry_run, items=count, user=user), audit.change_tracking(user):
        repair = partial(_repair, dry_run=dry_run, changelog_message=changelog_message)
        return _repair_items(items, viewer, repair, report or (lambda done, known: None))


def _repair_items(items, viewer, repair, report):
    """
    Return a list of RepairResult.

    Args:
        items: Names of findings; None for all, also those that a repair makes possible.
        viewer: The User whose permissions decide; None may do everything.
        repair: `_repair` with the arguments that are the same for all items.
        report: See `repair_drift`.
    """
    found = {drift.item: drift for drift in report_drift(viewer).findings}
    results = {}
    wanted = list(found) if items is None else items
    while wanted:
        permitted = changeable_pools(found.values(), viewer)
        done = [item for item in results if item not in wanted]
        for number, item in enumerate(wanted, start=len(done)):
            report(number, len(done) + len(wanted))
            results[item] = repair(item, found.get(item), permitted)
        if items is not None or not any(results[item].status == REPAIRED for item in wanted):
            break
        found = {drift.item: drift for drift in report_drift(viewer).findings}
        left = {item: drift for item, drift in found.items() if _is_open(results.get(item))}
        wanted = list(left) if any(drift.repair for drift in left.values()) else []
    return list(results.values())


def _is_open(result):
    return result is None or result.status != REPAIRED


def clean_items(items):
    """
    Return names of findings (`Drift.item`), each once.

    Raises:
        ValidationError: An item is no name of a finding, or there are none.
    """
    unknown = [item for item in items if not _is_item(item)]
    if unknown:
        text = _("{item!r} is no finding: name those that the report of drift lists, such as {example}.")
        example = "prefix_status:netbox_vlan_manager.segment:1"
        raise ValidationError({"items": [text.format(item=str(item)[:100], example=example) for item in unknown[:10]]})
    if not items:
        raise ValidationError({"items": _("There are no items: name at least one finding.")})
    return list(dict.fromkeys(items))


def _is_item(item):
    kind, *rest = item.split(":") if isinstance(item, str) else [""]
    return kind in KINDS and len(rest) == 2 and rest[1].isdecimal()


def _repair(item, drift, permitted, dry_run, changelog_message):
    """Return the RepairResult of an item; `drift` is None if the report has no finding of that name."""
    if drift is None:
        return RepairResult(item, SKIPPED, _("Already resolved."))
    if drift.pool.pk not in permitted:
        text = _("You may not change pool {pool}: ask for the permission.")
        return RepairResult(item, FAILED, text.format(pool=drift.pool))
    if not drift.repair:
        return RepairResult(item, SKIPPED, drift.advice)
    try:
        result = transactions.run(partial(_repair_locked, drift, changelog_message), dry_run)
    except (ValidationError, AbortRequest, VLANManagerError) as error:
        messages = error.messages if isinstance(error, ValidationError) else [str(error.message)]
        return RepairResult(item, FAILED, " ".join(messages))
    except IntegrityError:
        text = _("Another object prevents the repair: {repair}")
        return RepairResult(item, FAILED, text.format(repair=drift.repair))
    return replace(result, status=WOULD_REPAIR) if dry_run and result.status == REPAIRED else result


def _repair_locked(drift, changelog_message):
    """Take the locks, check again, write, and return the RepairResult; the caller's transaction holds the locks."""
    _lock(drift)
    # Since the report, others may have repaired or changed it.
    now: Drift | None = next(
        (found for found in find_drift(drift.kind, drift.object.pk) if found.item == drift.item), None
    )
    if now is None:
        return RepairResult(drift.item, SKIPPED, _("Already resolved."))
    if not now.repair:
        return RepairResult(drift.item, SKIPPED, now.advice)
    for instance, _values in now.changes:
        instance._changelog_message = changelog_message
    audit.write(updates=now.changes)
    if now.write:
        now.object._changelog_message = changelog_message
        now.write()
    for instance, values in now.changes:
        if isinstance(instance, Prefix) and "vrf" in values:
            # Updates the cached depths of the prefixes around it in both VRFs.
            handle_prefix_saved(instance, created=False)
    return RepairResult(drift.item, REPAIRED, now.repair)


def _lock(drift):
    """Take the locks that the repair needs, in the order that all operations keep."""
    rows = defaultdict(set)
    for instance, _values in drift.changes:
        rows[type(instance)].add(instance.pk)
    pools = [drift.pool]
    segment = None
    if isinstance(drift.object, Segment):
        segment = drift.object.pk
    elif isinstance(drift.object, Allocation):
        allocation = drift.object
        segment = allocation.segment_id
        pools.append(allocation.segment.pool)
        transactions.lock_clusters((pool.vrf_id, allocation.cluster_name, allocation.purpose) for pool in pools)
    vrfs = {prefix.vrf_id for prefix, _values in drift.changes if isinstance(prefix, Prefix) and prefix.vrf_id}
    transactions.lock_spaces(vrfs.union(pool.vrf_id for pool in pools), [pool.vlan_group_id for pool in pools])
    _lock_rows(Segment, {segment} | rows[Segment])
    for model in LOCKED_MODELS:
        _lock_rows(model, rows[model])


def _lock_rows(model, pks):
    if pks := {pk for pk in pks if pk}:
        list(model.objects.select_for_update(no_key=True, of=("self",)).filter(pk__in=pks).order_by("pk").values("pk"))
