from django import forms
from django.utils.translation import gettext_lazy as _

from extras.models import CustomField
from ipam.models import VLAN, Prefix
from netbox.forms import (
    PrimaryModelBulkEditForm,
    PrimaryModelFilterSetForm,
    PrimaryModelForm,
    PrimaryModelImportForm,
)
from tenancy.forms import ContactModelFilterForm, TenancyFilterForm
from utilities.forms import BOOLEAN_WITH_BLANK_CHOICES, add_blank_choice
from utilities.forms.fields import (
    CSVModelChoiceField,
    DynamicModelChoiceField,
    DynamicModelMultipleChoiceField,
    JSONField,
    TagFilterField,
)
from utilities.forms.rendering import FieldSet, ObjectAttribute
from utilities.forms.widgets import BulkEditNullBooleanSelect

from ..choices import SegmentStatusChoices
from ..gateways import GATEWAYS
from ..models import Segment, SegmentPool
from ..services import create_segment, update_segment
from ..services.segments.specs import NEW_STATUSES
from ..validators import EPG_NAME_MAX_LENGTH, VID_MAX, VID_MIN
from .mixins import (
    HeldAtFilterForm,
    KeepHiddenMixin,
    NamedColumnsMixin,
    PlaceFilterForm,
    RestrictedFilterMixin,
    ServiceFormMixin,
)

__all__ = (
    "SegmentBulkEditForm",
    "SegmentFilterForm",
    "SegmentForm",
    "SegmentImportForm",
)


class SegmentServiceForm(ServiceFormMixin, forms.Form):
    """The fields of a segment's VLAN and prefixes, which the services write."""

    vid = forms.IntegerField(
        label=_("VLAN ID"),
        min_value=VID_MIN,
        max_value=VID_MAX,
        help_text=_("1 to 4094, in the ranges of the pool's VLAN group"),
    )
    epg_name = forms.CharField(
        label=_("EPG name"),
        max_length=EPG_NAME_MAX_LENGTH,
        help_text=_("The VLAN's name: letters (A-Z, a-z), digits and _ . : -"),
    )
    prefix = forms.CharField(
        label=_("Prefix"),
        help_text=_("A network inside the pool's containers, such as 192.168.1.0/24"),
    )

    ipv6_prefix = forms.CharField(
        label=_("IPv6 prefix"),
        required=False,
        empty_value=None,
        help_text=_("In addition to an IPv4 prefix: a network inside the pool's containers, such as 2001:db8:1::/64"),
    )

    gateway = forms.GenericIPAddressField(
        label=_("Gateway"),
        required=False,
        help_text=_("An address of the prefix; for a new segment the one that the pool's rule gives, when empty"),
    )
    ipv6_gateway = forms.GenericIPAddressField(
        label=_("IPv6 gateway"),
        required=False,
        help_text=_("The same for the IPv6 prefix"),
    )

    vlan_custom_fields = JSONField(
        label=_("Custom fields of the VLAN"),
        required=False,
        help_text=_('Values by name, such as {"cost_center": "A1"}; those of the pool when empty'),
    )
    prefix_custom_fields = JSONField(
        label=_("Custom fields of the prefix"),
        required=False,
        help_text=_("The same for the prefix, and for the IPv6 prefix"),
    )

    part_fields = {"vlan_custom_fields": VLAN, "prefix_custom_fields": Prefix}
    service_fields = (
        "vid",
        "epg_name",
        "prefix",
        "ipv6_prefix",
        "gateway",
        "ipv6_gateway",
        "dhcp",
        "description",
        "owner",
        "comments",
        *part_fields,
    )

    def get_service_values(self):
        values = super().get_service_values()
        # A gateway that the user leaves as it is follows the prefix.
        kept = set(GATEWAYS.values()).difference(self.changed_data) if self.instance.pk else ()
        return {
            name: value
            for name, value in values.items()
            if name not in kept and (value is not None or name not in self.part_fields)
        }

    def save_by_service(self, user, values):
        if self.instance.pk:
            return update_segment(self.instance, user=user, **values)
        return create_segment(
            self.cleaned_data["pool"], user=user, status=self.cleaned_data.get("made_as", ""), **values
        )

    def save(self, commit=True):
        segment = super().save(commit)
        # Load the VLAN: NetBox's views name the segment even after a rollback, which has removed its VLAN.
        return Segment.objects.select_related("vlan").get(pk=segment.pk)


