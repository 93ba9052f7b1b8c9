from django.utils.translation import gettext as _
from rest_framework import serializers

from core.models import ObjectChange
from netbox.api.serializers import PrimaryModelSerializer, ValidatedModelSerializer

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


class ServiceModelSerializer(PrimaryModelSerializer, ServiceWritesMixin):
    """NetBox's serializer for a model that is written through services."""

    def to_internal_value(self, data):
        if self.nested:
            return super().to_internal_value(data)
        try:
            values = super().to_internal_value(data)
        except (TypeError, ValueError):
            # NetBox looks related objects up by whatever attributes it is given, such as an id that is no number.
            raise serializers.ValidationError(
                {name: [_("No object can be found by these attributes.")] for name in self._find_unreadable(data)}
            ) from None
        if "changelog_message" in values:
            _check_message(values["changelog_message"])
        return values

    def _find_unreadable(self, data):
        """Return the names of the fields that cannot be looked up."""
        names = []
        for name, field in self.fields.items():
            try:
                if name in data and isinstance(field, serializers.BaseSerializer):
                    field.run_validation(data[name])
            except serializers.ValidationError:
                continue
            except (TypeError, ValueError):
                names.append(name)
        return names or ["__all__"]

    def create_object(self, values):
        """Return a new object made from validated values."""
        raise NotImplementedError

    def update_object(self, instance, values):
        """Return the object that `instance` is after validated values have been set."""
        raise NotImplementedError

    @property
    def user(self):
        """The user who asks; None outside a request, where nothing is hidden."""
        request = self.context.get("request")
        return request and request.user


def _check_message(message):
    """NetBox hands the message on to the change log as it came."""
    longest = ObjectChange._meta.get_field("message").max_length
    if not isinstance(message, str) or len(message) > longest:
        raise serializers.ValidationError(
            {"changelog_message": [_("Give text of at most {max} characters.").format(max=longest)]}
        )
