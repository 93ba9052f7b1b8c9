"""
Keeps segments and pools true when their parts are edited or deleted in NetBox's own pages, or by a script.

An edit that fits is followed (a VLAN's new ID appears on its segment); one that does not is refused with a reason.
Forms and REST ask before they save and show the reason at the field; a bare save() meets the same rules. Only what
changes is asked about, so that whatever is wrong already stands in the way of no other edit.
"""

from copy import copy

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from ipam.choices import PrefixStatusChoices, VLANStatusChoices
from ipam.models import VLAN, Prefix, VLANGroup
from utilities.exceptions import AbortRequest

from ...choices import SegmentStatusChoices
from ...models import Allocation, Segment, SegmentPool
from ...models.deletion import name_viewed_only, protected_error
from ...settings import get_setting
from ...validators import clean_epg_name
from ..base import audit, transactions
from ..base.visibility import nameable
from . import usage
from .first_generation_fields import check_followed
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
    "delete_owned_objects",
    "detach_prefix",
    "disabling",
    "find_outside",
    "follow_prefix",
    "follow_segment",
    "follow_vlan",
    "may_name_network",
    "prefix_status",
    "use_errors",
)


# What a segment is that a cluster gets, or will get once a cool-down is over.
HANDED_OUT = (SegmentStatusChoices.AVAILABLE, SegmentStatusChoices.QUARANTINED)


def check_vlan(vlan):
    """
    Make sure that a VLAN which a segment uses may become what `vlan` says; its name is trimmed.

    Within a transaction this locks the segment when its ID or name changes, so that no allocation of it begins.

    Raises:
        ValidationError: It leaves the pool's VLAN group or the group's ranges, its name is no EPG name, or its ID would
            change while a cluster holds the segment.
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
        _lock(segment)
    if vlan.name != segment.vlan.name:
        try:
            vlan.name = clean_epg_name(vlan.name)
        except ValidationError as error:
            errors["name"] = error.messages
    if vlan.vid != segment.vlan.vid:
        if segment.status == SegmentStatusChoices.ALLOCATED:
            errors["vid"] = _("The VLAN's segment is allocated: release it before its VLAN ID changes.")
        else:
            errors |= vid_range_errors(group, vlan.vid)
    if errors:
        raise ValidationError(errors)


def _lock(segment):
    """Within a transaction, lock the row of `segment` and read its status again."""
    if connection.in_atomic_block:
        rows = Segment.objects.select_for_update(no_key=True).filter(pk=segment.pk).order_by()
        segment.status = rows.values_list("status", flat=True).first()


def follow_vlan(vlan):
    """
    Carry a VLAN's ID and name over to its segment, which counts as changed, and to the allocation that holds it.

    A VLAN that is not active is handed out to nobody: its segment is disabled, unless a cluster holds it.
    """
    segments = Segment.objects.select_related("pool__vrf", "prefix", "ipv6_prefix").order_by()
    segment = segments.filter(vlan=vlan.pk).first()
    if segment is None:
        return
    segment.vlan = vlan
    values = {} if segment.vid == vlan.vid else {"vid": vlan.vid}
    if vlan.status != VLANStatusChoices.STATUS_ACTIVE and segment.status in HANDED_OUT:
        _lock(segment)
        if segment.status in HANDED_OUT:
            values |= disabling(segment, ", ".join(usage.status_reasons(vlan, ())))
    if values:
        _save(segment, **values)
    else:
        _touch(segment)
    follow_segment(segment)


def disabling(segment, reason):
    """Return {field: value} with what `segment` has to become to be disabled for a reason."""
    values = {"status": SegmentStatusChoices.DISABLED, "disabled_reason": reason}
    return values | ({"quarantined_until": None} if segment.quarantined_until else {})


def _save(instance, **values):
    if audit.is_system():
        # The system's changes, which NetBox's own change log would ask for their user.
        audit.update(instance, **values)
        return
    # By save(), not by `audit`: an edit of the VLAN or prefix need not track changes.
    instance.snapshot()
    for name, value in values.items():
        setattr(instance, name, value)
    instance.save(update_fields=(*values, "last_updated"))


def _touch(segment):
    """
    Give a segment, whose parts have changed, a new time of change: its ETag is made of it. Who changed the parts is in
    their change log.
    """
    Segment.objects.filter(pk=segment.pk).update(last_updated=timezone.now())


def check_prefix(prefix):
    """
    Make sure that a prefix which a segment or a pool uses may become what `prefix` says.

    Within a transaction this locks the VRF and the segment when its CIDR changes, so that no segment can be made in the
    same place and no allocation of this one begins.

    Raises:
        ValidationError: A segment's prefix leaves its VRF, its VLAN or the pool's containers, overlaps another segment,
            gets a status other than the segment's, or would change while a cluster holds it; or a container leaves its
            VRF or its segments, or becomes something else than a container; or the network is a segment's already.
    """
    errors = check_network(prefix)
    segment = _find_segment(prefix)
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
    Return {field: text} with what is wrong with a prefix that has, or is to have, the network of a segment in its VRF.

    Two prefixes of one network are two owners of it. A VRF that enforces unique space refuses that by itself.
    """
    # A segment is always in a VRF. A form without a valid network says so itself.
    if prefix.vrf_id is None or not prefix.prefix:
        return {}
    twins = Prefix.objects.filter(vrf=prefix.vrf_id, prefix=str(prefix.prefix)).exclude(pk=prefix.pk)
    if not twins.exclude(segment=None, ipv6_segment=None).order_by().exists():
        return {}
    # One that is there twice already may be edited.
    if Prefix.objects.filter(pk=prefix.pk, vrf=prefix.vrf_id, prefix=str(prefix.prefix)).exists():
        return {}
    text = _("Prefix {prefix} belongs to a segment in VRF {vrf}: use that prefix, or another network.")
    return {"prefix": text.format(prefix=prefix.prefix, vrf=prefix.vrf)}


