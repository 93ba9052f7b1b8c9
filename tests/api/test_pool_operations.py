import uuid
from unittest.mock import patch

from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.models import Job
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.jobs import LifeCycleJob
from netbox_vlan_manager.models import Allocation, IdempotencyKey, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.pools.retiring import retire_pool
from tests.api.base import PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_segment, make_user
from tests.openapi import openapi_schema


class PoolOperationTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=3)
        cls.into = make_pool(scope="Site2", container="10.1.0.0/16", vid_ranges=((100, 999),))

    def url(self, action, pool=None):
        return url_of(f"segmentpool-{action}", pk=(pool or self.pool).pk)

    def grant_all(self):
        self.grant("view", "change", "delete", model=SegmentPool)
        self.grant("view", "delete", model=Segment)
        self.grant("view", model=Allocation)


class MergeTestCase(PoolOperationTestCase):
    def test_merge(self):
        self.grant_all()
        held = allocate("prod-01", pool=self.pool, user=self.user).allocation
        expected = {
            "segments": 3,
            "allocations": 1,
            "vlans": 3,
            "containers": ["10.0.0.0/16"],
            "conflicts": [],
            "served_by": None,
        }
        for dry_run in (True, False):
            answer = self.post(self.url("merge"), {"into": self.into.pk, "dry_run": dry_run})
            self.assertEqual(answer.pop("into")["name"], "Network1 Site2")
            self.assertEqual(answer, {**expected, "dry_run": dry_run})
            self.assertEqual(SegmentPool.objects.filter(pk=self.pool.pk).exists(), dry_run)
        # The ids in Terraform's state still work.
        self.grant("release", model=SegmentPool)
        url = url_of("allocation-detail", pk=held.pk)
        self.assertEqual(self.get(url)["pool"]["id"], self.into.pk)
        self.call("delete", url, status=204)
        self.post(self.url("merge"), {"into": self.into.pk}, status=404)

    def test_into_by_slug(self):
        self.grant_all()
        for value in (self.into.slug, str(self.into.pk), f" {self.into.slug} "):
            answer = self.post(self.url("merge"), {"into": value, "dry_run": True})
            self.assertEqual(answer["into"]["id"], self.into.pk)

    def test_conflicts(self):
        self.grant_all()
        for pool in (self.pool, self.into):
            make_segment(pool, 500 if pool == self.pool else 501, 50)
            allocate("prod-01", pool=pool, user=self.user)
        answer = self.post(self.url("merge"), {"into": self.into.pk, "dry_run": True})
        segment = Segment.objects.get(vid=100)
        conflict = {
            "message": "Cluster prod-01 holds a segment in both pools: release one of them.",
            "segment": segment.pk,
            "vid": 100,
        }
        self.assertEqual(answer["conflicts"], [conflict])
        error = self.post(self.url("merge"), {"into": self.into.pk}, status=409)
        self.assertEqual((error["code"], error["conflicts"]), ("pool_conflict", [conflict]))
        self.assertIn("prod-01", error["detail"])
        self.assertEqual(self.pool.segments.count(), 4)

    def test_bad_values(self):
        self.grant_all()
        other = make_pool("Network2", container="10.9.0.0/16")
        for into in (None, "", "nowhere", 10**30, "9" * 40, [], {}, True, "\0", self.pool.pk, other.pk):
            self.assertEqual(list(self.post(self.url("merge"), {"into": into}, status=400)["errors"]), ["into"], into)
        self.assertEqual(list(self.post(self.url("merge"), {}, status=400)["errors"]), ["into"])
        for body in ([], "x", 5, {"into": self.into.pk, "dry_run": "perhaps"}):
            self.post(self.url("merge"), body, status=400)
        self.assertTrue(SegmentPool.objects.filter(pk=self.pool.pk).exists())

    def test_permissions(self):
        body = {"into": self.into.pk}
        self.post(self.url("merge"), body, status=403)
        self.grant("view", model=SegmentPool)
        self.post(self.url("merge"), body, status=403)
        self.grant("change", model=SegmentPool, pk=self.pool.pk)
        self.assertIn("delete", self.post(self.url("merge"), body, status=403)["detail"])
        self.grant("delete", model=SegmentPool, pk=self.pool.pk)
        self.assertIn("Network1 Site2", self.post(self.url("merge"), body, status=403)["detail"])
        # The user may change the pool, but not delete it.
        self.assertEqual(
            self.post(self.url("merge", self.into), {"into": self.pool.pk}, status=404)["code"], "not_found"
        )
        self.grant("change", model=SegmentPool, pk=self.into.pk)
        self.post(self.url("merge"), {**body, "dry_run": True})
        self.post(self.url("merge"), body, client=client_of(self.user, write_enabled=False), status=403)
        self.post(self.url("merge"), body)

    def test_a_pool_that_may_not_be_viewed_is_not_known(self):
        self.grant("view", "change", "delete", model=SegmentPool, pk=self.pool.pk)
        error = self.post(self.url("merge"), {"into": self.into.slug}, status=400)
        text = "There is no pool 'network1-site2' that you may view: give its id, slug or name."
        self.assertEqual(error["errors"], {"into": [text]})

    def test_idempotency(self):
        self.grant_all()
        body = {"into": self.into.pk}
        first = self.post(self.url("merge"), body, **{"Idempotency-Key": "once"})
        self.assertEqual(self.post(self.url("merge"), body, **{"Idempotency-Key": "once"}), first)
        self.assertEqual(IdempotencyKey.objects.count(), 1)

    def test_busy(self):
        self.grant_all()
        with patch("netbox_vlan_manager.api.views.pool_operations.merge_pool", side_effect=Busy):
            self.assertEqual(self.post(self.url("merge"), {"into": self.into.pk}, status=503)["code"], "busy")


