from django.db.models import Q
from drf_spectacular.utils import extend_schema, extend_schema_view

from ... import filtersets
from ...models import Allocation, SegmentPool
from ...services import release_allocation, transactions
from ...services.resolution import check_pool_permission
from .. import serializers
from ..permissions import AllocationPermissions
from ..schema import BUSY, POOL_CONFLICT, POOL_NOT_FOUND
from .base import ServiceViewSet

__all__ = ("AllocationViewSet",)


@extend_schema_view(
    create=extend_schema(
        responses={
            200: serializers.AllocationSerializer,
            201: serializers.AllocationSerializer,
            **POOL_NOT_FOUND,
            **POOL_CONFLICT,
            **BUSY,
        }
    ),
    destroy=extend_schema(responses={204: None, **BUSY}),
)
class AllocationViewSet(ServiceViewSet):
    """
    Creating an allocation allocates a segment, or returns the one that the cluster holds; deleting one releases it.

    Both are permissions on the segment pool, and need none on allocations.
    """

    queryset = Allocation.objects.select_related("segment__vlan", "segment__prefix")
    serializer_class = serializers.AllocationSerializer
    filterset_class = filtersets.AllocationFilterSet
    permission_classes = (AllocationPermissions,)
    ordering_fields = {
        name: name
        for name in (
            "id",
            "segment",
            "pool",
            "cluster_name",
            "cluster",
            "purpose",
            "allocated_at",
            "allocated_by",
            "released_at",
            "released_by",
            "pool_name",
            "vrf_name",
            "vid",
            "epg_name",
            "prefix",
            "description",
            "owner",
            "created",
            "last_updated",
        )
    }

    def get_queryset(self):
        # Not in initial(), which a background job does not call. What NetBox restricts by is the permission to add or
        # to delete allocations, which nobody needs.
        allocations = Allocation.objects.select_related("segment__vlan", "segment__prefix")
        if self.request.method == "POST":
            self.queryset = allocations
        elif self.request.method == "DELETE":
            user = self.request.user
            self.queryset = allocations.filter(
                Q(pk__in=Allocation.objects.restrict(user, "view").order_by().values("pk"))
                | Q(pool__in=SegmentPool.objects.restrict(user, "release").order_by().values("pk"))
            )
        return super().get_queryset()

    def create(self, request, *args, **kwargs):
        self.any_new = False
        response = super().create(request, *args, **kwargs)
        if response.status_code == 201 and not self.any_new:
            response.status_code = 200
        return response

    def perform_create(self, serializer):
        check_pool_permission(self.request.user, serializer.validated_data["pool"], "allocate")
        serializer.save()
        self.any_new = self.any_new or serializer.is_new

    def destroy_object(self, instance):
        if instance.pool:
            check_pool_permission(self.request.user, instance.pool, "release")
        release_allocation(instance, user=self.request.user, changelog_message=instance._changelog_message or "")

    def lock_for_create(self, values):
        transactions.lock_clusters(
            [(value["pool"].pk, value["cluster_name"], value.get("purpose", "")) for value in values]
        )

    def lock_for_write(self, instances):
        transactions.lock_clusters([(held.pool_id, held.cluster_name, held.purpose) for held in instances])
