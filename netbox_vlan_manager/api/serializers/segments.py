from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from core.models import ObjectChange
from ipam.api.serializers import VLANSerializer
from ipam.models import Prefix
from netbox.api.fields import ChoiceField
from netbox.api.serializers import BaseModelSerializer

from ...choices import SegmentStatusChoices
from ...models import Allocation, Segment
from ...services import create_segment, update_segment
from ...services.base.resolution import visible_pools
from ...services.segments.specs import NEW_STATUSES
from ...validators import EPG_NAME_MAX_LENGTH, VID_MAX, VID_MIN
from ..fields import PrefixField
from ..names import RequestSerializer
from ..references import find_object, find_pool
from .base import HostSettingsSerializer, ServiceModelSerializer
from .pools import SegmentPoolSerializer

__all__ = (
    "DisableSerializer",
    "EndQuarantineSerializer",
    "SegmentSerializer",
    "as_field",
)


def as_field():
    """Return the field `as`: the status of a new segment, whether NetBox finds it in use or not."""
    return serializers.ChoiceField(
        choices=NEW_STATUSES,
        required=False,
        write_only=True,
        help_text=_("The status of the new segment; without it, a segment that is or may be in use is disabled"),
    )


class DisableSerializer(RequestSerializer):
    reason = serializers.CharField(
        max_length=Segment._meta.get_field("disabled_reason").max_length,
        required=False,
        allow_blank=True,
        help_text=_("Shown with the segment while it is disabled"),
    )


class EndQuarantineSerializer(RequestSerializer):
    reason = serializers.CharField(
        max_length=ObjectChange._meta.get_field("message").max_length,
        required=False,
        allow_blank=True,
        help_text=_("The reason, for the change log"),
    )


class NestedAllocationSerializer(BaseModelSerializer):
    """An allocation that holds a segment, as the segment lists it."""

    class Meta:
        model = Allocation
        fields = ["id", "url", "display_url", "display", "cluster_name", "purpose", "allocated_at"]


class SegmentSerializer(HostSettingsSerializer, ServiceModelSerializer):
    pool = SegmentPoolSerializer(nested=True)
    epg_name = serializers.CharField(max_length=EPG_NAME_MAX_LENGTH)
    prefix = PrefixField(help_text=_("CIDR or id"))
    ipv6_prefix = PrefixField(required=False, allow_null=True, help_text=_("CIDR or id of an additional IPv6 prefix"))
    vlan_custom_fields = serializers.JSONField(
        write_only=True,
        required=False,
        help_text=_("Values of the VLAN's custom fields, by their names; without them, those of the pool"),
    )
    prefix_custom_fields = serializers.JSONField(
        write_only=True,
        required=False,
        help_text=_("Values of the prefixes' custom fields, by their names; without them, those of the pool"),
    )
    vlan = VLANSerializer(nested=True, read_only=True)
    status = ChoiceField(choices=SegmentStatusChoices, read_only=True)
    # Its source is no relation: NetBox would prefetch a relation with the whole history.
    allocations = NestedAllocationSerializer(source="active_allocations", many=True, read_only=True)

    class Meta:
        model = Segment
        fields = [
            "id",
            "url",
            "display_url",
            "display",
            "pool",
            "vid",
            "epg_name",
            "prefix",
            "ipv6_prefix",
            "gateway",
            "ipv6_gateway",
            "dns_servers",
            "domain_name",
            "mtu",
            "vlan",
            "vlan_custom_fields",
            "prefix_custom_fields",
            "status",
            "quarantined_until",
            "last_released_at",
            "disabled_reason",
            "dhcp",
            "allocations",
            "description",
            "owner",
            "comments",
            "tags",
            "custom_fields",
            "created",
            "last_updated",
        ]
        brief_fields = ("id", "url", "display", "vid", "epg_name", "prefix", "ipv6_prefix", "description")
        read_only_fields = ("quarantined_until", "last_released_at")

    def get_fields(self):
        fields = super().get_fields()
        # "as" is a keyword of Python, so it cannot be declared above.
        return fields if self.nested else {**fields, "as": as_field()}

    def to_internal_value(self, data):
        if self.nested:
            # Even by id, only segments in pools that the user may see are found: the services' errors name the pool.
            segments = Segment.objects.filter(pool__in=visible_pools(self.user)).select_related("pool__vrf", "vlan")
            if isinstance(data, dict) and data.keys() == {"pool", "vid"}:
                return self._find_by_vid(segments, **data)
            return find_object(segments, data)
        return super().to_internal_value(data)

    def _find_by_vid(self, segments, pool, vid):
        """Return the one of `segments` that has this pool and VLAN ID."""
        pool = find_pool(visible_pools(self.user), pool)
        vid = serializers.IntegerField(min_value=VID_MIN, max_value=VID_MAX).run_validation(vid)
        segment = segments.filter(pool=pool, vid=vid).first()
        if segment is None:
            raise serializers.ValidationError(
                _("Pool {pool} has no segment with VLAN ID {vid}.").format(pool=pool, vid=vid)
            )
        return segment

    def validate(self, data):
        data = super().validate(data)
        if self.nested:
            return data
        pool = data.get("pool", self.instance and self.instance.pool)
        if self.instance and data.pop("pool", pool) != self.instance.pool:
            raise serializers.ValidationError(
                {"pool": _("A segment stays in its pool: create one in the other pool instead.")}
            )
        # `as` is for creation only; the calls that disable and enable change the status later.
        made_as = data.pop("as", "")
        if made_as and not self.instance:
            data["status"] = made_as
        for name in ("prefix", "ipv6_prefix"):
            if isinstance(data.get(name), Prefix):
                data[name] = self._get_network(data[name], name, pool)
        return data

    def _get_network(self, prefix, name, pool):
        if prefix.vrf_id != pool.vrf_id:
            raise serializers.ValidationError(
                {name: _("Prefix {prefix} is not in the pool's VRF: use one that is.").format(prefix=prefix)}
            )
        return prefix.prefix

    def create_object(self, values):
        return create_segment(values.pop("pool"), user=self.user, **values)

    def update_object(self, instance, values):
        return update_segment(instance, user=self.user, **values)
