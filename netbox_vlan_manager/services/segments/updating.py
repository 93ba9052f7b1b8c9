"""Changes segments, and with them their VLANs and prefixes."""

from functools import partial

from django.core.exceptions import ValidationError
from django.db.models import CharField, Value
from django.db.models.functions import Cast, Concat
from django.utils.translation import gettext as _

from ipam.models import VLAN, Prefix

from ...choices import SegmentStatusChoices
from ...exceptions import SegmentInUse
from ...models import Segment
from ..base import audit, custom_fields, hooks, operations, transactions
from ..base.visibility import nameable
from . import guards, usage
from .deletion import detach_prefix
from .followers import follow_segment
from .gateways import IP_ADDRESSES, write_gateways_locked
from .hierarchy import create_prefixes
from .provisioning import plan_prefix
from .spaces import Containers, PrefixSpace, VLANSpace, family_errors
from .specs import SegmentSpec, clean_gateways, clean_values
from .validation import add_texts

__all__ = (
    "update_segment",
    "update_segment_locked",
    "update_segments_locked",
)

# The network of a prefix while it changes places with another one: an address that no segment can have.
NOWHERE = "::/128"
# The values of `update_segment` that are custom fields of the segment's VLAN, and of its prefixes.
PART_FIELDS = ("vlan_custom_fields", "prefix_custom_fields")


def update_segment(segment, *, user, **values):
    """
    Change a segment, and with it its VLAN and prefixes.

    A new IPv6 prefix is found or created as in `create_segment`. An IPv6 prefix that is removed is deleted if it was
    created with the segment. Locks its VRF and VLAN group, and the segment's row, until the transaction ends.

    Args:
        segment: The Segment.
        user: The User, or the user name, for the change log.
        values: Any of vid, epg_name, prefix (CIDR), ipv6_prefix (CIDR, or None for none), gateway and ipv6_gateway
            (None for none), dhcp, description, comments, owner, custom_field_data, changelog_message;
            vlan_custom_fields and prefix_custom_fields, {name: value}, for its VLAN and prefixes.

    Returns:
        The Segment, as it is now.

    Raises:
        ValidationError: Keyed by field; nothing was changed.
        SegmentInUse: VLAN ID or a prefix would change while a cluster holds the segment. An IPv6 prefix may be added.
        ProtectedError: Another object in NetBox uses the IPv6 prefix that would be deleted; nothing was changed.
        Busy: Locks were not had in time; nothing was changed.
    """
    user = audit.get_user(user)
    about = {"segment": segment.pk, "vid": segment.vid, "user": user}
    with operations.track("update segment", **about), audit.change_tracking(user):
        return transactions.run(partial(update_segment_locked, segment, values))


def update_segments_locked(changes):
    """
    Do `update_segment_locked` for several segments, which may exchange their EPG names and networks.

    At every moment NetBox allows one VLAN of a name in a group, and the plugin allows one segment on a network. So all
    segments give up the names and networks that change before the first one gets its new ones.

    Args:
        changes: (Segment, values) pairs.
    """
    if len(changes) == 1:
        ((segment, values),) = changes
        update_segment_locked(segment, values)
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
    # Without save() and the change log: nobody sees these values, and the log has the change from the values before.
    VLAN.objects.filter(pk__in=vlans).update(name=Concat(Value(" "), Cast("pk", CharField())))
    Prefix.objects.filter(pk__in=prefixes).update(prefix=NOWHERE)
    for segment, values in changes:
        update_segment_locked(segment, values, given_up[segment.pk])


