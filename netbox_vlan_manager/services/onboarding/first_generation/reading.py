"""
Reads the first generation's prefixes, group by group, and finds the errors of each.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db.models import Q, TextField, Value
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.models import ObjectChange
from ipam.choices import PrefixStatusChoices
from ipam.models import Prefix, VLANGroup

from ....choices import SegmentStatusChoices
from ...base.cluster_keys import cluster_key, cluster_keys
from ...segments.first_generation_fields import (
    CLUSTER_FIELD,
    DHCP_FIELD,
    EXACT,
    GROUP_INFIX,
    GROUP_NAME,
    STATUSES,
    read_holders,
    read_keys,
)
from .writing import read_dhcp

__all__ = (
    "MESSAGE",
    "Group",
    "Row",
    "allocation_times",
    "find_rows",
    "has_data",
    "segment_of",
)

# For the change log.
MESSAGE = gettext_lazy("Migrated from the first generation")


@dataclass
class Row:
    """One prefix of the first generation, with its clusters, its errors and its notes."""

    prefix: Prefix
    clusters: list = field(default_factory=list)
    # The way in which the prefix names them (see `first_generation_fields`).
    form: int = EXACT
    dhcp: bool = False
    errors: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    candidate: object = None
    allocations: list = field(default_factory=list)

    @property
    def status(self):
        """The status that its segment gets. The name of a cluster overrides the prefix's status."""
        if self.clusters:
            return SegmentStatusChoices.ALLOCATED
        if self.prefix.status == PrefixStatusChoices.STATUS_RESERVED:
            return SegmentStatusChoices.DISABLED
        return SegmentStatusChoices.AVAILABLE


@dataclass
class Group:
    """The prefixes whose VLANs are in one of the first generation's VLAN groups."""

    vlan_group: VLANGroup
    vrf: object
    site: str
    rows: list = field(default_factory=list)
    # Shared by the groups of a VRF: the ids of their prefixes, and the containers that a dry run has planned.
    known: set = field(default_factory=set)
    planned: set = field(default_factory=set)


def has_data(user=None):
    """Return whether there are prefixes of the first generation that `user` may view; None may view all."""
    return _visible(_first_generation(), user).exists()


def _visible(queryset, user):
    return queryset if user is None else queryset.restrict(user, "view")


def _first_generation():
    """Return the prefixes with a VLAN in one of the first generation's groups, or with a cluster."""
    prefixes = Prefix.objects.annotate(cluster_text=KeyTextTransform(CLUSTER_FIELD, "custom_field_data"))
    return prefixes.filter(Q(vlan__group__name__icontains=GROUP_INFIX) | Q(cluster_text__gt=""))


def find_rows(viewer):
    """Return the Groups, and the Rows that belong to no Group and are in no segment."""
    prefixes = list(
        _visible(_first_generation(), viewer)
        .select_related("vrf", "vlan__group", "tenant", "role", "segment", "ipv6_segment")
        .prefetch_related("scope")
        .order_by("vrf__name", "vrf", "vlan__group__name", "vlan__vid", "prefix", "pk")
    )
    read_keys(prefixes)
    groups, others = {}, []
    for prefix in prefixes:
        row = Row(prefix)
        vlan_group = prefix.vlan and prefix.vlan.group
        match = vlan_group and GROUP_NAME.fullmatch(vlan_group.name)
        if error := _misplaced(prefix, match):
            row.errors.append(error)
            others.append(row)
        else:
            _read_fields(row)
            key = vlan_group.pk, prefix.vrf_id
            groups.setdefault(key, Group(vlan_group, prefix.vrf, match[2])).rows.append(row)
    others += _without_vlan(groups.values(), prefixes, viewer)
    _check_namesakes(groups.values())
    _check_moved(groups.values())
    spaces = {}
    for group in groups.values():
        group.known, group.planned = spaces.setdefault(group.vrf.pk, (set(), set()))
        group.known.update(row.prefix.pk for row in group.rows)
    return list(groups.values()), [row for row in others if not segment_of(row.prefix)]


def _misplaced(prefix, match):
    """Return why a prefix belongs to no Group, or None; `match` is the match of its VLAN group's name."""
    if prefix.vrf_id is None:
        return _("The prefix is in no VRF.")
    if prefix.vlan_id is None:
        return _("The prefix has no VLAN.")
    if not match:
        if prefix.vlan.group_id is None:
            return _("VLAN {vlan} is in no VLAN group.").format(vlan=prefix.vlan)
        return _("VLAN {vlan} is in VLAN group {group}, not in one named <VRF>{infix}<Site>.").format(
            vlan=prefix.vlan, group=prefix.vlan.group, infix=GROUP_INFIX
        )
    if match[1].casefold() != prefix.vrf.name.casefold():
        return _("VLAN {vlan} is in VLAN group {group}, which is not of the prefix's VRF {vrf}.").format(
            vlan=prefix.vlan, group=prefix.vlan.group, vrf=prefix.vrf
        )
    return None


