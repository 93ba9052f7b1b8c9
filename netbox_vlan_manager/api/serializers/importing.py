from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from ...choices import SegmentStatusChoices

__all__ = (
    "ImportResultSerializer",
    "ImportRowSerializer",
    "ImportSerializer",
)


class ImportRowSerializer(serializers.Serializer):
    """The columns of a row; the service validates the values."""

    pool = serializers.CharField(
        required=False, allow_blank=True, help_text=_("Slug, id or name of the pool; instead of site and vrf")
    )
    site = serializers.CharField(
        required=False, allow_blank=True, help_text=_("Id, slug or name of a site, location, site group or region")
    )
    vlan_id = serializers.IntegerField(min_value=1, max_value=4094)
    epg_name = serializers.CharField()
    segment = serializers.CharField(help_text=_("CIDR"))
    vrf = serializers.CharField(required=False, allow_blank=True, help_text=_("Id, name or RD of a VRF"))
    ipv6_prefix = serializers.CharField(required=False, allow_blank=True, help_text=_("CIDR"))
    gateway = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text=_("Address of the prefix; what it is, or by the pool's rule, when empty"),
    )
    ipv6_gateway = serializers.CharField(required=False, allow_blank=True, help_text=_("The same for the IPv6 prefix"))
    dhcp = serializers.BooleanField(required=False)
    description = serializers.CharField(required=False, allow_blank=True)
    cluster_name = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text=_("The cluster that holds the segment; several names with commas between them"),
    )
    purpose = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text=_("One value for all of these clusters, or one for each with commas between them"),
    )
    allocated_at = serializers.DateTimeField(
        required=False, help_text=_("When the clusters got the segment; now when empty")
    )
    expires_at = serializers.DateTimeField(required=False, help_text=_("When the allocations end; never when empty"))
    status = serializers.ChoiceField(
        required=False,
        allow_blank=True,
        choices=SegmentStatusChoices.values(),
        help_text=_("When empty, an existing segment keeps its status, and a new one is available"),
    )
    disabled_reason = serializers.CharField(required=False, allow_blank=True)
    quarantined_until = serializers.DateTimeField(required=False)
    comments = serializers.CharField(required=False, allow_blank=True)


class ImportSerializer(serializers.Serializer):
    """Rows, or a text in CSV with the same columns."""

    rows = ImportRowSerializer(many=True, required=False)
    csv = serializers.CharField(required=False)
    file = serializers.FileField(required=False, help_text=_("A CSV, XLSX, JSON or YAML file, in a multipart body"))
    atomic = serializers.BooleanField(required=False, help_text=_("Change nothing if any row fails"))
    dry_run = serializers.BooleanField(required=False, help_text=_("Change nothing, and say what each row would do"))


class ChangeSerializer(serializers.Serializer):
    old = serializers.JSONField()
    new = serializers.JSONField()


class RowResultSerializer(serializers.Serializer):
    index = serializers.IntegerField(help_text=_("Position of the row, from 0"))
    line = serializers.IntegerField(allow_null=True, help_text=_("Line of the CSV"))
    status = serializers.ChoiceField(choices=("created", "updated", "unchanged", "failed", "skipped"))
    segment = serializers.IntegerField(allow_null=True, help_text=_("Id"))
    errors = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))
    changes = serializers.DictField(child=ChangeSerializer(), help_text=_("What an update changes, by column"))
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text=_("For example, that a cluster also holds a segment of another pool")
    )


class ImportResultSerializer(serializers.Serializer):
    created = serializers.IntegerField()
    updated = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    failed = serializers.IntegerField()
    results = RowResultSerializer(many=True)