def update_segment_locked(segment, values, given_up=None):
    """
    Do the part of `update_segment` that needs locks, in the caller's transaction.

    Args:
        segment: The Segment.
        values: As `update_segment` takes them.
        given_up: Those of epg_name, prefix and ipv6_prefix that `update_segments_locked` has taken from it.

    Returns:
        The Segment, as it is now.
    """
    transactions.lock_spaces([segment.pool.vrf_id], [segment.pool.vlan_group_id])
    segments = Segment.objects.select_related("vlan__group", "prefix__vrf", "ipv6_prefix__vrf", "pool__vrf")
    segment = segments.select_for_update(no_key=True, of=("self",)).get(pk=segment.pk)
    _give_back(segment, given_up or {})
    # Values that the caller does not give stay as they are under the lock, even if the caller read others before.
    now = {
        "vid": segment.vlan.vid,
        "epg_name": segment.vlan.name,
        "prefix": segment.prefix.prefix,
        "ipv6_prefix": segment.ipv6_prefix and segment.ipv6_prefix.prefix,
    }
    typed = {name: values[name] for name in now if name in values}
    of_parts = {name: values[name] for name in PART_FIELDS if name in values}
    values = {name: value for name, value in values.items() if name not in typed and name not in of_parts}
    wanted = now | clean_values(Containers(segment.pool), **typed)
    _check_wanted(segment, now, wanted)
    _change_parts(segment, now, wanted, of_parts)
    _change_segment(segment, wanted["ipv6_prefix"], values, of_parts)
    return segment


def _give_back(segment, given_up):
    """Set on the VLAN and prefixes of `segment` the values that `update_segments_locked` has taken from them."""
    for name, value in given_up.items():
        if name == "epg_name":
            segment.vlan.name = value
        else:
            # NetBox counts the hierarchy again around the network that a prefix had when it was read.
            moved = getattr(segment, name)
            moved.prefix = moved._prefix = value


def _check_wanted(segment, now, wanted):
    """
    Make sure that `segment` may get other values for its VLAN and prefixes.

    Args:
        segment: The Segment, locked.
        now: Its vid, epg_name, prefix and ipv6_prefix.
        wanted: The same fields, as they are to be.

    Raises:
        ValidationError: The networks do not go together.
        SegmentInUse: VLAN ID or a prefix would change while a cluster holds the segment.
        Vetoed: They would change, and an optional part of the plugin refuses that.
    """
    if errors := family_errors(wanted["prefix"], wanted["ipv6_prefix"]):
        raise ValidationError(errors)
    renumbered = any(now[name] not in (None, wanted[name]) for name in ("vid", "prefix", "ipv6_prefix"))
    if renumbered and segment.status == SegmentStatusChoices.ALLOCATED:
        text = _("The segment is allocated: release it before its VLAN ID or prefix changes.")
        if nameable(Segment.objects).filter(pk=segment.pk).exists():
            text = _("Segment {segment} is allocated: release it before its VLAN ID or prefix changes.")
        raise SegmentInUse(text.format(segment=segment))
    if renumbered:
        hooks.check_vetoes(hooks.RENUMBER, [segment.pk])


def _change_parts(segment, now, wanted, of_parts):
    """
    Save the VLAN and the prefixes of `segment` that change.

    Args:
        segment: The Segment, locked.
        now: Its vid, epg_name, prefix and ipv6_prefix.
        wanted: The same fields, as they are to be.
        of_parts: Those of PART_FIELDS that the caller gives.
    """
    vlan, prefix, ipv6_prefix = segment.vlan, segment.prefix, segment.ipv6_prefix
    if (wanted["vid"], wanted["epg_name"]) != (now["vid"], now["epg_name"]):
        space = VLANSpace(vlan.group, [wanted["vid"]], [wanted["epg_name"]], exclude_vlan=vlan)
        if errors := space.errors(wanted["vid"], wanted["epg_name"], may_adopt=False):
            raise ValidationError(errors)
        fields = {"name": "epg_name", "vid": "vid"}
        _save_changed(vlan, fields, "vid", vid=wanted["vid"], name=wanted["epg_name"])
    if wanted["prefix"] != now["prefix"]:
        _save_changed(prefix, {"prefix": "prefix"}, "prefix", prefix=wanted["prefix"])
    if ipv6_prefix and wanted["ipv6_prefix"] and wanted["ipv6_prefix"] != now["ipv6_prefix"]:
        _save_changed(ipv6_prefix, {"prefix": "ipv6_prefix"}, "ipv6_prefix", prefix=wanted["ipv6_prefix"])
    of_vlans, of_prefixes = PART_FIELDS
    for part, name in ((vlan, of_vlans), (prefix, of_prefixes), (ipv6_prefix, of_prefixes)):
        if part and of_parts.get(name):
            _change_custom_fields(part, name, of_parts[name])


