from .allocations import Allocation
from .idempotency import IdempotencyKey
from .pools import SegmentPool, SegmentUsage
from .segments import Segment
from .snapshots import PoolSnapshot

__all__ = (
    "Allocation",
    "IdempotencyKey",
    "PoolSnapshot",
    "Segment",
    "SegmentPool",
    "SegmentUsage",
)
