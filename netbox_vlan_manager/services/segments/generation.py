"""
Makes segments of free VLAN IDs and networks: the lowest VLAN IDs of a pool's VLAN group with the first free networks of
its containers.

VLAN IDs and networks that NetBox has any object for are left alone (see `free_space`).
"""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from django.core.exceptions import PermissionDenied, ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...choices import SegmentStatusChoices
from ...exceptions import Busy
from ...models import Segment, SegmentPool
from ...validators import (
    EPG_TEMPLATE,
    VID_MAX,
    VID_MIN,
    clean_vid,
    new_prefix_errors,
    render_epg_name,
    usual_prefix_length,
    validate_epg_template,
)
from ..base import audit, operations, transactions
from ..base.visibility import permitted_ids
from . import provisioning
from .free_space import find_networks, find_vids
from .spaces import vid_range_errors
from .specs import SegmentSpec

__all__ = (
    "GenerateResult",
    "GenerationRequest",
    "find_next",
    "generate_segments",
    "length_errors",
    "make_name",
    "plan_specs",
    "raise_first",
)


PREFIX_LENGTH_MISSING = gettext_lazy("Give the prefix length of the new segments, such as 24.")


@dataclass(frozen=True)
class GenerationRequest:
    """
    The segments that a caller wants to be made, with the pool's values where the caller gives none (see `clean`).

    Args:
        pool: The SegmentPool.
        count: How many; None for one with each free VLAN ID from `vid_min` to `vid_max`.
        vid_min, vid_max: The first and the last VLAN ID that may be taken.
        prefix_length: The length of their prefixes.
        ipv6_prefix_length: The length of their IPv6 prefixes beside IPv4 ones; None for none.
        epg_template: The template of their names (see `validators.render_epg_name`).
        fields: Other fields of SegmentSpec, the same for all of them.
    """

    pool: SegmentPool
    count: int | None
    vid_min: int
    vid_max: int
    prefix_length: int | None
    ipv6_prefix_length: int | None
    epg_template: str
    fields: dict = field(default_factory=dict)

    @classmethod
    def clean(cls, pool, **values):
        """
        Return the request of a caller; `values` are as `generate_segments` takes them.

        Raises:
            ValidationError: Keyed by field, for all invalid values at once; free space is not checked.
        """
        errors, asked = {}, {name: values.pop(name, None) for name in ASKED}
        count = asked["count"]
        if count is None and (asked["vid_min"] is None or asked["vid_max"] is None):
            errors["count"] = _("Give the number of segments, or the first and the last VLAN ID.")
        if count is not None and not 1 <= count <= VID_MAX:
            errors["count"] = _("Make 1 to {max} segments at a time.").format(max=VID_MAX)
        for name, default in (("vid_min", VID_MIN), ("vid_max", VID_MAX)):
            try:
                asked[name] = default if asked[name] is None else clean_vid(asked[name])
            except ValidationError as error:
                errors[name] = error.messages
        if not errors and asked["vid_min"] > asked["vid_max"]:
            errors["vid_max"] = _("The range ends before it begins: give the lower VLAN ID first.")
        for name in ("prefix_length", "ipv6_prefix_length"):
            if asked[name] is None:
                asked[name] = getattr(pool, f"grow_{name}")
        errors |= length_errors(pool, asked["prefix_length"], asked["ipv6_prefix_length"])
        try:
            if asked["epg_template"]:
                validate_epg_template(asked["epg_template"])
        except ValidationError as error:
            errors["epg_template"] = error.messages
        if errors:
            raise ValidationError(errors)
        return cls(pool, **asked | {"epg_template": asked["epg_template"] or pool.epg_template}, fields=values)


# The values of a caller that a GenerationRequest cleans.
ASKED = ("count", "vid_min", "vid_max", "prefix_length", "ipv6_prefix_length", "epg_template")


@dataclass
class GenerateResult:
    """
    The Segments that were made, or would be, and the VLAN IDs of the range that were skipped: they are taken, or lie
    between the group's ranges.

    In a dry run the segments have no id.
    """

    segments: list = field(default_factory=list)
    skipped: list = field(default_factory=list)

    def as_json(self, listed):
        """Return the result for a job or a page: the number of segments, and the first `listed` of them."""
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


