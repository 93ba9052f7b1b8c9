"""
The use cases, for REST, pages, jobs, commands and nbshell alike.

    >>> from netbox_vlan_manager.services import allocate, release
    >>> allocate("prod-01", site="Site1", vrf="Network1", user="admin")
    >>> release("prod-01", site="Site1", vrf="Network1", user="admin")
"""

from .allocation import AllocationResult, ReleaseResult, allocate, available_segments, release, release_allocation
from .availability import AvailabilityResult, disable_segment, enable_segment
from .provisioning import create_pool, create_segment, delete_segment, update_pool, update_segment
from .resolution import resolve_pool

__all__ = (
    "AllocationResult",
    "AvailabilityResult",
    "ReleaseResult",
    "allocate",
    "available_segments",
    "create_pool",
    "create_segment",
    "delete_segment",
    "disable_segment",
    "enable_segment",
    "release",
    "release_allocation",
    "resolve_pool",
    "update_pool",
    "update_segment",
)
