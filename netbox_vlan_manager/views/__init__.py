from .allocations import (
    AllocateView,
    AllocationBulkEditView,
    AllocationBulkReleaseView,
    AllocationEditView,
    AllocationListView,
    AllocationReleaseView,
    AllocationView,
)
from .availability import (
    SegmentBulkDisableView,
    SegmentBulkEnableView,
    SegmentDisableView,
    SegmentEnableView,
)
from .help import HelpView
from .imports import SegmentImportJobView, SegmentImportView
from .map import SegmentPoolMapView
from .overview import OverviewView
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

__all__ = (
    "AllocateView",
    "AllocationBulkEditView",
    "AllocationBulkReleaseView",
    "AllocationEditView",
    "AllocationListView",
    "AllocationReleaseView",
    "AllocationView",
    "HelpView",
    "OverviewView",
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
    "SegmentHistoryView",
    "SegmentImportJobView",
    "SegmentImportView",
    "SegmentListView",
    "SegmentPoolAllocationsView",
    "SegmentPoolBulkDeleteView",
    "SegmentPoolBulkEditView",
    "SegmentPoolBulkImportView",
    "SegmentPoolDeleteView",
    "SegmentPoolEditView",
    "SegmentPoolListView",
    "SegmentPoolMapView",
    "SegmentPoolSegmentsView",
    "SegmentPoolView",
    "SegmentView",
)
