import strawberry
import strawberry_django

from .. import wings
from .types import AllocationType, PoolSnapshotType, SegmentPoolType, SegmentType

__all__ = ("schema",)


@strawberry.type(name="Query")
class VLANManagerQuery:
    segment_pool: SegmentPoolType = strawberry_django.field()
    segment_pool_list: list[SegmentPoolType] = strawberry_django.field()

    segment: SegmentType = strawberry_django.field()
    segment_list: list[SegmentType] = strawberry_django.field()

    allocation: AllocationType = strawberry_django.field()
    allocation_list: list[AllocationType] = strawberry_django.field()

    pool_snapshot: PoolSnapshotType = strawberry_django.field()
    pool_snapshot_list: list[PoolSnapshotType] = strawberry_django.field()


schema = [VLANManagerQuery, *wings.collect("graphql.schema.schema")]
