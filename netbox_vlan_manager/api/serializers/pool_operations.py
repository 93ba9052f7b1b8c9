"""The bodies and answers of merging, retiring and resizing a pool."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import serializers

from ...choices import SegmentPoolStatusChoices
from ..fields import NameOrIDField, PrefixField, VIDRangesField
from ..names import RequestSerializer
from .contract import ErrorSerializer
from .pools import SegmentPoolSerializer
from .segments import SegmentSerializer

__all__ = (
    "MergePoolSerializer",
    "MergeResultSerializer",
    "PoolConflictSerializer",
    "ResizePoolSerializer",
    "ResizeResultSerializer",
    "RetirePoolSerializer",
    "RetireResultSerializer",
)


class PoolOperationSerializer(RequestSerializer):
    dry_run = serializers.BooleanField(
        default=False, help_text=gettext_lazy("Say what would be done, and change nothing")
    )
    changelog_message = serializers.CharField(
        required=False, max_length=200, allow_blank=True, help_text=gettext_lazy("The reason, for the change log")
    )


class ConflictSerializer(serializers.Serializer):
    message = serializers.CharField(help_text=gettext_lazy("The reason against the change, and the way out"))
    segment = serializers.IntegerField(allow_null=True, help_text=gettext_lazy("Id"))
    vid = serializers.IntegerField(allow_null=True, help_text=gettext_lazy("VLAN ID"))


class MergePoolSerializer(PoolOperationSerializer):
    into = NameOrIDField(help_text=gettext_lazy("Id, slug or name of the pool that stays"))


class RetirePoolSerializer(PoolOperationSerializer):
    pass


class ResizePoolSerializer(PoolOperationSerializer):
    vid_ranges = VIDRangesField(
        required=False, help_text=gettext_lazy("The VLAN IDs that the pool's VLAN group shall have")
    )
    prefixes = PrefixField(
        many=True,
        required=False,
        allow_empty=False,
        help_text=gettext_lazy("The containers that the pool shall have, as CIDRs or ids"),
    )
    remove_segments = serializers.BooleanField(
        default=False, help_text=gettext_lazy("Delete the pool's available segments that the new size leaves outside")
    )

    def validate(self, data):
        if "vid_ranges" not in data and "prefixes" not in data:
            raise serializers.ValidationError(
                {"vid_ranges": [_("Give other VLAN IDs, other containers (prefixes), or both.")]}
            )
        return data


class PoolConflictSerializer(ErrorSerializer):
    """All conflicts that prevent moving a pool; nothing was changed."""

    errors = None
    conflicts = ConflictSerializer(
        many=True, required=False, help_text=gettext_lazy("Missing where the code is another")
    )


class MergeResultSerializer(serializers.Serializer):
    into = SegmentPoolSerializer(nested=True)
    segments = serializers.IntegerField(help_text=gettext_lazy("How many move"))
    allocations = serializers.IntegerField(
        help_text=gettext_lazy("How many active allocations move; they keep their ids")
    )
    vlans = serializers.IntegerField(help_text=gettext_lazy("How many VLANs move to another VLAN group"))
    containers = serializers.ListField(
        child=serializers.CharField(), help_text=gettext_lazy("The containers that the pool gets")
    )
    conflicts = ConflictSerializer(many=True)
    served_by = SegmentPoolSerializer(
        nested=True,
        allow_null=True,
        help_text=gettext_lazy("The pool that then serves requests for the place and VRF of the deleted pool"),
    )
    dry_run = serializers.BooleanField()


class RetireResultSerializer(serializers.Serializer):
    status = serializers.ChoiceField(choices=SegmentPoolStatusChoices)
    active_allocations = serializers.IntegerField(
        help_text=gettext_lazy("Active allocations; the pool is deleted when none is left")
    )
    segments = serializers.IntegerField(help_text=gettext_lazy("How many segments are deleted with the pool"))
    deleted = serializers.BooleanField(
        help_text=gettext_lazy("Whether the pool had no active allocation and is deleted")
    )
    conflicts = ConflictSerializer(many=True)
    dry_run = serializers.BooleanField()


class OutsideSegmentSerializer(serializers.Serializer):
    segment = SegmentSerializer(nested=True)
    vid = serializers.IntegerField(source="segment.vid")
    prefix = serializers.CharField(source="segment.prefix.prefix")
    status = serializers.CharField(source="segment.status")
    removable = serializers.BooleanField(help_text=gettext_lazy("Whether remove_segments deletes it"))


class SharingPoolSerializer(serializers.Serializer):
    pool = SegmentPoolSerializer(nested=True)
    segments = serializers.IntegerField()
    segments_outside = serializers.IntegerField()


class ResizeResultSerializer(serializers.Serializer):
    vid_ranges_before = serializers.CharField(source="before.vid_ranges")
    vid_ranges_after = serializers.CharField(source="after.vid_ranges")
    vids_before = serializers.IntegerField(source="before.vids")
    vids_after = serializers.IntegerField(source="after.vids")
    free_vids_before = serializers.IntegerField(source="before.free_vids")
    free_vids_after = serializers.IntegerField(source="after.free_vids")
    prefixes_before = serializers.ListField(child=serializers.CharField(), source="before.prefixes")
    prefixes_after = serializers.ListField(child=serializers.CharField(), source="after.prefixes")
    addresses_before = serializers.IntegerField(source="before.addresses")
    addresses_after = serializers.IntegerField(source="after.addresses")
    segments_outside = OutsideSegmentSerializer(
        many=True, help_text=gettext_lazy("The segments of the pool that you may view")
    )
    sharing_pools = SharingPoolSerializer(
        many=True, help_text=gettext_lazy("The other pools of the VLAN group that you may view")
    )
    removed = serializers.IntegerField(help_text=gettext_lazy("How many segments are deleted"))
    conflicts = ConflictSerializer(many=True)
    dry_run = serializers.BooleanField()
