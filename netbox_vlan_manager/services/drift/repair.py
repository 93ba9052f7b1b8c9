"""
Reports what no longer fits to those who may see it, and repairs it.

NetBox is the truth for VLAN IDs and prefixes where these are valid; allocations are the truth for statuses. A repair
writes what the check has found, no more, and leaves to people what only they can decide.
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

from ...choices import DriftSeverityChoices
from ...events import DRIFT_FOUND
from ...exceptions import VLANManagerError
from ...models import Allocation, Segment, SegmentPool
from ..base import audit, operations, transactions
from ..base.visibility import permitted_ids
from .consistency import KINDS, Drift, find_drift

__all__ = (
    "FAILED",
    "REPAIRED",
    "SKIPPED",
    "STATUSES",
    "WOULD_REPAIR",
    "DriftReport",
    "RepairResult",
    "announce_drift",
    "changeable_pools",
    "clean_items",
    "filter_drift",
    "repair_drift",
    "report_drift",
)

REPAIRED, WOULD_REPAIR, SKIPPED, FAILED = STATUSES = ("repaired", "would_repair", "skipped", "failed")

# The order in which the rows of a repair are locked, segments being first.
LOCKED_MODELS = (VLAN, Prefix, Allocation, SegmentPool)


@dataclass(frozen=True)
class DriftReport:
    """What was found, by pool, and how much more is about objects that the user may not view."""

    findings: list
    hidden: int = 0


@dataclass(frozen=True)
class RepairResult:
    """What became of one finding: one of STATUSES, and in words what was done, or why nothing was."""

    item: str
    status: str
    message: str


def report_drift(user=None):
    """
    Return a DriftReport of all that no longer fits in pools that `user` may view; None may view all. Locks nothing.
    """
    drifts = find_drift()
    hidden = 0
    if user is None or user.is_superuser:
        others = {drift.other[0] for drift in drifts if drift.other}
    else:
        pools = permitted_ids(SegmentPool, user, "view", {drift.pool.pk for drift in drifts})
        drifts = [drift for drift in drifts if drift.pool.pk in pools]
        by_model = defaultdict(set)
        for drift in drifts:
            by_model[type(drift.object)].add(drift.object.pk)
        visible = {model: permitted_ids(model, user, "view", pks) for model, pks in by_model.items()}
        others = permitted_ids(Prefix, user, "view", {drift.other[0] for drift in drifts if drift.other})
        hidden = len(drifts)
        drifts = [drift for drift in drifts if drift.object.pk in visible[type(drift.object)]]
        hidden -= len(drifts)
    drifts = [_name_other(drift) if drift.other and drift.other[0] in others else drift for drift in drifts]
    # Sorting keeps the order of the kinds within a pool and severity.
    severities = DriftSeverityChoices.values()
    return DriftReport(sorted(drifts, key=lambda drift: (drift.pool.name, severities.index(drift.severity))), hidden)


def _name_other(drift):
    return replace(drift, message=f"{drift.message}: {drift.other[1]}")


def filter_drift(drifts, *, kind=(), severity=(), pool_id=(), repairable=None):
    """
    Return those of `drifts` that are of one of the kinds and severities and of one of the pools; empty ones ask for
    nothing.
    """
    return [
        drift
        for drift in drifts
        if (not kind or drift.kind in kind)
        and (not severity or drift.severity in severity)
        and (not pool_id or drift.pool.pk in pool_id)
        and repairable in (None, bool(drift.repair))
    ]


def changeable_pools(drifts, user):
    """Return the ids of those pools of `drifts` in which `user` may repair; None may everywhere."""
    pks = {drift.pool.pk for drift in drifts}
    return pks if user is None else permitted_ids(SegmentPool, user, "change", pks)


def repair_drift(items=None, *, user, enforce=True, dry_run=False, changelog_message="", report=None):
    """
    Repair what was reported, or say what that would do; what is already resolved is left alone.

    Each repair is a transaction of its own: it locks the VRFs and the VLAN group of the pool, the cluster of an
    allocation, and the rows that it writes, and looks again before it writes. So does a dry run, which rolls back.
    Repairing all goes on as long as one repair makes another possible.

    Args:
        items: Names of findings (`Drift.item`); None for all.
        user: The User, or the user name, whom the change log names; None for the system.
        enforce: Hold the user to their object permissions: to view what is repaired, and to change its pool. Commands,
            whose users have the database anyway, do not.
        dry_run: Change nothing.
        changelog_message: Why, for the change log.
        report: Called before each repair with how many are done, and how many there are as far as is known.

    Returns:
        A list of RepairResult, one for each item, in the order given.

    Raises:
        ValidationError: An item is no name of a finding, or there are none.
    """
    user = audit.get_user(user)
    viewer = user if enforce else None
    is_all = items is None
    if not is_all:
        items = clean_items(items)
    about = {"items": "all" if is_all else len(items), "user": user}
    with operations.track("repair", dry_run=dry_run, **about):
        found = {drift.item: drift for drift in report_drift(viewer).findings}
        results = {}
        wanted = list(found) if is_all else items
        with audit.change_tracking(user):
            while wanted:
                permitted = changeable_pools(found.values(), viewer)
                done = [item for item in results if item not in wanted]
                for number, item in enumerate(wanted, start=len(done)):
                    if report:
                        report(number, len(done) + len(wanted))
                    results[item] = _repair(item, found.get(item), permitted, dry_run, changelog_message)
                if not is_all or not any(results[item].status == REPAIRED for item in wanted):
                    break
                found = {drift.item: drift for drift in report_drift(viewer).findings}
                left = {item: drift for item, drift in found.items() if _is_open(results.get(item))}
                wanted = list(left) if any(drift.repair for drift in left.values()) else []
    return list(results.values())


def _is_open(result):
    return result is None or result.status != REPAIRED


def clean_items(items):
    """
    Return names of findings (`Drift.item`) without those given twice.

    Raises:
        ValidationError: One is no name of a finding, or there are none.
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
    """Return the RepairResult of an item; `drift` is None where the report has none of that name."""
    if drift is None:
        return RepairResult(item, SKIPPED, _("Already resolved."))
    if drift.pool.pk not in permitted:
        text = _("You may not change pool {pool}: ask for the permission.")
        return RepairResult(item, FAILED, text.format(pool=drift.pool))
    if not drift.repair:
        return RepairResult(item, SKIPPED, drift.advice)
    try:
        result = transactions.run(partial(_repair_in_transaction, drift, changelog_message), dry_run)
    except (ValidationError, AbortRequest, VLANManagerError) as error:
        messages = error.messages if isinstance(error, ValidationError) else [str(error.message)]
        return RepairResult(item, FAILED, " ".join(messages))
    except IntegrityError:
        text = _("Something else stands in the way of what the repair would write: {repair}")
        return RepairResult(item, FAILED, text.format(repair=drift.repair))
    return replace(result, status=WOULD_REPAIR) if dry_run and result.status == REPAIRED else result


def _repair_in_transaction(drift, changelog_message):
    _lock(drift)
    # Under the locks: it may have been repaired, deleted or made worse since the report.
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
    for instance, values in now.changes:
        if isinstance(instance, Prefix) and "vrf" in values:
            # The depths that NetBox caches, of the prefixes around it in both VRFs.
            handle_prefix_saved(instance, created=False)
    return RepairResult(drift.item, REPAIRED, now.repair)


def _lock(drift):
    """Take the locks that the repair needs, in the order that all keep to."""
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


def announce_drift(told):
    """
    Tell of the pools in which there is drift that has not been told of yet; what is merely worth knowing is not told.

    Args:
        told: {pool id: names of findings} of what the last call found, as it returned it.

    Returns:
        {pool id, as text: names of findings} of what there is now.
    """
    found, pools = defaultdict(list), {}
    for drift in find_drift():
        if drift.severity != DriftSeverityChoices.INFO:
            found[str(drift.pool.pk)].append(drift.item)
            pools[str(drift.pool.pk)] = drift.pool
    news = [pools[pk] for pk, items in found.items() if not set(items) <= set(told.get(pk, ()))]
    with audit.change_tracking(None):
        audit.announce([(pool, DRIFT_FOUND) for pool in news])
    return dict(found)
