from itertools import batched
from typing import NamedTuple

from django.contrib.humanize.templatetags.humanize import intcomma
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.gzip import gzip_page
from netaddr import IPNetwork

from netbox.object_actions import CloneObject, DeleteObject, EditObject
from netbox.views import generic
from utilities.views import ViewTab, register_model_view

from ..models import SegmentPool
from ..object_actions import AllocateSegment, MovePool, PoolActionsMixin
from ..services.reporting.space_map import MIXED, SpaceCell, space_map
from ..services.reporting.vlan_map import TAKEN, UNUSED
from .vlan_map import STATUSES, LegendEntry, MapCell, MapRow

__all__ = ("SegmentPoolSpaceView",)

# The labels and explanations of the cells' statuses, in the order of the legend.
SPACE_STATUSES = STATUSES | {
    UNUSED: (
        gettext_lazy("Free"),
        gettext_lazy("A segment can get it: no prefix, IP range or IP address of the VRF lies in it"),
    ),
    MIXED: (gettext_lazy("Divided"), gettext_lazy("Several networks lie in it, or a part of it is free")),
    TAKEN: (
        gettext_lazy("Taken"),
        gettext_lazy("Used by a prefix, IP range or IP address of no segment, or by an object that you may not view"),
    ),
}

# A row of the map has 32 cells, in groups of eight.
GROUP = 8
ROW = 32


class FreeRow(NamedTuple):
    """The free networks of one length; `url` leads to the form that makes a segment of the lowest, or is None."""

    length: int
    count: int
    network: IPNetwork
    url: str | None


# As for the VLAN map, the labels are too much to send uncompressed.
@method_decorator(gzip_page, name="dispatch")
@register_model_view(SegmentPool, "space", path="space")
class SegmentPoolSpaceView(PoolActionsMixin, generic.ObjectView):
    """Shows what the networks in a pool's containers are used for, and which are free."""

    queryset = SegmentPool.objects.select_related("vrf")
    template_name = "netbox_vlan_manager/space.html"
    actions = (AllocateSegment, MovePool, CloneObject, EditObject, DeleteObject)
    tab = ViewTab(
        label=gettext_lazy("Space Map"),
        permission="netbox_vlan_manager.view_segment",
        weight=521,
    )

    def get_extra_context(self, request, instance):
        space = space_map(instance, request.user)
        version = space.containers[0].network.version if space.containers else 4
        links = Links(request, instance, version)
        return {
            "containers": [_container_context(container, links) for container in space.containers],
            "is_complete": space.complete,
            "may_add_segments": links.add_url is not None,
        }


class Links:
    """The pages that cells and free networks lead to, looked up once; None where the user may not open the page."""

    def __init__(self, request, pool, version):
        # The IP version of a segment's first prefix.
        self.version = version
        self.segments_url = reverse("plugins:netbox_vlan_manager:segment_list")
        self.prefixes_url = self.add_url = None
        if request.user.has_perm("ipam.view_prefix"):
            self.prefixes_url = f"{reverse('ipam:prefix_list')}?vrf_id={pool.vrf_id}"
        if request.user.has_perm("netbox_vlan_manager.add_segment"):
            query = urlencode({"pool": pool.pk, "return_url": request.path})
            self.add_url = f"{reverse('plugins:netbox_vlan_manager:segment_add')}?{query}"

    def add(self, network, length):
        """Return the address of the form that makes a segment of the first network of a length in a free one."""
        if self.add_url is None:
            return None
        field = "prefix" if network.version == self.version else "ipv6_prefix"
        return f"{self.add_url}&{urlencode({field: f'{network.network}/{max(length, network.prefixlen)}'})}"

    def of(self, cell: SpaceCell, length):
        """Return the address that a cell leads to."""
        if cell.segment:
            return f"{self.segments_url}{cell.segment}/"
        if cell.status == UNUSED:
            return self.add(cell.network, length)
        return self.prefixes_url and f"{self.prefixes_url}&{urlencode({'within_include': cell.network})}"


def _container_context(container, links):
    """Return a ContainerMap as the page shows it."""
    labels = {status: str(label) for status, (label, _help_text) in SPACE_STATUSES.items()}
    rows = []
    for cells in batched(container.cells, ROW):
        shown = [
            MapCell(cell.status, _cell_label(cell, labels), links.of(cell, container.usual_length)) for cell in cells
        ]
        label = _("{first} to {last}").format(first=cells[0].network, last=cells[-1].network)
        rows.append(MapRow(label, str(cells[0].network.network), list(batched(shown, GROUP))))
    counts = container.counts
    return {
        "network": container.network,
        "utilization": container.utilization,
        "room": ngettext("room for {count} more /{length}", "room for {count} more /{length}", container.room).format(
            count=intcomma(container.room), length=container.usual_length
        ),
        "cell_length": container.cells[0].network.prefixlen,
        "rows": rows,
        "legend": [
            LegendEntry(status, label, help_text, counts[status])
            for status, (label, help_text) in SPACE_STATUSES.items()
            if counts[status]
        ],
        "free_blocks": [
            FreeRow(blocks.length, blocks.count, blocks.first, links.add(blocks.first, blocks.length))
            for blocks in container.free_blocks
        ],
    }


def _cell_label(cell, labels):
    """Return what a cell says: its network, its status, and what uses it."""
    parts = [str(cell.network), labels[cell.status], cell.name, cell.cluster_name]
    if cell.status == MIXED:
        if cell.segments:
            parts.append(ngettext("{count} segment", "{count} segments", cell.segments).format(count=cell.segments))
        if cell.free:
            parts.append(_("{percent}% free").format(percent=_percent(cell.free)))
    return ", ".join(part for part in parts if part)


def _percent(share):
    """Return a share as a whole number of percent: neither 0 nor 100 unless it is exactly that."""
    return min(max(round(100 * share), 1), 99) if 0 < share < 1 else round(100 * share)
