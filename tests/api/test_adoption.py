from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from netaddr import IPNetwork

from core.models import Job
from ipam.models import VLAN, Prefix, VLANGroup
from netbox_vlan_manager.jobs import MigrationJob
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from tests.api.base import PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_segment
from tests.first_generation import make_fields, make_group, make_prefix
from tests.openapi import openapi_schema


class AdoptionTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool()
        cls.prefixes = [cls.make_candidate(vid, f"10.0.{vid}.0/24") for vid in (105, 106, 99)]

    @classmethod
    def make_candidate(cls, vid, network):
        vlan = VLAN.objects.create(group=cls.pool.vlan_group, vid=vid, name=f"web_{vid}")
        return Prefix.objects.create(prefix=IPNetwork(network), vrf=cls.pool.vrf, vlan=vlan)

    def setUp(self):
        super().setUp()
        self.list_url = url_of("segmentpool-adoptable", pk=self.pool.pk)
        self.url = url_of("segmentpool-adopt", pk=self.pool.pk)

    def grant_all(self):
        for model in (SegmentPool, Prefix, VLAN):
            self.grant("view", model=model)
        self.grant("add", model=Segment)

    def test_list(self):
        self.grant_all()
        answer = self.get(self.list_url)
        self.assertEqual(answer["count"], 3)
        conflict, ready, _other = answer["results"]
        self.assertEqual((ready["ready"], ready["conflicts"]), (True, []))
        self.assertEqual((ready["will_be"], ready["disabled_reason"]), ("available", ""))
        self.assertEqual(ready["prefix"], {"id": self.prefixes[0].pk, "display": "10.0.105.0/24"})
        self.assertEqual(ready["vlan"], {"id": self.prefixes[0].vlan_id, "vid": 105, "name": "web_105"})
        self.assertIsNone(ready["ipv6_prefix"])
        self.assertFalse(conflict["ready"])
        self.assertIn("use one of 100-999", conflict["conflicts"][0])

    def test_list_has_pages(self):
        self.grant_all()
        answer = self.get(self.list_url, {"limit": 1, "offset": 1})
        self.assertEqual((answer["count"], len(answer["results"])), (3, 1))
        self.assertIsNotNone(answer["next"])

    def test_statements_do_not_grow(self):
        self.grant_all()
        numbers = []
        for vids in ((110,), range(120, 160)):
            for vid in vids:
                self.make_candidate(vid, f"10.0.{vid}.0/24")
            with CaptureQueriesContext(connection) as queries:
                self.get(self.list_url, {"limit": 1000})
            numbers.append(len(queries))
        self.assertLessEqual(numbers[1], numbers[0])

    def test_adopts_those_chosen(self):
        self.grant_all()
        answer = self.post(self.url, {"prefixes": [self.prefixes[0].pk, self.prefixes[2].pk]})
        segment = Segment.objects.get()
        self.assertEqual((answer["adopted"], answer["failed"]), (1, 1))
        good, bad = answer["results"]
        self.assertEqual(
            good,
            {
                "prefix": self.prefixes[0].pk,
                "status": "adopted",
                "segment": segment.pk,
                "segment_status": "available",
                "disabled_reason": "",
                "errors": {},
            },
        )
        self.assertEqual((bad["status"], bad["segment"], list(bad["errors"])), ("failed", None, ["vid"]))

    def test_adopts_all_and_then_none(self):
        self.grant_all()
        tried = self.post(self.url, {"all": True, "dry_run": True})
        self.assertEqual((tried["adopted"], Segment.objects.count()), (2, 0))
        self.assertEqual(self.post(self.url, {"all": True})["adopted"], 2)
        self.assertEqual(self.post(self.url, {"all": True}), {"adopted": 0, "failed": 0, "results": []})
        (row,) = self.post(self.url, {"prefixes": [self.prefixes[0].pk]})["results"]
        self.assertEqual(row["status"], "unchanged")

    def test_each_as_decided(self):
        self.grant_all()
        self.grant("allocate", model=SegmentPool, pk=self.pool.pk)
        more = self.make_candidate(107, "10.0.107.0/24")
        VLAN.objects.update(status="reserved")
        _conflict, listed, *_others = self.get(self.list_url)["results"]
        self.assertEqual((listed["will_be"], listed["disabled_reason"]), ("disabled", "VLAN reserved"))
        first, second = (prefix.pk for prefix in self.prefixes[:2])
        candidates = [{"prefix": first, "cluster_name": "prod-01"}, {"prefix": second, "as": "available"}]
        answer = self.post(self.url, {"all": True, "candidates": candidates, "dry_run": True})
        rows = {row["prefix"]: (row["segment_status"], row["disabled_reason"]) for row in answer["results"]}
        expected = {
            first: ("allocated", ""),
            second: ("available", ""),
            more.pk: ("disabled", "When it was made: VLAN reserved"),
        }
        self.assertEqual(rows, expected)
        self.assertFalse(Allocation.objects.exists())
        answer = self.post(self.url, {"candidates": candidates, "as": "disabled"})
        self.assertEqual([row["segment_status"] for row in answer["results"]], ["allocated", "available"])
        self.assertEqual(Allocation.objects.get().cluster_name, "prod-01")
        self.assertEqual(self.post(self.url, {"prefixes": [more.pk], "as": "available"})["adopted"], 1)
        self.assertEqual(Segment.objects.get(vid=107).status, "available")

    def test_cluster_without_the_permission_to_allocate(self):
        self.grant_all()
        candidates = [{"prefix": self.prefixes[0].pk, "cluster_name": "prod-01"}]
        answer = self.post(self.url, {"candidates": candidates}, status=400)
        self.assertIn("You may not allocate in this pool", str(answer))
        self.assertFalse(Segment.objects.exists())

    def test_nothing_landed(self):
        self.grant_all()
        answer = self.post(self.url, {"prefixes": [self.prefixes[2].pk]}, status=400)
        self.assertEqual((answer["adopted"], answer["failed"]), (0, 1))

    def test_bodies_that_are_not_valid(self):
        self.grant_all()
        for body in (
            {},
            None,
            [],
            {"all": False},
            {"prefixes": []},
            {"prefixes": "x"},
            {"prefixes": [0]},
            {"prefixes": [2**70]},
            {"prefixes": [1], "all": True},
            {"all": "perhaps"},
            {"all": True, "dry_run": "perhaps"},
            {"all": True, "as": "allocated"},
            {"prefixes": [1], "candidates": [{"prefix": 1}]},
            {"candidates": []},
            {"candidates": [1]},
            {"candidates": [{}]},
            {"candidates": [{"prefix": 1, "as": "x"}]},
            {"candidates": [{"prefix": 1, "as": "available", "cluster_name": "a"}]},
            {"candidates": [{"prefix": 1, "cluster_name": "a,b"}]},
        ):
            self.post(self.url, body, status=400)
        self.assertFalse(Segment.objects.exists())

    def test_permissions(self):
        self.get(self.list_url, status=403)
        self.post(self.url, {"all": True}, status=403)
        self.grant("add", model=Segment)
        self.post(self.url, {"all": True}, status=404)
        self.grant("view", model=SegmentPool)
        self.assertEqual(self.get(self.list_url)["results"], [])
        self.assertEqual(self.post(self.url, {"all": True})["adopted"], 0)
        self.call("post", self.url, {"all": True}, status=403, client=client_of(self.user, write_enabled=False))

    def test_names_nothing_that_the_user_may_not_view(self):
        make_segment(self.pool, 300, prefix="10.0.105.0/25")
        self.grant("view", model=SegmentPool)
        self.grant("add", model=Segment)
        self.grant("view", model=Prefix, pk=self.prefixes[0].pk)
        self.grant("view", model=VLAN)
        text = str(self.get(self.list_url))
        self.assertIn("overlaps another segment", text)
        for secret in ("10.0.105.0/25", "10.0.106.0", "web_106", "EPG_300"):
            self.assertNotIn(secret, text)

    def test_schema(self):
        paths = openapi_schema()["paths"]
        answer = paths["/api/plugins/vlan-manager/pools/{id}/adoptable/"]["get"]["responses"]["200"]
        self.assertEqual(
            answer["content"]["application/json"]["schema"], {"$ref": "#/components/schemas/PaginatedCandidateList"}
        )
        adopt = paths["/api/plugins/vlan-manager/pools/{id}/adopt/"]["post"]
        self.assertLessEqual({"200", "400", "403", "404", "503"}, set(adopt["responses"]))


