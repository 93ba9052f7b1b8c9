from django import forms
from django.utils.translation import gettext_lazy as _

from ..filters import NetworkField
from ..validators import CLUSTER_NAME_MAX_LENGTH, VID_MAX, VID_MIN

__all__ = ("TimelineForm",)


class TimelineForm(forms.Form):
    """Asks whose or what timeline to show. The names are those of the filters of allocations."""

    vid = forms.IntegerField(label=_("VLAN ID"), min_value=VID_MIN, max_value=VID_MAX, required=False)
    contains = NetworkField(label=_("Prefix or IP"), required=False)
    vrf_name = forms.CharField(label=_("VRF"), max_length=100, required=False)
    cluster_name = forms.CharField(label=_("Cluster name"), max_length=CLUSTER_NAME_MAX_LENGTH, required=False)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["class"] = "form-control"
