"""
Makes, changes and removes pools and segments, with the VLANs and prefixes behind them.

VLANs, prefixes, VLAN groups and containers are taken as they are where NetBox has them, and made where it has not; site
groups, sites, VRFs, tenants and roles are only looked up. What was made with a segment goes with it; what was there
before stays. Permissions are the caller's business.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import chain, count
from operator import or_

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.backends.postgresql.psycopg_any import NumericRange
from django.db.models import CharField, Q, Value
from django.db.models.functions import Cast, Concat
from django.utils.text import slugify
from django.utils.translation import gettext as _
from netaddr import IPNetwork

from extras.models import CustomField
from ipam.choices import PrefixStatusChoices, VLANStatusChoices
from ipam.models import VLAN, Prefix, VLANGroup
from ipam.signals import handle_prefix_saved
from netbox.signals import post_clean

from ...choices import SegmentStatusChoices
from ...exceptions import Busy, SegmentInUse
from ...models import Segment, SegmentPool
from ...validators import clean_cidr, clean_epg_name, clean_vid, pool_errors
from ..base import audit, custom_fields, operations, transactions
from ..base.visibility import check_change_of_others, nameable
from . import guards, usage
from .spaces import Containers, PrefixSpace, VLANSpace, family_errors
from .unmigrated import Held

__all__ = (
    "CHECKED_FIELDS",
    "NEW_STATUSES",
    "SegmentSpec",
    "build_segments",
    "check_containers",
    "check_saved_pool",
    "clean_spec",
    "create_pool",
    "create_segment",
    "delete_segment",
    "get_container",
    "get_vlan_group",
    "hidden_containers",
    "update_pool",
    "update_segment",
    "update_segment_in_transaction",
    "update_segments_in_transaction",
)

# What a caller may say of a new segment that nobody holds, whatever NetBox knows of its use.
NEW_STATUSES = (SegmentStatusChoices.AVAILABLE, SegmentStatusChoices.DISABLED)

# Beyond so many new prefixes it is cheaper to count the hierarchy of the whole VRF than around each of them.
HIERARCHY_SWEEP = 20
# Where a prefix is while it changes places with another: an address that no segment can have.
NOWHERE = "::/128"
# What of a pool has to agree with its segments and containers.
CHECKED_FIELDS = (
    "vrf",
    "vlan_group",
    "min_prefix_length",
    "max_prefix_length",
    "auto_grow",
    "grow_prefix_length",
    "grow_ipv6_prefix_length",
)
# How many of the containers that a pool may not share an error names.
NETWORKS_NAMED = 5


@dataclass(frozen=True)
class SegmentSpec:
    """What a new segment shall be; its values are clean (see `clean_spec`)."""

    pool: SegmentPool
    vid: int
    epg_name: str
    prefix: object  # netaddr.IPNetwork
    ipv6_prefix: object = None
    dhcp: bool = False
    description: str = ""
    comments: str = ""
    owner: object = None
    # Beside what the pool has for them, {name: value}.
    custom_field_data: dict = field(default_factory=dict)
    vlan_custom_fields: dict = field(default_factory=dict)
    prefix_custom_fields: dict = field(default_factory=dict)
    changelog_message: str = ""
    # Empty: disabled if NetBox knows that something uses its VLAN or networks (see `usage`), else available.
    # Allocations of one that comes allocated are the caller's business, in the same transaction.
    status: str = ""
    disabled_reason: str = ""
    quarantined_until: object = None

    @property
    def prefix_status(self):
        """Return the status that its prefixes get."""
        return guards.prefix_status(self.pool, self.status)

    @property
    def networks(self):
        """Return the networks by the name of their field: one, or two."""
        both = {"prefix": self.prefix, "ipv6_prefix": self.ipv6_prefix}
        return {name: network for name, network in both.items() if network is not None}


def create_pool(
    *,
    user,
    vrf,
    scope,
    prefixes,
    name="",
    slug="",
    vlan_group=None,
    vid_ranges=None,
    enforce=False,
    **fields,
):
    """
    Create a pool, together with its VLAN group and containers where they are not there yet. Locks the VRF.

    Args:
        user: The User, or the user name, whom the change log names.
        vrf: The VRF that the pool hands out in.
        scope: The Region, SiteGroup, Site or Location that it serves.
        prefixes: Its containers: Prefixes of that VRF, or CIDRs.
        name: Empty: "<VRF> <scope>", with the VRF's RD or ids where that is taken.
        slug: Empty: made from the name, with ids where it gives none or one that is taken.
        vlan_group: The VLANGroup; None takes or makes one (see `get_vlan_group`).
        vid_ranges: The VLAN IDs of a group that is made: (first, last) pairs; None stands for 1 to 4094.
        enforce: Hold the user to the permission to change the pools whose VLAN group or containers the pool shares.
        fields: Any other field of SegmentPool, and changelog_message.

    Returns:
        The SegmentPool.

    Raises:
        ValidationError: A value is not valid; nothing was made.
        PermissionDenied: The pool would share what the user may not share; nothing was made.
        Busy: Locks were not had in time; nothing was made.
    """
    user = audit.get_user(user)
    with operations.track("create pool", vrf=vrf, scope=scope, user=user), audit.change_tracking(user):
        sharer = user if enforce else None
        return transactions.run(
            partial(_create_pool, vrf, scope, prefixes, name, slug, vlan_group, vid_ranges, sharer, fields)
        )


def _create_pool(vrf, scope, prefixes, name, slug, vlan_group, vid_ranges, sharer, fields):
    transactions.lock_spaces([vrf.pk])
    pools = SegmentPool.objects.order_by()
    if not name:
        name = next(name for name in _names(vrf, scope, " ") if not pools.filter(name=name).exists())
    tenant, role = fields.get("tenant"), fields.get("role")
    _check_custom_fields(fields)
    vlan_group = vlan_group or get_vlan_group(vrf, scope, vid_ranges, tenant=tenant)
    containers = _get_containers(prefixes, vrf, scope, tenant, role, fields.get("prefix_custom_fields"))
    slug = slug or _make_slug(pools, name, vrf, scope)
    pool = SegmentPool(vrf=vrf, scope=scope, vlan_group=vlan_group, name=name, slug=slug, **fields)
    pool.full_clean()
    check_containers(pool, containers)
    if sharer is not None:
        _check_sharing(pool, sharer, vlan_group, containers)
    pool.save()
    pool.prefixes.set(containers)
    return pool


def _check_sharing(pool, user, vlan_group, containers):
    """
    Make sure that `user` may let `pool` live from what other pools live from.

    Args:
        pool: The SegmentPool.
        user: The User.
        vlan_group: The VLANGroup that the pool gets, or None where it keeps its own.
        containers: Those Prefixes that the pool gets.

    Raises:
        PermissionDenied: It shares the group, or a network of the containers, with a pool that they may not change.
    """
    others = SegmentPool.objects.exclude(pk=pool.pk)
    if vlan_group is not None:
        subject = _("VLAN group {group}").format(group=vlan_group)
        check_change_of_others(others.filter(vlan_group=vlan_group), user, subject)
    networks = [str(prefix.prefix) for prefix in containers]
    overlapping = (Q(prefix__net_contains_or_equals=one) | Q(prefix__net_contained_or_equal=one) for one in networks)
    prefixes = Prefix.objects.filter(reduce(or_, overlapping, Q(pk__in=())), vrf=pool.vrf)
    subject = _("The space of {networks}").format(networks=", ".join(networks[:NETWORKS_NAMED]))
    check_change_of_others(others.filter(prefixes__in=prefixes.order_by()), user, subject)


def update_pool(pool, *, user, enforce=False, **values):
    """
    Change a pool, together with its containers; those that are not there yet are made.

    Locks its VRF and VLAN group, and those that it moves to, until the transaction ends.

    Args:
        pool: The SegmentPool.
        user: The User, or the user name, whom the change log names.
        enforce: Hold the user to their object permissions: containers that they may not view stay, and to share a VLAN
            group or a container with other pools takes the permission to change these.
        values: Any field of SegmentPool, and changelog_message. The prefixes, Prefixes of the VRF or CIDRs, replace the
            containers.

    Returns:
        The SegmentPool, as it is now.

    Raises:
        ValidationError: Keyed by field; nothing was changed.
        PermissionDenied: The pool would share what the user may not share; nothing was changed.
        Busy: Locks were not had in time; nothing was changed.
    """
    user = audit.get_user(user)
    with operations.track("update pool", pool=pool, user=user), audit.change_tracking(user):
        return transactions.run(partial(_update_pool, pool.pk, values, user if enforce else None))


def _update_pool(pk, values, sharer=None):
    pool = SegmentPool.objects.get(pk=pk)
    vrfs, vlan_groups = {pool.vrf_id}, {pool.vlan_group_id}
    if values.get("vrf"):
        vrfs.add(values["vrf"].pk)
    if values.get("vlan_group"):
        vlan_groups.add(values["vlan_group"].pk)
    transactions.lock_spaces(vrfs, vlan_groups)

    pool = SegmentPool.objects.select_related("vrf", "vlan_group").get(pk=pk)
    before = pool.vrf, pool.vlan_group
    checked_before = _checked_values(pool, pool.prefixes.all())
    pool.snapshot()
    for name, value in values.items():
        if name != "prefixes":
            setattr(pool, "_changelog_message" if name == "changelog_message" else name, value)
    pool.full_clean()
    _check_custom_fields(values)
    own = list(pool.prefixes.all())
    prefixes = values.get("prefixes", own)
    if sharer is not None and "prefixes" in values:
        hidden = hidden_containers(pool, sharer)
        if hidden and pool.vrf != before[0]:
            text = _("The pool has containers that you may not view, in VRF {vrf}: it stays there.")
            raise ValidationError({"vrf": text.format(vrf=before[0])})
        prefixes = [*prefixes, *hidden]
    containers = _get_containers(prefixes, pool.vrf, pool.scope, pool.tenant, pool.role, pool.prefix_custom_fields)
    _check_segments_stay(pool, containers, *before)
    # What is there already stands in the way of no other change; the drift report has it.
    if _checked_values(pool, containers) != checked_before:
        check_containers(pool, containers)
    if sharer is not None:
        vlan_group = pool.vlan_group if pool.vlan_group != before[1] else None
        _check_sharing(pool, sharer, vlan_group, [prefix for prefix in containers if prefix not in own])
    pool.checks_containers = True
    pool.save()
    pool.prefixes.set(containers)
    pool.checks_containers = False
    return pool


def _check_custom_fields(values):
    """Make sure that those of a pool's `values` which are for what it makes are of custom fields that are there."""
    errors = {}
    for name, model in custom_fields.POOL_FIELDS.items():
        if texts := custom_fields.value_errors(model, values.get(name, {})):
            errors[name] = texts
    if errors:
        raise ValidationError(errors)


