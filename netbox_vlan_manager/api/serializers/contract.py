"""The bodies and answers of the calls of the first generation, and the errors of all plain views."""

from collections.abc import Mapping

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from ..fields import ClusterNameField, NameOrIDField, PurposeField
from ..names import RequestSerializer
from .base import OUTCOMES

__all__ = (
    "AllocatedVLANSerializer",
    "ErrorSerializer",
    "ListErrorSerializer",
    "PoolNotFoundSerializer",
    "ReleasedVLANSerializer",
    "VLANOfClusterSerializer",
)


class VLANOfClusterSerializer(RequestSerializer):
    """A cluster and its place: `pool`, or `site` and `vrf`."""

    NAMES = frozenset({"cluster_name", "site", "vrf", "pool", "purpose"})

    cluster_name = ClusterNameField()
    site = NameOrIDField(help_text=_("Id, slug or name of a site, location, site group or region"))
    vrf = NameOrIDField(help_text=_("Id, name or RD of a VRF"))
    pool = NameOrIDField(required=False, help_text=_("Id, slug or name of a pool; instead of site and vrf"))
    purpose = PurposeField(required=False, help_text=_("Tells several segments of one cluster in a pool apart"))

    def get_fields(self):
        fields = super().get_fields()
        given = getattr(self, "initial_data", None)
        if not isinstance(given, Mapping) or "pool" in given:
            fields["site"].required = fields["vrf"].required = False
        return fields

    def validate(self, data):
        if "pool" in data and ("site" in data or "vrf" in data):
            raise serializers.ValidationError({"pool": _("Give the pool, or site and vrf, not both.")})
        return data


class AllocatedVLANSerializer(serializers.Serializer):
    """
    The names of the first generation, and those of all other calls: `vid` is `vlan_id`, `prefix` is `segment`, and
    `outcome` says what `created` says.
    """

    # Left out where they are empty.
    OPTIONAL = ("ipv6_prefix", "gateway", "ipv6_gateway", "dns_servers", "domain_name", "mtu")

    vlan_id = serializers.IntegerField(source="allocation.vid")
    cluster_name = serializers.CharField(source="allocation.cluster_name")
    site = serializers.CharField()
    segment = serializers.CharField(source="allocation.prefix", help_text=_("CIDR"))
    ipv6_prefix = serializers.CharField(
        source="allocation.ipv6_prefix", required=False, help_text=_("CIDR, where the segment has one")
    )
    gateway = serializers.IPAddressField(
        source="allocation.gateway", required=False, help_text=_("Address, where the segment has one")
    )
    ipv6_gateway = serializers.IPAddressField(
        source="allocation.ipv6_gateway", required=False, help_text=_("Address, where the segment has one")
    )
    dns_servers = serializers.ListField(
        source="pool.dns_servers",
        child=serializers.IPAddressField(),
        required=False,
        help_text=_("Addresses, where the pool has any"),
    )
    domain_name = serializers.CharField(
        source="pool.domain_name", required=False, help_text=_("DNS domain, where the pool has one")
    )
    mtu = serializers.IntegerField(source="pool.mtu", required=False, help_text=_("Where the pool has one"))
    epg_name = serializers.CharField(source="allocation.epg_name")
    vrf = serializers.CharField(source="pool.vrf.name")
    allocated_at = serializers.DateTimeField(source="allocation.allocated_at")
    created = serializers.BooleanField(help_text=_("False when the cluster held the segment already"))
    vid = serializers.IntegerField(source="allocation.vid")
    prefix = serializers.CharField(source="allocation.prefix", help_text=_("CIDR"))
    outcome = serializers.ChoiceField(
        choices=OUTCOMES, help_text=_("Whether this call allocated the segment, or the cluster held it already")
    )
    allocation = serializers.IntegerField(
        source="allocation.pk", allow_null=True, help_text=_("Id; null in a dry run that would make it")
    )
    pool = serializers.IntegerField(source="pool.pk", help_text=_("Id"))

    def to_representation(self, instance):
        answer = super().to_representation(instance)
        for name in self.OPTIONAL:
            # Clients of the first generation get the fields that they know.
            if not answer[name]:
                del answer[name]
        return answer


class ReleasedVLANSerializer(serializers.Serializer):
    message = serializers.CharField()
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text=_("What still uses the segment, as far as you may view it")
    )


class ErrorSerializer(serializers.Serializer):
    """An error: a text for people and a code for programs."""

    detail = serializers.CharField()
    code = serializers.CharField()
    errors = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text=_("What is wrong with each field, where the code is “invalid”"),
    )


class RefusedEntrySerializer(serializers.Serializer):
    index = serializers.IntegerField(
        required=False, help_text=_("Position in the list, from 0, when objects are created")
    )
    id = serializers.IntegerField(required=False, help_text=_("Id of the object, when objects are changed or deleted"))
    code = serializers.CharField(required=False, help_text=_("Missing where values are not valid"))
    errors = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))


class ListErrorSerializer(serializers.Serializer):
    """The refused entries of a list; nothing was changed."""

    detail = serializers.CharField()
    code = serializers.CharField(help_text=_("The code of the entries, or “invalid” if they have different codes"))
    errors = RefusedEntrySerializer(many=True)


class CombinationSerializer(serializers.Serializer):
    site = serializers.CharField()
    vrf = serializers.CharField()


class PoolNotFoundSerializer(serializers.Serializer):
    """No pool serves the site and VRF, or the cluster holds nothing there."""

    detail = serializers.CharField()
    code = serializers.CharField()
    combinations = CombinationSerializer(
        many=True, required=False, help_text=_("Sites and VRFs that have a pool which you may see")
    )
