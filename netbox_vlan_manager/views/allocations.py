from django.contrib import messages
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.generic import View

from extras.ui.panels import CustomFieldsPanel, TagsPanel
from netbox.object_actions import BulkEdit, BulkExport, EditObject
from netbox.ui import layout
from netbox.ui.breadcrumbs import Breadcrumb, filtered_list_url
from netbox.ui.panels import CommentsPanel
from netbox.views import generic
from netbox.views.generic.base import BaseMultiObjectView, BaseObjectView
from utilities.forms import ConfirmationForm
from utilities.htmx import htmx_partial
from utilities.querydict import normalize_querydict
from utilities.views import ContentTypePermissionRequiredMixin, GetReturnURLMixin, register_model_view

from .. import filtersets, forms, tables
from ..exceptions import VLANManagerError
from ..forms.errors import SERVICE_ERRORS, add_service_error
from ..models import Allocation, SegmentPool
from ..object_actions import AllocateSegment, BulkReleaseAllocations, PoolActionsMixin, ReleaseAllocation
from ..services import allocate, release_allocation
from ..services.resolution import check_pool_permission
from ..ui import panels
from .mixins import annotate_may_release

__all__ = (
    "AllocateView",
    "AllocationBulkEditView",
    "AllocationBulkReleaseView",
    "AllocationEditView",
    "AllocationListView",
    "AllocationReleaseView",
    "AllocationView",
)


@register_model_view(Allocation, "list", path="", detail=False)
class AllocationListView(PoolActionsMixin, generic.ObjectListView):
    queryset = Allocation.objects.select_related("pool", "segment__vlan", "allocated_by", "released_by")
    filterset = filtersets.AllocationFilterSet
    filterset_form = forms.AllocationFilterForm
    table = tables.AllocationTable
    actions = (AllocateSegment, BulkExport, BulkEdit, BulkReleaseAllocations)

    def get_queryset(self, request):
        return annotate_may_release(super().get_queryset(request), request.user)


@register_model_view(Allocation)
class AllocationView(PoolActionsMixin, generic.ObjectView):
    queryset = Allocation.objects.select_related("pool", "segment__vlan", "cluster", "allocated_by", "released_by")
    template_name = "generic/object.html"
    actions = (ReleaseAllocation, EditObject)
    layout = layout.SimpleLayout(
        breadcrumbs=[
            Breadcrumb("pool", url=filtered_list_url("plugins:netbox_vlan_manager:allocation_list", "pool_id")),
        ],
        left_panels=[
            panels.AllocationPanel(),
            CustomFieldsPanel(),
            TagsPanel(),
        ],
        right_panels=[
            panels.AllocatedSegmentPanel(),
            CommentsPanel(),
        ],
    )


@register_model_view(Allocation, "edit")
class AllocationEditView(generic.ObjectEditView):
    queryset = Allocation.objects.all()
    form = forms.AllocationForm


@register_model_view(Allocation, "bulk_edit", path="edit", detail=False)
class AllocationBulkEditView(generic.BulkEditView):
    queryset = Allocation.objects.select_related("pool", "segment__vlan", "allocated_by", "released_by")
    filterset = filtersets.AllocationFilterSet
    table = tables.AllocationTable
    form = forms.AllocationBulkEditForm


@register_model_view(Allocation, "allocate", detail=False)
class AllocateView(GetReturnURLMixin, ContentTypePermissionRequiredMixin, View):
    """
    Allocates a segment to a cluster.

    The permission is one on segment pools: its constraints say which pools are offered, and any other is a 403.
    """

    template_name = "netbox_vlan_manager/allocate.html"
    default_return_url = "plugins:netbox_vlan_manager:allocation_list"

    def get_required_permission(self):
        return "netbox_vlan_manager.allocate_segmentpool"

    def get(self, request):
        self.check_pool(request.GET.get("pool"))
        return self.render(self.get_form(initial=normalize_querydict(request.GET)))

    def post(self, request):
        self.check_pool(request.POST.get("pool"))
        form = self.get_form(request.POST)
        if not form.is_valid():
            return self.render(form)
        try:
            allocation, created = allocate(user=request.user, **form.cleaned_data)
        except SERVICE_ERRORS as error:
            add_service_error(form, error)
            return self.render(form)
        self.report(allocation, created)
        if Allocation.objects.restrict(request.user, "view").filter(pk=allocation.pk).exists():
            return redirect(allocation.get_absolute_url())
        return redirect(request.path)

    def check_pool(self, value):
        """Refuse a pool in which the user may not allocate. What is no pool's id is left to the form."""
        pool = SegmentPool.objects.filter(pk=value).first() if value and value.isdecimal() else None
        if pool:
            check_pool_permission(self.request.user, pool, "allocate")

    def get_form(self, data=None, **kwargs):
        return forms.AllocateForm(data, pools=SegmentPool.objects.restrict(self.request.user, "allocate"), **kwargs)

    def render(self, form):
        return render(
            self.request,
            self.template_name,
            {"form": form, "return_url": self.get_return_url(self.request)},
        )

    def report(self, allocation, created):
        """Tell the user what the cluster holds, and whether it held it before."""
        if created:
            level, text = messages.SUCCESS, _("Cluster {cluster} got VLAN {vid}, prefix {prefix}, EPG {epg}.")
        else:
            level, text = (
                messages.INFO,
                _("Cluster {cluster} already holds VLAN {vid}, prefix {prefix}, EPG {epg}; nothing new was allocated."),
            )
        messages.add_message(
            self.request,
            level,
            format_html(
                text,
                cluster=allocation.cluster_name,
                vid=allocation.vid,
                prefix=allocation.prefix,
                epg=allocation.epg_name,
            ),
        )


