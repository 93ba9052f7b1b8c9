"""
Creates and changes pools.

VLAN groups and containers that NetBox does not have yet are created with them (see `parts`). Callers check permissions,
except those on other pools that share a VLAN group or a container (see `enforce`).
"""

from dataclasses import dataclass
from functools import partial, reduce
from operator import or_

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Q
from django.utils.translation import gettext as _

from ipam.models import Prefix

from ...models import SegmentPool
from ..base import audit, custom_fields, operations, transactions
from ..base.visibility import check_change_of_others
from ..segments import guards
from .parts import check_containers, get_containers, get_vlan_group, hidden_containers, make_names, make_slug

__all__ = (
    "CHECKED_FIELDS",
    "check_saved_pool",
    "create_pool",
    "update_pool",
)


# The fields of a pool that its segments and containers have to agree with.
CHECKED_FIELDS = (
    "vrf",
    "vlan_group",
    "min_prefix_length",
    "max_prefix_length",
    "auto_grow",
    "grow_prefix_length",
    "grow_ipv6_prefix_length",
    "gateway_rule",
    "gateway_offset",
    "mtu",
)

# How many of the containers that a pool may not share are named in an error.
NETWORKS_NAMED = 5


@dataclass(frozen=True)
class PoolRequest:
    """The arguments of `create_pool`; `sharer` is the User whose permission to share is checked, or None."""

    vrf: object
    scope: object
    prefixes: list
    name: str
    slug: str
    vlan_group: object
    vid_ranges: list | None
    sharer: object
    fields: dict


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
    Create a pool, with its VLAN group and containers where NetBox has none. Locks the VRF.

    Args:
        user: The User, or the user name, for the change log.
        vrf: The VRF of the pool's segments.
        scope: The Region, SiteGroup, Site or Location that the pool serves.
        prefixes: Its containers: Prefixes of that VRF, or CIDRs.
        name: Its name; empty for "<VRF> <scope>", with the VRF's RD or ids where that is taken.
        slug: Its slug; empty for one made of the name, with ids where the name gives none or a taken one.
        vlan_group: The VLANGroup; None finds or creates one (see `get_vlan_group`).
        vid_ranges: The VLAN IDs of a new group, as (first, last) pairs; None for 1 to 4094.
        enforce: Hold the user to the permission to change the pools whose VLAN group or containers the pool shares.
        fields: Any other field of SegmentPool, and changelog_message.

    Returns:
        The SegmentPool.

    Raises:
        ValidationError: A value is not valid; nothing was created.
        PermissionDenied: The pool would share with a pool that the user may not change; nothing was created.
        Busy: Locks were not had in time; nothing was created.
    """
    user = audit.get_user(user)
    with operations.track("create pool", vrf=vrf, scope=scope, user=user), audit.change_tracking(user):
        request = PoolRequest(
            vrf, scope, prefixes, name, slug, vlan_group, vid_ranges, sharer=user if enforce else None, fields=fields
        )
        return transactions.run(partial(_create_pool_locked, request))


def _create_pool_locked(request):
    vrf, scope, fields = request.vrf, request.scope, request.fields
    transactions.lock_spaces([vrf.pk])
    pools = SegmentPool.objects.order_by()
    name = request.name
    if not name:
        name = next(name for name in make_names(vrf, scope, " ") if not pools.filter(name=name).exists())
    shared = {"scope": scope, "tenant": fields.get("tenant"), "role": fields.get("role")}
    _check_custom_fields(fields)
    vlan_group = request.vlan_group or get_vlan_group(vrf, scope, request.vid_ranges, tenant=shared["tenant"])
    values = fields.get("prefix_custom_fields")
    containers = get_containers(request.prefixes, vrf, custom_field_data=values, **shared)
    slug = request.slug or make_slug(pools, name, vrf, scope)
    pool = SegmentPool(vrf=vrf, scope=scope, vlan_group=vlan_group, name=name, slug=slug, **fields)
    pool.full_clean()
    check_containers(pool, containers)
    if request.sharer is not None:
        _check_sharing(pool, request.sharer, vlan_group, containers)
    pool.save()
    pool.prefixes.set(containers)
    return pool


def _check_sharing(pool, user, vlan_group, containers):
    """
    Make sure that `user` may let `pool` share a VLAN group and networks with other pools.

    Args:
        pool: The SegmentPool.
        user: The User.
        vlan_group: The VLANGroup that the pool gets; None if it keeps its own.
        containers: The Prefixes that the pool gets.

    Raises:
        PermissionDenied: The pool would share the group, or a network of the containers, with a pool that the user may
            not change.
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
    Change a pool and its containers; containers that NetBox does not have are created.

    Locks its VRF and VLAN group, and those that it moves to, until the transaction ends.

    Args:
        pool: The SegmentPool.
        user: The User, or the user name, for the change log.
        enforce: Hold the user to their object permissions: containers that they may not view stay, and sharing a VLAN
            group or a container with other pools takes the permission to change these pools.
        values: Any field of SegmentPool, and changelog_message. `prefixes`, as Prefixes of the VRF or CIDRs, replace
            the containers.

    Returns:
        The SegmentPool, as it is now.

    Raises:
        ValidationError: Keyed by field; nothing was changed.
        PermissionDenied: The pool would share with a pool that the user may not change; nothing was changed.
        Busy: Locks were not had in time; nothing was changed.
    """
    user = audit.get_user(user)
    with operations.track("update pool", pool=pool, user=user), audit.change_tracking(user):
        return transactions.run(partial(_update_pool_locked, pool.pk, values, user if enforce else None))


def _update_pool_locked(pk, values, sharer=None):
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
    shared = {"scope": pool.scope, "tenant": pool.tenant, "role": pool.role}
    containers = get_containers(prefixes, pool.vrf, custom_field_data=pool.prefix_custom_fields, **shared)
    _check_segments_stay(pool, containers, *before)
    # An inconsistency that exists already does not block other changes; the drift report shows it.
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
    """Make sure that the custom fields exist for which `values` has values of the pool's new objects."""
    errors = {}
    for name, model in custom_fields.POOL_FIELDS.items():
        if texts := custom_fields.value_errors(model, values.get(name, {})):
            errors[name] = texts
    if errors:
        raise ValidationError(errors)


