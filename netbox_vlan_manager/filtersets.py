import re
from contextlib import suppress
from functools import reduce
from operator import or_

import django_filters
import netaddr
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field

from dcim.base_filtersets import ScopedFilterSet
from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VLAN, VRF, Prefix, Role, VLANGroup
from netbox.filtersets import BaseFilterSet, PrimaryModelFilterSet
from tenancy.filtersets import ContactModelFilterSet, TenancyFilterSet
from tenancy.models import Tenant
from users.models import User
from utilities.filters import (
    MultiValueCharFilter,
    MultiValueContentTypeFilter,
    MultiValueNumberFilter,
    TreeNodeMultipleChoiceFilter,
    multivalue_field_factory,
)
from utilities.filtersets import register_filterset
from virtualization.models import Cluster

from .choices import (
    AllocationOrderChoices,
    AllocationStatusChoices,
    FirstGenerationChoices,
    PoolLevelChoices,
    ReleaseInUseChoices,
    ReleaseReasonChoices,
    SegmentPoolStatusChoices,
    SegmentStatusChoices,
)
from .models import Allocation, Segment, SegmentPool, is_active
from .services.base.places import PLACE_TYPES, place_condition, vrf_condition

__all__ = (
    "SAVED_FILTER",
    "AllocationFilterSet",
    "PoolStatisticsFilterSet",
    "SegmentFilterSet",
    "SegmentPoolFilterSet",
)


# How NetBox names a saved filter.
SAVED_FILTER = ("filter", "filter_id")

# What any part of a prefix looks like.
PREFIX_TEXT = re.compile(r"[0-9a-fA-F.:/]+")


class NetworkField(forms.CharField):
    """An IP address or prefix, as a netaddr.IPNetwork without host bits."""

    def to_python(self, value):
        value = super().to_python(value)
        if not value:
            return None
        try:
            return netaddr.IPNetwork(value).cidr
        except (netaddr.AddrFormatError, ValueError):
            raise ValidationError(
                _("{value!r} is no IP address or prefix: write it like 10.0.0.1 or 10.0.0.0/24.").format(value=value)
            ) from None


@extend_schema_field(OpenApiTypes.STR)
class NetworkFilter(django_filters.Filter):
    field_class = NetworkField


class DualStackFilter(NetworkFilter):
    """Looks at the prefix, and for IPv6 at the one beside it too."""

    def filter(self, qs, value):
        if not value:
            return qs
        lookup = f"{self.field_name}__{self.lookup_expr}"
        condition = Q(**{lookup: value})
        if value.version == 6:
            condition |= Q(**{f"ipv6_{lookup}": value})
        return qs.filter(condition)


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class MultiValueNetworkFilter(django_filters.Filter):
    field_class = multivalue_field_factory(NetworkField)

    def filter(self, qs, value):
        return qs.filter(**{f"{self.field_name}__in": value}) if value else qs


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class VRFFilter(django_filters.Filter):
    """Finds by id, name or RD without case, as calls that allocate name a VRF. NetBox finds by RD only."""

    field_class = multivalue_field_factory(forms.CharField)

    def filter(self, qs, value):
        if not value:
            return qs
        vrfs = VRF.objects.filter(reduce(or_, map(vrf_condition, value))).order_by()
        return qs.filter(**{f"{self.field_name}__in": vrfs.values("pk")})


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class PlaceFilter(django_filters.Filter):
    """
    Finds what is of the pools at a place, and at places inside it. The place is named as calls name it that allocate.

    NetBox's own filters of that name find sites by their slug only.
    """

    field_class = multivalue_field_factory(forms.CharField)
    fields = {"location": "_location", "site": "_site", "site_group": "_site_group", "region": "_region"}

    def filter(self, qs, value):
        if not value:
            return qs
        places = [Q(pk__in=())]
        for kind, model in PLACE_TYPES.items():
            named = reduce(or_, (place_condition(kind, text) for text in value))
            for place in model.objects.filter(named):
                inside = [place.pk] if model is Site else place.get_descendants(include_self=True).values("pk")
                places.append(Q(**{f"{self.field_name}{self.fields[kind]}__in": inside}))
        return self.get_method(qs)(reduce(or_, places))


