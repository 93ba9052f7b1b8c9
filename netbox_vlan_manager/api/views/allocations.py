from django.db.models import Q
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response

from ... import filtersets
from ...models import Allocation, SegmentPool
from ...services import (
    allocate_many,
    allocate_stretched,
    release_allocation,
    renew,
    resolve_pool,
    transactions,
)
from ...services.allocation import check_request_limits, clean_request
from ...services.resolution import check_pool_permission
from .. import serializers
from ..permissions import AllocationPermissions
from ..schema import BUSY, NOT_FOUND, POOL_CONFLICT, POOL_NOT_FOUND
from .base import ServiceViewSet
from .results import describe_results

__all__ = ("AllocationViewSet",)

# What a dry run takes of a request, beside who asks and where.
ASKED = ("purpose", "vid", "vid_min", "vid_max", "prefix_length", "segment", "expires_at")


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

    queryset = Allocation.objects.select_related("segment__vlan", "segment__prefix", "segment__ipv6_prefix")
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
            "release_reason",
            "expires_at",
            "shared",
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
        allocations = Allocation.objects.select_related("segment__vlan", "segment__prefix", "segment__ipv6_prefix")
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
        items = request.data if isinstance(request.data, list) else [request.data]
        if any(isinstance(item, dict) and item.get("dry_run") for item in items):
            return self.preview(request)
        self.any_new = False
        response = super().create(request, *args, **kwargs)
        if response.status_code == 201 and not self.any_new:
            response.status_code = 200
        return response

    def preview(self, request):
        """Answer one request or a list as it would be allocated, all of it or nothing, and change nothing."""
        many = isinstance(request.data, list)
        serializer = self.get_serializer(data=request.data, many=many)
        serializer.is_valid(raise_exception=True)
        requests = []
        for values in serializer.validated_data if many else [serializer.validated_data]:
            check_pool_permission(request.user, values["pool"], "allocate")
            requests.append(
                clean_request(**{name: values[name] for name in (*ASKED, "cluster_name", "pool") if name in values})
            )
        results = allocate_many(requests, user=request.user, dry_run=True)
        answer = describe_results(results, self.get_serializer)
        return Response(answer if many else answer[0])

    @extend_schema(
        request=serializers.StretchedSerializer,
        responses={
            200: serializers.AllocationSerializer(many=True),
            201: serializers.AllocationSerializer(many=True),
            **POOL_NOT_FOUND,
            **POOL_CONFLICT,
            **BUSY,
        },
    )
    @action(detail=False, methods=["post"], filter_backends=(), pagination_class=None)
    def stretched(self, request):
        """
        Allocate the same VLAN ID at several sites, the lowest that is available in all of them; all or none.
        """
        serializer = serializers.StretchedSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        vrf, dry_run = asked.pop("vrf"), asked.get("dry_run", False)
        pools = [resolve_pool(site, vrf, user=request.user, action="allocate").pool for site in asked.pop("sites")]
        results = allocate_stretched(pools=pools, user=request.user, **asked)
        created = any(result.created for result in results) and not dry_run
        return Response(describe_results(results, self.get_serializer), status=201 if created else 200)

    @extend_schema(
        request=serializers.RenewSerializer,
        responses={200: serializers.AllocationSerializer, **NOT_FOUND, **BUSY},
    )
    @action(detail=True, methods=["post"], filter_backends=(), pagination_class=None)
    def renew(self, request, pk):
        """
        Give an active allocation another time to expire, or none.
        """
        allocations = Allocation.objects.filter(
            Q(pk__in=Allocation.objects.restrict(request.user, "view").order_by().values("pk"))
            | Q(pool__in=SegmentPool.objects.restrict(request.user, "allocate").order_by().values("pk"))
        )
        allocation = get_object_or_404(allocations, pk=pk)
        if allocation.pool:
            check_pool_permission(request.user, allocation.pool, "allocate")
        serializer = serializers.RenewSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        renewed = renew(allocation, user=request.user, **serializer.validated_data)
        return Response(self.get_serializer(renewed).data)

    def perform_create(self, serializer):
        check_pool_permission(self.request.user, serializer.validated_data["pool"], "allocate")
        serializer.save()
        self.any_new = self.any_new or serializer.is_new

    def destroy_object(self, instance):
        if instance.pool:
            check_pool_permission(self.request.user, instance.pool, "release")
        release_allocation(instance, user=self.request.user, changelog_message=instance._changelog_message or "")

    def lock_for_create(self, values):
        pools = [value["pool"] for value in values]
        check_request_limits(pools)
        transactions.lock_clusters(
            [(value["pool"].pk, value["cluster_name"], value.get("purpose", "")) for value in values]
        )

    def lock_for_write(self, instances):
        transactions.lock_clusters([(held.pool_id, held.cluster_name, held.purpose) for held in instances])
