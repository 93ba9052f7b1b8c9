from django.utils.translation import gettext_lazy as _

from netbox.context import current_request
from netbox.plugins import PluginMenu, PluginMenuButton, PluginMenuItem

from . import wings


class AnyPermissionMenuItem(PluginMenuItem):
    """
    A menu item for users who hold any one of its permissions. NetBox shows an item to users who hold them all.

    The menu is rendered in a request, whose user is asked. The permissions of a user are read once for each request.
    """

    @property
    def permissions(self):
        request = current_request.get()
        held = (name for name in self.any_permission if request and request.user.has_perm(name))
        return (next(held, self.any_permission[0]),)

    @permissions.setter
    def permissions(self, value):
        self.any_permission = value


overview = AnyPermissionMenuItem(
    link="plugins:netbox_vlan_manager:overview",
    link_text=_("Overview"),
    permissions=("netbox_vlan_manager.view_segmentpool", "netbox_vlan_manager.allocate_segmentpool"),
)

allocate = PluginMenuItem(
    link="plugins:netbox_vlan_manager:allocation_allocate",
    link_text=_("Allocate"),
    permissions=("netbox_vlan_manager.allocate_segmentpool",),
)

allocations = PluginMenuItem(
    link="plugins:netbox_vlan_manager:allocation_list",
    link_text=_("Allocations"),
    permissions=("netbox_vlan_manager.view_allocation",),
)


def _inventory(model_name, link_text):
    """Return the menu item of a model, with buttons to add and import."""
    permissions = (f"netbox_vlan_manager.add_{model_name}",)
    return PluginMenuItem(
        link=f"plugins:netbox_vlan_manager:{model_name}_list",
        link_text=link_text,
        permissions=(f"netbox_vlan_manager.view_{model_name}",),
        buttons=(
            PluginMenuButton(
                link=f"plugins:netbox_vlan_manager:{model_name}_add",
                title=_("Add"),
                icon_class="mdi mdi-plus-thick",
                permissions=permissions,
            ),
            PluginMenuButton(
                link=f"plugins:netbox_vlan_manager:{model_name}_bulk_import",
                title=_("Import"),
                icon_class="mdi mdi-upload",
                permissions=permissions,
            ),
        ),
    )


drift = PluginMenuItem(
    link="plugins:netbox_vlan_manager:drift",
    link_text=_("Drift"),
    permissions=("netbox_vlan_manager.view_segmentpool",),
)

help_page = PluginMenuItem(
    link="plugins:netbox_vlan_manager:help",
    link_text=_("Help"),
    auth_required=True,
)

menu = PluginMenu(
    label=_("VLAN Manager"),
    groups=(
        (_("Clusters"), (overview, allocate, allocations)),
        (_("Segments"), (_inventory("segment", _("Segments")), _inventory("segmentpool", _("Segment Pools")), drift)),
        *wings.collect("navigation.groups"),
        (_("Documentation"), (help_page,)),
    ),
    icon_class="mdi mdi-lan",
)
