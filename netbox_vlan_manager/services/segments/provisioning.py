"""
Creates segments, with their VLANs and prefixes.

A VLAN or prefix that NetBox has already is used as it is. One that NetBox does not have is created, and is later
deleted with the segment. Callers check permissions.
"""

from functools import partial

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from ipam.choices import VLANStatusChoices
from ipam.models import VLAN, Prefix

from ...choices import SegmentStatusChoices
from ...exceptions import Busy
from ...models import Segment, SegmentPool
from ..base import audit, hooks, operations, transactions
from ..base.visibility import nameable
from . import usage
from .gateways import IP_ADDRESSES, KnownAddresses, plan_addresses
from .hierarchy import create_prefixes
from .prefix_status import prefix_status
from .spaces import Containers, PrefixSpace, VLANSpace
from .specs import NEW_STATUSES, clean_spec
from .unmigrated import Held
from .validation import set_custom_fields, validate, validate_prefix

__all__ = (
    "build_segments_locked",
    "create_segment",
    "plan_prefix",
)


def create_segment(pool, *, user, vid, epg_name, prefix, status="", **fields):
    """
    Create a segment with its VLAN and prefix, all of them or none.

    An existing VLAN of that ID and name, or prefix of that CIDR, becomes the segment's if it is in no segment yet.
    Otherwise they are created, and later deleted with the segment. If something in NetBox uses them, the segment is
    disabled, with the reason, unless the caller gives a status. Locks the VRF and the VLAN group until the transaction
    ends.

    Args:
        pool: The SegmentPool.
        user: The User, or the user name, for the change log.
        vid: VLAN ID, 1 to 4094, in the ranges of the pool's VLAN group.
        epg_name: The VLAN's name.
        prefix: CIDR inside the pool's containers.
        status: One of NEW_STATUSES, even if something uses them; empty for the rule above.
        fields: ipv6_prefix, a CIDR inside the containers beside an IPv4 prefix; gateway and ipv6_gateway, addresses of
            the prefixes, empty for the pool's rule; dhcp, description, comments, owner, custom_field_data,
            changelog_message; vlan_custom_fields and prefix_custom_fields, {name: value}, for the
            new VLAN and prefixes.

    Returns:
        The Segment.

    Raises:
        ValidationError: Keyed by field; nothing was created.
        Busy: Locks were not had in time; nothing was created.
    """
    with operations.track("create segment", pool=pool, vid=vid, prefix=prefix, user=user) as operation:
        user = audit.get_user(user)
        if status not in ("", *NEW_STATUSES):
            text = _("A new segment has one of these statuses: {statuses}.").format(statuses=", ".join(NEW_STATUSES))
            raise ValidationError({"status": text})
        with operations.part("checks"):
            typed = {"vid": vid, "epg_name": epg_name, "prefix": prefix}
            spec = clean_spec(pool, Containers(pool), **typed, status=status, **fields)
        with audit.change_tracking(user):
            segment = transactions.run(partial(_create_segment_locked, spec))
        operation.outcome = "created"
        return segment


def _create_segment_locked(spec):
    transactions.lock_spaces([spec.pool.vrf_id], [spec.pool.vlan_group_id])
    (segment,), (errors,) = build_segments_locked([spec])
    if errors:
        raise ValidationError(errors)
    return segment


def build_segments_locked(specs, pools_locked=False, may_hold=False):
    """
    Create the segments of `specs` that fit in, with a number of statements that hardly grows with the number of specs.

    The caller holds `transactions.lock_spaces` for their VRFs and VLAN groups, in a transaction.

    Args:
        specs: SegmentSpecs, of any number of pools.
        pools_locked: Whether the caller read the pools of the specs under these locks. Otherwise the pools are checked
            for changes since.
        may_hold: Whether to take prefixes that clusters of the first generation hold. The caller then allocates the
            segments to these clusters.

    Returns:
        Two lists, each as long as `specs`: the Segment or None, and {field: text} with the errors.

    Raises:
        Busy: A pool was changed before the locks were taken.
    """
    if not pools_locked:
        _check_pools_unchanged(specs)
    segments, errors = _plan_segments(specs, may_hold)
    _disable_used(specs, segments)
    _write_segments([segment for segment in segments if segment])
    return segments, errors


