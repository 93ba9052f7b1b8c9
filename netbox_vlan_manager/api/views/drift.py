from collections import Counter

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from ...jobs import REPAIRED_AT_ONCE, DriftRepairJob
from ...models import SegmentPool
from ...services.drift.repair import STATUSES, clean_items, repair_drift
from ...services.drift.reports import filter_drift, report_drift
from ..permissions import ChangePermissions
from ..schema import BUSY, DRY_RUN, FORBIDDEN, INVALID
from ..serializers import (
    DriftFilterSerializer,
    DriftRepairResultSerializer,
    DriftRepairSerializer,
    DriftSerializer,
    StartedJobSerializer,
)
from .base import ListPagination, PlainView, read_body
from .results import describe_job

__all__ = (
    "DriftRepairView",
    "DriftView",
)


class DriftView(PlainView):
    """
    List all inconsistencies between segments, allocations, VLANs and prefixes by pool, and what a repair would do
    about each.
    """

    # The model whose permissions are required.
    queryset = SegmentPool.objects.all()
    pagination_class = ListPagination
    query_names = (*DriftFilterSerializer._declared_fields, "limit", "offset")

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
    Repair findings of the report: the named ones, or all. Each is repaired on its own, so that a failure does not stop
    the others. Findings that are resolved already, or that only a person can decide, are skipped. More than 200 are
    repaired by a background job: then the answer is 202 and the job, whose data have the results once it is done.

    Requires the permissions to change the pool and to view the objects that are repaired.
    """

    queryset = SegmentPool.objects.all()
    permission_classes = (ChangePermissions,)
    query_names = ("dry_run",)

    @extend_schema(
        request=DriftRepairSerializer,
        parameters=[DRY_RUN],
        responses={200: DriftRepairResultSerializer, 202: StartedJobSerializer, **INVALID, **FORBIDDEN, **BUSY},
    )
    def post(self, request):
        values = read_body(request, DriftRepairSerializer)
        values.pop("all")
        items = clean_items(values.pop("items")) if "items" in values else None
        if self._count(items) > REPAIRED_AT_ONCE:
            job = DriftRepairJob.start(items, user=request.user, **values)
            return describe_job(job, values["dry_run"], request)
        results = repair_drift(items, user=request.user, **values)
        counts = Counter(result.status for result in results)
        answer = {status: counts[status] for status in STATUSES}
        return Response(DriftRepairResultSerializer({**answer, "results": results}).data)

    def _count(self, items):
        """Return the number of findings to repair: of the named ones, or of all that can be repaired."""
        if items is not None:
            return len(items)
        return len(filter_drift(report_drift(self.request.user).findings, repairable=True))
