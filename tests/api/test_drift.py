from unittest.mock import patch

from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.models import Job, ObjectChange
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.jobs import DriftRepairJob
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.drift.findings import find_drift
from tests.api.base import PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_user
from tests.openapi import openapi_schema


class DriftTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=4)
        cls.other = make_pool("Network2", container="10.2.0.0/16", segments=1)
        allocate("prod-01", pool=cls.pool, user=make_user())
        VLAN.objects.filter(vid=101).update(status="deprecated")
        Prefix.objects.filter(prefix__in=("10.0.2.0/24", "10.2.0.0/24")).update(vlan=None)
        Prefix.objects.filter(prefix="10.0.3.0/24").update(prefix="10.9.0.0/24")
        Allocation.objects.update(vid=7)

    def setUp(self):
        super().setUp()
        ObjectChange.objects.all().delete()
        self.url, self.repair_url = url_of("drift"), url_of("drift-repair")

    def allow(self, **pool):
        self.grant("view", "change", model=SegmentPool, **pool)
        for model in (Segment, Allocation):
            self.grant("view", model=model)

    def kinds(self, **params):
        return [finding["kind"] for finding in self.get(self.url, params)["results"]]


class ReportTestCase(DriftTestCase):
    def test_findings(self):
        self.allow()
        body = self.get(self.url)
        self.assertEqual((body["count"], body["next"], body["previous"]), (5, None, None))
        detached = next(finding for finding in body["results"] if finding["kind"] == "prefix_vlan_changed")
        segment = Segment.objects.get(vid=102)
        self.assertEqual((detached["pool"]["id"], detached["pool"]["name"]), (self.pool.pk, "Network1 Site1"))
        self.assertEqual(
            (detached["object"]["id"], detached["object"]["display"]), (segment.pk, "EPG_102 (102)"), detached
        )
        for name, expected in {
            "item": f"prefix_vlan_changed:netbox_vlan_manager.segment:{segment.pk}",
            "severity": "warning",
            "object_type": "netbox_vlan_manager.segment",
            "object_id": segment.pk,
            "message": "Prefix 10.0.2.0/24 of segment EPG_102 (102) is not assigned to its VLAN",
            "repair": "Assign prefix 10.0.2.0/24 to VLAN EPG_102 (102).",
            "advice": "",
        }.items():
            self.assertEqual(detached[name], expected)
        outside = next(finding for finding in body["results"] if finding["kind"] == "prefix_outside_containers")
        self.assertEqual(outside["repair"], "")
        self.assertIn("add a container around it", outside["advice"])

    def test_filters_and_pages(self):
        self.allow()
        self.assertEqual(self.kinds(pool_id=self.other.pk), ["prefix_vlan_changed"])
        self.assertEqual(self.kinds(severity=["info", "error"]), [])
        self.assertEqual(len(self.kinds(severity="warning")), 5)
        self.assertEqual(
            self.kinds(kind=["allocation_stale", "vlan_status"], pool_id=self.pool.pk),
            ["vlan_status", "allocation_stale"],
        )
        self.assertEqual(self.kinds(repairable="false"), ["prefix_outside_containers"])
        self.assertEqual(len(self.kinds(repairable="true")), 4)
        page = self.get(self.url, {"limit": 2, "offset": 2})
        self.assertEqual((page["count"], len(page["results"])), (5, 2))
        self.assertIn("offset=4", page["next"])
        self.assertEqual(len(self.kinds(limit=0)), 5)
        for params in ({"kind": "x"}, {"pool_id": "x"}, {"severity": "bad"}, {"repairable": "x"}):
            self.assertEqual(list(self.get(self.url, params, status=400)["errors"]), list(params))
        self.assertEqual(list(self.get(self.url, {"start": "1"}, status=400)["errors"]), ["start"])

    def test_nothing(self):
        self.allow(name="none")
        self.assertEqual(self.get(self.url), {"count": 0, "next": None, "previous": None, "results": []})

    def test_what_the_user_may_not_view_does_not_show(self):
        self.get(self.url, status=403)
        self.grant("view", model=SegmentPool, pk=self.other.pk)
        self.assertEqual(self.kinds(), [])
        self.grant("view", model=Segment)
        self.assertEqual(self.kinds(), ["prefix_vlan_changed"])
        self.grant("view", model=SegmentPool, pk=self.pool.pk)
        self.assertNotIn("allocation_stale", self.kinds())
        self.client.credentials()
        self.get(self.url, status=403)

    def test_queries_do_not_grow(self):
        self.allow()
        counts = []
        for numbers in ([0], [1, 2]):
            for number in numbers:
                pool = make_pool(f"Other{number}", segments=3)
                allocate("prod-01", pool=pool, user=make_user())
            Prefix.objects.filter(segment__isnull=False).update(status="deprecated", vlan=None)
            VLAN.objects.update(status="deprecated")
            Allocation.objects.update(vid=7)
            self.get(self.url)
            with CaptureQueriesContext(connection) as queries:
                answer = self.get(self.url)
            counts.append(len(queries))
        self.assertGreater(answer["count"], 40)
        self.assertEqual(counts[0], counts[1])


