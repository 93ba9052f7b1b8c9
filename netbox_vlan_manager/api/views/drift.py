from collections import Counter

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from ...models import SegmentPool
from ...services.drift import STATUSES, filter_drift, repair_drift, report_drift
from ..permissions import ChangePermissions
from ..schema import BUSY, FORBIDDEN, INVALID
from ..serializers import (
    DriftFilterSerializer,
    DriftRepairResultSerializer,
    DriftRepairSerializer,
    DriftSerializer,
)
from .base import ListPagination, PlainView

__all__ = (
    "DriftRepairView",
    "DriftView",
)


class DriftView(PlainView):
    """
    Everything that no longer fits between segments, allocations, VLANs and prefixes, by pool, and what a repair would
    do about it.
    """

    # Whose permissions are asked for.
    queryset = SegmentPool.objects.all()
    pagination_class = ListPagination

    @extend_schema(
        parameters=[DriftFilterSerializer],
        responses={200: DriftSerializer(many=True), **INVALID, **FORBIDDEN},
        filters=False,
    )
    def get(self, request):
        wanted = DriftFilterSerializer(data=request.query_params)
        wanted.is_valid(raise_exception=True)
        findings = filter_drift(report_drift(request.user).findings, **wanted.validated_data)
        pagination = self.pagination_class()
        page = pagination.paginate_queryset(findings, request, view=self)
        serializer = DriftSerializer(page, many=True, context={"request": request})
        return pagination.get_paginated_response(serializer.data)


class DriftRepairView(PlainView):
    """
    Repair findings of the report: those named, or all. Each is repaired by itself, so that one that fails stands in the
    way of no other; what fits by now, or only a person can decide, is skipped.

    It takes the permission to change the pool, and to view what is repaired.
    """

    queryset = SegmentPool.objects.all()
    permission_classes = (ChangePermissions,)

    @extend_schema(
        request=DriftRepairSerializer,
        responses={200: DriftRepairResultSerializer, **INVALID, **FORBIDDEN, **BUSY},
    )
    def post(self, request):
        serializer = DriftRepairSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        values = dict(serializer.validated_data)
        values.pop("all")
        results = repair_drift(user=request.user, **values)
        counts = Counter(result.status for result in results)
        answer = {status: counts[status] for status in STATUSES}
        return Response(DriftRepairResultSerializer({**answer, "results": results}).data)
