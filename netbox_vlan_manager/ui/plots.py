"""Plots as SVG inside the page, so that they have the page's colors and fonts."""

from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from svgwrite.base import Title
from svgwrite.container import SVG
from svgwrite.path import Path
from svgwrite.shapes import Line, Rect
from svgwrite.text import Text

from netbox.ui import panels

from ..models import SegmentPool
from ..services.reporting.forecast import DAYS, forecast
from ..services.reporting.snapshots import usage_history

__all__ = (
    "HISTORY_DAYS",
    "UtilizationHistoryPanel",
    "history_context",
    "utilization_plot",
)

# The periods that a plot may show, in days.
HISTORY_DAYS = (30, 90, 365)
DEFAULT_DAYS = 90

# Text keeps its size on any screen, so it is outside of the stretched curve: x is in percent of the plot's width, y in
# pixels.
TOP, BOTTOM = 10, 186
DATES = BOTTOM + 22
LEGEND = DATES + 24
LEFT, RIGHT = 11, 99


class UtilizationHistoryPanel(panels.Panel):
    """A plot of a pool's utilization over time."""

    template_name = "netbox_vlan_manager/panels/utilization_history.html"
    title = gettext_lazy("Utilization Over Time")

    def get_context(self, context):
        pool = context["object"]
        return {
            **super().get_context(context),
            **history_context(
                context["request"],
                SegmentPool.objects.filter(pk=pool.pk),
                pool.usage,
                title=_("Utilization of {pool}").format(pool=pool),
                warning=pool.warning_threshold,
                critical=pool.critical_threshold,
            ),
            "forecast": forecast(pool),
            "forecast_days": DAYS,
        }


def history_context(request, pools, usage, *, title, warning=None, critical=None):
    """
    Return the values of inc/utilization_history.html; one query.

    Args:
        request: Its GET parameter `days` says how far back to go.
        pools: A queryset of the pools that the user may view.
        usage: Their SegmentUsage now.
        title: What the plot shows, for screen readers.
        warning, critical: Thresholds in percent to mark.
    """
    days = request.GET.get("days", "")
    days = int(days) if days in map(str, HISTORY_DAYS) else DEFAULT_DAYS
    points = usage_history(pools, days, current=usage)
    return {
        "points": points,
        "plot": utilization_plot(points, title=title, warning=warning, critical=critical),
        "days": days,
        "ranges": HISTORY_DAYS,
    }


def utilization_plot(points, *, title, warning=None, critical=None):
    """
    Return utilization over time as an SVG element, as wide as its container; "" for fewer than two points.

    Args:
        points: UsagePoints, oldest first.
        title: What the plot shows, for screen readers.
        warning, critical: Thresholds in percent to mark.
    """
    if len(points) < 2:
        return ""
    svg = SVG(
        size=("100%", (LEGEND if warning or critical else DATES) + 8),
        role="img",
        aria_label=f"{title}. {_describe(points)}",
        font_size="12",
        fill="var(--tblr-secondary-color)",
        debug=False,
    )
    for percent in (0, 25, 50, 75, 100):
        _add_level(svg, percent, style="stroke: var(--tblr-border-color)")
        svg.add(Text(f"{percent}%", insert=(f"{LEFT - 1}%", _y(percent) + 4), text_anchor="end", debug=False))
    first, last = points[0].date, points[-1].date
    middle = first + (last - first) / 2
    for day, place, anchor in ((first, LEFT, "start"), (middle, (LEFT + RIGHT) / 2, "middle"), (last, RIGHT, "end")):
        svg.add(Text(day.isoformat(), insert=(f"{place}%", DATES), text_anchor=anchor, debug=False))
    _add_curve(svg, points)
    # The lines differ by their dashes too, not by color alone.
    if warning is not None:
        _add_threshold(svg, warning, _("Warning: {percent}%"), "stroke: var(--tblr-warning)", "2 3", LEFT)
    if critical is not None:
        _add_threshold(
            svg, critical, _("Critical: {percent}%"), "stroke: var(--tblr-danger)", "8 4", (LEFT + RIGHT) / 2
        )
    svg.set_desc(title, _describe(points))
    # svgwrite escapes texts and attributes.
    return mark_safe(svg.tostring())


def _describe(points):
    """Return a summary of a plot as text."""
    peak = max(points, key=lambda point: point.usage.utilization)
    return _("From {first}% on {first_date} to {last}% on {last_date}; the highest was {peak}% on {peak_date}.").format(
        first=points[0].usage.utilization,
        first_date=points[0].date,
        last=points[-1].usage.utilization,
        last_date=points[-1].date,
        peak=peak.usage.utilization,
        peak_date=peak.date,
    )


def _y(percent):
    return round(BOTTOM - (BOTTOM - TOP) * percent / 100, 1)


def _add_level(svg, percent, **attributes):
    y = _y(percent)
    svg.add(Line((f"{LEFT}%", y), (f"{RIGHT}%", y), debug=False, **attributes))


def _add_threshold(svg, percent, label, style, dashes, place):
    """Add a threshold's line, and its legend at `place`, in percent of the width."""
    _add_level(svg, percent, style=style, stroke_dasharray=dashes, stroke_width="1.5")
    y = LEGEND - 4
    svg.add(
        Line(
            (f"{place}%", y),
            (f"{place + 7}%", y),
            style=style,
            stroke_dasharray=dashes,
            stroke_width="1.5",
            debug=False,
        )
    )
    svg.add(Text(label.format(percent=percent), insert=(f"{place + 8}%", LEGEND), debug=False))


def _add_curve(svg, points):
    """Add the curve, the area below it, and a tooltip for each of its days."""
    first = points[0].date
    days = (points[-1].date - first).days
    # x is in days, y in percent. Both are stretched to the plot's size; the width of a stroke is not.
    curve = SVG(
        insert=(f"{LEFT}%", TOP),
        size=(f"{RIGHT - LEFT}%", BOTTOM - TOP),
        viewBox=f"0 0 {days} 100",
        preserveAspectRatio="none",
        overflow="visible",
        debug=False,
    )
    steps = [f"{(point.date - first).days} {round(100 - point.usage.utilization, 1)}" for point in points]
    line = f"M{' L'.join(steps)}"
    curve.add(Path(f"{line} L{days} 100 L0 100 Z", style="fill: var(--tblr-primary)", opacity="0.15", debug=False))
    curve.add(
        Path(
            line,
            fill="none",
            style="stroke: var(--tblr-primary)",
            stroke_width="2",
            stroke_linejoin="round",
            vector_effect="non-scaling-stroke",
            debug=False,
        )
    )
    for point in points:
        area = Rect(((point.date - first).days - 0.5, 0), (1, 100), opacity="0", debug=False)
        area.add(
            Title(
                _("{date}: {utilization}%, {allocated} of {total} allocated").format(
                    date=point.date,
                    utilization=point.usage.utilization,
                    allocated=point.usage.allocated,
                    total=point.usage.total_segments,
                )
            )
        )
        curve.add(area)
    svg.add(curve)
