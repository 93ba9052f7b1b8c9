from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.models import ObjectChange
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Allocation, IdempotencyKey, Segment, SegmentPool
from netbox_vlan_manager.services import update_pool
from tests.api.base import PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_segment, make_user
from tests.openapi import openapi_schema


class GenerateTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool()

    def setUp(self):
        super().setUp()
        self.url = url_of("segmentpool-generate", pk=self.pool.pk)

    def grant_all(self):
        self.grant("view", model=SegmentPool)
        self.grant("add", model=Segment)

    def test_range(self):
        self.grant_all()
        make_segment(self.pool, 101)
        body = {"vid_min": 100, "vid_max": 102, "prefix_length": 24, "dhcp": True, "description": "Racks"}
        answer = self.post(self.url, body, status=201)
        first, second = Segment.objects.exclude(vid=101).order_by("vid")
        self.assertEqual(
            answer,
            {
                "created": 2,
                "skipped": [101],
                "dry_run": False,
                "segments": [
                    {
                        "id": segment.pk,
                        "url": f"http://testserver{url_of('segment-detail', pk=segment.pk)}",
                        "vid": vid,
                        "epg_name": f"EPG_Site1_{vid}",
                        "prefix": prefix,
                        "ipv6_prefix": None,
                        "gateway": None,
                        "ipv6_gateway": None,
                    }
                    for segment, vid, prefix in ((first, 100, "10.0.1.0/24"), (second, 102, "10.0.2.0/24"))
                ],
            },
        )
        self.assertEqual((first.dhcp, first.description), (True, "Racks"))
        # The second call has nothing left to make.
        answer = self.post(self.url, body)
        self.assertEqual((answer["created"], answer["skipped"], answer["segments"]), (0, [100, 101, 102], []))

    def test_dry_run_tells_the_same(self):
        self.grant_all()
        body = {"count": 2, "prefix_length": 25, "epg_template": "web-{vid}"}
        told = self.post(self.url, {**body, "dry_run": True})
        self.assertEqual((Segment.objects.count(), VLAN.objects.count()), (0, 0))
        self.assertFalse(ObjectChange.objects.filter(user=self.user).exists())
        made = self.post(self.url, body, status=201)
        self.assertTrue(told.pop("dry_run"))
        self.assertFalse(made.pop("dry_run"))
        for segment in made["segments"]:
            segment.update(id=None, url=None)
        self.assertEqual(told, made)

    def test_dual_stack_with_the_lengths_of_the_pool(self):
        self.grant_all()
        update_pool(
            self.pool,
            user=make_user(),
            prefixes=["10.0.0.0/16", "2001:db8::/48"],
            grow_prefix_length=24,
            grow_ipv6_prefix_length=64,
            epg_template="n{vid}",
        )
        (segment,) = self.post(self.url, {"count": 1}, status=201)["segments"]
        self.assertEqual(
            (segment["epg_name"], segment["prefix"], segment["ipv6_prefix"]), ("n100", "10.0.0.0/24", "2001:db8::/64")
        )

    def test_bad_values_name_their_field(self):
        self.grant_all()
        numbers = ("count", "vid_min", "vid_max", "prefix_length", "ipv6_prefix_length")
        bad = {
            **dict.fromkeys(numbers, ("x", "", None, True, [], {}, 0, -1, 10**30, 1.5, "9" * 2000)),
            "epg_template": (None, True, [], {}, "x" * 101, "\0{vid}", "EPG", "{nothing}{vid}", "a b {vid}"),
            "dhcp": (None, "perhaps", 7, [], {}),
            "description": (None, True, [], {}, "x" * 201, "\0"),
            "dry_run": (None, "perhaps", 7, [], {}),
        }
        for field, values in bad.items():
            for value in values:
                body = {"count": 1, "vid_min": 100, "vid_max": 110, "prefix_length": 24, field: value}
                self.assertEqual(list(self.post(self.url, body, status=400)["errors"]), [field], (field, value))
        for body in ([], "x", 5, None, {}, {"vid_min": 100, "prefix_length": 24}):
            self.post(self.url, body, status=400)
        self.assertEqual((Segment.objects.count(), VLAN.objects.count()), (0, 0))

    def test_what_does_not_fit_names_its_field(self):
        self.grant_all()
        for asked, field, says in (
            ({"count": 257, "prefix_length": 24}, "prefix_length", "room for 256 more /24"),
            ({"count": 901, "prefix_length": 24}, "count", "has 900 free VLAN IDs"),
            ({"count": 1}, "prefix_length", "Give the prefix length"),
            ({"vid_min": 1, "vid_max": 200, "prefix_length": 24}, "vid_min", "not in VLAN group"),
            ({"vid_min": 200, "vid_max": 100, "prefix_length": 24}, "vid_max", "ends before"),
            ({"count": 1, "prefix_length": 24, "ipv6_prefix_length": 64}, "ipv6_prefix_length", "no IPv6 container"),
        ):
            errors = self.post(self.url, asked, status=400)["errors"]
            self.assertEqual(list(errors), [field])
            self.assertIn(says, errors[field][0])

    def test_permissions(self):
        body = {"count": 2, "prefix_length": 24}
        self.post(self.url, body, status=403)
        self.grant("view", model=SegmentPool, name="another")
        self.grant("add", model=Segment, vid__lt=102)
        self.assertEqual(self.post(self.url, body, status=404)["code"], "not_found")
        self.grant("view", model=SegmentPool)
        self.post(self.url, body, client=client_of(self.user, write_enabled=False), status=403)
        error = self.post(self.url, {**body, "count": 3}, status=403)
        self.assertEqual((list(error), error["code"]), (["detail", "code"], "permission_denied"))
        self.post(self.url, {**body, "count": 3, "dry_run": True}, status=403)
        self.assertEqual(Segment.objects.count(), 0)
        self.post(self.url, body, status=201)
        self.client.credentials()
        self.post(self.url, body, status=403)

    def test_idempotency(self):
        self.grant_all()
        body, header = {"count": 2, "prefix_length": 24}, {"Idempotency-Key": "once"}
        first = self.post(self.url, body, status=201, **header)
        self.assertEqual(self.post(self.url, body, status=201, **header), first)
        self.assertEqual((Segment.objects.count(), IdempotencyKey.objects.count()), (2, 1))

    def test_number_of_queries(self):
        self.grant_all()
        counts = []
        for count in (10, 60):
            with CaptureQueriesContext(connection) as queries:
                self.post(self.url, {"count": count, "prefix_length": 27}, status=201)
            counts.append(len(queries))
        # Rows are written in batches.
        self.assertLessEqual(counts[1] - counts[0], 2)

    def test_schema(self):
        schema = openapi_schema()
        operation = schema["paths"]["/api/plugins/vlan-manager/pools/{id}/generate/"]["post"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        self.assertEqual(body, {"$ref": "#/components/schemas/GenerateRequest"})
        refused = ["400", "403", "404", "409", "412", "415", "422", "503"]
        self.assertEqual(sorted(operation["responses"]), ["200", "201", *refused])
        for status in ("200", "201"):
            answer = operation["responses"][status]["content"]["application/json"]["schema"]
            self.assertEqual(answer, {"$ref": "#/components/schemas/GenerateResult"})
        row = schema["components"]["schemas"]["GeneratedSegment"]["properties"]
        names = {"epg_name", "id", "ipv6_prefix", "prefix", "url", "vid", "gateway", "ipv6_gateway"}
        self.assertEqual(set(row), names)
        self.assertTrue(row["url"]["nullable"])


class GrowthTestCase(PlainTestCase):
    """A user with only the permission to allocate asks a pool that grows."""

    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(auto_grow=True, grow_prefix_length=24, grow_limit=2)

    def setUp(self):
        super().setUp()
        self.grant("allocate", model=SegmentPool)

    def ask(self, name, status=200, **more):
        body = {"cluster_name": name, "site": "Site1", "vrf": "Network1", **more}
        return self.post(url_of("allocate-vlan"), body, status=status)

    def test_by_allocate_vlan(self):
        answer = self.ask("prod-01")
        self.assertEqual(
            (answer["vlan_id"], answer["epg_name"], answer["segment"], answer["created"]),
            (100, "EPG_Site1_100", "10.0.0.0/24", True),
        )
        self.assertFalse(self.ask("PROD-01")["created"])
        self.assertEqual(Segment.objects.count(), 1)

    def test_by_allocations(self):
        body = {"cluster_name": "prod-01", "pool": self.pool.pk}
        answer = self.post(url_of("allocation-list"), body, status=201)
        self.assertEqual((answer["segment"]["display"], answer["vid"]), ("EPG_Site1_100 (100)", 100))
        self.post(url_of("allocation-list"), body)
        items = [{"cluster_name": name, "pool": self.pool.pk} for name in ("a", "b")]
        # Only one segment is left, and a list is all or nothing.
        self.post(url_of("allocation-list"), items, status=409)
        self.assertEqual(Segment.objects.count(), 1)

    def test_dry_run(self):
        body = {"cluster_name": "prod-01", "pool": self.pool.pk, "dry_run": True}
        answer = self.post(url_of("allocation-list"), body)
        self.assertEqual((answer["id"], answer["segment"], answer["vid"]), (None, None, 100))
        self.assertEqual((Segment.objects.count(), VLAN.objects.count(), Allocation.objects.count()), (0, 0, 0))
        self.assertEqual(Prefix.objects.count(), 1)

    def test_with_an_idempotency_key(self):
        body = {"cluster_name": "prod-01", "site": "Site1", "vrf": "Network1"}
        answers = [self.post(url_of("allocate-vlan"), body, **{"Idempotency-Key": "once"}) for _number in range(2)]
        self.assertEqual(*answers)
        self.assertEqual(Segment.objects.count(), 1)

    def test_the_end_says_why(self):
        self.ask("a")
        self.ask("b")
        body = {"cluster_name": "c", "pool": self.pool.pk}
        url = url_of("allocation-list")
        for error in (
            self.ask("c", status=409),
            self.post(url, body, status=409),
            self.post(url, {**body, "dry_run": True}, status=409),
        ):
            self.assertEqual(error["code"], "pool_exhausted")
            self.assertIn("cannot grow: It has reached its growth limit of 2 segments.", error["detail"])

    def test_what_was_grown_is_the_user_s_change(self):
        self.ask("prod-01")
        changes = ObjectChange.objects.filter(user=self.user).order_by("pk")
        self.assertEqual(len({change.request_id for change in changes}), 1)
        made = {change.changed_object_type.model for change in changes.filter(action="create")}
        self.assertEqual(made, {"vlan", "prefix", "segment", "allocation"})

    def test_number_of_queries(self):
        """A new VLAN, prefix and segment cost a fixed number of statements more than a plain allocation."""
        make_segment(self.pool, 100)
        self.ask("warm-up")
        make_segment(self.pool, 101, 1)
        SegmentPool.objects.update(grow_limit=None)
        counts = []
        for name in ("plain", "grown", "grown-again"):
            with CaptureQueriesContext(connection) as queries:
                self.assertTrue(self.ask(name)["created"])
            counts.append(len(queries))
        self.assertEqual(counts[1], counts[2])
        self.assertLessEqual(counts[1] - counts[0], 43)

    def test_pool_that_grows_names_what_it_lacks(self):
        self.grant("view", "change", "add", model=SegmentPool)
        detail = url_of("segmentpool-detail", pk=make_pool(scope="Site2", container="10.1.0.0/16").pk)
        errors = self.call("patch", detail, {"auto_grow": True}, status=400)
        self.assertEqual(list(errors), ["grow_prefix_length"])
        body = {"auto_grow": True, "grow_prefix_length": 26, "grow_limit": 7, "epg_template": "n{vid}"}
        answer = self.call("patch", detail, body)
        self.assertEqual({name: answer[name] for name in body}, body)
        self.assertEqual(
            list(self.call("patch", detail, {"grow_prefix_length": None}, status=400)), ["grow_prefix_length"]
        )
        for field, value in (
            ("grow_prefix_length", 129),
            ("grow_prefix_length", 0),
            ("grow_limit", 0),
            ("grow_limit", 4095),
            ("epg_template", "EPG"),
            ("auto_grow", "perhaps"),
        ):
            self.assertEqual(list(self.call("patch", detail, {field: value}, status=400)), [field], (field, value))
