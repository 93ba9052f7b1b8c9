import django_tables2 as tables
from django.utils.translation import gettext_lazy as _

from netbox.tables import PrimaryModelTable, columns
from tenancy.tables import TenancyColumnsMixin

from .aci import EPGLinksMixin
from .columns import (
    DurationColumn,
    EPGNameColumn,
    PoolUtilizationColumn,
    PrefetchedContactsMixin,
    TotalOrderMixin,
)
from .models import Allocation, Segment, SegmentPool
from .models.pools import UTILIZATION

__all__ = (
    "AllocationTable",
    "PoolAllocationTable",
    "PoolSegmentTable",
    "SegmentAllocationTable",
    "SegmentPoolTable",
    "SegmentTable",
)

# A name of 100 characters or a long IPv6 prefix must not push the other columns off the page. With these widths, the
# default columns and the buttons fit into a window of 1,280 pixels.
LONG_TEXT = {"td": {"class": "text-break", "style": "min-width: 8.5rem"}}
# A table has several of these columns, mostly with short names.
PLACE_NAME = {"td": {"class": "text-break", "style": "min-width: 6.5rem"}}

# `may_allocate` and `may_release` are annotated by the list views, so that a button costs no query for each row.
ALLOCATE_BUTTON = '{% include "netbox_vlan_manager/tables/allocate.html" %}'

RELEASE_BUTTON = '{% include "netbox_vlan_manager/tables/release.html" with allocation=record %}'

SEGMENT_BUTTONS = """
{% include "netbox_vlan_manager/tables/release_holders.html" %}
{% include "netbox_vlan_manager/tables/allocate_segment.html" %}
"""

HOLDERS = """
{% for allocation in value %}
  <a href="{{ allocation.get_absolute_url }}">{{ allocation.cluster_name }}</a>{% if not forloop.last %},{% endif %}
{% endfor %}
"""

# The IPv6 prefix is a second line: in a column of its own, it would be empty for most rows.
PREFIXES = """
{{ value|linkify }}{% if record.ipv6_prefix %}<div>{{ record.ipv6_prefix|linkify }}</div>{% endif %}
"""

ALLOCATION_STATUS = '{% include "netbox_vlan_manager/tables/allocation_status.html" %}'


class SegmentPoolTable(TenancyColumnsMixin, PrefetchedContactsMixin, TotalOrderMixin):
    name = tables.Column(
        verbose_name=_("Name"),
        linkify=True,
        attrs=LONG_TEXT,
    )
    status = columns.ChoiceFieldColumn(
        verbose_name=_("Status"),
    )
    vrf = tables.Column(
        verbose_name=_("VRF"),
        linkify=True,
        attrs=PLACE_NAME,
    )
    scope_type = columns.ContentTypeColumn(
        verbose_name=_("Scope Type"),
    )
    scope = tables.Column(
        verbose_name=_("Scope"),
        linkify=True,
        orderable=False,
        attrs=PLACE_NAME,
    )
    vlan_group = tables.Column(
        verbose_name=_("VLAN Group"),
        linkify=True,
        attrs=PLACE_NAME,
    )
    prefixes = columns.ManyToManyColumn(
        verbose_name=_("Containers"),
        linkify_item=True,
        orderable=False,
    )
    role = tables.Column(
        verbose_name=_("Role"),
        linkify=True,
    )
    total_segments = columns.LinkedCountColumn(
        viewname="plugins:netbox_vlan_manager:segment_list",
        url_params={"pool_id": "pk"},
        verbose_name=_("Segments"),
    )
    allocated = tables.Column(
        verbose_name=_("Allocated"),
    )
    available = tables.Column(
        verbose_name=_("Available"),
    )
    quarantined = tables.Column(
        verbose_name=_("Quarantined"),
    )
    disabled = tables.Column(
        verbose_name=_("Disabled"),
    )
    utilization = PoolUtilizationColumn(
        verbose_name=_("Utilization"),
        accessor="usage__utilization",
    )
    release_in_use = tables.Column(
        verbose_name=_("Release while in use"),
        accessor="get_release_in_use_display",
        order_by=("release_in_use",),
    )
    allocation_order = tables.Column(
        verbose_name=_("Allocation Order"),
    )
    cooldown = DurationColumn(
        verbose_name=_("Cool-Down"),
    )
    max_per_cluster = tables.Column(
        verbose_name=_("Per Cluster"),
    )
    max_per_tenant = tables.Column(
        verbose_name=_("Per Tenant"),
    )
    max_per_request = tables.Column(
        verbose_name=_("Per Request"),
    )
    auto_grow = columns.BooleanColumn(
        verbose_name=_("Grows"),
        false_mark=None,
    )
    level = columns.ChoiceFieldColumn(
        verbose_name=_("Level"),
    )
    tags = columns.TagColumn(
        url_name="plugins:netbox_vlan_manager:segmentpool_list",
    )
    actions = columns.ActionsColumn(
        extra_buttons=ALLOCATE_BUTTON,
    )

    class Meta(PrimaryModelTable.Meta):
        model = SegmentPool
        fields = (
            "pk",
            "id",
            "name",
            "slug",
            "status",
            "vrf",
            "scope_type",
            "scope",
            "vlan_group",
            "prefixes",
            "min_prefix_length",
            "max_prefix_length",
            "warning_threshold",
            "critical_threshold",
            "allocation_order",
            "release_in_use",
            "cooldown",
            "max_per_cluster",
            "max_per_tenant",
            "max_per_request",
            "epg_template",
            "auto_grow",
            "grow_prefix_length",
            "grow_ipv6_prefix_length",
            "grow_limit",
            "gateway_rule",
            "gateway_offset",
            "create_gateways",
            "dns_servers",
            "domain_name",
            "mtu",
            "level",
            "total_segments",
            "allocated",
            "available",
            "quarantined",
            "disabled",
            "utilization",
            "tenant",
            "tenant_group",
            "role",
            "description",
            "contacts",
            "comments",
            "tags",
            "created",
            "last_updated",
        )
        default_columns = (
            "pk",
            "name",
            "status",
            "scope",
            "total_segments",
            "allocated",
            "available",
            "utilization",
            "tenant",
        )

    def order_utilization(self, queryset, is_descending):
        share = UTILIZATION.desc() if is_descending else UTILIZATION.asc()
        return queryset.order_by(share, "pk"), True