class SegmentForm(KeepHiddenMixin, SegmentServiceForm, PrimaryModelForm):
    pool = DynamicModelChoiceField(
        label=_("Pool"),
        queryset=SegmentPool.objects.all(),
        selector=True,
    )

    made_as = forms.ChoiceField(
        label=_("Status"),
        required=False,
        choices=add_blank_choice([(status, dict(SegmentStatusChoices)[status]) for status in NEW_STATUSES]),
        help_text=_(
            "When empty, a segment whose VLAN or prefix is or may be in use is disabled, and any other is available"
        ),
    )

    rows = (
        "vid",
        "epg_name",
        "prefix",
        "ipv6_prefix",
        "gateway",
        "ipv6_gateway",
        "dhcp",
        "description",
        "vlan_custom_fields",
        "prefix_custom_fields",
        "tags",
    )
    fieldsets = (FieldSet("pool", *rows[:6], "made_as", *rows[6:], name=_("Segment")),)

    class Meta:
        model = Segment
        fields = ("pool", "dhcp", "description", "owner", "comments", "tags")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

        for name, model in self.part_fields.items():
            # Without custom fields of the model, the field could only be empty.
            if not CustomField.objects.get_for_model(model):
                del self.fields[name]
        if not self.instance.pk:
            return
        # A segment stays in its pool, and its status changes by other actions.
        del self.fields["pool"], self.fields["made_as"]
        self.fieldsets = (FieldSet(ObjectAttribute("pool"), *self.rows, name=_("Segment")),)
        for name in ("vid", "epg_name", *GATEWAYS.values()):
            self.initial.setdefault(name, getattr(self.instance, name))
        self.initial.setdefault("prefix", str(self.instance.prefix))
        if self.instance.ipv6_prefix:
            self.initial.setdefault("ipv6_prefix", str(self.instance.ipv6_prefix))
        if self.instance.status == SegmentStatusChoices.ALLOCATED:
            for name in ("vid", "prefix", "ipv6_prefix") if self.instance.ipv6_prefix else ("vid", "prefix"):
                self.fields[name].disabled = True
                self.fields[name].help_text = _("Fixed while the segment is allocated")


class SegmentImportForm(NamedColumnsMixin, SegmentServiceForm, PrimaryModelImportForm):
    pool = CSVModelChoiceField(
        label=_("Pool"),
        queryset=SegmentPool.objects.all(),
        to_field_name="name",
        help_text=_("The pool's name, or its slug in a column named pool.slug"),
    )

    class Meta:
        model = Segment
        fields = ("pool", "dhcp", "description", "owner", "comments", "tags")


class SegmentBulkEditForm(PrimaryModelBulkEditForm):
    dhcp = forms.NullBooleanField(
        label=_("DHCP"),
        required=False,
        widget=BulkEditNullBooleanSelect(),
    )

    model = Segment
    fieldsets = (FieldSet("dhcp", "description"),)
    nullable_fields = ("description", "comments")


class SegmentFilterForm(
    RestrictedFilterMixin,
    HeldAtFilterForm,
    PlaceFilterForm,
    TenancyFilterForm,
    ContactModelFilterForm,
    PrimaryModelFilterSetForm,
):
    model = Segment
    fieldsets = (
        FieldSet("q", "filter_id", "tag"),
        FieldSet("pool_id", "status", "vid", "epg_name", "dhcp", name=_("Segment")),
        FieldSet("within_include", "contains", "vrf_id", "vlan_group_id", name=_("Addressing")),
        FieldSet("region_id", "site_group_id", "site_id", "location_id", name=_("Scope")),
        FieldSet("cluster_name", "held_at", name=_("Allocation")),
        FieldSet("tenant_group_id", "tenant_id", name=_("Tenant")),
        FieldSet("owner_group_id", "owner_id", name=_("Ownership")),
        FieldSet("contact", "contact_role", "contact_group", name=_("Contacts")),
    )
    pool_id = DynamicModelMultipleChoiceField(
        label=_("Pool"),
        queryset=SegmentPool.objects.all(),
        required=False,
    )
    status = forms.MultipleChoiceField(
        label=_("Status"),
        choices=SegmentStatusChoices,
        required=False,
    )
    vid = forms.IntegerField(
        label=_("VLAN ID"),
        min_value=VID_MIN,
        max_value=VID_MAX,
        required=False,
    )
    epg_name = forms.CharField(
        label=_("EPG name"),
        required=False,
    )
    dhcp = forms.NullBooleanField(
        label=_("DHCP"),
        required=False,
        widget=forms.Select(choices=BOOLEAN_WITH_BLANK_CHOICES),
    )
    cluster_name = forms.CharField(
        label=_("Cluster name"),
        required=False,
    )
    tag = TagFilterField(model)
