"""
The one place that turns exceptions into HTTP statuses and bodies.

Every error is {"detail", "code", ...}; invalid values are {"detail", "code": "invalid", "errors": {field: [texts]}}.
For invalid values, calls that work as NetBox's own do, such as creating a pool, keep NetBox's shape {field: [texts]}.
"""

import logging
from dataclasses import asdict

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404
from django.utils.translation import gettext as _
from redis.exceptions import RedisError
from rest_framework import exceptions, views
from rest_framework.serializers import as_serializer_error

from utilities.exceptions import AbortRequest

from ..exceptions import PoolConflict, PoolNotFound, VLANManagerError
from ..services.base import transactions
from ..services.base.hooks import Vetoed
from ..services.base.protection import PROTECTED_ERRORS, describe_protected
from ..services.base.refusals import SERVICE_ERRORS

__all__ = (
    "REFUSALS",
    "ModelErrorsMixin",
    "PlainErrorsMixin",
    "as_api_exception",
)

logger = logging.getLogger("netbox_vlan_manager.api")

STATUS_OF_CODE = {
    "invalid": 400,
    "pool_not_found": 404,
    "allocation_not_found": 404,
    "pool_exhausted": 409,
    "pool_paused": 409,
    "branch_active": 409,
    "pool_conflict": 409,
    "vid_unavailable": 409,
    "limit_reached": 409,
    "not_migrated": 409,
    "idempotency_conflict": 422,
    "segment_in_use": 409,
    "protected": 409,
    "busy": 503,
    "unavailable": 503,
}

# The exceptions that refuse one object of a batch.
REFUSALS = (*SERVICE_ERRORS, PermissionDenied, exceptions.APIException)

# SQLSTATE of a server that became a standby while it was in use. Django raises it as an InternalError.
READ_ONLY_TRANSACTION = "25006"


class CodedError(exceptions.APIException):
    """An error with one of our codes, and with further keys (`extra`) in its body."""

    def __init__(self, code, detail, wait=None, status=None, **extra):
        super().__init__(detail, code)
        self.status_code = status or STATUS_OF_CODE[code]
        self.detail = {"detail": self.detail, "code": code, **extra}
        # In seconds. REST framework turns it into the Retry-After header.
        self.wait = wait


def as_api_exception(exc, request=None):
    """
    Return `exc` as one of REST framework's exceptions if we know it, else unchanged.

    Args:
        exc: Any exception.
        request: The request; a protected object is named only if its user may view it.
    """
    if isinstance(exc, PoolNotFound):
        known = [{"site": site, "vrf": vrf} for site, vrf in exc.combinations]
        return CodedError(exc.code, exc.message, combinations=known)
    if isinstance(exc, PoolConflict):
        return CodedError(exc.code, exc.message, conflicts=[asdict(conflict) for conflict in exc.conflicts])
    if isinstance(exc, Vetoed):
        # An optional part has codes of its own, for calls that the state of its objects does not allow.
        return CodedError(exc.code, exc.message, status=409)
    if isinstance(exc, VLANManagerError):
        return CodedError(exc.code, exc.message, wait=getattr(exc, "retry_after", None))
    if isinstance(exc, DjangoValidationError):
        return exceptions.ValidationError(as_serializer_error(exc))
    if isinstance(exc, AbortRequest):
        return CodedError("invalid", str(exc.message))
    if isinstance(exc, PROTECTED_ERRORS):
        return CodedError("protected", describe_protected(exc, request and request.user))
    if isinstance(exc, DataError):
        return CodedError("invalid", _("A value has a character or size that the database cannot store: change it."))
    if isinstance(exc, OperationalError | InterfaceError) or transactions.sqlstate(exc) == READ_ONLY_TRANSACTION:
        logger.error("The database cannot serve a call", exc_info=exc)
        return CodedError("unavailable", _("The database cannot serve this call now; repeat it later."), wait=5)
    if isinstance(exc, RedisError):
        logger.error("Redis cannot serve a call", exc_info=exc)
        return CodedError("unavailable", _("Redis cannot serve this call now; repeat it later."), wait=5)
    if isinstance(exc, RequestDataTooBig):
        return CodedError("invalid", _("The body is too large: send less at a time."))
    if isinstance(exc, Http404):
        return exceptions.NotFound(*exc.args)
    if isinstance(exc, PermissionDenied):
        return exceptions.PermissionDenied(*exc.args)
    return exc


def _handle(exc, context):
    """Return the response for `exc`, with its code in the body, or None if we do not know it."""
    exc = as_api_exception(exc, context["request"])
    response = views.exception_handler(exc, context)
    if response is not None and isinstance(response.data, dict) and response.data.keys() == {"detail"}:
        code = exc.get_codes()
        response.data["code"] = "invalid" if not isinstance(code, str) or code == "parse_error" else code
    return response


def _handle_plain(exc, context):
    """As `_handle`, with the errors of fields under "errors"."""
    exc = as_api_exception(exc, context["request"])
    if isinstance(exc, exceptions.ValidationError):
        # REST framework reports errors in a list of values by index; the contract has {field: [text]} only.
        errors = {name: list(_texts(inner)) for name, inner in as_serializer_error(exc).items()}
        exc = CodedError("invalid", " ".join(_texts(errors)), errors=errors)
    return _handle(exc, context)


def _texts(errors, path=""):
    """Yield "field: text" for each error."""
    if isinstance(errors, dict):
        for name, inner in errors.items():
            yield from _texts(inner, path if name == "__all__" else f"{path}{name}: ")
    elif isinstance(errors, list):
        for inner in errors:
            yield from _texts(inner, path)
    else:
        yield f"{path}{errors}"


class ModelErrorsMixin:
    """The errors of NetBox's model viewsets, some of whose actions are the plugin's own."""

    def get_exception_handler(self):
        return _handle_plain if self.is_own_call else _handle


class PlainErrorsMixin:
    """The errors of the plugin's plain views."""

    def get_exception_handler(self):
        return _handle_plain