class RepairTestCase(DriftTestCase):
    def items(self):
        return [drift.item for drift in find_drift()]

    def test_all(self):
        self.allow()
        items = self.items()
        tried = self.post(self.repair_url, {"all": True, "dry_run": True})
        self.assertEqual({result["item"] for result in tried["results"]}, set(items))
        self.assertEqual(
            {name: tried[name] for name in ("repaired", "would_repair", "skipped", "failed")},
            {"repaired": 0, "would_repair": 4, "skipped": 1, "failed": 0},
        )
        self.assertEqual(self.items(), items)
        self.assertEqual(ObjectChange.objects.count(), 0)

        done = self.post(self.repair_url, {"all": True, "changelog_message": "Cleaned up"})
        self.assertEqual((done["repaired"], done["skipped"], done["failed"]), (4, 1, 0))
        self.assertEqual(self.kinds(), ["prefix_outside_containers"])
        changes = ObjectChange.objects.values_list("user__username", "message")
        self.assertEqual(set(changes), {("alice", "Cleaned up")})
        self.assertEqual(ObjectChange.objects.order_by().values("request_id").distinct().count(), 1)

        self.assertEqual(self.post(self.repair_url, {"all": True})["repaired"], 0)

    def test_many(self):
        """A job repairs more findings than a client can wait for, whether the body names them or asks for all."""
        self.allow()
        items = self.items()
        with patch("netbox_vlan_manager.api.views.drift.REPAIRED_AT_ONCE", 1):
            for body in ({"all": True, "dry_run": True}, {"items": items, "changelog_message": "Why"}, {"all": True}):
                response = self.client.post(self.repair_url, body, format="json")
                self.assertEqual(response.status_code, 202, response.content)
                answer = response.json()
                self.assertEqual(answer["dry_run"], body.get("dry_run", False))
                self.assertEqual(response.headers["Location"], answer["url"])
                job = Job.objects.get(pk=answer["job"])
                self.assertEqual((job.user, job.data["items"]), (self.user, body.get("items")))
                self.assertEqual(self.items(), items)
            self.assertEqual(self.post(self.repair_url, {"items": items[:1]})["results"][0]["item"], items[0])
            self.assertIn("items", self.post(self.repair_url, {"items": ["x", "y"]}, status=400)["errors"])
        for job in Job.objects.order_by("pk"):
            DriftRepairJob.handle(job)
            job.refresh_from_db()
            self.assertEqual(job.status, "completed")
        self.assertEqual(self.kinds(), ["prefix_outside_containers"])

    def test_items(self):
        self.allow()
        item = next(item for item in self.items() if item.startswith("vlan_status"))
        for status, message in (("repaired", "Disable the segment."), ("skipped", "Already resolved.")):
            body = self.post(self.repair_url, {"items": [item, item]})
            self.assertEqual(body["results"], [{"item": item, "status": status, "message": message}])
        self.assertEqual(len(self.items()), 4)

    def test_bad_input(self):
        self.allow()
        for data in (
            {},
            {"items": []},
            {"items": "x"},
            {"items": ["x"]},
            {"items": [[]]},
            {"items": ["\0"]},
            {"items": ["vlan_status:netbox_vlan_manager.segment:1"], "all": True},
            {"all": False},
        ):
            body = self.post(self.repair_url, data, status=400)
            self.assertEqual((body["code"], list(body["errors"])), ("invalid", ["items"]), data)
        for data, name in (({"all": "x"}, "all"), ({"all": True, "dry_run": "x"}, "dry_run")):
            self.assertEqual(list(self.post(self.repair_url, data, status=400)["errors"]), [name])
        self.post(self.repair_url, [], status=400)
        self.assertEqual(len(self.items()), 5)

    def test_permissions(self):
        items = self.items()
        self.post(self.repair_url, {"all": True}, status=403)
        self.grant("view", model=SegmentPool)
        self.grant("view", model=Segment)
        self.post(self.repair_url, {"all": True}, status=403)
        self.grant("change", model=SegmentPool, pk=self.other.pk)
        body = self.post(self.repair_url, {"items": items})
        # The user may not view the allocation.
        self.assertEqual((body["repaired"], body["failed"], body["skipped"]), (1, 3, 1))
        self.assertEqual(len(self.items()), 4)
        reader = client_of(self.user, write_enabled=False)
        self.post(self.repair_url, {"all": True}, status=403, client=reader)

    def test_schema(self):
        paths = openapi_schema()["paths"]
        drift = paths["/api/plugins/vlan-manager/drift/"]["get"]
        names = {parameter["name"] for parameter in drift["parameters"]}
        self.assertLessEqual({"kind", "severity", "pool_id", "repairable", "limit", "offset"}, names)
        schema = drift["responses"]["200"]["content"]["application/json"]["schema"]
        self.assertEqual(schema, {"$ref": "#/components/schemas/PaginatedDriftList"})
        repair = paths["/api/plugins/vlan-manager/drift/repair/"]["post"]
        schema = repair["responses"]["200"]["content"]["application/json"]["schema"]
        self.assertEqual(schema, {"$ref": "#/components/schemas/DriftRepairResult"})
