from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from extras.ui.panels import CustomFieldsPanel, TagsPanel
from ipam.models import VLAN, IPAddress, Prefix
from netbox.object_actions import AddObject, BulkDelete, BulkEdit, BulkImport, DeleteObject, EditObject
from netbox.ui import layout
from netbox.ui.breadcrumbs import Breadcrumb, filtered_list_url
from netbox.ui.panels import CommentsPanel
from netbox.views import generic
from utilities.views import register_model_view

from .. import filtersets, forms, tables
from ..choices import SegmentStatusChoices
from ..models import Allocation, Segment, SegmentPool
from ..object_actions import (
    AllocateSegment,
    BulkDisableSegments,
    BulkEnableSegments,
    BulkReleaseAllocations,
    DisableSegment,
    EnableSegment,
    EndQuarantine,
    ExportSegments,
    PoolActionsMixin,
    ShareSegment,
)
from ..services.base.places import clean_id
from ..services.segments.generation import find_next
from ..ui import panels
from ..validators import VID_MAX, VID_MIN
from .allocations import AllocationBulkReleaseView
from .filtering import CheckedFiltersMixin, CheckedSelectionMixin
from .mixins import (
    ChildrenMixin,
    ChildrenTab,
    HoldersMixin,
    KeepTypedMixin,
    RefusableBulkDeleteMixin,
    RefusableDeleteMixin,
    ResendMixin,
    ServiceImportMixin,
    ViewableMixin,
    annotate_may_release,
    get_selected,
)

__all__ = (
    "SegmentBulkDeleteView",
    "SegmentBulkEditView",
    "SegmentBulkImportView",
    "SegmentBulkReleaseView",
    "SegmentDeleteView",
    "SegmentEditView",
    "SegmentHistoryView",
    "SegmentListView",
    "SegmentView",
)


# The bulk views show every column of the table, but prefetch nothing: the queryset reads the related objects.
BULK_QUERYSET = Segment.objects.select_related("vlan", "prefix", "ipv6_prefix", "pool__vrf").prefetch_related(
    "pool__scope", "owner__group", "contacts__contact", "tags"
)


@register_model_view(Segment, "list", path="", detail=False)
class SegmentListView(CheckedFiltersMixin, PoolActionsMixin, HoldersMixin, generic.ObjectListView):
    queryset = Segment.objects.select_related("vlan", "prefix", "ipv6_prefix")
    filterset = filtersets.SegmentFilterSet
    filterset_form = forms.SegmentFilterForm
    table = tables.SegmentTable
    template_name = "netbox_vlan_manager/segment_list.html"
    actions = (
        AddObject,
        BulkImport,
        ExportSegments,
        BulkEdit,
        BulkReleaseAllocations,
        BulkDisableSegments,
        BulkEnableSegments,
        BulkDelete,
    )

    def get_extra_context(self, request):
        return {"status_tabs": get_status_tabs(request.GET)}


def get_status_tabs(params):
    """
    Return the tabs by status above the list; their links keep all other filters.

    Args:
        params: The QueryDict of the page.
    """
    others = params.copy()
    chosen = [status for status in params.getlist("status") if status]
    lookups = [name for name in params if name.startswith("status__")]
    for name in ("status", *lookups, "page"):
        others.pop(name, None)
    tabs = []
    for statuses, label in (([], _("All")), *(([status], str(label)) for status, label in SegmentStatusChoices)):
        query = others.copy()
        query.setlist("status", statuses)
        tabs.append({"label": label, "params": query.urlencode(), "active": chosen == statuses and not lookups})
    if not any(tab["active"] for tab in tabs):
        labels = dict(SegmentStatusChoices)
        label = ", ".join(str(labels[status]) for status in chosen if status in labels)
        tabs.append({"label": label or _("Other"), "params": params.urlencode(), "active": True})
    return tabs


@register_model_view(Segment)
class SegmentView(PoolActionsMixin, generic.ObjectView):
    queryset = Segment.objects.select_related("vlan__group", "prefix", "ipv6_prefix", "pool__vrf")
    actions = (AllocateSegment, ShareSegment, EndQuarantine, DisableSegment, EnableSegment, EditObject, DeleteObject)
    layout = layout.SimpleLayout(
        breadcrumbs=[
            Breadcrumb("pool", url=filtered_list_url("plugins:netbox_vlan_manager:segment_list", "pool_id")),
        ],
        left_panels=[
            panels.SegmentPanel(),
            panels.CurrentAllocationPanel(),
            panels.HoldersPanel(),
            CustomFieldsPanel(),
            TagsPanel(),
        ],
        right_panels=[
            panels.SegmentLocationPanel(),
            panels.SegmentAddressingPanel(),
            CommentsPanel(),
        ],
    )

    def get_extra_context(self, request, instance):
        allocations = annotate_may_release(instance.allocations.restrict(request.user, "view").active(), request.user)
        return {
            "allocations": list(allocations.select_related("pool", "cluster", "allocated_by")),
        }


