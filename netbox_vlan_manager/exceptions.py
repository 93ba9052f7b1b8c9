"""
The errors that services raise. For invalid values, they raise Django's ValidationError, keyed by field.

The codes are part of the REST contract; `api/errors.py` gives each its HTTP status, so that this module knows no HTTP.
"""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from .choices import SegmentPoolStatusChoices


class VLANManagerError(Exception):
    """Base class of the errors, with a `message` for the user and a `code` for programs."""

    code = "error"

    def __init__(self, message):
        super().__init__(message)
        self.message = message

    def __str__(self):
        return str(self.message)


class AmbiguousPool(VLANManagerError):
    """A name matches more than one pool. `found` is {pool: keys of the places that it serves}, if a site was named."""

    code = "invalid"

    def __init__(self, message, found=()):
        super().__init__(message)
        self.found = dict(found)


class PoolNotFound(VLANManagerError):
    """No pool serves the site and VRF. `combinations` lists those that the caller may see, as (site, vrf) names."""

    code = "pool_not_found"

    def __init__(self, message, combinations=()):
        super().__init__(message)
        self.combinations = combinations


class PoolExhausted(VLANManagerError):
    code = "pool_exhausted"

    def __init__(self, pool, criteria=None, reason=""):
        text = _("Pool {pool} has no available segment. Release an allocation or add segments to the pool.")
        if criteria:
            text = _("Pool {pool} has no available segment with {criteria}. Ask for another, or add one to the pool.")
        if reason:
            text = _("{text} The pool cannot grow: {reason}").format(text=text, reason=reason)
        super().__init__(text.format(pool=pool, criteria=criteria))
        self.pool = pool


class PoolPaused(VLANManagerError):
    """The pool is paused or retiring."""

    code = "pool_paused"

    def __init__(self, pool):
        text = _("Pool {pool} is paused: it makes no new allocations until its status is active again.")
        if pool.status == SegmentPoolStatusChoices.RETIRING:
            text = _(
                "Pool {pool} is retiring: it makes no new allocations, and is deleted when its last one is released."
            )
        super().__init__(text.format(pool=pool))
        self.pool = pool


@dataclass(frozen=True)
class Conflict:
    """A reason against a change of a pool, and the way out; with the id and VLAN ID of its segment, if it has one."""

    message: str
    segment: int | None = None
    vid: int | None = None


class PoolConflict(VLANManagerError):
    """A pool cannot be changed as requested. `conflicts` lists all reasons that the user may view."""

    code = "pool_conflict"

    def __init__(self, message, conflicts=()):
        super().__init__(message)
        self.conflicts = conflicts


class VIDUnavailable(VLANManagerError):
    """The requested segment is not available; others may be."""

    code = "vid_unavailable"


class LimitReached(VLANManagerError):
    """The request would exceed a limit of the pool."""

    code = "limit_reached"


class NotMigrated(VLANManagerError):
    """The cluster holds a first-generation segment that could not be migrated; it gets no other until it is."""

    code = "not_migrated"

    def __init__(self, cluster_name, pool):
        super().__init__(
            _(
                "Cluster {cluster} holds a network of the first generation that could not be migrated to "
                "pool {pool} yet, and gets no other one. The preview of the migration says what to correct."
            ).format(cluster=cluster_name, pool=pool)
        )


class AllocationNotFound(VLANManagerError):
    code = "allocation_not_found"

    def __init__(self, cluster_name, pool):
        super().__init__(
            _("Cluster {cluster} holds no segment in pool {pool}.").format(cluster=cluster_name, pool=pool)
        )


class SegmentInUse(VLANManagerError):
    """The segment is allocated and has to be released first; or objects use it, and its pool refuses a release then."""

    code = "segment_in_use"


class BranchActive(VLANManagerError):
    """A branch of netbox-branching is active, and the call is possible in main only."""

    code = "branch_active"

    def __init__(self):
        super().__init__(_("Segment pools, segments and allocations have no branches: leave the branch and try again."))


class Busy(VLANManagerError):
    """A lock was not free in time. Nothing was changed, and the caller may repeat the call."""

    code = "busy"
    retry_after = 1

    def __init__(self):
        super().__init__(_("Another transaction holds a lock that this call needs. Nothing was changed; try again."))
