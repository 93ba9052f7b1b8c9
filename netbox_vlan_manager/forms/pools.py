from django import forms
from django.contrib.contenttypes.models import ContentType
from django.utils.translation import gettext_lazy as _

from extras.models import CustomField
from ipam.choices import PrefixStatusChoices
from ipam.models import VRF, Prefix, Role, VLANGroup
from netbox.forms import (
    PrimaryModelFilterSetForm,
    PrimaryModelForm,
)
from tenancy.forms import ContactModelFilterForm, TenancyFilterForm, TenancyForm
from utilities.forms import BOOLEAN_WITH_BLANK_CHOICES, GenericObjectFormMixin
from utilities.forms.fields import (
    ChoiceField,
    DynamicModelChoiceField,
    DynamicModelMultipleChoiceField,
    GenericObjectChoiceField,
    JSONField,
    SlugField,
    TagFilterField,
)
from utilities.forms.rendering import FieldSet, InlineFields

from ..choices import AllocationOrderChoices, PoolLevelChoices, ReleaseInUseChoices, SegmentPoolStatusChoices
from ..models import SegmentPool
from ..models.pools import COOLDOWN_MAX, POOL_SCOPE_MODELS
from ..services import create_pool, update_pool
from ..services.base.custom_fields import POOL_FIELDS
from .fields import CIDRListField, DurationField, VIDRangesField
from .groups import Fold, GroupsMixin, OneOf
from .mixins import KeepHiddenMixin, PlaceFilterForm, RestrictedFilterMixin, ServiceFormMixin

__all__ = (
    "SegmentPoolFilterForm",
    "SegmentPoolForm",
    "SegmentPoolServiceForm",
)

# The largest number that the columns of limits hold.
LIMIT_MAX = 32767
# A VLAN group has no more VLAN IDs.
GROW_LIMIT_MAX = 4094

# A pool retires by an action of its own.
STATUS_CHOICES = [
    (status, label) for status, label in SegmentPoolStatusChoices if status != SegmentPoolStatusChoices.RETIRING
]

PREFIX_LENGTHS_HELP = _("As /16 to /28; empty: /16 to /31, for IPv6 /48 to /127")


