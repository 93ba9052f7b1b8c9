from collections import Counter

from django import forms
from django.urls import reverse_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..choices import SegmentPoolStatusChoices
from ..services.reporting.overview import pools_to_allocate_from
from ..validators import CLUSTER_NAME_MAX_LENGTH, ClusterName

__all__ = ("QuickAllocateForm",)


class QuickAllocateForm(forms.Form):
    """
    Asks for a segment for a cluster by VRF and place.

    If a VRF is chosen, only its places are offered. If none is, the places are grouped by VRF, so that the form works
    without JavaScript too.
    """

    vrf = forms.ChoiceField(
        label=_("VRF"),
        required=False,
        widget=forms.Select(
            attrs={
                "hx-get": reverse_lazy("plugins:netbox_vlan_manager:overview"),
                "hx-include": "#id_pool, #id_cluster_name",
                "hx-target": "#id_pool_field",
                "hx-swap": "outerHTML",
            }
        ),
    )
    pool = forms.TypedChoiceField(
        label=_("Place"),
        error_messages={"invalid_choice": _("Choose a place of the VRF from the list.")},
    )
    cluster_name = forms.CharField(
        label=_("Cluster name"),
        max_length=CLUSTER_NAME_MAX_LENGTH,
        widget=forms.TextInput(attrs={"dir": "auto", "autocomplete": "off"}),
    )

    def __init__(self, *args, user, **kwargs):
        super().__init__(*args, **kwargs)
        self.pools = {str(pool.pk): pool for pool in pools_to_allocate_from(user)}
        self.fields["vrf"].choices = [
            ("", _("All VRFs")),
            *{str(pool.vrf_id): str(pool.vrf) for pool in self.pools.values()}.items(),
        ]
        self.fields["pool"].choices = [("", "---------"), *self._get_places(self["vrf"].value())]
        self.fields["pool"].coerce = self.pools.get

    def _get_places(self, vrf):
        """Return the choices of the VRF with this id; without an id, a group of choices for each VRF."""
        names = Counter((pool.vrf_id, pool.scope_name) for pool in self.pools.values())
        places, groups = [], {}
        for value, pool in self.pools.items():
            # A location may have the name of its site, or of a location of another site. A pool is found by its own
            # name as well, which the names of VRF and place mostly are.
            is_told = names[pool.vrf_id, pool.scope_name] == 1 and pool.name == f"{pool.vrf.name} {pool.scope_name}"
            name = pool.scope_name if is_told else f"{pool.scope_name}: {pool}"
            if str(pool.vrf_id) == vrf:
                places.append((value, _label(name, pool)))
            else:
                # A browser shows a chosen option without its group.
                name = gettext("{place} in {vrf}").format(place=name, vrf=pool.vrf.name)
                groups.setdefault(pool.vrf_id, (str(pool.vrf), []))[1].append((value, _label(name, pool)))
        return places if vrf else groups.values()

    def clean_cluster_name(self):
        return ClusterName.clean(self.cleaned_data["cluster_name"])


def _label(name, pool):
    """Return `name`, with the reason if `pool` can make no new allocation."""
    if pool.status == SegmentPoolStatusChoices.PAUSED:
        return gettext("{place} (paused)").format(place=name)
    if pool.status == SegmentPoolStatusChoices.RETIRING:
        return gettext("{place} (retiring)").format(place=name)
    if not pool.has_available:
        return gettext("{place} (no segment available)").format(place=name)
    return name
