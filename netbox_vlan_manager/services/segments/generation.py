"""
Makes segments of what is free: the lowest VLAN IDs of a pool's VLAN group, paired with the first networks of its
containers.

A VLAN ID is free when no VLAN of the group has it, a network when no prefix, IP range or IP address of the VRF lies in
it: whatever NetBox knows of is left alone, gaps are filled. The pages ask for many at once; a pool that grows makes one
when it has none left (see `allocation`).
"""

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import NamedTuple

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.utils.translation import gettext as _
from netaddr import IPAddress, IPNetwork

from ipam.models import VLAN

from ...choices import AllocationOrderChoices, SegmentStatusChoices
from ...exceptions import Busy
from ...models import Segment, SegmentPool
from ...validators import (
    ADDRESS_BITS,
    VID_MAX,
    VID_MIN,
    clean_vid,
    new_prefix_errors,
    render_epg_name,
    validate_epg_template,
)
from ..base import audit, operations, transactions
from ..base.visibility import permitted_ids
from . import provisioning
from .spaces import vid_range_errors
from .specs import SegmentSpec

__all__ = (
    "GenerateResult",
    "Growth",
    "clean_generation",
    "find_networks",
    "find_vids",
    "generate_segments",
    "grow",
    "with_room",
)

# How many free VLAN IDs a pool that grows looks at for one whose name is free too.
CANDIDATES = 20

# Of the VLAN IDs in the group's ranges, those without a VLAN.
FREE_VIDS = """
SELECT vid FROM (
  SELECT generate_series(lower(vids), upper(vids) - 1) AS vid FROM unnest(%(ranges)s::int4range[]) AS vids
) AS in_range
WHERE vid BETWEEN %(first)s AND %(last)s
  AND NOT EXISTS (SELECT FROM ipam_vlan AS vlan WHERE vlan.group_id = %(group)s AND vlan.vid = in_range.vid)
ORDER BY CASE WHEN %(highest)s THEN -vid ELSE vid END
LIMIT %(count)s
"""

# The free space in {space}, rows of a first and a last address, between what {used} has of each, where a network of
# that length fits in: the first such network and the last address. No address is counted past the end of a space, which
# may be the last one of the family.
GAPS = """
SELECT first, last FROM (
  SELECT last, CASE
    WHEN set_masklen(network(set_masklen(first, %(length)s))::inet, %(bits)s) = first THEN first
    WHEN set_masklen(broadcast(set_masklen(first, %(length)s)), %(bits)s) < last
      THEN set_masklen(broadcast(set_masklen(first, %(length)s)), %(bits)s) + 1
  END AS first
  FROM (
    SELECT CASE WHEN before IS NULL THEN space_first WHEN before < space_last THEN before + 1 END AS first,
      CASE WHEN used_first IS NULL THEN space_last WHEN used_first > space_first THEN used_first - 1 END AS last
    FROM (
      SELECT space.first AS space_first, space.last AS space_last, used.first AS used_first,
        max(used.last) OVER (
          PARTITION BY space.first ORDER BY used.first NULLS LAST ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before
      -- The row without addresses stands for the end of the space.
      FROM {space} AS space CROSS JOIN LATERAL ({used} UNION ALL SELECT NULL::inet, NULL::inet) AS used (first, last)
    ) AS step
  ) AS gap
  WHERE first <= last
) AS aligned
WHERE set_masklen(broadcast(set_masklen(first, %(length)s)), %(bits)s) <= last
"""

# A container of the pool inside another one does not use it, but no segment takes the container's own network.
USED_BY_NETWORKS = """
SELECT set_masklen(network(prefix)::inet, %(bits)s), set_masklen(broadcast(prefix), %(bits)s)
FROM ipam_prefix
WHERE vrf_id = %(vrf)s AND prefix << space.prefix AND (id != ALL (%(own)s) OR masklen(prefix) >= %(length)s)
UNION ALL
SELECT host(start_address)::inet, host(end_address)::inet
FROM ipam_iprange
WHERE vrf_id = %(vrf)s AND host(start_address)::inet <= space.last AND host(end_address)::inet >= space.first
"""

