from django.utils.translation import gettext as _
from rest_framework import serializers

from core.models import ObjectChange
from netbox.api.serializers import PrimaryModelSerializer, ValidatedModelSerializer

from ..names import refuse_other_calls, writable_names
from ..references import ReferencesMixin

__all__ = ("ServiceModelSerializer",)


class ServiceWritesMixin(ValidatedModelSerializer):
    """
    Writes through a service, which also validates, under its locks.

    It comes after PrimaryModelSerializer: what NetBox does about tags and change log messages goes on around it.
    """

    def validate(self, data):
        return data

    def create(self, validated_data):
        return self.create_object(validated_data)

    def update(self, instance, validated_data):
        # A PATCH of the tags alone leaves nothing for the service to do.
        if not validated_data.keys() - {"changelog_message"}:
            return instance
        updated = self.update_object(instance, validated_data)
        if not hasattr(updated, "_prechange_snapshot"):
            updated._prechange_snapshot = instance._prechange_snapshot
        updated._changelog_message = instance._changelog_message
        return updated


class ServiceModelSerializer(ReferencesMixin, PrimaryModelSerializer, ServiceWritesMixin):
    """NetBox's serializer for a model that is written through services."""

    def to_internal_value(self, data):
        if not self.nested:
            refuse_other_calls(data, writable_names(self))
        values = super().to_internal_value(data)
        if not self.nested and "changelog_message" in values:
            _check_message(values["changelog_message"])
        return values

    def create_object(self, values):
        """Return a new object made from validated values."""
        raise NotImplementedError

    def update_object(self, instance, values):
        """Return the object that `instance` is after validated values have been set."""
        raise NotImplementedError


def _check_message(message):
    """NetBox hands the message on to the change log as it came."""
    longest = ObjectChange._meta.get_field("message").max_length
    if not isinstance(message, str) or len(message) > longest:
        raise serializers.ValidationError(
            {"changelog_message": [_("Give text of at most {max} characters.").format(max=longest)]}
        )