class MigrationTestCase(PlainTestCase):
    def setUp(self):
        super().setUp()
        self.url = url_of("migrate-first-generation")
        make_fields()
        self.prefix = make_prefix(make_group(), 100, "10.0.0.0/24", cluster="prod-01")

    def grant_migration(self):
        for model in (SegmentPool, Segment, Allocation):
            self.grant("view", "add", model=model)
        for model in (Prefix, VLAN):
            self.grant("view", model=model)

    def run_job(self, **body):
        with self.captureOnCommitCallbacks(execute=False):
            answer = self.post(self.url, body, status=202)
        job = Job.objects.get(pk=answer["job"])
        self.assertTrue(answer["url"].endswith(f"/api/core/jobs/{job.pk}/"))
        self.assertEqual(answer["dry_run"], body.get("dry_run", False))
        MigrationJob.handle(job)
        job.refresh_from_db()
        self.assertEqual(job.status, "completed")
        return job.data["report"]

    def test_starts_a_job(self):
        self.grant_migration()
        for dry_run, number in ((True, 0), (False, 1)):
            self.assertEqual(self.run_job(dry_run=dry_run)["migrated"], 1)
            self.assertEqual(Allocation.objects.count(), number)

    def test_undo_and_finish(self):
        self.grant_migration()
        self.run_job()
        for action in ("undo", "finish"):
            self.post(self.url, {"action": action}, status=403)
        self.grant("delete", "release", "change", model=SegmentPool)
        self.grant("delete", model=Segment)
        self.assertEqual(self.run_job(action="finish")["done"], 1)
        self.assertEqual(SegmentPool.objects.get().first_generation, "over")
        for dry_run, number in ((True, 1), (False, 0)):
            report = self.run_job(action="undo", dry_run=dry_run)
            self.assertEqual((report["done"], report["allocated"], report["failed"]), (1, 1, 0))
            self.assertEqual(SegmentPool.objects.count(), number)
        self.prefix.refresh_from_db()
        self.assertEqual((self.prefix.status, self.prefix.custom_field_data["Cluster"]), ("reserved", "prod-01"))

    def test_first_generation_writes_by_rest_during_the_trial(self):
        self.grant_migration()
        self.run_job()
        self.grant("change", model=Prefix)
        self.grant("allocate", model=SegmentPool)
        url = reverse("ipam-api:prefix-detail", kwargs={"pk": self.prefix.pk})
        asked = {"cluster_name": "prod-02", "site": "Site1", "vrf": "Network1"}
        self.post(url_of("allocate-vlan"), asked, status=409)

        free = {"status": "active", "custom_fields": {"Cluster": None}}
        self.call("patch", url, free)
        answer = self.post(url_of("allocate-vlan"), asked, status=200)
        self.assertEqual((answer["vlan_id"], answer["created"]), (100, True))
        self.assertEqual(self.get(url)["custom_fields"]["Cluster"], "prod-02")

        # The first generation read the prefix before prod-02 got it.
        late = {"status": "reserved", "custom_fields": {"Cluster": "prod-03"}}
        answer = self.call("patch", url, late, status=400)
        self.assertEqual(answer, {"status": ["Another cluster holds the prefix: release that first."]})
        shared = {"custom_fields": {"Cluster": "prod-02,prod-03"}}
        self.call("patch", url, shared)
        answer = self.post(url_of("allocate-vlan"), {**asked, "cluster_name": "prod-03"}, status=200)
        self.assertEqual((answer["vlan_id"], answer["created"]), (100, False))

    def test_cluster_whose_prefix_could_not_be_migrated(self):
        VLAN.objects.update(name="EPG/100")
        make_prefix(VLANGroup.objects.get(), 101, "10.0.1.0/24")
        self.grant_migration()
        self.assertEqual(self.run_job()["failed"], 1)
        self.grant("allocate", model=SegmentPool)
        asked = {"cluster_name": "prod-01", "site": "Site1", "vrf": "Network1"}
        answer = self.post(url_of("allocate-vlan"), asked, status=409)
        self.assertEqual(answer["code"], "not_migrated")
        self.assertIn("could not be migrated to pool Network1 Site1", answer["detail"])

    def test_permissions(self):
        self.post(self.url, {}, status=403)
        self.assertFalse(Job.objects.exists())

    def test_body_that_is_not_valid(self):
        for model in (SegmentPool, Segment, Allocation):
            self.grant("add", model=model)
        self.post(self.url, {"dry_run": "perhaps"}, status=400)
        self.post(self.url, {"action": "forget"}, status=400)
        self.assertFalse(Job.objects.exists())
