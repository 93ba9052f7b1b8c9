from datetime import timedelta

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext_lazy as _

from netbox.ui import attrs, panels
from utilities.string import humanize_duration

from ..aci import epg_urls
from .actions import ReleaseAllocation, Timeline

VLAN_TIMELINE = Timeline(_("VLAN ID's timeline"), lambda held: {"vid": held.vid})
PREFIX_TIMELINE = Timeline(
    _("Prefix's timeline"), lambda segment: {"contains": segment.prefix, "vrf_name": segment.pool.vrf.name}
)
CLUSTER_TIMELINE = Timeline(_("Timeline"), lambda held: {"cluster_name": held.cluster_name})


class CountAttr(attrs.TextAttr):
    """A number, with thousands separators."""

    def get_value(self, obj):
        return intcomma(super().get_value(obj))


class SecondsAttr(attrs.TextAttr):
    """A number of seconds, as a duration."""

    def get_value(self, obj):
        return humanize_duration(timedelta(seconds=super().get_value(obj)))


class EPGNameAttr(attrs.ObjectAttribute):
    """An EPG name, with a link to the endpoint group in netbox-aci-plugin (see `epg_urls`)."""

    template_name = "netbox_vlan_manager/attrs/epg_name.html"

    def get_context(self, obj, attr, value, context):
        return {"url": epg_urls([value], context["perms"].user).get(value)}


class EmptyPoolPanel(panels.Panel):
    """Says that a pool has no segments, and offers the ways to make some that the user may take."""

    template_name = "netbox_vlan_manager/inc/empty_pool.html"

    def should_render(self, context):
        return not context["object"].usage.total_segments


class SegmentPoolPanel(panels.ObjectAttributesPanel):
    name = attrs.TextAttr("name")
    status = attrs.ChoiceAttr("status")
    vrf = attrs.RelatedObjectAttr("vrf", linkify=True, label=_("VRF"))
    scope = attrs.GenericForeignKeyAttr("scope", linkify=True, nested=True, max_depth=3)
    vlan_group = attrs.RelatedObjectAttr("vlan_group", linkify=True, label=_("VLAN group"))
    vid_ranges = attrs.TextAttr("vlan_group.vid_ranges_list", label=_("VLAN IDs"))
    tenant = attrs.RelatedObjectAttr("tenant", linkify=True, grouped_by="group")
    role = attrs.RelatedObjectAttr("role", linkify=True)
    description = attrs.TextAttr("description")


class SegmentPoolAllocationPanel(panels.ObjectAttributesPanel):
    title = _("Allocation")

    allocation_order = attrs.ChoiceAttr("allocation_order")
    cooldown = SecondsAttr("cooldown", label=_("Cool-down"))
    release_in_use = attrs.ChoiceAttr("release_in_use", label=_("Release while in use"))
    max_per_cluster = attrs.NumericAttr("max_per_cluster", label=_("Segments per cluster"))
    max_per_tenant = attrs.NumericAttr("max_per_tenant", label=_("Segments per tenant"))
    max_per_request = attrs.NumericAttr("max_per_request", label=_("Segments per request"))


class SegmentPoolGrowthPanel(panels.ObjectAttributesPanel):
    title = _("Growth")

    epg_template = attrs.TextAttr("epg_template", label=_("EPG name template"), style="font-monospace")
    auto_grow = attrs.BooleanAttr("auto_grow", label=_("Grows on demand"))
    grow_prefix_length = attrs.TextAttr("grow_prefix_length", format_string="/{}", label=_("Prefix length"))
    grow_ipv6_prefix_length = attrs.TextAttr(
        "grow_ipv6_prefix_length", format_string="/{}", label=_("IPv6 prefix length")
    )
    grow_limit = attrs.NumericAttr("grow_limit", label=_("Growth limit"))


