from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.reverse import reverse

from ...models import Segment
from ...validators import VID_MAX, VID_MIN
from ..names import RequestSerializer

__all__ = (
    "GenerateResultSerializer",
    "GenerateSerializer",
)


class GenerateSerializer(RequestSerializer):
    count = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=VID_MAX,
        help_text=_("How many segments; without it, one for each free VLAN ID of the range"),
    )
    vid_min = serializers.IntegerField(
        required=False,
        min_value=VID_MIN,
        max_value=VID_MAX,
        help_text=_("First VLAN ID to take; needed without a count"),
    )
    vid_max = serializers.IntegerField(
        required=False,
        min_value=VID_MIN,
        max_value=VID_MAX,
        help_text=_("Last VLAN ID to take; needed without a count"),
    )
    prefix_length = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=128,
        help_text=_("Length of the prefixes; without it, the length that the pool grows by"),
    )
    ipv6_prefix_length = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=128,
        help_text=_("Length of an additional IPv6 prefix; without it, the length that the pool grows by, if any"),
    )
    epg_template = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=100,
        help_text=_("Template with {site}, {vrf}, {pool} and {vid}; without it, the pool's own"),
    )
    dhcp = serializers.BooleanField(required=False, help_text=_("Whether DHCP serves the segments"))
    description = serializers.CharField(
        required=False, allow_blank=True, max_length=Segment._meta.get_field("description").max_length
    )
    custom_fields = serializers.JSONField(
        required=False,
        source="custom_field_data",
        help_text=_("Values of the segments' custom fields, by their names; without them, those of the pool"),
    )
    vlan_custom_fields = serializers.JSONField(required=False, help_text=_("The same for their VLANs"))
    prefix_custom_fields = serializers.JSONField(required=False, help_text=_("The same for their prefixes"))
    dry_run = serializers.BooleanField(default=False, help_text=_("Say what would be made, and change nothing"))


class GeneratedSegmentSerializer(serializers.Serializer):
    id = serializers.IntegerField(allow_null=True, help_text=_("None in a dry run"))
    url = serializers.SerializerMethodField()
    vid = serializers.IntegerField(help_text=_("VLAN ID"))
    epg_name = serializers.CharField()
    prefix = serializers.CharField()
    ipv6_prefix = serializers.CharField(allow_null=True)
    gateway = serializers.CharField(allow_null=True)
    ipv6_gateway = serializers.CharField(allow_null=True)

    def get_url(self, segment) -> str | None:
        if segment.pk is None:
            return None
        name = "plugins-api:netbox_vlan_manager-api:segment-detail"
        return reverse(name, kwargs={"pk": segment.pk}, request=self.context["request"])


class GenerateResultSerializer(serializers.Serializer):
    created = serializers.IntegerField(help_text=_("Number of segments"))
    skipped = serializers.ListField(
        child=serializers.IntegerField(),
        help_text=_("VLAN IDs of the range that are taken, or between the ranges of the VLAN group"),
    )
    dry_run = serializers.BooleanField()
    segments = GeneratedSegmentSerializer(many=True)
