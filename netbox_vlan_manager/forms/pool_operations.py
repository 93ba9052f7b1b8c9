from django import forms
from django.utils.translation import gettext_lazy as _

from ipam.choices import PrefixStatusChoices
from ipam.models import Prefix
from netbox.forms.mixins import ChangelogMessageMixin
from utilities.forms.fields import DynamicModelChoiceField, DynamicModelMultipleChoiceField
from utilities.forms.rendering import FieldSet

from ..models import SegmentPool
from .fields import CIDRListField, VIDRangesField

__all__ = (
    "MergePoolForm",
    "ResizePoolForm",
    "RetirePoolForm",
)


class PoolOperationForm(ChangelogMessageMixin, forms.Form):
    def __init__(self, *args, pool, user, **kwargs):
        super().__init__(*args, **kwargs)
        self.pool = pool

    def get_asked(self):
        """Return the keyword arguments of the service."""
        return dict(self.cleaned_data)


class MergePoolForm(PoolOperationForm):
    """Asks for the pool that another one is merged into."""

    into = DynamicModelChoiceField(
        label=_("Into pool"),
        queryset=SegmentPool.objects.none(),
        help_text=_("A pool of the same VRF, which gets all segments, allocations and containers"),
    )

    fieldsets = (FieldSet("into", name=_("Merge")),)

    def __init__(self, *args, pool, user, **kwargs):
        super().__init__(*args, pool=pool, user=user, **kwargs)
        field = self.fields["into"]
        field.queryset = SegmentPool.objects.restrict(user, "change").filter(vrf=pool.vrf_id).exclude(pk=pool.pk)
        field.widget.add_query_params({"vrf_id": [pool.vrf_id], "id__n": [pool.pk]})


class RetirePoolForm(PoolOperationForm):
    """Asks why a pool is retired."""

    fieldsets = ()


class ResizePoolForm(PoolOperationForm):
    """Asks for the VLAN IDs and the containers that a pool shall have."""

    vid_ranges = VIDRangesField(
        label=_("VLAN IDs"),
        help_text=_("Of the pool's VLAN group, and with it of every pool that shares the group; such as 100-199,300"),
    )
    prefixes = DynamicModelMultipleChoiceField(
        label=_("Containers"),
        queryset=Prefix.objects.none(),
        required=False,
        help_text=_("Prefixes of the VRF, with the status Container, that the pool's segments are taken from"),
    )
    new_prefixes = CIDRListField(
        label=_("New containers"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("Networks that become containers, such as 10.0.0.0/16; one a line, or separated by commas"),
    )
    remove_segments = forms.BooleanField(
        label=_("Remove segments"),
        required=False,
        help_text=_("Delete the pool's available segments that the new size leaves outside"),
    )

    fieldsets = (
        FieldSet("vid_ranges", name=_("VLAN IDs")),
        FieldSet("prefixes", "new_prefixes", name=_("Prefixes")),
        FieldSet("remove_segments", name=_("Segments outside")),
    )

    def __init__(self, *args, pool, user, **kwargs):
        current = {"vid_ranges": pool.vlan_group.vid_ranges, "prefixes": [one.pk for one in pool.prefixes.all()]}
        kwargs["initial"] = {**current, **kwargs.get("initial", {})}
        super().__init__(*args, pool=pool, user=user, **kwargs)
        field = self.fields["prefixes"]
        containers = Prefix.objects.filter(vrf=pool.vrf_id, status=PrefixStatusChoices.STATUS_CONTAINER)
        own = Prefix.objects.filter(segment_pools=pool)
        field.queryset = containers.restrict(user, "view") | own.restrict(user, "view")
        field.widget.add_query_params({"vrf_id": [pool.vrf_id], "status": [PrefixStatusChoices.STATUS_CONTAINER]})

    def get_asked(self):
        data = self.cleaned_data
        return {
            # The form's ranges are half-open; the service takes the first and the last VLAN ID.
            "vid_ranges": [(vids.lower, vids.upper - 1) for vids in data["vid_ranges"]],
            "prefixes": [*data["prefixes"], *data["new_prefixes"]],
            "remove_segments": data["remove_segments"],
            "changelog_message": data["changelog_message"],
        }
