"""
Gives a pool other VLAN IDs and other containers; a dry run shows the effect first.

The VLAN IDs are those of the pool's VLAN group. Where other pools share the group, none of them loses the VLAN ID of a
segment.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from django.core.exceptions import ValidationError
from django.db.backends.postgresql.psycopg_any import NumericRange
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from netaddr import IPSet

from ipam.models import VLAN, Prefix
from utilities.data import ranges_to_string

from ...choices import SegmentStatusChoices
from ...exceptions import Busy, Conflict, PoolConflict
from ...models import Segment, SegmentPool
from ...validators import clean_cidr, clean_vid_range
from ..base import audit, operations, transactions
from ..base.protection import PROTECTED_ERRORS, protected_conflicts
from ..base.visibility import check_change_of_others, permitted_ids
from ..segments.deletion import delete_segments_locked
from ..segments.locks import lock_rows
from .parts import hidden_containers
from .provisioning import update_pool

__all__ = (
    "OutsideSegment",
    "ResizeResult",
    "SharingPool",
    "resize_pool",
)


@dataclass(frozen=True)
class OutsideSegment:
    """A segment that the user may view and that lies outside; `removable` where `remove_segments` would delete it."""

    segment: Segment
    removable: bool


@dataclass(frozen=True)
class SharingPool:
    """Another pool of the VLAN group that the user may view, and how many of its segments lie outside."""

    pool: SegmentPool
    segments: int
    segments_outside: int


@dataclass(frozen=True)
class Extent:
    """
    The size of a pool: the ranges of its VLAN group as text, how many VLAN IDs they have and how many are free; its
    containers, and the number of their addresses.
    """

    vid_ranges: str
    vids: int
    free_vids: int
    prefixes: tuple
    addresses: int

    @property
    def ipv4_addresses(self):
        """How many of the addresses are IPv4; the number of IPv6 addresses is too large to be of use."""
        return IPSet(network for network in self.prefixes if network.version == 4).size


@dataclass(frozen=True)
class ResizeResult:
    """The effects of a resize, or of a dry run. `removed` is the number of segments that it deletes."""

    pool: SegmentPool
    before: Extent
    after: Extent
    segments_outside: tuple = ()
    sharing_pools: tuple = ()
    removed: int = 0
    conflicts: tuple = ()


@dataclass(frozen=True)
class ResizeRequest:
    """
    The new size that a caller wants for a pool (see `clean`).

    Args:
        pool: The SegmentPool.
        user: The User for the change log, whose view decides what the result names.
        ranges: NumericRanges of VLAN IDs that replace those of the VLAN group; None leaves them.
        prefixes: Prefixes of the VRF, or CIDRs, that replace the containers; None leaves them.
        networks: The networks of `prefixes`; None leaves the containers.
        remove_segments, enforce, changelog_message, dry_run: As `resize_pool` takes them.
    """

    pool: SegmentPool
    user: object
    ranges: list | None
    prefixes: list | None
    networks: list | None
    remove_segments: bool = False
    enforce: bool = False
    changelog_message: str = ""
    dry_run: bool = False

    @classmethod
    def clean(cls, pool, user, *, vid_ranges=None, prefixes=None, **options):
        """
        Return the request of a caller; the arguments are as `resize_pool` takes them.

        Raises:
            ValidationError: Keyed by field: a value is not valid, or there is none.
        """
        if vid_ranges is None and prefixes is None:
            raise ValidationError({"vid_ranges": _("Give other VLAN IDs, other containers (prefixes), or both.")})
        return cls(
            pool,
            user=audit.get_user(user),
            ranges=None if vid_ranges is None else _clean_ranges(vid_ranges),
            prefixes=prefixes,
            networks=None if prefixes is None else _clean_networks(prefixes),
            **options,
        )


def resize_pool(pool, *, user, dry_run=False, **options):
    """
    Give a pool's VLAN group other ranges, or the pool other containers, or both.

    Locks the VRF and the VLAN group, and the rows of the segments that then lie outside, until the transaction ends.

    Args:
        pool: The SegmentPool.
        user: The User, or the user name, for the change log, and whose view decides what the result names.
        dry_run: Return what would be done, conflicts included, and change nothing.
        options:
            vid_ranges: (first, last) pairs of VLAN IDs that replace those of the VLAN group; None leaves them.
            prefixes: Prefixes of the VRF, or CIDRs, that replace the containers; None leaves them.
            remove_segments: Delete the pool's own available segments that then lie outside.
            enforce: Hold the user to their object permissions: to change each pool that shares a VLAN group whose
                ranges change or a network that the pool gets, and to delete each segment that is deleted. Containers
                that they may not view stay.
            changelog_message: Why, for the change log of the pool and of the VLAN group.

    Returns:
        ResizeResult

    Raises:
        ValidationError: A value is not valid.
        PermissionDenied: The change concerns another pool, which the user may not change.
        PoolConflict: Segments lie outside then, or something else in NetBox uses an object that would be deleted (not
            in a dry run); nothing was changed.
        Busy: Locks were not had in time, or the pool was deleted; nothing was changed.
    """
    request = ResizeRequest.clean(pool, user, dry_run=dry_run, **options)
    user = request.user
    with operations.track("resize", dry_run=dry_run, pool=pool, user=user), audit.change_tracking(user):
        return transactions.run(partial(_resize_locked, request), dry_run)


def _clean_ranges(vid_ranges):
    errors, ranges = [], []
    for first, last in vid_ranges:
        try:
            ranges.append(clean_vid_range(first, last))
        except ValidationError as error:
            errors += error.messages
    ranges.sort()
    if not ranges and not errors:
        errors.append(_("Give at least one range of VLAN IDs."))
    for (_first, last), (first, _last) in pairwise(ranges):
        if first <= last:
            errors.append(_("VLAN ID {vid} is in two of the ranges: name each once.").format(vid=first))
    if errors:
        raise ValidationError({"vid_ranges": errors})
    return [NumericRange(first, last + 1) for first, last in ranges]


def _clean_networks(prefixes):
    errors, networks = [], []
    for prefix in prefixes:
        try:
            networks.append(prefix.prefix if isinstance(prefix, Prefix) else clean_cidr(prefix))
        except ValidationError as error:
            errors += error.messages
    if errors:
        raise ValidationError({"prefixes": errors})
    return networks


def _resize_locked(request):
    pool, group, ranges, networks = _lock_spaces(request)
    own_networks = [prefix.prefix for prefix in pool.prefixes.all()]
    before = _extent(group, group.vid_ranges, own_networks)
    after = _extent(
        group, group.vid_ranges if ranges is None else ranges, own_networks if networks is None else networks
    )
    outside = _lock_outside(pool, ranges, networks)
    result = {"pool": pool, "before": before, "after": after, **_find_effects(request, pool, outside, ranges, networks)}
    if result["conflicts"]:
        if not request.dry_run:
            raise _refused(pool, result["conflicts"])
        return ResizeResult(**result)
    if outside:
        segments = Segment.objects.filter(pk__in=[segment.pk for segment in outside]).order_by("pool_id", "vid")
        try:
            delete_segments_locked(segments)
        except PROTECTED_ERRORS as error:
            conflicts = protected_conflicts(error, request.user)
            if not request.dry_run:
                raise _refused(pool, conflicts) from error
            return ResizeResult(**result | {"removed": 0, "conflicts": tuple(conflicts)})
    message = request.changelog_message
    if ranges is not None:
        _set_ranges(group, ranges, message)
    if request.prefixes is not None:
        values = {"prefixes": request.prefixes, "changelog_message": message}
        update_pool(pool, user=request.user, enforce=request.enforce, **values)
    return ResizeResult(**result)


def _lock_spaces(request):
    """
    Lock the VRF and the VLAN group of the pool, and check the permission to change them.

    Returns:
        The pool and its VLAN group as they are now, and the new ranges and networks; None for those that stay.

    Raises:
        PermissionDenied: The change concerns another pool, which the user may not change.
        ValidationError: The pool would have no container.
        Busy: The pool was deleted.
    """
    pk, user, ranges, networks = request.pool.pk, request.user, request.ranges, request.networks
    pool = SegmentPool.objects.filter(pk=pk).first()
    if pool is None:
        raise Busy
    transactions.lock_spaces([pool.vrf_id], [pool.vlan_group_id])
    pool = SegmentPool.objects.select_related("vrf", "vlan_group").get(pk=pk)
    group = pool.vlan_group
    if ranges is not None and _as_pairs(ranges) == _as_pairs(group.vid_ranges):
        ranges = None
    if request.enforce:
        if ranges is not None:
            others = SegmentPool.objects.filter(vlan_group=group).exclude(pk=pk)
            check_change_of_others(others, user, _("VLAN group {group}").format(group=group))
        if networks is not None:
            networks = [*networks, *(prefix.prefix for prefix in hidden_containers(pool, user))]
    if networks == []:
        raise ValidationError({"prefixes": [_("A pool needs at least one container prefix.")]})
    return pool, group, ranges, networks


def _find_effects(request, pool, outside, ranges, networks):
    """
    Return the fields of the ResizeResult that tell what happens to segments.

    Args:
        request: The ResizeRequest.
        pool: The SegmentPool, locked.
        outside: Its segments that lie outside, locked.
        ranges, networks: The new ones; None for those that stay.
    """
    user, removes = request.user, request.remove_segments
    sharing = _sharing_pools(pool, ranges)
    removable = _removable(outside, user, request.enforce)
    viewed = permitted_ids(Segment, user, "view", [segment.pk for segment in outside])
    conflicts = _find_conflicts(outside, viewed, removable if removes else set(), ranges, networks)
    visible = set(SegmentPool.objects.restrict(user, "view").order_by().values_list("pk", flat=True))
    conflicts += _sharing_conflicts(pool, sharing, visible)
    return {
        "segments_outside": tuple(
            OutsideSegment(segment, segment.pk in removable) for segment in outside if segment.pk in viewed
        ),
        "sharing_pools": tuple(one for one in sharing if one.pool.pk in visible),
        "removed": len(outside) if removes and not conflicts else 0,
        "conflicts": tuple(conflicts),
    }


def _refused(pool, conflicts):
    reasons = " ".join(conflict.message for conflict in conflicts[:5])
    return PoolConflict(_("Pool {pool} was not changed: {reasons}").format(pool=pool, reasons=reasons), conflicts)


def _as_pairs(ranges):
    """Return the ranges of a VLAN group as sorted pairs, to compare them."""
    return sorted((vids.lower, vids.upper) for vids in ranges)


def _extent(group, ranges, networks):
    numbers = {vid for vids in ranges for vid in range(vids.lower, vids.upper)}
    taken = numbers.intersection(VLAN.objects.filter(group=group).order_by().values_list("vid", flat=True))
    return Extent(
        vid_ranges=ranges_to_string(ranges),
        vids=len(numbers),
        free_vids=len(numbers) - len(taken),
        prefixes=tuple(sorted(networks)),
        # IPv6 pools have more addresses than len() may return.
        addresses=IPSet(networks).size,
    )


def _has(ranges, vid):
    return any(vids.lower <= vid < vids.upper for vids in ranges)


def _parts_outside(segment, ranges, networks):
    """Return the VLAN ID and prefixes of `segment` that lie outside, as texts; what stays is None."""
    parts = []
    if ranges is not None and not _has(ranges, segment.vid):
        parts.append(_("VLAN ID {vid}").format(vid=segment.vid))
    own = [prefix.prefix for prefix in (segment.prefix, segment.ipv6_prefix) if prefix]
    if networks is not None:
        parts += [str(network) for network in own if not any(network in one for one in networks)]
    return parts


def _lock_outside(pool, ranges, networks):
    """Lock and return the segments of `pool` that lie outside; ranges or networks that stay are None."""
    segments = Segment.objects.filter(pool=pool).select_related("vlan", "prefix", "ipv6_prefix")
    pks = [segment.pk for segment in segments if _parts_outside(segment, ranges, networks)]
    rows = Segment.objects.filter(pk__in=pks).order_by("pool_id", "vid")
    lock_rows(rows)
    # Read again under the locks: a cluster may hold one of them since.
    return list(rows.prefetch_related("vlan", "prefix", "ipv6_prefix", "pool"))


def _sharing_pools(pool, ranges):
    others = SegmentPool.objects.filter(vlan_group=pool.vlan_group_id).exclude(pk=pool.pk)
    vids = {other.pk: [] for other in others}
    for pk, vid in Segment.objects.filter(pool__in=vids).order_by().values_list("pool_id", "vid"):
        vids[pk].append(vid)
    return [
        SharingPool(
            other,
            segments=len(vids[other.pk]),
            segments_outside=sum(ranges is not None and not _has(ranges, vid) for vid in vids[other.pk]),
        )
        for other in others
    ]


def _removable(outside, user, enforce):
    available = {segment.pk for segment in outside if segment.status == SegmentStatusChoices.AVAILABLE}
    return permitted_ids(Segment, user, "delete", available) if enforce else available


def _find_conflicts(outside, viewed, removed, ranges, networks):
    """Return Conflicts for the segments that lie outside, except those of the ids `removed`."""
    conflicts, hidden = [], False
    for segment in outside:
        if segment.pk in removed:
            continue
        if segment.pk not in viewed:
            hidden = True
            continue
        if segment.status == SegmentStatusChoices.AVAILABLE:
            text = _("Segment {segment}, {parts}, lies outside: keep it inside, or choose to remove segments.")
        elif segment.status == SegmentStatusChoices.ALLOCATED:
            text = _("Segment {segment}, {parts}, lies outside and is allocated: keep it inside, or release it first.")
        else:
            text = _("Segment {segment}, {parts}, lies outside and is {status}: keep it inside, or delete it first.")
        message = text.format(
            segment=segment,
            parts=", ".join(_parts_outside(segment, ranges, networks)),
            status=segment.get_status_display().lower(),
        )
        conflicts.append(Conflict(message, segment.pk, segment.vid))
    if hidden:
        conflicts.append(Conflict(_("Segments that you may not view, or not remove, lie outside.")))
    return conflicts


def _sharing_conflicts(pool, sharing, visible):
    conflicts, hidden = [], False
    for other in sharing:
        if not other.segments_outside:
            continue
        if other.pool.pk not in visible:
            hidden = True
            continue
        text = ngettext(
            "{count} segment of pool {pool}, which shares VLAN group {group}, lies outside: keep it inside.",
            "{count} segments of pool {pool}, which shares VLAN group {group}, lie outside: keep them inside.",
            other.segments_outside,
        )
        conflicts.append(Conflict(text.format(count=other.segments_outside, pool=other.pool, group=pool.vlan_group)))
    if hidden:
        text = _("Segments of pools that you may not view, which share VLAN group {group}, lie outside.")
        conflicts.append(Conflict(text.format(group=pool.vlan_group)))
    return conflicts


def _set_ranges(group, ranges, changelog_message):
    group.snapshot()
    group._changelog_message = changelog_message
    group.vid_ranges = ranges
    try:
        group.full_clean()
    except ValidationError as error:
        raise ValidationError({"vid_ranges": error.messages}) from None
    group.save()
