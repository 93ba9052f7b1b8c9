import strawberry

from ..choices import (
    AllocationOrderChoices,
    AllocationStatusChoices,
    FirstGenerationChoices,
    GatewayRuleChoices,
    PoolLevelChoices,
    ReleaseInUseChoices,
    ReleaseReasonChoices,
    SegmentPoolStatusChoices,
    SegmentStatusChoices,
)

__all__ = (
    "AllocationOrderEnum",
    "AllocationStatusEnum",
    "FirstGenerationEnum",
    "GatewayRuleEnum",
    "PoolLevelEnum",
    "ReleaseInUseEnum",
    "ReleaseReasonEnum",
    "SegmentPoolStatusEnum",
    "SegmentStatusEnum",
)

AllocationOrderEnum = strawberry.enum(AllocationOrderChoices.as_enum(prefix="order"))
AllocationStatusEnum = strawberry.enum(AllocationStatusChoices.as_enum(prefix="status"))
FirstGenerationEnum = strawberry.enum(FirstGenerationChoices.as_enum(prefix="first_generation"))
GatewayRuleEnum = strawberry.enum(GatewayRuleChoices.as_enum(prefix="rule"))
PoolLevelEnum = strawberry.enum(PoolLevelChoices.as_enum(prefix="level"))
ReleaseInUseEnum = strawberry.enum(ReleaseInUseChoices.as_enum(prefix="release"))
ReleaseReasonEnum = strawberry.enum(ReleaseReasonChoices.as_enum(prefix="reason"))
SegmentPoolStatusEnum = strawberry.enum(SegmentPoolStatusChoices.as_enum(prefix="status"))
SegmentStatusEnum = strawberry.enum(SegmentStatusChoices.as_enum(prefix="status"))