class SegmentPoolServiceForm(ServiceFormMixin, forms.Form):
    segment_custom_fields = JSONField(
        label=_("Of segments"),
        required=False,
        help_text=_('Values for the segments that the pool makes, by name, such as {"cost_center": "A1"}'),
    )
    vlan_custom_fields = JSONField(
        label=_("Of VLANs"), required=False, help_text=_("The same for the VLANs that are made in the pool")
    )
    prefix_custom_fields = JSONField(
        label=_("Of prefixes"), required=False, help_text=_("The same for the prefixes that are made in the pool")
    )
    cooldown = DurationField(
        label=_("Cool-down"),
        initial=0,
        max_value=COOLDOWN_MAX,
        help_text=_(
            "How long a released segment is quarantined before it is available again, such as 90m, 1h, 7d or 2w; "
            "0 for not at all"
        ),
    )
    vid_ranges = VIDRangesField(
        label=_("VLAN IDs"),
        required=False,
        help_text=_("Ranges such as 100-199,300-399; 1 to 4094 when empty"),
    )

    service_fields = (
        "name",
        "slug",
        "status",
        "vrf",
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
    )

    # If these are empty, a new pool gets the default and an existing pool keeps its value.
    with_default = (
        "warning_threshold",
        "critical_threshold",
        "allocation_order",
        "cooldown",
        "release_in_use",
        "gateway_rule",
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name in self.with_default:
            self.fields[name].required = False
        if not self.instance.pk:
            self.fields["name"].required = self.fields["slug"].required = False

    def get_service_values(self):
        values = super().get_service_values()
        values |= {name: values[name] or {} for name in POOL_FIELDS if name in values}
        return {
            name: value for name, value in values.items() if value not in (None, "") or name not in self.with_default
        }

    def clean(self):
        super().clean()
        if self.cleaned_data.get("vlan_group") and self.cleaned_data.get("vid_ranges"):
            self.add_error(
                "vid_ranges", _("Choose a VLAN group or give the VLAN IDs of one that shall be made, not both.")
            )
        return self.cleaned_data

    def save_by_service(self, user, values):
        if self.instance.pk:
            return update_pool(self.instance, user=user, enforce=True, **values)
        # The form's ranges are half-open; the service takes the first and the last VLAN ID.
        ranges = [(vids.lower, vids.upper - 1) for vids in self.cleaned_data.get("vid_ranges") or ()]
        return create_pool(user=user, enforce=True, vid_ranges=ranges or None, **values)


class SegmentPoolForm(
    GroupsMixin, GenericObjectFormMixin, TenancyForm, KeepHiddenMixin, SegmentPoolServiceForm, PrimaryModelForm
):
    slug = SlugField(
        help_text=_("URL-friendly unique shorthand; made from the name when empty"),
    )
    status = ChoiceField(
        label=_("Status"),
        choices=SegmentPoolStatusChoices,
        initial=SegmentPoolStatusChoices.ACTIVE,
        help_text=_("A paused pool makes no new allocations; releases still work"),
    )
    vrf = DynamicModelChoiceField(
        label=_("VRF"),
        queryset=VRF.objects.all(),
        help_text=_("The VRF that the pool's prefixes belong to"),
    )
    scope = GenericObjectChoiceField(
        label=_("Scope"),
        content_type_queryset=ContentType.objects.filter(app_label="dcim", model__in=POOL_SCOPE_MODELS),
        selector=True,
        hx_target_id="scope",
    )
    vlan_group = DynamicModelChoiceField(
        label=_("VLAN group"),
        queryset=VLANGroup.objects.all(),
        required=False,
        selector=True,
        help_text=_("Pools that share a group never share a VLAN ID"),
    )
    prefixes = DynamicModelMultipleChoiceField(
        label=_("Containers"),
        queryset=Prefix.objects.all(),
        required=False,
        query_params={"vrf_id": "$vrf", "status": PrefixStatusChoices.STATUS_CONTAINER},
        help_text=_("Prefixes of the VRF, with the status Container, that the pool's segments are taken from"),
    )
    new_prefixes = CIDRListField(
        label=_("New containers"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("Networks that become containers, such as 10.0.0.0/16; one a line, or separated by commas"),
    )
    role = DynamicModelChoiceField(
        label=_("Role"),
        queryset=Role.objects.all(),
        required=False,
        quick_add=True,
        help_text=_("Set on the VLANs and prefixes that the pool makes"),
    )
    allocation_order = ChoiceField(
        label=_("Allocation order"),
        choices=AllocationOrderChoices,
        initial=AllocationOrderChoices.LOWEST,
        help_text=_("Which of the available segments the next cluster gets"),
    )
    release_in_use = ChoiceField(
        label=_("Release while in use"),
        choices=ReleaseInUseChoices,
        initial=ReleaseInUseChoices.ALLOW,
        help_text=_(
            "What a release does while IP addresses, ranges, interfaces or other objects use the segment: "
            "it works as usual, it quarantines the segment until a user ends the quarantine, or it is "
            "refused"
        ),
    )

    error_fields = {"scope_type": "scope", "scope_id": "scope"}

    fieldsets = (
        FieldSet("vrf", name=_("Serves")),
        FieldSet("scope", html_id="scope"),
        FieldSet("vid_ranges", "vlan_group", name=_("VLAN IDs")),
        OneOf(
            "prefixes",
            "new_prefixes",
            name=_("Containers"),
            note=_("Choose containers that NetBox has, name new ones, or both"),
        ),
        FieldSet("name", "slug", name=_("Name")),
        Fold("status", "role", "description", "tags", "comments", name=_("Status and description")),
        Fold(
            InlineFields(
                "min_prefix_length",
                "max_prefix_length",
                label=_("Prefix lengths"),
                help_text=PREFIX_LENGTHS_HELP,
            ),
            name=_("Size of segments"),
        ),
        Fold(
            "allocation_order",
            "cooldown",
            "release_in_use",
            InlineFields(
                "max_per_cluster",
                "max_per_tenant",
                "max_per_request",
                label=_("Limits"),
                help_text=_(
                    "How many segments of the pool one cluster, and the clusters of one tenant, may hold at a time, "
                    "and how many one request may allocate; any number when empty"
                ),
            ),
            name=_("Allocation"),
        ),
        Fold(
            "epg_template",
            "auto_grow",
            InlineFields(
                "grow_prefix_length",
                "grow_ipv6_prefix_length",
                "grow_limit",
                label=_("Grow by"),
                help_text=_(
                    "The length of the prefixes that the pool makes itself; the length of an additional "
                    "IPv6 prefix, none when empty; the number of segments at which the pool stops growing, "
                    "no limit when empty"
                ),
            ),
            name=_("Names and growth"),
        ),
        Fold(
            InlineFields(
                "gateway_rule",
                "gateway_offset",
                label=_("Gateway"),
                help_text=_(
                    "Which address of its prefix, and of its IPv6 prefix, is the gateway of a new segment. The nth "
                    "address has a number: 1 is the first usable one. A smaller network has no gateway"
                ),
            ),
            "create_gateways",
            "dns_servers",
            "domain_name",
            "mtu",
            name=_("Hosts"),
        ),
        Fold(
            InlineFields(
                "warning_threshold",
                "critical_threshold",
                label=_("Thresholds"),
                help_text=_(
                    "Utilization in percent from which the pool is shown as getting full, and nearly exhausted"
                ),
            ),
            name=_("Utilization"),
        ),
        Fold(*POOL_FIELDS, name=_("Custom fields of what is made")),
        Fold("tenant_group", "tenant", "owner_group", "owner", name=_("Tenancy and ownership")),
    )

    class Meta:
        model = SegmentPool
        fields = (
            "name",
            "slug",
            "status",
            "vrf",
            "vlan_group",
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
            "tenant",
            "role",
            "description",
            "owner",
            "comments",
            "tags",
        )
        labels = {
            "min_prefix_length": _("Shortest"),
            "max_prefix_length": _("Longest"),
            "warning_threshold": _("Warning"),
            "critical_threshold": _("Critical"),
            "max_per_cluster": _("Per cluster"),
            "max_per_tenant": _("Per tenant"),
            "max_per_request": _("Per request"),
            "grow_prefix_length": _("Prefix length"),
            "grow_ipv6_prefix_length": _("IPv6 prefix length"),
            "grow_limit": _("Limit"),
            "gateway_rule": _("Rule"),
            "gateway_offset": _("Number"),
        }
        help_texts = {
            "name": _("Made from the VRF and the scope when empty, such as “Network1 Site1”"),
            "dns_servers": _("IP addresses separated by commas, in their order, such as 192.0.2.53,2001:db8::53"),
        }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

        for name, model in POOL_FIELDS.items():
            # Without custom fields of the model, the field could only be empty.
            if not CustomField.objects.get_for_model(model):
                del self.fields[name]
        if self.instance.status != SegmentPoolStatusChoices.RETIRING:
            self.fields["status"].choices = STATUS_CHOICES
        if self.instance.pk:
            del self.fields["vid_ranges"]
            self.fields["vlan_group"].required = "vlan_group" not in self.hidden
            self.initial.setdefault("prefixes", [prefix.pk for prefix in self.instance.prefixes.all()])

    def clean(self):
        super().clean()
        vrf, scope = self.cleaned_data.get("vrf"), self.cleaned_data.get("scope")
        if vrf and scope:
            pools = SegmentPool.objects.filter(
                vrf=vrf, scope_type=ContentType.objects.get_for_model(scope), scope_id=scope.pk
            )
            if pools.exclude(pk=self.instance.pk).exists():
                self.add_error("scope", _("This VRF already has a pool at this scope."))
        chosen, new = (self.cleaned_data.get(name) for name in ("prefixes", "new_prefixes"))
        if not chosen and not new and self.errors.keys().isdisjoint(("prefixes", "new_prefixes")):
            self.add_error("prefixes", _("A pool needs at least one container: choose one, or name a new one below."))
        if new and not chosen and not self.instance.pk:
            self.error_fields = {**self.error_fields, "prefixes": "new_prefixes"}
        return self.cleaned_data

    def get_service_values(self):
        return {
            **super().get_service_values(),
            "scope": self.cleaned_data["scope"],
            "prefixes": [*self.cleaned_data["prefixes"], *self.cleaned_data["new_prefixes"]],
        }


class SegmentPoolFilterForm(
    RestrictedFilterMixin, PlaceFilterForm, TenancyFilterForm, ContactModelFilterForm, PrimaryModelFilterSetForm
):
    model = SegmentPool
    fieldsets = (
        FieldSet("q", "filter_id", "tag"),
        FieldSet("status", "vrf_id", "vlan_group_id", "role_id", name=_("Segment Pool")),
        FieldSet("within_include", "contains", name=_("Containers")),
        FieldSet("level", "allocation_order", "release_in_use", "auto_grow", name=_("Allocation")),
        FieldSet("region_id", "site_group_id", "site_id", "location_id", name=_("Scope")),
        FieldSet("tenant_group_id", "tenant_id", name=_("Tenant")),
        FieldSet("owner_group_id", "owner_id", name=_("Ownership")),
        FieldSet("contact", "contact_role", "contact_group", name=_("Contacts")),
    )
    status = forms.MultipleChoiceField(
        label=_("Status"),
        choices=SegmentPoolStatusChoices,
        required=False,
    )
    level = forms.MultipleChoiceField(
        label=_("Level"),
        choices=PoolLevelChoices,
        required=False,
    )
    allocation_order = forms.MultipleChoiceField(
        label=_("Allocation order"),
        choices=AllocationOrderChoices,
        required=False,
    )
    release_in_use = forms.MultipleChoiceField(
        label=_("Release while in use"),
        choices=ReleaseInUseChoices,
        required=False,
    )
    auto_grow = forms.NullBooleanField(
        label=_("Grows on demand"),
        required=False,
        widget=forms.Select(choices=BOOLEAN_WITH_BLANK_CHOICES),
    )
    role_id = DynamicModelMultipleChoiceField(
        label=_("Role"),
        queryset=Role.objects.all(),
        required=False,
    )
    tag = TagFilterField(model)
