from .allocations import (
    AllocationSerializer,
    RenewSerializer,
    SetClustersSerializer,
    ShareSerializer,
    StretchedSerializer,
)
from .contract import (
    AllocatedVLANSerializer,
    ErrorSerializer,
    PoolNotFoundSerializer,
    ReleasedVLANSerializer,
    VLANOfClusterSerializer,
)
from .importing import ImportResultSerializer, ImportRowSerializer, ImportSerializer
from .pools import SegmentPoolSerializer
from .segments import DisableSerializer, EndQuarantineSerializer, SegmentSerializer
from .statistics import ForecastSerializer, HealthSerializer, PoolStatisticsSerializer

__all__ = (
    "AllocatedVLANSerializer",
    "AllocationSerializer",
    "DisableSerializer",
    "EndQuarantineSerializer",
    "ErrorSerializer",
    "ForecastSerializer",
    "HealthSerializer",
    "ImportResultSerializer",
    "ImportRowSerializer",
    "ImportSerializer",
    "PoolNotFoundSerializer",
    "PoolStatisticsSerializer",
    "ReleasedVLANSerializer",
    "RenewSerializer",
    "SegmentPoolSerializer",
    "SegmentSerializer",
    "SetClustersSerializer",
    "ShareSerializer",
    "StretchedSerializer",
    "VLANOfClusterSerializer",
)
