"""OpenAPI: what drf-spectacular cannot derive from the code."""

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, PolymorphicProxySerializer
from rest_framework.permissions import SAFE_METHODS

from core.api.schema import ChoiceFieldFix, NetBoxAutoSchema

from .names import ANSWER_SHAPE
from .serializers.contract import ErrorSerializer, ListErrorSerializer, PoolNotFoundSerializer

__all__ = (
    "BUSY",
    "CONFLICT",
    "DRY_RUN",
    "FORBIDDEN",
    "FORMAT",
    "INVALID",
    "IN_USE",
    "LIST_REFUSED",
    "NOTHING_TO_RELEASE",
    "NOT_FOUND",
    "POOL_CONFLICT",
    "POOL_NOT_FOUND",
    "SHARE_CONFLICT",
    "ModelSchema",
    "PlainSchema",
)

# Errors, to merge into the responses of an operation.
INVALID = {400: OpenApiResponse(ErrorSerializer, "`invalid`: `errors` says what is wrong with which field")}
FORBIDDEN = {403: OpenApiResponse(ErrorSerializer, "`permission_denied`, or not logged in")}
NOT_FOUND = {404: OpenApiResponse(ErrorSerializer, "There is no such object that you may view")}
POOL_NOT_FOUND = {404: OpenApiResponse(PoolNotFoundSerializer, "`pool_not_found`")}
NOTHING_TO_RELEASE = {404: OpenApiResponse(PoolNotFoundSerializer, "`pool_not_found` or `allocation_not_found`")}
POOL_CONFLICT = {
    409: OpenApiResponse(
        ErrorSerializer, "`pool_exhausted`, `pool_paused`, `vid_unavailable`, `limit_reached` or `not_migrated`"
    )
}
_OBJECT_OR_LIST = PolymorphicProxySerializer(
    "ObjectOrListError", [ErrorSerializer, ListErrorSerializer], resource_type_field_name=None
)
LIST_REFUSED = {
    status: OpenApiResponse(_OBJECT_OR_LIST, f"{text}; of a list, `errors` says which by `index`")
    for status, text in (
        (403, "`permission_denied`, or not logged in"),
        (409, POOL_CONFLICT[409].description),
    )
}
SHARE_CONFLICT = {409: OpenApiResponse(ErrorSerializer, "`pool_paused`, `vid_unavailable` or `limit_reached`")}
CONFLICT = {409: OpenApiResponse(ErrorSerializer, "`segment_in_use`: release it first; or `protected`")}
IN_USE = {409: OpenApiResponse(ErrorSerializer, "`segment_in_use`: something uses the segment, and its pool refuses")}
BUSY = {
    503: OpenApiResponse(
        ErrorSerializer,
        "`busy`: nothing was changed; or `unavailable`: PostgreSQL or Redis cannot serve the call now. "
        "Make the same call again after `Retry-After` seconds",
    )
}

DRY_RUN = OpenApiParameter("dry_run", bool, description="As in the body")
FORMAT = OpenApiParameter("format", enum=["csv", "json", "xlsx"], default="csv")


# The errors of every call that writes.
WRITE_REFUSED = {
    409: OpenApiResponse(_OBJECT_OR_LIST, "Something stands in the way: `code` says what"),
    412: OpenApiResponse(ErrorSerializer, "The object was changed since it was read: `If-Match` names another state"),
    415: OpenApiResponse(ErrorSerializer, "`unsupported_media_type`: send JSON"),
    422: OpenApiResponse(ErrorSerializer, "`idempotency_conflict`: the `Idempotency-Key` came with another call"),
    503: OpenApiResponse(ErrorSerializer, "`busy` or `unavailable`: try again after `Retry-After` seconds"),
}
FIELD_ERRORS = (
    {"type": "object", "additionalProperties": {}, "description": "Texts by field"},
    {"type": "array", "items": {"type": "string"}},
)


class ErrorsMixin:
    """Documents the errors of every call, in addition to the responses that its view declares."""

    # Whether invalid values are reported in NetBox's shape: {field: [texts]}.
    has_field_errors = False

    def __set__(self, instance, other):
        # A view that extend_schema decorates gets a schema of its own, made from NetBox's class.
        if isinstance(other, AutoSchema) and not isinstance(other, ErrorsMixin):
            names = {"has_field_errors": self.has_field_errors}
            other = type(type(other).__name__, (ErrorsMixin, type(other)), names)()
        super().__set__(instance, other)

    def get_override_parameters(self):
        """Return the parameters, without NetBox's ANSWER_SHAPE if the view does not know these."""
        parameters = super().get_override_parameters()
        is_model_call = not getattr(self.view, "is_own_call", True)
        if is_model_call or not set(ANSWER_SHAPE).isdisjoint(self.view.query_names or ()):
            return parameters
        return [one for one in parameters if getattr(one, "name", None) not in ANSWER_SHAPE]

    def _get_response_bodies(self, direction="response"):
        responses = super()._get_response_bodies(direction)
        if not self.view.permission_classes:
            # The view is open to everybody and refuses no request.
            return responses
        refusals = {**INVALID, **FORBIDDEN}
        if self.method not in SAFE_METHODS:
            refusals |= WRITE_REFUSED
        if "{" in self.path:
            refusals |= NOT_FOUND
        for status, response in refusals.items():
            described = self._get_response_for_code(response, str(status), direction=direction)
            if known := responses.get(str(status)):
                if status == 400:
                    self._add_alternatives(known, *self._schemas(described))
            else:
                responses[str(status)] = described
        if self.has_field_errors and not self.view.is_own_call:
            self._add_alternatives(responses["400"], *FIELD_ERRORS)
        if self.has_field_errors and getattr(self.view, "action", "") == "create":
            # A list in the request gets a list, an object gets an object.
            for status in {"200", "201"} & responses.keys():
                (one,) = self._schemas(responses[status])
                responses[status]["content"]["application/json"]["schema"] = {
                    "oneOf": [one, {"type": "array", "items": one}]
                }
        return responses

    def _schemas(self, response):
        """Return the alternative schemas of the body of a response."""
        schema = response["content"]["application/json"]["schema"]
        return schema.get("anyOf") or schema.get("oneOf") or [schema]

    def _add_alternatives(self, response, *schemas):
        known = self._schemas(response)
        new = [schema for schema in schemas if schema not in known]
        response["content"]["application/json"]["schema"] = {"anyOf": [*known, *new]}


class ModelSchema(ErrorsMixin, NetBoxAutoSchema):
    """The schema of the viewsets of models."""

    has_field_errors = True


class PlainSchema(ErrorsMixin, NetBoxAutoSchema):
    """The schema of views without a model."""


class OptionalChoiceFieldExtension(ChoiceFieldFix):
    target_class = "netbox_vlan_manager.api.fields.OptionalChoiceField"

    def map_serializer_field(self, auto_schema, direction):
        return {**super().map_serializer_field(auto_schema, direction), "nullable": True}


class PrefixFieldExtension(OpenApiSerializerFieldExtension):
    target_class = "netbox_vlan_manager.api.fields.PrefixField"

    def map_serializer_field(self, auto_schema, direction):
        if direction == "request":
            return {"oneOf": [{"type": "string", "example": "192.168.1.0/24"}, {"type": "integer"}]}
        return auto_schema.resolve_serializer(self.target.serializer(nested=True), direction).ref
