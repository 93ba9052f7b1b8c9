"""
Sockets for the optional parts of the plugin (see `wings`): they hear what happens to segments, and may refuse it.

Signals are sent in the transaction of the change, under its locks, once the change is written. A receiver gets
`segments`, the ids of the segments as a sorted list. A receiver that raises rolls the change back. Where nothing is
connected, no statement is run.
"""

from django.dispatch import Signal

from ...exceptions import VLANManagerError

__all__ = (
    "DELETE",
    "RENUMBER",
    "REUSE",
    "Vetoed",
    "check_vetoes",
    "find_vetoes",
    "register_veto",
    "segments_changed",
    "segments_deleted",
    "segments_held",
    "segments_released",
    "send",
)

# A cluster holds the segment: it was allocated to it, or shared with it.
segments_held = Signal()
# One of the clusters that held the segment does so no longer.
segments_released = Signal()
# The segment was made, or its VLAN ID, name, prefixes or pool are others.
segments_changed = Signal()
# The segment is gone.
segments_deleted = Signal()

# What a veto is asked about: the segment is to be deleted; its VLAN ID or a prefix is to become another; it is to be
# handed out again, now that no cluster holds it.
DELETE, RENUMBER, REUSE = "delete", "renumber", "reuse"

_vetoes = []


class Vetoed(VLANManagerError):
    """An optional part of the plugin refuses a change of a segment, with a code of its own."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


def register_veto(function):
    """
    Let `function` refuse changes of segments.

    Args:
        function: Is called in the transaction of the change, before anything is written, with what is to happen
            (DELETE, RENUMBER or REUSE) and the ids of the segments. It returns {id: Vetoed} of those that it refuses.
    """
    _vetoes.append(function)


def check_vetoes(change, segments):
    """
    Ask all vetoes about a change of segments, of which none may be refused.

    Args:
        change: DELETE, RENUMBER or REUSE.
        segments: The ids of the segments.

    Raises:
        Vetoed: The first that an optional part of the plugin gives, in the order of the ids.
    """
    if refused := find_vetoes(change, segments):
        raise refused[min(refused)]


def find_vetoes(change, segments):
    """Return {id: Vetoed} of the segments for which a veto refuses `change`."""
    refused, segments = {}, sorted(segments)
    for function in _vetoes:
        refused |= function(change, segments)
    return refused


def send(signal, segments):
    """Send one of the signals, unless there is nothing to say or nobody listens."""
    if signal.receivers and segments:
        signal.send(sender=None, segments=sorted(segments))
