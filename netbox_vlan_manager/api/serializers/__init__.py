from .allocations import AllocationSerializer
from .contract import (
    AllocatedVLANSerializer,
    ErrorSerializer,
    PoolNotFoundSerializer,
    ReleasedVLANSerializer,
    VLANOfClusterSerializer,
)
from .importing import ImportResultSerializer, ImportRowSerializer, ImportSerializer
from .pools import SegmentPoolSerializer
from .segments import DisableSerializer, SegmentSerializer
from .statistics import HealthSerializer, PoolStatisticsSerializer

__all__ = (
    "AllocatedVLANSerializer",
    "AllocationSerializer",
    "DisableSerializer",
    "ErrorSerializer",
    "HealthSerializer",
    "ImportResultSerializer",
    "ImportRowSerializer",
    "ImportSerializer",
    "PoolNotFoundSerializer",
    "PoolStatisticsSerializer",
    "ReleasedVLANSerializer",
    "SegmentPoolSerializer",
    "SegmentSerializer",
    "VLANOfClusterSerializer",
)
