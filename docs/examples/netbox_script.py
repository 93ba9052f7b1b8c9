"""
A NetBox custom script: a form to give a cluster its network, or to take it back.

Upload it under Customization → Scripts. It runs as whoever starts it, with their permissions to allocate and release.
"""

from extras.scripts import BooleanVar, ObjectVar, Script, StringVar
from netbox_vlan_manager.exceptions import VLANManagerError
from netbox_vlan_manager.models import SegmentPool
from netbox_vlan_manager.services import allocate, check_pool_permission, release
from utilities.exceptions import AbortScript


class NetworkOfCluster(Script):
    class Meta:
        name = "Network of a cluster"
        description = "Allocates a segment to a cluster, or releases the one that it holds"
        commit_default = True
        scheduling_enabled = False

    pool = ObjectVar(model=SegmentPool, description="Where to allocate or release")
    cluster_name = StringVar(label="Cluster")
    give_back = BooleanVar(label="Release", default=False, required=False, description="Instead of allocating")

    def run(self, data, commit):
        pool, cluster, user = data["pool"], data["cluster_name"], self.request.user
        action = release if data["give_back"] else allocate
        check_pool_permission(user, pool, action.__name__)
        try:
            result = action(cluster, pool=pool, user=user)
        except VLANManagerError as error:
            raise AbortScript(str(error)) from None
        allocation = result.allocation
        self.log_success(f"{action.__name__}: VLAN {allocation.vid}, {allocation.prefix}", allocation)
        return f"{allocation.vid} {allocation.prefix} {allocation.epg_name}"
