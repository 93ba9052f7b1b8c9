from django.contrib.contenttypes.models import ContentType
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from ipam.api.serializers import RoleSerializer, VLANGroupSerializer, VRFSerializer
from netbox.api.fields import ChoiceField, ContentTypeField
from netbox.api.gfk_fields import GFKSerializerField
from tenancy.api.serializers import TenantSerializer

from ...choices import (
    AllocationOrderChoices,
    FirstGenerationChoices,
    GatewayRuleChoices,
    PoolLevelChoices,
    ReleaseInUseChoices,
    SegmentPoolStatusChoices,
)
from ...models import SegmentPool
from ...models.pools import COOLDOWN_MAX, POOL_SCOPE_MODELS
from ...services import create_pool, update_pool
from ...services.base.resolution import visible_pools
from ..fields import DurationField, OptionalChoiceField, PrefixField, UsageField, UtilizationField, VIDRangesField
from ..references import find_pool, viewable
from .base import ServiceModelSerializer

__all__ = ("SegmentPoolSerializer",)


class SegmentPoolSerializer(ServiceModelSerializer):
    status = ChoiceField(choices=SegmentPoolStatusChoices, required=False)
    allocation_order = ChoiceField(choices=AllocationOrderChoices, required=False)
    cooldown = DurationField(
        required=False,
        min_value=0,
        max_value=COOLDOWN_MAX,
        help_text=_(
            "How long a released segment is quarantined before it is handed out again, in seconds; text such as 90m, "
            "1h, 7d or 2w is accepted too"
        ),
    )
    release_in_use = ChoiceField(choices=ReleaseInUseChoices, required=False)
    gateway_rule = ChoiceField(choices=GatewayRuleChoices, required=False)
    level = ChoiceField(choices=PoolLevelChoices, read_only=True)
    first_generation = OptionalChoiceField(choices=FirstGenerationChoices, read_only=True, allow_blank=True)
    vrf = VRFSerializer(nested=True)
    scope_type = ContentTypeField(
        queryset=ContentType.objects.filter(app_label="dcim", model__in=POOL_SCOPE_MODELS),
    )
    scope_id = serializers.IntegerField()
    scope = GFKSerializerField(read_only=True)
    vlan_group = VLANGroupSerializer(nested=True, required=False)
    vid_ranges = VIDRangesField(
        write_only=True,
        required=False,
        help_text=_("The VLAN IDs of the VLAN group that is made where none is given"),
    )
    prefixes = PrefixField(many=True, allow_empty=False, help_text=_("Containers, as CIDRs or ids"))
    tenant = TenantSerializer(nested=True, required=False, allow_null=True)
    role = RoleSerializer(nested=True, required=False, allow_null=True)
    total_segments = UsageField()
    allocated = UsageField()
    available = UsageField()
    quarantined = UsageField()
    disabled = UsageField()
    utilization = UtilizationField(help_text=_("Percent"))

    class Meta:
        model = SegmentPool
        fields = [
            "id",
            "url",
            "display_url",
            "display",
            "name",
            "slug",
            "status",
            "vrf",
            "scope_type",
            "scope_id",
            "scope",
            "vlan_group",
            "vid_ranges",
            "prefixes",
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
            "segment_custom_fields",
            "vlan_custom_fields",
            "prefix_custom_fields",
            "level",
            "first_generation",
            "description",
            "owner",
            "comments",
            "tags",
            "custom_fields",
            "created",
            "last_updated",
            "total_segments",
            "allocated",
            "available",
            "quarantined",
            "disabled",
            "utilization",
        ]
        brief_fields = ("id", "url", "display", "name", "slug", "description")
        extra_kwargs = {
            "name": {"required": False, "allow_blank": True},
            "slug": {"required": False, "allow_blank": True},
        }

    def to_internal_value(self, data):
        if self.nested:
            # The services' errors name the pool, so the user must be permitted to see it.
            return find_pool(visible_pools(self.user).select_related("vrf"), data)
        return super().to_internal_value(data)

    def validate(self, data):
        data = super().validate(data)
        if self.nested:
            return data
        if "vid_ranges" in data and (self.instance or "vlan_group" in data):
            raise serializers.ValidationError(
                {"vid_ranges": _("These are for a VLAN group that is made with the pool: edit the VLAN group instead.")}
            )
        if "scope_type" in data or "scope_id" in data:
            data["scope"] = self._get_scope(data.pop("scope_type", None), data.pop("scope_id", None))
        return data

    def _get_scope(self, scope_type, scope_id):
        scope_type = scope_type or self.instance.scope_type
        scope_id = self.instance.scope_id if scope_id is None else scope_id
        model = scope_type.model_class()
        if self.instance and (scope_type, scope_id) == (self.instance.scope_type, self.instance.scope_id):
            return self.instance.scope
        scope = viewable(model, self.user).filter(pk=scope_id).first()
        if scope is None:
            raise serializers.ValidationError(
                {"scope_id": _("There is no {type} with id {id}.").format(type=model._meta.verbose_name, id=scope_id)}
            )
        return scope

    def create_object(self, values):
        return create_pool(user=self.user, enforce=self.user is not None, **values)

    def update_object(self, instance, values):
        return update_pool(instance, user=self.user, enforce=self.user is not None, **values)