def _find_segment(prefix):
    """Return the segment that has `prefix` as one of its two, or None."""
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
        _lock(segment)
        if segment.status == SegmentStatusChoices.ALLOCATED:
            errors["prefix"] = _("The prefix's segment is allocated: release it before its prefix changes.")
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
    Return {field: text} with what keeps a segment that is handed out to any caller from getting a network in use.

    Args:
        segment: The Segment. A cluster that holds one may be what uses the network.
        network: What it is to get.
        field: Its field for it.
        reasons: What the statuses say against it (see `usage.status_reasons`).
    """
    if segment.status not in HANDED_OUT:
        return {}
    (use,) = usage.find_use([usage.Network(None, segment.pool.vrf_id, (network,))])
    if not use and not reasons:
        return {}
    text = _("Prefix {prefix} is in use in VRF {vrf}: take a free one, or disable the segment first.")
    return {field: text.format(prefix=network, vrf=segment.pool.vrf)}


def prefix_status(pool, segment_status):
    """Return the status that the prefixes of a segment of `pool` in that status have to have."""
    is_held = pool.keeps_prefix(segment_status)
    return get_setting("prefix_status_allocated" if is_held else "prefix_status_available")


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
    """Return the network of a segment of `pool` that lies in none of `containers`, or None."""
    for name in ("segment", "ipv6_segment"):
        prefixes = Prefix.objects.filter(**{f"{name}__pool": pool}).order_by()
        for container in containers:
            prefixes = prefixes.exclude(prefix__net_contained_or_equal=str(container))
        if outside := prefixes.values_list("prefix", flat=True).first():
            return outside
    return None


def may_name_network(pool, network):
    """Return whether an error may name `network`, that of a segment of `pool`."""
    segments = nameable(Segment.objects).filter(pool=pool)
    return segments.filter(Q(prefix__prefix=str(network)) | Q(ipv6_prefix__prefix=str(network))).exists()


def _name(pool):
    """Return what an error calls `pool`: by its id where it may not name it."""
    return str(pool) if nameable(SegmentPool.objects).filter(pk=pool.pk).exists() else f"#{pool.pk}"


def follow_prefix(prefix):
    """
    Carry a prefix's CIDR over to the allocation that holds its segment, which counts as changed; return it, or None.
    """
    if segment := _find_segment(prefix):
        setattr(segment, "ipv6_prefix" if segment.ipv6_prefix_id == prefix.pk else "prefix", prefix)
        _touch(segment)
        follow_segment(segment)
    return segment


def follow_segment(segment):
    """Copy the VLAN ID, name and prefixes of `segment` to its active allocations."""
    names = ("vid", "epg_name", "prefix", "ipv6_prefix")
    for allocation in Allocation.objects.unreleased().filter(segment=segment).order_by():
        now = copy(allocation)
        now.record_segment(segment)
        values = {name: getattr(now, name) for name in names}
        if values != {name: getattr(allocation, name) for name in names}:
            _save(allocation, **values)


def check_vlan_group(group):
    """
    Make sure that new ranges of a VLAN group still hold every segment of its pools.

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
    Make sure that no pool loses the container of its segments.

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
    Make sure that a script which takes containers out of a pool leaves it those of its segments, and one at least.

    The services ask before, and set `checks_containers` on the pool: between the two halves of a set() there may be
    segments outside.

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
    Make sure that no pool is left without its scope.

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
    Make sure that nobody holds the segment. Locks its row, so that nobody can come to hold it.

    Raises:
        ProtectedError: A cluster holds it.
    """
    Segment.objects.select_for_update(of=("self",)).filter(pk=segment.pk).order_by().first()
    if holders := list(Allocation.objects.unreleased().filter(segment=segment)):
        raise protected_error(_("Clusters hold this segment; release it first."), holders)


def detach_prefix(prefix):
    """Take a prefix, which was there before its segment, away from the VLAN that was made with the segment."""
    prefix.snapshot()
    prefix.vlan = None
    prefix.save()


def delete_owned_objects(segment):
    """
    Delete the prefixes and the VLAN that were made with `segment`, which is gone.

    Raises:
        ProtectedError: Something else in NetBox uses one of them. It lists what the user may view.
    """
    with name_viewed_only():
        for prefix in segment.get_prefixes(owned=True):
            prefix.delete()
        if segment.owns_vlan:
            for prefix in segment.get_prefixes(owned=False):
                detach_prefix(prefix)
            for vlan in VLAN.objects.filter(pk=segment.vlan_id):
                vlan.delete()