class SegmentTable(EPGLinksMixin, PrefetchedContactsMixin, TotalOrderMixin):
    vid = tables.Column(
        verbose_name=_("VLAN ID"),
        linkify=True,
    )
    epg_name = EPGNameColumn(
        verbose_name=_("EPG Name"),
        linkify=lambda record, table: table.epg_urls.get(record.epg_name) or record.get_absolute_url(),
        order_by=("vlan__name",),
    )
    vlan = tables.Column(
        verbose_name=_("VLAN"),
        linkify=True,
        order_by=("vlan__vid", "vlan__pk"),
    )
    prefix = columns.TemplateColumn(
        verbose_name=_("Prefix"),
        template_code=PREFIXES,
        export_raw=True,
        order_by=("prefix__prefix",),
        attrs=LONG_TEXT,
    )
    ipv6_prefix = tables.Column(
        verbose_name=_("IPv6 Prefix"),
        linkify=True,
        order_by=("ipv6_prefix__prefix",),
    )
    pool = tables.Column(
        verbose_name=_("Pool"),
        linkify=True,
        attrs=PLACE_NAME,
    )
    vrf = tables.Column(
        verbose_name=_("VRF"),
        accessor="pool__vrf",
        linkify=True,
        attrs=PLACE_NAME,
    )
    scope = tables.Column(
        verbose_name=_("Scope"),
        accessor="pool__scope",
        linkify=True,
        orderable=False,
        attrs=PLACE_NAME,
    )
    status = columns.ChoiceFieldColumn(
        verbose_name=_("Status"),
    )
    disabled_reason = tables.Column(
        verbose_name=_("Disabled Reason"),
    )
    quarantined_until = columns.DateTimeColumn(
        verbose_name=_("Quarantined Until"),
        timespec="minutes",
    )
    cluster = columns.TemplateColumn(
        verbose_name=_("Cluster"),
        accessor="active_allocations",
        template_code=HOLDERS,
        orderable=False,
        attrs=LONG_TEXT,
    )
    dhcp = columns.BooleanColumn(
        verbose_name=_("DHCP"),
        false_mark=None,
    )
    tags = columns.TagColumn(
        url_name="plugins:netbox_vlan_manager:segment_list",
    )
    actions = columns.ActionsColumn(
        extra_buttons=SEGMENT_BUTTONS,
    )

    class Meta(PrimaryModelTable.Meta):
        model = Segment
        fields = (
            "pk",
            "id",
            "vid",
            "epg_name",
            "prefix",
            "ipv6_prefix",
            "gateway",
            "ipv6_gateway",
            "pool",
            "vrf",
            "scope",
            "status",
            "disabled_reason",
            "quarantined_until",
            "cluster",
            "dhcp",
            "vlan",
            "description",
            "contacts",
            "comments",
            "tags",
            "created",
            "last_updated",
        )
        # Mostly, the pool's name contains the names of its VRF and place.
        default_columns = ("pk", "vid", "epg_name", "prefix", "pool", "status", "cluster")


