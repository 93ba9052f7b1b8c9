"""
Refuses edits and deletions, in NetBox's own pages or by a script, that do not fit segments and pools.

Edits that fit are carried over to the segment (see `followers`). Forms and REST check before they save and show the
reason at the field; a bare save() meets the same rules. Only changed fields are checked, so that existing
inconsistencies do not block unrelated edits.
"""

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Q
from django.utils.translation import gettext as _

from ipam.choices import PrefixStatusChoices
from ipam.models import Prefix, VLANGroup
from utilities.exceptions import AbortRequest

from ...choices import SegmentStatusChoices
from ...models import Allocation, Segment, SegmentPool
from ...models.deletion import protected_error
from ...validators import clean_epg_name
from ..base import hooks, transactions
from ..base.visibility import nameable
from . import usage
from .first_generation_fields import check_followed
from .locks import lock_status
from .prefix_status import prefix_status
from .spaces import Containers, PrefixSpace, family_errors, vid_range_errors

__all__ = (
    "check_container_deletion",
    "check_container_removal",
    "check_network",
    "check_prefix",
    "check_scope_deletion",
    "check_segment_deletion",
    "check_vlan",
    "check_vlan_group",
    "disabling",
    "find_outside",
    "find_segment_of",
    "may_name_network",
    "use_errors",
)


# The statuses of segments that clusters get, now or once a cool-down is over.
HANDED_OUT = (SegmentStatusChoices.AVAILABLE, SegmentStatusChoices.QUARANTINED)


def check_vlan(vlan):
    """
    Make sure that the VLAN of a segment may get the values of `vlan`; its name is trimmed.

    Within a transaction this locks the segment if the ID or name changes, so that no allocation of it begins.

    Raises:
        ValidationError: The VLAN leaves the pool's VLAN group or the group's ranges, its name is no EPG name, or its ID
            would change while a cluster holds the segment.
    """
    segment = Segment.objects.filter(vlan=vlan.pk).select_related("vlan", "pool__vlan_group").order_by().first()
    if segment is None:
        return
    errors = {}
    group = segment.pool.vlan_group
    if vlan.group_id not in (group.pk, segment.vlan.group_id):
        errors["group"] = _("The VLAN belongs to a segment of pool {pool}: it stays in VLAN group {group}.").format(
            pool=_name(segment.pool), group=group
        )
    if (vlan.vid, vlan.name) != (segment.vlan.vid, segment.vlan.name):
        lock_status(segment)
    if vlan.name != segment.vlan.name:
        try:
            vlan.name = clean_epg_name(vlan.name)
        except ValidationError as error:
            errors["name"] = error.messages
    if vlan.vid != segment.vlan.vid:
        if segment.status == SegmentStatusChoices.ALLOCATED:
            errors["vid"] = _("The VLAN's segment is allocated: release it before its VLAN ID changes.")
        elif veto := hooks.find_vetoes(hooks.RENUMBER, [segment.pk]):
            errors["vid"] = veto[segment.pk].message
        else:
            errors |= vid_range_errors(group, vlan.vid)
    if errors:
        raise ValidationError(errors)


def disabling(segment, reason):
    """Return {field: value} with the changes that disable `segment` for a reason."""
    values = {"status": SegmentStatusChoices.DISABLED, "disabled_reason": reason}
    return values | ({"quarantined_until": None} if segment.quarantined_until else {})


def check_prefix(prefix):
    """
    Make sure that the prefix of a segment, or the container of a pool, may get the values of `prefix`.

    Within a transaction this locks the VRF and the segment if the CIDR changes, so that no segment is created on the
    same network and no allocation of this one begins.

    Raises:
        ValidationError: A segment's prefix leaves its VRF, its VLAN or the pool's containers, overlaps another segment,
            gets a status other than the segment's, or would change while a cluster holds it; or a container leaves its
            VRF or its segments, or gets another status than Container; or another segment has the network.
    """
    errors = check_network(prefix)
    segment = find_segment_of(prefix)
    if segment:
        errors |= _segment_prefix_errors(segment, prefix)
    pools = SegmentPool.objects.filter(prefixes=prefix.pk).select_related("vrf").order_by("name")
    if pools:
        stored = Prefix.objects.get(pk=prefix.pk)
        for pool in pools:
            errors |= _container_errors(pool, prefix, stored)
    if errors:
        raise ValidationError(errors)


