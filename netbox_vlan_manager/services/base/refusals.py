"""What services refuse a call with, and what it says."""

from django.core.exceptions import PermissionDenied, ValidationError

from netbox.context import current_request
from utilities.exceptions import AbortRequest

from ...exceptions import VLANManagerError
from .protection import PROTECTED_ERRORS, describe_protected

__all__ = (
    "SERVICE_ERRORS",
    "get_error_texts",
)

# What a caller has to expect of a service. AbortRequest comes from NetBox's signals, and those of other plugins.
SERVICE_ERRORS = (ValidationError, VLANManagerError, AbortRequest, *PROTECTED_ERRORS)


def get_error_texts(error):
    """Return what one of SERVICE_ERRORS, or a PermissionDenied, says, as a list of texts."""
    if isinstance(error, ValidationError):
        return error.messages
    if isinstance(error, PROTECTED_ERRORS):
        request = current_request.get()
        return [describe_protected(error, request and request.user)]
    return [str(error) if isinstance(error, PermissionDenied) else str(error.message)]
