from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.response import Response

from ... import filtersets
from ...models import Allocation, Segment
from ...services import delete_segment, disable_segment, enable_segment, transactions
from .. import serializers
from ..permissions import ChangePermissions
from ..schema import BUSY, CONFLICT, FORBIDDEN, NOT_FOUND
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

    @extend_schema(
        request=serializers.DisableSerializer,
        responses={200: serializers.SegmentSerializer, **FORBIDDEN, **NOT_FOUND, **CONFLICT, **BUSY},
    )
    @action(detail=True, methods=["post"], permission_classes=(ChangePermissions,), filter_backends=())
    def disable(self, request, pk):
        """
        Take a segment out of use: it is not allocated until it is enabled. Refused while a cluster holds it.
        """
        segment = self.get_changeable(pk)
        serializer = serializers.DisableSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        disable_segment(segment, user=request.user, **serializer.validated_data)
        return self.answer(segment)

    @extend_schema(
        request=None,
        responses={200: serializers.SegmentSerializer, **FORBIDDEN, **NOT_FOUND, **BUSY},
    )
    @action(detail=True, methods=["post"], permission_classes=(ChangePermissions,), filter_backends=())
    def enable(self, request, pk):
        """
        Make a disabled segment available again.
        """
        segment = self.get_changeable(pk)
        enable_segment(segment, user=request.user)
        return self.answer(segment)

    def get_changeable(self, pk):
        """Return a segment that the user may change. NetBox restricts a POST to what the user may add."""
        self.queryset = Segment.objects.restrict(self.request.user, "change")
        return self.get_object()

    def answer(self, segment):
        """Return the response with the segment as it is now. It need not be one any more that the user may change."""
        self.queryset = Segment.objects.select_related("vlan", "prefix", "pool")
        return Response(self.get_serializer(self.get_queryset().get(pk=segment.pk)).data)

    def destroy_object(self, instance):
        delete_segment(instance, user=self.request.user, changelog_message=instance._changelog_message or "")

    def lock_for_create(self, values):
        self._lock_spaces([value["pool"] for value in values])

    def lock_for_write(self, instances):
        self._lock_spaces([instance.pool for instance in instances])

    def _lock_spaces(self, pools):
        transactions.lock_spaces([pool.vrf_id for pool in pools], [pool.vlan_group_id for pool in pools])
