from itertools import groupby
from typing import NamedTuple

from django.contrib.humanize.templatetags.humanize import intcomma
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.gzip import gzip_page

from netbox.object_actions import CloneObject, DeleteObject, EditObject
from netbox.views import generic
from utilities.views import ViewTab, register_model_view

from ..choices import SegmentPoolStatusChoices, SegmentStatusChoices
from ..models import SegmentPool
from ..object_actions import AllocateSegment, MovePool, PoolActionsMixin
from ..services.reporting.vlan_map import TAKEN, UNUSED, vlan_map

__all__ = ("SegmentPoolMapView",)

# {status: (label, explanation if the label needs one)}, in the order of the legend.
STATUSES = {
    SegmentStatusChoices.AVAILABLE: (gettext_lazy("Available"), None),
    SegmentStatusChoices.ALLOCATED: (gettext_lazy("Allocated"), None),
    SegmentStatusChoices.QUARANTINED: (gettext_lazy("Quarantined"), gettext_lazy("Released, and not available yet")),
    SegmentStatusChoices.DISABLED: (gettext_lazy("Disabled"), gettext_lazy("Not given out")),
    UNUSED: (gettext_lazy("Unused"), gettext_lazy("No VLAN has this ID yet")),
    TAKEN: (
        gettext_lazy("Taken"),
        gettext_lazy("Used by another pool, by a VLAN without a segment, or by an object that you may not view"),
    ),
}


class MapCell(NamedTuple):
    """A VLANCell as the page shows it; `url` is None if there is nothing to open."""

    status: str
    label: str
    url: str | None


class LegendEntry(NamedTuple):
    status: str
    label: str
    help_text: str | None
    count: int


class MapRow(NamedTuple):
    """
    The cells of a row by groups, such as the tens of the VLAN IDs 100 to 199; None stands for a place that the map
    leaves out. `first` is the VLAN ID or address that the row begins with.
    """

    label: str
    first: int | str
    groups: list


# The labels of 4,094 cells are too much to send uncompressed. Compression reveals no secret (BREACH): the page's only
# secret, the CSRF token, is masked differently in every response, and Django varies the response's length.
@method_decorator(gzip_page, name="dispatch")
@register_model_view(SegmentPool, "map", path="map")
class SegmentPoolMapView(PoolActionsMixin, generic.ObjectView):
    """Shows what every VLAN ID of the pool's VLAN group is used for."""

    queryset = SegmentPool.objects.select_related("vlan_group")
    template_name = "netbox_vlan_manager/map.html"
    actions = (AllocateSegment, MovePool, CloneObject, EditObject, DeleteObject)
    tab = ViewTab(
        label=gettext_lazy("VLAN Map"),
        permission="netbox_vlan_manager.view_segment",
        weight=520,
    )

    def get_extra_context(self, request, instance):
        vlans = vlan_map(instance, request.user)
        counts = vlans.counts
        return {
            "hundreds": get_hundreds(vlans.cells, CellRenderer(request, instance)),
            "legend": [
                LegendEntry(status, label, help_text, counts[status]) for status, (label, help_text) in STATUSES.items()
            ],
            "summary": ngettext("{count} VLAN ID", "{count} VLAN IDs", len(vlans.cells)).format(
                count=intcomma(len(vlans.cells))
            ),
            "is_empty": counts[UNUSED] == len(vlans.cells),
            "may_allocate": AllocateSegment.is_permitted(request.user, instance),
            "may_add_segments": request.user.has_perm("netbox_vlan_manager.add_segment"),
        }


class CellRenderer:
    """Turns VLANCells into MapCells. Labels and URLs that the cells share are looked up once."""

    def __init__(self, request, pool):
        self.labels = {status: str(label) for status, (label, _help_text) in STATUSES.items()}
        self.vlan = _("VLAN {vid}")
        self.segments_url = reverse("plugins:netbox_vlan_manager:segment_list")
        self.vlans_url = reverse("ipam:vlan_list")
        self.allocate_url = self.add_url = None
        returning = urlencode({"pool": pool.pk, "return_url": request.path})
        is_open = pool.status == SegmentPoolStatusChoices.ACTIVE
        if is_open and request.user.has_perm("netbox_vlan_manager.allocate_segmentpool", pool):
            self.allocate_url = f"{reverse('plugins:netbox_vlan_manager:allocation_allocate')}?{returning}"
        if request.user.has_perm("netbox_vlan_manager.add_segment"):
            self.add_url = f"{reverse('plugins:netbox_vlan_manager:segment_add')}?{returning}"

    def __call__(self, cell):
        prefixes = (cell.prefix, cell.ipv6_prefix)
        parts = (self.vlan.format(vid=cell.vid), self.labels[cell.status], *prefixes, cell.name, cell.cluster_name)
        return MapCell(cell.status, ", ".join(str(part) for part in parts if part), self.get_url(cell))

    def get_url(self, cell):
        if cell.status == SegmentStatusChoices.AVAILABLE and self.allocate_url:
            return f"{self.allocate_url}&vid={cell.vid}"
        if cell.segment:
            return f"{self.segments_url}{cell.segment}/"
        if cell.vlan:
            return f"{self.vlans_url}{cell.vlan}/"
        if cell.status == UNUSED and self.add_url:
            return f"{self.add_url}&vid={cell.vid}"
        return None


def get_hundreds(cells, render):
    """Return VLANCells as MapRows of a hundred each, without empty ones."""
    hundreds = []
    for number, group in groupby(cells, lambda cell: cell.vid // 100):
        rendered = {cell.vid: render(cell) for cell in group}
        first, last = min(rendered), max(rendered)
        tens = [
            [rendered.get(vid) for vid in range(start, min(start + 10, last + 1))]
            if any(vid in rendered for vid in range(start, start + 10))
            else []
            for start in range(100 * number, last + 1, 10)
        ]
        label = _("VLAN IDs {first} to {last}").format(first=first, last=last)
        hundreds.append(MapRow(label, 100 * number, tens))
    return hundreds
