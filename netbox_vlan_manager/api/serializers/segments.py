from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from ipam.api.serializers import VLANSerializer
from ipam.models import Prefix
from netbox.api.fields import ChoiceField
from netbox.api.serializers import BaseModelSerializer

from ...choices import SegmentStatusChoices
from ...models import Allocation, Segment
from ...services import create_segment, update_segment
from ...validators import EPG_NAME_MAX_LENGTH
from ..fields import PrefixField
from .base import ServiceModelSerializer
from .pools import SegmentPoolSerializer

__all__ = (
    "DisableSerializer",
    "SegmentSerializer",
)


class DisableSerializer(serializers.Serializer):
    reason = serializers.CharField(
        max_length=Segment._meta.get_field("disabled_reason").max_length,
        required=False,
        allow_blank=True,
        help_text=_("Shown with the segment while it is disabled"),
    )


class NestedAllocationSerializer(BaseModelSerializer):
    """What a segment says of the allocations that hold it."""

    class Meta:
        model = Allocation
        fields = ["id", "url", "display_url", "display", "cluster_name", "purpose", "allocated_at"]


class SegmentSerializer(ServiceModelSerializer):
    pool = SegmentPoolSerializer(nested=True)
    epg_name = serializers.CharField(max_length=EPG_NAME_MAX_LENGTH)
    prefix = PrefixField(help_text=_("CIDR or id"))
    vlan = VLANSerializer(nested=True, read_only=True)
    status = ChoiceField(choices=SegmentStatusChoices, read_only=True)
    # By this name it is no relation of the model, of which NetBox would prefetch the whole history.
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
            "vlan",
            "status",
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
        brief_fields = ("id", "url", "display", "vid", "epg_name", "prefix", "description")

    def validate(self, data):
        data = super().validate(data)
        if self.nested:
            return data
        pool = data.get("pool", self.instance and self.instance.pool)
        if self.instance and data.pop("pool", pool) != self.instance.pool:
            raise serializers.ValidationError(
                {"pool": _("A segment stays in its pool: create one in the other pool instead.")}
            )
        if isinstance(data.get("prefix"), Prefix):
            data["prefix"] = self._get_network(data["prefix"], pool)
        return data

    def _get_network(self, prefix, pool):
        if prefix.vrf_id != pool.vrf_id:
            raise serializers.ValidationError(
                {"prefix": _("Prefix {prefix} is not in the pool's VRF: use one that is.").format(prefix=prefix)}
            )
        return prefix.prefix

    def create_object(self, values):
        return create_segment(values.pop("pool"), user=self.user, **values)

    def update_object(self, instance, values):
        return update_segment(instance, user=self.user, **values)