def _checked_values(pool, containers):
    """Return what `check_containers` looks at."""
    names = ("vrf_id", "min_prefix_length", "max_prefix_length", "auto_grow", "grow_prefix_length")
    values = [getattr(pool, name) for name in (*names, "grow_ipv6_prefix_length")]
    return values, {(prefix.pk, str(prefix.prefix)) for prefix in containers}


def check_saved_pool(pool):
    """
    Make sure that a pool may become what `pool` says, where a script saves it, past `update_pool`. Locks as that does.

    Raises:
        ValidationError: Keyed by field.
    """
    stored = SegmentPool.objects.select_related("vrf", "vlan_group").filter(pk=pool.pk).first()
    # What is wrong already stands in the way of no other change.
    columns = [SegmentPool._meta.get_field(name).attname for name in CHECKED_FIELDS]
    if stored is None or all(getattr(stored, name) == getattr(pool, name) for name in columns):
        return
    if connection.in_atomic_block:
        transactions.lock_spaces({stored.vrf_id, pool.vrf_id}, {stored.vlan_group_id, pool.vlan_group_id})
    containers = list(pool.prefixes.all())
    pool.full_clean(exclude=pool.hot_columns)
    _check_segments_stay(pool, containers, stored.vrf, stored.vlan_group)
    check_containers(pool, containers)


