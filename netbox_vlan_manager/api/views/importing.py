from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from ...services.importing import import_segments, parse_csv
from ..parsers import CSVParser, JSONParser, decode
from ..permissions import ImportPermissions
from ..schema import BUSY, FORBIDDEN
from ..serializers import ImportResultSerializer, ImportRowSerializer, ImportSerializer
from .base import PlainView

__all__ = ("SegmentImportView",)

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class SegmentImportView(PlainView):
    """
    Create or update a segment for each row. Rows are keyed on their pool and VLAN ID.

    200 when anything landed, 400 when nothing did.
    """

    parser_classes = (JSONParser, MultiPartParser, CSVParser)
    permission_classes = (ImportPermissions,)

    @extend_schema(
        parameters=[OpenApiParameter("atomic", bool, description="Change nothing if any row fails")],
        request={
            "application/json": PolymorphicProxySerializer(
                "ImportBody",
                [ImportSerializer, ImportRowSerializer(many=True)],
                resource_type_field_name=None,
                many=False,
            ),
            "multipart/form-data": ImportSerializer,
            "text/csv": str,
        },
        responses={200: ImportResultSerializer, 400: ImportResultSerializer, **FORBIDDEN, **BUSY},
    )
    def post(self, request):
        rows, atomic = self._read(request)
        result = import_segments(rows, user=request.user, atomic=atomic)
        counts = {status: result.count(status) for status in ("created", "updated", "unchanged", "failed")}
        landed = counts["created"] + counts["updated"] + counts["unchanged"]
        answer = ImportResultSerializer({**counts, "results": result.results})
        return Response(answer.data, status=200 if landed else 400)

    def _read(self, request):
        """Return the rows as the service takes them, and whether they shall all land or none."""
        data, atomic = request.data, request.query_params.get("atomic", False)
        if isinstance(data, str):
            return parse_csv(data), _clean_atomic(atomic)
        if isinstance(data, list):
            return _numberless(data), _clean_atomic(atomic)
        if not isinstance(data, dict):
            raise ValidationError({"rows": [_("Give a list of rows, or an object with rows, csv or file.")]})
        atomic = _clean_atomic(data.get("atomic", atomic))
        given = [name for name in ("rows", "csv", "file") if name in data]
        if len(given) != 1:
            raise ValidationError({"rows": [_("Give one of rows, csv and file.")]})
        source = data[given[0]]
        if given == ["rows"] and isinstance(source, list):
            return _numberless(source), atomic
        if given == ["csv"] and isinstance(source, str):
            return parse_csv(source), atomic
        if given == ["file"] and hasattr(source, "read"):
            return parse_csv(decode(source.read())), atomic
        expected = {"rows": _("Give a list of rows."), "csv": _("Give text."), "file": _("Upload a CSV file.")}
        raise ValidationError({given[0]: [expected[given[0]]]})


def _numberless(rows):
    """Return rows that are lines of no file."""
    return [(None, row) for row in rows]


def _clean_atomic(value):
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in BOOLEANS:
        return BOOLEANS[value.lower()]
    raise ValidationError({"atomic": [_("Give true or false.")]})
