from django import forms
from django.utils.translation import gettext_lazy as _

from netbox.forms.mixins import ChangelogMessageMixin
from utilities.forms import DeleteForm

from ..models import Segment

__all__ = (
    "BulkDisableForm",
    "BulkEnableForm",
    "DisableForm",
)


class ReasonMixin(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        max_length=Segment._meta.get_field("disabled_reason").max_length,
        required=False,
        help_text=_("Shown with the segment while it is disabled"),
    )


class DisableForm(ReasonMixin, DeleteForm):
    """Confirms that a segment is disabled, and asks for the reason."""


class BulkEnableForm(ChangelogMessageMixin, forms.Form):
    """Confirms that the selected segments are enabled."""

    return_url = forms.CharField(
        required=False,
        widget=forms.HiddenInput,
    )


class BulkDisableForm(ReasonMixin, BulkEnableForm):
    """Confirms that the selected segments are disabled, and asks for the reason."""
