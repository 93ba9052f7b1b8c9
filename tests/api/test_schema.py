"""What fuzzing found: answers that the OpenAPI schema did not have, or that were none."""

from django.test import TestCase
from drf_spectacular.validation import validate_schema

from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import SegmentPool
from tests.api.base import PlainTestCase, url_of
from tests.factories import make_pool
from tests.openapi import ROOT, openapi_schema


class DocumentedAnswersTestCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.schema = openapi_schema()

    def body_of(self, url, method, status):
        return self.schema["paths"][ROOT + url][method]["responses"][status]["content"]["application/json"]["schema"]

    def test_is_valid(self):
        validate_schema(self.schema)

    def test_every_call_says_what_it_may_be_refused_with(self):
        for url, operations in self.schema["paths"].items():
            for method, operation in operations.items():
                expected = {"400", "403"}
                if method != "get":
                    expected |= {"409", "412", "415", "422", "503"}
                if "{id}" in url:
                    expected.add("404")
                if url != f"{ROOT}health/":
                    self.assertLessEqual(expected, operation["responses"].keys(), (method, url))

    def test_a_list_is_answered_with_a_list(self):
        for model in ("pools", "segments", "allocations"):
            one, several = self.body_of(f"{model}/", "post", "201")["oneOf"]
            self.assertEqual(several, {"type": "array", "items": one})

    def test_what_may_be_null_says_so(self):
        schemas = self.schema["components"]["schemas"]
        self.assertTrue(schemas["Allocation"]["properties"]["release_reason"]["nullable"])
        for name in ("id", "url", "display_url"):
            self.assertTrue(schemas["AllocationResult"]["properties"][name]["nullable"])

    def test_refused_values_are_named_by_field_or_described(self):
        ours = {"$ref": "#/components/schemas/Error"}
        for url, result in (("pools/{id}/adopt/", "AdoptResult"), ("segments/import/", "ImportResult")):
            schemas = self.body_of(url, "post", "400")["anyOf"]
            self.assertIn(ours, schemas)
            self.assertIn({"$ref": f"#/components/schemas/{result}"}, schemas)


class AnswersTestCase(PlainTestCase):
    def test_a_list_without_ids_takes_no_id_to_start_at(self):
        for model in (SegmentPool, Prefix, VLAN):
            self.grant("view", model=model)
        url = url_of("segmentpool-adoptable", pk=make_pool().pk)
        self.assertEqual(self.get(url, {"start": 1})["count"], 0)

    def test_a_list_of_values_is_refused_with_texts(self):
        self.grant("view", model=SegmentPool)
        response = self.client.get(url_of("drift"), {"pool_id": ["1", "x"]})
        self.assertEqual(response.status_code, 400)
        self.assertEqual(response.json()["errors"], {"pool_id": ["1: A valid integer is required."]})
