"""No path of a GraphQL query shows objects that the user may not view."""

import json
from unittest.mock import patch

from django.test import override_settings
from django.urls import reverse
from rest_framework.test import APIClient

from dcim.models import Site
from ipam.models import VLAN, VRF, Prefix, VLANGroup
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.reporting.snapshots import take_snapshots
from tenancy.models import Tenant
from tests.api.base import client_of
from tests.factories import make_pool, make_segment, make_user
from tests.graphql.base import GraphQLTestCase
from users.models import User
from virtualization.models import Cluster, ClusterType

# Paths from each root to all types of the plugin, and back.
PATHS = (
    """{ segment_pool_list {
        name display total_segments allocated available utilization vrf { name segment_pools { name } }
        vlan_group { name segment_pools { name } } prefixes { prefix segment_pools { name } } tenant { name }
        scope { ... on SiteType { name slug } } snapshots { display date allocated pool { name } }
        segments { display epg_name vid pool { name vrf { name } scope { ... on SiteType { name } } }
          vlan { name segment { epg_name } } prefix { prefix segment { epg_name } }
          active_allocations { cluster_name pool { name } segment { epg_name } }
          allocations { cluster_name allocated_by { username } segment { epg_name vlan { name } } } }
        allocations { display cluster_name status cluster { name allocations { cluster_name } }
          allocated_by { username } released_by { username } segment { epg_name pool { name } } } } }""",
    "{ segment_list { display epg_name pool { name total_segments } vlan { name } allocations { display } } }",
    """{ allocation_list { display pool { name allocated } segment { epg_name pool { name } }
        allocated_by { username } cluster { name } } }""",
    "{ pool_snapshot_list { display allocated pool { name } } }",
    "{ vrf_list { name segment_pools { name available segments { epg_name } } } }",
    "{ vlan_group_list { name segment_pools { name } vlans { name segment { epg_name } } } }",
    "{ vlan_list { name segment { epg_name pool { name } } prefixes { vlan { segment { epg_name } } } } }",
    "{ prefix_list { prefix segment { epg_name allocations { display } } segment_pools { name } } }",
    "{ cluster_list { name allocations { display segment { epg_name } pool { name } } } }",
    "{ tenant_list { name segment_pools { name } } }",
)
MODELS = (SegmentPool, Segment, Allocation, VLAN, VRF, Prefix, VLANGroup, Site, Tenant, Cluster, User)


