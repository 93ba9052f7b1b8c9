from netbox.plugins import PluginMenuItem

groups = [
    (
        "Specimens",
        (
            PluginMenuItem(
                link="plugins:netbox_vlan_manager:specimens",
                link_text="Specimens",
                permissions=("netbox_vlan_manager.view_specimen",),
            ),
        ),
    )
]
