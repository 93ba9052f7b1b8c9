"""
Finds the objects in NetBox that use a VLAN and its networks.

IP addresses, IP ranges and prefixes use the network that they lie in. Interfaces, wireless LANs, L2VPN terminations,
and all other objects that NetBox or a plugin relates to VLANs, use their VLAN. Reserved and deprecated VLANs and
prefixes count as used too, since such a status has a reason. A used VLAN or network is not handed out, unless a caller
says that it is free.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import BooleanField, Case, Count, Exists, F, Func, OuterRef, Q, Value, When
from django.db.models.functions import Cast, Coalesce
from django.utils.translation import gettext as _
from netaddr import IPNetwork

from ipam.choices import VLANStatusChoices
from ipam.fields import IPAddressField
from ipam.models import VLAN, IPAddress, IPRange, Prefix
from vpn.models import L2VPNTermination

from ...gateways import GATEWAYS
from ...models import Segment
from ..base.prepared_queries import fetch_rows, placeholder
from .prefix_status import status_when_available

__all__ = (
    "Network",
    "Use",
    "disabled_reason",
    "find_segment_use",
    "find_use",
    "status_reasons",
    "used_ids",
)

# The first and the last address of the network of `asked`.
FIRST, LAST = "host(asked.network)::inet", "host(broadcast(asked.network))::inet"

# The id of the VLAN in a prepared query.
VLAN_ID = placeholder("vlan", "bigint")

# The conditions for rows of a table that overlap that network. NetBox's own indexes serve them.
INSIDE = {
    # The gateway belongs to the segment: it is no use of it.
    IPAddress: f"host(used.address)::inet BETWEEN {FIRST} AND {LAST}"
    " AND host(used.address)::inet IS DISTINCT FROM asked.gateway",
    IPRange: f"host(used.start_address)::inet <= {LAST} AND host(used.end_address)::inet >= {FIRST}",
    # A segment inside is an overlap, which is another matter; or it is the one that grows to this network.
    Prefix: "used.prefix << asked.network"
    + "".join(
        f" AND NOT EXISTS (SELECT FROM {Segment._meta.db_table} AS segment WHERE segment.{name}_id = used.id)"
        for name in ("prefix", "ipv6_prefix")
    ),
}


class Network(NamedTuple):
    """
    A VLAN id, None for a VLAN yet to be created, and the networks that go with it in a VRF (None: global).

    IP addresses at the `gateways`, a text or None for each network, are no use of it.
    """

    vlan: int | None
    vrf: int | None
    networks: tuple = ()
    gateways: tuple = ()

    @classmethod
    def of(cls, segment):
        """Return the Network of a Segment, or of another object that has its VLAN, prefixes and gateways."""
        prefixes = [prefix for prefix in (segment.prefix, segment.ipv6_prefix) if prefix]
        gateways = (segment.gateway, segment.ipv6_gateway)[: len(prefixes)]
        return cls(segment.vlan.pk, prefixes[0].vrf_id, tuple(prefix.prefix for prefix in prefixes), gateways)


@dataclass(frozen=True)
class Use:
    """
    The objects that use a VLAN and its networks; false if there are none.

    `counts` are {model: how many of its objects the user may view}. `is_hidden` says that there are objects that the
    user may not view; errors may tell neither which nor how many.
    """

    counts: dict
    is_hidden: bool = False

    def __bool__(self):
        return bool(self.counts) or self.is_hidden

    def __str__(self):
        """Return the use as text, such as "2 IP addresses, 1 interface"; empty for no use."""
        texts = Counter()
        names = {}
        for model, count in self.counts.items():
            name = str(model._meta.verbose_name)
            texts[name] += count
            names[name] = str(model._meta.verbose_name_plural)
        listed = [f"{count} {name if count == 1 else names[name]}" for name, count in texts.items()]
        if self.is_hidden:
            listed.append(_("something that you may not view"))
        return ", ".join(listed)


def find_segment_use(segments, user=None):
    """
    Return {id: Use} of Segments, which have their VLANs and prefixes. See `find_use`.

    Objects in the prefixes of a held segment belong to its cluster. Callers ask when it is released or disabled.
    """
    segments = list(segments)
    found = find_use([Network.of(segment) for segment in segments], user)
    return {segment.pk: use for segment, use in zip(segments, found, strict=True)}


def find_use(asked, user=None):
    """
    Return a Use for each Network. It takes five or six statements for any number of them.

    Args:
        asked: Networks. A prefix of exactly this network is no use of it, and no use of the VLAN.
        user: The User whose view limits the counts; None for no limit.
    """
    asked = list(asked)
    counts = [Counter() for _one in asked]
    hidden = [False] * len(asked)

    def add(number, model, total, visible):
        if visible:
            counts[number][model] += visible
        if total > visible:
            hidden[number] = True

    rows = [
        (number, one.vrf, network, gateway)
        for number, one in enumerate(asked)
        for network, gateway in zip_longest(one.networks, one.gateways)
    ]
    for model in INSIDE if rows else ():
        for number, total, visible in _count_inside(model, rows, user):
            add(number, model, total, visible)

    numbers = defaultdict(list)
    for number, one in enumerate(asked):
        if one.vlan:
            numbers[one.vlan].append(number)
    if numbers:
        for model, vlan, total, visible in _count_related(numbers, user):
            for number in numbers[vlan]:
                add(number, model, total, visible)
        for vlan, vrf, network, visible in _find_prefixes(numbers, user):
            for number in numbers[vlan]:
                one = asked[number]
                # Prefixes inside the networks are counted above.
                if vrf != one.vrf or not any(network in IPNetwork(own) for own in one.networks):
                    add(number, Prefix, 1, int(visible))
    return [Use(dict(found), is_hidden) for found, is_hidden in zip(counts, hidden, strict=True)]


def _count_inside(model, rows, user):
    """Return (number of the Network, objects in its networks, those of them that `user` may view) triples."""
    visible, params = "TRUE", ()
    if user is not None and not user.is_superuser:
        try:
            sql, params = model.objects.restrict(user, "view").order_by().values("pk").query.sql_with_params()
            visible = f"used.id IN ({sql})"
        except EmptyResultSet:
            visible = "FALSE"
    numbers, vrfs, networks, gateways = zip(*rows, strict=True)
    statement = f"""
        SELECT asked.number, count(*), count(*) FILTER (WHERE {visible})
        FROM unnest(%s::integer[], %s::bigint[], %s::cidr[], %s::inet[]) AS asked (number, vrf, network, gateway)
        JOIN {model._meta.db_table} AS used ON used.vrf_id IS NOT DISTINCT FROM asked.vrf AND {INSIDE[model]}
        GROUP BY asked.number
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, (*params, list(numbers), list(vrfs), list(map(str, networks)), list(gateways)))
        return cursor.fetchall()


