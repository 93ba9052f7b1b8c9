"""The examples of docs/graphql.md work."""

import re
from pathlib import Path

from netbox_vlan_manager.services import allocate
from tests.api.base import client_of
from tests.factories import make_pool, make_user
from tests.graphql.base import GraphQLTestCase

PAGE = (Path(__file__).parents[2] / "docs/graphql.md").read_text()


class DocsTestCase(GraphQLTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = make_user("root", is_superuser=True)
        cls.pool = make_pool(segments=2)
        make_pool("Network2", "Site2", container="10.2.0.0/16", segments=1)
        cls.held = allocate("prod-01", pool=cls.pool, user=cls.root).allocation

    def test_examples(self):
        self.client = client_of(self.root)
        pools, allocations, vlans = (self.ask(query) for query in re.findall(r"```graphql\n(.*?)```", PAGE, re.DOTALL))
        self.assertEqual(
            pools["segment_pool_list"],
            [
                {
                    "name": self.pool.name,
                    "scope": {"name": "Site1"},
                    "total_segments": 2,
                    "allocated": 1,
                    "available": 1,
                    "utilization": 50.0,
                    "segments": [
                        {
                            "vid": 100,
                            "epg_name": "EPG_100",
                            "prefix": {"prefix": "10.0.0.0/24"},
                            "active_allocations": [
                                {"cluster_name": "prod-01", "allocated_at": self.held.allocated_at.isoformat()}
                            ],
                        }
                    ],
                }
            ],
        )
        self.assertEqual(
            allocations["allocation_list"],
            [
                {
                    "purpose": "",
                    "vid": 100,
                    "epg_name": "EPG_100",
                    "prefix": "10.0.0.0/24",
                    "ipv6_prefix": None,
                    "expires_at": None,
                    "pool": {"name": self.pool.name, "vrf": {"name": "Network1"}},
                }
            ],
        )
        self.assertEqual(
            vlans["vlan_list"],
            [
                {
                    "vid": 100,
                    "name": "EPG_100",
                    "segment": {
                        "pool": {"name": self.pool.name},
                        "active_allocations": [{"cluster_name": "prod-01", "allocated_by": {"username": "root"}}],
                    },
                }
            ],
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