class RetireTestCase(PoolOperationTestCase):
    def test_drains_and_goes(self):
        self.grant_all()
        allocate("prod-01", pool=self.pool, user=self.user)
        expected = {"status": "retiring", "active_allocations": 1, "segments": 3, "deleted": False, "conflicts": []}
        for dry_run in (True, False):
            answer = self.post(self.url("retire"), {"dry_run": dry_run})
            self.assertEqual(answer, {**expected, "dry_run": dry_run})
        self.grant("allocate", model=SegmentPool)
        error = self.post(
            url_of("allocate-vlan"), {"cluster_name": "prod-02", "site": "Site1", "vrf": "Network1"}, status=409
        )
        self.assertEqual(error["code"], "pool_paused")
        self.assertIn("is retiring", error["detail"])
        # Retiring can be cancelled.
        detail = url_of("segmentpool-detail", pk=self.pool.pk)
        self.assertEqual(self.get(detail)["status"]["value"], "retiring")
        self.assertEqual(self.call("patch", detail, {"status": "active"})["status"]["value"], "active")
        self.post(self.url("retire"), None)
        release("prod-01", pool=self.pool, user=self.user)
        answer = self.post(self.url("retire"), {})
        self.assertEqual((answer["deleted"], answer["active_allocations"]), (True, 0))
        self.post(self.url("retire"), {}, status=404)

    def test_needs_the_permission_to_delete(self):
        self.grant("view", "change", model=SegmentPool)
        self.post(self.url("retire"), {}, status=403)
        detail = url_of("segmentpool-detail", pk=self.pool.pk)
        self.assertEqual(list(self.call("patch", detail, {"status": "retiring"}, status=400)), ["status"])
        self.grant("delete", model=SegmentPool, pk=self.into.pk)
        self.post(self.url("retire"), {}, status=404)
        self.post(self.url("retire", self.into), {})
        self.assertEqual(list(SegmentPool.objects.values_list("pk", "status")), [(self.pool.pk, "active")])

    def test_something_else_uses_a_vlan(self):
        self.grant_all()
        Prefix.objects.create(prefix="192.0.2.0/24", vlan=VLAN.objects.get(vid=101))
        for body, status in (({}, 409), ({"dry_run": True}, 200)):
            error = self.post(self.url("retire"), body, status=status)
            self.assertEqual(error.get("code"), "pool_conflict" if status == 409 else None)
            self.assertEqual(len(error["conflicts"]), 1)
            self.assertNotIn("192.0.2.0", str(error))
        self.grant("view", model=Prefix)
        self.assertIn("192.0.2.0/24", str(self.post(self.url("retire"), {}, status=409)["conflicts"]))
        self.assertEqual(Segment.objects.count(), 3)

    def test_idempotency(self):
        self.grant_all()
        first = self.post(self.url("retire"), {}, **{"Idempotency-Key": "once"})
        self.assertEqual(self.post(self.url("retire"), {}, **{"Idempotency-Key": "once"}), first)
        self.assertTrue(first["deleted"])