def _count_related(vlans, user):
    """Return (model, VLAN id, objects that have the VLAN, those of them that `user` may view) tuples."""
    vlans, relations = list(vlans), _relations()
    # A release asks about one VLAN: that query is prepared.
    rows = fetch_rows(_related_query, {VLAN_ID: vlans[0]}) if len(vlans) == 1 else _related(relations, vlans)
    found = {(relations[number], vlan): count for number, vlan, count in rows}
    visible = found
    if found and user is not None and not user.is_superuser:
        related = list(dict.fromkeys(relation for relation, _vlan in found))
        visible = {(related[number], vlan): count for number, vlan, count in _related(related, vlans, user)}
    return [
        (model, vlan, count, visible.get(((model, name), vlan), 0)) for ((model, name), vlan), count in found.items()
    ]


def _related_query():
    return _related(_relations(), [VLAN_ID])


def _related(relations, vlans, user=None):
    """
    Return a queryset of (number of the relation, VLAN id, how many objects that `user` may view have the VLAN), in one
    statement.
    """
    queries = []
    for number, (model, name) in enumerate(relations):
        objects = model._base_manager.filter(_is_visible(model, user), **{f"{name}__in": vlans}).order_by()
        counted = objects.annotate(number=Value(number), in_vlan=F(name)).values("number", "in_vlan")
        queries.append(counted.annotate(count=Count("pk", distinct=True)).values_list("number", "in_vlan", "count"))
    return queries[0].union(*queries[1:], all=True).order_by()