# Each address takes the network that it lies in. Looked for between the prefixes only: most addresses lie in these.
USED_BY_ADDRESSES = """
SELECT DISTINCT set_masklen(network(set_masklen(address, %(length)s))::inet, %(bits)s),
  set_masklen(broadcast(set_masklen(address, %(length)s)), %(bits)s)
FROM ipam_ipaddress
WHERE vrf_id = %(vrf)s AND host(address)::inet BETWEEN space.first AND space.last
"""

FREE_SPACE = f"""
WITH container AS (
  SELECT prefix, set_masklen(prefix, %(bits)s) AS first, set_masklen(broadcast(prefix), %(bits)s) AS last
  FROM unnest(%(containers)s::inet[]) AS prefix
), room AS MATERIALIZED ({GAPS.format(space="container", used=USED_BY_NETWORKS)})
SELECT host(first), host(last) FROM ({GAPS.format(space="room", used=USED_BY_ADDRESSES)}) AS free
ORDER BY free.first
LIMIT %(count)s
"""


@dataclass
class GenerateResult:
    """
    The Segments that were made, or would be, and the VLAN IDs of the range that were passed over: they are taken, or
    lie between the group's ranges.

    In a dry run the segments have no id.
    """

    segments: list = field(default_factory=list)
    skipped: list = field(default_factory=list)

    def as_json(self, listed):
        """Return it as a job or a page keeps it: how many there are, and what the first `listed` of them are."""
        return {
            "count": len(self.segments),
            "segments": [
                {
                    "vid": segment.vid,
                    "epg_name": segment.epg_name,
                    "prefix": str(segment.prefix),
                    "ipv6_prefix": str(segment.ipv6_prefix or ""),
                }
                for segment in self.segments[:listed]
            ],
            "skipped": self.skipped,
        }


def generate_segments(
    pool,
    *,
    user,
    count=None,
    vid_min=None,
    vid_max=None,
    prefix_length=None,
    ipv6_prefix_length=None,
    epg_template="",
    dry_run=False,
    enforce=True,
    **fields,
):
    """
    Make segments of what is free in a pool's VLAN group and containers, all of them or none.

    Locks the VRF and the VLAN group until the transaction ends. So does a dry run, which is rolled back.

    Args:
        pool: The SegmentPool.
        user: The User, or the user name, whom the change log names.
        count: How many; None for one with each free VLAN ID from `vid_min` to `vid_max`.
        vid_min, vid_max: The VLAN IDs to take from; None for the group's lowest and highest.
        prefix_length: Of their prefixes; None for the one that the pool grows by.
        ipv6_prefix_length: Of an IPv6 prefix beside; None for the one that the pool grows by, if any.
        epg_template: What they are named by (see `validators.render_epg_name`); empty for the pool's own.
        dry_run: Say what would be made, and change nothing.
        enforce: Hold the user to their object permissions on segments.
        fields: dhcp, description, comments, custom_field_data of the segments; vlan_custom_fields and
            prefix_custom_fields of their VLANs and prefixes, {name: value}.

    Returns:
        GenerateResult

    Raises:
        ValidationError: Keyed by field: a value is not valid, there are not enough VLAN IDs or not enough room, or a
            name is taken.
        PermissionDenied: The user may not add such segments.
        Busy: Locks were not had in time, or the pool was deleted.
        Nothing was made in any of these cases.
    """
    user = audit.get_user(user)
    asked = clean_generation(
        pool,
        count=count,
        vid_min=vid_min,
        vid_max=vid_max,
        prefix_length=prefix_length,
        ipv6_prefix_length=ipv6_prefix_length,
        epg_template=epg_template,
    )
    work = partial(_generate, pool.pk, asked, fields, user if enforce else None)
    about = {"pool": pool, **asked, "user": user}
    with operations.track("generate", dry_run=dry_run, **about) as operation, audit.change_tracking(user):
        result = transactions.run(work, dry_run)
        operation.outcome = f"{len(result.segments)} segments"
    if dry_run:
        for segment in result.segments:
            segment.pk = None
    return result


