from django.utils.translation import gettext_lazy
from rest_framework import serializers

from ..names import RequestSerializer

__all__ = (
    "MigrateSerializer",
    "StartedJobSerializer",
)


class MigrateSerializer(RequestSerializer):
    action = serializers.ChoiceField(
        choices=(
            ("migrate", gettext_lazy("Take over the data of the first generation")),
            ("undo", gettext_lazy("Give the data back, and delete the pools")),
            ("finish", gettext_lazy("End the trial: from then on, only the plugin allocates")),
        ),
        default="migrate",
        help_text=gettext_lazy("What to do"),
    )
    dry_run = serializers.BooleanField(
        required=False, help_text=gettext_lazy("Change nothing, and say what would be done")
    )


class StartedJobSerializer(serializers.Serializer):
    """A job, whose data have the result once it is done: see NetBox's own `/api/core/jobs/`."""

    job = serializers.IntegerField(help_text=gettext_lazy("Id"))
    url = serializers.URLField()
    dry_run = serializers.BooleanField()
