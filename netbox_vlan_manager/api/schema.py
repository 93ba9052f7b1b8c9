"""What drf-spectacular cannot tell from the code."""

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from core.api.schema import NetBoxAutoSchema

from .serializers.contract import ErrorSerializer, PoolNotFoundSerializer

__all__ = (
    "BUSY",
    "CONFLICT",
    "FORBIDDEN",
    "FORMAT",
    "INVALID",
    "NOTHING_TO_RELEASE",
    "NOT_FOUND",
    "POOL_CONFLICT",
    "POOL_NOT_FOUND",
    "SHARE_CONFLICT",
    "PlainSchema",
)

# Answers that are no success, to be merged into the responses of an operation.
INVALID = {400: OpenApiResponse(ErrorSerializer, "`invalid`: `errors` says what is wrong with which field")}
FORBIDDEN = {403: OpenApiResponse(ErrorSerializer, "`permission_denied`, or not logged in")}
NOT_FOUND = {404: OpenApiResponse(ErrorSerializer, "There is no such object that you may view")}
POOL_NOT_FOUND = {404: OpenApiResponse(PoolNotFoundSerializer, "`pool_not_found`")}
NOTHING_TO_RELEASE = {404: OpenApiResponse(PoolNotFoundSerializer, "`pool_not_found` or `allocation_not_found`")}
POOL_CONFLICT = {
    409: OpenApiResponse(ErrorSerializer, "`pool_exhausted`, `pool_paused`, `vid_unavailable` or `limit_reached`")
}
SHARE_CONFLICT = {409: OpenApiResponse(ErrorSerializer, "`pool_paused`, `vid_unavailable` or `limit_reached`")}
CONFLICT = {409: OpenApiResponse(ErrorSerializer, "`segment_in_use`: release it first; or `protected`")}
BUSY = {503: OpenApiResponse(ErrorSerializer, "`busy`: nothing was changed, try again after `Retry-After` seconds")}

FORMAT = OpenApiParameter("format", enum=["csv", "json", "xlsx"], default="csv")


class PlainSchema(NetBoxAutoSchema):
    """For views that are no model's: these have no ?fields, ?omit and ?brief."""

    def get_override_parameters(self):
        return AutoSchema.get_override_parameters(self)


class PrefixFieldExtension(OpenApiSerializerFieldExtension):
    target_class = "netbox_vlan_manager.api.fields.PrefixField"

    def map_serializer_field(self, auto_schema, direction):
        if direction == "request":
            return {"oneOf": [{"type": "string", "example": "192.168.1.0/24"}, {"type": "integer"}]}
        return auto_schema.resolve_serializer(self.target.serializer(nested=True), direction).ref
