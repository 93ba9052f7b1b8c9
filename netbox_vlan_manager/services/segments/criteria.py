"""
The criteria that a caller may give for the segment it wants, and the query for the first segment that meets them.

The queries are prepared (see `prepared_queries`): one for each set of criteria, filled with their values.
"""

from dataclasses import dataclass, fields

from django.core.exceptions import ValidationError
from django.db.models import F, Q
from django.utils.translation import gettext as _

from ...choices import AllocationOrderChoices, SegmentStatusChoices
from ...models import Segment
from ...validators import clean_vid
from ..base.prepared_queries import fetch_rows, placeholder

__all__ = (
    "SegmentCriteria",
    "available_segments",
    "clean_criteria",
    "lock_first",
    "matching",
)

POOL = placeholder("pool", "bigint")
# The placeholder of each field of a SegmentCriteria.
PLACEHOLDERS = {
    "vid": placeholder("vid", "smallint"),
    "vid_min": placeholder("vid_min", "smallint"),
    "vid_max": placeholder("vid_max", "smallint"),
    "prefix_length": placeholder("prefix_length", "smallint"),
    "segment": placeholder("segment", "bigint"),
}

ORDERS = {
    AllocationOrderChoices.LOWEST: ("vid",),
    AllocationOrderChoices.HIGHEST: ("-vid",),
    AllocationOrderChoices.LEAST_RECENTLY_USED: (F("last_released_at").asc(nulls_first=True), "vid"),
    AllocationOrderChoices.RANDOM: ("?",),
}

# The condition on a segment for each field of a SegmentCriteria.
CONDITIONS = {
    "vid": "vid",
    "vid_min": "vid__gte",
    "vid_max": "vid__lte",
    "prefix_length": "prefix__prefix__net_mask_length",
    "segment": "pk",
}


@dataclass(frozen=True)
class SegmentCriteria:
    """The criteria for a segment of a pool; None for no condition."""

    vid: int | None = None
    vid_min: int | None = None
    vid_max: int | None = None
    prefix_length: int | None = None
    segment: int | None = None

    def __bool__(self):
        return any(getattr(self, field.name) is not None for field in fields(self))

    @property
    def names_one_segment(self):
        """Whether only one segment can meet the criteria."""
        return self.vid is not None or self.segment is not None

    def matches(self, allocation):
        """Whether the segment of an allocation meets the criteria."""
        return (
            self.vid in (None, allocation.vid)
            and (self.vid_min is None or self.vid_min <= allocation.vid)
            and (self.vid_max is None or allocation.vid <= self.vid_max)
            and self.prefix_length in (None, allocation.prefix.prefixlen)
            and self.segment in (None, allocation.segment_id)
        )

    def __str__(self):
        texts = {
            "segment": _("segment {segment}"),
            "vid": _("VLAN ID {vid}"),
            "vid_min": _("a VLAN ID from {vid_min}"),
            "vid_max": _("a VLAN ID up to {vid_max}"),
            "prefix_length": _("a /{prefix_length}"),
        }
        asked = [text.format(**vars(self)) for name, text in texts.items() if getattr(self, name) is not None]
        return ", ".join(asked)


def clean_criteria(*, vid=None, vid_min=None, vid_max=None, prefix_length=None, segment=None):
    """
    Return the SegmentCriteria for the values of a user.

    Args:
        vid, vid_min, vid_max: VLAN IDs, as ints or digits.
        prefix_length: 1 to 128, as an int or digits.
        segment: A Segment or its id.

    Raises:
        ValidationError: Keyed by field, for all invalid values at once.
    """
    errors, values = {}, {}
    for name, value in {"vid": vid, "vid_min": vid_min, "vid_max": vid_max}.items():
        try:
            values[name] = None if value is None else clean_vid(value)
        except ValidationError as error:
            errors[name] = error.messages
    if prefix_length is not None:
        text = str(prefix_length).strip()
        if isinstance(prefix_length, bool) or not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= 128):
            errors["prefix_length"] = _("Use a prefix length from 1 to 128.")
        else:
            values["prefix_length"] = int(text[:4])
    if vid is not None and not (vid_min is None and vid_max is None):
        errors["vid"] = _("Give one VLAN ID or a range, not both.")
    if not errors and None not in (vid_min, vid_max) and values["vid_min"] > values["vid_max"]:
        errors["vid_max"] = _("The range ends before it begins: give the lower VLAN ID first.")
    if errors:
        raise ValidationError(errors)
    return SegmentCriteria(segment=getattr(segment, "pk", segment), **values)


def available_segments(pool):
    """Return the available segments of `pool`, in the order in which they would be allocated. Locks nothing."""
    return Segment.objects.filter(pool=pool, status=SegmentStatusChoices.AVAILABLE).order_by(
        *ORDERS[pool.allocation_order]
    )


def lock_first(pool, criteria, skip_locked):
    """
    Lock the first available segment of `pool` that meets `criteria`, and return its id, or None where there is none.

    Args:
        pool: The SegmentPool, whose order decides which is the first.
        criteria: A SegmentCriteria.
        skip_locked: Whether to skip rows that other transactions have locked, or to wait for them.
    """
    asked = {name: value for name in PLACEHOLDERS if (value := getattr(criteria, name)) is not None}
    values = {POOL: pool.pk, **{PLACEHOLDERS[name]: value for name, value in asked.items()}}
    rows = fetch_rows(_first_query, values, pool.allocation_order, tuple(asked), skip_locked)
    return rows[0][0] if rows else None


def matching(criteria):
    """Return a Q for the segments that meet `criteria`."""
    asked = {name: value for name in CONDITIONS if (value := getattr(criteria, name)) is not None}
    return Q(**{CONDITIONS[name]: value for name, value in asked.items()})


def _first_query(order, asked, skip_locked):
    criteria = SegmentCriteria(**{name: PLACEHOLDERS[name] for name in asked})
    segments = Segment.objects.filter(matching(criteria), pool=POOL, status=SegmentStatusChoices.AVAILABLE)
    segments = segments.select_for_update(skip_locked=skip_locked, no_key=True, of=("self",))
    return segments.order_by(*ORDERS[order]).values_list("pk")[:1]
