from django.db.models import Exists, OuterRef
from django.utils.translation import ngettext

from extras.ui.panels import CustomFieldsPanel, TagsPanel
from netbox.object_actions import (
    AddObject,
    BulkDelete,
    BulkEdit,
    BulkExport,
    BulkImport,
    CloneObject,
    DeleteObject,
    EditObject,
)
from netbox.ui import layout
from netbox.ui.panels import CommentsPanel, RelatedObjectsPanel
from netbox.views import generic
from utilities.views import GetRelatedModelsMixin, register_model_view

from .. import filtersets, forms, tables
from ..models import SegmentPool
from ..object_actions import AllocateSegment, PoolActionsMixin
from ..ui import panels
from .mixins import RefusableBulkDeleteMixin, RefusableDeleteMixin, ServiceImportMixin

__all__ = (
    "SegmentPoolBulkDeleteView",
    "SegmentPoolBulkEditView",
    "SegmentPoolBulkImportView",
    "SegmentPoolDeleteView",
    "SegmentPoolEditView",
    "SegmentPoolListView",
    "SegmentPoolView",
)


# The bulk views show every column of the table, and leave it to their queryset to read what is behind them.
BULK_QUERYSET = SegmentPool.objects.with_usage().prefetch_related(
    "vrf",
    "scope_type",
    "scope",
    "vlan_group",
    "prefixes",
    "tenant__group",
    "role",
    "owner__group",
    "contacts__contact",
    "tags",
)


@register_model_view(SegmentPool, "list", path="", detail=False)
class SegmentPoolListView(PoolActionsMixin, generic.ObjectListView):
    queryset = SegmentPool.objects.with_usage()
    filterset = filtersets.SegmentPoolFilterSet
    filterset_form = forms.SegmentPoolFilterForm
    table = tables.SegmentPoolTable
    actions = (AllocateSegment, AddObject, BulkImport, BulkExport, BulkEdit, BulkDelete)

    def get_queryset(self, request):
        allowed = SegmentPool.objects.restrict(request.user, "allocate").filter(pk=OuterRef("pk"))
        return super().get_queryset(request).annotate(may_allocate=Exists(allowed))


@register_model_view(SegmentPool)
class SegmentPoolView(PoolActionsMixin, GetRelatedModelsMixin, generic.ObjectView):
    queryset = SegmentPool.objects.with_usage()
    template_name = "generic/object.html"
    actions = (AllocateSegment, CloneObject, EditObject, DeleteObject)
    layout = layout.SimpleLayout(
        left_panels=[
            panels.SegmentPoolPanel(),
            CustomFieldsPanel(),
            TagsPanel(),
        ],
        right_panels=[
            panels.SegmentPoolUsagePanel(),
            panels.SegmentPoolContainersPanel(),
            RelatedObjectsPanel(),
            CommentsPanel(),
        ],
        bottom_panels=[
            panels.SegmentPoolSegmentsPanel(),
        ],
    )

    def get_extra_context(self, request, instance):
        return {
            "related_models": self.get_related_models(request, instance),
        }


@register_model_view(SegmentPool, "add", detail=False)
@register_model_view(SegmentPool, "edit")
class SegmentPoolEditView(generic.ObjectEditView):
    queryset = SegmentPool.objects.all()
    form = forms.SegmentPoolForm
    template_name = "netbox_vlan_manager/object_edit.html"


class PoolRefusalMixin:
    def get_refusal(self, queryset):
        if pool := queryset.filter(total_segments__gt=0).first():
            return ngettext(
                "Pool {pool} has {count} segment: delete it first.",
                "Pool {pool} has {count} segments: delete them first.",
                pool.total_segments,
            ).format(pool=pool, count=pool.total_segments)
        return None


@register_model_view(SegmentPool, "delete")
class SegmentPoolDeleteView(PoolRefusalMixin, RefusableDeleteMixin, generic.ObjectDeleteView):
    queryset = SegmentPool.objects.with_usage()


@register_model_view(SegmentPool, "bulk_import", path="import", detail=False)
class SegmentPoolBulkImportView(ServiceImportMixin, generic.BulkImportView):
    queryset = SegmentPool.objects.all()
    model_form = forms.SegmentPoolImportForm


@register_model_view(SegmentPool, "bulk_edit", path="edit", detail=False)
class SegmentPoolBulkEditView(generic.BulkEditView):
    queryset = BULK_QUERYSET
    filterset = filtersets.SegmentPoolFilterSet
    table = tables.SegmentPoolTable
    form = forms.SegmentPoolBulkEditForm


@register_model_view(SegmentPool, "bulk_delete", path="delete", detail=False)
class SegmentPoolBulkDeleteView(PoolRefusalMixin, RefusableBulkDeleteMixin, generic.BulkDeleteView):
    queryset = BULK_QUERYSET
    filterset = filtersets.SegmentPoolFilterSet
    table = tables.SegmentPoolTable