class ResizeTestCase(PoolOperationTestCase):
    def test_resize(self):
        self.grant_all()
        self.grant("view", model=Prefix)
        body = {"vid_ranges": "100-101, 300-399", "prefixes": ["10.0.0.0/17"], "remove_segments": True}
        for dry_run in (True, False):
            answer = self.post(self.url("resize"), {**body, "dry_run": dry_run})
            (outside,) = answer.pop("segments_outside")
            self.assertEqual(
                (outside["vid"], outside["prefix"], outside["status"], outside["removable"]),
                (102, "10.0.2.0/24", "available", True),
            )
            self.assertEqual(
                answer,
                {
                    "vid_ranges_before": "100-999",
                    "vid_ranges_after": "100-101,300-399",
                    "vids_before": 900,
                    "vids_after": 102,
                    "free_vids_before": 897,
                    "free_vids_after": 100,
                    "prefixes_before": ["10.0.0.0/16"],
                    "prefixes_after": ["10.0.0.0/17"],
                    "addresses_before": 2**16,
                    "addresses_after": 2**15,
                    "sharing_pools": [],
                    "removed": 1,
                    "conflicts": [],
                    "dry_run": dry_run,
                },
            )
            self.assertEqual(Segment.objects.count(), 3 if dry_run else 2)
        self.pool.vlan_group.refresh_from_db()
        self.assertEqual(self.pool.vlan_group.vid_ranges_list, "100-101,300-399")

    def test_ranges_as_pairs_and_prefixes_by_id(self):
        self.grant_all()
        self.grant("view", model=Prefix)
        prefix = self.pool.prefixes.get()
        answer = self.post(self.url("resize"), {"vid_ranges": [[1, 4094]], "prefixes": [prefix.pk, "10.7.0.0/16"]})
        self.assertEqual((answer["vids_after"], answer["prefixes_after"]), (4094, ["10.0.0.0/16", "10.7.0.0/16"]))

    def test_past_allocated_segments(self):
        self.grant_all()
        allocate("prod-01", pool=self.pool, user=self.user)
        body = {"vid_ranges": "200-999", "remove_segments": True}
        error = self.post(self.url("resize"), body, status=409)
        self.assertEqual((error["code"], [one["vid"] for one in error["conflicts"]]), ("pool_conflict", [100]))
        answer = self.post(self.url("resize"), {**body, "dry_run": True})
        self.assertEqual(answer["conflicts"], error["conflicts"])
        self.assertEqual(Segment.objects.count(), 3)

    def test_removing_needs_the_permission_to_delete_segments(self):
        self.grant("change", model=SegmentPool)
        self.grant("view", model=Segment)
        body = {"vid_ranges": "101-999", "remove_segments": True}
        self.assertEqual(len(self.post(self.url("resize"), body, status=409)["conflicts"]), 1)
        self.grant("delete", model=Segment, vid=100)
        self.assertEqual(self.post(self.url("resize"), body)["removed"], 1)

    def test_bad_values(self):
        self.grant_all()
        for body, field in (
            ({}, "vid_ranges"),
            ({"vid_ranges": ""}, "vid_ranges"),
            ({"vid_ranges": "x"}, "vid_ranges"),
            ({"vid_ranges": "0-5000"}, "vid_ranges"),
            ({"vid_ranges": []}, "vid_ranges"),
            ({"vid_ranges": [[1]]}, "vid_ranges"),
            ({"vid_ranges": [[1, True]]}, "vid_ranges"),
            ({"vid_ranges": [[10**30, 1]]}, "vid_ranges"),
            ({"vid_ranges": 5}, "vid_ranges"),
            ({"prefixes": []}, "prefixes"),
            ({"prefixes": "x"}, "prefixes"),
            ({"prefixes": ["x"]}, "prefixes"),
            ({"prefixes": [10**9]}, "prefixes"),
        ):
            self.assertEqual(list(self.post(self.url("resize"), body, status=400)["errors"]), [field], body)

    def test_permissions(self):
        self.grant("view", "delete", "add", model=SegmentPool)
        self.post(self.url("resize"), {"vid_ranges": "1-4094"}, status=403)
        self.grant("change", model=SegmentPool, pk=self.into.pk)
        self.post(self.url("resize"), {"vid_ranges": "1-4094"}, status=404)

    def test_idempotency(self):
        self.grant_all()
        body = {"vid_ranges": "100-998"}
        first = self.post(self.url("resize"), body, **{"Idempotency-Key": "once"})
        self.assertEqual(self.post(self.url("resize"), body, **{"Idempotency-Key": "once"}), first)

    def test_number_of_queries(self):
        self.grant_all()
        counts = []
        for vids in ("101-999", "103-999"):
            body = {"vid_ranges": vids, "dry_run": True}
            self.post(self.url("resize"), body)
            with CaptureQueriesContext(connection) as queries:
                self.post(self.url("resize"), body)
            counts.append(len(queries))
        self.assertEqual(*counts)


class PoolOperationSchemaTestCase(PlainTestCase):
    def test_schema(self):
        paths = openapi_schema()["paths"]
        for name, body, answer in (
            ("merge", "MergePool", "MergeResult"),
            ("retire", "RetirePool", "RetireResult"),
            ("resize", "ResizePool", "ResizeResult"),
        ):
            operation = paths[f"/api/plugins/vlan-manager/pools/{{id}}/{name}/"]["post"]
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            self.assertEqual(schema, {"$ref": f"#/components/schemas/{body}Request"})
            refused = ["400", "403", "404", "409", "412", "415", "422", "503"]
            self.assertEqual(sorted(operation["responses"]), ["200", *refused])
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            self.assertEqual(schema, {"$ref": f"#/components/schemas/{answer}"})
            conflict = operation["responses"]["409"]["content"]["application/json"]["schema"]
            self.assertEqual(conflict, {"$ref": "#/components/schemas/PoolConflict"})


class RetiringJobTestCase(PoolOperationTestCase):
    def test_the_job_deletes_what_is_drained(self):
        user = make_user("root", is_superuser=True)
        allocate("prod-01", pool=self.pool, user=user)
        retire_pool(self.pool, user=user)
        job = LifeCycleJob(Job(name="Drain", job_id=uuid.uuid4()))
        job.run()
        self.assertTrue(SegmentPool.objects.filter(pk=self.pool.pk).exists())
        release("prod-01", pool=self.pool, user=user)
        job.run()
        self.assertFalse(SegmentPool.objects.filter(pk=self.pool.pk).exists())
