from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema, extend_schema_view

from ... import filtersets
from ...models import Allocation, Segment
from ...services import delete_segment, transactions
from .. import serializers
from ..schema import CONFLICT
from .base import ServiceViewSet

__all__ = ("SegmentViewSet",)


@extend_schema_view(
    update=extend_schema(responses={200: serializers.SegmentSerializer, **CONFLICT}),
    partial_update=extend_schema(responses={200: serializers.SegmentSerializer, **CONFLICT}),
    destroy=extend_schema(responses={204: None, **CONFLICT}),
)
class SegmentViewSet(ServiceViewSet):
    queryset = Segment.objects.select_related("vlan", "prefix", "pool")
    serializer_class = serializers.SegmentSerializer
    filterset_class = filtersets.SegmentFilterSet
    ordering_fields = {
        "epg_name": "vlan__name",
        "prefix": "prefix__prefix",
        **{
            name: name
            for name in (
                "id",
                "pool",
                "vid",
                "vlan",
                "status",
                "dhcp",
                "description",
                "owner",
                "created",
                "last_updated",
            )
        },
    }

    @property
    def field_prefetches(self):
        allocations = Allocation.objects.restrict(self.request.user, "view").active().order_by("pk")
        return {("allocations",): [Prefetch("allocations", queryset=allocations)]}

    def destroy_object(self, instance):
        delete_segment(instance, user=self.request.user, changelog_message=instance._changelog_message or "")

    def lock_for_create(self, values):
        self._lock_spaces([value["pool"] for value in values])

    def lock_for_write(self, instances):
        self._lock_spaces([instance.pool for instance in instances])

    def _lock_spaces(self, pools):
        transactions.lock_spaces([pool.vrf_id for pool in pools], [pool.vlan_group_id for pool in pools])
