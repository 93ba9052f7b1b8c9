from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.relations import MANY_RELATION_KWARGS

from ipam.api.serializers import PrefixSerializer
from ipam.models import Prefix
from netbox.api.fields import ChoiceField, SerializedPKRelatedField

from ..validators import ClusterName, clean_duration, clean_purpose, parse_vid_ranges
from .references import find_object, viewable

__all__ = (
    "ClusterNameField",
    "ClusterNamesField",
    "DurationField",
    "NameOrIDField",
    "OptionalChoiceField",
    "PrefixField",
    "PurposeField",
    "UsageField",
    "UtilizationField",
    "VIDRangesField",
)


class OptionalChoiceField(ChoiceField):
    """NetBox's ChoiceField, which reads as null if nothing is chosen, with that in its schema."""


# How many cluster names one call may have.
CLUSTER_NAMES_MAX = 1000

# How many prefixes a list may have: each one is looked up on its own.
PREFIXES_MAX = 1000


class PrefixListField(serializers.ManyRelatedField):
    def to_internal_value(self, data):
        if isinstance(data, list) and len(data) > PREFIXES_MAX:
            text = _("{count} prefixes are too many: give at most {most}.")
            raise serializers.ValidationError(text.format(count=len(data), most=PREFIXES_MAX))
        return super().to_internal_value(data)


class PrefixField(SerializedPKRelatedField):
    """
    A prefix: read in NetBox's brief form, written as a CIDR or an id.

    It cleans a CIDR to text, with which a service finds or creates the prefix, and an id to the Prefix, if the user may
    view it.
    """

    default_error_messages = {
        "incorrect_type": _("Give a CIDR, such as 192.168.1.0/24, or the id of a prefix."),
    }

    def __init__(self, **kwargs):
        if not kwargs.get("read_only"):
            kwargs.setdefault("queryset", Prefix.objects.all())
        super().__init__(serializer=PrefixSerializer, nested=True, **kwargs)

    @classmethod
    def many_init(cls, *args, **kwargs):
        of_list = {name: value for name, value in kwargs.items() if name in MANY_RELATION_KWARGS}
        return PrefixListField(child_relation=cls(*args, **kwargs), **of_list)

    def use_pk_only_optimization(self):
        return False

    def to_internal_value(self, data):
        if isinstance(data, dict) and data.keys() == {"prefix"}:
            data = data["prefix"]
        if isinstance(data, bool) or not isinstance(data, str | int | dict):
            self.fail("incorrect_type")
        if isinstance(data, str) and not data.strip().isdecimal():
            return data.strip()
        return find_object(viewable(Prefix, self.context["request"].user), data)


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "integer"}]})
class NameOrIDField(serializers.Field):
    """A site or a VRF: its id as a number, or its id, slug, name or RD as text."""

    default_error_messages = {
        "required": _("Name it by its id, slug or name."),
        "invalid": _("Give an id as a whole number, or an id, slug or name as text."),
    }

    def to_internal_value(self, data):
        if isinstance(data, str):
            data = data.strip()
        if isinstance(data, bool) or not isinstance(data, str | int) or data == "":
            self.fail("invalid")
        return data

    def to_representation(self, value):
        return value


@extend_schema_field({"type": "string", "maxLength": 100})
class ClusterNameField(serializers.Field):
    default_error_messages = {
        "required": _("Name the cluster that asks for the segment."),
    }

    def to_internal_value(self, data):
        return ClusterName.clean(data)

    def to_representation(self, value):
        return value


@extend_schema_field(
    {
        "oneOf": [
            {"type": "array", "items": {"type": "string", "maxLength": 100}, "maxItems": CLUSTER_NAMES_MAX},
            {"type": "string", "example": "prod-01, prod-02"},
        ]
    }
)
class ClusterNamesField(serializers.Field):
    """Names of clusters, as a list or as text with commas between them; cleans to a list."""

    default_error_messages = {
        "invalid": _("Give a list of names, or text with commas between the names."),
        "too_many": _("These are too many names: give at most {most}."),
    }

    def to_internal_value(self, data):
        if isinstance(data, str):
            data = data.split(",") if data.strip() else []
        if not isinstance(data, list):
            self.fail("invalid")
        if len(data) > CLUSTER_NAMES_MAX:
            self.fail("too_many", most=CLUSTER_NAMES_MAX)
        return [ClusterName.clean(name) for name in data]

    def to_representation(self, value):
        return value


class DurationField(serializers.IntegerField):
    """A duration in seconds, which a client may also write as text such as 90m or 7d."""

    def to_internal_value(self, data):
        return super().to_internal_value(clean_duration(data) if isinstance(data, str) else data)


@extend_schema_field({"type": "string", "maxLength": 50})
class PurposeField(serializers.Field):
    default_error_messages = {
        "invalid": _("Give text of letters (a-z), digits, _ and -."),
    }

    def to_internal_value(self, data):
        if not isinstance(data, str):
            self.fail("invalid")
        return clean_purpose(data)

    def to_representation(self, value):
        return value


@extend_schema_field(OpenApiTypes.INT)
class UsageField(serializers.Field):
    """One of the counts of a pool's SegmentUsage. Named like its annotation, so that lists can be ordered by it."""

    def __init__(self, **kwargs):
        super().__init__(read_only=True, **kwargs)

    def get_attribute(self, instance):
        return getattr(instance.usage, self.field_name)

    def to_representation(self, value):
        return value


@extend_schema_field(OpenApiTypes.DOUBLE)
class UtilizationField(UsageField):
    """The share of a pool's segments that are allocated, in percent."""


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "example": "100-199,300"},
            {"type": "array", "items": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}},
        ]
    }
)
class VIDRangesField(serializers.Field):
    """VLAN IDs, as "100-199,300" or as pairs of the first and the last; cleans to pairs."""

    default_error_messages = {
        "invalid": _("Give text such as 100-199,300-399, or pairs of the first and the last VLAN ID."),
        "too_long": _("Give at most {longest} characters or pairs."),
    }
    # In characters or pairs: enough for the text of every second VLAN ID.
    longest = 20_000

    def to_internal_value(self, data):
        if isinstance(data, str | list) and len(data) > self.longest:
            self.fail("too_long", longest=self.longest)
        if isinstance(data, str):
            return parse_vid_ranges(data)
        if not isinstance(data, list) or not all(
            isinstance(pair, list) and len(pair) == 2 and all(type(vid) is int for vid in pair) for pair in data
        ):
            self.fail("invalid")
        return [tuple(pair) for pair in data]

    def to_representation(self, value):
        return value
