"""
The use cases, for REST, pages, jobs, commands and nbshell alike.

    >>> from netbox_vlan_manager.services import allocate, release
    >>> allocate("prod-01", site="Site1", vrf="Network1", user="admin")
    >>> release("prod-01", site="Site1", vrf="Network1", user="admin")
"""

from .allocations.allocating import AllocationResult, allocate, allocate_many, available_segments
from .allocations.availability import AvailabilityResult, disable_segment, enable_segment
from .allocations.handing_over import hand_over, undo_release
from .allocations.leases import renew
from .allocations.releasing import ReleaseResult, release, release_allocation
from .allocations.sharing import set_clusters, share
from .allocations.stretching import allocate_stretched
from .base.resolution import check_pool_permission, resolve_pool, resolve_pool_by_name
from .pools.provisioning import create_pool, update_pool
from .segments.deletion import delete_segment
from .segments.generation import generate_segments
from .segments.provisioning import create_segment
from .segments.quarantine import end_quarantine
from .segments.updating import update_segment

__all__ = (
    "AllocationResult",
    "AvailabilityResult",
    "ReleaseResult",
    "allocate",
    "allocate_many",
    "allocate_stretched",
    "available_segments",
    "check_pool_permission",
    "create_pool",
    "create_segment",
    "delete_segment",
    "disable_segment",
    "enable_segment",
    "end_quarantine",
    "generate_segments",
    "hand_over",
    "release",
    "release_allocation",
    "renew",
    "resolve_pool",
    "resolve_pool_by_name",
    "set_clusters",
    "share",
    "undo_release",
    "update_pool",
    "update_segment",
)