@register_model_view(Allocation, "release")
class AllocationReleaseView(GetReturnURLMixin, BaseObjectView):
    """Releases an allocation, after a question."""

    queryset = Allocation.objects.select_related("pool", "segment")
    template_name = "netbox_vlan_manager/release.html"
    htmx_template_name = "netbox_vlan_manager/htmx/release_form.html"
    additional_permissions = ("netbox_vlan_manager.release_segmentpool",)

    def get_required_permission(self):
        return "netbox_vlan_manager.view_allocation"

    def get_object(self, **kwargs):
        allocation = super().get_object(**kwargs)
        if allocation.pool:
            check_pool_permission(self.request.user, allocation.pool, "release")
        return allocation

    def get(self, request, **kwargs):
        allocation = self.get_object(**kwargs)
        form = ConfirmationForm(initial=normalize_querydict(request.GET))
        return self.render(allocation, form)

    def post(self, request, **kwargs):
        allocation = self.get_object(**kwargs)
        form = ConfirmationForm(request.POST)
        if not form.is_valid():
            return self.render(allocation, form)
        try:
            allocation, released = release_allocation(allocation, user=request.user)
        except VLANManagerError as error:
            messages.error(request, error.message)
            return redirect(allocation.get_absolute_url())
        if released:
            messages.success(request, _("Released {allocation}.").format(allocation=allocation))
        else:
            messages.info(request, _("{allocation} had been released before.").format(allocation=allocation))
        return redirect(self.get_return_url(request, allocation))

    def render(self, allocation, form):
        context = {
            "object": allocation,
            "form": form,
            "form_url": reverse("plugins:netbox_vlan_manager:allocation_release", kwargs={"pk": allocation.pk}),
        }
        if htmx_partial(self.request):
            return render(self.request, self.htmx_template_name, context)
        return render(
            self.request,
            self.template_name,
            {**context, "return_url": self.get_return_url(self.request, allocation)},
        )


@register_model_view(Allocation, "bulk_release", path="release", detail=False)
class AllocationBulkReleaseView(GetReturnURLMixin, BaseMultiObjectView):
    """
    Releases the allocations that were ticked, after a question.

    Each is a transaction of its own: together they would hold the locks of many clusters at once.
    """

    queryset = Allocation.objects.select_related("pool", "segment__vlan", "allocated_by", "released_by")
    filterset = filtersets.AllocationFilterSet
    table = tables.AllocationTable
    template_name = "netbox_vlan_manager/bulk_release.html"
    additional_permissions = ("netbox_vlan_manager.release_segmentpool",)

    def get_required_permission(self):
        return "netbox_vlan_manager.view_allocation"

    def get(self, request):
        return redirect(self.get_return_url(request))

    def post(self, request):
        active = annotate_may_release(self.queryset.active(), request.user).filter(may_release=True)
        if request.POST.get("_all"):
            selected = self.filterset(request.GET, active, request=request).qs
        else:
            selected = active.filter(pk__in=[pk for pk in request.POST.getlist("pk") if pk.isdecimal()])
        if not selected:
            messages.warning(request, _("None of the selected allocations is active and yours to release."))
            return redirect(self.get_return_url(request))
        if "_confirm" in request.POST:
            self.release(selected)
            return redirect(self.get_return_url(request))
        return render(
            request,
            self.template_name,
            {
                "form": forms.BulkReleaseForm(
                    initial={
                        "pk": [allocation.pk for allocation in selected],
                        "return_url": self.get_return_url(request),
                    }
                ),
                "table": self.table(selected, orderable=False),
                "return_url": self.get_return_url(request),
            },
        )

    def release(self, allocations):
        """Release each and tell the user how many were, and which were not and why."""
        released = 0
        for allocation in allocations:
            try:
                released += release_allocation(allocation, user=self.request.user).released
            except VLANManagerError as error:
                messages.error(
                    self.request,
                    _("{allocation} was not released: {reason}").format(allocation=allocation, reason=error.message),
                )
        if released:
            messages.success(
                self.request,
                ngettext("Released {count} allocation.", "Released {count} allocations.", released).format(
                    count=released
                ),
            )
