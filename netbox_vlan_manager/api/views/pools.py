from django.db.models import Prefetch
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response

from netbox.config import get_config
from utilities.api import get_prefetches_for_serializer

from ... import filtersets
from ...models import Allocation, SegmentPool
from ...models.pools import UTILIZATION
from ...services import available_segments
from ...services.base import transactions
from ...services.reporting.forecast import forecast
from .. import serializers
from ..names import ANSWER_SHAPE
from ..schema import NOT_FOUND
from .adoption import AdoptionMixin
from .base import ServiceViewSet
from .generation import GenerationMixin
from .pool_operations import PoolOperationsMixin

__all__ = ("SegmentPoolViewSet",)


class SegmentPoolViewSet(AdoptionMixin, GenerationMixin, PoolOperationsMixin, ServiceViewSet):
    queryset = SegmentPool.objects.with_usage().annotate(utilization=UTILIZATION)
    serializer_class = serializers.SegmentPoolSerializer
    filterset_class = filtersets.SegmentPoolFilterSet
    ordering_fields = {
        name: name
        for name in (
            "id",
            "name",
            "slug",
            "status",
            "vrf",
            "vlan_group",
            "scope_type",
            "scope_id",
            "tenant",
            "role",
            "min_prefix_length",
            "max_prefix_length",
            "warning_threshold",
            "critical_threshold",
            "allocation_order",
            "cooldown",
            "release_in_use",
            "max_per_cluster",
            "max_per_tenant",
            "max_per_request",
            "epg_template",
            "auto_grow",
            "grow_prefix_length",
            "grow_ipv6_prefix_length",
            "grow_limit",
            "gateway_rule",
            "gateway_offset",
            "create_gateways",
            "domain_name",
            "mtu",
            "level",
            "description",
            "owner",
            "created",
            "last_updated",
            "total_segments",
            "allocated",
            "available",
            "quarantined",
            "disabled",
            "utilization",
        )
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("limit", int, description="How many segments; NetBox's page size and its maximum apply")
        ],
        responses={200: serializers.SegmentSerializer(many=True), **NOT_FOUND},
    )
    @action(
        detail=True,
        url_path="available-segments",
        serializer_class=serializers.SegmentSerializer,
        pagination_class=None,
        filter_backends=(),
        query_names=(*ANSWER_SHAPE, "limit"),
    )
    def available_segments(self, request, pk):
        """
        List the segments that would be allocated next, in that order. Allocates nothing.
        """
        pool = get_object_or_404(self.queryset, pk=pk)
        prefetches = get_prefetches_for_serializer(serializers.SegmentSerializer, **self.field_kwargs)
        segments = (
            available_segments(pool)
            .restrict(request.user, "view")
            .select_related("vlan", "prefix", "ipv6_prefix")
            # No allocation holds an available segment.
            .prefetch_related(*prefetches, Prefetch("allocations", queryset=Allocation.objects.none()))
        )
        serializer = self.get_serializer(segments[: _get_limit(request)], many=True)
        return Response(serializer.data)

    @extend_schema(responses={200: serializers.ForecastSerializer, **NOT_FOUND})
    @action(detail=True, pagination_class=None, filter_backends=())
    def forecast(self, request, pk):
        """
        Estimate when the pool will be exhausted, if allocations continue at the same rate.
        """
        pool = get_object_or_404(SegmentPool.objects.restrict(request.user, "view"), pk=pk)
        return Response(serializers.ForecastSerializer(forecast(pool)).data)

    def lock_for_write(self, instances):
        transactions.lock_spaces([pool.vrf_id for pool in instances], [pool.vlan_group_id for pool in instances])


def _get_limit(request):
    config = get_config()
    limit = request.query_params.get("limit", str(config.PAGINATE_COUNT))
    if not (limit.isascii() and limit.isdecimal() and 0 < len(limit) < 10):
        raise ValidationError({"limit": [_("Give a whole number.")]})
    # As elsewhere in NetBox, 0 means as many as are allowed.
    return min(int(limit) or 10**9, config.MAX_PAGE_SIZE or 10**9)