def check_network(prefix):
    """
    Return {field: text} with the error of a prefix that has, or is to have, the network of a segment in its VRF.

    Two prefixes of one network would mean two owners of it. NetBox refuses that itself in a VRF that enforces unique
    space.
    """
    # A segment is always in a VRF. A form reports an invalid network itself.
    if prefix.vrf_id is None or not prefix.prefix:
        return {}
    twins = Prefix.objects.filter(vrf=prefix.vrf_id, prefix=str(prefix.prefix)).exclude(pk=prefix.pk)
    if not twins.exclude(segment=None, ipv6_segment=None).order_by().exists():
        return {}
    # A prefix that exists twice already may be edited.
    if Prefix.objects.filter(pk=prefix.pk, vrf=prefix.vrf_id, prefix=str(prefix.prefix)).exists():
        return {}
    text = _("Prefix {prefix} belongs to a segment in VRF {vrf}: use that prefix, or another network.")
    return {"prefix": text.format(prefix=prefix.prefix, vrf=prefix.vrf)}


def find_segment_of(prefix):
    """Return the segment that has `prefix` as its prefix or IPv6 prefix, or None."""
    segments = Segment.objects.select_related("prefix", "ipv6_prefix", "pool__vrf", "vlan").order_by()
    return segments.filter(Q(prefix=prefix.pk) | Q(ipv6_prefix=prefix.pk)).first()


def _segment_prefix_errors(segment, prefix):
    errors = {}
    name = "ipv6_prefix" if segment.ipv6_prefix_id == prefix.pk else "prefix"
    stored = getattr(segment, name)
    if str(prefix.prefix) != str(stored.prefix):
        if connection.in_atomic_block:
            # NetBox may have written other rows before, in the same transaction.
            transactions.lock_spaces([segment.pool.vrf_id], exclude_netbox=False)
        lock_status(segment)
        if segment.status == SegmentStatusChoices.ALLOCATED:
            errors["prefix"] = _("The prefix's segment is allocated: release it before its prefix changes.")
        elif veto := hooks.find_vetoes(hooks.RENUMBER, [segment.pk]):
            errors["prefix"] = veto[segment.pk].message
        else:
            try:
                containers = Containers(segment.pool)
                clean = containers.clean_ipv6 if name == "ipv6_prefix" else containers.clean
                network = clean(prefix.prefix)
                errors |= PrefixSpace(segment.pool.vrf, [network], exclude_prefix=prefix.pk).errors(network)
                errors = errors or use_errors(segment, network)
                if name == "prefix" and segment.ipv6_prefix:
                    for text in family_errors(network, segment.ipv6_prefix.prefix).values():
                        errors["prefix"] = text
            except ValidationError as error:
                errors["prefix"] = error.messages
    if prefix.vrf_id not in (segment.pool.vrf_id, stored.vrf_id):
        errors["vrf"] = _("The prefix belongs to a segment of pool {pool}: it stays in VRF {vrf}.").format(
            pool=_name(segment.pool), vrf=segment.pool.vrf
        )
    if prefix.vlan_id not in (segment.vlan_id, stored.vlan_id):
        errors["vlan"] = _("The prefix belongs to a segment: it stays with VLAN {vlan}.").format(vlan=segment.vlan)
    if segment.pool.is_on_trial and name == "prefix":
        errors |= check_followed(segment, prefix)
    elif prefix.status not in (prefix_status(segment.pool, segment.status), stored.status):
        errors["status"] = _(
            "The prefix belongs to a segment, which is {status}: allocate or release the segment instead."
        ).format(status=segment.get_status_display().lower())
    return errors


def use_errors(segment, network, field="prefix", reasons=()):
    """
    Return {field: text} with the error of a segment that would get a network in use and may be handed out.

    Args:
        segment: The Segment. If a cluster holds it, that cluster may be the user of the network.
        network: The network that it is to get.
        field: The segment's field for the network.
        reasons: The texts of `usage.status_reasons` on the network's prefix.
    """
    if segment.status not in HANDED_OUT:
        return {}
    gateway = next((gateway for gateway in segment.gateways if gateway in network), None)
    (use,) = usage.find_use([usage.Network(None, segment.pool.vrf_id, (network,), (gateway,))])
    if not use and not reasons:
        return {}
    text = _("Prefix {prefix} is in use in VRF {vrf}: take a free one, or disable the segment first.")
    return {field: text.format(prefix=network, vrf=segment.pool.vrf)}


def _container_errors(pool, prefix, stored):
    errors = {}
    if prefix.vrf_id not in (pool.vrf_id, stored.vrf_id):
        errors["vrf"] = _("The prefix is a container of pool {pool}: it stays in VRF {vrf}.").format(
            pool=_name(pool), vrf=pool.vrf
        )
    if prefix.status not in (PrefixStatusChoices.STATUS_CONTAINER, stored.status):
        errors["status"] = _("The prefix is a container of pool {pool}: its status stays Container.").format(
            pool=_name(pool)
        )
    if str(prefix.prefix) != str(stored.prefix):
        others = pool.prefixes.exclude(pk=prefix.pk).values_list("prefix", flat=True)
        if outside := find_outside(pool, [*others, prefix.prefix]):
            text = _("Pool {pool} has segments outside {prefix}: keep them inside.")
            if may_name_network(pool, outside):
                text = _("Pool {pool} has segments outside {prefix}, such as {outside}: keep them inside.")
            errors["prefix"] = text.format(pool=_name(pool), prefix=prefix.prefix, outside=outside)
    return errors