def hidden_containers(pool, user):
    """Return the containers of `pool` that `user` may not view, which they can neither name nor take away."""
    viewed = Prefix.objects.restrict(user, "view").order_by().values("pk")
    return list(pool.prefixes.exclude(pk__in=viewed))


def _check_segments_stay(pool, containers, vrf, vlan_group):
    """Make sure that what `pool` is about to become still holds its segments, which are in `vrf` and `vlan_group`."""
    errors = {}
    if pool.vrf != vrf:
        errors["vrf"] = _("The pool's segments are in VRF {vrf}: it stays there while it has any.").format(vrf=vrf)
    if pool.vlan_group != vlan_group:
        errors["vlan_group"] = _(
            "The pool's segments are in VLAN group {group}: it stays there while it has any."
        ).format(group=vlan_group)
    if outside := guards.find_outside(pool, [prefix.prefix for prefix in containers]):
        text = _("The pool has segments outside these containers: keep theirs.")
        if guards.may_name_network(pool, outside):
            text = _("The pool has segments outside these containers, such as {outside}: keep theirs.")
        errors["prefixes"] = text.format(outside=outside)
    if errors and pool.segments.exists():
        raise ValidationError(errors)


def get_vlan_group(vrf, scope, vid_ranges=None, tenant=None):
    """
    Return the VLAN group "<VRF>-<scope>" at `scope`, made from `vid_ranges` where there is none.

    One of that name which only pools of other VRFs use is theirs: the VRF's RD, or its id, then comes after the name.

    Raises:
        ValidationError: A range is not valid, the group is there with other ranges than those asked for, or NetBox does
            not take the new group, which is told at `vlan_group`.
    """
    ranges = _clean_vid_ranges(vid_ranges)
    at_scope = VLANGroup.objects.filter(scope_type=ContentType.objects.get_for_model(scope), scope_id=scope.pk)
    for name in _names(vrf, scope, "-"):
        existing = at_scope.filter(name=name).first()
        if existing is None:
            break
        users = set(existing.segment_pools.order_by().values_list("vrf", flat=True))
        if not users or vrf.pk in users:
            return _check_ranges(existing, ranges)
    slug = _make_slug(at_scope, name, vrf, scope)
    group = VLANGroup(name=name, slug=slug, scope=scope, tenant=tenant, custom_field_data=custom_fields.fill(VLANGroup))
    if ranges:
        group.vid_ranges = ranges
    try:
        group.full_clean()
    except ValidationError as error:
        errors = {}
        _add_texts(errors, error, {"vid_ranges": "vid_ranges"}, "vlan_group")
        raise ValidationError(errors) from None
    group.save()
    return group


def _check_ranges(group, ranges):
    """Return a VLAN group, which is there; raise a ValidationError if it has other ranges than are asked for."""
    if ranges and {(r.lower, r.upper) for r in group.vid_ranges} != {(r.lower, r.upper) for r in ranges}:
        text = _("The VLAN group of this VRF and place exists with other ranges: leave these out to use it.")
        if nameable(VLANGroup.objects).filter(pk=group.pk).exists():
            text = _("VLAN group {group} exists with the ranges {ranges}: leave these out to use it, or edit it.")
        raise ValidationError({"vid_ranges": text.format(group=group, ranges=group.vid_ranges_list)})
    return group


def _names(vrf, scope, separator):
    """Yield names for what is made for a VRF and a place, up to 100 characters, until one is free."""
    base = f"{vrf.name}{separator}{scope.name}"
    yield base[:100]
    ids = f"VRF {vrf.pk}, {scope._meta.model_name} {scope.pk}"
    for number in count(1):
        for suffix in (vrf.rd, ids):
            if suffix:
                ending = f" ({suffix})" if number == 1 else f" ({suffix}, {number})"
                yield base[: 100 - len(ending)] + ending