def _without_vlan(groups, known, viewer):
    """Return Rows of prefixes with DHCP, without VLAN and cluster, at the places of the groups."""
    places = {(group.vrf.pk, row.prefix.scope_type_id, row.prefix.scope_id) for group in groups for row in group.rows}
    prefixes = (
        _visible(Prefix.objects.all(), viewer)
        .annotate(dhcp_text=KeyTextTransform(DHCP_FIELD, "custom_field_data"))
        .filter(vrf__in={vrf for vrf, _type, _pk in places}, vlan=None, dhcp_text__gt="", status__in=STATUSES)
        .exclude(pk__in=[prefix.pk for prefix in known])
        .select_related("segment", "ipv6_segment")
        .order_by("prefix", "pk")
    )
    return [
        Row(prefix, errors=[_("The prefix has no VLAN.")])
        for prefix in prefixes
        if (prefix.vrf_id, prefix.scope_type_id, prefix.scope_id) in places
    ]


def _check_namesakes(groups):
    """Add errors to rows of VLAN groups with the same name, which NetBox allows at several scopes: a pool has one."""
    by_name = {}
    for group in groups:
        by_name.setdefault((group.vrf.pk, group.site.casefold()), []).append(group)
    for namesakes in by_name.values():
        if len(namesakes) > 1:
            for group in namesakes:
                for row in group.rows:
                    row.errors.append(
                        _("There are {count} VLAN groups named {group}: merge them, or rename the others.").format(
                            count=len(namesakes), group=group.vlan_group
                        )
                    )


def _check_moved(groups):
    """
    Add errors to the rows whose VLAN and prefix are at two sites: the first generation moves a VLAN without its prefix.

    It finds the prefix of a cluster by its scope, so a cluster keeps it if the VLAN goes back to that site.
    """
    by_site = {(group.vrf.pk, group.site.casefold()): group for group in groups}
    for group in groups:
        for row in group.rows:
            scope = row.prefix.scope
            other = scope and by_site.get((group.vrf.pk, scope.name.casefold()))
            if other is None or other is group:
                continue
            text = _(
                "The prefix is at {scope}, its VLAN at {site}. Move VLAN {vlan} into VLAN group {other}, and a cluster "
                "that holds it at {scope} keeps it. If it is used at {site}, give the prefix that scope instead."
            )
            row.errors.append(text.format(scope=scope, site=group.site, vlan=row.prefix.vlan, other=other.vlan_group))


def segment_of(prefix):
    """Return the segment of a prefix, or None."""
    return getattr(prefix, "segment", None) or getattr(prefix, "ipv6_segment", None)


def _read_fields(row):
    """Read status, clusters and DHCP of a row's prefix."""
    prefix = row.prefix
    if prefix.status not in STATUSES:
        row.errors.append(
            _("The status is {status}: it has to be Active or Reserved.").format(status=prefix.get_status_display())
        )
    holders = read_holders(prefix)
    row.clusters, row.form = holders.names, holders.form
    row.errors += holders.errors
    for known, name in holders.variants:
        row.notes.append(
            _("Cluster {name} differs from {known} in case only: here both are one cluster, which holds it.").format(
                name=name, known=known
            )
        )
    try:
        row.dhcp = read_dhcp(prefix)
    except ValidationError as error:
        row.errors += error.messages
    if row.clusters and prefix.status == PrefixStatusChoices.STATUS_ACTIVE:
        row.notes.append(_("It is active although a cluster holds it: taken as allocated."))
    if not row.clusters and prefix.status == PrefixStatusChoices.STATUS_RESERVED:
        row.notes.append(_("It is reserved without a cluster: its segment is disabled."))


def allocation_times(rows):
    """
    Return {(prefix id, cluster key): the time since which the cluster holds it}, from the change log.

    A name that is in the oldest entry already has the time of that entry.
    """
    empty = Value("")
    before, after = (
        Coalesce(KeyTextTransform(CLUSTER_FIELD, KeyTransform("custom_fields", name)), empty, output_field=TextField())
        for name in ("prechange_data", "postchange_data")
    )
    changes = list(
        ObjectChange.objects.filter(
            changed_object_type=ContentType.objects.get_for_model(Prefix),
            changed_object_id__in=[row.prefix.pk for row in rows if row.clusters],
        )
        .annotate(before=before, after=after)
        .order_by("time", "pk")
        .values_list("changed_object_id", "time", "before", "after")
    )
    cluster_keys(name for change in changes for text in change[2:] for name in _names(text))
    times = defaultdict(dict)
    for pk, time, old, new in changes:
        known, names = times[pk], _keys(new)
        if not known:
            known.update(dict.fromkeys(_keys(old), time))
        times[pk] = {name: known.get(name, time) for name in names}
    return {(pk, name): time for pk, known in times.items() for name, time in known.items()}


def _keys(text):
    return set(map(cluster_key, _names(text)))


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]
