"""The features of NetBox's GraphQL types, tried on the plugin's."""

from ipam.models import Prefix
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from tests.factories import make_pool, make_user
from utilities.testing import APIViewTestCases
from utilities.testing.api import GraphQLFilterTest

ACTIVE = "status: {exact: STATUS_ACTIVE}"


class SegmentPoolTestCase(APIViewTestCases.GraphQLTestCase):
    model = SegmentPool
    graphql_filter_tests = (
        GraphQLFilterTest("status", ACTIVE, {"status": "active"}),
        GraphQLFilterTest(
            "vrf", 'vrf: {name: {exact: "Network1"}}', {"vrf__name": "Network1"}, permissions=("ipam.view_vrf",)
        ),
        GraphQLFilterTest(
            "site", 'site: {slug: {exact: "site2"}}', {"_site__slug": "site2"}, permissions=("dcim.view_site",)
        ),
        GraphQLFilterTest(
            "container",
            'prefixes: {prefix: {exact: "10.2.0.0/16"}}',
            {"prefixes__prefix": "10.2.0.0/16"},
            permissions=("ipam.view_prefix",),
        ),
        GraphQLFilterTest(
            "segments",
            "segments: {vid: {comparison_lookup: {gte: 101}}}",
            {"segments__vid__gte": 101},
            permissions=("netbox_vlan_manager.view_segment",),
        ),
        GraphQLFilterTest(
            "not",
            'NOT: {allocations: {cluster_name: {i_exact: "PROD-01"}}}',
            lambda pools: pools.exclude(allocations__cluster_name="prod-01"),
            permissions=("netbox_vlan_manager.view_allocation",),
        ),
    )

    @classmethod
    def setUpTestData(cls):
        for number in (1, 2, 3):
            make_pool(f"Network{number}", f"Site{number}", container=f"10.{number}.0.0/16", segments=number)
        allocate(
            "prod-01", pool=SegmentPool.objects.get(vrf__name="Network3"), user=make_user("root", is_superuser=True)
        )


class SegmentTestCase(APIViewTestCases.GraphQLTestCase):
    model = Segment
    graphql_filter_tests = (
        GraphQLFilterTest("status", "status: {in_list: [STATUS_ALLOCATED]}", {"status": "allocated"}),
        GraphQLFilterTest("vid", "vid: {range_lookup: {start: 101, end: 102}}", {"vid__range": (101, 102)}),
        GraphQLFilterTest("epg_name", 'epg_name: {ends_with: "_102"}', {"vlan__name": "EPG_102"}),
        GraphQLFilterTest(
            "prefix",
            'prefix: {contains: ["10.0.1.7/32"]}',
            {"prefix__prefix": "10.0.1.0/24"},
            permissions=("ipam.view_prefix",),
        ),
        GraphQLFilterTest(
            "ipv6_prefix", "ipv6_prefix: {family: FAMILY_6}", {"vid": 102}, permissions=("ipam.view_prefix",)
        ),
        GraphQLFilterTest(
            "vlan", "vlan: {vid: {filter_lookup: {exact: 100}}}", {"vid": 100}, permissions=("ipam.view_vlan",)
        ),
        GraphQLFilterTest(
            "pool",
            'pool: {vrf: {name: {exact: "Network1"}}, site: {name: {exact: "Site1"}}}',
            lambda segments: segments.all(),
            permissions=("netbox_vlan_manager.view_segmentpool", "ipam.view_vrf", "dcim.view_site"),
        ),
        GraphQLFilterTest(
            "cluster",
            f'allocations: {{cluster_name: {{i_exact: "PROD-01"}}, {ACTIVE}}}',
            {"vid": 100},
            permissions=("netbox_vlan_manager.view_allocation",),
        ),
        # One allocation must match both conditions.
        GraphQLFilterTest(
            "or",
            f'allocations: {{cluster_name: {{exact: "prod-02"}}, {ACTIVE}}}, '
            "OR: {vid: {filter_lookup: {exact: 102}}}",
            {"vid": 102},
        ),
    )

    @classmethod
    def setUpTestData(cls):
        root = make_user("root", is_superuser=True)
        pool = make_pool(segments=3)
        allocate("prod-01", pool=pool, user=root)
        allocate("prod-02", pool=pool, user=root)
        release("prod-02", pool=pool, user=root)
        ipv6_prefix = Prefix.objects.create(prefix="2001:db8::/64", vrf=pool.vrf)
        Segment.objects.filter(vid=102).update(ipv6_prefix=ipv6_prefix)
        Segment.objects.update(description="Here", comments="At length")


class AllocationTestCase(APIViewTestCases.GraphQLTestCase):
    model = Allocation
    graphql_filter_tests = (
        GraphQLFilterTest("active", ACTIVE, {"released_at__isnull": True}),
        GraphQLFilterTest("released", "status: {in_list: [STATUS_RELEASED]}", {"released_at__isnull": False}),
        GraphQLFilterTest(
            "any", "status: {in_list: [STATUS_RELEASED, STATUS_ACTIVE]}", lambda allocations: allocations.all()
        ),
        GraphQLFilterTest("not_active", f"NOT: {{{ACTIVE}}}", {"released_at__isnull": False}),
        GraphQLFilterTest("reason", "release_reason: {exact: REASON_RELEASED}", {"cluster_name": "prod-02"}),
        GraphQLFilterTest("prefix", 'prefix: {exact: "10.0.2.0/24"}', {"vid": 102}),
        GraphQLFilterTest(
            "segment",
            "segment: {status: {exact: STATUS_ALLOCATED}}",
            {"released_at__isnull": True},
            permissions=("netbox_vlan_manager.view_segment",),
        ),
        GraphQLFilterTest(
            "user",
            'allocated_by: {username: {exact: "root"}}',
            {"allocated_by__username": "root"},
            permissions=("users.view_user",),
        ),
    )

    @classmethod
    def setUpTestData(cls):
        root = make_user("root", is_superuser=True)
        pool = make_pool(segments=3)
        allocate("prod-01", pool=pool, user=root)
        allocate("prod-02", pool=pool, user=root)
        allocate("prod-03", pool=pool, user=root, purpose="storage")
        release("prod-02", pool=pool, user=root)
