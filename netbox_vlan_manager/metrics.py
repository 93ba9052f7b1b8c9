"""
Counters and latencies for Prometheus, which NetBox shows under /metrics where METRICS_ENABLED is on.

An operation that is rolled back is not counted: a number waits for the commit of the current transaction. Failures,
exhausted pools and retries are counted at once: they happened, even if the transaction is rolled back.
`services/reporting/gauges` has the numbers that come from the database.
"""

import logging
from functools import partial

from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from prometheus_client import Counter, Histogram

from .exceptions import PoolExhausted, VLANManagerError
from .settings import get_setting

__all__ = (
    "after_commit",
    "count_allocations",
    "count_idempotent_replay",
    "count_release",
    "count_retry",
    "observe",
    "observe_failure",
    "pool_label",
)

logger = logging.getLogger("netbox_vlan_manager.metrics")

# The label of all pools together.
ALL_POOLS = "all"

# The labels of operations that succeed. The label of other outcomes is "done".
OUTCOMES = frozenset(("allocated", "created", "done", "dry_run", "held", "released", "replayed"))

REASONS = {
    "23505": "unique_violation",
    "40001": "serialization_failure",
    "40P01": "deadlock",
    "55P03": "lock_timeout",
}

ALLOCATIONS = Counter(
    "netbox_vlan_manager_allocations",
    "Answers to clusters that asked for a segment: allocated, or held if they held it already",
    ["pool", "outcome"],
)
RELEASES = Counter(
    "netbox_vlan_manager_releases",
    "Allocations that ended, by the reason",
    ["pool", "outcome"],
)
EXHAUSTIONS = Counter(
    "netbox_vlan_manager_exhaustions",
    "Allocations that were refused because the pool had no segment left",
    ["pool"],
)
RETRIES = Counter(
    "netbox_vlan_manager_retries",
    "Transactions that were tried again, by the reason",
    ["reason"],
)
IDEMPOTENT_REPLAYS = Counter(
    "netbox_vlan_manager_idempotent_replays",
    "REST calls that were answered with the answer stored for their Idempotency-Key",
)
OPERATION_SECONDS = Histogram(
    "netbox_vlan_manager_operation_seconds",
    "Time of operations, by their outcome: what they did, or the code of the error",
    ["operation", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)


def pool_label(pool):
    """Return the label of `pool`: its slug, if the setting `metrics_per_pool` lets everybody see it."""
    return pool.slug if get_setting("metrics_per_pool") else ALL_POOLS


def after_commit(tell):
    """
    Call `tell` after the commit of the current transaction, never if it rolls back, and at once if there is none.

    An error of `tell` is logged and goes no further: the work that it reports is done.
    """
    if transaction.get_connection().in_atomic_block:
        transaction.on_commit(partial(_call, tell))
    else:
        _call(tell)


def _call(tell):
    try:
        tell()
    except Exception:
        logger.exception("A metric could not be updated")


def count_allocations(results):
    """Count AllocationResults, whose allocations have their pools loaded."""
    if settings.METRICS_ENABLED:
        labels = [(pool_label(result.allocation.pool), result.outcome) for result in results]
        after_commit(partial(_count_all, ALLOCATIONS, labels))


def _count_all(counter, labels):
    for values in labels:
        counter.labels(*values).inc()


def count_release(pool, reason):
    """Count an allocation of `pool` that ended; `reason` is one of ReleaseReasonChoices."""
    if settings.METRICS_ENABLED:
        label = pool_label(pool)
        after_commit(lambda: RELEASES.labels(label, reason).inc())


def count_retry(state):
    """Count a transaction that is tried again after the SQLSTATE `state`."""
    if settings.METRICS_ENABLED:
        _call(lambda: RETRIES.labels(REASONS.get(state, "other")).inc())


def count_idempotent_replay():
    """Count a stored answer that was given again."""
    if settings.METRICS_ENABLED:
        after_commit(IDEMPOTENT_REPLAYS.inc)


def observe(operation, outcome, seconds):
    """Observe the seconds of an operation that succeeded."""
    if settings.METRICS_ENABLED:
        label = outcome if outcome in OUTCOMES else "done"
        after_commit(lambda: OPERATION_SECONDS.labels(operation, label).observe(seconds))


def observe_failure(operation, error, seconds, dry_run=False):
    """Observe the seconds of an operation that failed, and count the pool if it is exhausted."""
    if not settings.METRICS_ENABLED:
        return
    _call(lambda: OPERATION_SECONDS.labels(operation, _outcome_of(error)).observe(seconds))
    if isinstance(error, PoolExhausted) and not dry_run:
        _call(lambda: EXHAUSTIONS.labels(pool_label(error.pool)).inc())


def _outcome_of(error):
    if isinstance(error, VLANManagerError):
        return error.code
    if isinstance(error, ValidationError):
        return "invalid"
    return "permission_denied" if isinstance(error, PermissionDenied) else "error"
