"""
The use cases, for REST, pages, jobs, commands and nbshell alike.

    >>> from netbox_vlan_manager.services import allocate, release
    >>> allocate("prod-01", site="Site1", vrf="Network1", user="admin")
    >>> release("prod-01", site="Site1", vrf="Network1", user="admin")
"""

from .allocation import (
    AllocationResult,
    ReleaseResult,
    allocate,
    allocate_many,
    available_segments,
    release,
    release_allocation,
    renew,
)
from .availability import AvailabilityResult, disable_segment, enable_segment
from .generation import generate_segments
from .provisioning import create_pool, create_segment, delete_segment, update_pool, update_segment
from .quarantine import end_quarantine
from .resolution import resolve_pool, resolve_pool_by_name
from .sharing import set_clusters, share
from .stretching import allocate_stretched

__all__ = (
    "AllocationResult",
    "AvailabilityResult",
    "ReleaseResult",
    "allocate",
    "allocate_many",
    "allocate_stretched",
    "available_segments",
    "create_pool",
    "create_segment",
    "delete_segment",
    "disable_segment",
    "enable_segment",
    "end_quarantine",
    "generate_segments",
    "release",
    "release_allocation",
    "renew",
    "resolve_pool",
    "resolve_pool_by_name",
    "set_clusters",
    "share",
    "update_pool",
    "update_segment",
)
