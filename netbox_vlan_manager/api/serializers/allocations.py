from contextlib import nullcontext

from django.db import transaction
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from ipam.api.field_serializers import IPNetworkField
from netbox.api.fields import ChoiceField
from users.api.serializers import UserSerializer
from virtualization.api.serializers import ClusterSerializer

from ...choices import AllocationStatusChoices
from ...models import Allocation
from ...services import allocate, resolve_pool
from ..fields import ClusterNameField, NameOrIDField, PurposeField
from .base import ServiceModelSerializer
from .pools import SegmentPoolSerializer
from .segments import SegmentSerializer

__all__ = ("AllocationSerializer",)

# What says which segment a cluster gets. It is fixed once the allocation is made.
REQUEST_FIELDS = ("pool", "site", "vrf", "cluster_name", "purpose")


class AllocationSerializer(ServiceModelSerializer):
    """
    `is_new` says after save() whether the allocation was made, or is one that the cluster had already.
    """

    segment = SegmentSerializer(nested=True, read_only=True, allow_null=True)
    pool = SegmentPoolSerializer(
        nested=True, required=False, allow_null=True, help_text=_("Where to allocate; or give site and vrf")
    )
    site = NameOrIDField(
        write_only=True, required=False, help_text=_("Id, slug or name of a site, location, site group or region")
    )
    vrf = NameOrIDField(write_only=True, required=False, help_text=_("Id, name or RD of a VRF"))
    cluster_name = ClusterNameField()
    cluster = ClusterSerializer(nested=True, read_only=True, allow_null=True)
    purpose = PurposeField(required=False)
    status = ChoiceField(choices=AllocationStatusChoices, read_only=True)
    allocated_by = UserSerializer(nested=True, read_only=True, allow_null=True)
    released_by = UserSerializer(nested=True, read_only=True, allow_null=True)
    prefix = IPNetworkField(read_only=True)

    class Meta:
        model = Allocation
        fields = [
            "id",
            "url",
            "display_url",
            "display",
            "segment",
            "pool",
            "site",
            "vrf",
            "cluster_name",
            "cluster",
            "purpose",
            "status",
            "allocated_at",
            "allocated_by",
            "released_at",
            "released_by",
            "pool_name",
            "vrf_name",
            "vid",
            "epg_name",
            "prefix",
            "description",
            "owner",
            "comments",
            "tags",
            "custom_fields",
            "created",
            "last_updated",
        ]
        brief_fields = ("id", "url", "display", "cluster_name", "purpose", "status", "description")
        read_only_fields = ("allocated_at", "released_at", "pool_name", "vrf_name", "vid", "epg_name")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.is_new = False

    def get_fields(self):
        fields = super().get_fields()
        if self.instance is not None and "cluster_name" in fields:
            fields["cluster_name"].required = False
        return fields

    def validate(self, data):
        data = super().validate(data)
        if self.nested:
            return data
        if self.instance:
            return self._without_request(data)
        site, vrf = data.pop("site", None), data.pop("vrf", None)
        if data.get("pool") is None:
            data["pool"] = resolve_pool(site, vrf, user=self.user).pool
        elif site is not None or vrf is not None:
            raise serializers.ValidationError({"pool": _("Give the pool, or site and vrf, not both.")})
        return data

    def _without_request(self, data):
        """Return `data` without what cannot change; it is an error for it to be another than it was."""
        errors = {
            name: _("An allocation keeps this: release it and allocate anew instead.")
            for name in REQUEST_FIELDS
            if name in data and data.pop(name) != getattr(self.instance, name, None)
        }
        if errors:
            raise serializers.ValidationError(errors)
        return data

    def create(self, validated_data):
        # Here, not in create_object(): the tags of an allocation that was there already stay as they are.
        tags = [*validated_data.pop("tags", ()), *validated_data.pop("add_tags", ())]
        validated_data.pop("remove_tags", None)
        with transaction.atomic() if tags else nullcontext():
            result = allocate(user=self.user, **validated_data)
            self.is_new = result.created
            if result.created and tags:
                self._save_tags(result.allocation, tags)
        return result.allocation

    def update_object(self, instance, values):
        for name, value in values.items():
            setattr(instance, name, value)
        instance.full_clean()
        instance.save()
        return instance
