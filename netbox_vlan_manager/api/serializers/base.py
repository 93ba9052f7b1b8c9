from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import serializers

from core.models import ObjectChange
from netbox.api.serializers import PrimaryModelSerializer, ValidatedModelSerializer

from ..names import refuse_other_calls, writable_names
from ..references import ReferencesMixin

__all__ = (
    "OUTCOMES",
    "HostSettingsSerializer",
    "ServiceModelSerializer",
)

# What a call that allocates did.
OUTCOMES = (
    ("allocated", gettext_lazy("Allocated by this call")),
    ("held", gettext_lazy("Held by the cluster already")),
)


class HostSettingsSerializer(serializers.Serializer):
    """What hosts on a segment are told, which its pool knows."""

    dns_servers = serializers.ListField(
        source="pool.dns_servers",
        child=serializers.IPAddressField(),
        read_only=True,
        allow_null=True,
        help_text=gettext_lazy("Addresses of the DNS servers; of the pool"),
    )
    domain_name = serializers.CharField(
        source="pool.domain_name", read_only=True, allow_null=True, help_text=gettext_lazy("DNS domain; of the pool")
    )
    mtu = serializers.IntegerField(
        source="pool.mtu", read_only=True, allow_null=True, help_text=gettext_lazy("Of the pool")
    )


class ServiceWritesMixin(ValidatedModelSerializer):
    """
    Writes through a service, which also validates the values while it holds its locks.

    Comes after PrimaryModelSerializer, so that NetBox handles tags and change log messages around it.
    """

    def validate(self, data):
        return data

    def create(self, validated_data):
        return self.create_object(validated_data)

    def update(self, instance, validated_data):
        # After a PATCH of the tags alone there is nothing to write.
        if not validated_data.keys() - {"changelog_message"}:
            return instance
        updated = self.update_object(instance, validated_data)
        if not hasattr(updated, "_prechange_snapshot"):
            updated._prechange_snapshot = instance._prechange_snapshot
        updated._changelog_message = instance._changelog_message
        return updated


class ServiceModelSerializer(ReferencesMixin, PrimaryModelSerializer, ServiceWritesMixin):
    """An object that is written through the plugin's services."""

    def to_internal_value(self, data):
        if not self.nested:
            refuse_other_calls(data, writable_names(self))
        values = super().to_internal_value(data)
        if not self.nested and "changelog_message" in values:
            _check_message(values["changelog_message"])
        return values

    def create_object(self, values):
        """Create an object from validated values and return it."""
        raise NotImplementedError

    def update_object(self, instance, values):
        """Set validated values on `instance` and return the updated object."""
        raise NotImplementedError


def _check_message(message):
    """Refuse a message that is no text or too long: NetBox does not check it."""
    longest = ObjectChange._meta.get_field("message").max_length
    if not isinstance(message, str) or len(message) > longest:
        raise serializers.ValidationError(
            {"changelog_message": [_("Give text of at most {max} characters.").format(max=longest)]}
        )
