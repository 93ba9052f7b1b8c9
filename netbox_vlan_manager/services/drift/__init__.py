"""
Drift: finds data that no longer fits between NetBox and the plugin, reports it, and repairs it.
"""

from importlib import import_module

# Each module registers its checks. Their order is that of the kinds: repairs of later kinds build on those of earlier.
for _name in ("pool_checks", "vlan_checks", "prefix_checks", "gateway_checks", "allocation_checks", "usage_checks"):
    import_module(f"{__name__}.{_name}")
