"""
Reports drift to the users who may view it, and announces new drift.
"""

from collections import defaultdict
from dataclasses import dataclass, replace

from ipam.models import Prefix

from ...choices import DriftSeverityChoices
from ...events import DRIFT_FOUND
from ...models import SegmentPool
from ..base import audit
from ..base.visibility import permitted_ids
from .findings import find_drift

__all__ = (
    "DriftReport",
    "announce_drift",
    "changeable_pools",
    "filter_drift",
    "report_drift",
)


@dataclass(frozen=True)
class DriftReport:
    """The findings, by pool, and the number of findings about objects that the user may not view."""

    findings: list
    hidden: int = 0


def report_drift(user=None):
    """Return the DriftReport of the pools that `user` may view; None may view all. Locks nothing."""
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
    """Return those of `drifts` that have one of the kinds, severities and pools; an empty filter matches all."""
    return [
        drift
        for drift in drifts
        if (not kind or drift.kind in kind)
        and (not severity or drift.severity in severity)
        and (not pool_id or drift.pool.pk in pool_id)
        and repairable in (None, bool(drift.repair))
    ]


def changeable_pools(drifts, user):
    """Return the ids of those pools of `drifts` in which `user` may repair; None may in all."""
    pks = {drift.pool.pk for drift in drifts}
    return pks if user is None else permitted_ids(SegmentPool, user, "change", pks)


def announce_drift(announced):
    """
    Send the event `vlan_manager_drift_found` for each pool with new drift. The severity info is not announced.

    Args:
        announced: {pool id, as text: names of findings}, which the last call returned.

    Returns:
        {pool id, as text: names of findings} of the drift that there is now.
    """
    found, pools = defaultdict(list), {}
    for drift in find_drift():
        if drift.severity != DriftSeverityChoices.INFO:
            found[str(drift.pool.pk)].append(drift.item)
            pools[str(drift.pool.pk)] = drift.pool
    news = [pools[pk] for pk, items in found.items() if not set(items) <= set(announced.get(pk, ()))]
    with audit.change_tracking(None):
        audit.announce([(pool, DRIFT_FOUND) for pool in news])
    return dict(found)
