"""
Checks of the gateways of segments, and of the IP addresses that pools make for them.
"""

from functools import partial

from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Cast
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ipam.fields import IPAddressField
from ipam.lookups import Host
from ipam.models import IPAddress

from ...choices import DriftSeverityChoices
from ...gateways import GATEWAYS
from ..segments.gateways import write_gateways_locked
from .findings import FAMILIES, Drift, find_segments, register_families


def gateways_outside(pk, name):
    """Find segments whose gateway is not in their prefix."""
    gateway = GATEWAYS[name]
    inside = Q(**{f"{name}__prefix__net_contains_or_equals": Cast(F(gateway), IPAddressField())})
    segments = find_segments(pk).filter(**{f"{gateway}__isnull": False})
    for segment in segments.filter(~inside | Q(**{f"{name}__isnull": True})):
        prefix = getattr(segment, name)
        right = prefix and segment.pool.find_gateway(prefix.prefix)
        yield Drift(
            f"{FAMILIES[name]}gateway_outside",
            segment.pool,
            segment,
            _("Gateway {gateway} of segment {segment} is not in its prefix").format(
                gateway=getattr(segment, gateway), segment=segment
            ),
            repair=_("Set the gateway that the pool's rule gives: {gateway}.").format(gateway=right)
            if right
            else _("Remove the gateway, as the pool's rule gives none."),
            write=partial(write_gateways_locked, [(segment, {gateway: right})]),
        )


def gateways_without_address(pk, name):
    """Find gateways that NetBox has no IP address for, although the pool makes them."""
    gateway = GATEWAYS[name]
    addresses = IPAddress.objects.alias(at=Cast(Host("address"), IPAddressField()))
    addresses = addresses.filter(at=Cast(OuterRef(gateway), IPAddressField()), vrf=OuterRef("pool__vrf"))
    segments = find_segments(pk).filter(pool__create_gateways=True, **{f"{gateway}__isnull": False})
    for segment in segments.filter(~Exists(addresses), **{f"{name}__isnull": False}):
        yield Drift(
            f"{FAMILIES[name]}gateway_missing",
            segment.pool,
            segment,
            _("Gateway {gateway} of segment {segment} is no IP address in NetBox").format(
                gateway=getattr(segment, gateway), segment=segment
            ),
            repair=_("Make the IP address {gateway} in VRF {vrf}.").format(
                gateway=getattr(segment, gateway), vrf=segment.pool.vrf
            ),
            write=partial(write_gateways_locked, [(segment, {})]),
        )


register_families(
    "gateway_outside",
    (gettext_lazy("Gateway outside its prefix"), gettext_lazy("IPv6 gateway outside its prefix")),
    DriftSeverityChoices.WARNING,
    gateways_outside,
)
register_families(
    "gateway_missing",
    (gettext_lazy("Gateway without an IP address"), gettext_lazy("IPv6 gateway without an IP address")),
    DriftSeverityChoices.WARNING,
    gateways_without_address,
)