def _change_segment(segment, ipv6_network, values, of_parts):
    """
    Save `segment` itself, and add or remove its IPv6 prefix.

    Args:
        segment: The Segment, locked, whose VLAN and prefixes are saved.
        ipv6_network: The network of its IPv6 prefix, or None for no IPv6 prefix.
        values: Its other fields that change, and changelog_message.
        of_parts: Those of PART_FIELDS that the caller gives.
    """
    ipv6_prefix = segment.ipv6_prefix
    # Saved even where only its VLAN or prefix changed: the segment's ETag stands for all that it shows.
    segment.refresh_from_db(fields=("vid", *IP_ADDRESSES, *IP_ADDRESSES.values()))
    segment.snapshot()
    gateways = segment.gateways
    drops, owned = ipv6_prefix and ipv6_network is None, segment.owns_ipv6_prefix
    if drops:
        _set_ipv6_prefix(segment, None, owned=False)
    elif ipv6_prefix is None and ipv6_network:
        _add_ipv6_prefix(segment, ipv6_network, of_parts.get("prefix_custom_fields", {}))
    networks = {"prefix": segment.prefix.prefix, "ipv6_prefix": ipv6_network}
    for name, value in (values | clean_gateways(values, networks)).items():
        setattr(segment, "_changelog_message" if name == "changelog_message" else name, value)
    segment.full_clean(exclude=segment.hot_columns, validate_constraints=False)
    segment.save()
    if segment.gateways != gateways:
        write_gateways_locked([(segment, {})])
    if drops and owned:
        ipv6_prefix.delete()
    elif drops and segment.owns_vlan:
        detach_prefix(ipv6_prefix)
    hooks.send(hooks.segments_changed, [segment.pk])


def _change_custom_fields(instance, name, values):
    """Save values of custom fields on a VLAN or prefix, if any of them changes; errors are keyed by `name`."""
    if texts := custom_fields.value_errors(type(instance), values):
        raise ValidationError({name: texts})
    if any(instance.custom_field_data.get(field) != value for field, value in values.items()):
        _save_changed(instance, {}, name, custom_field_data={**instance.custom_field_data, **values})


def _add_ipv6_prefix(segment, network, values):
    """Find or create the IPv6 prefix `network` for a segment that has none, and for its allocations."""
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
        prefix, owned = plan_prefix(spec, segment.vlan, network, "ipv6_prefix", space, errors)
    if not errors:
        reasons = [] if owned else usage.status_reasons(None, [prefix])
        errors = guards.use_errors(segment, network, "ipv6_prefix", reasons)
    if errors:
        raise ValidationError(errors)
    if owned:
        prefix.vlan = segment.vlan
        create_prefixes([prefix])
    else:
        audit.update(prefix, vlan=segment.vlan, status=spec.prefix_status)
    _set_ipv6_prefix(segment, prefix, owned)
    follow_segment(segment)


def _set_ipv6_prefix(segment, prefix, owned):
    """Write the columns, which a plain save() does not write; the caller writes the change log."""
    segment.ipv6_prefix, segment.owns_ipv6_prefix = prefix, owned
    segment.ipv6_gateway = prefix and segment.pool.find_gateway(prefix.prefix)
    Segment.objects.filter(pk=segment.pk).update(ipv6_prefix=prefix, owns_ipv6_prefix=owned)


def _save_changed(instance, fields, default, **values):
    """Set values on a VLAN or prefix, validate it as NetBox and `guards` do, and save it."""
    instance.snapshot()
    for name, value in values.items():
        setattr(instance, name, value)
    try:
        instance.full_clean()
    except ValidationError as error:
        errors = {}
        add_texts(errors, error, fields, default)
        raise ValidationError(errors) from None
    instance.save()
