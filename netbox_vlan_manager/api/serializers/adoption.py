from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import serializers

from ...services.onboarding.adoption import Decision
from ...services.segments.specs import NEW_STATUSES
from ..names import RequestSerializer
from .segments import as_field

__all__ = (
    "AdoptResultSerializer",
    "AdoptSerializer",
    "CandidateSerializer",
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
    ready = serializers.BooleanField(help_text=gettext_lazy("Whether the candidate has no conflict and can be adopted"))
    will_be = serializers.ChoiceField(
        choices=NEW_STATUSES, help_text=gettext_lazy("The status that the segment gets if the caller gives no other")
    )
    disabled_reason = serializers.CharField(
        source="doubt",
        help_text=gettext_lazy("Why the segment will be disabled: statuses, and what uses the VLAN or prefix"),
    )
    reasons = serializers.ListField(child=serializers.CharField())
    conflicts = serializers.ListField(child=serializers.CharField(), source="conflict_texts")


class AdoptCandidateSerializer(RequestSerializer):
    prefix = serializers.IntegerField(min_value=1, max_value=2**63 - 1, help_text=gettext_lazy("Id"))
    cluster_name = serializers.CharField(
        required=False, help_text=gettext_lazy("The cluster that holds it; needs the permission to allocate")
    )

    def get_fields(self):
        # "as" is a keyword of Python.
        return {**super().get_fields(), "as": as_field()}


class AdoptSerializer(RequestSerializer):
    prefixes = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        required=False,
        allow_empty=False,
        max_length=5000,
        help_text=gettext_lazy("Ids of prefixes"),
    )
    all = serializers.BooleanField(required=False, help_text=gettext_lazy("All candidates that are ready"))
    candidates = AdoptCandidateSerializer(
        many=True,
        required=False,
        max_length=5000,
        help_text=gettext_lazy(
            "The candidates to adopt, each with its own values; with all: true, the other candidates are adopted too"
        ),
    )
    dry_run = serializers.BooleanField(
        required=False, help_text=gettext_lazy("Change nothing, and say what would be adopted")
    )

    def get_fields(self):
        return {**super().get_fields(), "as": as_field()}

    def validate(self, data):
        named = [name for name in ("prefixes", "all", "candidates") if data.get(name)]
        if named not in (["prefixes"], ["all"], ["candidates"], ["all", "candidates"]):
            text = _("Give the ids of prefixes, or candidates, or all: true, which may go with candidates.")
            raise serializers.ValidationError({"prefixes": text})
        decisions = {}
        for number, one in enumerate(data.get("candidates", ())):
            try:
                decisions[one["prefix"]] = Decision(one.get("as", ""), one.get("cluster_name", ""))
            except ValidationError as error:
                errors = {number: error.message_dict}
                raise serializers.ValidationError({"candidates": errors}) from None
        return {
            "prefixes": None if data.get("all") else data.get("prefixes") or list(decisions),
            "decisions": {None: Decision(data.get("as", "")), **decisions},
            "dry_run": data.get("dry_run", False),
        }


class AdoptRowSerializer(serializers.Serializer):
    prefix = serializers.IntegerField(help_text=gettext_lazy("Id"))
    status = serializers.ChoiceField(choices=("adopted", "unchanged", "failed"))
    segment = serializers.IntegerField(allow_null=True, help_text=gettext_lazy("Id"))
    segment_status = serializers.CharField(help_text=gettext_lazy("The status of the segment made"))
    disabled_reason = serializers.CharField()
    errors = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))


class AdoptResultSerializer(serializers.Serializer):
    adopted = serializers.IntegerField(help_text=gettext_lazy("Number of segments"))
    failed = serializers.IntegerField(help_text=gettext_lazy("Number of prefixes"))
    results = AdoptRowSerializer(many=True)