def clean_generation(
    pool,
    *,
    count=None,
    vid_min=None,
    vid_max=None,
    prefix_length=None,
    ipv6_prefix_length=None,
    epg_template="",
    **fields,
):
    """
    Return the arguments of `generate_segments` that say what is made, with what stands for those that are left out.

    Raises:
        ValidationError: Keyed by field, for all that is wrong at once whatever is free.
    """
    errors, asked = {}, {}
    if count is None and (vid_min is None or vid_max is None):
        errors["count"] = _("Say how many segments, or give the first and the last VLAN ID.")
    if count is not None and not 1 <= count <= VID_MAX:
        errors["count"] = _("Make 1 to {max} segments at a time.").format(max=VID_MAX)
    asked["count"] = count
    for name, value, default in (("vid_min", vid_min, VID_MIN), ("vid_max", vid_max, VID_MAX)):
        try:
            asked[name] = default if value is None else clean_vid(value)
        except ValidationError as error:
            errors[name] = error.messages
    if not errors and asked["vid_min"] > asked["vid_max"]:
        errors["vid_max"] = _("The range ends before it begins: give the lower VLAN ID first.")
    asked["prefix_length"] = pool.grow_prefix_length if prefix_length is None else prefix_length
    asked["ipv6_prefix_length"] = pool.grow_ipv6_prefix_length if ipv6_prefix_length is None else ipv6_prefix_length
    errors |= _length_errors(pool, asked["prefix_length"], asked["ipv6_prefix_length"])
    asked["epg_template"] = epg_template or pool.epg_template
    try:
        if epg_template:
            validate_epg_template(epg_template)
    except ValidationError as error:
        errors["epg_template"] = error.messages
    if errors:
        raise ValidationError(errors)
    return asked


def _length_errors(pool, prefix_length, ipv6_prefix_length):
    """Return {field: text} with what is wrong with the lengths of new prefixes of `pool`."""
    networks = [prefix.prefix for prefix in pool.prefixes.all()]
    # That there is no container shows in that there is no room.
    errors = new_prefix_errors(pool, networks, prefix_length, ipv6_prefix_length) if networks else {}
    if not prefix_length:
        errors["prefix_length"] = _("Give the prefix length of the new segments, such as 24.")
    return errors


def _generate(pk, asked, fields, viewer):
    pool = _lock_pool(pk)
    first, last, count = asked["vid_min"], asked["vid_max"], asked["count"]
    if not count:
        for name in ("vid_min", "vid_max"):
            if errors := vid_range_errors(pool.vlan_group, asked[name]):
                raise ValidationError({name: errors["vid"]})
    vids = find_vids(pool.vlan_group, first, last, count or VID_MAX)
    if count and len(vids) < count:
        raise ValidationError(
            {
                "count": _("VLAN group {group} has {free} free VLAN IDs from {first} to {last}, not {count}.").format(
                    group=pool.vlan_group, free=len(vids), first=first, last=last, count=count
                )
            }
        )
    specs = _plan(pool, vids, asked, fields)
    segments, errors = provisioning.build_segments(specs, pools_locked=True)
    _raise_first(specs, errors)
    if viewer and len(permitted_ids(Segment, viewer, "add", [segment.pk for segment in segments])) < len(segments):
        raise PermissionDenied(_("You may not add such segments: ask for the permission."))
    free = set(vids)
    return GenerateResult(segments, [] if count else [vid for vid in range(first, last + 1) if vid not in free])


def _lock_pool(pk):
    """
    Lock the VRF and the VLAN group of a pool, and return it as it is from then on.

    Raises:
        Busy: It was deleted or moved at the same time.
    """
    pools = SegmentPool.objects.select_related("vrf", "vlan_group", "tenant", "role")
    spaces = pools.filter(pk=pk).values_list("vrf", "vlan_group").first()
    if spaces is None:
        raise Busy
    vrf, vlan_group = spaces
    transactions.lock_spaces([vrf], [vlan_group])
    pool = pools.prefetch_related("prefixes").filter(pk=pk, vrf=vrf, vlan_group=vlan_group).first()
    if pool is None:
        raise Busy
    return pool


