"""
Transactions, locks and retries of the services, and nothing about segments.

All locks belong to the transaction. Locks of a session exclude nobody behind PgBouncer in transaction pooling, and
leases are unsafe once they run out. The order of locks is the same everywhere: an idempotency key, cluster keys
sorted, then spaces (VRFs, then VLAN groups, each by id, then the keys of NetBox's endpoints), then segments by (pool,
vid). Every function here expects READ COMMITTED.
"""

import copy
import hashlib
import logging
import random
import time
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import batched

from django.db import DatabaseError, IntegrityError, connection, transaction

from core.signals import _signals_received
from netbox.constants import ADVISORY_LOCK_KEYS
from netbox.context import events_queue

from ... import branching, metrics
from ...exceptions import Busy
from ...settings import get_setting
from . import operations

__all__ = (
    "events_savepoint",
    "lock_clusters",
    "lock_idempotency_key",
    "lock_spaces",
    "run",
    "set_lock_timeout",
    "sqlstate",
)

logger = logging.getLogger("netbox_vlan_manager.transactions")

DEADLOCK_DETECTED = "40P01"
SERIALIZATION_FAILURE = "40001"
LOCK_NOT_AVAILABLE = "55P03"
UNIQUE_VIOLATION = "23505"
RETRYABLE = frozenset((DEADLOCK_DETECTED, SERIALIZATION_FAILURE, LOCK_NOT_AVAILABLE, UNIQUE_VIOLATION))
RETRIES = 3
# The most functions that one SELECT calls; PostgreSQL takes up to 1,664 columns.
CALLS_MAX = 1000
# Seconds, on an average.
LONGEST_PAUSE = 1

# Whether this is inside a call of `run`.
_is_running = ContextVar("netbox_vlan_manager_running", default=False)

# Whether this is inside a dry run.
_is_dry_run = ContextVar("netbox_vlan_manager_dry_run", default=False)

# Classes of PostgreSQL's two-key advisory locks; clusters take the one-key form, a number space of its own.
VRF_SPACE = 0x564C5652
VLAN_GROUP_SPACE = 0x564C5647
IDEMPOTENCY_SPACE = 0x564C4944


class _DryRun(Exception):
    """Rolls back a dry run; has its result."""

    def __init__(self, result):
        self.result = result


def sqlstate(error):
    """Return the SQLSTATE behind a Django database error, or None."""
    return getattr(error.__cause__, "sqlstate", None)


def run(work, dry_run=False):
    """
    Call `work` in a transaction, or in a savepoint of the caller's, and return what it returns. A dry run is then
    undone, its events included.

    After a deadlock, a serialisation failure, a lock timeout, or a row that another transaction wrote first, the call
    is tried again up to three times after a random pause. A failed try leaves nothing behind, its events included.
    Inside another call of `run`, the outer call is tried again after a failed lock: only its end releases the locks
    that others wait for.

    Raises:
        BranchActive: A branch of netbox-branching is active.
        Busy: The last try failed as well, because of a lock.
        IntegrityError: The last try failed as well, because of a row that exists.
    """
    branching.refuse()
    if dry_run:
        return _run_dry(work)
    is_inner = _is_running.get()
    for attempt in range(RETRIES + 1):
        started = time.monotonic()
        token = _is_running.set(True)
        try:
            # The remaining time is COMMIT and its on_commit hooks.
            with events_savepoint(), operations.part("commit"), transaction.atomic(), operations.part("work"):
                return work()
        except Busy as error:
            # A Busy without a cause was not raised by a lock: it is not tried again.
            if is_inner or attempt == RETRIES or error.__cause__ is None:
                raise
            state = sqlstate(error.__cause__)
        except DatabaseError as error:
            state = sqlstate(error)
            if state not in RETRYABLE:
                raise
            if isinstance(error, IntegrityError):
                if attempt == RETRIES:
                    raise
            elif is_inner or attempt == RETRIES:
                raise Busy from error
        finally:
            _is_running.reset(token)
        logger.info("Trying again after SQLSTATE %s (try %d)", state, attempt + 1)
        metrics.count_retry(state)
        _pause(attempt, time.monotonic() - started)


@operations.part("pause")
def _pause(attempt, took):
    """Wait about as long as a try took, in seconds: a retry at once would meet the deadlock's winner at work."""
    time.sleep(random.uniform(0.5, 1.5) * max(min(took, LONGEST_PAUSE), 0.02 * 2**attempt))


