from django.utils.translation import gettext as _

from extras.ui.panels import CustomFieldsPanel, TagsPanel
from ipam.models import VLAN, Prefix
from netbox.object_actions import AddObject, BulkDelete, BulkEdit, BulkExport, BulkImport, DeleteObject, EditObject
from netbox.ui import layout
from netbox.ui.breadcrumbs import Breadcrumb, filtered_list_url
from netbox.ui.panels import CommentsPanel
from netbox.views import generic
from utilities.views import register_model_view

from .. import filtersets, forms, tables
from ..choices import SegmentStatusChoices
from ..models import Segment
from ..ui import panels
from .mixins import (
    HoldersMixin,
    RefusableBulkDeleteMixin,
    RefusableDeleteMixin,
    ServiceImportMixin,
    annotate_may_release,
)

__all__ = (
    "SegmentBulkDeleteView",
    "SegmentBulkEditView",
    "SegmentBulkImportView",
    "SegmentDeleteView",
    "SegmentEditView",
    "SegmentListView",
    "SegmentView",
)


# The bulk views show every column of the table, and leave it to their queryset to read what is behind them.
BULK_QUERYSET = Segment.objects.select_related("vlan", "prefix", "pool__vrf").prefetch_related(
    "pool__scope", "owner__group", "contacts__contact", "tags"
)


@register_model_view(Segment, "list", path="", detail=False)
class SegmentListView(HoldersMixin, generic.ObjectListView):
    queryset = Segment.objects.select_related("vlan", "prefix")
    filterset = filtersets.SegmentFilterSet
    filterset_form = forms.SegmentFilterForm
    table = tables.SegmentTable
    actions = (AddObject, BulkImport, BulkExport, BulkEdit, BulkDelete)

    def get_queryset(self, request):
        return annotate_may_release(super().get_queryset(request), request.user)


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
    template_name = "netbox_vlan_manager/object_edit.html"

    def get_extra_addanother_params(self, request):
        return {"pool": request.POST.get("pool", "")}


class SegmentRefusalMixin:
    def get_refusal(self, queryset):
        if segment := queryset.filter(status=SegmentStatusChoices.ALLOCATED).first():
            return _("Segment {segment} is allocated: release it before you delete it.").format(segment=segment)
        return None


@register_model_view(Segment, "delete")
class SegmentDeleteView(SegmentRefusalMixin, RefusableDeleteMixin, generic.ObjectDeleteView):
    queryset = Segment.objects.select_related("vlan", "prefix")

    def _get_dependent_objects(self, obj):
        """Name the VLAN and the prefix too, where they were made with the segment and go with it."""
        dependent_objects = super()._get_dependent_objects(obj)
        if obj.owns_vlan:
            dependent_objects[VLAN] = [obj.vlan]
        if obj.owns_prefix:
            dependent_objects[Prefix] = [obj.prefix]
        return dependent_objects


@register_model_view(Segment, "bulk_import", path="import", detail=False)
class SegmentBulkImportView(ServiceImportMixin, generic.BulkImportView):
    queryset = Segment.objects.all()
    model_form = forms.SegmentImportForm


@register_model_view(Segment, "bulk_edit", path="edit", detail=False)
class SegmentBulkEditView(HoldersMixin, generic.BulkEditView):
    queryset = BULK_QUERYSET
    filterset = filtersets.SegmentFilterSet
    table = tables.SegmentTable
    form = forms.SegmentBulkEditForm


@register_model_view(Segment, "bulk_delete", path="delete", detail=False)
class SegmentBulkDeleteView(HoldersMixin, SegmentRefusalMixin, RefusableBulkDeleteMixin, generic.BulkDeleteView):
    queryset = BULK_QUERYSET
    filterset = filtersets.SegmentFilterSet
    table = tables.SegmentTable