def _make_slug(queryset, name, vrf, scope):
    """Return a slug of `name` that nothing of `queryset` has; where it gives none, or a taken one, ids are in it."""
    slug = slugify(name)[:100]
    ids = f"vrf-{vrf.pk}-{scope._meta.model_name}-{scope.pk}"
    slugs = chain([slug], (f"{slug}-{ids}"[-100:].strip("-"),), (f"{slug[:40]}-{ids}-{n}".strip("-") for n in count(2)))
    return next(one for one in slugs if one and not queryset.filter(slug=one).exists())


def _clean_vid_ranges(vid_ranges):
    """Return (first, last) pairs as half-open NumericRanges, as VLANGroup stores them."""
    ranges = []
    for first, last in vid_ranges or ():
        try:
            first, last = clean_vid(first), clean_vid(last)
        except ValidationError as error:
            raise ValidationError({"vid_ranges": error.messages}) from None
        if first > last:
            raise ValidationError(
                {
                    "vid_ranges": _("Range {first}-{last} is upside down: begin with the lower ID.").format(
                        first=first, last=last
                    )
                }
            )
        ranges.append(NumericRange(first, last + 1))
    return ranges


def _get_containers(prefixes, vrf, scope, tenant, role, values):
    """Return the containers among `prefixes`, Prefixes or CIDRs, of which those that are not there yet are made."""
    return [
        prefix if isinstance(prefix, Prefix) else get_container(vrf, prefix, scope, tenant, role, values)
        for prefix in prefixes
    ]


def get_container(vrf, cidr, scope=None, tenant=None, role=None, values=None, changelog_message=""):
    """
    Return the container prefix `cidr` of `vrf`, made where there is none, with these values of custom fields.

    Raises:
        ValidationError: The CIDR is not valid, or is there in NetBox without being a container.
    """
    try:
        network = clean_cidr(cidr)
    except ValidationError as error:
        raise ValidationError({"prefixes": error.messages}) from None
    existing = Prefix.objects.filter(vrf=vrf, prefix=str(network)).first()
    if existing:
        return existing
    container = Prefix(
        prefix=network,
        vrf=vrf,
        scope=scope,
        tenant=tenant,
        role=role,
        status=PrefixStatusChoices.STATUS_CONTAINER,
        custom_field_data=custom_fields.fill(Prefix, values or {}),
    )
    container._changelog_message = changelog_message
    if texts := custom_fields.errors_of(Prefix, container.custom_field_data):
        raise ValidationError({"prefixes": texts})
    try:
        container.full_clean()
    except ValidationError as error:
        errors = {}
        _add_texts(errors, error, {}, "prefixes")
        raise ValidationError(errors) from None
    container.save()
    return container


def check_containers(pool, prefixes):
    """
    Make sure that `prefixes` can be the containers of a pool, and that it can use its own values with them.

    Args:
        pool: The SegmentPool, which may be unsaved.
        prefixes: Prefixes.

    Raises:
        ValidationError: Keyed by field: there is none, one lies in another VRF or is no container, or see
            `validators.pool_errors`.
    """
    errors = []
    for prefix in prefixes:
        if prefix.vrf_id != pool.vrf_id:
            errors.append(
                _("Prefix {prefix} is in VRF {other}: a container must be in the pool's VRF, {vrf}.").format(
                    prefix=prefix, other=prefix.vrf or _("Global"), vrf=pool.vrf
                )
            )
        elif prefix.status != PrefixStatusChoices.STATUS_CONTAINER:
            errors.append(
                _("Prefix {prefix} has status {status}: a pool's containers have the status Container.").format(
                    prefix=prefix, status=prefix.get_status_display()
                )
            )
    if errors:
        raise ValidationError({"prefixes": errors})
    # A Prefix that a script has just made has its network as text.
    if errors := pool_errors(pool, [IPNetwork(prefix.prefix) for prefix in prefixes]):
        raise ValidationError(errors)


def clean_spec(pool, containers, *, vid, epg_name, prefix, ipv6_prefix=None, **fields):
    """
    Return a SegmentSpec from what a user typed; needs no lock.

    Args:
        pool: The SegmentPool.
        containers: Its Containers.
        vid, epg_name, prefix, ipv6_prefix: As typed.
        fields: The other fields of SegmentSpec.

    Raises:
        ValidationError: Keyed by field, all that is wrong at once.
    """
    values = _clean_values(containers, vid=vid, epg_name=epg_name, prefix=prefix, ipv6_prefix=ipv6_prefix)
    if errors := family_errors(values["prefix"], values["ipv6_prefix"]):
        raise ValidationError(errors)
    return SegmentSpec(pool=pool, **values, **fields)


def _clean_values(containers, **typed):
    """Return the VLAN ID, EPG name and prefixes among `typed` as they are to be stored, or raise for all at once."""
    cleaners = {
        "vid": clean_vid,
        "epg_name": clean_epg_name,
        "prefix": containers.clean,
        "ipv6_prefix": containers.clean_ipv6,
    }
    errors, values = {}, {}
    for name, value in typed.items():
        try:
            values[name] = cleaners[name](value)
        except ValidationError as error:
            errors[name] = error.messages
    if errors:
        raise ValidationError(errors)
    return values


