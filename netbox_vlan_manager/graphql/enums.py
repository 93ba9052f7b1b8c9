import strawberry

from ..choices import (
    AllocationOrderChoices,
    AllocationStatusChoices,
    PoolLevelChoices,
    ReleaseReasonChoices,
    SegmentPoolStatusChoices,
    SegmentStatusChoices,
)

__all__ = (
    "AllocationOrderEnum",
    "AllocationStatusEnum",
    "PoolLevelEnum",
    "ReleaseReasonEnum",
    "SegmentPoolStatusEnum",
    "SegmentStatusEnum",
)

AllocationOrderEnum = strawberry.enum(AllocationOrderChoices.as_enum(prefix="order"))
AllocationStatusEnum = strawberry.enum(AllocationStatusChoices.as_enum(prefix="status"))
PoolLevelEnum = strawberry.enum(PoolLevelChoices.as_enum(prefix="level"))
ReleaseReasonEnum = strawberry.enum(ReleaseReasonChoices.as_enum(prefix="reason"))
SegmentPoolStatusEnum = strawberry.enum(SegmentPoolStatusChoices.as_enum(prefix="status"))
SegmentStatusEnum = strawberry.enum(SegmentStatusChoices.as_enum(prefix="status"))
