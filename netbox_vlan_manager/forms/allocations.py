from django import forms
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ipam.models import VRF
from netbox.forms import PrimaryModelBulkEditForm, PrimaryModelFilterSetForm, PrimaryModelForm
from netbox.forms.mixins import ChangelogMessageMixin
from tenancy.forms import ContactModelFilterForm, TenancyFilterForm
from utilities.forms import BOOLEAN_WITH_BLANK_CHOICES, DeleteForm
from utilities.forms.fields import DynamicModelMultipleChoiceField, TagFilterField
from utilities.forms.rendering import FieldSet, InlineFields
from utilities.forms.widgets import DateTimePicker, HTMXSelect
from virtualization.models import Cluster

from ..choices import AllocationStatusChoices, ReleaseReasonChoices, SegmentPoolStatusChoices
from ..models import Allocation, Segment, SegmentPool
from ..validators import (
    CLUSTER_NAME_MAX_LENGTH,
    PURPOSE_MAX_LENGTH,
    VID_MAX,
    VID_MIN,
    ClusterName,
    clean_purpose,
)
from .mixins import HeldAtFilterForm, KeepHiddenMixin, PlaceFilterForm, RestrictedFilterMixin

__all__ = (
    "AllocateForm",
    "AllocationBulkEditForm",
    "AllocationFilterForm",
    "AllocationForm",
    "BulkReleaseForm",
    "HandOverForm",
    "RenewForm",
    "ShareForm",
    "StretchedForm",
)


def _label_pool(pool):
    """Return the pool's name, with its available segments or a status in which it makes no allocations."""
    if pool.status == SegmentPoolStatusChoices.PAUSED:
        return gettext("{pool} (paused)").format(pool=pool)
    if pool.status == SegmentPoolStatusChoices.RETIRING:
        return gettext("{pool} (retiring)").format(pool=pool)
    return gettext("{pool} ({available} of {total} available)").format(
        pool=pool, available=pool.usage.available, total=pool.usage.total_segments
    )


class PoolChoiceField(forms.ModelChoiceField):
    def label_from_instance(self, pool):
        return _label_pool(pool)


class PoolMultipleChoiceField(forms.ModelMultipleChoiceField):
    def label_from_instance(self, pool):
        return _label_pool(pool)


class BrowserDateTimeInput(forms.DateTimeInput):
    """
    The browser's own input for a date and a time, which takes nothing else.

    NetBox's picker silently reads text in a format other than its own as another date.
    """

    input_type = "datetime-local"

    def __init__(self):
        # Any second is valid: the stored time of an allocation may have seconds.
        super().__init__(attrs={"step": "any"}, format="%Y-%m-%dT%H:%M:%S")


