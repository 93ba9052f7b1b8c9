from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from utilities.api import get_serializer_for_model

from ...choices import DriftSeverityChoices
from ...services.drift.findings import KINDS
from ...services.drift.repair import STATUSES
from ..names import RequestSerializer
from .pools import SegmentPoolSerializer

__all__ = (
    "DriftFilterSerializer",
    "DriftRepairResultSerializer",
    "DriftRepairSerializer",
    "DriftSerializer",
)


class KindField(serializers.ChoiceField):
    """The name of a kind of drift. Each request copies the field, so that the choices are current."""

    def __init__(self, **kwargs):
        super().__init__(choices=list(KINDS), **kwargs)


class DriftFilterSerializer(serializers.Serializer):
    """Filters of the report; each may be given several times."""

    kind = serializers.ListField(child=KindField(), required=False)
    severity = serializers.ListField(
        child=serializers.ChoiceField(choices=DriftSeverityChoices.values()), required=False
    )
    pool_id = serializers.ListField(child=serializers.IntegerField(), required=False)
    repairable = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text=_("Whether a repair is known")
    )


class DriftSerializer(serializers.Serializer):
    item = serializers.CharField(
        help_text=_("The name of the finding for a repair: kind, object type and object id, with colons")
    )
    kind = KindField()
    severity = serializers.ChoiceField(choices=DriftSeverityChoices.values())
    pool = SegmentPoolSerializer(nested=True)
    object_type = serializers.CharField(source="object._meta.label_lower", help_text=_("Application and model"))
    object_id = serializers.IntegerField(source="object.pk")
    object = serializers.SerializerMethodField()
    message = serializers.CharField()
    repair = serializers.CharField(help_text=_("What a repair does; empty where a person has to decide"))
    advice = serializers.CharField(help_text=_("Why a person has to decide, and what to do; empty elsewhere"))

    @extend_schema_field(serializers.DictField(help_text=_("In brief")))
    def get_object(self, drift):
        return get_serializer_for_model(drift.object)(drift.object, nested=True, context=self.context).data


class DriftRepairSerializer(RequestSerializer):
    """The findings to repair: the named ones, or all."""

    items = serializers.ListField(child=serializers.CharField(), required=False)
    all = serializers.BooleanField(required=False, default=False)
    dry_run = serializers.BooleanField(
        required=False, default=False, help_text=_("Change nothing, and say what each repair would do")
    )
    changelog_message = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)

    def validate(self, data):
        if ("items" in data) == data["all"]:
            raise serializers.ValidationError({"items": [_("Give items, or all: true.")]})
        return data


class ItemResultSerializer(serializers.Serializer):
    item = serializers.CharField()
    status = serializers.ChoiceField(choices=STATUSES)
    message = serializers.CharField(help_text=_("What the repair did or would do, or why it did nothing"))


class DriftRepairResultSerializer(serializers.Serializer):
    repaired = serializers.IntegerField()
    would_repair = serializers.IntegerField()
    skipped = serializers.IntegerField()
    failed = serializers.IntegerField()
    results = ItemResultSerializer(many=True)