def _plan(pool, vids, asked, fields):
    """
    Return a SegmentSpec for each of the VLAN IDs.

    Raises:
        ValidationError: The containers have no room for so many, or a name comes out wrong.
    """
    networks = {"prefix": find_networks(pool, asked["prefix_length"], len(vids))}
    if asked["ipv6_prefix_length"]:
        networks["ipv6_prefix"] = find_networks(pool, asked["ipv6_prefix_length"], len(vids), version=6)
    for name, found in networks.items():
        if len(found) < len(vids):
            raise ValidationError(
                {
                    f"{name}_length": _(
                        "The containers of pool {pool} have room for {free} more /{length}, not {count}: "
                        "add a container, or make fewer."
                    ).format(pool=pool, free=len(found), length=asked[f"{name}_length"], count=len(vids))
                }
            )
    specs = []
    for vid, *both in zip(vids, *networks.values(), strict=True):
        epg_name = _epg_name(pool, asked["epg_template"], vid)
        prefixes = dict(zip(networks, both, strict=True))
        # Nothing uses what has been looked for as free.
        status = SegmentStatusChoices.AVAILABLE
        specs.append(SegmentSpec(pool=pool, vid=vid, epg_name=epg_name, status=status, **prefixes, **fields))
    return specs


def _epg_name(pool, template, vid):
    try:
        # A pool whose scope is gone still grows.
        site = pool.scope.name if pool.scope else ""
        return render_epg_name(template, site=site, vrf=pool.vrf.name, pool=pool.name, vid=vid)
    except ValidationError as error:
        raise ValidationError({"epg_template": error.messages}) from None


def _raise_first(specs, errors):
    """Raise a ValidationError for the first of the specs that cannot be made."""
    names = {"epg_name": "epg_template", "prefix": "prefix_length", "ipv6_prefix": "ipv6_prefix_length"}
    names |= {name: name for name in ("custom_fields", "vlan_custom_fields", "prefix_custom_fields")}
    for spec, problems in zip(specs, errors, strict=True):
        if problems:
            raise ValidationError(
                {
                    names.get(name, "__all__"): [
                        _("VLAN ID {vid}: {text}").format(vid=spec.vid, text=text)
                        for text in ([texts] if isinstance(texts, str) else texts)
                    ]
                    for name, texts in problems.items()
                }
            )


def find_vids(group, first, last, count, highest=False):
    """Return up to `count` VLAN IDs from `first` to `last` that no VLAN of a group has; lowest first, or highest."""
    values = {"ranges": group.vid_ranges, "group": group.pk, "first": first, "last": last}
    with connection.cursor() as cursor:
        cursor.execute(FREE_VIDS, {**values, "count": count, "highest": highest})
        return [vid for (vid,) in cursor.fetchall()]


def find_networks(pool, length, count, version=None):
    """
    Return up to `count` networks of a length that are free in a pool's containers, lowest first.

    No prefix, IP range or IP address of the VRF lies in them, and none is a container of the pool.

    Args:
        pool: The SegmentPool.
        length: Prefix length.
        count: How many.
        version: 4 or 6; None for IPv4 where the pool has such containers, else IPv6.
    """
    prefixes = [prefix for prefix in pool.prefixes.all() if prefix.vrf_id == pool.vrf_id]
    version = version or min((prefix.prefix.version for prefix in prefixes), default=4)
    bits = ADDRESS_BITS[version]
    containers = [prefix.prefix for prefix in prefixes if prefix.prefix.version == version]
    outermost = [one for one in containers if not any(one != other and one in other for other in containers)]
    # A container is itself no segment's network.
    roomy = [network for network in outermost if network.prefixlen < length <= bits]
    if not roomy:
        return []
    values = {
        "containers": [str(network) for network in roomy],
        "own": [prefix.pk for prefix in prefixes],
        "vrf": pool.vrf_id,
        "length": length,
        "bits": bits,
        # Each gap has room for one at least.
        "count": count,
    }
    with connection.cursor() as cursor:
        cursor.execute(FREE_SPACE, values)
        gaps = cursor.fetchall()
    return list(islice((network for first, last in gaps for network in _networks(first, last, length)), count))


