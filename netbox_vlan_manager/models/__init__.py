from .allocations import ANY_PLACE, Allocation, is_active, was_active
from .idempotency import IdempotencyKey
from .pools import SegmentPool, SegmentUsage
from .segments import Segment
from .snapshots import PoolSnapshot

__all__ = (
    "ANY_PLACE",
    "Allocation",
    "IdempotencyKey",
    "PoolSnapshot",
    "Segment",
    "SegmentPool",
    "SegmentUsage",
    "is_active",
    "was_active",
)
