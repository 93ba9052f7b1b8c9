"""
Finds out which VLAN IDs, names and networks are taken in a VLAN group and in a VRF, and whether a new segment fits in.

These checks serve single segments, imports of ten thousand rows, and edits in NetBox's own pages alike. Callers hold
`transactions.lock_spaces` if they write depending on an answer.
"""

from bisect import bisect_left
from functools import cached_property, reduce
from operator import or_

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils.translation import gettext as _

from ipam.models import VLAN, Prefix
from utilities.data import ranges_to_string

from ...models import Segment
from ...validators import clean_cidr, prefix_length_bounds
from ..base.visibility import nameable

__all__ = (
    "Containers",
    "PrefixSpace",
    "VLANSpace",
    "family_errors",
    "vid_range_errors",
)

# Up to so many networks the database finds the overlaps; for more of them the whole VRF is read once.
OVERLAP_LOOKUPS = 20


class Containers:
    """The container prefixes of a pool, read once."""

    def __init__(self, pool):
        self.pool = pool
        self.networks = sorted(prefix.prefix for prefix in pool.prefixes.all())

    def clean_ipv6(self, value):
        """
        Return `value` as `clean` does, or None if it is empty: the IPv6 prefix of a segment beside its IPv4 prefix.

        Raises:
            ValidationError: It is IPv4, or `clean` refuses it.
        """
        if value is None or str(value).strip() == "":
            return None
        network = clean_cidr(value)
        if network.version == 4:
            raise ValidationError(
                _("Prefix {prefix} is IPv4: give an IPv6 network, or leave it empty.").format(prefix=network)
            )
        return self.clean(network)

    def clean(self, value):
        """
        Return `value` as a network that a segment of the pool can have (see `validators.clean_cidr`).

        Raises:
            ValidationError: It is not valid, its length is out of the pool's bounds, or it lies in no container.
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


def family_errors(prefix, ipv6_prefix):
    """Return {field: text} with what is wrong with a segment that has both networks; the latter may be None."""
    if ipv6_prefix is None or prefix.version == 4:
        return {}
    text = _("The segment's prefix {prefix} is IPv6 already: leave this empty, or give the segment an IPv4 prefix.")
    return {"ipv6_prefix": text.format(prefix=prefix)}


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
        Return {field: text} with the reasons why a segment cannot have this VLAN ID and EPG name.

        Args:
            vid: VLAN ID.
            name: EPG name.
            may_adopt: Whether an existing VLAN of that ID and name is accepted if it is in no segment yet.
        """
        errors = vid_range_errors(self.group, vid)
        existing = self.by_vid.get(vid)
        if existing and (not may_adopt or existing.pk is None or existing.pk in self.in_segments):
            errors["vid"] = _("VLAN ID {vid} is taken in VLAN group {group}: use a free one.").format(
                vid=vid, group=self.group
            )
        elif existing and existing.name != name:
            text = _("VLAN {vid} exists in VLAN group {group} with another name: use a free VLAN ID.")
            if self._may_name(existing):
                text = _(
                    "VLAN {vid} exists in VLAN group {group} as {existing!r}: use that EPG name, or rename the VLAN."
                )
            errors["epg_name"] = text.format(vid=vid, group=self.group, existing=existing.name)
        namesake = self.by_name.get(name)
        if namesake and namesake.vid != vid:
            text = _("EPG name {name!r} is taken in VLAN group {group}: use another name.")
            if self._may_name(namesake):
                text = _("EPG name {name!r} is taken by VLAN {vid} in VLAN group {group}: use another name.")
            errors["epg_name"] = text.format(name=name, vid=namesake.vid, group=self.group)
        return errors

    def _may_name(self, vlan):
        # A VLAN that is not saved yet is the caller's own.
        return vlan.pk is None or vlan.pk in self._nameable

    @cached_property
    def _nameable(self):
        vlans = {vlan.pk for vlan in (*self.by_vid.values(), *self.by_name.values())}
        return set(nameable(VLAN.objects).filter(pk__in=vlans - {None}).order_by().values_list("pk", flat=True))

    def claim(self, vlan):
        """Mark the ID and name of `vlan` as taken; it need not be saved yet."""
        self.by_vid[vlan.vid] = vlan
        self.by_name[vlan.name] = vlan
        if vlan.pk:
            self.in_segments.add(vlan.pk)


