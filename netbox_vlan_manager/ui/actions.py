from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from netbox.ui import actions

from ..object_actions import ReleaseAllocation as ReleaseAllocationAction


class Timeline(actions.LinkAction):
    """A button to the timeline of a panel's object: `get_filters(object)` returns the filters of its URL."""

    def __init__(self, label, get_filters):
        super().__init__(
            view_name="plugins:netbox_vlan_manager:timeline",
            label=label,
            permissions=["netbox_vlan_manager.view_allocation"],
            button_icon="timeline-clock-outline",
        )
        self.get_filters = get_filters

    def get_url(self, context):
        return f"{reverse(self.view_name)}?{urlencode(self.get_filters(context['object']))}"


class ReleaseAllocation(actions.LinkAction):
    """A button that asks whether to release the allocation of a panel, and then returns to the panel's page."""

    def __init__(self):
        super().__init__(
            view_name="plugins:netbox_vlan_manager:allocation_release",
            label=_("Release"),
            button_class="orange",
            button_icon="link-variant-off",
        )

    def get_url(self, context):
        url = reverse(self.view_name, kwargs={"pk": context["object"].pk})
        return f"{url}?{urlencode({'return_url': context['request'].path})}"

    def render(self, context):
        permitted = ReleaseAllocationAction.is_permitted(context["request"].user, context["object"])
        return super().render(context) if permitted else ""
