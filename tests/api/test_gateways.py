"""Gateways, DNS servers, domain and MTU in the answers of the REST API."""

from ipam.models import IPAddress
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import update_pool
from tests.api.base import PlainTestCase, url_of
from tests.factories import make_pool, make_segment, make_user

ASKED = {"cluster_name": "prod-01", "site": "Site1", "vrf": "Network1"}
HOSTS = {"dns_servers": ["192.0.2.53", "2001:db8::53"], "domain_name": "site1.example.com", "mtu": 9000}


class GatewayTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(gateway_rule="nth", gateway_offset=2, create_gateways=True, **HOSTS)
        update_pool(cls.pool, user=make_user(), prefixes=["10.0.0.0/16", "2001:db8::/48"])
        cls.segment = make_segment(cls.pool, 100, ipv6_prefix="2001:db8::/64")

    def setUp(self):
        super().setUp()
        self.grant("view", "add", "change", model=Segment)
        self.grant("view", "allocate", "change", model=SegmentPool)
        self.grant("view", model=Allocation)

    def test_contract_call(self):
        for _again in range(2):
            answer = self.post(url_of("allocate-vlan"), ASKED)
            self.assertEqual((answer["gateway"], answer["ipv6_gateway"]), ("10.0.0.2", "2001:db8::2"))
            self.assertEqual({name: answer[name] for name in HOSTS}, HOSTS)

    def test_contract_call_without_any(self):
        pool = update_pool(
            self.pool,
            user=make_user(),
            gateway_rule="none",
            gateway_offset=None,
            dns_servers=[],
            domain_name="",
            mtu=None,
        )
        make_segment(pool, 101, 1)
        answer = self.post(url_of("allocate-vlan"), ASKED | {"vid": 101})
        names = {"ipv6_prefix", "gateway", "ipv6_gateway", *HOSTS}
        self.assertFalse(names & answer.keys())

    def test_allocations_and_segments(self):
        answer = self.post(url_of("allocation-list"), ASKED, status=201)
        self.assertEqual((answer["gateway"], answer["ipv6_gateway"]), ("10.0.0.2", "2001:db8::2"))
        self.assertEqual({name: answer[name] for name in HOSTS}, HOSTS)
        answer = self.call("get", url_of("segment-detail", pk=self.segment.pk))
        self.assertEqual((answer["gateway"], answer["ipv6_gateway"]), ("10.0.0.2", "2001:db8::2"))
        self.assertEqual({name: answer[name] for name in HOSTS}, HOSTS)

    def test_edit_a_segment(self):
        url = url_of("segment-detail", pk=self.segment.pk)
        self.assertEqual(self.call("patch", url, {"gateway": "10.0.0.9"})["gateway"], "10.0.0.9")
        self.assertTrue(IPAddress.objects.filter(address="10.0.0.9/24").exists())
        for value, says in (("10.9.0.1", "not in prefix"), ("x", "valid IPv4 or IPv6"), (7, "valid IPv4 or IPv6")):
            with self.subTest(value=value):
                answer = self.call("patch", url, {"gateway": value}, status=400)
                self.assertIn(says, str(answer["gateway"]))
        self.assertIsNone(self.call("patch", url, {"gateway": None})["gateway"])

    def test_edit_a_pool(self):
        url = url_of("segmentpool-detail", pk=self.pool.pk)
        answer = self.call("patch", url, {"gateway_rule": "last", "gateway_offset": None, "dns_servers": []})
        self.assertEqual((answer["gateway_rule"]["value"], answer["dns_servers"]), ("last", []))
        for values in ({"gateway_rule": "nth"}, {"dns_servers": ["x"]}, {"domain_name": "a b"}, {"mtu": 1}):
            with self.subTest(values=values):
                answer = self.call("patch", url, values, status=400)
                self.assertEqual(len(answer), 1)
