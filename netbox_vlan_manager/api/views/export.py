from itertools import chain

from django.http import FileResponse, StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer

from ... import filtersets
from ...models import Segment, SegmentPool
from ...services.reporting import export
from ...services.segments.segment_columns import EXPORTED
from ..schema import FORBIDDEN, FORMAT, INVALID
from .statistics import FilteredView

__all__ = (
    "SegmentExportView",
    "StatisticsExportView",
)

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORMATS = ("csv", "json", "xlsx")
EXPORT = extend_schema(
    parameters=[FORMAT],
    responses={
        (200, "text/csv"): OpenApiTypes.STR,
        (200, "application/json"): {"type": "array", "items": {"type": "object"}},
        (200, XLSX): OpenApiTypes.BINARY,
        **INVALID,
        **FORBIDDEN,
    },
    filters=True,
)


class JSONErrorsNegotiation(DefaultContentNegotiation):
    """Leaves ?format= to the view: REST framework would look for a renderer of that name. Errors are JSON."""

    def select_renderer(self, request, renderers, format_suffix=None):
        return renderers[0], renderers[0].media_type


class ExportView(FilteredView):
    """Streams rows as a file in the ?format= of the request."""

    content_negotiation_class = JSONErrorsNegotiation
    renderer_classes = (JSONRenderer,)
    name = ""
    columns = {}

    def get_rows(self):
        raise NotImplementedError

    def get(self, request):
        file_format = request.query_params.get("format", "csv")
        if file_format not in FORMATS:
            message = _("{format!r} is no format: use one of {formats}.").format(
                format=file_format, formats=", ".join(FORMATS)
            )
            raise ValidationError({"format": [message]})
        rows = _start(self.get_rows())
        if file_format == "xlsx":
            response = FileResponse(export.xlsx_file(self.columns, rows), content_type=XLSX)
        elif file_format == "json":
            response = StreamingHttpResponse(export.json_chunks(self.columns, rows), content_type="application/json")
        else:
            response = StreamingHttpResponse(
                export.csv_chunks(self.columns, rows), content_type="text/csv; charset=utf-8"
            )
        response["Content-Disposition"] = f'attachment; filename="{self.name}.{file_format}"'
        return response


@extend_schema_view(get=EXPORT)
class SegmentExportView(ExportView):
    """
    Export the segments with their allocations as a file.
    """

    queryset = Segment.objects.all()
    filterset_class = filtersets.SegmentFilterSet
    name = "segments"
    columns = EXPORTED

    def get_rows(self):
        return export.segment_rows(self.get_filtered_queryset(), viewer=self.request.user)


@extend_schema_view(get=EXPORT)
class StatisticsExportView(ExportView):
    """
    Export the statistics of the pools as a file.
    """

    queryset = SegmentPool.objects.all()
    filterset_class = filtersets.PoolStatisticsFilterSet
    name = "statistics"
    columns = export.STATISTICS_COLUMNS

    def get_rows(self):
        return export.statistics_rows(self.get_filtered_queryset(), viewer=self.request.user)


def _start(rows):
    """Return the rows with the first one fetched, so that a failing query fails before the answer begins."""
    first = next(rows, None)
    return rows if first is None else chain([first], rows)
