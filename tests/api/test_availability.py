from unittest.mock import patch

from rest_framework.test import APIClient

from core.models import ObjectChange
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import allocate, disable_segment
from tests.api.base import PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_user
from tests.openapi import openapi_schema


class DisableTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=2)
        cls.segment = Segment.objects.get(vid=100)

    def setUp(self):
        super().setUp()
        self.disable_url = url_of("segment-disable", pk=self.segment.pk)
        self.enable_url = url_of("segment-enable", pk=self.segment.pk)

    def status(self):
        return Segment.objects.get(pk=self.segment.pk).status

    def test_disable_and_enable(self):
        self.grant("change", model=Segment)
        answer = self.post(self.disable_url, {"reason": "Cable is cut"})
        self.assertEqual(
            (answer["id"], answer["status"], answer["disabled_reason"], answer["epg_name"], answer["allocations"]),
            (
                self.segment.pk,
                {"value": "disabled", "label": "Disabled"},
                "Cable is cut",
                "EPG_100",
                [],
            ),
        )
        self.assertEqual(answer["prefix"]["prefix"], "10.0.0.0/24")
        self.assertEqual(answer["pool"]["id"], self.pool.pk)
        change = ObjectChange.objects.filter(changed_object_id=self.segment.pk, action="update").get()
        self.assertEqual((change.user, change.postchange_data["status"]), (self.user, "disabled"))

        answer = self.post(self.enable_url, {})
        self.assertEqual((answer["status"]["value"], answer["disabled_reason"]), ("available", ""))
        # A second call changes nothing.
        self.assertEqual(self.post(self.enable_url, None)["status"]["value"], "available")
        self.assertEqual(ObjectChange.objects.filter(changed_object_id=self.segment.pk, action="update").count(), 2)

    def test_the_reason_is_optional(self):
        self.grant("change", model=Segment)
        for body in (None, {}, {"reason": ""}):
            self.assertEqual(self.post(self.disable_url, body)["disabled_reason"], "")

    def test_reasons_that_are_not_valid(self):
        self.grant("change", model=Segment)
        for reason in ("x" * 201, "\0", None, [], {}):
            self.assertEqual(
                list(self.post(self.disable_url, {"reason": reason}, status=400)["errors"]), ["reason"], reason
            )
        for body in ([], [{"reason": "x"}], "x", 5):
            self.post(self.disable_url, body, status=400)
        self.assertEqual(self.status(), "available")

    def test_an_allocated_segment(self):
        self.grant("change", model=Segment)
        allocate("prod-01", pool=self.pool, user=self.user)
        error = self.post(self.disable_url, {}, status=409)
        self.assertEqual(error["code"], "segment_in_use")
        self.assertIn("release it before you disable it", error["detail"])
        answer = self.post(self.enable_url, {})
        # A user who may not view allocations does not see which cluster holds the segment.
        self.assertEqual((answer["status"]["value"], answer["allocations"]), ("allocated", []))
        self.grant("view", model=Allocation)
        self.assertEqual(self.post(self.enable_url, {})["allocations"][0]["cluster_name"], "prod-01")

    def test_busy(self):
        self.grant("change", model=Segment)
        with patch("netbox_vlan_manager.api.views.segments.disable_segment", side_effect=Busy):
            self.assertEqual(self.post(self.disable_url, {}, status=503)["code"], "busy")

    def test_permission_to_change_is_needed(self):
        self.grant("view", "add", "delete", model=Segment)
        disable_segment(Segment.objects.get(vid=101), user=self.user)
        for url in (self.disable_url, self.enable_url):
            self.assertEqual(self.post(url, {}, status=403)["code"], "permission_denied")
            self.post(url, {}, status=403, client=APIClient())
        self.assertEqual(self.status(), "available")

    def test_on_another_segment_it_is_not_found(self):
        self.grant("view", model=Segment)
        self.grant("change", model=Segment, vid=101)
        for url in (self.disable_url, self.enable_url, url_of("segment-disable", pk=10**9)):
            self.post(url, {}, status=404)
        self.assertEqual(self.status(), "available")
        self.post(url_of("segment-disable", pk=Segment.objects.get(vid=101).pk), {})

    def test_a_token_that_only_reads(self):
        self.grant("change", model=Segment)
        self.post(self.disable_url, {}, status=403, client=client_of(make_user("alice"), write_enabled=False))
        self.assertEqual(self.status(), "available")

    def test_other_methods(self):
        self.grant("view", "change", model=Segment)
        for method in ("get", "put", "patch"):
            self.call(method, self.disable_url, status=405)

    def test_number_of_queries(self):
        self.grant("change", model=Segment)
        self.post(self.disable_url, {})
        self.post(self.enable_url, {})
        with self.assertNumQueries(23):
            self.post(self.disable_url, {"reason": "Cable is cut"})

    def test_schema(self):
        paths = openapi_schema()["paths"]
        path = "/api/plugins/vlan-manager/segments/{id}/"
        disable, enable = paths[f"{path}disable/"]["post"], paths[f"{path}enable/"]["post"]
        body = disable["requestBody"]["content"]["application/json"]["schema"]
        self.assertEqual(body, {"$ref": "#/components/schemas/DisableRequest"})
        self.assertNotIn("requestBody", enable)
        for operation, statuses in (
            (disable, ["200", "400", "403", "404", "409", "412", "415", "422", "503"]),
            (enable, ["200", "400", "403", "404", "409", "412", "415", "422", "503"]),
        ):
            self.assertEqual(sorted(operation["responses"]), statuses)
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            self.assertEqual(schema, {"$ref": "#/components/schemas/Segment"})
