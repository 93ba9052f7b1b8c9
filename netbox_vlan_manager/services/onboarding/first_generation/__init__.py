"""
Migrates the data of the first generation, prefixes with the custom fields Cluster and DHCP, and gives it back.

A prefix of the first generation is active (free) or reserved (held by the clusters that Cluster names, with commas
between them). Its VLAN is set and in a group named "<VRF>-ClickCluster-<Site>". `migrating` makes a pool of each such
group, adopts each prefix as a segment (see `candidates`), and makes an allocation of each name. VLANs and prefixes
stay.

The pool is then on trial: the first generation may go on. `following` copies its writes to the plugin, and the plugin's
allocations to the prefixes. `undoing` ends the trial in favour of either. `segments.unmigrated` finds prefixes that
could not be migrated; they are in use all the same.
"""
