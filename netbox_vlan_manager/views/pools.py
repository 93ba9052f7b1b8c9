from django.db.models import Exists, OuterRef
from django.utils.translation import gettext_lazy as _

from extras.ui.panels import CustomFieldsPanel, TagsPanel
from netbox.object_actions import (
    AddObject,
    BulkDelete,
    BulkEdit,
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
from ..models import Allocation, PoolSnapshot, Segment, SegmentPool
from ..object_actions import (
    AddSegment,
    AllocateSegment,
    BulkDisableSegments,
    BulkEnableSegments,
    BulkReleaseAllocations,
    ExportPoolSegments,
    ExportStatistics,
    GenerateSegments,
    MovePool,
    PoolActionsMixin,
)
from ..services import update_pool
from ..services.base import transactions
from ..services.reporting.places import held_elsewhere
from ..ui import panels
from ..ui.plots import UtilizationHistoryPanel
from .filtering import CheckedFiltersMixin, CheckedSelectionMixin
from .mixins import (
    ChildrenMixin,
    ChildrenTab,
    KeepTypedMixin,
    RefusableBulkDeleteMixin,
    RefusableDeleteMixin,
    ResendMixin,
    ServiceBulkEditMixin,
    ServiceImportMixin,
    ViewableMixin,
    annotate_may_release,
    prefetch_holders,
)

__all__ = (
    "SegmentPoolAllocationsView",
    "SegmentPoolBulkDeleteView",
    "SegmentPoolBulkEditView",
    "SegmentPoolBulkImportView",
    "SegmentPoolDeleteView",
    "SegmentPoolEditView",
    "SegmentPoolListView",
    "SegmentPoolSegmentsView",
    "SegmentPoolView",
)


# The bulk views show every column of the table, but prefetch nothing: the queryset reads the related objects.
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
class SegmentPoolListView(CheckedFiltersMixin, PoolActionsMixin, generic.ObjectListView):
    # NetBox's column for tenants reads the VRF's where the pool has none.
    queryset = SegmentPool.objects.with_usage().select_related("vrf__tenant")
    filterset = filtersets.SegmentPoolFilterSet
    filterset_form = forms.SegmentPoolFilterForm
    table = tables.SegmentPoolTable
    actions = (AllocateSegment, AddObject, BulkImport, ExportStatistics, BulkEdit, BulkDelete)

    def get_queryset(self, request):
        allowed = SegmentPool.objects.restrict(request.user, "allocate").filter(pk=OuterRef("pk"))
        return super().get_queryset(request).annotate(may_allocate=Exists(allowed))


@register_model_view(SegmentPool)
class SegmentPoolView(PoolActionsMixin, GetRelatedModelsMixin, generic.ObjectView):
    queryset = SegmentPool.objects.with_usage()
    actions = (AllocateSegment, MovePool, CloneObject, EditObject, DeleteObject)
    layout = layout.SimpleLayout(
        left_panels=[
            panels.EmptyPoolPanel(),
            panels.SegmentPoolPanel(),
            panels.SegmentPoolAllocationPanel(),
            panels.SegmentPoolGrowthPanel(),
            panels.SegmentPoolHostsPanel(),
            CustomFieldsPanel(),
            TagsPanel(),
        ],
        right_panels=[
            panels.SegmentPoolUsagePanel(),
            UtilizationHistoryPanel(),
            panels.SegmentPoolContainersPanel(),
            RelatedObjectsPanel(),
            CommentsPanel(),
        ],
    )

    def get_extra_context(self, request, instance):
        instance.held_elsewhere = held_elsewhere({instance.pk: instance.vrf_id}, request.user)[instance.pk]
        return {
            "related_models": self.get_related_models(request, instance, omit=(PoolSnapshot,)),
        }


@register_model_view(SegmentPool, "segments")
class SegmentPoolSegmentsView(CheckedFiltersMixin, ChildrenMixin, PoolActionsMixin, generic.ObjectChildrenView):
    queryset = SegmentPool.objects.all()
    child_model = Segment
    table = tables.PoolSegmentTable
    template_name = "netbox_vlan_manager/pool_segments.html"
    filterset = filtersets.SegmentFilterSet
    filterset_form = forms.SegmentFilterForm
    tab = ChildrenTab(_("Segments"), Segment, "pool", weight=500)
    actions = (
        AddSegment,
        GenerateSegments,
        AllocateSegment,
        MovePool,
        ExportPoolSegments,
        CloneObject,
        EditObject,
        DeleteObject,
        BulkEdit,
        BulkReleaseAllocations,
        BulkDisableSegments,
        BulkEnableSegments,
        BulkDelete,
    )

    def get_children(self, request, parent):
        segments = parent.segments.restrict(request.user, "view").select_related("vlan", "prefix", "ipv6_prefix")
        return prefetch_holders(segments, request.user)

    def get_extra_context(self, request, instance):
        return {"is_empty": not instance.segments.exists()}


class HeldTab(ChildrenTab):
    """A tab with a pool's allocations. Its number is of the active ones: with the others, it would look like usage."""

    def get_counted(self, instance):
        return super().get_counted(instance).active()


@register_model_view(SegmentPool, "allocations")
class SegmentPoolAllocationsView(CheckedFiltersMixin, ChildrenMixin, PoolActionsMixin, generic.ObjectChildrenView):
    queryset = SegmentPool.objects.all()
    child_model = Allocation
    table = tables.PoolAllocationTable
    filterset = filtersets.AllocationFilterSet
    filterset_form = forms.AllocationFilterForm
    tab = HeldTab(_("Allocations"), Allocation, "pool", weight=510)
    actions = (AllocateSegment, MovePool, CloneObject, EditObject, DeleteObject, BulkEdit, BulkReleaseAllocations)

    def get_children(self, request, parent):
        allocations = parent.allocations.restrict(request.user, "view")
        allocations = allocations.select_related("pool", "segment__vlan", "allocated_by", "released_by")
        return annotate_may_release(allocations, request.user)


@register_model_view(SegmentPool, "add", detail=False)
@register_model_view(SegmentPool, "edit")
class SegmentPoolEditView(KeepTypedMixin, generic.ObjectEditView):
    queryset = SegmentPool.objects.all()
    form = forms.SegmentPoolForm
    template_name = "netbox_vlan_manager/pool_edit.html"
    htmx_template_name = "netbox_vlan_manager/htmx/grouped_form.html"


class PoolRefusalMixin:
    def get_refusal(self, queryset):
        if pool := queryset.filter(total_segments__gt=0).first():
            return _("Pool {pool} has segments: delete them first, or retire the pool.").format(pool=pool)
        return None


@register_model_view(SegmentPool, "delete")
class SegmentPoolDeleteView(ResendMixin, PoolRefusalMixin, RefusableDeleteMixin, generic.ObjectDeleteView):
    queryset = SegmentPool.objects.with_usage()

    def _get_dependent_objects(self, obj):
        """Leave out the pool's snapshots: hundreds of rows of statistics would hide the other objects."""
        dependent_objects = super()._get_dependent_objects(obj)
        dependent_objects.pop(PoolSnapshot, None)
        return dependent_objects


@register_model_view(SegmentPool, "bulk_import", path="import", detail=False)
class SegmentPoolBulkImportView(ServiceImportMixin, generic.BulkImportView):
    queryset = SegmentPool.objects.all()
    model_form = forms.SegmentPoolImportForm


@register_model_view(SegmentPool, "bulk_edit", path="edit", detail=False)
class SegmentPoolBulkEditView(
    ResendMixin, CheckedSelectionMixin, ViewableMixin, ServiceBulkEditMixin, generic.BulkEditView
):
    queryset = BULK_QUERYSET
    filterset = filtersets.SegmentPoolFilterSet
    table = tables.SegmentPoolTable
    form = forms.SegmentPoolBulkEditForm

    def lock(self, instances):
        transactions.lock_spaces([pool.vrf_id for pool in instances], [pool.vlan_group_id for pool in instances])

    def update_by_service(self, instance, **values):
        return update_pool(instance, user=self.request.user, enforce=True, **values)


@register_model_view(SegmentPool, "bulk_delete", path="delete", detail=False)
class SegmentPoolBulkDeleteView(
    ResendMixin, CheckedSelectionMixin, PoolRefusalMixin, RefusableBulkDeleteMixin, generic.BulkDeleteView
):
    queryset = BULK_QUERYSET
    filterset = filtersets.SegmentPoolFilterSet
    table = tables.SegmentPoolTable
