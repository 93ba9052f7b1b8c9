from django import forms
from django.utils.translation import gettext_lazy as _

from netbox.forms.mixins import ChangelogMessageMixin

from ..choices import DriftSeverityChoices
from ..services.drift.findings import KINDS

__all__ = (
    "DriftFilterForm",
    "DriftRepairForm",
)


class DriftFilterForm(forms.Form):
    """Filters the drift report; only values that occur in the findings are offered."""

    kind = forms.ChoiceField(label=_("Kind"), required=False)
    pool_id = forms.TypedChoiceField(label=_("Pool"), required=False, coerce=int, empty_value="")
    severity = forms.ChoiceField(label=_("Severity"), required=False)

    def __init__(self, *args, findings, **kwargs):
        super().__init__(*args, **kwargs)
        kinds = {drift.kind for drift in findings}
        severities = {drift.severity for drift in findings}
        choices = {
            "kind": [(name, kind.label) for name, kind in KINDS.items() if name in kinds],
            # The findings are sorted by pool.
            "pool_id": list({drift.pool.pk: drift.pool.name for drift in findings}.items()),
            "severity": [choice for choice in DriftSeverityChoices if choice[0] in severities],
        }
        for name, field in self.fields.items():
            field.choices = [("", _("All")), *choices[name]]
            field.widget.attrs["class"] = "form-select"

    def get_values(self):
        """Return the arguments of `filter_drift`; a choice that is no longer offered is left out."""
        self.is_valid()
        return {name: [value] for name, value in self.cleaned_data.items() if value}


class DriftRepairForm(ChangelogMessageMixin, forms.Form):
    """Confirms the repair of the selected findings."""

    return_url = forms.CharField(
        required=False,
        widget=forms.HiddenInput,
    )
