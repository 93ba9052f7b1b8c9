from .adoption import SegmentPoolAdoptView
from .allocations import (
    AllocateStretchedView,
    AllocateView,
    AllocationBulkEditView,
    AllocationBulkReleaseView,
    AllocationContactsView,
    AllocationEditView,
    AllocationListView,
    AllocationReleaseView,
    AllocationRenewView,
    AllocationView,
)
from .availability import (
    SegmentBulkDisableView,
    SegmentBulkEnableView,
    SegmentDisableView,
    SegmentEnableView,
    SegmentEndQuarantineView,
    SegmentShareView,
)
from .drift import DriftRepairJobView, DriftRepairView, DriftView
from .first_generation import MigrationJobView, MigrationView
from .generation import SegmentPoolGenerateJobView, SegmentPoolGenerateView
from .help import HelpView
from .importing import SegmentImportJobView, SegmentImportView
from .overview import OverviewView
from .pool_operations import SegmentPoolMergeView, SegmentPoolResizeView, SegmentPoolRetireView
from .pools import (
    SegmentPoolAllocationsView,
    SegmentPoolBulkDeleteView,
    SegmentPoolBulkEditView,
    SegmentPoolBulkImportView,
    SegmentPoolDeleteView,
    SegmentPoolEditView,
    SegmentPoolListView,
    SegmentPoolSegmentsView,
    SegmentPoolView,
)
from .resend import ResendView
from .segments import (
    SegmentBulkDeleteView,
    SegmentBulkEditView,
    SegmentBulkImportView,
    SegmentBulkReleaseView,
    SegmentDeleteView,
    SegmentEditView,
    SegmentHistoryView,
    SegmentListView,
    SegmentView,
)
from .space_map import SegmentPoolSpaceView
from .timeline import TimelineView
from .vlan_map import SegmentPoolMapView

__all__ = (
    "AllocateStretchedView",
    "AllocateView",
    "AllocationBulkEditView",
    "AllocationBulkReleaseView",
    "AllocationContactsView",
    "AllocationEditView",
    "AllocationListView",
    "AllocationReleaseView",
    "AllocationRenewView",
    "AllocationView",
    "DriftRepairJobView",
    "DriftRepairView",
    "DriftView",
    "HelpView",
    "MigrationJobView",
    "MigrationView",
    "OverviewView",
    "ResendView",
    "SegmentBulkDeleteView",
    "SegmentBulkDisableView",
    "SegmentBulkEditView",
    "SegmentBulkEnableView",
    "SegmentBulkImportView",
    "SegmentBulkReleaseView",
    "SegmentDeleteView",
    "SegmentDisableView",
    "SegmentEditView",
    "SegmentEnableView",
    "SegmentEndQuarantineView",
    "SegmentHistoryView",
    "SegmentImportJobView",
    "SegmentImportView",
    "SegmentListView",
    "SegmentPoolAdoptView",
    "SegmentPoolAllocationsView",
    "SegmentPoolBulkDeleteView",
    "SegmentPoolBulkEditView",
    "SegmentPoolBulkImportView",
    "SegmentPoolDeleteView",
    "SegmentPoolEditView",
    "SegmentPoolGenerateJobView",
    "SegmentPoolGenerateView",
    "SegmentPoolListView",
    "SegmentPoolMapView",
    "SegmentPoolMergeView",
    "SegmentPoolResizeView",
    "SegmentPoolRetireView",
    "SegmentPoolSegmentsView",
    "SegmentPoolSpaceView",
    "SegmentPoolView",
    "SegmentShareView",
    "SegmentView",
    "TimelineView",
)
