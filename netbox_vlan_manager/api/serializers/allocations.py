from contextlib import nullcontext

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import transaction
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from ipam.api.field_serializers import IPNetworkField
from netbox.api.fields import ChoiceField
from users.api.serializers import UserSerializer
from virtualization.api.serializers import ClusterSerializer

from ...choices import AllocationStatusChoices, ReleaseReasonChoices
from ...exceptions import VLANManagerError
from ...models import Allocation
from ...services import allocate
from ...services.allocations.requests import locate
from ...services.base.locators import locator_names, locators_in
from ...services.segments.criteria import SegmentCriteria
from ...validators import VID_MAX, VID_MIN
from ..fields import ClusterNameField, ClusterNamesField, NameOrIDField, OptionalChoiceField, PurposeField
from ..names import RequestSerializer, clean_body, writable_names
from .base import OUTCOMES, HostSettingsSerializer, ServiceModelSerializer
from .pools import SegmentPoolSerializer
from .segments import SegmentSerializer

__all__ = (
    "AllocationResultSerializer",
    "AllocationSerializer",
    "HandOverSerializer",
    "ReleaseResultSerializer",
    "ReleaseSerializer",
    "RenewSerializer",
    "SetClustersSerializer",
    "ShareSerializer",
    "StretchedSerializer",
    "UndoReleaseSerializer",
)

# The fields that decide which segment a cluster gets. They cannot change once the allocation is made.
REQUEST_FIELDS = (
    "pool",
    "site",
    "vrf",
    "cluster_name",
    "purpose",
    "vid",
    "vid_min",
    "vid_max",
    "prefix_length",
    "segment",
    "expires_at",
)


# Criteria that an allocation has met and does not store.
WISHES = ("vid_min", "vid_max", "prefix_length")
# The fields of a request that may be null.
OPTIONAL = ("segment", "vid", "vid_min", "vid_max", "prefix_length", "expires_at")


