from .allocations import Allocation
from .pools import SegmentPool, SegmentUsage
from .segments import Segment

__all__ = (
    "Allocation",
    "Segment",
    "SegmentPool",
    "SegmentUsage",
)