def _checked_values(pool, containers):
    """Return the values of a pool and its containers that `check_containers` depends on."""
    # The segments' VLAN group is checked elsewhere.
    values = [getattr(pool, name) for name in CHECKED_FIELDS if name != "vlan_group"]
    return values, {(prefix.pk, str(prefix.prefix)) for prefix in containers}


def check_saved_pool(pool):
    """
    Make sure that a script may save `pool` as it is now, without `update_pool`. Takes the same locks.

    Raises:
        ValidationError: Keyed by field.
    """
    stored = SegmentPool.objects.select_related("vrf", "vlan_group").filter(pk=pool.pk).first()
    # An inconsistency that exists already does not block other changes.
    columns = [SegmentPool._meta.get_field(name).attname for name in CHECKED_FIELDS]
    if stored is None or all(getattr(stored, name) == getattr(pool, name) for name in columns):
        return
    if connection.in_atomic_block:
        transactions.lock_spaces({stored.vrf_id, pool.vrf_id}, {stored.vlan_group_id, pool.vlan_group_id})
    containers = list(pool.prefixes.all())
    pool.full_clean(exclude=pool.hot_columns)
    _check_segments_stay(pool, containers, stored.vrf, stored.vlan_group)
    check_containers(pool, containers)


def _check_segments_stay(pool, containers, vrf, vlan_group):
    """Make sure that `pool`, as it is to be, fits its segments, which are in `vrf` and `vlan_group`."""
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
