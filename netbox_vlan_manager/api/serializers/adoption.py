from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import serializers

from ..names import RequestSerializer

__all__ = (
    "AdoptResultSerializer",
    "AdoptSerializer",
    "CandidateSerializer",
    "MigrateSerializer",
    "StartedJobSerializer",
)


class CandidatePrefixSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    display = serializers.CharField(source="*")


class CandidateVLANSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    vid = serializers.IntegerField()
    name = serializers.CharField()


class CandidateSerializer(serializers.Serializer):
    prefix = CandidatePrefixSerializer()
    ipv6_prefix = CandidatePrefixSerializer(allow_null=True)
    vlan = CandidateVLANSerializer()
    ready = serializers.BooleanField(help_text=gettext_lazy("It has no conflict and can be adopted"))
    reasons = serializers.ListField(child=serializers.CharField())
    conflicts = serializers.ListField(child=serializers.CharField(), source="conflict_texts")


class AdoptSerializer(RequestSerializer):
    prefixes = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        required=False,
        allow_empty=False,
        max_length=5000,
        help_text=gettext_lazy("Ids of prefixes"),
    )
    all = serializers.BooleanField(required=False, help_text=gettext_lazy("All candidates that are ready"))
    dry_run = serializers.BooleanField(
        required=False, help_text=gettext_lazy("Change nothing, and say what would be adopted")
    )

    def validate(self, data):
        if bool(data.get("prefixes")) == bool(data.get("all")):
            raise serializers.ValidationError({"prefixes": _("Give either the ids of prefixes, or all: true.")})
        return data


class AdoptRowSerializer(serializers.Serializer):
    prefix = serializers.IntegerField(help_text=gettext_lazy("Id"))
    status = serializers.ChoiceField(choices=("adopted", "unchanged", "failed"))
    segment = serializers.IntegerField(allow_null=True, help_text=gettext_lazy("Id"))
    errors = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))


class AdoptResultSerializer(serializers.Serializer):
    adopted = serializers.IntegerField(help_text=gettext_lazy("Number of segments"))
    failed = serializers.IntegerField(help_text=gettext_lazy("Number of prefixes"))
    results = AdoptRowSerializer(many=True)


class MigrateSerializer(RequestSerializer):
    dry_run = serializers.BooleanField(
        required=False, help_text=gettext_lazy("Change nothing, and say what would be made")
    )


class StartedJobSerializer(serializers.Serializer):
    """A job, whose data hold what came out once it is done: see NetBox's own `/api/core/jobs/`."""

    job = serializers.IntegerField(help_text=gettext_lazy("Id"))
    url = serializers.URLField()
    dry_run = serializers.BooleanField()
