"""
What is taken in an L2 space (a VLAN group) and in an L3 space (a VRF), and whether a new segment fits in.

Every check that needs the database stands here once: for one segment, for ten thousand rows, and for edits in NetBox's
own pages. Callers hold `transactions.lock_spaces` when they write on the strength of an answer.
"""

from bisect import bisect_left
from functools import reduce
from operator import or_

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils.translation import gettext as _

from ipam.models import VLAN, Prefix
from utilities.data import ranges_to_string

from ..models import Segment
from ..validators import clean_cidr, prefix_length_bounds

__all__ = (
    "Containers",
    "PrefixSpace",
    "VLANSpace",
    "vid_range_errors",
)

# Up to so many networks the database looks for overlaps itself; beyond, the whole VRF is read once.
OVERLAP_LOOKUPS = 20


class Containers:
    """The L3 space of a pool: its container prefixes, read once."""

    def __init__(self, pool):
        self.pool = pool
        self.networks = sorted(prefix.prefix for prefix in pool.prefixes.all())

    def clean(self, value):
        """
        Return `value` as a network that a segment of the pool can carry (see `validators.clean_cidr`).

        Raises:
            ValidationError: It is not valid in itself, not within the pool's lengths, or in none of its containers.
        """
        versions = {network.version for network in self.networks}
        network = clean_cidr(value)
        clean_cidr(network, bounds=prefix_length_bounds(self.pool, network.version, versions))
        if not any(network in container for container in self.networks):
            raise ValidationError(
                _("Prefix {prefix} lies in no container of pool {pool}: take one from {containers}.").format(
                    prefix=network,
                    pool=self.pool,
                    containers=", ".join(map(str, self.networks)) or _("a container, once the pool has one"),
                )
            )
        return network


def vid_range_errors(group, vid):
    """Return {field: text} with what is wrong with a VLAN ID that lies in none of a VLAN group's ranges."""
    if any(vid in vids for vids in group.vid_ranges):
        return {}
    text = _("VLAN ID {vid} is not in VLAN group {group}: use one of {ranges}.")
    return {"vid": text.format(vid=vid, group=group, ranges=ranges_to_string(group.vid_ranges))}


class VLANSpace:
    """The VLANs of a VLAN group, as far as they matter to the VLAN IDs and EPG names asked about."""

    def __init__(self, group, vids=(), names=(), exclude_vlan=None):
        self.group = group
        vlans = VLAN.objects.filter(Q(vid__in=set(vids)) | Q(name__in=set(names)), group=group).order_by()
        vlans = [vlan for vlan in vlans if vlan != exclude_vlan]
        self.by_vid = {vlan.vid: vlan for vlan in vlans}
        self.by_name = {vlan.name: vlan for vlan in vlans}
        self.in_segments = set(
            Segment.objects.filter(vlan__in=[vlan.pk for vlan in vlans]).order_by().values_list("vlan_id", flat=True)
        )

    def errors(self, vid, name, may_adopt=True):
        """
        Return {field: text} with what keeps a segment from having this VLAN ID and EPG name.

        Args:
            vid: VLAN ID.
            name: EPG name.
            may_adopt: A VLAN of both that is in no segment yet will do.
        """
        errors = vid_range_errors(self.group, vid)
        existing = self.by_vid.get(vid)
        if existing and (not may_adopt or existing.pk is None or existing.pk in self.in_segments):
            errors["vid"] = _("VLAN ID {vid} is taken in VLAN group {group}: use a free one.").format(
                vid=vid, group=self.group
            )
        elif existing and existing.name != name:
            errors["epg_name"] = _(
                "VLAN {vid} exists in VLAN group {group} as {existing!r}: use that EPG name, or rename the VLAN."
            ).format(vid=vid, group=self.group, existing=existing.name)
        namesake = self.by_name.get(name)
        if namesake and namesake.vid != vid:
            errors["epg_name"] = _(
                "EPG name {name!r} is taken by VLAN {vid} in VLAN group {group}: use another name."
            ).format(name=name, vid=namesake.vid, group=self.group)
        return errors

    def claim(self, vlan):
        """Take the ID and name of `vlan`, which need not be saved yet."""
        self.by_vid[vlan.vid] = vlan
        self.by_name[vlan.name] = vlan
        if vlan.pk:
            self.in_segments.add(vlan.pk)


class PrefixSpace:
    """The prefixes and the segments of a VRF, as far as they matter to the networks asked about."""

    def __init__(self, vrf, networks, exclude_prefix=None):
        self.vrf = vrf
        networks = list(networks)
        prefixes = Prefix.objects.filter(vrf=vrf, prefix__in=[str(network) for network in networks]).order_by()
        self.by_network = {prefix.prefix: prefix for prefix in prefixes}
        taken = Segment.objects.filter(prefix__vrf=vrf).exclude(prefix=exclude_prefix).order_by()
        if len(networks) <= OVERLAP_LOOKUPS:
            overlaps = (
                Q(prefix__prefix__net_contains_or_equals=str(network)) | Q(prefix__prefix__net_contained=str(network))
                for network in networks
            )
            taken = taken.filter(reduce(or_, overlaps, Q(pk__in=())))
        self.taken = sorted(_span(network) for network in taken.values_list("prefix__prefix", flat=True))

    def errors(self, network):
        """Return {field: text} with what keeps a new segment from having this network."""
        if overlapping := self.overlapping(network):
            return {
                "prefix": _("Prefix {prefix} overlaps {other} of another segment in VRF {vrf}: use a free one.").format(
                    prefix=network, other=overlapping, vrf=self.vrf
                )
            }
        existing = self.by_network.get(network)
        if existing and existing.status == "container":
            return {
                "prefix": _("Prefix {prefix} is a container in VRF {vrf}: take a network inside it.").format(
                    prefix=network, vrf=self.vrf
                )
            }
        return {}

    def overlapping(self, network):
        """Return a network of another segment that overlaps `network`, or None."""
        span = _span(network)
        position = bisect_left(self.taken, span)
        # Taken networks do not overlap each other, so only the neighbours can.
        for other in self.taken[max(position - 1, 0) : position + 1]:
            if other[0] == span[0] and other[1] <= span[2] and span[1] <= other[2]:
                return other[3]
        return None

    def claim(self, network):
        """Take `network`."""
        span = _span(network)
        self.taken.insert(bisect_left(self.taken, span), span)


def _span(network):
    """Return a network as (version, first address, last address, network), which sorts by address."""
    return network.version, network.first, network.last, network
