"""Findings of the fuzzer: answers that the OpenAPI schema did not document, and requests without an answer."""

from django.test import TestCase
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from tests.api.base import PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_user
from tests.openapi import ROOT, openapi_schema


class DocumentedAnswersTestCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.schema = openapi_schema()

    def body_of(self, url, method, status):
        return self.schema["paths"][ROOT + url][method]["responses"][status]["content"]["application/json"]["schema"]

    def test_is_valid(self):
        validate_schema(self.schema)

    def test_a_choice_that_is_not_made_may_be_null(self):
        schemas, seen = self.schema["components"]["schemas"], 0
        for model in (SegmentPool, Segment, Allocation):
            for field in model._meta.concrete_fields:
                schema = schemas[model.__name__]["properties"].get(field.name)
                if schema and field.choices and field.blank:
                    self.assertTrue(schema.get("nullable"), (model, field, schema))
                    seen += 1
        self.assertGreater(seen, 1)

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

    def test_every_refusal_is_as_documented(self):
        """Every call documents them: middleware and authentication may refuse any call with one of these."""
        anywhere = {400: "invalid", 403: "permission_denied", 409: "branch_active", 503: "busy"}
        by_names = {
            f"{ROOT}{path}/" for path in ("allocate-vlan", "release-vlan", "allocations", "allocations/stretched")
        }
        seen = 0
        for url, operations in self.schema["paths"].items():
            for method, operation in operations.items():
                if method == "get":
                    continue
                codes = {
                    **anywhere,
                    412: "precondition_failed",
                    415: "unsupported_media_type",
                    422: "idempotency_conflict",
                }
                if "{id}" in url:
                    codes[404] = "not_found"
                elif method == "post" and url in by_names:
                    codes[404] = "pool_not_found"
                for status, code in codes.items():
                    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
                    validator = Draft202012Validator({**schema, "components": self.schema["components"]})
                    self.assertEqual(
                        [*validator.iter_errors({"detail": "Why", "code": code})], [], (method, url, status)
                    )
                    self.assertFalse(validator.is_valid("Why"), (method, url, status))
                    seen += 1
        self.assertGreater(seen, 250)

    def test_a_list_is_answered_with_a_list(self):
        for model in ("pools", "segments", "allocations"):
            one, several = self.body_of(f"{model}/", "post", "201")["oneOf"]
            self.assertEqual(several, {"type": "array", "items": one})

    def test_an_entry_of_a_list_is_named_by_what_it_has(self):
        entry = self.schema["components"]["schemas"]["RefusedEntry"]
        self.assertEqual((entry["required"], {"id", "index"} - entry["properties"].keys()), (["errors"], set()))

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
    def test_a_page_that_begins_at_an_id_has_no_count(self):
        self.grant("view", model=SegmentPool)
        pool = make_pool()
        answer = self.get(url_of("segmentpool-list"), {"start": pool.pk})
        self.assertEqual((answer["count"], len(answer["results"])), (None, 1))
        schemas = openapi_schema()["components"]["schemas"]
        for page in ("PaginatedSegmentPoolList", "PaginatedSegmentList", "PaginatedAllocationList"):
            self.assertIs(schemas[page]["properties"]["count"].get("nullable"), True, page)

    def test_a_list_without_ids_refuses_an_id_to_start_at(self):
        for model in (SegmentPool, Prefix, VLAN):
            self.grant("view", model=model)
        url = url_of("segmentpool-adoptable", pk=make_pool().pk)
        self.assertEqual(list(self.get(url, {"start": 1}, status=400)["errors"]), ["start"])

    def test_a_list_of_values_is_refused_with_texts(self):
        self.grant("view", model=SegmentPool)
        response = self.client.get(url_of("drift"), {"pool_id": ["1", "x"]})
        self.assertEqual(response.status_code, 400)
        self.assertEqual(response.json()["errors"], {"pool_id": ["1: A valid integer is required."]})


class DocumentedParametersTestCase(PlainTestCase):
    def test_every_call_knows_its_documented_parameters(self):
        """Clients are made from the schema: reads refuse unknown parameters, so the documented ones are known."""
        self.client = client_of(make_user("root", is_superuser=True))
        pool = make_pool(segments=1)
        seen = 0
        for url, operations in openapi_schema()["paths"].items():
            operation = operations.get("get")
            names = [one["name"] for one in (operation or {}).get("parameters", ()) if one["in"] == "query"]
            # An answer in a format that does not exist is a 404.
            if not names or ("{id}" in url and "pools" not in url):
                continue
            query = "&".join(f"{name}=" for name in names if name != "format")
            response = self.client.get(f"{url.format(id=pool.pk)}?{query}", headers={"Accept": "application/json"})
            content = response.getvalue().decode()
            self.assertNotIn("does not know", content, url)
            seen += 1
        self.assertGreater(seen, 6)
