from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from ...services.base.sheets import MAX_SIZE
from ...services.onboarding.import_files import as_rows, parse_csv, parse_file
from ...services.onboarding.importing import import_segments
from ..names import FORM_TOKEN, check_names, read_flags
from ..parsers import CSVParser, JSONParser, OldYAMLParser, TextYAMLParser, XLSXParser, YAMLParser
from ..permissions import ImportPermissions
from ..schema import BUSY, FORBIDDEN
from ..serializers import ImportResultSerializer, ImportRowSerializer, ImportSerializer
from .base import PlainView

__all__ = ("SegmentImportView",)

FLAGS = ("atomic", "dry_run")
# The fields of a body that may have the rows.
SOURCES = ("rows", "csv", "file")


class SegmentImportView(PlainView):
    """
    Create or update a segment for each row. Pool and VLAN ID identify the segment.

    200 if any row was created, updated or unchanged, else 400. A dry run answers as the import would, and changes
    nothing: the segments that it would create have no id yet.
    """

    parser_classes = (JSONParser, MultiPartParser, CSVParser, XLSXParser, YAMLParser, OldYAMLParser, TextYAMLParser)
    permission_classes = (ImportPermissions,)
    query_names = FLAGS

    @extend_schema(
        parameters=[
            OpenApiParameter("atomic", bool, description="Change nothing if any row fails"),
            OpenApiParameter("dry_run", bool, description="Change nothing, and say what each row would do"),
        ],
        request={
            "application/json": PolymorphicProxySerializer(
                "ImportBody",
                [ImportSerializer, ImportRowSerializer(many=True)],
                resource_type_field_name=None,
                many=False,
            ),
            "multipart/form-data": ImportSerializer,
            "text/csv": str,
            "application/yaml": str,
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": bytes,
        },
        responses={200: ImportResultSerializer, 400: ImportResultSerializer, **FORBIDDEN, **BUSY},
    )
    def post(self, request):
        rows = self._read_rows(request.data)
        result = import_segments(rows, user=request.user, **self._read_flags(request))
        counts = {status: result.count(status) for status in ("created", "updated", "unchanged", "failed")}
        landed = counts["created"] + counts["updated"] + counts["unchanged"]
        answer = ImportResultSerializer({**counts, "results": result.results})
        return Response(answer.data, status=200 if landed else 400)

    def _read_flags(self, request):
        """Return the flags as arguments of the service."""
        given = request.data if isinstance(request.data, dict) else {}
        return dict.fromkeys(FLAGS, False) | read_flags(request, FLAGS, given)

    def _read_rows(self, data):
        """Return the rows as the argument of the service."""
        if isinstance(data, bytes):
            return parse_file(data, self.request.content_type)
        if isinstance(data, list):
            return as_rows(data)
        if not isinstance(data, dict):
            raise ValidationError({"rows": [_("Give a list of rows, or an object with rows, csv or file.")]})
        check_names([name for name in data if name != FORM_TOKEN], SOURCES + FLAGS)
        given = [name for name in SOURCES if name in data]
        if len(given) != 1:
            raise ValidationError({"rows": [_("Give one of rows, csv and file.")]})
        source = data[given[0]]
        if given == ["rows"] and isinstance(source, list):
            return as_rows(source)
        if given == ["csv"] and isinstance(source, str):
            return parse_csv(source)
        if given == ["file"] and hasattr(source, "read"):
            return parse_file(source.read(MAX_SIZE + 1), source.name)
        expected = {
            "rows": _("Give a list of rows."),
            "csv": _("Give text."),
            "file": _("Upload a file: CSV, XLSX, JSON or YAML."),
        }
        raise ValidationError({given[0]: [expected[given[0]]]})
