from extras.ui.panels import CustomFieldsPanel, TagsPanel
from netbox.object_actions import AddObject, BulkDelete, BulkEdit, BulkExport, BulkImport, DeleteObject, EditObject
from netbox.ui import layout
from netbox.ui.breadcrumbs import Breadcrumb, filtered_list_url
from netbox.ui.panels import CommentsPanel
from netbox.views import generic
from utilities.views import register_model_view

from .. import filtersets, forms, tables
from ..models import Segment
from ..ui import panels
from .mixins import ServiceImportMixin, annotate_may_release, prefetch_holders

__all__ = (
    "SegmentBulkDeleteView",
    "SegmentBulkEditView",
    "SegmentBulkImportView",
    "SegmentDeleteView",
    "SegmentEditView",
    "SegmentListView",
    "SegmentView",
)


@register_model_view(Segment, "list", path="", detail=False)
class SegmentListView(generic.ObjectListView):
    queryset = Segment.objects.select_related("vlan", "prefix")
    filterset = filtersets.SegmentFilterSet
    filterset_form = forms.SegmentFilterForm
    table = tables.SegmentTable
    actions = (AddObject, BulkImport, BulkExport, BulkEdit, BulkDelete)

    def get_queryset(self, request):
        return prefetch_holders(annotate_may_release(super().get_queryset(request), request.user), request.user)


@register_model_view(Segment)
class SegmentView(generic.ObjectView):
    queryset = Segment.objects.select_related("vlan__group", "prefix", "pool__vrf")
    template_name = "generic/object.html"
    actions = (EditObject, DeleteObject)
    layout = layout.SimpleLayout(
        breadcrumbs=[
            Breadcrumb("pool", url=filtered_list_url("plugins:netbox_vlan_manager:segment_list", "pool_id")),
        ],
        left_panels=[
            panels.SegmentPanel(),
            panels.CurrentAllocationPanel(),
            CustomFieldsPanel(),
            TagsPanel(),
        ],
        right_panels=[
            panels.SegmentLocationPanel(),
            panels.SegmentAddressingPanel(),
            CommentsPanel(),
        ],
        bottom_panels=[
            panels.SegmentHistoryPanel(),
        ],
    )

    def get_extra_context(self, request, instance):
        return {
            "allocation": instance.allocations.restrict(request.user, "view").active().first(),
        }


@register_model_view(Segment, "add", detail=False)
@register_model_view(Segment, "edit")
class SegmentEditView(generic.ObjectEditView):
    queryset = Segment.objects.select_related("vlan", "prefix", "pool")
    form = forms.SegmentForm

    def get_extra_addanother_params(self, request):
        return {"pool": request.POST.get("pool", "")}


@register_model_view(Segment, "delete")
class SegmentDeleteView(generic.ObjectDeleteView):
    queryset = Segment.objects.select_related("vlan")


@register_model_view(Segment, "bulk_import", path="import", detail=False)
class SegmentBulkImportView(ServiceImportMixin, generic.BulkImportView):
    queryset = Segment.objects.all()
    model_form = forms.SegmentImportForm


@register_model_view(Segment, "bulk_edit", path="edit", detail=False)
class SegmentBulkEditView(generic.BulkEditView):
    queryset = Segment.objects.select_related("vlan", "prefix")
    filterset = filtersets.SegmentFilterSet
    table = tables.SegmentTable
    form = forms.SegmentBulkEditForm


@register_model_view(Segment, "bulk_delete", path="delete", detail=False)
class SegmentBulkDeleteView(generic.BulkDeleteView):
    queryset = Segment.objects.select_related("vlan", "prefix")
    filterset = filtersets.SegmentFilterSet
    table = tables.SegmentTable
