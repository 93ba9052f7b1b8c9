"""
Logs each operation that takes longer than the setting `slow_operation_threshold`, with the time of its parts.

    >>> with timing.operation("allocate", pool=pool) as operation:
    ...     with timing.part("locks"):
    ...         ...
    ...     operation.outcome = "created"

What is fast costs a look at the clock for each part's begin and end. A line tells what took long, not that anything was
committed: the caller's own transaction may still be rolled back.
"""

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

from django.core.exceptions import ValidationError

from netbox.context import current_request

from ..exceptions import VLANManagerError
from ..settings import get_setting

__all__ = (
    "operation",
    "part",
)

logger = logging.getLogger("netbox_vlan_manager.slow")

# How much of a value a line shows.
VALUE_LENGTH = 100

_current = ContextVar("netbox_vlan_manager_operation", default=None)


class _Operation:
    """What is known of an operation: every moment of it belongs to one part, named by `part`."""

    def __init__(self):
        self.outcome = "done"
        self.parts = {}
        self.part = "other"
        self.since = perf_counter()

    def switch(self, part):
        """Count the time from here on as `part`, and return what it was counted as before."""
        now = perf_counter()
        self.parts[self.part] = self.parts.get(self.part, 0) + now - self.since
        previous, self.part, self.since = self.part, part, now
        return previous


@contextmanager
def operation(name, **about):
    """
    Time the block, and log it when it was slow. Yields an object whose `outcome` the block may set; what an error sets
    it to is the error's code.

    One inside another is a part of that: a single line tells of both.

    Args:
        name: What the log calls it.
        about: What it was done to, named in the log as text; None is left out.
    """
    if (around := _current.get()) is not None:
        with part(name):
            yield around
        return
    timed = _Operation()
    token = _current.set(timed)
    try:
        yield timed
    except BaseException as error:
        timed.outcome = _code(error)
        raise
    finally:
        _current.reset(token)
        timed.switch(None)
        _log_if_slow(name, timed, about)


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


def _code(error):
    if isinstance(error, VLANManagerError):
        return error.code
    return "invalid" if isinstance(error, ValidationError) else type(error).__name__


def _log_if_slow(name, timed, about):
    total = sum(timed.parts.values()) * 1000
    threshold = get_setting("slow_operation_threshold")
    if not threshold or total <= threshold:
        return
    slowest_first = sorted(timed.parts.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{part} {seconds * 1000:.1f}" for part, seconds in slowest_first)
    # As repr: a name with a line end in it must not make a line of its own.
    values = "".join(f", {key}={str(value)[:VALUE_LENGTH]!r}" for key, value in about.items() if value is not None)
    request = current_request.get()
    logger.warning(
        "Slow %s: %s after %.1f ms (%s)%s%s",
        name,
        timed.outcome,
        total,
        parts,
        values,
        "" if request is None else f", request={str(request.id)!r}",
    )