def _run_dry(work):
    def undo():
        raise _DryRun(work())

    token = _is_dry_run.set(True)
    try:
        run(undo)
    except _DryRun as outcome:
        return outcome.result
    finally:
        _is_dry_run.reset(token)


@contextmanager
def events_savepoint():
    """
    Restore NetBox's event queue, and its note of what the request has deleted, if the block fails.

    NetBox's own `discard_events_on_rollback` empties the whole queue, and with it the earlier events of the request.
    NetBox does not log a deletion that the note has.
    """
    before = {key: copy.copy(event) for key, event in events_queue.get().items()}
    deleted = set(getattr(_signals_received, "pre_delete", ()))
    try:
        yield
    except BaseException:
        events_queue.set(before)
        _signals_received.pre_delete = deleted
        raise


def set_lock_timeout(milliseconds):
    """Set the longest wait for each further lock of the transaction, in milliseconds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{milliseconds}ms"])


@operations.part("locks")
def lock_clusters(keys):
    """
    Keep other transactions from allocating or releasing for the same clusters until this one ends.

    It is a statement of its own: only statements after it see what the last holder of the lock wrote.

    Args:
        keys: (VRF id, cluster name, purpose) tuples; names are compared without case. The keys of limits have the
            pool's id.
    """
    numbers = sorted({_cluster_number(*key) for key in keys})
    timeout = f"{get_setting('lock_timeout')}ms"
    with connection.cursor() as cursor:
        for number in numbers:
            cursor.execute("SELECT set_config('lock_timeout', %s, true), pg_advisory_xact_lock(%s)", [timeout, number])


def lock_idempotency_key(user_id, key):
    """
    Keep other calls of the user with the same Idempotency-Key waiting until this transaction ends.

    It is taken before any other lock. Two keys that share a number run one at a time.
    """
    set_lock_timeout(get_setting("lock_timeout"))
    digest = hashlib.blake2b(f"{user_id}\0{key}".encode(), digest_size=4).digest()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [IDEMPOTENCY_SPACE, int.from_bytes(digest, signed=True)])


@operations.part("locks")
def lock_spaces(vrf_ids=(), vlan_group_ids=(), exclude_netbox=True):
    """
    Keep other transactions from making or moving segments in these VRFs and VLAN groups until this one ends.

    Overlap and free VLAN IDs are checked against the existing rows, so transactions that add to one space run one at a
    time.

    NetBox's own endpoints `available-prefixes` and `available-vlans` run one at a time by one key each, for all VRFs
    and all groups. Services share that key, so that they wait for NetBox's endpoints and not for each other. It comes
    last, so that no transaction holds it while it waits for a space. A dry run leaves nothing behind that NetBox could
    hand out as well, and does not take it. The key of NetBox's IP addresses is not taken either: these do not depend on
    prefixes.

    Args:
        vrf_ids, vlan_group_ids: Ids.
        exclude_netbox: Whether prefixes or VLANs may be made or moved. False where rows that NetBox's endpoints write
            are locked before, since their transactions wait for rows with the key held.
    """
    locks = [("set_config('lock_timeout', %s, true)", [f"{get_setting('lock_timeout')}ms"])]
    for space, ids in ((VRF_SPACE, vrf_ids), (VLAN_GROUP_SPACE, vlan_group_ids)):
        # The two-key form takes 32-bit keys. Two ids that share one run one at a time.
        locks += [("pg_advisory_xact_lock(%s, %s)", [space, pk % 2**31]) for pk in sorted(set(ids))]
    if exclude_netbox and not _is_dry_run.get():
        for name, ids in (("available-prefixes", vrf_ids), ("available-vlans", vlan_group_ids)):
            if ids:
                locks.append(("pg_advisory_xact_lock_shared(%s)", [ADVISORY_LOCK_KEYS[name]]))
    with connection.cursor() as cursor:
        # A statement makes its calls in their order.
        for batch in batched(locks, CALLS_MAX):
            values = [value for _call, values in batch for value in values]
            cursor.execute(f"SELECT {', '.join(call for call, _values in batch)}", values)


def _cluster_number(number, cluster_name, purpose):
    """Return the 64-bit key of a cluster's advisory lock."""
    # Names that are equal by the database's UPPER() have one key, in any locale.
    key = f"{number}\0{cluster_name.upper().casefold()}\0{purpose}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), signed=True)