def find_outside(pool, containers):
    """Return the network of a segment of `pool` that lies in no network of `containers`, or None."""
    for name in ("segment", "ipv6_segment"):
        prefixes = Prefix.objects.filter(**{f"{name}__pool": pool}).order_by()
        for container in containers:
            prefixes = prefixes.exclude(prefix__net_contained_or_equal=str(container))
        if outside := prefixes.values_list("prefix", flat=True).first():
            return outside
    return None


def may_name_network(pool, network):
    """Return whether an error may name `network`, the network of a segment of `pool`."""
    segments = nameable(Segment.objects).filter(pool=pool)
    return segments.filter(Q(prefix__prefix=str(network)) | Q(ipv6_prefix__prefix=str(network))).exists()


def _name(pool):
    """Return the name of `pool` in an error; its id if the error may not name it."""
    return str(pool) if nameable(SegmentPool.objects).filter(pk=pool.pk).exists() else f"#{pool.pk}"


def check_vlan_group(group):
    """
    Make sure that new ranges of a VLAN group have the VLAN IDs of all segments of its pools.

    Raises:
        ValidationError: A segment's VLAN ID lies outside.
    """
    segments = Segment.objects.filter(pool__vlan_group=group.pk).order_by("vid")
    for vids in group.vid_ranges:
        last = vids.upper if vids.upper_inc else vids.upper - 1
        first = vids.lower if vids.lower_inc else vids.lower + 1
        segments = segments.exclude(vid__range=(first, last))
    outside = segments.values_list("vid", flat=True).first()
    if outside and VLANGroup.objects.get(pk=group.pk).vid_ranges != group.vid_ranges:
        raise ValidationError(
            {"vid_ranges": _("VLAN ID {vid} belongs to a segment: keep it in a range.").format(vid=outside)}
        )


def check_container_deletion(prefix):
    """
    Make sure that no pool loses a container that its segments lie in.

    Raises:
        ProtectedError: A pool would be left with segments outside its containers, or with no container.
    """
    needing = []
    for pool in SegmentPool.objects.filter(prefixes=prefix.pk).order_by("name"):
        others = list(pool.prefixes.exclude(pk=prefix.pk).values_list("prefix", flat=True))
        if not others or find_outside(pool, others):
            needing.append(pool)
    if needing:
        raise protected_error(_("Segment pools hand out of this container."), needing)


def check_container_removal(pool, prefixes):
    """
    Make sure that a script leaves a pool the containers that its segments lie in, and at least one.

    The services check this themselves and set `checks_containers` on the pool, since segments may lie outside between
    the two halves of a set().

    Args:
        pool: The SegmentPool.
        prefixes: Ids of prefixes, or None for all.

    Raises:
        AbortRequest: A pool would be left with segments outside its containers, or with no container.
    """
    if pool.checks_containers:
        return
    others = [] if prefixes is None else pool.prefixes.exclude(pk__in=prefixes).values_list("prefix", flat=True)
    if not others or find_outside(pool, others):
        text = _("Pool {pool} hands out of this container: give the pool another one first.")
        raise AbortRequest(text.format(pool=_name(pool)))


def check_scope_deletion(place):
    """
    Make sure that no pool loses its scope.

    Raises:
        ProtectedError: A pool serves this region, site group, site or location.
    """
    pools = SegmentPool.objects.filter(
        scope_type__app_label=place._meta.app_label, scope_type__model=place._meta.model_name, scope_id=place.pk
    )
    if pools := list(pools):
        raise protected_error(_("Segment pools serve this place."), pools)


def check_segment_deletion(segment):
    """
    Make sure that no cluster holds the segment. Locks its row, so that no allocation of it begins.

    Raises:
        ProtectedError: A cluster holds the segment.
        AbortRequest: An optional part of the plugin refuses the deletion.
    """
    Segment.objects.select_for_update(of=("self",)).filter(pk=segment.pk).order_by().first()
    if holders := list(Allocation.objects.unreleased().filter(segment=segment)):
        raise protected_error(_("Clusters hold this segment; release it first."), holders)
    try:
        hooks.check_vetoes(hooks.DELETE, [segment.pk])
    except hooks.Vetoed as veto:
        raise AbortRequest(veto.message) from veto
