from .allocations import AllocationSerializer
from .contract import (
    AllocatedVLANSerializer,
    ErrorSerializer,
    PoolNotFoundSerializer,
    ReleasedVLANSerializer,
    VLANRequestSerializer,
)
from .importing import ImportRequestSerializer, ImportResultSerializer
from .pools import SegmentPoolSerializer
from .segments import SegmentSerializer
from .statistics import HealthSerializer, PoolStatisticsSerializer

__all__ = (
    "AllocatedVLANSerializer",
    "AllocationSerializer",
    "ErrorSerializer",
    "HealthSerializer",
    "ImportRequestSerializer",
    "ImportResultSerializer",
    "PoolNotFoundSerializer",
    "PoolStatisticsSerializer",
    "ReleasedVLANSerializer",
    "SegmentPoolSerializer",
    "SegmentSerializer",
    "VLANRequestSerializer",
)
