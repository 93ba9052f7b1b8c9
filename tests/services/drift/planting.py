"""Every kind of drift, with a function that causes it and, if it can be repaired, a check of the repair."""

from django.db import connection
from django.utils import timezone

from ipam.models import VLAN, VRF, IPAddress, Prefix, VLANGroup
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from tests.factories import make_pool, make_site
from tests.services.drift.base import unguarded
from virtualization.models import Cluster, ClusterType


def vlan(vid=100, **values):
    assert VLAN.objects.filter(vid=vid).update(**values)


def prefix(network="10.0.0.0/24", **values):
    assert Prefix.objects.filter(prefix=network).update(**values)


def other_vrf():
    return VRF.objects.create(name="Other")


def make_no_address(**gateways):
    """Give a segment gateways without the IP addresses that the pool makes."""
    SegmentPool.objects.update(create_gateways=True)
    Segment.objects.filter(vid=101).update(**gateways)


IPV6 = "2001:db8::/64"

# Drift that can be repaired: {name: (kinds, function that causes it, check of the repair)}
REPAIRABLE = {
    # bulk_create() sends no signal.
    "cluster": (
        ["cluster_link"],
        lambda: Cluster.objects.bulk_create(
            [Cluster(name="PROD-01", type=ClusterType.objects.create(name="Kind", slug="kind"))]
        ),
        lambda: has(Allocation, cluster__name="PROD-01"),
    ),
    "vlan": (
        ["vlan_renumbered", "allocation_stale"],
        lambda: VLAN.objects.filter(vid=100).update(vid=150),
        lambda: has(Allocation, vid=150, segment__vid=150, segment__vlan__vid=150),
    ),
    "no group": (
        ["vlan_group_changed"],
        lambda: vlan(group=None),
        lambda: has(VLAN, vid=100, group__segment_pools__name="Network1 Site1"),
    ),
    "another group": (
        ["vlan_group_changed"],
        lambda: vlan(group=VLANGroup.objects.create(name="Other", slug="other")),
        lambda: has(VLAN, vid=100, group__segment_pools__name="Network1 Site1"),
    ),
    "renumbered in another group": (
        ["vlan_group_changed", "vlan_renumbered"],
        lambda: VLAN.objects.filter(vid=101).update(group=None, vid=151),
        lambda: has(Segment, vid=151, vlan__group__segment_pools__name="Network1 Site1"),
    ),
    "name of an allocated one": (
        ["epg_name_invalid", "allocation_stale"],
        lambda: vlan(name="no EPG"),
        lambda: has(VLAN, vid=100, name="EPG_100"),
    ),
    "name": (
        ["epg_name_invalid"],
        lambda: vlan(101, name=" my EPG (101) "),
        lambda: has(VLAN, vid=101, name="my_EPG_101_"),
    ),
    "valid name": (
        ["allocation_stale"],
        lambda: vlan(name="Renamed"),
        lambda: has(Allocation, epg_name="Renamed"),
    ),
    "VLAN status": (
        ["vlan_status"],
        lambda: vlan(101, status="deprecated"),
        lambda: has(Segment, vid=101, status="disabled", disabled_reason="VLAN deprecated"),
    ),
    "gateway elsewhere": (
        ["gateway_outside"],
        lambda: Segment.objects.filter(vid=101).update(gateway="10.9.9.9"),
        lambda: has(Segment, vid=101, gateway=None),
    ),
    "IPv6 gateway elsewhere": (
        ["ipv6_gateway_outside"],
        lambda: Segment.objects.filter(vid=101).update(ipv6_gateway="2001:db8:ffff::1"),
        lambda: has(Segment, vid=101, ipv6_gateway=None),
    ),
    "gateway without an IP address": (
        ["gateway_missing"],
        lambda: make_no_address(gateway="10.0.1.1"),
        lambda: has(Segment, vid=101, gateway_ip_address__address="10.0.1.1/24"),
    ),
    "IPv6 gateway without an IP address": (
        ["ipv6_gateway_missing"],
        lambda: make_no_address(ipv6_gateway="2001:db8:0:1::1"),
        lambda: has(Segment, vid=101, ipv6_gateway_ip_address__address="2001:db8:0:1::1/64"),
    ),
    "no VRF": (
        ["prefix_vrf_changed"],
        lambda: prefix(vrf=None),
        lambda: has(Prefix, prefix="10.0.0.0/24", vrf__name="Network1"),
    ),
    "VRF": (
        ["prefix_vrf_changed"],
        lambda: prefix(vrf=other_vrf()),
        lambda: has(Prefix, prefix="10.0.0.0/24", vrf__name="Network1"),
    ),
    "IPv6 VRF": (
        ["ipv6_prefix_vrf_changed"],
        lambda: prefix(IPV6, vrf=other_vrf()),
        lambda: has(Prefix, prefix=IPV6, vrf__name="Network1"),
    ),
    "no VLAN": (
        ["prefix_vlan_changed"],
        lambda: prefix(vlan=None),
        lambda: has(Prefix, prefix="10.0.0.0/24", vlan__vid=100),
    ),
    # The other segment is available, and its VLAN has a prefix that is not its own.
    "VLAN of another": (
        ["prefix_vlan_changed", "segment_in_use"],
        lambda: prefix(vlan=VLAN.objects.get(vid=101)),
        lambda: has(Prefix, prefix="10.0.0.0/24", vlan__vid=100),
    ),
    "IPv6 VLAN": (
        ["ipv6_prefix_vlan_changed"],
        lambda: prefix(IPV6, vlan=None),
        lambda: has(Prefix, prefix=IPV6, vlan__vid=100),
    ),
    "prefix status": (
        ["prefix_status"],
        lambda: prefix(status="deprecated"),
        lambda: has(Prefix, prefix="10.0.0.0/24", status="reserved"),
    ),
    "status of a free prefix": (
        ["prefix_status"],
        lambda: prefix("10.0.1.0/24", status="reserved"),
        lambda: has(Prefix, prefix="10.0.1.0/24", status="active"),
    ),
    "IPv6 prefix status": (
        ["ipv6_prefix_status"],
        lambda: prefix(IPV6, status="active"),
        lambda: has(Prefix, prefix=IPV6, status="reserved"),
    ),
    "allocated, and nobody holds it": (
        ["segment_status", "prefix_status", "ipv6_prefix_status"],
        lambda: unguarded_update(Segment.objects.filter(vid=101), status="allocated"),
        lambda: has(Segment, vid=101, status="available"),
    ),
    "held, and in quarantine": (
        ["segment_status", "prefix_status", "ipv6_prefix_status"],
        lambda: unguarded_update(
            Segment.objects.filter(vid=100), status="quarantined", quarantined_until=timezone.now()
        ),
        lambda: has(Segment, vid=100, status="allocated"),
    ),
    "released by hand": (
        ["segment_status"],
        lambda: unguarded_update(Allocation.objects.all(), released_at=timezone.now()),
        lambda: has(Prefix, prefix="10.0.0.0/24", status="active"),
    ),
    "CIDR": (
        ["allocation_stale"],
        lambda: prefix(prefix="10.0.9.0/24"),
        lambda: has(Allocation, prefix="10.0.9.0/24"),
    ),
    "IPv6 CIDR": (
        ["allocation_stale"],
        lambda: prefix(IPV6, prefix="2001:db8:0:9::/64"),
        lambda: has(Allocation, ipv6_prefix="2001:db8:0:9::/64"),
    ),
    "allocation": (
        ["allocation_stale"],
        lambda: Allocation.objects.update(vid=7, epg_name="EPG_7", prefix="10.0.7.0/24", ipv6_prefix=None),
        lambda: has(Allocation, ipv6_prefix=IPV6, vid=100, epg_name="EPG_100", prefix="10.0.0.0/24"),
    ),
    "pool of an allocation": (
        ["allocation_stale"],
        lambda: Allocation.objects.update(pool=make_pool("Network2"), pool_name="x", vrf_name="y"),
        lambda: has(Allocation, pool__name="Network1 Site1", pool_name="Network1 Site1", vrf_name="Network1"),
    ),
    "places": (
        ["pool_places"],
        lambda: SegmentPool.objects.update(_site=make_site("Site2")),
        lambda: has(SegmentPool, _site__name="Site1"),
    ),
    "container VRF": (
        ["container_vrf", "prefix_outside_containers", "prefix_outside_containers", "prefix_outside_containers"],
        lambda: prefix("10.0.0.0/16", vrf=other_vrf()),
        lambda: has(Prefix, prefix="10.0.0.0/16", vrf__name="Network1"),
    ),
    "container status": (
        ["container_status"],
        lambda: Prefix.objects.filter(status="container").update(status="active"),
        lambda: Prefix.objects.filter(status="container").count() == 2,
    ),
}


