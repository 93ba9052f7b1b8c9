from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ipam.models import VRF
from netbox.forms import PrimaryModelBulkEditForm, PrimaryModelFilterSetForm, PrimaryModelForm
from netbox.forms.mixins import ChangelogMessageMixin
from utilities.forms.fields import DynamicModelMultipleChoiceField, TagFilterField
from utilities.forms.rendering import FieldSet
from utilities.forms.widgets import DateTimePicker
from virtualization.models import Cluster

from ..choices import AllocationStatusChoices, SegmentPoolStatusChoices
from ..models import Allocation, Segment, SegmentPool
from ..validators import (
    CLUSTER_NAME_MAX_LENGTH,
    PURPOSE_MAX_LENGTH,
    VID_MAX,
    VID_MIN,
    clean_cluster_name,
    clean_purpose,
)

__all__ = (
    "AllocateForm",
    "AllocationBulkEditForm",
    "AllocationFilterForm",
    "AllocationForm",
    "BulkReleaseForm",
)


class PoolChoiceField(forms.ModelChoiceField):
    """Says with each pool what a caller would get from it."""

    def label_from_instance(self, pool):
        if pool.status == SegmentPoolStatusChoices.PAUSED:
            return gettext("{pool} (paused)").format(pool=pool)
        return gettext("{pool} ({available} of {total} available)").format(
            pool=pool, available=pool.usage.available, total=pool.usage.total_segments
        )


class AllocateForm(ChangelogMessageMixin, forms.Form):
    """Asks for a segment for a cluster, from a pool that the user may allocate in."""

    pool = PoolChoiceField(
        label=_("Pool"),
        queryset=SegmentPool.objects.none(),
        help_text=_("The lowest available VLAN ID of the pool is allocated, with its prefix"),
    )
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
    description = forms.CharField(
        label=_("Description"),
        max_length=200,
        required=False,
    )

    fieldsets = (FieldSet("pool", "cluster_name", "purpose", "description", name=_("Allocation")),)

    def __init__(self, *args, pools, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["pool"].queryset = pools.with_usage()

    def clean_cluster_name(self):
        return clean_cluster_name(self.cleaned_data["cluster_name"])

    def clean_purpose(self):
        return clean_purpose(self.cleaned_data["purpose"])


class BulkReleaseForm(ChangelogMessageMixin, forms.Form):
    """Confirms the release of the allocations that were ticked."""

    return_url = forms.CharField(
        required=False,
        widget=forms.HiddenInput,
    )


class AllocationForm(PrimaryModelForm):
    """Edits what people wrote about an allocation; what it says changes by allocating and releasing only."""

    fieldsets = (FieldSet("description", "tags", name=_("Allocation")),)

    class Meta:
        model = Allocation
        fields = ("description", "owner", "comments", "tags")


class AllocationBulkEditForm(PrimaryModelBulkEditForm):
    model = Allocation
    fieldsets = (FieldSet("description"),)
    nullable_fields = ("description", "comments")


class AllocationFilterForm(PrimaryModelFilterSetForm):
    model = Allocation
    fieldsets = (
        FieldSet("q", "filter_id", "tag"),
        FieldSet("status", "cluster_name", "cluster_id", "purpose", name=_("Allocation")),
        FieldSet("pool_id", "segment_id", "vrf_id", "vid", name=_("Segment")),
        FieldSet("allocated_at__gte", "allocated_at__lte", name=_("Allocated")),
        FieldSet("released_at__gte", "released_at__lte", name=_("Released")),
        FieldSet("owner_group_id", "owner_id", name=_("Ownership")),
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
    vrf_id = DynamicModelMultipleChoiceField(
        label=_("VRF"),
        queryset=VRF.objects.all(),
        required=False,
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
    tag = TagFilterField(model)
