"""
The gateways of segments: in their allocations, and as IP addresses in NetBox where the pool makes them.

An IP address that the VRF has already is used as it is, and stays when the segment goes. One that was made for a
segment follows its gateway and goes with it. Callers check permissions; no error names an IP address.
"""

from django.core.exceptions import ValidationError
from django.db.models.functions import Cast
from django.utils.translation import gettext as _
from netaddr import IPNetwork

from ipam.choices import IPAddressStatusChoices
from ipam.fields import IPAddressField
from ipam.lookups import Host
from ipam.models import IPAddress
from netbox.signals import post_clean

from ...gateways import GATEWAYS
from ...models import Allocation
from ..base import audit
from .validation import add_texts

__all__ = (
    "IP_ADDRESSES",
    "KnownAddresses",
    "made_addresses",
    "plan_addresses",
    "write_gateways_locked",
)

# The fields of a segment's gateways, each with the field of the IP address that was made for it.
IP_ADDRESSES = {gateway: f"{gateway}_ip_address" for gateway in GATEWAYS.values()}


class KnownAddresses:
    """The IP addresses that VRFs have at some gateways, read with one statement; with none if there are no gateways."""

    def __init__(self, gateways):
        """`gateways` are (VRF id, gateway as text) pairs."""
        found = ()
        if gateways := set(gateways):
            vrfs, hosts = zip(*gateways, strict=True)
            found = IPAddress.objects.alias(host_address=Cast(Host("address"), IPAddressField())).filter(
                vrf__in=set(vrfs), host_address__in=sorted(set(hosts))
            )
        self._known = {(address.vrf_id, str(address.address.ip)) for address in found}

    def has(self, vrf_id, gateway):
        """Return whether the VRF has an IP address at the gateway."""
        return (vrf_id, gateway) in self._known


def plan_addresses(segment, known, errors):
    """
    Give an unsaved Segment the unsaved IP addresses that its pool makes for its gateways.

    Args:
        segment: The Segment, with its pool, prefixes and gateways.
        known: KnownAddresses of its gateways.
        errors: {field: texts}, to which the texts of NetBox's custom validators are added.
    """
    if not segment.pool.create_gateways:
        return
    for prefix, name in GATEWAYS.items():
        gateway = getattr(segment, name)
        if gateway and not known.has(segment.pool.vrf_id, gateway):
            address = _make_address(segment.pool, gateway, getattr(segment, prefix))
            try:
                post_clean.send(sender=IPAddress, instance=address)
            except ValidationError as error:
                add_texts(errors, error, {}, name)
            setattr(segment, IP_ADDRESSES[name], address)


def _make_address(pool, gateway, prefix):
    return IPAddress(
        address=_with_length(gateway, prefix),
        vrf=pool.vrf,
        tenant=pool.tenant,
        status=IPAddressStatusChoices.STATUS_ACTIVE,
        description=_("Gateway"),
    )


def _with_length(gateway, prefix):
    return IPNetwork(f"{gateway}/{prefix.prefix.prefixlen}")


def write_gateways_locked(changes):
    """
    Write gateways of segments; their IP addresses and active allocations follow.

    IP addresses are made where the pool makes them and the VRF has none. Without changes of gateways, that is all. It
    takes a fixed number of statements, and one for each row that changes.

    Args:
        changes: (Segment, {field: its new gateway}) pairs. The caller has locked the rows of the Segments, which have
            their pools, prefixes and IP addresses.
    """
    known = KnownAddresses(
        (segment.pool.vrf_id, gateway)
        for segment, values in changes
        for name, ip_address in IP_ADDRESSES.items()
        if (gateway := values.get(name, getattr(segment, name)))
        and (segment.pool.create_gateways or getattr(segment, f"{ip_address}_id"))
    )
    updates, creates, deletes, written = [], [], [], []
    for segment, values in changes:
        values = dict(values)
        for prefix, name in GATEWAYS.items():
            gateway, own = values.get(name, getattr(segment, name)), getattr(segment, IP_ADDRESSES[name])
            is_known = gateway and known.has(segment.pool.vrf_id, gateway)
            if own and gateway and (not is_known or str(own.address.ip) == gateway):
                address = _with_length(gateway, getattr(segment, prefix))
                # netaddr takes two addresses of one network for equal.
                updates += [(own, {"address": address})] if str(own.address) != str(address) else []
            elif own:
                deletes.append(own)
                values[IP_ADDRESSES[name]] = None
            elif gateway and not is_known and segment.pool.create_gateways:
                address = _make_address(segment.pool, gateway, getattr(segment, prefix))
                creates.append(address)
                values[IP_ADDRESSES[name]] = address
        if values:
            written.append((segment, values))
    audit.write(updates=updates, creates=creates)
    audit.write(updates=written)
    if deletes:
        audit.delete(deletes)
    _follow_allocations([segment for segment, _values in changes])


def _follow_allocations(segments):
    """Copy the gateways of segments to their unreleased allocations."""
    by_pk = {segment.pk: segment for segment in segments}
    updates = []
    for allocation in Allocation.objects.unreleased().filter(segment__in=by_pk).order_by("pk"):
        segment = by_pk[allocation.segment_id]
        values = {name: getattr(segment, name) for name in IP_ADDRESSES}
        if any(getattr(allocation, name) != value for name, value in values.items()):
            updates.append((allocation, values))
    audit.write(updates=updates)


def made_addresses(segments):
    """Return the IP addresses that were made with segments."""
    names = IP_ADDRESSES.values()
    return [getattr(segment, name) for segment in segments for name in names if getattr(segment, f"{name}_id")]
