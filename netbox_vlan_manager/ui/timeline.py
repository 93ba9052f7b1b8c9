"""Who held what from when until when, as bars on a time axis, as SVG inside the page."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.utils import timezone
from django.utils.safestring import mark_safe
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from svgwrite.base import Title
from svgwrite.container import SVG
from svgwrite.shapes import Line, Rect
from svgwrite.text import Text

from ..models import Allocation

__all__ = (
    "Holding",
    "get_holdings",
    "timeline_plot",
)

# In pixels; x is in percent of the plot's width.
LANE = 34
BAR_Y, BAR = 18, 10
# A bar of an hour in a year is still to be seen, in percent.
BAR_MIN = 0.5
LABEL_MAX = 60
# A shorter axis shows times too.
DAYS_AXIS = timedelta(days=3)


class Holding(NamedTuple):
    """An allocation as an interval: `end` is None while it is active."""

    allocation: Allocation
    start: datetime
    end: datetime | None


def get_holdings(allocations, now):
    """Return a Holding for each allocation, in the same order. An expired one ends there, whenever it is released."""
    holdings = []
    for allocation in allocations:
        ends = [end for end in (allocation.released_at, allocation.expires_at) if end]
        end = min(ends, default=None)
        holdings.append(Holding(allocation, allocation.allocated_at, end if end and end <= now else None))
    return holdings


def timeline_plot(holdings, now):
    """
    Return the plot, with a lane for each cluster and segment, in the order of the holdings; empty for none.

    Args:
        holdings: Holdings.
        now: An aware datetime; active allocations are drawn until then.
    """
    if not holdings:
        return ""
    lanes = {}
    for holding in holdings:
        allocation = holding.allocation
        lanes.setdefault((allocation.cluster_name.upper(), allocation.pool_name, allocation.vid), []).append(holding)
    first = min(holding.start for holding in holdings)
    last = max(holding.end or max(now, holding.start) for holding in holdings)
    span = max(last - first, timedelta(seconds=1))
    height = LANE * len(lanes)
    title = _("Who held it, from {first} to {last}").format(first=_label(first, span), last=_label(last, span))
    svg = SVG(
        size=("100%", height + 22),
        role="img",
        aria_label=title,
        font_size="12",
        fill="var(--tblr-body-color)",
        debug=False,
    )
    for place, anchor, moment in ((0, "start", first), (50, "middle", first + span / 2), (100, "end", last)):
        line = Line((f"{place}%", 0), (f"{place}%", height + 4), style="stroke: var(--tblr-border-color)", debug=False)
        svg.add(line)
        text = {"fill": "var(--tblr-secondary-color)", "text_anchor": anchor, "debug": False}
        svg.add(Text(_label(moment, span), insert=(f"{place}%", height + 18), **text))
    for number, lane in enumerate(lanes.values()):
        svg.add(Text(_describe_lane(lane[0].allocation), insert=(0, LANE * number + 12), debug=False))
        for holding in lane:
            svg.add(_bar(holding, LANE * number + BAR_Y, first, span, now))
    # svgwrite escapes texts and attributes.
    return mark_safe(svg.tostring())


def _bar(holding, y, first, span, now):
    width = max(BAR_MIN, 100 * ((holding.end or max(now, holding.start)) - holding.start) / span)
    x = min(100 * (holding.start - first) / span, 100 - width)
    color = "secondary" if holding.end else "primary"
    bar = Rect((f"{x:.3f}%", y), (f"{width:.3f}%", BAR), rx=2, style=f"fill: var(--tblr-{color})", debug=False)
    end = _label(holding.end, timedelta()) if holding.end else _("now")
    text = _("{allocation}: {start} to {end}")
    bar.add(Title(text.format(allocation=holding.allocation, start=_label(holding.start, timedelta()), end=end)))
    return bar


def _describe_lane(allocation):
    vlan = _("VLAN {vid}").format(vid=allocation.vid)
    return Truncator(f"{allocation.cluster_name} · {vlan} · {allocation.pool_name}").chars(LABEL_MAX)


def _label(moment, span):
    """Return a date, with the time on a short axis."""
    return timezone.localtime(moment).strftime("%Y-%m-%d" if span > DAYS_AXIS else "%Y-%m-%d %H:%M")