def _relations():
    """Return (model, name of its field) pairs of all models that can have a VLAN, except segments and prefixes."""
    relations = [(L2VPNTermination, "vlan")]
    for relation in VLAN._meta.get_fields(include_hidden=True):
        # The tables of many-to-many fields are covered by the fields themselves.
        if relation.auto_created and not relation.concrete:
            model = relation.related_model
            if not model._meta.auto_created and model not in (Segment, Prefix):
                relations.append((model, relation.field.name))
    return relations


def _is_visible(model, user):
    """Return a Q for the objects of `model` that `user` may view; None may view all."""
    if user is None or user.is_superuser:
        return Q(pk__isnull=False)
    objects = model._default_manager.all()
    # The model of a plugin may have no object permissions.
    return Q(pk__in=objects.restrict(user, "view").order_by().values("pk") if hasattr(objects, "restrict") else ())


def _find_prefixes(vlans, user):
    """Return (VLAN id, VRF id, network, whether `user` may view it) of the prefixes that have one of the VLANs."""
    visible = Case(When(_is_visible(Prefix, user), then=True), default=False, output_field=BooleanField())
    prefixes = Prefix.objects.filter(vlan__in=list(vlans)).order_by()
    return prefixes.values_list("vlan", "vrf", "prefix", visible)


def used_ids(segments):
    """
    Return a queryset of the ids of those of `segments`, a queryset, that `find_use` would find in use.

    It serves all segments at once: a union, each part of which PostgreSQL plans as a join of its own.
    """
    segments = segments.order_by().values("pk")
    parts = [
        segments.filter(Exists(model._base_manager.filter(**{name: OuterRef("vlan")}))) for model, name in _relations()
    ]
    # In SQL a comparison with NULL, for a segment without IPv6 prefix, is unknown.
    own = Q(pk=OuterRef("prefix")) | Q(pk=Coalesce(OuterRef("ipv6_prefix"), OuterRef("prefix")))
    parts.append(segments.filter(Exists(Prefix.objects.filter(vlan=OuterRef("vlan")).exclude(own))))
    for name, gateway in GATEWAYS.items():
        network = OuterRef(f"{name}__prefix")
        first, last = _host(network), _host(Func(network, function="broadcast"))
        # An address that no segment has stands for no gateway: a comparison with NULL would be unknown.
        gateway = Coalesce(_host(OuterRef(gateway)), Cast(Value("0.0.0.0"), IPAddressField()))
        inside = (
            IPAddress.objects.alias(host=_host("address"))
            .filter(host__gte=first, host__lte=last)
            .exclude(host=gateway),
            IPRange.objects.alias(start=_host("start_address"), end=_host("end_address")).filter(
                start__lte=last, end__gte=first
            ),
            # A segment inside is an overlap, not a use.
            Prefix.objects.filter(prefix__net_contained=network, segment=None, ipv6_segment=None),
        )
        parts += [segments.filter(Exists(objects.filter(vrf=OuterRef(f"{name}__vrf")))) for objects in inside]
        parts.append(segments.filter(**{f"{name}__mark_utilized": True}))
    return parts[0].union(*parts[1:]).order_by()


def _host(address):
    """Return the address without its mask, as in NetBox's indexes."""
    return Cast(Func(address, function="host"), IPAddressField())


def status_reasons(vlan, prefixes):
    """
    Return short texts with the statuses of a VLAN, or None, and of its Prefixes that speak against handing them out.

    Any status other than that of an available segment may mean that they are needed.
    """
    reasons = []
    if vlan and vlan.status != VLANStatusChoices.STATUS_ACTIVE:
        reasons.append(_("VLAN {status}").format(status=vlan.get_status_display().lower()))
    available = status_when_available()
    for prefix in prefixes:
        if prefix.status != available:
            text = _("IPv6 prefix {status}") if len(prefixes) > 1 and prefix.family == 6 else _("prefix {status}")
            reasons.append(text.format(status=prefix.get_status_display().lower()))
        if prefix.mark_utilized:
            reasons.append(_("prefix marked as utilized"))
    return reasons


def disabled_reason(reasons, use):
    """
    Return the reason for creating a segment disabled, for all users who may view it; empty for a free segment.

    Args:
        reasons: The texts of `status_reasons`.
        use: The Use of its VLAN and networks. The reason does not name the objects, which not all users may view.
    """
    texts = [*reasons, _("in use")] if use else reasons
    return _("When it was made: {reasons}").format(reasons=", ".join(texts)) if texts else ""