class PermissionsTestCase(GraphQLTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = make_user("root", is_superuser=True)
        cluster_type = ClusterType.objects.create(name="Kubernetes", slug="kubernetes")
        # All names of the second world contain "secret".
        for number, word in ((1, "public"), (2, "secret")):
            tenant = Tenant.objects.create(name=f"{word}-tenant", slug=f"{word}-tenant")
            cluster = Cluster.objects.create(name=f"{word}-cluster", type=cluster_type)
            pool = make_pool(
                f"{word}-vrf",
                f"{word}-site",
                container=f"10.{number}.0.0/16",
                tenant=tenant,
                name=f"{word}-pool",
            )
            for index in range(3):
                make_segment(pool, 100 + index, index, epg_name=f"{word}-epg-{index}")
            allocate(cluster.name, pool=pool, user=cls.root)
            allocate(f"{word}-former", pool=pool, user=cls.root)
            release(f"{word}-former", pool=pool, user=cls.root)
        # The link between VLAN and prefix makes a path from VLANs through prefixes back to segments.
        for segment in Segment.objects.all():
            Prefix.objects.filter(pk=segment.prefix_id).update(vlan=segment.vlan_id)
        take_snapshots()

    def grant_all(self, *models):
        for model in models:
            self.grant("view", model=model)

    def read(self, client=None):
        """Return the answers to all PATHS as text."""
        return json.dumps([self.ask(query, client) for query in PATHS])

    def test_superuser_sees_all(self):
        text = self.read(client_of(self.root))
        for word in ("public", "secret"):
            for kind in ("pool", "vrf", "site", "epg-0", "epg-2", "cluster", "former", "tenant"):
                self.assertIn(f"{word}-{kind}", text)

    def test_user_without_permissions_sees_nothing(self):
        for query in PATHS:
            (found,) = self.ask(query).values()
            self.assertEqual(found, [], query)

    def test_objects_of_one_vrf(self):
        self.grant("view", model=SegmentPool, vrf__name="public-vrf")
        self.grant("view", model=Segment, pool__vrf__name="public-vrf")
        self.grant("view", model=Allocation, pool__vrf__name="public-vrf")
        self.grant("view", model=VRF, name="public-vrf")
        self.grant("view", model=VLAN, segment__pool__vrf__name="public-vrf")
        self.grant("view", model=VLANGroup, segment_pools__vrf__name="public-vrf")
        self.grant("view", model=Prefix, vrf__name="public-vrf")
        self.grant("view", model=Site, name="public-site")
        self.grant("view", model=Tenant, name="public-tenant")
        self.grant("view", model=Cluster, name="public-cluster")
        text = self.read()
        self.assertNotIn("secret", text)
        self.assertNotIn("root", text)
        for kind in ("pool", "vrf", "site", "epg-0", "epg-2", "cluster", "former", "tenant"):
            self.assertIn(f"public-{kind}", text)

    def test_all_of_netbox_but_pools_of_one_vrf(self):
        self.grant("view", model=SegmentPool, vrf__name="public-vrf")
        self.grant("view", model=Segment, pool__vrf__name="public-vrf")
        self.grant("view", model=Allocation, pool__vrf__name="public-vrf")
        self.grant_all(VLAN, VRF, Prefix, VLANGroup, Site, Tenant, Cluster, User)
        text = self.read()
        # VLANs have the names of the EPGs, which this user may view.
        for name in ("secret-pool", "secret-former", '"epg_name": "secret'):
            self.assertNotIn(name, text)
        vrfs = {vrf["name"]: vrf["segment_pools"] for vrf in self.ask(PATHS[4])["vrf_list"]}
        self.assertEqual(len(vrfs["public-vrf"]), 1)
        self.assertEqual(vrfs["secret-vrf"], [])

    def test_pools_alone(self):
        self.grant_all(SegmentPool)
        pools = self.ask(PATHS[0])["segment_pool_list"]
        self.assertEqual(len(pools), 2)
        for pool in pools:
            self.assertEqual(
                {name: value for name, value in pool.items() if name not in ("name", "display", "snapshots")},
                {
                    # As in the REST API, usage counts all segments of the pool.
                    "total_segments": 3,
                    "allocated": 1,
                    "available": 2,
                    "utilization": 33.3,
                    "vrf": None,
                    "vlan_group": None,
                    "prefixes": [],
                    "tenant": None,
                    "scope": None,
                    "segments": [],
                    "allocations": [],
                },
            )
            self.assertEqual([snapshot["allocated"] for snapshot in pool["snapshots"]], [1])

    def test_segments_alone(self):
        self.grant_all(Segment)
        segments = self.ask(PATHS[1])["segment_list"]
        self.assertEqual(len(segments), 6)
        self.assertEqual(
            segments[0],
            {
                "display": "public-epg-0 (100)",
                "epg_name": "public-epg-0",
                "pool": None,
                "vlan": None,
                "allocations": [],
            },
        )

    def test_allocations_alone(self):
        self.grant_all(Allocation)
        allocations = self.ask(PATHS[2])["allocation_list"]
        self.assertEqual(len(allocations), 4)
        for allocation in allocations:
            self.assertEqual(
                {name: value for name, value in allocation.items() if name != "display"},
                {"pool": None, "segment": None, "allocated_by": None, "cluster": None},
            )

    def test_the_way_back_asks_again(self):
        """Django caches the object that a query started from, and would follow its relations without a check."""
        self.grant_all(SegmentPool, Segment, VLAN, Prefix, Allocation)
        (pool, _) = self.ask("{ segment_pool_list { segments { pool { name vrf { name } scope { __typename } } } } }")[
            "segment_pool_list"
        ]
        self.assertEqual(pool["segments"][0]["pool"], {"name": "public-pool", "vrf": None, "scope": None})

    def test_the_way_back_through_netbox(self):
        self.grant_all(VLAN, Prefix)
        self.grant("view", model=Segment, vlan__name="public-epg-0")
        found = self.ask("{ vlan_list { name prefixes { vlan { segment { epg_name } } } } }")["vlan_list"]
        self.assertEqual(
            {vlan["name"]: prefix["vlan"]["segment"] for vlan in found for prefix in vlan["prefixes"]},
            {vlan["name"]: None for vlan in found} | {"public-epg-0": {"epg_name": "public-epg-0"}},
        )

    def test_epg_name_without_vlan(self):
        """The name also shows if the query came back to the segment, whose VLAN was refused before."""
        self.grant_all(Segment, Allocation)
        segments = self.ask(
            """{ segment_list(filters: {status: {exact: STATUS_ALLOCATED}}) {
                vlan { name } allocations { segment { display epg_name vlan { name } active_allocations { display } } }
            } }"""
        )["segment_list"]
        found = segments[0]["allocations"][0]["segment"]
        self.assertEqual((found["display"], found["vlan"]), ("public-epg-0 (100)", None))
        self.assertEqual(found["active_allocations"], [{"display": "public-cluster: public-epg-0 (100)"}])

    def test_active_allocations(self):
        allocate("public-next", pool=SegmentPool.objects.get(name="public-pool"), user=self.root)
        self.grant_all(Segment)
        self.grant("view", model=Allocation, cluster_name="public-former")
        # With two aliases, an allocation leads back to a segment that Django has cached.
        found = self.ask(
            """{ segment_list(filters: {epg_name: {exact: "public-epg-1"}}) { active_allocations { cluster_name }
                a: allocations(filters: {purpose: {exact: ""}}) { segment { vid } }
                b: allocations { cluster_name } } }"""
        )["segment_list"]
        self.assertEqual(
            found,
            [{"active_allocations": [], "a": [{"segment": {"vid": 101}}], "b": [{"cluster_name": "public-former"}]}],
        )
        found = self.ask(
            """{ segment_list(filters: {epg_name: {exact: "public-epg-1"}}) {
                a: allocations(filters: {purpose: {exact: ""}}) { segment { active_allocations { cluster_name } } }
                b: allocations { cluster_name } } }"""
        )["segment_list"]
        self.assertEqual(found[0]["a"], [{"segment": {"active_allocations": []}}])

    def test_filters_tell_nothing(self):
        """Filters do not reveal the names of related objects that the user may not view."""
        self.grant_all(SegmentPool, Segment, Allocation)
        cases = {
            "segment_pool_list": (
                'vrf: {name: {starts_with: "s"}}',
                'site: {name: {starts_with: "s"}}',
                'contains: "10.2.0.1"',
            ),
            "segment_list": (
                'vlan: {name: {starts_with: "s"}}',
                'pool: {tenant: {name: {starts_with: "s"}}}',
                'tenant: {name: {starts_with: "s"}}',
                'within_include: "10.2.0.0/16"',
            ),
            "allocation_list": (
                'vrf: {name: {starts_with: "s"}}',
                'site: {name: {starts_with: "s"}}',
                'allocated_by: {username: {exact: "root"}}',
                'cluster: {name: {starts_with: "s"}}',
                'segment: {pool: {vrf: {name: {starts_with: "s"}}}}',
            ),
            "pool_snapshot_list": ('pool: {vrf: {name: {starts_with: "s"}}}',),
        }
        for name, filters in cases.items():
            for condition in filters:
                query = f"{{ {name}(filters: {{{condition}}}) {{ id }} }}"
                self.assertEqual(self.ask(query)[name], [], condition)
                self.assertNotEqual(self.ask(query, client_of(self.root))[name], [], condition)

    def test_filters_by_what_the_user_may_view(self):
        self.grant_all(Segment, VLAN, VRF, Cluster)
        self.grant("view", model=SegmentPool, vrf__name="public-vrf")
        self.grant("view", model=Allocation, cluster_name="public-cluster")
        cases = (
            ("segment_list", 'pool: {name: {ends_with: "pool"}}', 3),
            ("segment_list", 'allocations: {cluster_name: {contains: "-"}}', 1),
            ("segment_list", 'NOT: {pool: {name: {ends_with: "pool"}}}', 3),
            ("segment_list", 'vrf: {name: {contains: "vrf"}}', 3),
            ("segment_list", 'held_at: "2999-01-01"', 1),
            ("allocation_list", 'vrf: {name: {contains: "vrf"}}', 1),
            ("vlan_list", "segment: {vid: {filter_lookup: {exact: 100}}}", 2),
            ("vlan_list", 'segment: {allocations: {cluster_name: {contains: "-"}}}', 1),
            ("vrf_list", 'segment_pools: {name: {ends_with: "pool"}}', 1),
            ("cluster_list", "allocations: {status: {exact: STATUS_ACTIVE}}", 1),
        )
        for name, condition, count in cases:
            found = self.ask(f"{{ {name}(filters: {{{condition}}}) {{ id }} }}")[name]
            self.assertEqual(len(found), count, condition)

    def test_one_object_that_the_user_may_not_view(self):
        self.grant("view", model=SegmentPool, vrf__name="public-vrf")
        secret = SegmentPool.objects.get(name="secret-pool")
        with patch("strawberry.schema.base.StrawberryLogger.error"):
            answer = self.execute(f"{{ segment_pool(id: {secret.pk}) {{ name }} }}")
        self.assertIsNone(answer["data"])
        self.assertNotIn("secret", json.dumps(answer))
        snapshot = secret.snapshots.get()
        with patch("strawberry.schema.base.StrawberryLogger.error"):
            answer = self.execute(f"{{ pool_snapshot(id: {snapshot.pk}) {{ allocated }} }}")
        self.assertIsNone(answer["data"])

    def test_aliases_with_filters_of_their_own(self):
        self.grant_all(SegmentPool, VLAN)
        self.grant("view", model=Segment, vlan__name__startswith="public")
        pools = self.ask(
            """{ segment_pool_list { name
                low: segments(filters: {vid: {comparison_lookup: {lt: 101}}}) {
                  epg_name pool { name vrf { name } available scope { ... on SiteType { name } } } }
                high: segments(filters: {vid: {comparison_lookup: {gt: 101}}}) { epg_name }
                all: segments { epg_name } } }"""
        )["segment_pool_list"]
        public, secret = pools
        pool = {"name": "public-pool", "vrf": None, "available": 2, "scope": None}
        self.assertEqual(public["low"], [{"epg_name": "public-epg-0", "pool": pool}])
        self.assertEqual(public["high"], [{"epg_name": "public-epg-2"}])
        self.assertEqual(len(public["all"]), 3)
        self.assertEqual((secret["low"], secret["high"], secret["all"]), ([], [], []))

    def test_aliases_in_types_of_netbox(self):
        self.grant_all(VLAN, Prefix)
        self.grant("view", model=Segment, vlan__name="public-epg-0")
        vlans = self.ask(
            """{ vlan_list { name
                a: prefixes(filters: {family: FAMILY_4}) { vlan { segment { epg_name } } segment { epg_name } }
                b: prefixes { id } } }"""
        )["vlan_list"]
        found = [
            segment
            for vlan in vlans
            for prefix in vlan["a"]
            for segment in (prefix["segment"], prefix["vlan"]["segment"])
        ]
        self.assertEqual(len(found), 12)
        self.assertEqual([segment for segment in found if segment], [{"epg_name": "public-epg-0"}] * 2)

    def test_anonymous(self):
        anonymous = APIClient()
        response = anonymous.post(
            reverse("graphql"), {"query": PATHS[0]}, format="json", headers={"Accept": "application/json"}
        )
        self.assertEqual(response.status_code, 403)
        with override_settings(LOGIN_REQUIRED=False):
            for query in PATHS:
                (found,) = self.ask(query, anonymous).values()
                self.assertEqual(found, [], query)

    def test_token(self):
        """A read-only token may read; a disabled token may not."""
        self.grant_all(SegmentPool)
        self.assertEqual(len(self.ask(PATHS[0], client_of(self.user, write_enabled=False))["segment_pool_list"]), 2)
        response = client_of(self.user, enabled=False).post(reverse("graphql"), {"query": PATHS[0]}, format="json")
        self.assertEqual(response.status_code, 403)