class SegmentPoolHostsPanel(panels.ObjectAttributesPanel):
    title = _("Hosts")

    gateway_rule = attrs.ChoiceAttr("gateway_rule", label=_("Gateway"))
    gateway_offset = attrs.NumericAttr("gateway_offset", label=_("Gateway number"))
    create_gateways = attrs.BooleanAttr("create_gateways", label=_("Creates gateways"))
    dns_servers = attrs.TextAttr("dns_servers_list", style="font-monospace", label=_("DNS servers"))
    domain_name = attrs.TextAttr("domain_name", label=_("Domain name"))
    mtu = attrs.TextAttr("mtu", label=_("MTU"))


class SegmentPoolContainersPanel(panels.ObjectAttributesPanel):
    title = _("Prefixes")

    prefixes = attrs.RelatedObjectListAttr("prefixes", linkify=True, max_items=20, label=_("Containers"))
    min_prefix_length = attrs.TextAttr("min_prefix_length", format_string="/{}", label=_("Shortest prefix length"))
    max_prefix_length = attrs.TextAttr("max_prefix_length", format_string="/{}", label=_("Longest prefix length"))


class SegmentPoolUsagePanel(panels.ObjectAttributesPanel):
    title = _("Usage")

    utilization = attrs.TemplatedAttr(
        "usage.utilization",
        template_name="netbox_vlan_manager/attrs/utilization.html",
    )
    level = attrs.ChoiceAttr("level")
    warning_threshold = attrs.TextAttr("warning_threshold", format_string="{}%")
    critical_threshold = attrs.TextAttr("critical_threshold", format_string="{}%")
    total_segments = CountAttr("usage.total_segments", label=_("Segments"))
    available = CountAttr("usage.available")
    allocated = CountAttr("usage.allocated")
    quarantined = CountAttr("usage.quarantined")
    disabled = CountAttr("usage.disabled")
    held_elsewhere = CountAttr("held_elsewhere", label=_("Held in other pools for its places"))


class SegmentPanel(panels.ObjectAttributesPanel):
    actions = [VLAN_TIMELINE]

    vid = attrs.TextAttr("vid", label=_("VLAN ID"), copy_button=True)
    epg_name = EPGNameAttr("epg_name", label=_("EPG name"))
    prefix = attrs.TextAttr("prefix", style="font-monospace", copy_button=True)
    ipv6_prefix = attrs.TextAttr("ipv6_prefix", style="font-monospace", copy_button=True, label=_("IPv6 prefix"))
    gateway = attrs.TextAttr("gateway", style="font-monospace", copy_button=True)
    ipv6_gateway = attrs.TextAttr("ipv6_gateway", style="font-monospace", copy_button=True, label=_("IPv6 gateway"))
    status = attrs.TemplatedAttr(
        "status",
        template_name="netbox_vlan_manager/attrs/segment_status.html",
    )
    dhcp = attrs.BooleanAttr("dhcp", label=_("DHCP"))
    description = attrs.TextAttr("description")


class SegmentLocationPanel(panels.ObjectAttributesPanel):
    title = _("Pool")

    pool = attrs.RelatedObjectAttr("pool", linkify=True, label=_("Name"))
    vrf = attrs.RelatedObjectAttr("pool.vrf", linkify=True, label=_("VRF"))
    scope = attrs.GenericForeignKeyAttr("pool.scope", linkify=True, nested=True, max_depth=3)


class SegmentAddressingPanel(panels.ObjectAttributesPanel):
    title = _("VLAN and Prefix")
    actions = [PREFIX_TIMELINE]

    vlan_group = attrs.RelatedObjectAttr("vlan.group", linkify=True, label=_("VLAN group"))
    vlan = attrs.RelatedObjectAttr("vlan", linkify=True, label=_("VLAN"))
    prefix = attrs.RelatedObjectAttr("prefix", linkify=True)
    prefix_status = attrs.ChoiceAttr("prefix.status", label=_("Prefix status"))
    ipv6_prefix = attrs.RelatedObjectAttr("ipv6_prefix", linkify=True, label=_("IPv6 prefix"))
    dns_servers = attrs.TextAttr("pool.dns_servers_list", style="font-monospace", label=_("DNS servers"))
    domain_name = attrs.TextAttr("pool.domain_name", label=_("Domain name"))
    mtu = attrs.TextAttr("pool.mtu", label=_("MTU"))