def has(model, **values):
    return model.objects.filter(**values).exists()


def unguarded_update(queryset, **values):
    with unguarded():
        queryset.update(**values)
        # Otherwise the deferred trigger would run at the end of a test that repairs nothing.
        connection.cursor().execute("SET CONSTRAINTS ALL IMMEDIATE")


def overlap():
    prefix("10.0.1.0/24", prefix="10.0.2.0/25")


def cover(network="10.0.0.0/23", **values):
    """Make a prefix without NetBox's validation, which refuses some of them."""
    vrf = SegmentPool.objects.get().vrf
    (prefix,) = Prefix.objects.bulk_create([Prefix(prefix=network, vrf=vrf, **{"status": "active", **values})])
    return prefix


# Drift that users must resolve: {name: (kinds, function that causes it)}
UNREPAIRABLE = {
    "out of the ranges": (
        ["vid_out_of_range"],
        lambda: VLANGroup.objects.update(
            vid_ranges=[type(VLANGroup.objects.first().vid_ranges[0])(101, 200)],
        ),
    ),
    "renumbered to what the group does not allow": (
        ["vlan_renumbered"],
        lambda: VLAN.objects.filter(vid=101).update(vid=2000),
    ),
    "twin in the group": (
        ["vlan_group_changed"],
        lambda: (
            vlan(101, group=None),
            VLAN.objects.create(vid=101, name="Twin", group=SegmentPool.objects.get().vlan_group),
        ),
    ),
    "no name": (["epg_name_invalid"], lambda: vlan(101, name="?")),
    "name of another": (
        ["epg_name_invalid"],
        lambda: vlan(101, name="EPG 102"),
    ),
    "outside": (["prefix_outside_containers"], lambda: prefix("10.0.1.0/24", prefix="10.9.0.0/24")),
    "IPv6 outside": (
        ["ipv6_prefix_outside_containers"],
        lambda: prefix("2001:db8:0:1::/64", prefix="2001:db9::/64"),
    ),
    "overlap": (["prefix_overlap"], overlap),
    "IPv6 overlap": (
        ["ipv6_prefix_overlap"],
        lambda: prefix("2001:db8:0:1::/64", prefix="2001:db8:0:2:1::/80"),
    ),
    "same prefix": (["prefix_covered"], lambda: cover("10.0.0.0/24")),
    "around two": (["prefix_around"], cover),
    "IPv6 around": (["prefix_around"], lambda: cover("2001:db8::/48")),
    "IPv6 covered": (["ipv6_prefix_covered"], lambda: cover("2001:db8::/64")),
    "moved, and its place taken": (
        ["prefix_vrf_changed"],
        lambda: (prefix(vrf=other_vrf()), cover("10.0.0.0/24", status="container")),
    ),
    "orphan": (["prefix_orphan"], lambda: cover("10.0.200.0/24", status="reserved")),
    "available, but in use": (
        ["segment_in_use"],
        lambda: IPAddress.objects.create(address="10.0.1.7/24", vrf=SegmentPool.objects.get().vrf),
    ),
    "held in the first generation": (
        ["prefix_unmigrated"],
        lambda: (
            SegmentPool.objects.update(first_generation="over"),
            cover("10.0.200.0/24", custom_field_data={"Cluster": "a"}),
        ),
    ),
    "no containers": (
        ["container_missing", *["prefix_outside_containers"] * 3, *["ipv6_prefix_outside_containers"] * 3],
        lambda: SegmentPool.prefixes.through.objects.all().delete(),
    ),
    "values": (["pool_values"], lambda: SegmentPool.objects.update(auto_grow=True, grow_prefix_length=64)),
    "scope": (["pool_scope"], lambda: SegmentPool.objects.update(scope_id=0)),
}
