"""The errors that services refuse a call with, and their texts."""

from django.core.exceptions import PermissionDenied, ValidationError

from utilities.exceptions import AbortRequest

from ...exceptions import VLANManagerError
from .protection import PROTECTED_ERRORS, describe_protected

__all__ = (
    "SERVICE_ERRORS",
    "get_error_texts",
)

# The errors that a service may raise. AbortRequest comes from receivers of NetBox and of other plugins.
SERVICE_ERRORS = (ValidationError, VLANManagerError, AbortRequest, *PROTECTED_ERRORS)


def get_error_texts(error, viewer):
    """
    Return the texts of an error as a list.

    Args:
        error: One of SERVICE_ERRORS, or a PermissionDenied.
        viewer: The User who reads them. They name no objects that the user may not view; None may view all.
    """
    if isinstance(error, ValidationError):
        return error.messages
    if isinstance(error, PROTECTED_ERRORS):
        return [describe_protected(error, viewer)]
    return [str(error) if isinstance(error, PermissionDenied) else str(error.message)]