class AllocationPanel(panels.ObjectAttributesPanel):
    actions = [CLUSTER_TIMELINE]

    cluster_name = attrs.TextAttr("cluster_name", copy_button=True)
    cluster = attrs.RelatedObjectAttr("cluster", linkify=True)
    purpose = attrs.TextAttr("purpose")
    places = attrs.TemplatedAttr(
        "asked_places", label=_("Asked for"), template_name="netbox_vlan_manager/attrs/places.html"
    )
    status = attrs.ChoiceAttr("status")
    shared = attrs.BooleanAttr("shared")
    expires_at = attrs.DateTimeAttr("expires_at")
    allocated_at = attrs.DateTimeAttr("allocated_at")
    allocated_by = attrs.TextAttr("allocated_by")
    released_at = attrs.DateTimeAttr("released_at")
    released_by = attrs.TextAttr("released_by")
    release_reason = attrs.ChoiceAttr("release_reason")
    description = attrs.TextAttr("description")


class CurrentAllocationPanel(AllocationPanel):
    """The active allocation of a segment, if there is exactly one that the user may view."""

    title = _("Allocation")
    accessor = "allocation"
    actions = [CLUSTER_TIMELINE, ReleaseAllocation()]

    cluster_name = attrs.TemplatedAttr(
        "cluster_name",
        template_name="netbox_vlan_manager/attrs/cluster_name.html",
    )

    def __init__(self):
        super().__init__(exclude=["places", "status", "released_at", "released_by", "release_reason"])

    def render(self, context):
        allocations = context["allocations"]
        return super().render({**context.flatten(), "allocation": allocations[0]}) if len(allocations) == 1 else ""


class HoldersPanel(panels.ObjectPanel):
    """The active allocations of a segment, if there are several that the user may view."""

    title = _("Allocations")
    template_name = "netbox_vlan_manager/panels/holders.html"

    def get_context(self, context):
        allocations = context["allocations"]
        return {
            **super().get_context(context),
            "allocations": allocations,
            "may_release": any(allocation.may_release for allocation in allocations),
        }

    def should_render(self, context):
        return len(context["allocations"]) > 1


class AllocatedSegmentPanel(panels.ObjectAttributesPanel):
    """The allocated segment, with the values that the allocation itself stores."""

    title = _("Segment")
    actions = [VLAN_TIMELINE]

    vid = attrs.TextAttr("vid", label=_("VLAN ID"), copy_button=True)
    epg_name = EPGNameAttr("epg_name", label=_("EPG name"))
    prefix = attrs.TextAttr("prefix", style="font-monospace", copy_button=True)
    ipv6_prefix = attrs.TextAttr("ipv6_prefix", style="font-monospace", copy_button=True, label=_("IPv6 prefix"))
    gateway = attrs.TextAttr("gateway", style="font-monospace", copy_button=True)
    ipv6_gateway = attrs.TextAttr("ipv6_gateway", style="font-monospace", copy_button=True, label=_("IPv6 gateway"))
    dns_servers = attrs.TextAttr("pool.dns_servers_list", style="font-monospace", label=_("DNS servers"))
    domain_name = attrs.TextAttr("pool.domain_name", label=_("Domain name"))
    mtu = attrs.TextAttr("pool.mtu", label=_("MTU"))
    segment = attrs.RelatedObjectAttr("segment", linkify=True)
    vrf_name = attrs.TextAttr("vrf_name", label=_("VRF"))
    pool_name = attrs.TemplatedAttr(
        "pool_name",
        template_name="netbox_vlan_manager/attrs/pool_name.html",
        label=_("Pool"),
    )
