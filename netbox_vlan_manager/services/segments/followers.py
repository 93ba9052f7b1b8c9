"""
Carries edits of VLANs and prefixes over to their segments and allocations.

`guards` refuses the edits that do not fit.
"""

from copy import copy

from django.utils import timezone
from netaddr import IPNetwork

from ipam.choices import VLANStatusChoices

from ...gateways import GATEWAYS, move_gateway
from ...models import Allocation, Segment
from ..base import audit, hooks
from . import usage
from .gateways import write_gateways_locked
from .guards import HANDED_OUT, disabling, find_segment_of
from .locks import lock_status

__all__ = (
    "follow_prefix",
    "follow_segment",
    "follow_vlan",
)


def follow_vlan(vlan):
    """
    Copy a VLAN's ID and name to its segment, which gets a new time of change, and to the segment's allocations.

    The segment of a VLAN that is not active is disabled, unless a cluster holds it, so that it is not handed out.
    """
    segments = Segment.objects.select_related("pool__vrf", "prefix", "ipv6_prefix").order_by()
    segment = segments.filter(vlan=vlan.pk).first()
    if segment is None:
        return
    segment.vlan = vlan
    values = {} if segment.vid == vlan.vid else {"vid": vlan.vid}
    if vlan.status != VLANStatusChoices.STATUS_ACTIVE and segment.status in HANDED_OUT:
        lock_status(segment)
        if segment.status in HANDED_OUT:
            values |= disabling(segment, ", ".join(usage.status_reasons(vlan, ())))
    if values:
        _save(segment, **values)
    else:
        _touch(segment)
    follow_segment(segment)


def follow_prefix(prefix):
    """
    Copy a prefix's CIDR to the allocations of its segment, which gets a new time of change. Its gateway follows.

    Returns:
        The Segment, or None if the prefix has none.
    """
    if segment := find_segment_of(prefix):
        name = "ipv6_prefix" if segment.ipv6_prefix_id == prefix.pk else "prefix"
        setattr(segment, name, prefix)
        _touch(segment)
        _move_gateway(segment, name)
        follow_segment(segment)
    return segment


def _move_gateway(segment, name):
    """Give `segment` the gateway for the network that its prefix, the field `name`, has now."""
    prefix, gateway, pool = getattr(segment, name), getattr(segment, GATEWAYS[name]), segment.pool
    # What NetBox read, and where it counts the hierarchy again; a script may have given text.
    old, new = IPNetwork(prefix._prefix), IPNetwork(prefix.prefix)
    if old == new:
        return
    moved = move_gateway(gateway, old, new, pool.gateway_rule, pool.gateway_offset)
    # Changes are not always tracked where a prefix is edited.
    with audit.change_tracking(audit.get_viewer()):
        write_gateways_locked([(segment, {GATEWAYS[name]: moved} if moved != gateway else {})])


def follow_segment(segment):
    """Copy the VLAN ID, name and prefixes of `segment`, which have changed, to its active allocations."""
    names = ("vid", "epg_name", *GATEWAYS, *GATEWAYS.values())
    for allocation in Allocation.objects.unreleased().filter(segment=segment).order_by():
        now = copy(allocation)
        now.record_segment(segment)
        values = {name: getattr(now, name) for name in names}
        if values != {name: getattr(allocation, name) for name in names}:
            _save(allocation, **values)
    hooks.send(hooks.segments_changed, [segment.pk])


def _save(instance, **values):
    if audit.is_system():
        # A change by the system has no user, which NetBox's own change log needs.
        audit.update(instance, **values)
        return
    # By save(), not by `audit`: changes are not always tracked where a VLAN or prefix is edited.
    instance.snapshot()
    for name, value in values.items():
        setattr(instance, name, value)
    instance.save(update_fields=(*values, "last_updated"))


def _touch(segment):
    """
    Give a segment whose parts have changed a new time of change, on which its ETag depends. The user is in the change
    logs of the parts.
    """
    Segment.objects.filter(pk=segment.pk).update(last_updated=timezone.now())
