from datetime import timedelta
from unittest.mock import patch

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from core.models import ObjectChange
from ipam.models import Prefix
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, disable_segment, release, share
from tests.api.base import PlainTestCase, client_of, url_of
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_user
from tests.openapi import openapi_schema


class SegmentActionTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=3)
        cls.segment = Segment.objects.get(vid=100)

    def setUp(self):
        super().setUp()
        self.share_url = url_of("segment-share", pk=self.segment.pk)
        self.clusters_url = url_of("segment-clusters", pk=self.segment.pk)
        self.end_url = url_of("segment-end-quarantine", pk=self.segment.pk)

    def put(self, names, status=200, **kwargs):
        body = {"cluster_names": names, **kwargs.pop("body", {})}
        return self.call("put", self.clusters_url, body, status=status, **kwargs)

    def holders(self):
        active = Allocation.objects.active().filter(segment=self.segment)
        return sorted(active.values_list("cluster_name", "shared"))


class ShareTestCase(SegmentActionTestCase):
    def setUp(self):
        super().setUp()
        self.grant("allocate", model=SegmentPool)

    def test_share(self):
        allocate("a", pool=self.pool, user=self.user)
        answer = self.post(self.share_url, {"cluster_name": "b", "purpose": "storage"}, status=201)
        self.assertEqual(
            (answer["segment"]["id"], answer["cluster_name"], answer["purpose"], answer["shared"], answer["vid"]),
            (self.segment.pk, "b", "storage", True, 100),
        )
        again = self.post(self.share_url, {"cluster_name": "B", "purpose": "storage"})
        self.assertEqual(again["id"], answer["id"])
        self.assertEqual((answer["outcome"], again["outcome"]), ("allocated", "held"))
        self.assertEqual(self.holders(), [("a", False), ("b", True)])
        change = ObjectChange.objects.get(changed_object_type__model="allocation", changed_object_id=answer["id"])
        self.assertEqual(change.user, self.user)

    def test_one_that_is_available_is_allocated(self):
        expires_at = (timezone.now() + timedelta(hours=1)).isoformat()
        answer = self.post(self.share_url, {"cluster_name": "a", "expires_at": expires_at}, status=201)
        self.assertFalse(answer["shared"])
        self.assertIsNotNone(answer["expires_at"])
        self.assertEqual(Segment.objects.get(pk=self.segment.pk).status, "allocated")

    def test_dry_run(self):
        answer = self.post(self.share_url, {"cluster_name": "a", "dry_run": True})
        self.assertEqual((answer["id"], answer["url"], answer["vid"]), (None, None, 100))
        self.assertFalse(Allocation.objects.exists())
        allocate("a", pool=self.pool, user=self.user)
        self.assertIsNotNone(self.post(self.share_url, {"cluster_name": "a", "dry_run": True})["id"])

    def test_refusals(self):
        allocate("a", pool=self.pool, vid=101, user=self.user)
        self.assertEqual(self.post(self.share_url, {"cluster_name": "a"}, status=409)["code"], "vid_unavailable")
        disable_segment(self.segment, user=self.user)
        self.assertEqual(self.post(self.share_url, {"cluster_name": "b"}, status=409)["code"], "vid_unavailable")
        SegmentPool.objects.update(status="paused")
        self.assertEqual(self.post(self.share_url, {"cluster_name": "b"}, status=409)["code"], "pool_paused")
        with patch("netbox_vlan_manager.api.views.segments.share", side_effect=Busy):
            self.assertEqual(self.post(self.share_url, {"cluster_name": "b"}, status=503)["code"], "busy")

    def test_values_that_are_not_valid(self):
        for body, field in (
            ({}, "cluster_name"),
            ({"cluster_name": ""}, "cluster_name"),
            ({"cluster_name": "a", "purpose": "x y"}, "purpose"),
            ({"cluster_name": "a", "purpose": 5}, "purpose"),
            ({"cluster_name": "a", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
            ({"cluster_name": "a", "expires_at": "soon"}, "expires_at"),
            ({"cluster_name": "a", "dry_run": "perhaps"}, "dry_run"),
        ):
            with self.subTest(body=body):
                self.assertEqual(list(self.post(self.share_url, body, status=400)["errors"]), [field])
        for body in ([], [{"cluster_name": "a"}], "a", 5):
            self.post(self.share_url, body, status=400)
        self.assertFalse(Allocation.objects.exists())

    def test_idempotency_key(self):
        first = self.post(self.share_url, {"cluster_name": "a"}, status=201, **{"Idempotency-Key": "k"})
        again = self.post(self.share_url, {"cluster_name": "a"}, status=201, **{"Idempotency-Key": "k"})
        self.assertEqual(first, again)
        self.post(self.share_url, {"cluster_name": "b"}, status=422, **{"Idempotency-Key": "k"})


class SetClustersTestCase(SegmentActionTestCase):
    def setUp(self):
        super().setUp()
        self.grant("allocate", "release", model=SegmentPool)

    def test_the_whole_set(self):
        answers = self.put("a, b")
        self.assertEqual([answer["cluster_name"] for answer in answers], ["a", "b"])
        self.assertEqual(self.holders(), [("a", False), ("b", True)])
        answers = self.put("c,B")
        self.assertEqual([(answer["cluster_name"], answer["shared"]) for answer in answers], [("c", True), ("b", True)])
        self.assertEqual(self.holders(), [("b", True), ("c", True)])
        self.assertEqual(self.put(""), [])
        self.assertEqual(self.holders(), [])
        self.assertEqual(Segment.objects.get(pk=self.segment.pk).status, "available")
        self.assertEqual(find_drift(), [])

    def test_dry_run(self):
        allocate("a", pool=self.pool, user=self.user)
        answers = self.put("b", body={"dry_run": True})
        self.assertEqual([(answer["cluster_name"], answer["id"]) for answer in answers], [("b", None)])
        self.assertEqual(self.holders(), [("a", False)])

    def test_a_list(self):
        """REST takes a list of names; text with commas works too."""
        self.assertEqual([one["cluster_name"] for one in self.put(["a", " b"])], ["a", "b"])
        self.put("b, c")
        self.assertEqual([name for name, _shared in self.holders()], ["b", "c"])
        self.put([])
        self.assertEqual(self.holders(), [])

    def test_all_or_nothing(self):
        allocate("a", pool=self.pool, user=self.user)
        allocate("b", pool=self.pool, vid=101, user=self.user)
        self.assertEqual(self.put("c,b", status=409)["code"], "vid_unavailable")
        self.assertEqual(self.holders(), [("a", False)])

    def test_values_that_are_not_valid(self):
        for names in (
            "a,A",
            "a,,b",
            ",",
            "x" * 101,
            None,
            True,
            5,
            {},
            ["a", ""],
            ["a", 5],
            [["a"]],
            ["a,b"],
            ["a"] * 1001,
        ):
            with self.subTest(names=names):
                self.assertEqual(list(self.put(names, status=400)["errors"]), ["cluster_names"])
        self.call("put", self.clusters_url, {}, status=400)
        self.call("put", self.clusters_url, [], status=400)
        self.assertEqual(self.holders(), [])


class EndQuarantineTestCase(SegmentActionTestCase):
    def setUp(self):
        super().setUp()
        SegmentPool.objects.update(cooldown=3600)
        allocate("a", pool=self.pool, user=self.user)
        release("a", pool=SegmentPool.objects.get(), user=self.user)

    def test_end_quarantine(self):
        self.grant("view", "change", model=Segment)
        url = url_of("segment-detail", pk=self.segment.pk)
        before = self.get(url)
        self.assertEqual(before["status"]["value"], "quarantined")
        self.assertGreater(before["quarantined_until"], before["last_released_at"])
        answer = self.post(self.end_url, {"reason": "Cleaned by hand"})
        self.assertEqual((answer["status"]["value"], answer["quarantined_until"]), ("available", None))
        self.assertEqual(answer["last_released_at"], before["last_released_at"])
        change = ObjectChange.objects.filter(changed_object_id=self.segment.pk).order_by("pk").last()
        self.assertEqual((change.user, change.message), (self.user, "Cleaned by hand"))
        # A second call, without a reason, changes nothing.
        self.assertEqual(self.post(self.end_url, None)["status"]["value"], "available")
        self.assertEqual(ObjectChange.objects.filter(changed_object_id=self.segment.pk).order_by("pk").last(), change)

    def test_reasons_that_are_not_valid(self):
        self.grant("change", model=Segment)
        for reason in ("x" * 201, "\0", None, [], {}):
            self.assertEqual(
                list(self.post(self.end_url, {"reason": reason}, status=400)["errors"]), ["reason"], reason
            )
        self.assertEqual(Segment.objects.get(pk=self.segment.pk).status, "quarantined")

    def test_permission_to_change_is_needed(self):
        self.grant("view", model=Segment)
        self.grant("allocate", "release", model=SegmentPool)
        self.post(self.end_url, {}, status=403)
        self.grant("change", model=Segment, vid=101)
        self.post(self.end_url, {}, status=404)
        self.assertEqual(Segment.objects.get(pk=self.segment.pk).status, "quarantined")

    def test_a_quarantined_segment_that_is_disabled(self):
        self.grant("change", model=Segment)
        answer = self.post(url_of("segment-disable", pk=self.segment.pk), {"reason": "Cable is cut"})
        self.assertEqual((answer["status"]["value"], answer["quarantined_until"]), ("disabled", None))


class PermissionsTestCase(SegmentActionTestCase):
    def calls(self, status, client=None):
        self.post(self.share_url, {"cluster_name": "a"}, status=status, client=client)
        self.put("a", status=status, client=client)

    def test_who_may_know_nothing_of_it(self):
        self.calls(404)
        self.grant("view", model=Segment, vid=101)
        self.grant("allocate", "release", model=SegmentPool, name="another")
        self.calls(404)
        self.assertFalse(Allocation.objects.exists())

    def test_who_may_view_it(self):
        self.grant("view", model=Segment)
        self.calls(403)
        self.grant("release", model=SegmentPool)
        self.calls(403)
        self.assertFalse(Allocation.objects.exists())

    def test_setting_the_clusters_needs_both(self):
        self.grant("allocate", model=SegmentPool)
        self.put("a", status=403)
        self.grant("release", model=SegmentPool)
        self.put("a")

    def test_who_is_not_logged_in_or_only_reads(self):
        self.grant("allocate", "release", model=SegmentPool)
        self.calls(403, client=APIClient())
        self.calls(403, client=client_of(make_user("alice"), write_enabled=False))
        self.assertFalse(Allocation.objects.exists())

    def test_a_segment_that_is_not_there(self):
        self.grant("allocate", "release", model=SegmentPool)
        self.post(url_of("segment-share", pk=10**9), {"cluster_name": "a"}, status=404)

    def test_other_methods(self):
        self.grant("view", "change", model=Segment)
        self.grant("allocate", "release", model=SegmentPool)
        self.call("get", self.share_url, status=405)
        self.call("get", self.clusters_url, status=405)
        self.call("post", self.clusters_url, {"cluster_names": "a"}, status=405)


class ShownTestCase(SegmentActionTestCase):
    def test_ipv6_prefix(self):
        self.grant("view", model=Segment)
        self.grant("view", model=Allocation)
        prefix = Prefix.objects.create(prefix="2001:db8::/64", vrf=self.pool.vrf)
        Segment.objects.filter(pk=self.segment.pk).update(ipv6_prefix=prefix)
        allocate("a", pool=self.pool, user=self.user)
        shown = self.get(url_of("segment-detail", pk=self.segment.pk))
        self.assertEqual(shown["ipv6_prefix"]["prefix"], "2001:db8::/64")
        self.assertIsNone(self.get(url_of("segment-detail", pk=Segment.objects.get(vid=101).pk))["ipv6_prefix"])
        (held,) = self.get(url_of("allocation-list"))["results"]
        self.assertEqual(held["ipv6_prefix"], "2001:db8::/64")
        self.assertEqual(held["segment"]["ipv6_prefix"]["prefix"], "2001:db8::/64")

    def test_as_many_queries_for_many_as_for_one(self):
        self.grant("view", model=Segment)
        self.grant("view", model=Allocation)

        def give_ipv6(index):
            prefix = Prefix.objects.create(prefix=f"2001:db8:{index}::/64", vrf=self.pool.vrf)
            segment = make_segment(self.pool, 200 + index, 100 + index)
            Segment.objects.filter(pk=segment.pk).update(ipv6_prefix=prefix)
            for name in "ab":
                share(segment, f"{name}{index}", user=self.user)

        def count(name):
            with CaptureQueriesContext(
                connection,
            ) as queries:
                self.get(url_of(name))
            return len(queries)

        give_ipv6(0)
        self.get(url_of("segment-list"))
        before = {name: count(name) for name in ("segment-list", "allocation-list")}
        for index in range(1, 5):
            give_ipv6(index)
        self.assertEqual({name: count(name) for name in before}, before)

    def test_ordering(self):
        self.grant("view", model=Segment)
        SegmentPool.objects.update(cooldown=3600)
        allocate("a", pool=self.pool, vid=101, user=self.user)
        release("a", pool=SegmentPool.objects.get(), user=self.user)
        for name in ("quarantined_until", "last_released_at"):
            results = self.get(url_of("segment-list"), {"ordering": name})["results"]
            self.assertEqual(results[0]["vid"], 101)
        self.get(url_of("segment-list"), {"ordering": "-ipv6_prefix"})

    def test_schema(self):
        paths = openapi_schema()["paths"]
        path = "/api/plugins/vlan-manager/segments/{id}/"
        share_call, clusters = paths[f"{path}share/"]["post"], paths[f"{path}clusters/"]["put"]
        end = paths[f"{path}end-quarantine/"]["post"]
        refused = {"400", "403", "404", "409", "412", "415", "422", "503"}
        self.assertEqual(set(share_call["responses"]), {"200", "201", *refused})
        self.assertEqual(set(clusters["responses"]), {"200", *refused})
        self.assertEqual(set(end["responses"]), {"200", *refused})

        def schema_of(part):
            return part["content"]["application/json"]["schema"]

        allocation = {"$ref": "#/components/schemas/AllocationResult"}
        self.assertEqual(schema_of(share_call["responses"]["201"]), allocation)
        self.assertEqual(schema_of(clusters["responses"]["200"]), {"type": "array", "items": allocation})
        self.assertEqual(schema_of(end["responses"]["200"]), {"$ref": "#/components/schemas/Segment"})
        self.assertEqual(schema_of(share_call["requestBody"]), {"$ref": "#/components/schemas/ShareRequest"})
        self.assertEqual(schema_of(clusters["requestBody"]), {"$ref": "#/components/schemas/SetClustersRequest"})
        self.assertEqual(schema_of(end["requestBody"]), {"$ref": "#/components/schemas/EndQuarantineRequest"})