def _networks(first, last, length):
    """Yield the networks of a length from one address to another."""
    network, last = IPNetwork(f"{first}/{length}"), IPAddress(last)
    while network.last <= int(last):
        yield network
        if network.last == int(last):
            return
        network = network.next()


class Growth(NamedTuple):
    """The Segment that a pool has made itself, or None and why it could not, in words."""

    segment: object
    reason: str = ""


def grow(pool, criteria):
    """
    Make the next segment of a pool that grows, in the caller's transaction.

    The caller holds `transactions.lock_spaces` for the pool's VRF and VLAN group.

    Args:
        pool: The SegmentPool.
        criteria: The caller's SegmentCriteria, of which the VLAN IDs and the prefix length count.

    Returns:
        Growth

    Raises:
        Busy: The pool is not what the locks were taken for any more.
    """
    known, pools = pool, SegmentPool.objects.select_related("vrf", "vlan_group", "tenant", "role")
    pool = pools.prefetch_related("prefixes").filter(pk=known.pk).first()
    if pool is None or (pool.vrf_id, pool.vlan_group_id) != (known.vrf_id, known.vlan_group_id):
        # Merged or moved before the locks were had.
        raise Busy
    if not pool.auto_grow or criteria.segment is not None:
        return Growth(None)
    if not _rest(pool, pool.segments.count()):
        return Growth(None, _("It has reached its growth limit of {limit} segments.").format(limit=pool.grow_limit))
    asked = {
        "prefix_length": criteria.prefix_length or pool.grow_prefix_length,
        "ipv6_prefix_length": pool.grow_ipv6_prefix_length,
        "epg_template": pool.epg_template,
    }
    first, last = (
        (criteria.vid, criteria.vid) if criteria.vid else (criteria.vid_min or VID_MIN, criteria.vid_max or VID_MAX)
    )
    highest = pool.allocation_order == AllocationOrderChoices.HIGHEST
    vids = find_vids(pool.vlan_group, first, last, CANDIDATES, highest)
    if not vids:
        return Growth(None, _("VLAN group {group} has no free VLAN ID for it.").format(group=pool.vlan_group))
    try:
        if errors := _length_errors(pool, asked["prefix_length"], asked["ipv6_prefix_length"]):
            raise ValidationError(errors)
        specs = _plan(pool, _with_free_name(pool, vids, asked["epg_template"])[:1], asked, {})
        (segment,), errors = provisioning.build_segments(specs, pools_locked=True)
        _raise_first(specs, errors)
    except ValidationError as error:
        return Growth(None, " ".join(error.messages))
    segment.is_grown = True
    return Growth(segment)


def _with_free_name(pool, vids, template):
    """Return those of the VLAN IDs whose name no VLAN of the group has, or all where each has."""
    names = {vid: _epg_name(pool, template, vid) for vid in vids}
    taken = VLAN.objects.filter(group=pool.vlan_group, name__in=names.values()).order_by()
    taken = set(taken.values_list("name", flat=True))
    return [vid for vid, name in names.items() if name not in taken] or vids


def _rest(pool, total):
    """Return how many segments a pool with `total` of them may make itself before it reaches its limit."""
    return max(pool.grow_limit - total, 0) if pool.grow_limit else VID_MAX


def with_room(usage, pool):
    """
    Return the SegmentUsage of a pool as if it had made all the segments that it may make itself.

    It takes three queries, or four, where the pool grows, and none where it does not.
    """
    count = _rest(pool, usage.total_segments) if pool.auto_grow else 0
    if count and _length_errors(pool, pool.grow_prefix_length, pool.grow_ipv6_prefix_length):
        # It would refuse to grow.
        count = 0
    if count:
        count = len(find_vids(pool.vlan_group, VID_MIN, VID_MAX, count))
    for length, version in ((pool.grow_prefix_length, None), (pool.grow_ipv6_prefix_length, 6)):
        if count and length:
            count = len(find_networks(pool, length, count, version))
    return replace(usage, total_segments=usage.total_segments + count, available=usage.available + count)
