from django.core.exceptions import PermissionDenied
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.generic import View

from utilities.htmx import htmx_partial
from utilities.views import ContentTypePermissionRequiredMixin

from ..exceptions import PoolExhausted, PoolPaused
from ..forms import QuickAllocateForm
from ..forms.errors import add_service_error
from ..models import Allocation, SegmentPool
from ..services import allocate
from ..services.base.refusals import SERVICE_ERRORS
from ..services.reporting.overview import most_urgent, recent_activity, total_usage
from ..ui.plots import history_context
from .mixins import KeepTypedMixin

__all__ = ("OverviewView",)

# How many pools have a card. The list of pools shows them all, in pages.
POOLS_SHOWN = 60


class OverviewView(KeepTypedMixin, ContentTypePermissionRequiredMixin, View):
    """
    Shows the utilization of the pools and the latest activity, and allocates a segment.

    The page is for users who may view pools or allocate; each part is for users who may view what it shows.
    """

    template_name = "netbox_vlan_manager/overview.html"
    content_template_name = "netbox_vlan_manager/overview_content.html"
    field_template_name = "netbox_vlan_manager/overview_field.html"

    def has_permission(self):
        if self.may_allocate():
            return True
        return self.request.method != "POST" and self.request.user.has_perm("netbox_vlan_manager.view_segmentpool")

    def may_allocate(self):
        return self.request.user.has_perm("netbox_vlan_manager.allocate_segmentpool")

    def get(self, request):
        form = self.get_form(initial={name: request.GET.get(name) for name in QuickAllocateForm.base_fields})
        if not htmx_partial(request):
            return self.render(form)
        if form is None:
            raise PermissionDenied
        # The user has chosen another VRF: offer its sites only.
        return render(request, self.field_template_name, {"field": form["pool"]})

    def post(self, request):
        form = self.get_form(request.POST)
        if not form.is_valid():
            return self.render(form)
        pool = form.cleaned_data["pool"]
        try:
            result = allocate(form.cleaned_data["cluster_name"], user=request.user, pool=pool)
        except (PoolExhausted, PoolPaused) as error:
            form.add_error("pool", str(error))
            return self.render(form)
        except SERVICE_ERRORS as error:
            add_service_error(form, error)
            return self.render(form)
        # The new form reads the pools again: this one may have no segment left for the next cluster.
        return self.render(self.get_form(initial={"vrf": str(pool.vrf_id), "pool": str(pool.pk)}), result)

    def get_form(self, data=None, **kwargs):
        """Return the form, or None when the user may allocate nowhere."""
        return QuickAllocateForm(data, user=self.request.user, **kwargs) if self.may_allocate() else None

    def render(self, form, result=None):
        user = self.request.user
        allocations = Allocation.objects.restrict(user, "view")
        pools = SegmentPool.objects.restrict(user, "view")
        states = most_urgent(pools)
        usage = total_usage([pool.statistics for pool in states])
        context = {
            # Not named "form": NetBox would repeat the form's errors in a toast.
            "allocate_form": form,
            "result": result,
            "result_visible": result is not None and allocations.filter(pk=result.allocation.pk).exists(),
            "pools": states[:POOLS_SHOWN],
            "pools_shown": POOLS_SHOWN,
            "pool_count": len(states),
            "usage": usage,
            "activities": recent_activity(user),
            **history_context(self.request, pools, usage, title=_("Utilization of all pools together")),
        }
        template_name = self.content_template_name if htmx_partial(self.request) else self.template_name
        return render(self.request, template_name, context)
