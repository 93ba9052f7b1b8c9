from django import forms
from django.utils.translation import gettext_lazy as _

from utilities.forms.rendering import FieldSet, InlineFields

from ..models import Segment, SegmentPool
from ..validators import EPG_TEMPLATE, VID_MAX, VID_MIN

__all__ = ("GenerateSegmentsForm",)


def _number(label, help_text, least, most):
    """Return an optional field for a whole number from `least` to `most`."""
    return forms.IntegerField(label=label, required=False, min_value=least, max_value=most, help_text=help_text)


class GenerateSegmentsForm(forms.Form):
    """Asks how many segments to make in a pool, or for which VLAN IDs, and for their values."""

    count = _number(
        _("Number of segments"),
        _("The segments get the lowest free VLAN IDs; when empty, one is made for each free VLAN ID of the range"),
        1,
        VID_MAX,
    )
    vid_min = _number(_("First VLAN ID"), _("First VLAN ID"), VID_MIN, VID_MAX)
    vid_max = _number(_("Last VLAN ID"), _("Last VLAN ID"), VID_MIN, VID_MAX)
    prefix_length = _number(
        _("Prefix length"), _("Each segment gets the next free network of this length in the containers"), 1, 128
    )
    ipv6_prefix_length = _number(
        _("IPv6 prefix length"), _("The length of an additional IPv6 prefix; none when empty"), 1, 128
    )
    epg_template = forms.CharField(
        label=_("EPG name template"),
        max_length=SegmentPool._meta.get_field("epg_template").max_length,
        widget=forms.TextInput(attrs={"class": "font-monospace", "spellcheck": "false"}),
        help_text=_(
            "{site}, {vrf} and {pool} stand for the names of the pool's place, its VRF and the "
            "pool, {vid} for the VLAN ID"
        ),
    )
    dhcp = forms.BooleanField(label=_("DHCP"), required=False, help_text=_("DHCP serves the segments"))
    description = forms.CharField(
        label=_("Description"), required=False, max_length=Segment._meta.get_field("description").max_length
    )

    fieldsets = (
        FieldSet("count", InlineFields("vid_min", "vid_max", label=_("VLAN IDs")), name=_("How many")),
        FieldSet(
            "prefix_length", "ipv6_prefix_length", "epg_template", "dhcp", "description", name=_("The new segments")
        ),
    )

    def __init__(self, *args, pool, user, **kwargs):
        default = {
            "prefix_length": pool.grow_prefix_length,
            "ipv6_prefix_length": pool.grow_ipv6_prefix_length,
            "epg_template": pool.epg_template or EPG_TEMPLATE,
        }
        kwargs["initial"] = {**default, **kwargs.get("initial", {})}
        super().__init__(*args, **kwargs)
        # Only a pool with containers of both IP versions takes this length; in others, the field could only be empty.
        if {prefix.prefix.version for prefix in pool.prefixes.all()} != {4, 6}:
            del self.fields["ipv6_prefix_length"]

    def get_asked(self):
        """Return the keyword arguments of the service."""
        return dict(self.cleaned_data)

    def get_most(self):
        """Return the most segments that this input can make."""
        data = self.cleaned_data
        return data["count"] or (data["vid_max"] or VID_MAX) - (data["vid_min"] or VID_MIN) + 1
