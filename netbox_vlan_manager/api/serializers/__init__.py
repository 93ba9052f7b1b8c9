from .allocations import (
    AllocationResultSerializer,
    AllocationSerializer,
    HandOverSerializer,
    ReleaseResultSerializer,
    ReleaseSerializer,
    RenewSerializer,
    SetClustersSerializer,
    ShareSerializer,
    StretchedSerializer,
    UndoReleaseSerializer,
)
from .contract import (
    AllocatedVLANSerializer,
    ErrorSerializer,
    ListErrorSerializer,
    PoolNotFoundSerializer,
    ReleasedVLANSerializer,
    VLANOfClusterSerializer,
)
from .drift import DriftFilterSerializer, DriftRepairResultSerializer, DriftRepairSerializer, DriftSerializer
from .first_generation import StartedJobSerializer
from .importing import ImportResultSerializer, ImportRowSerializer, ImportSerializer
from .pools import SegmentPoolSerializer
from .segments import DisableSerializer, EndQuarantineSerializer, SegmentSerializer
from .statistics import ForecastSerializer, HealthSerializer, PoolStatisticsSerializer

__all__ = (
    "AllocatedVLANSerializer",
    "AllocationResultSerializer",
    "AllocationSerializer",
    "DisableSerializer",
    "DriftFilterSerializer",
    "DriftRepairResultSerializer",
    "DriftRepairSerializer",
    "DriftSerializer",
    "EndQuarantineSerializer",
    "ErrorSerializer",
    "ForecastSerializer",
    "HandOverSerializer",
    "HealthSerializer",
    "ImportResultSerializer",
    "ImportRowSerializer",
    "ImportSerializer",
    "ListErrorSerializer",
    "PoolNotFoundSerializer",
    "PoolStatisticsSerializer",
    "ReleaseResultSerializer",
    "ReleaseSerializer",
    "ReleasedVLANSerializer",
    "RenewSerializer",
    "SegmentPoolSerializer",
    "SegmentSerializer",
    "SetClustersSerializer",
    "ShareSerializer",
    "StartedJobSerializer",
    "StretchedSerializer",
    "UndoReleaseSerializer",
    "VLANOfClusterSerializer",
)
