"""Widgets for NetBox's home dashboard. They register on import."""

from django import forms
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from extras.dashboard.utils import register_widget
from extras.dashboard.widgets import DashboardWidget, WidgetConfigForm
from ipam.models import VRF
from netbox.context import current_request

from .models import SegmentPool
from .services.reporting.overview import most_used, recent_activity

__all__ = (
    "PoolUtilizationWidget",
    "RecentAllocationsWidget",
)


class MaxItemsForm(WidgetConfigForm):
    max_items = forms.IntegerField(
        label=gettext_lazy("Rows"),
        min_value=1,
        max_value=100,
        help_text=gettext_lazy("How many are shown at most"),
    )


@register_widget
class PoolUtilizationWidget(DashboardWidget):
    default_title = _("Pool Utilization")
    description = _("Show the most used segment pools of VLAN Manager.")
    default_config = {"max_items": 10, "vrf": None}
    template_name = "netbox_vlan_manager/widgets/pool_utilization.html"
    width = 4
    height = 4

    class ConfigForm(MaxItemsForm):
        vrf = forms.ModelChoiceField(
            label=gettext_lazy("VRF"),
            queryset=VRF.objects.none(),
            required=False,
            empty_label=gettext_lazy("All VRFs"),
        )

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.fields["vrf"].queryset = VRF.objects.restrict(current_request.get().user, "view")

        def clean_vrf(self):
            # NetBox stores the configuration as JSON.
            vrf = self.cleaned_data["vrf"]
            return vrf and vrf.pk

    def render(self, request):
        pools = SegmentPool.objects.restrict(request.user, "view")
        if vrf := self.config.get("vrf"):
            pools = pools.filter(vrf=vrf)
        rows = most_used(pools)[: self.config.get("max_items") or self.default_config["max_items"]]
        return render_to_string(self.template_name, {"pools": rows}, request)


@register_widget
class RecentAllocationsWidget(DashboardWidget):
    default_title = _("Recent VLAN Allocations")
    description = _("Show the last allocations and releases of VLAN Manager.")
    default_config = {"max_items": 10}
    template_name = "netbox_vlan_manager/overview_activities.html"
    width = 4
    height = 4
    ConfigForm = MaxItemsForm

    def render(self, request):
        limit = self.config.get("max_items") or self.default_config["max_items"]
        return render_to_string(self.template_name, {"activities": recent_activity(request.user, limit)}, request)