class LiteralNullMixin:
    """
    Takes "null" for text where no comparison with nothing is possible, such as `name__regex=null`.

    NetBox's filters make it None, which the database layer then refuses with an error of its own.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for one in self.filters.values():
            if one.lookup_expr not in ("exact", "iexact", "in", "isnull") and hasattr(one, "null_value"):
                one.null_value = None


class PoolAttributesFilterSet(BaseFilterSet):
    """Filters segments and allocations by what their pool says."""

    pool_id = django_filters.ModelMultipleChoiceFilter(
        queryset=SegmentPool.objects.all(),
        distinct=False,
        label=_("Pool (ID)"),
    )
    pool = django_filters.ModelMultipleChoiceFilter(
        field_name="pool__slug",
        queryset=SegmentPool.objects.all(),
        distinct=False,
        to_field_name="slug",
        label=_("Pool (slug)"),
    )
    vrf_id = django_filters.ModelMultipleChoiceFilter(
        field_name="pool__vrf",
        queryset=VRF.objects.all(),
        distinct=False,
        label=_("VRF (ID)"),
    )
    vrf = VRFFilter(
        field_name="pool__vrf",
        label=_("VRF (RD or name)"),
    )
    vlan_group_id = django_filters.ModelMultipleChoiceFilter(
        field_name="pool__vlan_group",
        queryset=VLANGroup.objects.all(),
        distinct=False,
        label=_("VLAN group (ID)"),
    )
    tenant_id = django_filters.ModelMultipleChoiceFilter(
        field_name="pool__tenant",
        queryset=Tenant.objects.all(),
        distinct=False,
        label=_("Tenant (ID)"),
    )
    tenant = django_filters.ModelMultipleChoiceFilter(
        field_name="pool__tenant__slug",
        queryset=Tenant.objects.all(),
        distinct=False,
        to_field_name="slug",
        label=_("Tenant (slug)"),
    )
    scope_type = MultiValueContentTypeFilter(
        field_name="pool__scope_type",
        label=_("Scope type"),
    )
    scope_id = MultiValueNumberFilter(
        field_name="pool__scope_id",
        distinct=False,
        label=_("Scope (ID)"),
    )
    region_id = TreeNodeMultipleChoiceFilter(
        queryset=Region.objects.all(),
        field_name="pool___region",
        lookup_expr="in",
        distinct=False,
        label=_("Region (ID)"),
    )
    region = TreeNodeMultipleChoiceFilter(
        queryset=Region.objects.all(),
        field_name="pool___region",
        lookup_expr="in",
        to_field_name="slug",
        distinct=False,
        label=_("Region (slug)"),
    )
    site_group_id = TreeNodeMultipleChoiceFilter(
        queryset=SiteGroup.objects.all(),
        field_name="pool___site_group",
        lookup_expr="in",
        distinct=False,
        label=_("Site group (ID)"),
    )
    site_group = TreeNodeMultipleChoiceFilter(
        queryset=SiteGroup.objects.all(),
        field_name="pool___site_group",
        lookup_expr="in",
        to_field_name="slug",
        distinct=False,
        label=_("Site group (slug)"),
    )
    site_id = django_filters.ModelMultipleChoiceFilter(
        queryset=Site.objects.all(),
        field_name="pool___site",
        distinct=False,
        label=_("Site (ID)"),
    )
    site = PlaceFilter(
        field_name="pool__",
        label=_("Site, location, site group or region (ID, slug or name)"),
    )
    site__n = PlaceFilter(
        field_name="pool__",
        exclude=True,
    )
    location_id = TreeNodeMultipleChoiceFilter(
        queryset=Location.objects.all(),
        field_name="pool___location",
        lookup_expr="in",
        distinct=False,
        label=_("Location (ID)"),
    )
    location = TreeNodeMultipleChoiceFilter(
        queryset=Location.objects.all(),
        field_name="pool___location",
        lookup_expr="in",
        to_field_name="slug",
        distinct=False,
        label=_("Location (slug)"),
    )


@register_filterset
class SegmentPoolFilterSet(
    LiteralNullMixin, PrimaryModelFilterSet, ScopedFilterSet, TenancyFilterSet, ContactModelFilterSet
):
    status = django_filters.MultipleChoiceFilter(
        choices=SegmentPoolStatusChoices,
        distinct=False,
        null_value=None,
    )
    first_generation = django_filters.MultipleChoiceFilter(
        choices=FirstGenerationChoices,
        distinct=False,
        null_value=None,
    )
    level = django_filters.MultipleChoiceFilter(
        choices=PoolLevelChoices,
        distinct=False,
        null_value=None,
    )
    allocation_order = django_filters.MultipleChoiceFilter(
        choices=AllocationOrderChoices,
        distinct=False,
        null_value=None,
    )
    release_in_use = django_filters.MultipleChoiceFilter(
        choices=ReleaseInUseChoices,
        distinct=False,
        null_value=None,
    )
    vrf_id = django_filters.ModelMultipleChoiceFilter(
        queryset=VRF.objects.all(),
        distinct=False,
        label=_("VRF (ID)"),
    )
    vrf = VRFFilter(
        label=_("VRF (RD or name)"),
    )
    vrf_name = MultiValueCharFilter(
        field_name="vrf__name",
        distinct=False,
        label=_("VRF (name)"),
    )
    site = PlaceFilter(
        field_name="",
        label=_("Site, location, site group or region (ID, slug or name)"),
    )
    site__n = PlaceFilter(
        field_name="",
        exclude=True,
    )
    vlan_group_id = django_filters.ModelMultipleChoiceFilter(
        queryset=VLANGroup.objects.all(),
        distinct=False,
        label=_("VLAN group (ID)"),
    )
    vlan_group = django_filters.ModelMultipleChoiceFilter(
        field_name="vlan_group__slug",
        queryset=VLANGroup.objects.all(),
        distinct=False,
        to_field_name="slug",
        label=_("VLAN group (slug)"),
    )
    prefix_id = django_filters.ModelMultipleChoiceFilter(
        field_name="prefixes",
        queryset=Prefix.objects.all(),
        label=_("Container (ID)"),
    )
    contains = NetworkFilter(
        field_name="prefixes__prefix",
        lookup_expr="net_contains_or_equals",
        label=_("Pools whose containers hold this prefix or IP"),
    )
    role_id = django_filters.ModelMultipleChoiceFilter(
        queryset=Role.objects.all(),
        distinct=False,
        label=_("Role (ID)"),
    )
    role = django_filters.ModelMultipleChoiceFilter(
        field_name="role__slug",
        queryset=Role.objects.all(),
        distinct=False,
        to_field_name="slug",
        label=_("Role (slug)"),
    )

    class Meta:
        model = SegmentPool
        fields = (
            "id",
            "name",
            "slug",
            "scope_id",
            "min_prefix_length",
            "max_prefix_length",
            "warning_threshold",
            "critical_threshold",
            "cooldown",
            "max_per_cluster",
            "max_per_tenant",
            "max_per_request",
            "epg_template",
            "auto_grow",
            "grow_prefix_length",
            "grow_ipv6_prefix_length",
            "grow_limit",
            "description",
        )

    def search(self, queryset, name, value):
        value = value.strip()
        if not value:
            return queryset
        return queryset.filter(
            Q(name__icontains=value)
            | Q(slug__icontains=value)
            | Q(description__icontains=value)
            | Q(vrf__name__icontains=value)
        )


class PoolStatisticsFilterSet(SegmentPoolFilterSet):
    """For rows that are of pools: they are found by the names of their pool, as segments are."""

    pool_id = MultiValueNumberFilter(
        field_name="id",
        distinct=False,
        label=_("Pool (ID)"),
    )
    pool = django_filters.ModelMultipleChoiceFilter(
        field_name="slug",
        queryset=SegmentPool.objects.all(),
        distinct=False,
        to_field_name="slug",
        label=_("Pool (slug)"),
    )

    class Meta(SegmentPoolFilterSet.Meta):
        pass


@register_filterset
class SegmentFilterSet(LiteralNullMixin, PrimaryModelFilterSet, PoolAttributesFilterSet, ContactModelFilterSet):
    status = django_filters.MultipleChoiceFilter(
        choices=SegmentStatusChoices,
        distinct=False,
        null_value=None,
    )
    quarantined_until__after = django_filters.DateTimeFilter(
        field_name="quarantined_until",
        lookup_expr="gte",
    )
    quarantined_until__before = django_filters.DateTimeFilter(
        field_name="quarantined_until",
        lookup_expr="lte",
    )
    vlan_id = django_filters.ModelMultipleChoiceFilter(
        queryset=VLAN.objects.all(),
        distinct=False,
        label=_("VLAN (object ID)"),
    )
    epg_name = MultiValueCharFilter(
        field_name="vlan__name",
        distinct=False,
        label=_("EPG name"),
    )
    prefix_id = django_filters.ModelMultipleChoiceFilter(
        queryset=Prefix.objects.all(),
        distinct=False,
        label=_("Prefix (ID)"),
    )
    prefix = MultiValueNetworkFilter(
        field_name="prefix__prefix",
        label=_("Prefix"),
    )
    ipv6_prefix_id = django_filters.ModelMultipleChoiceFilter(
        queryset=Prefix.objects.all(),
        distinct=False,
        label=_("IPv6 prefix (ID)"),
    )
    ipv6_prefix = MultiValueNetworkFilter(
        field_name="ipv6_prefix__prefix",
        label=_("IPv6 prefix"),
    )
    within = DualStackFilter(
        field_name="prefix__prefix",
        lookup_expr="net_contained",
        label=_("Within prefix"),
    )
    within_include = DualStackFilter(
        field_name="prefix__prefix",
        lookup_expr="net_contained_or_equal",
        label=_("Within and including prefix"),
    )
    contains = DualStackFilter(
        field_name="prefix__prefix",
        lookup_expr="net_contains_or_equals",
        label=_("Segments which contain this prefix or IP"),
    )
    cluster_name = MultiValueCharFilter(
        method="filter_cluster_name",
        label=_("Name of a cluster that holds the segment"),
    )

    class Meta:
        model = Segment
        fields = ("id", "vid", "dhcp", "quarantined_until", "last_released_at", "disabled_reason", "description")

    def search(self, queryset, name, value):
        value = value.strip()
        if not value:
            return queryset
        held = self._holding_allocations().filter(cluster_name__icontains=value)
        # Each table is searched by itself: joined, all their rows would have to meet first.
        vlans = VLAN.objects.filter(name__icontains=value).order_by()
        prefixes = Prefix.objects.filter(_matches_prefix("prefix", value)).order_by()
        return queryset.filter(
            Q(vlan__in=vlans.values("pk"))
            | Q(description__icontains=value)
            | Q(pk__in=held.values("segment"))
            | _matches_vid(value)
            | Q(prefix__in=prefixes.values("pk"))
            | Q(ipv6_prefix__in=prefixes.values("pk"))
        )

    def filter_cluster_name(self, queryset, name, value):
        named = Q()
        for cluster_name in value:
            named |= Q(cluster_name__iexact=cluster_name.strip())
        return queryset.filter(pk__in=self._holding_allocations().filter(named).values("segment"))

    def _holding_allocations(self):
        """Return the active allocations; of those that the caller may not view, no search finds the segment."""
        allocations = Allocation.objects.active().order_by()
        return allocations.restrict(self.request.user, "view") if self.request else allocations


@register_filterset
class AllocationFilterSet(LiteralNullMixin, PrimaryModelFilterSet, PoolAttributesFilterSet, ContactModelFilterSet):
    segment_id = django_filters.ModelMultipleChoiceFilter(
        queryset=Segment.objects.all(),
        distinct=False,
        label=_("Segment (ID)"),
    )
    cluster_name = MultiValueCharFilter(
        lookup_expr="iexact",
        distinct=False,
        label=_("Cluster name"),
    )
    cluster_id = django_filters.ModelMultipleChoiceFilter(
        queryset=Cluster.objects.all(),
        distinct=False,
        label=_("Cluster (ID)"),
    )
    purpose = MultiValueCharFilter(
        distinct=False,
        label=_("Purpose"),
    )
    status = django_filters.MultipleChoiceFilter(
        choices=AllocationStatusChoices,
        method="filter_status",
        label=_("Status"),
    )
    allocated_at__after = django_filters.DateTimeFilter(
        field_name="allocated_at",
        lookup_expr="gte",
    )
    allocated_at__before = django_filters.DateTimeFilter(
        field_name="allocated_at",
        lookup_expr="lte",
    )
    released_at__after = django_filters.DateTimeFilter(
        field_name="released_at",
        lookup_expr="gte",
    )
    released_at__before = django_filters.DateTimeFilter(
        field_name="released_at",
        lookup_expr="lte",
    )
    expires_at__after = django_filters.DateTimeFilter(
        field_name="expires_at",
        lookup_expr="gte",
    )
    expires_at__before = django_filters.DateTimeFilter(
        field_name="expires_at",
        lookup_expr="lte",
    )
    release_reason = django_filters.MultipleChoiceFilter(
        choices=ReleaseReasonChoices,
        distinct=False,
        null_value=None,
    )
    allocated_by_id = django_filters.ModelMultipleChoiceFilter(
        queryset=User.objects.all(),
        distinct=False,
        label=_("Allocated by (ID)"),
    )
    allocated_by = django_filters.ModelMultipleChoiceFilter(
        field_name="allocated_by__username",
        queryset=User.objects.all(),
        distinct=False,
        to_field_name="username",
        label=_("Allocated by (name)"),
    )
    released_by_id = django_filters.ModelMultipleChoiceFilter(
        queryset=User.objects.all(),
        distinct=False,
        label=_("Released by (ID)"),
    )
    released_by = django_filters.ModelMultipleChoiceFilter(
        field_name="released_by__username",
        queryset=User.objects.all(),
        distinct=False,
        to_field_name="username",
        label=_("Released by (name)"),
    )
    prefix = MultiValueNetworkFilter(
        label=_("Prefix"),
    )
    ipv6_prefix = MultiValueNetworkFilter(
        label=_("IPv6 prefix"),
    )
    within = DualStackFilter(
        field_name="prefix",
        lookup_expr="net_contained",
        label=_("Within prefix"),
    )
    within_include = DualStackFilter(
        field_name="prefix",
        lookup_expr="net_contained_or_equal",
        label=_("Within and including prefix"),
    )
    contains = DualStackFilter(
        field_name="prefix",
        lookup_expr="net_contains_or_equals",
        label=_("Allocations of a segment which contains this prefix or IP"),
    )

    class Meta:
        model = Allocation
        fields = (
            "id",
            "allocated_at",
            "released_at",
            "expires_at",
            "shared",
            "pool_name",
            "vrf_name",
            "vid",
            "epg_name",
            "description",
        )

    def search(self, queryset, name, value):
        value = value.strip()
        if not value:
            return queryset
        return queryset.filter(
            Q(cluster_name__icontains=value)
            | Q(epg_name__icontains=value)
            | Q(pool_name__icontains=value)
            | Q(description__icontains=value)
            | _matches_vid(value)
            | _matches_prefix("prefix", value)
            | _matches_prefix("ipv6_prefix", value)
        )

    @extend_schema_field(OpenApiTypes.STR)
    def filter_status(self, queryset, name, value):
        if set(value) == set(AllocationStatusChoices.values()):
            return queryset
        return queryset.filter(is_active() if AllocationStatusChoices.ACTIVE in value else ~is_active())


def _matches_vid(value):
    """Return a condition for rows whose VLAN ID is the text `value`."""
    if value.isascii() and value.isdigit() and len(value) <= 4:
        return Q(vid=int(value))
    return Q(pk__in=())


def _matches_prefix(field, value):
    """Return a condition for rows whose prefix has the text `value` in it, or contains the IP address that it is."""
    if not PREFIX_TEXT.fullmatch(value):
        return Q(pk__in=())
    condition = Q(**{f"{field}__contains": value.lower()})
    if "." in value or ":" in value:
        with suppress(netaddr.AddrFormatError, ValueError):
            condition |= Q(**{f"{field}__net_contains_or_equals": netaddr.IPNetwork(value).cidr})
    return condition