def create_segment(pool, *, user, vid, epg_name, prefix, status="", **fields):
    """
    Create a segment with its VLAN and prefix, all or nothing.

    A VLAN of that ID and name, or a prefix of that CIDR, which is there and in no segment yet, becomes the segment's;
    otherwise they are made, and are then removed with it. What NetBox knows as in use is handed out to nobody: the
    segment is then disabled, with the reason, unless the caller gives a status. Locks the VRF and the VLAN group until
    the transaction ends.

    Args:
        pool: The SegmentPool.
        user: The User, or the user name, whom the change log names.
        vid: VLAN ID, 1 to 4094, in the ranges of the pool's VLAN group.
        epg_name: The VLAN's name.
        prefix: CIDR inside the pool's containers.
        status: One of NEW_STATUSES, whatever NetBox knows of a use; empty leaves it to that.
        fields: ipv6_prefix, a CIDR inside them beside an IPv4 prefix; dhcp, description, comments, owner,
            custom_field_data, changelog_message; vlan_custom_fields and prefix_custom_fields, {name: value} of what is
            made with it.

    Returns:
        The Segment.

    Raises:
        ValidationError: Keyed by field; nothing was made.
        Busy: Locks were not had in time; nothing was made.
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
            segment = transactions.run(partial(_create_segment, spec))
        operation.outcome = "created"
        return segment


def _create_segment(spec):
    transactions.lock_spaces([spec.pool.vrf_id], [spec.pool.vlan_group_id])
    (segment,), (errors,) = build_segments([spec])
    if errors:
        raise ValidationError(errors)
    return segment


def build_segments(specs, pools_locked=False, may_hold=False):
    """
    Create the segments of `specs` that fit in, with a number of statements that hardly grows with theirs.

    The caller holds `transactions.lock_spaces` for their VRFs and VLAN groups, in a transaction.

    Args:
        specs: SegmentSpecs, of any number of pools.
        pools_locked: Whether the pools of the specs were read under these locks, so that they are as they were then.
        may_hold: Take prefixes that the first generation holds, whose clusters the caller allocates them to.

    Returns:
        Two lists, each as long as `specs`: the Segment or None, and {field: text} with what was wrong.
    """
    if not pools_locked:
        _check_pools_unchanged(specs)
    vlan_spaces, prefix_spaces = _spaces(specs)
    unmigrated = Held([] if may_hold else {spec.pool for spec in specs})
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
        if not problems:
            vlan_space.claim(plan.vlan)
            for network in spec.networks.values():
                prefix_space.claim(network)
        plans.append(None if problems else plan)
        errors.append(problems)

    _disable_used(specs, plans)
    segments = [segment for segment in plans if segment]
    audit.create([segment.vlan for segment in segments if segment.owns_vlan])
    owned, adopted = [], []
    for spec, segment in zip(specs, plans, strict=True):
        if segment is None:
            continue
        # By what it has become: its spec may have left that open.
        status = guards.prefix_status(spec.pool, segment.status)
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
            # What is handed out is what NetBox calls active; the caller says that it is free.
            adopted.append((segment.vlan, {"status": VLANStatusChoices.STATUS_ACTIVE}))
    audit.write(updates=adopted)
    _create_prefixes(owned)
    audit.create(segments)
    return plans, errors


def _disable_used(specs, segments):
    """Disable those of the new segments, or Nones, that are in use, where their specs leave the status open."""
    doubtful = [segment for spec, segment in zip(specs, segments, strict=True) if segment and not spec.status]
    uses = usage.find_use([usage.Network.of(segment) for segment in doubtful])
    for segment, use in zip(doubtful, uses, strict=True):
        vlan = None if segment.owns_vlan else segment.vlan
        reasons = usage.status_reasons(vlan, segment.get_prefixes(owned=False))
        if reason := usage.disabled_reason(reasons, use):
            segment.status, segment.disabled_reason = SegmentStatusChoices.DISABLED, reason


def _create_prefixes(prefixes):
    """Save new prefixes, with the numbers that NetBox caches of what is above and below each."""
    sweeps = len(prefixes) > HIERARCHY_SWEEP
    if sweeps:
        _count_hierarchy(prefixes)
    audit.create(prefixes)
    if not sweeps:
        for prefix in prefixes:
            handle_prefix_saved(instance=prefix, created=True)


def _count_hierarchy(prefixes):
    """
    Set the depths and child counts that NetBox caches, of prefixes yet to be saved and of those around them.

    It counts as NetBox's signal receiver does after each save(), but reads a VRF once and writes only what changes:
    `rebuild_prefixes` would write every prefix of the VRF, and wait for every transaction that allocates one.
    """
    for vrf_id in {prefix.vrf_id for prefix in prefixes}:
        new = [prefix for prefix in prefixes if prefix.vrf_id == vrf_id]
        stored = Prefix.objects.filter(vrf=vrf_id).order_by().values_list("pk", "prefix", "_depth", "_children")
        numbers = Counter(prefix.prefix for prefix in new)
        numbers.update(network for _pk, network, _depth, _children in stored)
        depths, children, parents = {}, Counter(), []
        for network in sorted(numbers, key=IPNetwork.sort_key):
            while parents and network not in parents[-1]:
                parents.pop()
            depths[network] = len(parents)
            for parent in parents:
                children[parent] += numbers[network]
            parents.append(network)
        for prefix in new:
            prefix._depth, prefix._children = depths[prefix.prefix], children[prefix.prefix]
        changed = [
            Prefix(pk=pk, _depth=depths[network], _children=children[network])
            for pk, network, depth, count in stored
            if (depth, count) != (depths[network], children[network])
        ]
        Prefix.objects.bulk_update(changed, ("_depth", "_children"), batch_size=100)


def _check_pools_unchanged(specs):
    """
    Make sure that the pools are still those that the specs were checked against, before the locks.

    Raises:
        Busy: One was changed at the same time. The same call, made again, reads it as it is now.
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
    Return the unsaved Segment of `spec`, with its VLAN and prefix as found or yet to be saved, and {field: text}.

    NetBox's own validation, custom validators included, runs on all that is new; what the spaces have checked already,
    and foreign keys that come from the pool, are left out of it since each would be a query for every row.
    """
    pool, errors = spec.pool, {}
    vlan = vlan_space.by_vid.get(spec.vid)
    owns_vlan = vlan is None
    if owns_vlan:
        vlan = VLAN(
            group=pool.vlan_group,
            vid=spec.vid,
            name=spec.epg_name,
            tenant=pool.tenant,
            role=pool.role,
            status=VLANStatusChoices.STATUS_ACTIVE,
        )
        values = pool.vlan_custom_fields, spec.vlan_custom_fields
        if _set_custom_fields(vlan, "vlan_custom_fields", errors, *values):
            _validate(vlan, errors, {"name": "epg_name"}, "vid")
    elif spec.vlan_custom_fields:
        errors["vlan_custom_fields"] = _("VLAN {vid} is there already and keeps its own: leave these out.").format(
            vid=spec.vid
        )
    prefixes, owns = {}, {}
    for name, network in spec.networks.items():
        prefixes[name], owns[f"owns_{name}"] = _plan_prefix(spec, vlan, network, name, prefix_space, errors)
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
        **owns,
    )
    if _set_custom_fields(segment, "custom_fields", errors, pool.segment_custom_fields, spec.custom_field_data):
        _validate(segment, errors, {"description": "description", "comments": "comments"}, "vid")
    segment.vlan = vlan
    for name, prefix in prefixes.items():
        setattr(segment, name, prefix)
    return segment, errors


def _plan_prefix(spec, vlan, network, name, prefix_space, errors):
    """
    Return the prefix of a network, as found or yet to be saved, and whether it is new.

    Args:
        spec: The SegmentSpec.
        vlan: The segment's VLAN.
        network: What it shall be.
        name: The segment's field for it.
        prefix_space: The PrefixSpace of the pool's VRF.
        errors: {field: texts}, to which is added what is wrong.
    """
    pool = spec.pool
    prefix = prefix_space.by_network.get(network)
    if prefix is None:
        prefix = Prefix(prefix=network, vrf=pool.vrf, tenant=pool.tenant, role=pool.role, status=spec.prefix_status)
        # The guard of new prefixes would ask for each what the PrefixSpace knows of all.
        prefix.has_place = True
        values = pool.prefix_custom_fields, spec.prefix_custom_fields
        if _set_custom_fields(prefix, "prefix_custom_fields", errors, *values):
            _validate_prefix(prefix, pool.scope, name, errors)
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


def _set_custom_fields(instance, name, errors, pool_values, values):
    """
    Give a new object the values of its custom fields, and return whether they are right.

    Args:
        instance: A VLAN, Prefix or Segment.
        name: The field that an error stands at.
        errors: {field: texts}, to which is added what is wrong.
        pool_values: What the pool has for it; values of custom fields that no longer exist are left out.
        values: What the caller gives, {name: value}.
    """
    model = type(instance)
    if texts := custom_fields.value_errors(model, values):
        errors[name] = texts
        return False
    known = {field.name for field in CustomField.objects.get_for_model(model)} if pool_values else ()
    instance.custom_field_data = custom_fields.fill(
        model, {name: value for name, value in pool_values.items() if name in known}, values
    )
    if texts := custom_fields.errors_of(model, instance.custom_field_data):
        errors[name] = texts
        return False
    return True


def _validate(instance, errors, fields, default):
    """Add to `errors`, {field: texts}, what NetBox's validation of a new object finds (see `_add_texts`)."""
    foreign_keys = [field.name for field in instance._meta.concrete_fields if field.is_relation]
    try:
        instance.full_clean(exclude=foreign_keys, validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        _add_texts(errors, error, fields, default)


def _validate_prefix(prefix, scope, name, errors):
    """
    Give a new prefix its scope and validate it as `_validate` does, without the two queries that NetBox makes.

    NetBox's clean() asks for prefixes with this CIDR, of which the PrefixSpace knows that there are none, and for the
    scope, which is the pool's. So it runs on a prefix that has no scope yet; custom validation, which sees the whole
    prefix, is put off until it has.
    """
    prefix.get_duplicates = lambda: ()
    prefix._replicated_base = True
    _validate(prefix, errors, {"prefix": name}, name)
    del prefix.get_duplicates, prefix._replicated_base
    prefix.scope = scope
    prefix.cache_related_objects()
    try:
        post_clean.send(sender=Prefix, instance=prefix)
    except ValidationError as error:
        _add_texts(errors, error, {}, name)


def _add_texts(errors, error, fields, default):
    """Add the texts of a ValidationError to `errors`, its field names turned into ours by `fields`, or `default`."""
    for name, texts in ValidationError(error.update_error_dict({})).message_dict.items():
        errors.setdefault(fields.get(name, default), []).extend(texts)


def update_segment(segment, *, user, **values):
    """
    Change a segment, and with it its VLAN and prefixes.

    An IPv6 prefix that it has not got yet is taken or made as `create_segment` does; one that it shall not have any
    more is deleted if it was made with it. Locks its VRF and VLAN group, and the segment's row, until the transaction
    ends.

    Args:
        segment: The Segment.
        user: The User, or the user name, whom the change log names.
        values: Any of vid, epg_name, prefix (CIDR), ipv6_prefix (CIDR, or None for none), dhcp, description, comments,
            owner, custom_field_data, changelog_message; vlan_custom_fields and prefix_custom_fields, {name: value} that
            its VLAN and prefixes get.

    Returns:
        The Segment, as it is now.

    Raises:
        ValidationError: Keyed by field; nothing was changed.
        SegmentInUse: VLAN ID or a prefix would change while a cluster holds the segment. An IPv6 prefix may be added.
        ProtectedError: Something else in NetBox uses the IPv6 prefix that would go; nothing was changed.
        Busy: Locks were not had in time; nothing was changed.
    """
    user = audit.get_user(user)
    about = {"segment": segment.pk, "vid": segment.vid, "user": user}
    with operations.track("update segment", **about), audit.change_tracking(user):
        return transactions.run(partial(update_segment_in_transaction, segment, values))


def update_segments_in_transaction(changes):
    """
    Do `update_segment_in_transaction` for several segments, of which some may take what others give up.

    NetBox has one VLAN of a name in a group, and we have one segment on a network, at every moment: what two exchange
    is given up by both first.

    Args:
        changes: (Segment, values) pairs.
    """
    if len(changes) == 1:
        ((segment, values),) = changes
        update_segment_in_transaction(segment, values)
        return
    transactions.lock_spaces(
        {segment.pool.vrf_id for segment, _values in changes},
        {segment.pool.vlan_group_id for segment, _values in changes},
    )
    pks = [segment.pk for segment, _values in changes]
    locked = Segment.objects.select_for_update(no_key=True).filter(pk__in=pks).order_by("pool_id", "vid")
    segments = locked.prefetch_related("vlan", "prefix", "ipv6_prefix").in_bulk()
    given_up, vlans, prefixes = {}, [], []
    for segment, values in changes:
        segment = segments[segment.pk]
        given_up[segment.pk] = before = {}
        if values.get("epg_name", segment.epg_name) != segment.epg_name:
            before["epg_name"] = segment.epg_name
            vlans.append(segment.vlan_id)
        for name in ("prefix", "ipv6_prefix"):
            prefix = getattr(segment, name)
            if prefix and values.get(name) and values[name] != prefix.prefix:
                before[name] = prefix.prefix
                prefixes.append(prefix.pk)
    # Past save() and the change log: nobody sees it, and what is logged is the change from what was before.
    VLAN.objects.filter(pk__in=vlans).update(name=Concat(Value(" "), Cast("pk", CharField())))
    Prefix.objects.filter(pk__in=prefixes).update(prefix=NOWHERE)
    for segment, values in changes:
        update_segment_in_transaction(segment, values, given_up[segment.pk])


def update_segment_in_transaction(segment, values, given_up=None):
    """
    Do the part of `update_segment` that needs locks, in the caller's transaction.

    Args:
        segment: The Segment.
        values: As `update_segment` takes them.
        given_up: Those of epg_name, prefix and ipv6_prefix that `update_segments_in_transaction` has taken from it.
    """
    of_prefixes = "prefix_custom_fields"
    given = {name: values[name] for name in ("vlan_custom_fields", of_prefixes) if name in values}
    values = {name: value for name, value in values.items() if name not in given}
    transactions.lock_spaces([segment.pool.vrf_id], [segment.pool.vlan_group_id])
    segments = Segment.objects.select_related("vlan__group", "prefix__vrf", "ipv6_prefix__vrf", "pool__vrf")
    segment = segments.select_for_update(no_key=True, of=("self",)).get(pk=segment.pk)
    vlan, prefix, ipv6_prefix = segment.vlan, segment.prefix, segment.ipv6_prefix
    for name, value in (given_up or {}).items():
        if name == "epg_name":
            vlan.name = value
        else:
            # NetBox counts the hierarchy again around what a prefix was when it was read.
            moved = getattr(segment, name)
            moved.prefix = moved._prefix = value
    typed = {name: values[name] for name in ("vid", "epg_name", "prefix", "ipv6_prefix") if name in values}
    # What nobody gave stays as it is now, whatever the caller read before the lock.
    now = {
        "vid": vlan.vid,
        "epg_name": vlan.name,
        "prefix": prefix.prefix,
        "ipv6_prefix": ipv6_prefix and ipv6_prefix.prefix,
    }
    wanted = now | _clean_values(Containers(segment.pool), **typed)
    if errors := family_errors(wanted["prefix"], wanted["ipv6_prefix"]):
        raise ValidationError(errors)

    renumbered = any(now[name] not in (None, wanted[name]) for name in ("vid", "prefix", "ipv6_prefix"))
    if renumbered and segment.status == SegmentStatusChoices.ALLOCATED:
        text = _("The segment is allocated: release it before its VLAN ID or prefix changes.")
        if nameable(Segment.objects).filter(pk=segment.pk).exists():
            text = _("Segment {segment} is allocated: release it before its VLAN ID or prefix changes.")
        raise SegmentInUse(text.format(segment=segment))
    if (wanted["vid"], wanted["epg_name"]) != (vlan.vid, vlan.name):
        space = VLANSpace(vlan.group, [wanted["vid"]], [wanted["epg_name"]], exclude_vlan=vlan)
        if errors := space.errors(wanted["vid"], wanted["epg_name"], may_adopt=False):
            raise ValidationError(errors)
        fields = {"name": "epg_name", "vid": "vid"}
        _save_changed(vlan, fields, "vid", vid=wanted["vid"], name=wanted["epg_name"])
    if wanted["prefix"] != now["prefix"]:
        _save_changed(prefix, {"prefix": "prefix"}, "prefix", prefix=wanted["prefix"])
    if ipv6_prefix and wanted["ipv6_prefix"] and wanted["ipv6_prefix"] != now["ipv6_prefix"]:
        _save_changed(ipv6_prefix, {"prefix": "ipv6_prefix"}, "ipv6_prefix", prefix=wanted["ipv6_prefix"])
    for part, name in ((vlan, "vlan_custom_fields"), (prefix, of_prefixes), (ipv6_prefix, of_prefixes)):
        if part and given.get(name):
            _change_custom_fields(part, name, given[name])
    # Saved even where only its VLAN or prefix changed: the segment's ETag stands for all that it shows.
    segment.refresh_from_db(fields=("vid",))
    segment.snapshot()
    drops, owned = ipv6_prefix and wanted["ipv6_prefix"] is None, segment.owns_ipv6_prefix
    if drops:
        _set_ipv6_prefix(segment, None, owned=False)
    elif ipv6_prefix is None and wanted["ipv6_prefix"]:
        _add_ipv6_prefix(segment, wanted["ipv6_prefix"], given.get(of_prefixes, {}))
    for name, value in values.items():
        if name not in typed:
            setattr(segment, "_changelog_message" if name == "changelog_message" else name, value)
    segment.full_clean(exclude=segment.hot_columns, validate_constraints=False)
    segment.save()
    if drops and owned:
        ipv6_prefix.delete()
    elif drops and segment.owns_vlan:
        guards.detach_prefix(ipv6_prefix)
    return segment


def _change_custom_fields(instance, name, values):
    """Set values of custom fields on a VLAN or prefix, if any is another; errors stand at the field `name`."""
    if texts := custom_fields.value_errors(type(instance), values):
        raise ValidationError({name: texts})
    if any(instance.custom_field_data.get(field) != value for field, value in values.items()):
        _save_changed(instance, {}, name, custom_field_data={**instance.custom_field_data, **values})


def _add_ipv6_prefix(segment, network, values):
    """Take or make the prefix of `network` for a segment that has no IPv6 prefix, and for its holders."""
    space = PrefixSpace(segment.pool.vrf, [network])
    errors = space.errors(network, "ipv6_prefix")
    spec = SegmentSpec(
        segment.pool,
        segment.vid,
        segment.epg_name,
        segment.prefix.prefix,
        status=segment.status,
        prefix_custom_fields=values,
    )
    if not errors:
        prefix, owned = _plan_prefix(spec, segment.vlan, network, "ipv6_prefix", space, errors)
    if not errors:
        reasons = [] if owned else usage.status_reasons(None, [prefix])
        errors = guards.use_errors(segment, network, "ipv6_prefix", reasons)
    if errors:
        raise ValidationError(errors)
    if owned:
        prefix.vlan = segment.vlan
        _create_prefixes([prefix])
    else:
        audit.update(prefix, vlan=segment.vlan, status=spec.prefix_status)
    _set_ipv6_prefix(segment, prefix, owned)
    guards.follow_segment(segment)


def _set_ipv6_prefix(segment, prefix, owned):
    """Write the columns, which a plain save() leaves alone; the change log is the caller's business."""
    segment.ipv6_prefix, segment.owns_ipv6_prefix = prefix, owned
    Segment.objects.filter(pk=segment.pk).update(ipv6_prefix=prefix, owns_ipv6_prefix=owned)


def _save_changed(instance, fields, default, **values):
    """Set values on a VLAN or prefix, validate it as NetBox does (our own rules included), and save it."""
    instance.snapshot()
    for name, value in values.items():
        setattr(instance, name, value)
    try:
        instance.full_clean()
    except ValidationError as error:
        errors = {}
        _add_texts(errors, error, fields, default)
        raise ValidationError(errors) from None
    instance.save()


def delete_segment(segment, *, user, changelog_message=""):
    """
    Delete a segment, and its VLAN and prefixes if they were made with it. Locks the segment's row.

    Args:
        segment: The Segment.
        user: The User, or the user name, whom the change log names.
        changelog_message: Why, for the change log of the segment.

    Raises:
        SegmentInUse: A cluster holds the segment.
        ProtectedError: Something else in NetBox uses its VLAN or a prefix; nothing was deleted.
        Busy: Locks were not had in time; nothing was deleted.
    """
    user = audit.get_user(user)
    about = {"segment": segment.pk, "vid": segment.vid, "user": user}
    with operations.track("delete segment", **about), audit.change_tracking(user):
        transactions.run(partial(_delete_segment, segment.pk, changelog_message))


def _delete_segment(pk, changelog_message):
    segment = Segment.objects.select_for_update(of=("self",)).get(pk=pk)
    if segment.status == SegmentStatusChoices.ALLOCATED:
        text = _("The segment is allocated: release it before you delete it.")
        if nameable(Segment.objects).filter(pk=pk).exists():
            text = _("Segment {segment} is allocated: release it before you delete it.")
        raise SegmentInUse(text.format(segment=segment))
    segment._changelog_message = changelog_message
    segment.delete()
