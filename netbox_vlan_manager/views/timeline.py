from django.contrib import messages
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.generic import View

from utilities.paginator import EnhancedPaginator, get_paginate_count
from utilities.views import ContentTypePermissionRequiredMixin

from ..filtersets import AllocationFilterSet
from ..forms import TimelineForm
from ..models import Allocation, SegmentPool
from ..ui.timeline import get_holdings, timeline_plot
from .filtering import describe_ignored

__all__ = ("TimelineView",)


class TimelineView(ContentTypePermissionRequiredMixin, View):
    """
    Shows who held a VLAN ID, a prefix or which segments a cluster held, in any pool, with deleted segments and pools.

    The URL takes the filters of allocations. Allocations keep what they held: see the model.
    """

    def get_required_permission(self):
        return "netbox_vlan_manager.view_allocation"

    def get(self, request):
        allocations = Allocation.objects.restrict(request.user, "view").select_related(
            "allocated_by", "released_by", "pool"
        )
        filterset = AllocationFilterSet(request.GET, allocations, request=request)
        for text in describe_ignored(filterset):
            messages.warning(request, text)
        form = TimelineForm(request.GET)
        form.is_valid()
        asked = {name: value for name, value in form.cleaned_data.items() if value}
        paginator = EnhancedPaginator(filterset.qs if asked else allocations.none(), get_paginate_count(request))
        page = paginator.get_page(request.GET.get("page"))
        now = timezone.now()
        holdings = get_holdings(page.object_list, now)
        viewable = {held.pool_id for held in page.object_list}
        viewable = (
            SegmentPool.objects.restrict(request.user, "view").filter(pk__in=viewable).values_list("pk", flat=True)
        )
        context = {
            "form": form,
            "title": get_title(asked),
            "asked": bool(asked),
            "holdings": holdings,
            "plot": timeline_plot(holdings, now),
            "viewable_pools": set(viewable) if holdings else set(),
            "time_zone": timezone.get_current_timezone_name(),
            "paginator": paginator,
            "page": page,
        }
        return render(request, "netbox_vlan_manager/timeline.html", context)


def get_title(asked):
    """Return what the timeline is of, such as "VLAN ID 104, cluster prod-01"; empty if nothing is asked for."""
    texts = {
        "vid": _("VLAN ID {value}"),
        "contains": _("prefix {value}"),
        "vrf_name": _("VRF {value}"),
        "cluster_name": _("cluster {value}"),
    }
    return ", ".join(texts[name].format(value=value) for name, value in asked.items())