def _plan_segments(specs, may_hold):
    """Return, for each spec, the unsaved Segment or None, and {field: text} with the errors."""
    vlan_spaces, prefix_spaces = _spaces(specs)
    unmigrated = Held([] if may_hold else {spec.pool for spec in specs})
    known = KnownAddresses(
        (spec.pool.vrf_id, gateway)
        for spec in specs
        if spec.pool.create_gateways
        for gateway in spec.gateways.values()
        if gateway
    )
    plans, errors = [], []
    for spec in specs:
        vlan_space = vlan_spaces[spec.pool.vlan_group_id]
        prefix_space = prefix_spaces[spec.pool.vrf_id]
        problems = vlan_space.errors(spec.vid, spec.epg_name)
        for name, network in spec.networks.items():
            problems |= prefix_space.errors(network, name)
        problems |= unmigrated.errors(spec.pool, vlan_space.by_vid.get(spec.vid), spec.networks)
        plan = None
        if not problems:
            plan, problems = _plan(spec, vlan_space, prefix_space)
            plan_addresses(plan, known, problems)
        if not problems:
            vlan_space.claim(plan.vlan)
            for network in spec.networks.values():
                prefix_space.claim(network)
        plans.append(None if problems else plan)
        errors.append(problems)
    return plans, errors


def _write_segments(segments):
    """Save new segments with their VLANs and prefixes; update those that NetBox has already."""
    audit.create([segment.vlan for segment in segments if segment.owns_vlan])
    owned, adopted = [], []
    for segment in segments:
        # Not the status of the spec, which may leave it open.
        status = prefix_status(segment.pool, segment.status)
        for prefix in segment.get_prefixes(owned=True):
            prefix.vlan, prefix.status = segment.vlan, status
            owned.append(prefix)
        for prefix in segment.get_prefixes(owned=False):
            changes = {} if prefix.vlan_id == segment.vlan.pk else {"vlan": segment.vlan}
            if prefix.status != status:
                changes["status"] = status
            if changes:
                adopted.append((prefix, changes))
        if segment.status == SegmentStatusChoices.AVAILABLE and segment.vlan.status != VLANStatusChoices.STATUS_ACTIVE:
            # The caller says that the segment is free. A VLAN that is handed out is active.
            adopted.append((segment.vlan, {"status": VLANStatusChoices.STATUS_ACTIVE}))
    audit.write(updates=adopted)
    create_prefixes(owned)
    addresses = [getattr(segment, name) for segment in segments for name in IP_ADDRESSES.values()]
    audit.create([address for address in addresses if address])
    audit.create(segments)
    hooks.send(hooks.segments_changed, [segment.pk for segment in segments])


def _disable_used(specs, segments):
    """Disable the new segments that are in use, where their specs leave the status open; some segments are None."""
    doubtful = [segment for spec, segment in zip(specs, segments, strict=True) if segment and not spec.status]
    uses = usage.find_use([usage.Network.of(segment) for segment in doubtful])
    for segment, use in zip(doubtful, uses, strict=True):
        vlan = None if segment.owns_vlan else segment.vlan
        reasons = usage.status_reasons(vlan, segment.get_prefixes(owned=False))
        if reason := usage.disabled_reason(reasons, use):
            segment.status, segment.disabled_reason = SegmentStatusChoices.DISABLED, reason


def _check_pools_unchanged(specs):
    """
    Make sure that the pools have not changed since the specs were checked against them, before the locks.

    Raises:
        Busy: Another transaction changed a pool. The same call, made again, reads the pool as it is now.
    """
    pools = {spec.pool.pk: spec.pool for spec in specs}
    names = ("vrf_id", "vlan_group_id", "scope_type_id", "scope_id")
    containers = {}
    for now in SegmentPool.objects.filter(pk__in=pools).prefetch_related("prefixes").order_by():
        checked = pools[now.pk]
        if all(getattr(now, name) == getattr(checked, name) for name in names):
            containers[now.pk] = [prefix.prefix for prefix in now.prefixes.all()]
    for spec in specs:
        pool_containers = containers.get(spec.pool.pk, ())
        if not all(any(network in one for one in pool_containers) for network in spec.networks.values()):
            raise Busy


def _spaces(specs):
    """Return the VLANSpaces by VLAN group id and the PrefixSpaces by VRF id that `specs` need."""
    groups, vrfs, vids, names, networks = {}, {}, {}, {}, {}
    for spec in specs:
        pool = spec.pool
        groups[pool.vlan_group_id] = pool.vlan_group
        vrfs[pool.vrf_id] = pool.vrf
        vids.setdefault(pool.vlan_group_id, []).append(spec.vid)
        names.setdefault(pool.vlan_group_id, []).append(spec.epg_name)
        networks.setdefault(pool.vrf_id, []).extend(spec.networks.values())
    return (
        {pk: VLANSpace(group, vids[pk], names[pk]) for pk, group in groups.items()},
        {pk: PrefixSpace(vrf, networks[pk]) for pk, vrf in vrfs.items()},
    )