class AllocationSerializer(HostSettingsSerializer, ServiceModelSerializer):
    """
    After save(), `result` is the AllocationResult, which says whether the cluster held the segment already.
    """

    segment = SegmentSerializer(
        nested=True, required=False, allow_null=True, help_text=_("The segment that shall be allocated")
    )
    pool = SegmentPoolSerializer(
        nested=True, required=False, allow_null=True, help_text=_("The pool to allocate from; or give site and vrf")
    )
    site = NameOrIDField(
        write_only=True, required=False, help_text=_("Id, slug or name of a site, location, site group or region")
    )
    vrf = NameOrIDField(write_only=True, required=False, help_text=_("Id, name or RD of a VRF"))
    vid = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=VID_MIN,
        max_value=VID_MAX,
        help_text=_("The VLAN ID that shall be allocated; the lowest available one when it is left out"),
    )
    vid_min = serializers.IntegerField(
        write_only=True,
        required=False,
        allow_null=True,
        min_value=VID_MIN,
        max_value=VID_MAX,
        help_text=_("The lowest VLAN ID to choose from"),
    )
    vid_max = serializers.IntegerField(
        write_only=True,
        required=False,
        allow_null=True,
        min_value=VID_MIN,
        max_value=VID_MAX,
        help_text=_("The highest VLAN ID to choose from"),
    )
    prefix_length = serializers.IntegerField(
        write_only=True,
        required=False,
        allow_null=True,
        min_value=1,
        max_value=128,
        help_text=_("The prefix length that the segment shall have"),
    )
    dry_run = serializers.BooleanField(
        write_only=True, required=False, help_text=_("Say what would be allocated, and change nothing")
    )
    cluster_name = ClusterNameField()
    cluster = ClusterSerializer(nested=True, read_only=True, allow_null=True)
    purpose = PurposeField(required=False)
    status = ChoiceField(choices=AllocationStatusChoices, read_only=True)
    allocated_by = UserSerializer(nested=True, read_only=True, allow_null=True)
    released_by = UserSerializer(nested=True, read_only=True, allow_null=True)
    release_reason = OptionalChoiceField(choices=ReleaseReasonChoices, read_only=True, allow_blank=True)
    prefix = IPNetworkField(read_only=True)
    ipv6_prefix = IPNetworkField(read_only=True, allow_null=True)

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
            "vid_min",
            "vid_max",
            "prefix_length",
            "dry_run",
            "cluster_name",
            "cluster",
            "purpose",
            "status",
            "allocated_at",
            "allocated_by",
            "released_at",
            "released_by",
            "release_reason",
            "expires_at",
            "shared",
            "pool_name",
            "vrf_name",
            "vid",
            "epg_name",
            "prefix",
            "ipv6_prefix",
            "gateway",
            "ipv6_gateway",
            "dns_servers",
            "domain_name",
            "mtu",
            "description",
            "owner",
            "comments",
            "tags",
            "custom_fields",
            "created",
            "last_updated",
        ]
        brief_fields = ("id", "url", "display", "cluster_name", "purpose", "status", "description")
        read_only_fields = (
            "allocated_at",
            "released_at",
            "shared",
            "pool_name",
            "vrf_name",
            "epg_name",
            "gateway",
            "ipv6_gateway",
        )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.result = None

    def get_fields(self):
        fields = super().get_fields()
        if self.instance is not None and "cluster_name" in fields:
            fields["cluster_name"].required = False
        if not self.nested:
            fields |= {name: serializers.JSONField(write_only=True, required=False) for name in locator_names()}
        return fields

    def validate(self, data):
        data = super().validate(data)
        if self.nested:
            return data
        if self.instance:
            return self._without_request(data)
        if located := locators_in(data):
            return self._located(data, located)
        site, vrf = data.pop("site", None), data.pop("vrf", None)
        segment = data.get("segment")
        if segment and data.get("pool") is None and site is None and vrf is None:
            data["pool"] = segment.pool
        elif data.get("pool") is None:
            resolved = locate(
                data["cluster_name"],
                site,
                vrf,
                purpose=data.get("purpose", ""),
                viewer=self.user,
                action="allocate",
            )
            data |= {"pool": resolved.pool, "places": resolved.places, "serves": resolved.serves, "viewer": self.user}
        elif site is not None or vrf is not None:
            raise serializers.ValidationError({"pool": _("Give the pool, or site and vrf, not both.")})
        if segment and segment.pool != data["pool"]:
            raise serializers.ValidationError({"segment": _("This segment is not in the pool that was asked for.")})
        return data

    def _located(self, data, located):
        """Return the `data` of a request that names its place by a field of an optional part."""
        others = [name for name in ("pool", "site", "segment") if data.get(name) is not None]
        if others:
            text = _("Give one of {names}.").format(names=", ".join([*others, *sorted(located)]))
            raise serializers.ValidationError(dict.fromkeys(others, text))
        data.pop("site", None)
        return data | {"viewer": self.user}

    def to_internal_value(self, data):
        if self.nested or self.instance:
            return super().to_internal_value(data)
        known = {*writable_names(self), "add_tags", "remove_tags", "changelog_message"}
        data = clean_body(data, known, RequestSerializer.flags, self.context.get("request"))
        values = super().to_internal_value(data)
        # null means the same as an absent field.
        return {name: value for name, value in values.items() if value is not None or name not in OPTIONAL}

    def _without_request(self, data):
        """
        Return `data` without the fields that cannot change; an error if one has another value than the allocation.

        A client may PUT the body with which it created the allocation.
        """
        asked = {name: data.pop(name) for name in (*REQUEST_FIELDS, *locator_names()) if name in data}
        changed = [name for name in ("site", "vrf") if name in asked and not self._is_served(asked)]
        changed += [name for name, value in asked.items() if not self._is_kept(name, value)]
        errors = {name: _("An allocation keeps this: release it and allocate again instead.") for name in changed}
        if "expires_at" in errors:
            errors["expires_at"] = _("Renew the allocation to change when it expires.")
        if data.pop("dry_run", False):
            errors["dry_run"] = _("This call changes the allocation and has no dry run: leave this out.")
        if errors:
            raise serializers.ValidationError(errors)
        return data

    def _is_kept(self, name, value):
        """Whether the allocation meets the `value` of a request's field; null asks for nothing."""
        held = self.instance
        if name in ("site", "vrf", *locator_names()):
            return True
        if value is None:
            return name != "expires_at" or held.expires_at is None
        if name in WISHES:
            return SegmentCriteria(**{name: value}).matches(held)
        if name == "cluster_name" and value != held.cluster_name:
            # PostgreSQL compares without case, as it does for allocating.
            return Allocation.objects.filter(pk=held.pk).of_cluster(value).exists()
        return value == getattr(held, name)

    def _is_served(self, asked):
        """Whether a body names the place and the VRF of the allocation."""
        pool = self.instance.pool
        if pool is None:
            return False
        vrf = pool.vrf
        if "site" not in asked:
            return str(asked["vrf"]).casefold() in (str(vrf.pk), vrf.name.casefold(), (vrf.rd or vrf.name).casefold())
        try:
            found = locate(
                self.instance.cluster_name,
                asked["site"],
                asked.get("vrf", vrf.pk),
                purpose=self.instance.purpose,
                viewer=self.user,
            )
        except (VLANManagerError, DjangoValidationError):
            return False
        # Another pool may serve the place today.
        return found.pool.vrf_id == vrf.pk and (
            found.pool == pool or not set(found.places).isdisjoint(self.instance.places)
        )

    def create(self, validated_data):
        # Not in create_object(): the tags of an existing allocation do not change.
        tags = self.take_tags(validated_data)
        with transaction.atomic() if tags else nullcontext():
            self.result = allocate(user=self.user, **validated_data)
            if self.result.created and tags and not validated_data.get("dry_run"):
                self.save_tags(self.result.allocation, tags)
        return self.result.allocation

    def take_tags(self, values):
        """Remove the fields for tags from validated values and return the tags of a new allocation."""
        values.pop("remove_tags", None)
        return [*values.pop("tags", ()), *values.pop("add_tags", ())]

    def save_tags(self, allocation, tags):
        self._save_tags(allocation, tags)

    def update_object(self, instance, values):
        for name, value in values.items():
            setattr(instance, name, value)
        instance.full_clean()
        instance.save()
        return instance


