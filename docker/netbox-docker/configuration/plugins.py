PLUGINS = ["netbox_vlan_manager"]

PLUGINS_CONFIG = {
    "netbox_vlan_manager": {},
}