def _plan(spec, vlan_space, prefix_space):
    """
    Return the unsaved Segment of `spec`, with its VLAN and prefixes as found or yet to be saved, and {field: text}.

    NetBox's own validation, custom validators included, runs on all new objects. It leaves out the checks that the
    spaces have made already, and foreign keys that come from the pool, since each would be a query for every row.
    """
    pool, errors = spec.pool, {}
    vlan, owns_vlan = _plan_vlan(spec, vlan_space, errors)
    prefixes, owns = {}, {}
    for name, network in spec.networks.items():
        prefixes[name], owns[f"owns_{name}"] = plan_prefix(spec, vlan, network, name, prefix_space, errors)
    segment = Segment(
        pool=pool,
        vid=spec.vid,
        dhcp=spec.dhcp,
        description=spec.description,
        comments=spec.comments,
        owner=spec.owner,
        changelog_message=spec.changelog_message,
        status=spec.status or SegmentStatusChoices.AVAILABLE,
        disabled_reason=spec.disabled_reason,
        quarantined_until=spec.quarantined_until,
        owns_vlan=owns_vlan,
        **spec.gateways,
        **owns,
    )
    if set_custom_fields(segment, "custom_fields", errors, pool.segment_custom_fields, spec.custom_field_data):
        validate(segment, errors, {"description": "description", "comments": "comments"}, "vid")
    segment.vlan = vlan
    for name, prefix in prefixes.items():
        setattr(segment, name, prefix)
    return segment, errors


def _plan_vlan(spec, vlan_space, errors):
    """Return the VLAN of `spec`, as found or yet to be saved, and whether it is new; add texts to `errors`."""
    pool = spec.pool
    vlan = vlan_space.by_vid.get(spec.vid)
    if vlan is None:
        vlan = VLAN(
            group=pool.vlan_group,
            vid=spec.vid,
            name=spec.epg_name,
            tenant=pool.tenant,
            role=pool.role,
            status=VLANStatusChoices.STATUS_ACTIVE,
        )
        values = pool.vlan_custom_fields, spec.vlan_custom_fields
        if set_custom_fields(vlan, "vlan_custom_fields", errors, *values):
            validate(vlan, errors, {"name": "epg_name"}, "vid")
        return vlan, True
    if spec.vlan_custom_fields:
        text = _("VLAN {vid} is there already and keeps its own: leave these out.")
        errors["vlan_custom_fields"] = text.format(vid=spec.vid)
    return vlan, False


def plan_prefix(spec, vlan, network, name, prefix_space, errors):
    """
    Return the prefix of a network, found or yet to be saved, and whether it is new.

    Args:
        spec: The SegmentSpec.
        vlan: The segment's VLAN.
        network: The network.
        name: The segment's field for it.
        prefix_space: The PrefixSpace of the pool's VRF.
        errors: {field: texts}, to which error texts are added.
    """
    pool = spec.pool
    prefix = prefix_space.by_network.get(network)
    if prefix is None:
        prefix = Prefix(prefix=network, vrf=pool.vrf, tenant=pool.tenant, role=pool.role, status=spec.prefix_status)
        # The guard of new prefixes need not look: the PrefixSpace has checked all of them at once.
        prefix.has_place = True
        values = pool.prefix_custom_fields, spec.prefix_custom_fields
        if set_custom_fields(prefix, "prefix_custom_fields", errors, *values):
            validate_prefix(prefix, pool.scope, name, errors)
        return prefix, True
    if spec.prefix_custom_fields:
        text = _("Prefix {prefix} is there already and keeps its own: leave these out.")
        errors["prefix_custom_fields"] = text.format(prefix=prefix)
    if prefix.vlan_id and prefix.vlan_id != vlan.pk:
        text = _("Prefix {prefix} belongs to another VLAN: use another prefix.")
        if nameable(VLAN.objects).filter(pk=prefix.vlan_id).exists():
            text = _("Prefix {prefix} belongs to VLAN {vlan}: use another prefix, or that VLAN.")
        errors[name] = text.format(prefix=prefix, vlan=prefix.vlan)
    return prefix, False
