"""
Reports every operation to the log and to Prometheus.

    >>> with operations.track("allocate", pool=pool) as operation:
    ...     with operations.part("locks"):
    ...         ...
    ...     operation.outcome = "created"

An operation is one line in the log `netbox_vlan_manager.operations` once it is committed. An operation that failed, was
rolled back by the caller or was a dry run is not logged there. An operation that takes longer than the setting
`slow_operation_threshold` is a line in `netbox_vlan_manager.slow`, with the time of its parts, committed or not.

The overhead is two clock reads for each part.
"""

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

from django.core.exceptions import ValidationError

from ... import metrics
from ...exceptions import VLANManagerError
from ...logs import as_text, get_request_id
from ...settings import get_setting

__all__ = (
    "note",
    "part",
    "track",
)

logger = logging.getLogger("netbox_vlan_manager.slow")
operations_logger = logging.getLogger("netbox_vlan_manager.operations")

# The most characters of a value in a line.
VALUE_LENGTH = 100

_current = ContextVar("netbox_vlan_manager_operation", default=None)


class _Operation:
    """An operation that is under way: its outcome, and the seconds of its parts. Each moment belongs to one part."""

    def __init__(self, about):
        self.about = about
        self.outcome = "done"
        self.parts = {}
        self.part = "other"
        self.since = perf_counter()

    @property
    def seconds(self):
        return sum(self.parts.values())

    def switch(self, part):
        """Count the time from here on as `part`, and return the part before."""
        now = perf_counter()
        self.parts[self.part] = self.parts.get(self.part, 0) + now - self.since
        previous, self.part, self.since = self.part, part, now
        return previous


@contextmanager
def track(name, *, dry_run=False, level=logging.INFO, **about):
    """
    Time the block, and report it as an operation. Yields an object whose `outcome` the block may set. If the block
    raises an error, the outcome is the error's code.

    An operation inside another is a part of that one: both are one line.

    Args:
        name: The name in the log and in the metrics.
        dry_run: Whether the block is rolled back.
        level: The level of the line in the log.
        about: The objects and the user, which the line has as text; None is left out.
    """
    if (around := _current.get()) is not None:
        with part(name):
            yield around
        return
    timed = _Operation(about)
    token = _current.set(timed)
    shown = f"{name}, dry run" if dry_run else name
    try:
        try:
            yield timed
        finally:
            _current.reset(token)
            timed.switch(None)
    except BaseException as error:
        timed.outcome = _code(error)
        _log_if_slow(shown, timed)
        metrics.observe_failure(name.replace(" ", "_"), error, timed.seconds, dry_run)
        raise
    _log_if_slow(shown, timed)
    metrics.observe(name.replace(" ", "_"), "dry_run" if dry_run else timed.outcome, timed.seconds)
    if not dry_run and operations_logger.isEnabledFor(level):
        _log(level, name, timed)


@contextmanager
def part(name):
    """Count the time of the block, but for parts inside it, as `name` of the operation that is under way, if any."""
    timed = _current.get()
    if timed is None:
        yield
        return
    around = timed.switch(name)
    try:
        yield
    finally:
        timed.switch(around)


def note(**about):
    """Add values to the line of the operation that is under way, if any; those that it has stay."""
    if (timed := _current.get()) is not None:
        timed.about |= {key: value for key, value in about.items() if timed.about.get(key) is None}


def _code(error):
    if isinstance(error, VLANManagerError):
        return error.code
    return "invalid" if isinstance(error, ValidationError) else type(error).__name__


def _request_id(timed):
    """Return the request id of the operation's changes in the change log, or None."""
    return get_request_id() or timed.about.get("request")


def _log(level, name, timed):
    """Log the operation once it is committed."""
    about = timed.about | {"request": _request_id(timed)}
    fields = {
        "operation": name.replace(" ", "_"),
        "outcome": timed.outcome,
        **{key: str(value)[:VALUE_LENGTH] for key, value in about.items() if value is not None},
        "ms": round(timed.seconds * 1000, 1),
    }
    metrics.after_commit(lambda: operations_logger.log(level, "%s", as_text(fields), extra={"fields": fields}))


def _log_if_slow(name, timed):
    total = timed.seconds * 1000
    threshold = get_setting("slow_operation_threshold")
    if not threshold or total <= threshold:
        return
    slowest_first = sorted(timed.parts.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{part} {seconds * 1000:.1f}" for part, seconds in slowest_first)
    # As repr: a line end in a name must not begin a new line.
    about = timed.about | {"request": _request_id(timed)}
    values = "".join(f", {key}={str(value)[:VALUE_LENGTH]!r}" for key, value in about.items() if value is not None)
    logger.warning("Slow %s: %s after %.1f ms (%s)%s", name, timed.outcome, total, parts, values)
