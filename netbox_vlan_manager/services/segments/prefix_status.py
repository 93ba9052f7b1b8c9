"""
The rule that a prefix's status follows its segment: one status for allocated segments, one for all others.

Both are settings: `prefix_status_allocated` and `prefix_status_available`.
"""

from django.db.models import Q

from ...choices import FirstGenerationChoices, SegmentStatusChoices
from ...settings import get_setting

__all__ = (
    "has_right_status",
    "prefix_status",
    "status_when_allocated",
    "status_when_available",
)


def prefix_status(pool, segment_status):
    """Return the status that the prefixes of a segment of `pool` with `segment_status` have to have."""
    return status_when_allocated() if pool.keeps_prefix(segment_status) else status_when_available()


def has_right_status(name):
    """
    Return a Q for the segments whose prefix has the status that `prefix_status` returns.

    Args:
        name: "prefix" or "ipv6_prefix".
    """
    disabled = Q(status=SegmentStatusChoices.DISABLED, pool__first_generation=FirstGenerationChoices.TRIAL)
    allocated = Q(status=SegmentStatusChoices.ALLOCATED) | disabled
    return Q(allocated, **{f"{name}__status": status_when_allocated()}) | Q(
        ~allocated, **{f"{name}__status": status_when_available()}
    )


def status_when_allocated():
    """Return the status of the prefixes of allocated segments."""
    return get_setting("prefix_status_allocated")


def status_when_available():
    """Return the status of the prefixes of segments that no cluster holds."""
    return get_setting("prefix_status_available")