class PrefixSpace:
    """
    The prefixes and segments of a VRF that the given networks may conflict with.

    `exclude_prefix` is the id of a prefix that is to get the network: it is no conflict, but any other prefix of that
    network is.
    """

    def __init__(self, vrf, networks, exclude_prefix=None):
        self.vrf = vrf
        networks = list(networks)
        self.by_network, self.duplicates = {}, set()
        prefixes = Prefix.objects.filter(vrf=vrf, prefix__in=[str(network) for network in networks])
        for prefix in prefixes.exclude(pk=exclude_prefix).order_by("pk"):
            if exclude_prefix or prefix.prefix in self.by_network:
                self.duplicates.add(prefix.prefix)
            self.by_network.setdefault(prefix.prefix, prefix)
        taken = self._find_taken("prefix", networks, exclude_prefix)
        if any(network.version == 6 for network in networks):
            taken += self._find_taken("ipv6_prefix", networks, exclude_prefix)
        self.taken = sorted(map(_span, taken))
        self.claimed = set()

    def _find_taken(self, field, networks, exclude_prefix):
        """Return the networks of segments, by either of their prefixes, that can overlap `networks`."""
        taken = Segment.objects.filter(**{f"{field}__vrf": self.vrf}).exclude(**{field: exclude_prefix}).order_by()
        if len(networks) <= OVERLAP_LOOKUPS:
            overlaps = (
                Q(**{f"{field}__prefix__net_contains_or_equals": str(network)})
                | Q(**{f"{field}__prefix__net_contained": str(network)})
                for network in networks
            )
            taken = taken.filter(reduce(or_, overlaps, Q(pk__in=())))
        return list(taken.values_list(f"{field}__prefix", flat=True))

    def errors(self, network, field="prefix"):
        """Return {field: text} with the reason why a new segment cannot have this network."""
        if overlapping := self.overlapping(network):
            text = _("Prefix {prefix} overlaps another segment in VRF {vrf}: use a free one.")
            if overlapping in self.claimed or overlapping in self._nameable:
                text = _("Prefix {prefix} overlaps {other} of another segment in VRF {vrf}: use a free one.")
            return {field: text.format(prefix=network, other=overlapping, vrf=self.vrf)}
        existing = self.by_network.get(network)
        if existing and existing.status == "container":
            return {
                field: _("Prefix {prefix} is a container in VRF {vrf}: take a network inside it.").format(
                    prefix=network, vrf=self.vrf
                )
            }
        if network in self.duplicates:
            return {field: self.duplicate_text(network)}
        return {}

    def duplicate_text(self, network):
        """Return the error text for a network that is in the VRF more than once, which makes it ambiguous."""
        text = _("Prefix {prefix} is in VRF {vrf} more than once: delete the others.")
        return text.format(prefix=network, vrf=self.vrf)

    @cached_property
    def _nameable(self):
        """The networks of segments of the VRF that errors may name."""
        segments = nameable(Segment.objects).order_by()
        return {
            network
            for name in ("prefix", "ipv6_prefix")
            for network in segments.filter(**{f"{name}__vrf": self.vrf}).values_list(f"{name}__prefix", flat=True)
        }

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
        """Mark `network` as taken."""
        self.claimed.add(network)
        span = _span(network)
        self.taken.insert(bisect_left(self.taken, span), span)


def _span(network):
    """Return a network as (version, first address, last address, network), which sorts by address."""
    return network.version, network.first, network.last, network
