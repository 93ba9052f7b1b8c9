"""
Moves over from the first generation, and back: prefixes with the custom fields Cluster and DHCP.

A prefix of it is active (free) or reserved (held by the clusters that Cluster names, with commas between them), has its
VLAN set, and that VLAN is in a group named "<VRF>-ClickCluster-<Site>". `migrating` makes a pool of each such group, a
segment that is adopted of each prefix (see `adoption`), and an allocation of each name. VLANs and prefixes stay.

A pool is on trial after that: the first generation may go on, `following` carries what it writes over to the plugin,
and what the plugin hands out over to the prefixes. `undoing` ends that in favour of either. What could not be migrated
is in use all the same: `unmigrated` finds it.

Modules are imported from here one by one, since the services below them use some.
"""