def generate_segments(pool, *, user, dry_run=False, enforce=True, **values):
    """
    Make segments of free VLAN IDs and networks of a pool, all of them or none.

    Locks the VRF and the VLAN group until the transaction ends. So does a dry run, which is rolled back.

    Args:
        pool: The SegmentPool.
        user: The User, or the user name, for the change log.
        dry_run: Return the segments that would be made, and change nothing.
        enforce: Hold the user to their object permissions on segments.
        values: count, vid_min, vid_max, prefix_length, ipv6_prefix_length, epg_template as in GenerationRequest. Left
            out, they are the group's lowest and highest VLAN ID, the lengths that the pool grows by, and the pool's
            template; count needs both VLAN IDs then. Also dhcp, description, comments, custom_field_data of the
            segments; vlan_custom_fields and prefix_custom_fields of their VLANs and prefixes, {name: value}.

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
    request = GenerationRequest.clean(pool, **values)
    work = partial(_generate_locked, request, user if enforce else None)
    about = {"pool": pool, **{name: getattr(request, name) for name in ASKED}, "user": user}
    with operations.track("generate", dry_run=dry_run, **about) as operation, audit.change_tracking(user):
        result = transactions.run(work, dry_run)
        operation.outcome = f"{len(result.segments)} segments"
    if dry_run:
        for segment in result.segments:
            segment.pk = None
    return result


def length_errors(pool, prefix_length, ipv6_prefix_length):
    """Return {field: text} with the errors of the lengths of new prefixes of `pool`."""
    networks = [prefix.prefix for prefix in pool.prefixes.all()]
    # Without containers the error is that there is no room.
    errors = new_prefix_errors(pool, networks, prefix_length, ipv6_prefix_length) if networks else {}
    if not prefix_length:
        errors["prefix_length"] = PREFIX_LENGTH_MISSING
    return errors


def _generate_locked(request, viewer):
    pool = _lock_pool(request.pool.pk)
    first, last, count = request.vid_min, request.vid_max, request.count
    if not count:
        for name, vid in (("vid_min", first), ("vid_max", last)):
            if errors := vid_range_errors(pool.vlan_group, vid):
                raise ValidationError({name: errors["vid"]})
    vids = find_vids(pool.vlan_group, first, last, count or VID_MAX)
    if count and len(vids) < count:
        text = _("VLAN group {group} ({ranges}) has {free} free VLAN IDs from {first} to {last}, not {count}.")
        ranges = pool.vlan_group.vid_ranges_list
        text = text.format(group=pool.vlan_group, ranges=ranges, free=len(vids), first=first, last=last, count=count)
        raise ValidationError({"count": text})
    specs = plan_specs(pool, vids, request)
    segments, errors = provisioning.build_segments_locked(specs, pools_locked=True)
    raise_first(specs, errors)
    if viewer and len(permitted_ids(Segment, viewer, "add", [segment.pk for segment in segments])) < len(segments):
        raise PermissionDenied(_("You may not add such segments: ask for the permission."))
    free = set(vids)
    return GenerateResult(segments, [] if count else [vid for vid in range(first, last + 1) if vid not in free])


def _lock_pool(pk):
    """
    Lock the VRF and the VLAN group of a pool, and return the pool as it is under the locks.

    Raises:
        Busy: The pool was deleted or moved at the same time.
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


def plan_specs(pool, vids, request):
    """
    Return a SegmentSpec for each of the VLAN IDs.

    Args:
        pool: The SegmentPool, as it is under the locks.
        vids: VLAN IDs.
        request: The GenerationRequest.

    Raises:
        ValidationError: The containers have no room for so many, or a name is not valid.
    """
    lengths = {"prefix": request.prefix_length}
    networks = {"prefix": find_networks(pool, request.prefix_length, len(vids))}
    if request.ipv6_prefix_length:
        lengths["ipv6_prefix"] = request.ipv6_prefix_length
        networks["ipv6_prefix"] = find_networks(pool, request.ipv6_prefix_length, len(vids), version=6)
    for name, found in networks.items():
        if len(found) < len(vids):
            text = _(
                "The containers of pool {pool} have room for {free} more /{length}, not {count}: "
                "add a container, or make fewer."
            ).format(pool=pool, free=len(found), length=lengths[name], count=len(vids))
            raise ValidationError({f"{name}_length": text})
    specs = []
    for vid, *both in zip(vids, *networks.values(), strict=True):
        epg_name = make_name(pool, request.epg_template, vid)
        prefixes = dict(zip(networks, both, strict=True))
        # The free space has been searched for uses already.
        status = SegmentStatusChoices.AVAILABLE
        specs.append(SegmentSpec(pool=pool, vid=vid, epg_name=epg_name, status=status, **prefixes, **request.fields))
    return specs


def find_next(pool, vid=None):
    """
    Return {field: value} of the segment that `generate_segments` would make next in a pool, as far as there is one.

    It locks nothing: another caller may take the VLAN ID and the networks.

    Args:
        pool: The SegmentPool.
        vid: The VLAN ID of the segment; None for the lowest free one.
    """
    networks = [prefix.prefix for prefix in pool.prefixes.all()]
    versions = {network.version for network in networks}
    first = min(versions, default=4)
    lengths = {"prefix": (first, usual_prefix_length(pool, networks, first))}
    if versions == {4, 6}:
        lengths["ipv6_prefix"] = 6, usual_prefix_length(pool, networks, 6)
    found = {}
    for name, (version, length) in lengths.items():
        if free := length and find_networks(pool, length, 1, version=version):
            found[name] = str(free[0])
    vids = [vid] if vid else find_vids(pool.vlan_group, VID_MIN, VID_MAX, 1)
    if vids:
        # A name that is too long is left to the user.
        with suppress(ValidationError):
            found["epg_name"] = make_name(pool, pool.epg_template or EPG_TEMPLATE, vids[0])
        found["vid"] = vids[0]
    return found


def make_name(pool, template, vid):
    """
    Return the EPG name that a template gives for a VLAN ID of `pool`.

    Raises:
        ValidationError: Keyed by epg_template: the name is too long.
    """
    try:
        # A pool whose scope is gone still grows.
        site = pool.scope.name if pool.scope else ""
        return render_epg_name(template, site=site, vrf=pool.vrf.name, pool=pool.name, vid=vid)
    except ValidationError as error:
        raise ValidationError({"epg_template": error.messages}) from None


def raise_first(specs, errors):
    """Raise a ValidationError for the first spec that has errors."""
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
