from netbox.api.serializers import ValidatedModelSerializer

__all__ = ("ServiceModelSerializer",)


class ServiceModelSerializer(ValidatedModelSerializer):
    """
    Writes through a service, which also validates, under its locks.

    List it after PrimaryModelSerializer: what NetBox does about tags and change log messages then goes on around it.
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

    def create_object(self, values):
        """Return a new object made from validated values."""
        raise NotImplementedError

    def update_object(self, instance, values):
        """Return the object that `instance` is after validated values have been set."""
        raise NotImplementedError

    @property
    def user(self):
        return self.context["request"].user
