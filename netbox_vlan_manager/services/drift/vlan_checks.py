"""
Checks of the VLANs of segments: group, ID, name and status.
"""

import re

from django.db.models import Exists, F, IntegerField, OuterRef, Q, Subquery
from django.db.models.functions import Cast
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ipam.choices import VLANStatusChoices
from ipam.models import VLAN
from utilities.data import ranges_to_string

from ...choices import DriftSeverityChoices
from ...models import Allocation, Segment
from ...validators import EPG_NAME_MAX_LENGTH, epg_name_pattern, make_epg_name
from ..segments.guards import HANDED_OUT, disabling
from ..segments.usage import status_reasons
from .findings import Drift, find_segments, register, repair_or_advice


def regrouped_vlans(pk):
    """Find segments whose VLAN is not in the VLAN group of their pool."""
    twins = VLAN.objects.filter(Q(vid=OuterRef("vlan__vid")) | Q(name=OuterRef("vlan__name")))
    twins = twins.filter(group=OuterRef("pool__vlan_group")).exclude(pk=OuterRef("vlan"))
    moved = find_segments(pk).filter(~Q(vlan__group=F("pool__vlan_group")) | Q(vlan__group__isnull=True))
    for segment in moved.annotate(has_twin=Exists(twins)):
        group = segment.pool.vlan_group
        if segment.has_twin:
            advice = _(
                "VLAN group {group} has another VLAN of this ID or name: rename, renumber or delete that one, then "
                "repair this."
            ).format(group=group)
        else:
            advice = ""
        yield Drift(
            "vlan_group_changed",
            segment.pool,
            segment,
            _("The VLAN of segment {segment} is not in the VLAN group of pool {pool}").format(
                segment=segment, pool=segment.pool
            ),
            **repair_or_advice(
                advice,
                _("Put VLAN {vlan} back into VLAN group {group}.").format(vlan=segment.vlan, group=group),
                (segment.vlan, {"group": group}),
            ),
        )


def renumbered_vlans(pk):
    """Find segments whose VLAN has another ID than they say."""
    taken = Segment.objects.filter(pool=OuterRef("pool"), vid=OuterRef("vlan__vid"))
    for segment in find_segments(pk).exclude(vlan__vid=F("vid")).annotate(is_taken=Exists(taken)):
        vid, group = segment.vlan.vid, segment.pool.vlan_group
        advice = ""
        if segment.is_taken:
            advice = _(
                "Another segment of the pool still has VLAN ID {vid}: repair that one first, or give the "
                "VLAN another ID."
            ).format(vid=vid)
        elif not _is_in_ranges(vid, group):
            advice = _(
                "VLAN group {group} allows {ranges} only: add {vid} to its ranges, or release the segment and give its "
                "VLAN another ID."
            ).format(group=group, ranges=ranges_to_string(group.vid_ranges), vid=vid)
        yield Drift(
            "vlan_renumbered",
            segment.pool,
            segment,
            _("Segment {segment} has VLAN ID {vid}, but its VLAN has {vlan_vid}").format(
                segment=segment, vid=segment.vid, vlan_vid=vid
            ),
            **repair_or_advice(
                advice,
                _("Set the VLAN ID of the segment to {vid}, the ID of its VLAN.").format(vid=vid),
                (segment, {"vid": vid}),
            ),
        )


def _is_in_ranges(vid, group):
    return any(vid in vids for vids in group.vid_ranges)


def vids_out_of_range(pk):
    """Find segments with a VLAN ID outside the ranges of their pool's VLAN group."""
    # Ranges of integers contain no smallint, which the column is.
    in_range = Q(pool__vlan_group__vid_ranges__range_contains=Cast("vid", IntegerField()))
    for segment in find_segments(pk).exclude(in_range):
        group = segment.pool.vlan_group
        yield Drift(
            "vid_out_of_range",
            segment.pool,
            segment,
            _("VLAN ID {vid} of segment {segment} is outside the ranges of VLAN group {group}").format(
                vid=segment.vid, segment=segment, group=group
            ),
            advice=_(
                "The group allows {ranges} only: add {vid} to its ranges, or release the segment and give its VLAN "
                "another ID."
            ).format(ranges=ranges_to_string(group.vid_ranges), vid=segment.vid),
        )


def invalid_epg_names(pk):
    """Find segments whose VLAN has a name that is no EPG name."""
    # A change that bypassed the plugin leaves the name that the cluster got on its allocation.
    allocated = Allocation.objects.unreleased().filter(segment=OuterRef("pk")).order_by("pk").values("epg_name")[:1]
    segments = (
        find_segments(pk)
        .exclude(vlan__name__regex=f"^{epg_name_pattern()}$")
        .annotate(allocated_name=Subquery(allocated))
    )
    segments = list(segments)
    names = {segment: _valid_name(segment) for segment in segments}
    taken = set(
        VLAN.objects.filter(name__in=set(names.values()), group__in={s.pool.vlan_group_id for s in segments})
        .order_by()
        .values_list("group", "name")
    )
    for segment in segments:
        name = names[segment]
        advice = ""
        if not name or (segment.vlan.group_id, name) in taken:
            advice = _("No valid name can be made from this name: give the VLAN an EPG name.")
        yield Drift(
            "epg_name_invalid",
            segment.pool,
            segment,
            _("The VLAN name {name!r} of segment {vid} in pool {pool} is no valid EPG name").format(
                name=segment.epg_name, vid=segment.vid, pool=segment.pool
            ),
            **repair_or_advice(
                advice,
                _("Rename the VLAN to {name}.").format(name=name),
                (segment.vlan, {"name": name}),
            ),
        )


def _valid_name(segment):
    """Return the EPG name that the allocation has or that the VLAN's name nearly is, or an empty text."""
    if re.fullmatch(epg_name_pattern(), segment.allocated_name or ""):
        return segment.allocated_name
    name = make_epg_name(segment.epg_name.strip())[:EPG_NAME_MAX_LENGTH]
    return name if name.strip("_.:/-") else ""


def inactive_vlans(pk):
    """Find segments that will be handed out though their VLAN is not active; `guards` disables them at such an edit."""
    for segment in (
        find_segments(pk).filter(status__in=HANDED_OUT).exclude(vlan__status=VLANStatusChoices.STATUS_ACTIVE)
    ):
        reasons = ", ".join(status_reasons(segment.vlan, ()))
        yield Drift(
            "vlan_status",
            segment.pool,
            segment,
            _("Segment {segment} is {status}, but its VLAN is {vlan_status}").format(
                segment=segment, status=segment.get_status_display(), vlan_status=segment.vlan.get_status_display()
            ),
            repair=_("Disable the segment."),
            changes=((segment, disabling(segment, reasons)),),
        )


register("vlan_group_changed", gettext_lazy("VLAN group"), DriftSeverityChoices.ERROR, regrouped_vlans)
register("vlan_renumbered", gettext_lazy("VLAN renumbered"), DriftSeverityChoices.ERROR, renumbered_vlans)
register("vid_out_of_range", gettext_lazy("VLAN ID out of range"), DriftSeverityChoices.WARNING, vids_out_of_range)
register("epg_name_invalid", gettext_lazy("EPG name not valid"), DriftSeverityChoices.WARNING, invalid_epg_names)
register("vlan_status", gettext_lazy("Status of a VLAN"), DriftSeverityChoices.WARNING, inactive_vlans)
