from .allocations import (
    AllocateForm,
    AllocationBulkEditForm,
    AllocationFilterForm,
    AllocationForm,
    BulkReleaseForm,
)
from .pools import (
    SegmentPoolBulkEditForm,
    SegmentPoolFilterForm,
    SegmentPoolForm,
    SegmentPoolImportForm,
)
from .segments import (
    SegmentBulkEditForm,
    SegmentFilterForm,
    SegmentForm,
    SegmentImportForm,
)

__all__ = (
    "AllocateForm",
    "AllocationBulkEditForm",
    "AllocationFilterForm",
    "AllocationForm",
    "BulkReleaseForm",
    "SegmentBulkEditForm",
    "SegmentFilterForm",
    "SegmentForm",
    "SegmentImportForm",
    "SegmentPoolBulkEditForm",
    "SegmentPoolFilterForm",
    "SegmentPoolForm",
    "SegmentPoolImportForm",
)