class PoolSegmentTable(SegmentTable):
    """The segments of one pool. NetBox stores a user's choice of columns under the name of the class."""

    class Meta(SegmentTable.Meta):
        exclude = ("pool", "vrf", "scope")
        default_columns = ("pk", "vid", "epg_name", "prefix", "status", "cluster", "dhcp", "description")


class AllocationTable(EPGLinksMixin, PrefetchedContactsMixin, TotalOrderMixin):
    cluster_name = tables.Column(
        verbose_name=_("Cluster Name"),
        linkify=True,
        attrs=LONG_TEXT,
    )
    cluster = tables.Column(
        verbose_name=_("Cluster"),
        linkify=True,
    )
    status = columns.TemplateColumn(
        verbose_name=_("Status"),
        accessor="get_status_display",
        template_code=ALLOCATION_STATUS,
        export_raw=True,
        order_by=("released_at",),
    )
    # The names are the allocation's own: they say what was held even when the pool is gone.
    vrf = tables.Column(
        verbose_name=_("VRF"),
        accessor="vrf_name",
        attrs=PLACE_NAME,
    )
    pool = tables.Column(
        verbose_name=_("Pool"),
        accessor="pool_name",
        linkify=lambda record: record.pool and record.pool.get_absolute_url(),
        attrs=PLACE_NAME,
    )
    segment = tables.Column(
        verbose_name=_("Segment"),
        linkify=True,
        order_by=("epg_name", "vid"),
    )
    vid = tables.Column(
        verbose_name=_("VLAN ID"),
    )
    epg_name = EPGNameColumn(
        verbose_name=_("EPG Name"),
        linkify=lambda record, table: (
            table.epg_urls.get(record.epg_name) or (record.segment and record.segment.get_absolute_url())
        ),
    )
    prefix = columns.TemplateColumn(
        verbose_name=_("Prefix"),
        template_code=PREFIXES,
        export_raw=True,
        attrs=LONG_TEXT,
    )
    ipv6_prefix = tables.Column(
        verbose_name=_("IPv6 Prefix"),
    )
    shared = columns.BooleanColumn(
        verbose_name=_("Shared"),
        false_mark=None,
    )
    expires_at = columns.DateTimeColumn(
        verbose_name=_("Expires At"),
        timespec="minutes",
    )
    allocated_at = columns.DateTimeColumn(
        verbose_name=_("Allocated At"),
        timespec="minutes",
    )
    allocated_by = tables.Column(
        verbose_name=_("Allocated By"),
    )
    released_at = columns.DateTimeColumn(
        verbose_name=_("Released At"),
        timespec="minutes",
    )
    released_by = tables.Column(
        verbose_name=_("Released By"),
    )
    release_reason = columns.ChoiceFieldColumn(
        verbose_name=_("Release Reason"),
    )
    tags = columns.TagColumn(
        url_name="plugins:netbox_vlan_manager:allocation_list",
    )
    actions = columns.ActionsColumn(
        actions=("edit", "changelog"),
        extra_buttons=RELEASE_BUTTON,
    )

    class Meta(PrimaryModelTable.Meta):
        model = Allocation
        fields = (
            "pk",
            "id",
            "cluster_name",
            "cluster",
            "purpose",
            "status",
            "vrf",
            "pool",
            "segment",
            "vid",
            "epg_name",
            "prefix",
            "ipv6_prefix",
            "gateway",
            "ipv6_gateway",
            "shared",
            "expires_at",
            "allocated_at",
            "allocated_by",
            "released_at",
            "released_by",
            "release_reason",
            "description",
            "contacts",
            "comments",
            "tags",
            "created",
            "last_updated",
        )
        default_columns = (
            "pk",
            "cluster_name",
            "status",
            "vid",
            "epg_name",
            "prefix",
            "pool",
            "allocated_at",
        )


class PoolAllocationTable(AllocationTable):
    """The allocations of one pool."""

    class Meta(AllocationTable.Meta):
        exclude = ("pool", "vrf")
        default_columns = ("pk", "cluster_name", "status", "vid", "epg_name", "prefix", "allocated_at", "allocated_by")


class SegmentAllocationTable(AllocationTable):
    """The allocations of one segment. VLAN ID, EPG name and prefix are the values that the allocation stores."""

    class Meta(AllocationTable.Meta):
        exclude = ("pool", "vrf", "segment")
        default_columns = (
            "pk",
            "cluster_name",
            "status",
            "vid",
            "prefix",
            "allocated_at",
            "allocated_by",
            "released_by",
        )
