"""Forms that import and edit many pools."""

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.utils.translation import gettext_lazy as _

from dcim.forms.mixins import ScopedImportForm
from ipam.models import VRF, Role, VLANGroup
from netbox.forms import (
    PrimaryModelBulkEditForm,
    PrimaryModelImportForm,
)
from tenancy.models import Tenant
from utilities.forms import add_blank_choice
from utilities.forms.fields import (
    ChoiceField,
    CSVChoiceField,
    CSVModelChoiceField,
    DynamicModelChoiceField,
    SlugField,
)
from utilities.forms.rendering import FieldSet
from utilities.forms.widgets import BulkEditNullBooleanSelect

from ..choices import AllocationOrderChoices, GatewayRuleChoices, ReleaseInUseChoices, SegmentPoolStatusChoices
from ..models import SegmentPool
from ..models.addressing import MTU_MAX, MTU_MIN
from ..models.pools import COOLDOWN_MAX
from ..services.base.custom_fields import POOL_FIELDS
from ..validators import validate_epg_template
from .fields import CIDRListField, DurationField
from .mixins import NamedColumnsMixin
from .pools import GROW_LIMIT_MAX, LIMIT_MAX, STATUS_CHOICES, SegmentPoolServiceForm

__all__ = (
    "SegmentPoolBulkEditForm",
    "SegmentPoolImportForm",
)


# The fields about hosts on the segments.
ADDRESSING = ("gateway_rule", "gateway_offset", "create_gateways", "dns_servers", "domain_name", "mtu")


class SegmentPoolImportForm(NamedColumnsMixin, ScopedImportForm, SegmentPoolServiceForm, PrimaryModelImportForm):
    slug = SlugField(
        required=False,
        help_text=_("Made from the name when empty"),
    )
    status = CSVChoiceField(
        label=_("Status"),
        choices=SegmentPoolStatusChoices,
        required=False,
        help_text=_("Operational status; active when empty"),
    )
    vrf = CSVModelChoiceField(
        label=_("VRF"),
        queryset=VRF.objects.all(),
        to_field_name="name",
        help_text=_("The VRF that the pool's prefixes belong to"),
    )
    vlan_group = CSVModelChoiceField(
        label=_("VLAN group"),
        queryset=VLANGroup.objects.all(),
        required=False,
        to_field_name="name",
        help_text=_("Empty: the group named <VRF>-<scope>, which is made where there is none"),
    )
    prefixes = CIDRListField(
        label=_("Containers"),
        help_text=_('Networks separated by commas, encased with double quotes (e.g. "10.0.0.0/16,10.1.0.0/16")'),
    )
    tenant = CSVModelChoiceField(
        label=_("Tenant"),
        queryset=Tenant.objects.all(),
        required=False,
        to_field_name="name",
        help_text=_("Assigned tenant"),
    )
    role = CSVModelChoiceField(
        label=_("Role"),
        queryset=Role.objects.all(),
        required=False,
        to_field_name="name",
        help_text=_("Functional role"),
    )
    allocation_order = CSVChoiceField(
        label=_("Allocation order"),
        choices=AllocationOrderChoices,
        required=False,
        help_text=_("Which of the available segments the next cluster gets; lowest when empty"),
    )
    gateway_rule = CSVChoiceField(
        label=_("Gateway"),
        choices=GatewayRuleChoices,
        required=False,
        help_text=_("Which address of its prefix is the gateway of a new segment; none when empty"),
    )
    release_in_use = CSVChoiceField(
        label=_("Release while in use"),
        choices=ReleaseInUseChoices,
        required=False,
        help_text=_("What a release does while objects use the segment; allow when empty"),
    )

    class Meta:
        model = SegmentPool
        fields = (
            "name",
            "slug",
            "status",
            "vrf",
            "scope_type",
            "scope_name",
            "scope_id",
            "vlan_group",
            "tenant",
            "role",
            "min_prefix_length",
            "max_prefix_length",
            "warning_threshold",
            "critical_threshold",
            "allocation_order",
            "cooldown",
            "release_in_use",
            "max_per_cluster",
            "max_per_tenant",
            "max_per_request",
            "epg_template",
            "auto_grow",
            "grow_prefix_length",
            "grow_ipv6_prefix_length",
            "grow_limit",
            "gateway_rule",
            "gateway_offset",
            "create_gateways",
            "dns_servers",
            "domain_name",
            "mtu",
            *POOL_FIELDS,
            "description",
            "owner",
            "comments",
            "tags",
        )
        labels = {
            "scope_id": _("Scope ID"),
        }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

        self.fields["scope_type"].required = True

    def clean_status(self):
        return self.cleaned_data["status"] or self.instance.status

    def clean(self):
        # NetBox's own check puts its errors at these two columns, which a file of updates may not have.
        if "scope_type" in self.fields and self.fields.keys().isdisjoint(("scope_id", "scope_name")):
            self.add_error("scope_type", _("Name the scope in a column scope_id or scope_name."))
            return self.cleaned_data
        super().clean()
        scope_type, scope_id = self.cleaned_data.get("scope_type"), self.cleaned_data.get("scope_id")
        if scope_type and scope_id and not scope_type.model_class().objects.filter(pk=scope_id).exists():
            self.add_error("scope_id", _("There is no object with this ID."))
        return self.cleaned_data

    def get_service_values(self):
        values = super().get_service_values()
        if "scope_type" in self.cleaned_data:
            values["scope"] = self.instance.scope
        if "prefixes" in self.cleaned_data:
            values["prefixes"] = self.cleaned_data["prefixes"]
        return values


