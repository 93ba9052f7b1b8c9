"""
Finds or creates the VLAN group and the containers of a pool.

What NetBox has already is used as it is. Site groups, sites, VRFs, tenants and roles are only looked up.
"""

from itertools import chain, count

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db.backends.postgresql.psycopg_any import NumericRange
from django.utils.text import slugify
from django.utils.translation import gettext as _
from netaddr import IPNetwork

from ipam.choices import PrefixStatusChoices
from ipam.models import Prefix, VLANGroup

from ...validators import clean_cidr, clean_vid_range, pool_errors
from ..base import custom_fields
from ..base.visibility import nameable
from ..segments.validation import add_texts

__all__ = (
    "check_containers",
    "get_container",
    "get_containers",
    "get_vlan_group",
    "hidden_containers",
    "make_names",
    "make_slug",
)


def get_vlan_group(vrf, scope, vid_ranges=None, tenant=None):
    """
    Return the VLAN group "<VRF>-<scope>" at `scope`; it is created from `vid_ranges` where there is none.

    A group of that name which only pools of other VRFs use stays theirs: the name of the new group then ends with the
    VRF's RD or id.

    Raises:
        ValidationError: A range is not valid, the group exists with other ranges, or NetBox refuses the new group (an
            error of `vlan_group`).
    """
    ranges = _clean_vid_ranges(vid_ranges)
    at_scope = VLANGroup.objects.filter(scope_type=ContentType.objects.get_for_model(scope), scope_id=scope.pk)
    for name in make_names(vrf, scope, "-"):
        existing = at_scope.filter(name=name).first()
        if existing is None:
            break
        users = set(existing.segment_pools.order_by().values_list("vrf", flat=True))
        if not users or vrf.pk in users:
            return _check_ranges(existing, ranges)
    slug = make_slug(at_scope, name, vrf, scope)
    group = VLANGroup(name=name, slug=slug, scope=scope, tenant=tenant, custom_field_data=custom_fields.fill(VLANGroup))
    if ranges:
        group.vid_ranges = ranges
    try:
        group.full_clean()
    except ValidationError as error:
        errors = {}
        add_texts(errors, error, {"vid_ranges": "vid_ranges"}, "vlan_group")
        raise ValidationError(errors) from None
    group.save()
    return group


def _check_ranges(group, ranges):
    """Return an existing VLAN group; raise a ValidationError if the caller gives other ranges than it has."""
    if ranges and {(r.lower, r.upper) for r in group.vid_ranges} != {(r.lower, r.upper) for r in ranges}:
        text = _("The VLAN group of this VRF and place exists with other ranges: leave these out to use it.")
        if nameable(VLANGroup.objects).filter(pk=group.pk).exists():
            text = _("VLAN group {group} exists with the ranges {ranges}: leave these out to use it, or edit it.")
        raise ValidationError({"vid_ranges": text.format(group=group, ranges=group.vid_ranges_list)})
    return group


def make_names(vrf, scope, separator):
    """Yield names for a new object of a VRF and a place, up to 100 characters; the caller takes the first free one."""
    base = f"{vrf.name}{separator}{scope.name}"
    yield base[:100]
    ids = f"VRF {vrf.pk}, {scope._meta.model_name} {scope.pk}"
    for number in count(1):
        for suffix in (vrf.rd, ids):
            if suffix:
                ending = f" ({suffix})" if number == 1 else f" ({suffix}, {number})"
                yield base[: 100 - len(ending)] + ending


def make_slug(queryset, name, vrf, scope):
    """Return a slug of `name` that no object of `queryset` has; ids are in it if the name gives none or a taken one."""
    slug = slugify(name)[:100]
    ids = f"vrf-{vrf.pk}-{scope._meta.model_name}-{scope.pk}"
    slugs = chain([slug], (f"{slug}-{ids}"[-100:].strip("-"),), (f"{slug[:40]}-{ids}-{n}".strip("-") for n in count(2)))
    return next(one for one in slugs if one and not queryset.filter(slug=one).exists())


def _clean_vid_ranges(vid_ranges):
    """Return (first, last) pairs as half-open NumericRanges, as VLANGroup stores them."""
    try:
        pairs = [clean_vid_range(first, last) for first, last in vid_ranges or ()]
    except ValidationError as error:
        raise ValidationError({"vid_ranges": error.messages}) from None
    return [NumericRange(first, last + 1) for first, last in pairs]


def get_containers(prefixes, vrf, **fields):
    """
    Return the containers among `prefixes`, Prefixes or CIDRs; those that NetBox does not have are created.

    `vrf` and `fields` are as `get_container` takes them.
    """
    return [prefix if isinstance(prefix, Prefix) else get_container(vrf, prefix, **fields) for prefix in prefixes]


def get_container(vrf, cidr, *, custom_field_data=None, changelog_message="", **fields):
    """
    Return the container prefix `cidr` of `vrf`; it is created where NetBox has none.

    Args:
        vrf: The VRF.
        cidr: The network of the container, as text or netaddr.IPNetwork.
        custom_field_data: Values of the custom fields of a new container, {name: value}.
        changelog_message: Why, for the change log of a new container.
        fields: scope, tenant and role of a new container.

    Raises:
        ValidationError: The CIDR is not valid, or NetBox refuses the new container.
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
        status=PrefixStatusChoices.STATUS_CONTAINER,
        custom_field_data=custom_fields.fill(Prefix, custom_field_data or {}),
        **fields,
    )
    container._changelog_message = changelog_message
    if texts := custom_fields.errors_of(Prefix, container.custom_field_data):
        raise ValidationError({"prefixes": texts})
    try:
        container.full_clean()
    except ValidationError as error:
        errors = {}
        add_texts(errors, error, {}, "prefixes")
        raise ValidationError(errors) from None
    container.save()
    return container


def check_containers(pool, prefixes):
    """
    Make sure that `prefixes` can be the containers of a pool, and that the pool's own values fit them.

    Args:
        pool: The SegmentPool, which may be unsaved.
        prefixes: Prefixes.

    Raises:
        ValidationError: Keyed by field: there is no prefix, one lies in another VRF or is no container, or
            `validators.pool_errors` finds errors.
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
    # The network of a Prefix that a script has just created is still text.
    if errors := pool_errors(pool, [IPNetwork(prefix.prefix) for prefix in prefixes]):
        raise ValidationError(errors)


def hidden_containers(pool, user):
    """Return the containers of `pool` that `user` may not view, and so can neither name nor remove."""
    viewed = Prefix.objects.restrict(user, "view").order_by().values("pk")
    return list(pool.prefixes.exclude(pk__in=viewed))
