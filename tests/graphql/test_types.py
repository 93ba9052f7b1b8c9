"""The fields of the types, and the number of queries."""

from datetime import date, timedelta

import pytest
from django.apps import apps
from django.utils import timezone

from core.models import ObjectType
from dcim.models import Location, Region
from extras.models import CustomField, Tag
from ipam.models import Prefix
from netbox_vlan_manager.api import serializers
from netbox_vlan_manager.graphql import types
from netbox_vlan_manager.models import Allocation, PoolSnapshot, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, disable_segment, release, share
from netbox_vlan_manager.services.reporting.snapshots import take_snapshots
from tests.api.base import client_of
from tests.factories import make_pool, make_segment, make_site, make_user
from tests.graphql.base import GraphQLTestCase
from virtualization.models import Cluster, ClusterType


class TypesTestCase(GraphQLTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = make_user("root", is_superuser=True)
        cls.pool = make_pool(segments=5, cooldown=3600)
        cluster = Cluster.objects.create(name="prod-01", type=ClusterType.objects.create(name="K8s", slug="k8s"))
        cls.expires_at = timezone.now() + timedelta(days=1)
        cls.held = allocate(cluster.name, pool=cls.pool, user=cls.root, expires_at=cls.expires_at).allocation
        allocate("prod-02", pool=cls.pool, user=cls.root)
        release("prod-02", pool=cls.pool, user=cls.root)
        disable_segment(Segment.objects.get(vid=104), user=cls.root, reason="Broken")

    def setUp(self):
        super().setUp()
        self.client = client_of(self.root)

    def test_resources_are_loaded(self):
        config = apps.get_app_config("netbox_vlan_manager")
        for name in ("graphql_schema", "graphql_type_extensions", "graphql_filter_extensions"):
            self.assertTrue(config._load_resource(name), name)

    def test_every_field_of_the_rest_api(self):
        # NetBox's GraphQL types have no links to REST and pages; the scope is a field of its own.
        left_out = {"url", "display_url", "scope_type", "scope_id"}
        # These are the pool's, which the user may not be permitted to view.
        of_pool = {"dns_servers", "domain_name", "mtu"}
        for serializer, graphql_type in (
            (serializers.SegmentPoolSerializer, types.SegmentPoolType),
            (serializers.SegmentSerializer, types.SegmentType),
            (serializers.AllocationSerializer, types.AllocationType),
        ):
            readable = {name for name, field in serializer().fields.items() if not field.write_only}
            offered = {field.name for field in graphql_type.__strawberry_definition__.fields}
            of_others = set() if graphql_type is types.SegmentPoolType else of_pool
            self.assertEqual(readable - left_out - of_others - offered, set())

    def test_pool(self):
        query = f"""{{ segment_pool(id: {self.pool.pk}) {{
            display class_type name status level vrf {{ name }} vlan_group {{ name }} prefixes {{ prefix }} cooldown
            scope {{ __typename ... on SiteType {{ name }} }} allocation_order
            total_segments allocated available quarantined disabled utilization }} }}"""
        self.assertEqual(
            self.ask(query)["segment_pool"],
            {
                "display": self.pool.name,
                "class_type": "SegmentPool",
                "name": self.pool.name,
                "status": "active",
                "level": "normal",
                "vrf": {"name": "Network1"},
                "vlan_group": {"name": self.pool.vlan_group.name},
                "prefixes": [{"prefix": "10.0.0.0/16"}],
                "cooldown": 3600,
                "scope": {"__typename": "SiteType", "name": "Site1"},
                "allocation_order": "lowest",
                "total_segments": 5,
                "allocated": 1,
                "available": 2,
                "quarantined": 1,
                "disabled": 1,
                "utilization": 20.0,
            },
        )

    def test_every_kind_of_scope(self):
        site = make_site()
        for index, (scope, expected) in enumerate(
            (
                (Region.objects.create(name="Europe", slug="europe"), "RegionType"),
                (Location.objects.create(name="Hall", slug="hall", site=site), "LocationType"),
            )
        ):
            pool = make_pool(scope=scope, container=f"10.{index + 1}.0.0/16")
            found = self.ask(f"{{ segment_pool(id: {pool.pk}) {{ scope {{ __typename }} }} }}")
            self.assertEqual(found["segment_pool"]["scope"], {"__typename": expected})

    def test_one_count_alone(self):
        for name, expected in (("utilization", 20.0), ("disabled", 1), ("total_segments", 5)):
            self.assertEqual(self.ask(f"{{ segment_pool_list {{ {name} }} }}")["segment_pool_list"], [{name: expected}])

    def test_counts_of_a_pool_that_is_related(self):
        found = self.ask("{ segment_list { pool { available segments { pool { allocated } } } } }")["segment_list"]
        self.assertEqual({segment["pool"]["available"] for segment in found}, {2})
        self.assertEqual(found[0]["pool"]["segments"][0]["pool"], {"allocated": 1})

    def test_segment(self):
        found = self.ask(
            """{ segment_list { display vid epg_name status prefix { prefix } ipv6_prefix { prefix } vlan { vid }
                disabled_reason quarantined_until active_allocations { cluster_name }
                allocations { cluster_name } } }"""
        )["segment_list"]
        self.assertEqual(
            found[0],
            {
                "display": "EPG_100 (100)",
                "vid": 100,
                "epg_name": "EPG_100",
                "status": "allocated",
                "prefix": {"prefix": "10.0.0.0/24"},
                "ipv6_prefix": None,
                "vlan": {"vid": 100},
                "disabled_reason": "",
                "quarantined_until": None,
                "active_allocations": [{"cluster_name": "prod-01"}],
                "allocations": [{"cluster_name": "prod-01"}],
            },
        )
        self.assertEqual((found[1]["active_allocations"], found[1]["allocations"]), ([], [{"cluster_name": "prod-02"}]))
        self.assertIsNotNone(found[1]["quarantined_until"])
        self.assertEqual(found[4]["disabled_reason"], "Broken")

    def test_shared_segment(self):
        segment = self.held.segment
        share(segment, "prod-03", user=self.root)
        (found,) = self.ask(
            """{ segment_list(filters: {allocations: {cluster_name: {exact: "prod-03"}}}) {
                active_allocations { display shared segment { epg_name pool { available } } } } }"""
        )["segment_list"]
        described = {"segment": {"epg_name": "EPG_100", "pool": {"available": 2}}}
        self.assertEqual(
            found["active_allocations"],
            [
                {"display": "prod-01: EPG_100 (100)", "shared": False, **described},
                {"display": "prod-03: EPG_100 (100)", "shared": True, **described},
            ],
        )

    def test_allocation(self):
        released, active = self.ask(
            """{ allocation_list { display status cluster_name cluster { name } pool { name } segment { epg_name }
                pool_name vrf_name vid prefix ipv6_prefix allocated_by { username } released_by { username }
                release_reason expires_at released_at } }"""
        )["allocation_list"]
        self.assertIsNotNone(released.pop("released_at"))
        common = {"pool_name": self.pool.name, "vrf_name": "Network1", "ipv6_prefix": None}
        self.assertEqual(
            active,
            {
                "display": "prod-01: EPG_100 (100)",
                "status": "active",
                "cluster_name": "prod-01",
                "cluster": {"name": "prod-01"},
                "pool": {"name": self.pool.name},
                "segment": {"epg_name": "EPG_100"},
                "vid": 100,
                "prefix": "10.0.0.0/24",
                "allocated_by": {"username": "root"},
                "released_by": None,
                "release_reason": "",
                "expires_at": self.expires_at.isoformat(),
                "released_at": None,
                **common,
            },
        )
        self.assertEqual(
            (released["status"], released["release_reason"], released["released_by"]),
            ("released", "released", {"username": "root"}),
        )

    def test_history_without_its_pool(self):
        Allocation.objects.filter(cluster_name="prod-02").update(pool=None, segment=None)
        found = self.ask(
            """{ allocation_list(filters: {status: {exact: STATUS_RELEASED}}) {
                pool { name } segment { epg_name } epg_name } }"""
        )["allocation_list"]
        self.assertEqual(found, [{"pool": None, "segment": None, "epg_name": "EPG_101"}])
        # Objects without a segment do not match a filter for another segment.
        unlike = self.ask(
            "{ allocation_list(filters: {NOT: {segment: {vid: {filter_lookup: {exact: 100}}}}}) { cluster_name } }"
        )["allocation_list"]
        self.assertEqual(unlike, [{"cluster_name": "prod-02"}])

    def test_snapshots(self):
        take_snapshots()
        PoolSnapshot.objects.create(
            pool=self.pool, date=date(2026, 1, 1), total_segments=4, allocated=1, available=3, quarantined=0, disabled=0
        )
        found = self.ask(
            """{ segment_pool_list { snapshots(filters: {date: {lt: "2026-02-01"}}) {
                display date total_segments allocated available quarantined disabled utilization pool { name } } } }"""
        )["segment_pool_list"]
        snapshot = {
            "display": f"{self.pool}, 2026-01-01",
            "date": "2026-01-01",
            "total_segments": 4,
            "allocated": 1,
            "available": 3,
            "quarantined": 0,
            "disabled": 0,
            "utilization": 25.0,
            "pool": {"name": self.pool.name},
        }
        self.assertEqual(found[0]["snapshots"], [snapshot])
        listed = self.ask("{ pool_snapshot_list { id display } }")["pool_snapshot_list"]
        self.assertEqual(len(listed), 2)
        one = self.ask(f"{{ pool_snapshot(id: {listed[0]['id']}) {{ display }} }}")["pool_snapshot"]
        self.assertEqual(one, {"display": listed[0]["display"]})
        crowded = self.ask("{ pool_snapshot_list(filters: {total_segments: {comparison_lookup: {gt: 4}}}) { id } }")
        self.assertEqual(len(crowded["pool_snapshot_list"]), 1)

    def test_from_objects_of_netbox(self):
        ipv6_prefix = Prefix.objects.create(prefix="2001:db8::/64", vrf=self.pool.vrf)
        Segment.objects.filter(vid=100).update(ipv6_prefix=ipv6_prefix)
        held = {"epg_name": "EPG_100"}
        pool = [{"name": self.pool.name}]
        cases = (
            ("vlan", self.held.segment.vlan_id, "segment { epg_name }", {"segment": held}),
            ("prefix", self.held.segment.prefix_id, "segment { epg_name }", {"segment": held}),
            (
                "prefix",
                ipv6_prefix.pk,
                "segment { vid } ipv6_segment { epg_name }",
                {"segment": None, "ipv6_segment": held},
            ),
            ("prefix", self.pool.prefixes.get().pk, "segment_pools { name }", {"segment_pools": pool}),
            ("vrf", self.pool.vrf_id, "segment_pools { name }", {"segment_pools": pool}),
            ("vlan_group", self.pool.vlan_group_id, "segment_pools { name }", {"segment_pools": pool}),
            ("cluster", self.held.cluster_id, "allocations { vid }", {"allocations": [{"vid": 100}]}),
        )
        for name, pk, fields, expected in cases:
            self.assertEqual(self.ask(f"{{ {name}(id: {pk}) {{ {fields} }} }}")[name], expected, name)

    def test_fragments_and_variables(self):
        query = """
            query Held($name: String!) {
              allocation_list(filters: {cluster_name: {i_exact: $name}}) { ...Held }
            }
            fragment Held on AllocationType { pool { ...Usage } segment { display ...Name } }
            fragment Usage on SegmentPoolType { allocated utilization scope { ... on SiteType { name } } }
            fragment Name on SegmentType { epg_name active_allocations { cluster_name } }
        """
        response = self.client.post("/graphql/", {"query": query, "variables": {"name": "PROD-01"}}, format="json")
        self.assertEqual(
            response.json(),
            {
                "data": {
                    "allocation_list": [
                        {
                            "pool": {"allocated": 1, "utilization": 20.0, "scope": {"name": "Site1"}},
                            "segment": {
                                "display": "EPG_100 (100)",
                                "epg_name": "EPG_100",
                                "active_allocations": [{"cluster_name": "prod-01"}],
                            },
                        }
                    ]
                }
            },
        )

    def test_tags_and_custom_fields(self):
        tag = Tag.objects.create(name="Blue", slug="blue")
        field = CustomField.objects.create(name="rack", type="text")
        for model in (SegmentPool, Segment, Allocation):
            field.object_types.add(ObjectType.objects.get_for_model(model))
            instance = model.objects.first()
            instance.tags.add(tag)
            model.objects.filter(pk=instance.pk).update(custom_field_data={"rack": "R1"})
            name = model._meta.verbose_name.replace(" ", "_")
            found = self.ask(
                f"""{{ {name}_list(filters: {{tags: {{slug: {{exact: "blue"}}}},
                    custom_field_data: {{path: "rack", lookup: {{string_lookup: {{exact: "R1"}}}}}}}})
                    {{ id tags {{ name }} custom_fields }} }}"""
            )[f"{name}_list"]
            self.assertEqual(
                found, [{"id": str(instance.pk), "tags": [{"name": "Blue"}], "custom_fields": {"rack": "R1"}}]
            )

    def test_pages(self):
        query = "{ segment_list(pagination: {offset: 1, limit: 2}) { vid } }"
        self.assertEqual(self.ask(query)["segment_list"], [{"vid": 101}, {"vid": 102}])
        query = "{ segment_pool_list { segments(pagination: {limit: 1}) { vid } } }"
        self.assertEqual(self.ask(query)["segment_pool_list"], [{"segments": [{"vid": 100}]}])

    def test_filters_by_time_and_place(self):
        released = Allocation.objects.get(cluster_name="prod-02")
        before = (self.held.allocated_at - timedelta(days=1)).isoformat()
        for name, condition, expected in (
            ("allocation_list", f'held_at: "{released.allocated_at.isoformat()}"', {100, 101}),
            ("allocation_list", f'held_at: "{released.released_at.isoformat()}"', {100}),
            ("allocation_list", f'held_at: "{self.expires_at.isoformat()}"', set()),
            ("allocation_list", f'held_at: "{before}"', set()),
            ("allocation_list", 'site: {slug: {exact: "site1"}}, within_include: "10.0.1.0/24"', {101}),
            ("segment_list", f'held_at: "{released.allocated_at.isoformat()}"', {100, 101}),
            ("segment_list", 'allocations: {held_at: "2000-01-01"}', set()),
            ("segment_list", 'vrf: {name: {exact: "Network1"}}, contains: "10.0.4.7"', {104}),
            ("segment_list", 'location: {slug: {exact: "room"}}', set()),
            ("segment_list", 'pool: {within_include: "10.0.0.0/16"}, vid: {comparison_lookup: {lt: 101}}', {100}),
        ):
            found = self.ask(f"{{ {name}(filters: {{{condition}}}) {{ vid }} }}")[name]
            self.assertEqual({one["vid"] for one in found}, expected, condition)

    def test_filters_that_make_no_sense(self):
        for condition in (
            "segment_list(filters: {status: {exact: STATUS_GONE}}) { id }",
            "segment_list(filters: {pool: {vid: {exact: 1}}}) { id }",
            'segment_list(filters: {pool_id: "x"}) { id }',
            'allocation_list(filters: {prefix: {exact: "nonsense"}}) { id }',
            "segment_list { nothing }",
            'segment_list(filters: {held_at: "March"}) { id }',
            'segment_list(filters: {within: "10.0.0"}) { id }',
            'allocation_list(filters: {contains: "nonsense"}) { id }',
        ):
            with self.assertNoLogs("django.request"):
                answer = self.execute(f"{{ {condition} }}")
            self.assertTrue(answer["errors"][0]["message"], condition)
        nothing = self.ask("{ allocation_list(filters: {status: {in_list: []}}) { id } }")
        self.assertEqual(nothing, {"allocation_list": []})


@pytest.mark.slow("Every type and field")
class QueriesTestCase(GraphQLTestCase):
    """The number of SQL queries of a GraphQL query does not grow with the number of objects."""

    PATHS = (
        """{ segment_pool_list { display total_segments utilization level vrf { name } vlan_group { name } custom_fields
            tags { name } prefixes { prefix } scope { ... on SiteType { name } } snapshots { display utilization }
            segments { display epg_name vlan { name } prefix { prefix } pool { name vrf { name } }
              active_allocations { display pool { available } segment { epg_name } allocated_by { username } }
              allocations { display status cluster { name } segment { display epg_name pool { available } } } } } }""",
        """{ segment_list { display epg_name tags { name } custom_fields ipv6_prefix { prefix }
            pool { display available scope { ... on SiteType { name } } } active_allocations { display } } }""",
        """{ allocation_list { display status tags { name } allocated_by { username } released_by { username }
            pool { display allocated vrf { name } } segment { display prefix { prefix } } cluster { name } } }""",
        "{ pool_snapshot_list { display utilization pool { name available } } }",
        "{ vlan_list { name segment { display epg_name pool { name available } active_allocations { display } } } }",
        "{ prefix_list { prefix segment { epg_name } ipv6_segment { epg_name } segment_pools { name available } } }",
        "{ vrf_list { name segment_pools { display available segments { epg_name } } } }",
        "{ cluster_list { name allocations { display segment { epg_name } pool { utilization } } } }",
        '{ segment_list(filters: {pool: {vrf: {name: {contains: "Network"}}}}) { epg_name } }',
    )

    @classmethod
    def setUpTestData(cls):
        cls.cluster_type = ClusterType.objects.create(name="K8s", slug="k8s")
        cls.root = make_user("root", is_superuser=True)
        cls.numbers = iter(range(100))
        cls.add(1, 5)

    @classmethod
    def add(cls, pools, segments):
        """Make that many pools and segments in each; clusters hold all segments but one, each a different cluster."""
        for _ in range(pools):
            number = next(cls.numbers)
            pool = make_pool(f"Network{number}", f"Site{number}", container=f"10.{number}.0.0/16")
            for index in range(segments):
                make_segment(pool, 100 + index, index)
            for index in range(segments - 1):
                name = f"prod-{number}-{index}"
                Cluster.objects.create(name=name, type=cls.cluster_type)
                allocate(name, pool=pool, user=cls.root)
        take_snapshots()

    def count_all(self):
        return {path: self.count_queries(path) for path in self.PATHS}

    def test_superuser(self):
        self.client = client_of(self.root)
        few = self.count_all()
        self.add(4, 10)
        self.assertEqual(self.count_all(), few)

    def test_user_with_constraints(self):
        for model in (SegmentPool, Segment, Allocation):
            self.grant("view", model=model, created__isnull=False)
        few = self.count_all()
        self.add(4, 10)
        self.assertEqual(self.count_all(), few)

    def test_fifty_segments_of_a_pool(self):
        self.client = client_of(self.root)
        few = self.count_all()
        pool = SegmentPool.objects.get()
        for index in range(5, 50):
            make_segment(pool, 100 + index, index)
            allocate(f"more-{index}", pool=pool, user=self.root)
        self.assertEqual(self.count_all(), few)

    def test_usage_takes_no_query_of_its_own(self):
        self.client = client_of(self.root)
        self.add(4, 2)
        name = self.count_queries("{ segment_pool_list { name } }")
        usage = self.count_queries("{ segment_pool_list { name total_segments available quarantined utilization } }")
        self.assertEqual(name, usage)
