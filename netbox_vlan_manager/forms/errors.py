"""Turns the errors of services into form errors."""

from contextlib import contextmanager

from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied
from django.utils.translation import gettext as _

from netbox.context import current_request
from utilities.exceptions import AbortRequest

from ..exceptions import VIDUnavailable
from ..services.base.refusals import SERVICE_ERRORS, get_error_texts

__all__ = (
    "abort_on_service_errors",
    "add_service_error",
)


def add_service_error(form, error):
    """
    Show a service's error at the form's fields, and texts that belong to no field above them.

    `error_fields` of a form names its fields for values that the service calls otherwise.
    """
    if hasattr(error, "error_dict"):
        errors = error.message_dict
    else:
        # It belongs to the VLAN ID field only if the user filled that in.
        asked = isinstance(error, VIDUnavailable) and form.cleaned_data.get("vid")
        request = current_request.get()
        errors = {"vid" if asked else None: get_error_texts(error, request and request.user)}
    names = getattr(form, "error_fields", {})
    for field, messages in errors.items():
        field = names.get(field, field)
        if field in form.fields:
            form.add_error(field, messages)
        else:
            name = "" if field in (None, NON_FIELD_ERRORS) else f"{field}: "
            form.add_error(None, [f"{name}{message}" for message in messages])


@contextmanager
def abort_on_service_errors(form):
    """
    Turn a service's error in the block into errors of `form`, for NetBox's views, which expect a valid form to save.

    Raises:
        AbortRequest: A service raised an error. The views roll back, and show the form again with the errors.
    """
    try:
        yield
    except (*SERVICE_ERRORS, PermissionDenied) as error:
        # The permission is missing for these values, not for the page.
        add_service_error(form, error)
        raise AbortRequest(_("Nothing was saved. See what is wrong in the form.")) from error
