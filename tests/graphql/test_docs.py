"""The examples of docs/graphql.md work."""

import re
from io import StringIO
from pathlib import Path

from django.core.management import call_command
from django.utils import timezone

from netbox_vlan_manager.management.commands.vlan_manager_demo import SITES
from netbox_vlan_manager.models import Allocation
from tests.api.base import client_of
from tests.factories import make_user
from tests.graphql.base import GraphQLTestCase

PAGE = (Path(__file__).parents[2] / "docs/graphql.md").read_text()


class DocsTestCase(GraphQLTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = make_user("root", is_superuser=True)
        call_command("vlan_manager_demo", "--user", "root", stdout=StringIO())

    def test_examples(self):
        """Each example returns rows of the demo, with the fields that it asks for."""
        self.client = client_of(self.root)
        # The demo's allocations are of today.
        page = PAGE.replace("2026-03-12T09:00:00Z", timezone.now().isoformat())
        examples = re.findall(r"```graphql\n(.*?)```", page, re.DOTALL)
        pools, holdings, vlans, holders, past = (self.ask(query) for query in examples)

        self.assertEqual([pool["scope"] for pool in pools["segment_pool_list"]], [{"name": name} for name in SITES])
        pool = pools["segment_pool_list"][0]
        self.assertEqual((pool["name"], pool["total_segments"], pool["allocated"]), ("Network1 Site1", 10, 4))
        self.assertEqual(len(pool["segments"]), 4)
        segment = pool["segments"][0]
        self.assertEqual(segment["prefix"], {"prefix": "10.11.0.0/24"})
        self.assertEqual([held["cluster_name"] for held in segment["active_allocations"]], ["prod-02"])

        self.assertEqual(
            [(held["vid"], held["pool"]["name"], held["prefix"]) for held in holdings["allocation_list"]],
            [(200, "Network2 Site1", "10.21.0.0/24"), (100, "Network1 Site1", "10.11.0.0/24")],
        )

        held = {vlan["vid"]: vlan for vlan in vlans["vlan_list"]}
        self.assertEqual(len(held), Allocation.objects.active().count())
        self.assertEqual(
            held[100]["segment"],
            {
                "pool": {"name": "Network1 Site1"},
                "active_allocations": [{"cluster_name": "prod-02", "allocated_by": {"username": "root"}}],
            },
        )

        self.assertEqual(
            holders["allocation_list"],
            [{"cluster_name": "prod-03", "epg_name": "EPG_Site1_Network1_101", "pool": {"name": "Network1 Site1"}}],
        )

        self.assertEqual(
            [(held["cluster_name"], held["released_at"]) for held in past["allocation_list"]], [("prod-03", None)]
        )

    def test_queries_and_types_that_are_named(self):
        self.client = client_of(self.root)
        schema = self.ask("{ __schema { queryType { fields { name } } types { name fields { name } } } }")["__schema"]
        queries = {field["name"] for field in schema["queryType"]["fields"]}
        types = {found["name"]: {field["name"] for field in found["fields"] or ()} for found in schema["types"]}
        rows = re.findall(r"^\| `(\w+_list)` \| `(\w+)\(id:\)` \| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
        self.assertEqual(len(rows), 4)
        for many, one, type_name, relations in rows:
            self.assertLessEqual({many, one}, queries)
            self.assertLessEqual(set(re.findall(r"`(\w+)`", relations)), types[type_name])
