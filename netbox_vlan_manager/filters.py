"""Filters by network, VRF and place, and the filters that segments and allocations share."""

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
from django.utils.translation import gettext_lazy
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field

from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VRF, VLANGroup
from netbox.filtersets import BaseFilterSet
from tenancy.models import Tenant, TenantGroup
from utilities.filters import (
    MultiValueContentTypeFilter,
    MultiValueNumberFilter,
    TreeNodeMultipleChoiceFilter,
    multivalue_field_factory,
)

from .models import SegmentPool
from .services.base.places import PLACE_TYPES, place_condition, vrf_condition

__all__ = (
    "PREFIX_TEXT",
    "ContainerFilter",
    "ContainersFilter",
    "DualStackFilter",
    "LiteralNullMixin",
    "MomentField",
    "MomentFilter",
    "MultiValueAddressFilter",
    "MultiValueNetworkFilter",
    "NetworkField",
    "NetworkFilter",
    "PlaceFilter",
    "PoolAttributesFilterSet",
    "VRFFilter",
    "in_prefixes",
    "matches_prefix",
    "matches_vid",
)

# Matches any part of a prefix.
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
    """Filters by the prefix; an IPv6 value also by the IPv6 prefix."""

    def filter(self, qs, value):
        return qs.filter(in_prefixes(self.field_name, self.lookup_expr, value)) if value else qs


class ContainerFilter(NetworkFilter):
    """Filters pools by their containers."""

    def filter(self, qs, value):
        return qs.filter(has_container(self.lookup_expr, value)) if value else qs


class MomentField(forms.DateTimeField):
    """A date and time, in the current time zone if it names none; a date alone is the start of that day."""

    default_error_messages = {
        "invalid": gettext_lazy(
            "This is no date and time: write it like 2026-03-12, 2026-03-12 14:30 or 2026-03-12T14:30:00Z."
        )
    }


class MomentFilter(django_filters.DateTimeFilter):
    field_class = MomentField


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class MultiValueNetworkFilter(django_filters.Filter):
    field_class = multivalue_field_factory(NetworkField)

    def filter(self, qs, value):
        return qs.filter(**{f"{self.field_name}__in": value}) if value else qs


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class MultiValueAddressFilter(django_filters.Filter):
    """Filters by IP addresses, of which a row has one of a field, or several in an array."""

    field_class = multivalue_field_factory(forms.GenericIPAddressField)

    def filter(self, qs, value):
        lookup = "overlap" if self.lookup_expr == "overlap" else "in"
        return qs.filter(**{f"{self.field_name}__{lookup}": value}) if value else qs


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class VRFFilter(django_filters.Filter):
    """Filters by a VRF's id, name or RD, without case, as in calls that allocate. NetBox filters by RD only."""

    field_class = multivalue_field_factory(forms.CharField)

    def filter(self, qs, value):
        if not value:
            return qs
        vrfs = VRF.objects.filter(reduce(or_, map(vrf_condition, value))).order_by()
        return qs.filter(**{f"{self.field_name}__in": vrfs.values("pk")})


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class PlaceFilter(django_filters.Filter):
    """
    Filters by the pools at a place and at places inside it. The place is named as in calls that allocate.

    NetBox's own filters of the same name find sites by their slug only.
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


class ContainersFilter(MultiValueNetworkFilter):
    """Filters pools by their containers: any of several prefixes."""

    def filter(self, qs, value):
        return qs.filter(has_container("in", value)) if value else qs


class LiteralNullMixin:
    """
    Extends a filter set: takes "null" as text for lookups that do not work with NULL, such as `name__regex=null`.

    NetBox's filters turn it into None, for which Django raises an error.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for one in self.filters.values():
            if one.lookup_expr not in ("exact", "iexact", "in", "isnull") and hasattr(one, "null_value"):
                one.null_value = None


class PoolAttributesFilterSet(BaseFilterSet):
    """Filters segments and allocations by the attributes of their pool."""

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
    vlan_group = django_filters.ModelMultipleChoiceFilter(
        field_name="pool__vlan_group__slug",
        queryset=VLANGroup.objects.all(),
        distinct=False,
        to_field_name="slug",
        label=_("VLAN group (slug)"),
    )
    tenant_group_id = TreeNodeMultipleChoiceFilter(
        queryset=TenantGroup.objects.all(),
        field_name="pool__tenant__group",
        lookup_expr="in",
        distinct=False,
        label=_("Tenant group (ID)"),
    )
    tenant_group = TreeNodeMultipleChoiceFilter(
        queryset=TenantGroup.objects.all(),
        field_name="pool__tenant__group",
        lookup_expr="in",
        to_field_name="slug",
        distinct=False,
        label=_("Tenant group (slug)"),
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


def in_prefixes(field, lookup, network):
    """
    Return a condition for rows whose prefix matches a network; an IPv6 network is compared with the IPv6 prefix too.

    Args:
        field: The prefix; the field of the IPv6 prefix has the same name after "ipv6_".
        lookup: A lookup of IPNetworkField, such as "net_contained".
        network: A netaddr.IPNetwork.
    """
    condition = Q(**{f"{field}__{lookup}": network})
    if network.version == 6:
        condition |= Q(**{f"ipv6_{field}__{lookup}": network})
    return condition


def has_container(lookup, network):
    """
    Return a condition for pools with a matching container.

    Args:
        lookup: A lookup of IPNetworkField, such as "net_contained".
        network: A netaddr.IPNetwork; several for "in".
    """
    # A join would find a pool once for each of its containers.
    containers = SegmentPool.prefixes.through.objects.filter(**{f"prefix__prefix__{lookup}": network})
    return Q(pk__in=containers.values("segmentpool"))


def matches_vid(value):
    """Return a condition for rows whose VLAN ID is the text `value`."""
    if value.isascii() and value.isdigit() and len(value) <= 4:
        return Q(vid=int(value))
    return Q(pk__in=())


def matches_prefix(field, value):
    """Return a condition for rows whose prefix has the text `value` in it, or contains the network `value`."""
    if not PREFIX_TEXT.fullmatch(value):
        return Q(pk__in=())
    condition = Q(**{f"{field}__contains": value.lower()})
    if "." in value or ":" in value:
        with suppress(netaddr.AddrFormatError, ValueError):
            condition |= Q(**{f"{field}__net_contains_or_equals": netaddr.IPNetwork(value).cidr})
    return condition
