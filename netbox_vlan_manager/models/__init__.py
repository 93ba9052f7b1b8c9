from .allocations import Allocation
from .pools import SegmentPool, SegmentUsage
from .segments import Segment
from .snapshots import PoolSnapshot

__all__ = (
    "Allocation",
    "PoolSnapshot",
    "Segment",
    "SegmentPool",
    "SegmentUsage",
)