class SegmentPoolBulkEditForm(PrimaryModelBulkEditForm):
    status = ChoiceField(
        label=_("Status"),
        choices=add_blank_choice(STATUS_CHOICES),
        required=False,
    )
    tenant = DynamicModelChoiceField(
        label=_("Tenant"),
        queryset=Tenant.objects.all(),
        required=False,
    )
    role = DynamicModelChoiceField(
        label=_("Role"),
        queryset=Role.objects.all(),
        required=False,
    )
    min_prefix_length = forms.IntegerField(
        label=_("Shortest prefix length"),
        min_value=1,
        max_value=128,
        required=False,
    )
    max_prefix_length = forms.IntegerField(
        label=_("Longest prefix length"),
        min_value=1,
        max_value=128,
        required=False,
    )
    warning_threshold = forms.IntegerField(
        label=_("Warning threshold"),
        min_value=1,
        max_value=100,
        required=False,
    )
    critical_threshold = forms.IntegerField(
        label=_("Critical threshold"),
        min_value=1,
        max_value=100,
        required=False,
    )
    allocation_order = ChoiceField(
        label=_("Allocation order"),
        choices=add_blank_choice(AllocationOrderChoices),
        required=False,
    )
    release_in_use = ChoiceField(
        label=_("Release while in use"),
        choices=add_blank_choice(ReleaseInUseChoices),
        required=False,
    )
    cooldown = DurationField(
        label=_("Cool-down"),
        max_value=COOLDOWN_MAX,
        required=False,
        help_text=_("Such as 90m, 1h, 7d or 2w"),
    )
    max_per_cluster = forms.IntegerField(
        label=_("Segments per cluster"),
        min_value=1,
        max_value=LIMIT_MAX,
        required=False,
    )
    max_per_tenant = forms.IntegerField(
        label=_("Segments per tenant"),
        min_value=1,
        max_value=LIMIT_MAX,
        required=False,
    )
    max_per_request = forms.IntegerField(
        label=_("Segments per request"),
        min_value=1,
        max_value=LIMIT_MAX,
        required=False,
    )

    epg_template = forms.CharField(
        label=_("EPG name template"),
        max_length=100,
        required=False,
        validators=(validate_epg_template,),
        help_text=_("With {site}, {vrf}, {pool} and {vid}"),
    )
    auto_grow = forms.NullBooleanField(
        label=_("Grow on demand"),
        required=False,
        widget=BulkEditNullBooleanSelect(),
    )
    grow_prefix_length = forms.IntegerField(
        label=_("Length of grown prefixes"),
        min_value=1,
        max_value=128,
        required=False,
    )
    grow_ipv6_prefix_length = forms.IntegerField(
        label=_("Length of grown IPv6 prefixes"),
        min_value=1,
        max_value=128,
        required=False,
    )
    grow_limit = forms.IntegerField(
        label=_("Growth limit"),
        min_value=1,
        max_value=GROW_LIMIT_MAX,
        required=False,
    )
    gateway_rule = ChoiceField(
        label=_("Gateway"),
        choices=add_blank_choice(GatewayRuleChoices),
        required=False,
    )
    gateway_offset = forms.IntegerField(
        label=_("Gateway number"),
        min_value=1,
        required=False,
        help_text=_("For the nth address: 1 is the first usable one"),
    )
    create_gateways = forms.NullBooleanField(
        label=_("Create gateways"),
        required=False,
        widget=BulkEditNullBooleanSelect(),
    )
    dns_servers = SimpleArrayField(
        forms.GenericIPAddressField(),
        label=_("DNS servers"),
        required=False,
        help_text=_("IP addresses separated by commas"),
    )
    domain_name = forms.CharField(
        label=_("Domain name"),
        max_length=253,
        required=False,
    )
    mtu = forms.IntegerField(
        label=_("MTU"),
        min_value=MTU_MIN,
        max_value=MTU_MAX,
        required=False,
    )

    model = SegmentPool
    fieldsets = (
        FieldSet("status", "role", "description"),
        FieldSet("min_prefix_length", "max_prefix_length", name=_("Prefixes")),
        FieldSet("warning_threshold", "critical_threshold", name=_("Utilization")),
        FieldSet(
            "allocation_order",
            "cooldown",
            "release_in_use",
            "max_per_cluster",
            "max_per_tenant",
            "max_per_request",
            name=_("Allocation"),
        ),
        FieldSet(
            "epg_template",
            "auto_grow",
            "grow_prefix_length",
            "grow_ipv6_prefix_length",
            "grow_limit",
            name=_("Growth"),
        ),
        FieldSet(*ADDRESSING, name=_("Hosts")),
        FieldSet("tenant", name=_("Tenancy")),
    )
    nullable_fields = (
        "tenant",
        "role",
        "min_prefix_length",
        "max_prefix_length",
        "max_per_cluster",
        "max_per_tenant",
        "max_per_request",
        "epg_template",
        "grow_ipv6_prefix_length",
        "grow_limit",
        "gateway_offset",
        "domain_name",
        "mtu",
        "description",
        "comments",
    )
