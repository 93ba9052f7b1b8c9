from ipam.models import Prefix
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import update_pool
from tests.api.base import PlainTestCase, url_of
from tests.factories import make_pool, make_segment, make_user, make_vrf

CIDR = "2001:db8::/64"


class DualStackTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool()
        update_pool(cls.pool, user=make_user(), prefixes=["10.0.0.0/16", "2001:db8::/48"])
        cls.segment = make_segment(cls.pool, 100, ipv6_prefix=CIDR)

    def setUp(self):
        super().setUp()
        self.grant("view", "add", "change", "delete", model=Segment)
        self.grant("view", "allocate", model=SegmentPool)

    def patch(self, value, status=200):
        return self.call("patch", url_of("segment-detail", pk=self.segment.pk), {"ipv6_prefix": value}, status=status)

    def test_create_with_a_cidr_and_with_an_id(self):
        existing = Prefix.objects.create(prefix="2001:db8:0:2::/64", vrf=self.pool.vrf)
        self.grant("view", model=Prefix)
        for vid, value in ((101, "2001:db8:0:1::/64"), (102, existing.pk)):
            body = {
                "pool": self.pool.pk,
                "vid": vid,
                "epg_name": f"EPG_{vid}",
                "prefix": f"10.0.{vid}.0/24",
                "ipv6_prefix": value,
            }
            answer = self.post(url_of("segment-list"), body, status=201)
            prefix = Prefix.objects.get(pk=answer["ipv6_prefix"]["id"])
            self.assertEqual(prefix.vlan_id, answer["vlan"]["id"])

    def test_change_and_remove(self):
        self.assertEqual(self.patch("2001:db8:0:9::/64")["ipv6_prefix"]["display"], "2001:db8:0:9::/64")
        self.assertIsNone(self.patch(None)["ipv6_prefix"])
        self.assertFalse(Prefix.objects.filter(vlan=self.segment.vlan, prefix__family=6).exists())

    def test_wrong_values(self):
        other = Prefix.objects.create(prefix="2001:db8:0:3::/64", vrf=make_vrf("Other"))
        self.grant("view", model=Prefix)
        for value, says in (
            ("10.0.9.0/24", "is IPv4"),
            ("2001:db9::/64", "lies in no container"),
            ("nonsense", "no mask"),
            (other.pk, "not in the pool's VRF"),
            (999999, "There is no prefix"),
            ({"id": "x"}, "An id is a whole number"),
            ([], "Give a CIDR"),
            (True, "Give a CIDR"),
        ):
            with self.subTest(value=value):
                answer = self.patch(value, status=400)
                self.assertIn(says, str(answer["ipv6_prefix"]))
        self.segment.refresh_from_db()
        self.assertEqual(str(self.segment.ipv6_prefix), CIDR)

    def test_allocations_and_the_contract_call_tell_both(self):
        asked = {"cluster_name": "prod-01", "site": "Site1", "vrf": "Network1"}
        answer = self.post(url_of("allocate-vlan"), asked)
        self.assertEqual((answer["segment"], answer["ipv6_prefix"]), ("10.0.0.0/24", CIDR))
        answer = self.post(url_of("allocation-list"), asked)
        self.assertEqual((answer["prefix"], answer["ipv6_prefix"]), ("10.0.0.0/24", CIDR))
        self.assertEqual(self.patch("2001:db8:0:9::/64", status=409)["code"], "segment_in_use")

    def test_import(self):
        row = {"site": "Site1", "vrf": "Network1", "vlan_id": 103, "epg_name": "a", "segment": "10.0.103.0/24"}
        answer = self.post(url_of("segment-import"), {"rows": [row | {"ipv6_prefix": "2001:db8:0:103::/64"}]})
        self.assertEqual(answer["created"], 1)
        answer = self.post(url_of("segment-import"), {"rows": [row | {"ipv6_prefix": None}]})
        self.assertEqual(answer["results"][0]["changes"], {"ipv6_prefix": {"old": "2001:db8:0:103::/64", "new": ""}})
