import re

from django import forms
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from utilities.forms.rendering import FieldSet, InlineFields

from ..models import Segment, SegmentPool
from ..services.segments.free_space import find_networks, find_vids
from ..services.segments.generation import PREFIX_LENGTH_MISSING
from ..validators import EPG_TEMPLATE, VID_MAX, VID_MIN, usual_prefix_length

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
        networks = [prefix.prefix for prefix in pool.prefixes.all()]
        versions = {network.version for network in networks}
        default = {
            "prefix_length": usual_prefix_length(pool, networks, min(versions, default=4)),
            "ipv6_prefix_length": usual_prefix_length(pool, networks, 6),
            "epg_template": pool.epg_template or EPG_TEMPLATE,
        }
        kwargs["initial"] = {**default, **kwargs.get("initial", {})}
        super().__init__(*args, **kwargs)
        # Only a pool with containers of both IP versions takes this length; in others, the field could only be empty.
        if versions != {4, 6}:
            del self.fields["ipv6_prefix_length"]
        # Without a length, the service takes the one that the pool grows by.
        self.fields["prefix_length"].required = not pool.grow_prefix_length
        self.fields["prefix_length"].error_messages["required"] = PREFIX_LENGTH_MISSING
        self.pool = pool

    def show_free_space(self):
        """Say below the fields which VLAN IDs and networks are free."""
        vids = find_vids(self.pool.vlan_group, VID_MIN, VID_MAX, VID_MAX)
        text = ngettext("{count} VLAN ID is free: {first}", "{count} VLAN IDs are free from {first} on", len(vids))
        if not vids:
            text = gettext("No VLAN ID is free")
        self._add_help("count", text.format(count=len(vids), first=vids[0] if vids else ""))
        for name, version in (("prefix_length", None), ("ipv6_prefix_length", 6)):
            if name not in self.fields or not re.fullmatch("[0-9]{1,3}", str(self[name].value())):
                continue
            length = int(self[name].value())
            networks = find_networks(self.pool, length, 1, version=version)
            text = gettext("The next free one is {network}") if networks else gettext("No network of /{length} is free")
            self._add_help(name, text.format(network=networks[0] if networks else "", length=length))

    def _add_help(self, name, text):
        self[name].help_text = f"{self[name].help_text}. {text}."

    def get_asked(self):
        """Return the keyword arguments of the service."""
        return dict(self.cleaned_data)

    def get_most(self):
        """Return the most segments that this input can make."""
        data = self.cleaned_data
        return data["count"] or (data["vid_max"] or VID_MAX) - (data["vid_min"] or VID_MIN) + 1