class ExpiryMixin(forms.Form):
    expires_at = forms.DateTimeField(
        label=_("Expires at"),
        required=False,
        widget=BrowserDateTimeInput(),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["expires_at"].help_text = gettext(
            "When the allocation is released by itself, in the time zone {zone}; never when empty"
        ).format(zone=timezone.get_current_timezone_name())


class HolderForm(forms.Form):
    """Asks which cluster shall hold a segment, and for which purpose."""

    cluster_name = forms.CharField(
        label=_("Cluster name"),
        max_length=CLUSTER_NAME_MAX_LENGTH,
        help_text=_("Compared without case; a cluster that holds a segment of the pool keeps that one"),
    )
    purpose = forms.CharField(
        label=_("Purpose"),
        max_length=PURPOSE_MAX_LENGTH,
        required=False,
        help_text=_("Tells several segments of one cluster in a pool apart; usually empty"),
    )

    def clean_cluster_name(self):
        return ClusterName.clean(self.cleaned_data["cluster_name"])

    def clean_purpose(self):
        return clean_purpose(self.cleaned_data["purpose"])


class NewAllocationForm(ChangelogMessageMixin, ExpiryMixin, HolderForm):
    vid = forms.IntegerField(
        label=_("VLAN ID"),
        min_value=VID_MIN,
        max_value=VID_MAX,
        required=False,
        help_text=_("A certain VLAN ID"),
    )
    description = forms.CharField(
        label=_("Description"),
        max_length=200,
        required=False,
    )


class AllocateForm(NewAllocationForm):
    """Asks for a segment for a cluster, from a pool that the user may allocate in."""

    pool = PoolChoiceField(
        label=_("Pool"),
        queryset=SegmentPool.objects.none(),
        help_text=_("Its next available segment is allocated, by default the one with the lowest VLAN ID"),
    )
    vid_min = forms.IntegerField(
        label=_("From"),
        min_value=VID_MIN,
        max_value=VID_MAX,
        required=False,
    )
    vid_max = forms.IntegerField(
        label=_("To"),
        min_value=VID_MIN,
        max_value=VID_MAX,
        required=False,
    )
    prefix_length = forms.IntegerField(
        label=_("Prefix length"),
        min_value=1,
        max_value=128,
        required=False,
        help_text=_("Such as 24 for a /24"),
    )

    fieldsets = (
        FieldSet("pool", "cluster_name", "purpose", "expires_at", "description", name=_("Allocation")),
        FieldSet(
            "vid",
            InlineFields("vid_min", "vid_max", label=_("VLAN IDs"), help_text=_("A VLAN ID of this range")),
            "prefix_length",
            name=_("Which segment"),
        ),
    )

    def __init__(self, *args, pools, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["pool"].queryset = pools.with_usage()


class StretchedForm(NewAllocationForm):
    """Asks for segments with one VLAN ID for a cluster, from several pools of a VRF that the user may allocate in."""

    vrf = forms.ModelChoiceField(
        label=_("VRF"),
        queryset=VRF.objects.none(),
        # htmx swaps the pools only: NetBox gives no calendar to a date field that is swapped in.
        widget=HTMXSelect(hx_target_id="pools"),
    )
    pools = PoolMultipleChoiceField(
        label=_("Pools"),
        queryset=SegmentPool.objects.none(),
        help_text=_("Two or more of the VRF: one for each site"),
    )

    fieldsets = (
        FieldSet("vrf", name=_("Where")),
        FieldSet("pools", html_id="pools"),
        FieldSet("cluster_name", "purpose", "expires_at", "description", name=_("Allocation")),
        FieldSet("vid", name=_("Which segments")),
    )

    def __init__(self, *args, pools, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["vid"].help_text = _(
            "A certain VLAN ID; when empty, the lowest that is available in all of the pools"
        )
        self.fields["vrf"].queryset = VRF.objects.filter(segment_pools__in=pools.order_by().values("pk")).distinct()
        vrf = self["vrf"].value()
        if vrf and str(vrf).isdecimal():
            pools = pools.filter(vrf=vrf)
        self.fields["pools"].queryset = pools.with_usage().order_by("vrf__name", "name")

    def clean_pools(self):
        pools = list(self.cleaned_data["pools"])
        if len(pools) < 2:
            raise forms.ValidationError(gettext("Choose two pools or more."))
        return pools


class ShareForm(HolderForm, DeleteForm):
    """Asks which cluster shall hold a segment as well."""


class HandOverForm(DeleteForm):
    """Asks which cluster shall get the segment of another one."""

    cluster_name = forms.CharField(
        label=_("To cluster"),
        max_length=CLUSTER_NAME_MAX_LENGTH,
        help_text=_("It keeps the purpose, the expiry and the texts of this allocation"),
    )

    def clean_cluster_name(self):
        return ClusterName.clean(self.cleaned_data["cluster_name"])


class RenewForm(ExpiryMixin, DeleteForm):
    """Asks when an allocation shall expire."""


class BulkReleaseForm(ChangelogMessageMixin, forms.Form):
    """Confirms the release of the selected allocations."""

    return_url = forms.CharField(
        required=False,
        widget=forms.HiddenInput,
    )


class AllocationForm(KeepHiddenMixin, PrimaryModelForm):
    """Edits an allocation's texts, owner and tags; other fields change only by allocating, renewing and releasing."""

    fieldsets = (FieldSet("description", "tags", name=_("Allocation")),)

    class Meta:
        model = Allocation
        fields = ("description", "owner", "comments", "tags")


class AllocationBulkEditForm(PrimaryModelBulkEditForm):
    model = Allocation
    fieldsets = (FieldSet("description"),)
    nullable_fields = ("description", "comments")


class AllocationFilterForm(
    RestrictedFilterMixin,
    HeldAtFilterForm,
    PlaceFilterForm,
    TenancyFilterForm,
    ContactModelFilterForm,
    PrimaryModelFilterSetForm,
):
    model = Allocation
    fieldsets = (
        FieldSet("q", "filter_id", "tag"),
        FieldSet("status", "held_at", "cluster_name", "cluster_id", "purpose", "shared", name=_("Allocation")),
        FieldSet("pool_id", "segment_id", "vid", name=_("Segment")),
        FieldSet("within_include", "contains", "vrf_id", "vlan_group_id", name=_("Addressing")),
        FieldSet("region_id", "site_group_id", "site_id", "location_id", name=_("Scope")),
        FieldSet("tenant_group_id", "tenant_id", name=_("Tenant")),
        FieldSet("allocated_at__gte", "allocated_at__lte", name=_("Allocated")),
        FieldSet("expires_at__gte", "expires_at__lte", name=_("Expires")),
        FieldSet("released_at__gte", "released_at__lte", "release_reason", name=_("Released")),
        FieldSet("owner_group_id", "owner_id", name=_("Ownership")),
        FieldSet("contact", "contact_role", "contact_group", name=_("Contacts")),
    )
    status = forms.MultipleChoiceField(
        label=_("Status"),
        choices=AllocationStatusChoices,
        required=False,
    )
    cluster_name = forms.CharField(
        label=_("Cluster name"),
        required=False,
    )
    cluster_id = DynamicModelMultipleChoiceField(
        label=_("Cluster"),
        queryset=Cluster.objects.all(),
        required=False,
    )
    purpose = forms.CharField(
        label=_("Purpose"),
        required=False,
    )
    pool_id = DynamicModelMultipleChoiceField(
        label=_("Pool"),
        queryset=SegmentPool.objects.all(),
        required=False,
    )
    segment_id = DynamicModelMultipleChoiceField(
        label=_("Segment"),
        queryset=Segment.objects.all(),
        required=False,
        query_params={"pool_id": "$pool_id"},
    )
    vid = forms.IntegerField(
        label=_("VLAN ID"),
        min_value=VID_MIN,
        max_value=VID_MAX,
        required=False,
    )
    allocated_at__gte = forms.DateTimeField(
        label=_("After"),
        required=False,
        widget=DateTimePicker(),
    )
    allocated_at__lte = forms.DateTimeField(
        label=_("Before"),
        required=False,
        widget=DateTimePicker(),
    )
    expires_at__gte = forms.DateTimeField(
        label=_("After"),
        required=False,
        widget=DateTimePicker(),
    )
    expires_at__lte = forms.DateTimeField(
        label=_("Before"),
        required=False,
        widget=DateTimePicker(),
    )
    released_at__gte = forms.DateTimeField(
        label=_("After"),
        required=False,
        widget=DateTimePicker(),
    )
    released_at__lte = forms.DateTimeField(
        label=_("Before"),
        required=False,
        widget=DateTimePicker(),
    )
    release_reason = forms.MultipleChoiceField(
        label=_("Release reason"),
        choices=ReleaseReasonChoices,
        required=False,
    )
    shared = forms.NullBooleanField(
        label=_("Shared"),
        required=False,
        widget=forms.Select(choices=BOOLEAN_WITH_BLANK_CHOICES),
    )
    tag = TagFilterField(model)
