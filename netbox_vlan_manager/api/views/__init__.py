from .allocations import AllocationViewSet
from .contract import AllocateVLANView, ReleaseVLANView
from .drift import DriftRepairView, DriftView
from .export import SegmentExportView, StatisticsExportView
from .first_generation import MigrationView
from .health import HealthView
from .importing import SegmentImportView
from .pools import SegmentPoolViewSet
from .root import VLANManagerRootView
from .segments import SegmentViewSet
from .statistics import StatisticsView

__all__ = (
    "AllocateVLANView",
    "AllocationViewSet",
    "DriftRepairView",
    "DriftView",
    "HealthView",
    "MigrationView",
    "ReleaseVLANView",
    "SegmentExportView",
    "SegmentImportView",
    "SegmentPoolViewSet",
    "SegmentViewSet",
    "StatisticsExportView",
    "StatisticsView",
    "VLANManagerRootView",
)