class AllocationResultSerializer(AllocationSerializer):
    """The answer of a call that allocates."""

    id = serializers.IntegerField(read_only=True, allow_null=True, help_text=_("null in a dry run"))
    url = serializers.URLField(read_only=True, allow_null=True)
    display_url = serializers.URLField(read_only=True, allow_null=True)
    outcome = serializers.ChoiceField(
        choices=OUTCOMES,
        read_only=True,
        help_text=_("Whether this call allocated the segment, or the cluster held it already"),
    )

    class Meta(AllocationSerializer.Meta):
        fields = (*AllocationSerializer.Meta.fields, "outcome")


class ReleaseSerializer(RequestSerializer):
    dry_run = serializers.BooleanField(
        required=False, help_text=_("Say what would be released and what still uses it, and change nothing")
    )
    changelog_message = serializers.CharField(
        required=False, allow_blank=True, max_length=200, help_text=_("The reason, for the change log")
    )


class UndoReleaseSerializer(RequestSerializer):
    dry_run = serializers.BooleanField(
        required=False, help_text=_("Say what the cluster would get back, and change nothing")
    )
    changelog_message = serializers.CharField(
        required=False, allow_blank=True, max_length=200, help_text=_("Why, for the change log")
    )


class HandOverSerializer(UndoReleaseSerializer):
    cluster_name = ClusterNameField(help_text=_("The cluster that gets the segment"))
    dry_run = serializers.BooleanField(required=False, help_text=_("Say what would happen, and change nothing"))


class ReleaseResultSerializer(AllocationSerializer):
    """The answer of a call that releases."""

    warnings = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text=_("What still uses the segment, as far as you may view it"),
    )

    class Meta(AllocationSerializer.Meta):
        fields = (*AllocationSerializer.Meta.fields, "warnings")


class RenewSerializer(RequestSerializer):
    expires_at = serializers.DateTimeField(
        allow_null=True, help_text=_("When the allocation shall be released by itself; null: never")
    )


class ShareSerializer(RequestSerializer):
    cluster_name = ClusterNameField()
    purpose = PurposeField(required=False)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    dry_run = serializers.BooleanField(required=False)


class SetClustersSerializer(RequestSerializer):
    cluster_names = ClusterNamesField(
        help_text=_(
            "All clusters that shall hold the segment, as a list or as text with commas; an empty list releases all"
        )
    )
    dry_run = serializers.BooleanField(required=False)


class StretchedSerializer(RequestSerializer):
    cluster_name = ClusterNameField()
    vrf = NameOrIDField(required=False, help_text=_("Id, name or RD of a VRF"))
    sites = serializers.ListField(
        child=NameOrIDField(),
        required=False,
        min_length=2,
        max_length=100,
        help_text=_("Two or more, each with a pool of its own"),
    )
    pools = serializers.ListField(
        child=SegmentPoolSerializer(nested=True),
        required=False,
        min_length=2,
        max_length=100,
        help_text=_("Two or more, by id, slug or name; instead of sites and vrf"),
    )
    vid = serializers.IntegerField(required=False, allow_null=True, min_value=VID_MIN, max_value=VID_MAX)
    purpose = PurposeField(required=False)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    dry_run = serializers.BooleanField(required=False)

    def validate(self, data):
        if "pools" in data:
            if "sites" in data or "vrf" in data:
                raise serializers.ValidationError({"pools": _("Give pools, or sites and vrf, not both.")})
            return data
        missing = [name for name in ("sites", "vrf") if name not in data]
        if missing:
            raise serializers.ValidationError(
                {name: _("Give sites and vrf, or pools.") for name in missing},
            )
        return data
