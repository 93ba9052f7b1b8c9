from .allocations import (
    AllocateForm,
    AllocationBulkEditForm,
    AllocationFilterForm,
    AllocationForm,
    BulkReleaseForm,
    HandOverForm,
    RenewForm,
    ShareForm,
    StretchedForm,
)
from .availability import BulkDisableForm, BulkEnableForm, DisableForm
from .drift import DriftFilterForm, DriftRepairForm
from .importing import ImportSourceForm
from .overview import QuickAllocateForm
from .pool_bulk import SegmentPoolBulkEditForm, SegmentPoolImportForm
from .pools import SegmentPoolFilterForm, SegmentPoolForm
from .segments import (
    SegmentBulkEditForm,
    SegmentFilterForm,
    SegmentForm,
    SegmentImportForm,
)
from .timeline import TimelineForm

__all__ = (
    "AllocateForm",
    "AllocationBulkEditForm",
    "AllocationFilterForm",
    "AllocationForm",
    "BulkDisableForm",
    "BulkEnableForm",
    "BulkReleaseForm",
    "DisableForm",
    "DriftFilterForm",
    "DriftRepairForm",
    "HandOverForm",
    "ImportSourceForm",
    "QuickAllocateForm",
    "RenewForm",
    "SegmentBulkEditForm",
    "SegmentFilterForm",
    "SegmentForm",
    "SegmentImportForm",
    "SegmentPoolBulkEditForm",
    "SegmentPoolFilterForm",
    "SegmentPoolForm",
    "SegmentPoolImportForm",
    "ShareForm",
    "StretchedForm",
    "TimelineForm",
)