@register_model_view(Segment, "history")
class SegmentHistoryView(CheckedFiltersMixin, ChildrenMixin, PoolActionsMixin, generic.ObjectChildrenView):
    queryset = Segment.objects.select_related("vlan", "pool")
    child_model = Allocation
    table = tables.SegmentAllocationTable
    filterset = filtersets.AllocationFilterSet
    filterset_form = forms.AllocationFilterForm
    tab = ChildrenTab(gettext_lazy("History"), Allocation, "segment", weight=500)
    actions = (
        AllocateSegment,
        ShareSegment,
        EndQuarantine,
        DisableSegment,
        EnableSegment,
        EditObject,
        DeleteObject,
        BulkEdit,
        BulkReleaseAllocations,
    )

    def get_children(self, request, parent):
        allocations = parent.allocations.restrict(request.user, "view")
        allocations = allocations.select_related("pool", "segment__vlan", "allocated_by", "released_by")
        return annotate_may_release(allocations, request.user)


@register_model_view(Segment, "add", detail=False)
@register_model_view(Segment, "edit")
class SegmentEditView(KeepTypedMixin, generic.ObjectEditView):
    queryset = Segment.objects.select_related("vlan", "prefix", "ipv6_prefix", "pool")
    form = forms.SegmentForm

    def get(self, request, *args, **kwargs):
        if not kwargs:
            request.GET = self._with_next(request)
        return super().get(request, *args, **kwargs)

    def _with_next(self, request):
        """Return the query of the form for a new segment, with what is free in its pool where it says nothing."""
        query = request.GET.copy()
        pools = SegmentPool.objects.restrict(request.user, "view").select_related("vrf", "vlan_group")
        pool = pools.prefetch_related("prefixes").filter(pk=clean_id(query.get("pool", ""))).first()
        if pool is None:
            return query
        vid = clean_id(query.get("vid", ""))
        for name, value in find_next(pool, vid if vid and VID_MIN <= vid <= VID_MAX else None).items():
            query.setdefault(name, str(value))
        return query

    def get_extra_addanother_params(self, request):
        return {"pool": request.POST.get("pool", "")}


class SegmentRefusalMixin:
    def get_refusal(self, queryset):
        if segment := queryset.filter(status=SegmentStatusChoices.ALLOCATED).first():
            return _("Segment {segment} is allocated: release it before you delete it.").format(segment=segment)
        return None


@register_model_view(Segment, "delete")
class SegmentDeleteView(ResendMixin, SegmentRefusalMixin, RefusableDeleteMixin, generic.ObjectDeleteView):
    queryset = Segment.objects.select_related("vlan", "prefix", "ipv6_prefix")

    def _get_dependent_objects(self, obj):
        """Add what was made with the segment: its VLAN, prefixes and IP addresses are deleted with it."""
        dependent_objects = super()._get_dependent_objects(obj)
        if obj.owns_vlan:
            dependent_objects[VLAN] = [obj.vlan]
        if prefixes := obj.get_prefixes(owned=True):
            dependent_objects[Prefix] = prefixes
        made = [obj.gateway_ip_address_id, obj.ipv6_gateway_ip_address_id]
        if any(made) and (addresses := IPAddress.objects.restrict(self.request.user, "view").filter(pk__in=made)):
            dependent_objects[IPAddress] = list(addresses)
        return dependent_objects


@register_model_view(Segment, "bulk_import_objects", path="import/objects", detail=False)
class SegmentBulkImportView(ServiceImportMixin, generic.BulkImportView):
    queryset = Segment.objects.all()
    model_form = forms.SegmentImportForm


@register_model_view(Segment, "bulk_release", path="release", detail=False)
class SegmentBulkReleaseView(AllocationBulkReleaseView):
    """Releases the allocations of the selected segments, after a confirmation."""

    filterset = filtersets.SegmentFilterSet

    def get_selected(self, request, allocations):
        segments = get_selected(request, Segment.objects.restrict(request.user, "view"), self.filterset)
        return allocations.filter(segment__in=segments.order_by().values("pk"))


@register_model_view(Segment, "bulk_edit", path="edit", detail=False)
class SegmentBulkEditView(ResendMixin, CheckedSelectionMixin, ViewableMixin, HoldersMixin, generic.BulkEditView):
    queryset = BULK_QUERYSET
    filterset = filtersets.SegmentFilterSet
    table = tables.SegmentTable
    form = forms.SegmentBulkEditForm


@register_model_view(Segment, "bulk_delete", path="delete", detail=False)
class SegmentBulkDeleteView(
    ResendMixin,
    CheckedSelectionMixin,
    HoldersMixin,
    SegmentRefusalMixin,
    RefusableBulkDeleteMixin,
    generic.BulkDeleteView,
):
    queryset = BULK_QUERYSET
    filterset = filtersets.SegmentFilterSet
    table = tables.SegmentTable
