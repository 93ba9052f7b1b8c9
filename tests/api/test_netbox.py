"""The features of all NetBox endpoints, tried on the plugin's."""

from django.test import SimpleTestCase, TestCase
from django.urls import include, path, reverse
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from core.models import ObjectType
from extras.events import serialize_for_event
from extras.models import CustomField, ExportTemplate
from netbox_vlan_manager import exceptions
from netbox_vlan_manager.api.errors import STATUS_OF_CODE
from netbox_vlan_manager.api.urls import urlpatterns
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.api.base import NAMESPACE, PlainTestCase, run_in_background, url_of
from tests.factories import make_pool, make_user

ROOT = "/api/plugins/vlan-manager/"


class RootTestCase(PlainTestCase):
    def test_lists_every_endpoint(self):
        listed = self.get(url_of("api-root"))
        self.assertEqual(
            list(listed),
            [
                "allocate-vlan",
                "allocations",
                "drift",
                "drift/repair",
                "export/segments",
                "export/statistics",
                "health",
                "migrate-first-generation",
                "pools",
                "release-vlan",
                "segments",
                "segments/import",
                "statistics",
            ],
        )
        for name, url in listed.items():
            self.assertEqual(url, f"http://testserver{ROOT}{name}/")

    def test_is_listed_with_the_plugins(self):
        listed = self.get(reverse("plugins-api:api-root"))
        self.assertEqual(listed["vlan-manager"], f"http://testserver{ROOT}")

    def test_browsable(self):
        self.grant("view", model=SegmentPool)
        make_pool()
        for name in ("api-root", "segmentpool-list", "statistics", "health"):
            response = self.client.get(url_of(name), headers={"Accept": "text/html"})
            self.assertEqual((response.status_code, response.headers["Content-Type"][:9]), (200, "text/html"), name)


class SchemaTestCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        GENERATOR_STATS.reset()
        generator = SchemaGenerator(patterns=[path(ROOT[1:], include((urlpatterns, f"{NAMESPACE}-api")))])
        cls.schema = generator.get_schema(request=None, public=True)
        cls.complaints = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]

    def operation(self, url, method):
        return self.schema["paths"][ROOT + url][method]

    def test_is_valid_and_complete(self):
        self.assertEqual(self.complaints, [])
        validate_schema(self.schema)
        written = ("get", "post", "put", "patch", "delete")
        expected = {
            "allocate-vlan/": ("post",),
            "release-vlan/": ("post",),
            "segments/import/": ("post",),
            "segments/{id}/disable/": ("post",),
            "segments/{id}/enable/": ("post",),
            "segments/{id}/end-quarantine/": ("post",),
            "segments/{id}/share/": ("post",),
            "segments/{id}/clusters/": ("put",),
            "allocations/stretched/": ("post",),
            "allocations/{id}/renew/": ("post",),
            "allocations/{id}/release/": ("post",),
            "allocations/{id}/hand-over/": ("post",),
            "allocations/{id}/undo-release/": ("post",),
            "statistics/": ("get",),
            "export/segments/": ("get",),
            "export/statistics/": ("get",),
            "health/": ("get",),
            "pools/{id}/available-segments/": ("get",),
            "pools/{id}/forecast/": ("get",),
            "pools/{id}/adoptable/": ("get",),
            "pools/{id}/adopt/": ("post",),
            "pools/{id}/generate/": ("post",),
            "pools/{id}/merge/": ("post",),
            "pools/{id}/resize/": ("post",),
            "pools/{id}/retire/": ("post",),
            "drift/": ("get",),
            "drift/repair/": ("post",),
            "migrate-first-generation/": ("post",),
            **{f"{model}/": written for model in ("pools", "segments", "allocations")},
            **{f"{model}/{{id}}/": written[:1] + written[2:] for model in ("pools", "segments", "allocations")},
        }
        self.assertEqual(
            {url: set(operations) for url, operations in self.schema["paths"].items()},
            {ROOT + url: set(methods) for url, methods in expected.items()},
        )

    def test_every_operation_has_an_id_of_its_own_and_a_description(self):
        operations = [operation for path in self.schema["paths"].values() for operation in path.values()]
        ids = [operation["operationId"] for operation in operations]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertTrue(all(operation.get("description") for operation in operations))

    def test_answers(self):
        refused = {"400", "403", "409", "412", "415", "422", "503"}
        for url, method, statuses in (
            ("allocate-vlan/", "post", {"200", "404", *refused}),
            ("release-vlan/", "post", {"200", "404", *refused}),
            ("allocations/", "post", {"200", "201", "404", *refused}),
            ("allocations/{id}/", "delete", {"204", "404", *refused}),
            ("segments/{id}/", "delete", {"204", "404", *refused}),
            ("segments/import/", "post", {"200", *refused}),
            ("statistics/", "get", {"200", "400", "403"}),
            ("export/segments/", "get", {"200", "400", "403"}),
            ("health/", "get", {"200", "429", "503"}),
        ):
            self.assertEqual(set(self.operation(url, method)["responses"]), statuses, (url, method))

    def test_bodies(self):
        components = self.schema["components"]["schemas"]
        asked = components["VLANOfClusterRequest"]
        self.assertEqual(set(asked["properties"]), {"cluster_name", "site", "vrf", "pool", "purpose"})
        self.assertEqual(set(asked["required"]), {"cluster_name"})
        prefix = components["WritableSegmentRequest"]["properties"]["prefix"]
        self.assertEqual([choice["type"] for choice in prefix["oneOf"]], ["string", "integer"])
        self.assertNotIn("status", components["WritableSegmentRequest"]["properties"])
        self.assertEqual(
            set(self.operation("segments/import/", "post")["requestBody"]["content"]),
            {
                "application/json",
                "multipart/form-data",
                "text/csv",
                "application/yaml",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            },
        )
        self.assertLessEqual({"ImportRequest", "ImportRowRequest"}, set(components))
        self.assertEqual(
            set(self.operation("export/segments/", "get")["responses"]["200"]["content"]),
            {
                "text/csv",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                "application/json",
            },
        )

    def test_parameters(self):
        def names(url):
            return {parameter["name"] for parameter in self.operation(url, "get").get("parameters", ())}

        self.assertLessEqual({"format", "site", "within", "cluster_name", "vid__gte"}, names("export/segments/"))
        self.assertLessEqual({"region", "contains", "vrf_id"}, names("statistics/"))
        self.assertEqual(names("pools/{id}/available-segments/"), {"id", "limit", "fields", "omit", "brief"})
        self.assertFalse({"brief", "omit"} & names("statistics/"))
        self.assertEqual(names("health/"), set())


class NetBoxFeaturesTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=3)

    def test_export_templates(self):
        self.grant("view", model=SegmentPool)
        self.grant("view", model=ExportTemplate)
        template = ExportTemplate.objects.create(
            name="Numbers", template_code="{% for pool in queryset %}{{ pool }}: {{ pool.usage.available }}{% endfor %}"
        )
        template.object_types.add(ObjectType.objects.get_for_model(SegmentPool))
        response = self.client.get(url_of("segmentpool-list"), {"export": "Numbers"})
        self.assertEqual(response.content.decode(), "Network1 Site1: 3")

    def test_event_payloads(self):
        allocation = allocate("prod-01", pool=self.pool, user=self.user).allocation
        self.assertEqual(serialize_for_event(allocation)["cluster_name"], "prod-01")
        data = serialize_for_event(Segment.objects.get(pk=allocation.segment_id))
        self.assertEqual((data["epg_name"], data["allocations"][0]["cluster_name"]), ("EPG_100", "prod-01"))
        data = serialize_for_event(SegmentPool.objects.get())
        self.assertEqual((data["allocated"], data["prefixes"][0]["prefix"]), (1, "10.0.0.0/16"))

    def test_custom_fields_that_name_our_objects(self):
        allocation = allocate("prod-01", pool=self.pool, user=self.user).allocation
        self.grant("view", "change", model=SegmentPool)
        for model in (Segment, Allocation):
            self.grant("view", model=model)
        url = url_of("segmentpool-detail", pk=self.pool.pk)
        for instance in (self.pool, allocation.segment, allocation):
            object_type = ObjectType.objects.get_for_model(instance)
            field = CustomField.objects.create(
                name=f"related_{object_type.model}", type="object", related_object_type=object_type
            )
            field.object_types.add(ObjectType.objects.get_for_model(SegmentPool))
            pool = self.call("patch", url, {"custom_fields": {field.name: instance.pk}})
            self.assertEqual(pool["custom_fields"][field.name]["display"], str(instance))
            self.call("patch", url, {"custom_fields": {field.name: "x"}}, status=400)

    def run_in_background(self, method, url, data):
        return run_in_background(self.client, method, url, data)

    def test_background_jobs(self):
        self.grant("allocate", "release", model=SegmentPool)
        url = url_of("allocation-list")
        data = [{"pool": self.pool.pk, "cluster_name": name} for name in "ab"]
        job = self.run_in_background("post", url, data)
        self.assertEqual((job.status, job.data["status_code"]), ("completed", 201), job.error)
        self.assertEqual([row["cluster_name"] for row in job.data["data"]], ["a", "b"])
        self.assertEqual(Allocation.objects.first().allocated_by, self.user)
        self.assertEqual(self.run_in_background("post", url, data).data["status_code"], 200)

        exhausted = self.run_in_background("post", url, [{**row, "purpose": "x"} for row in data])
        self.assertEqual((exhausted.status, exhausted.data["status_code"]), ("failed", 409))
        self.assertEqual(exhausted.data["data"]["errors"][0]["index"], 1)
        denied = self.run_in_background("post", url, [{**data[0], "pool": 999999}])
        self.assertEqual(denied.data["status_code"], 400)

        job = self.run_in_background("delete", url, [{"id": row.pk} for row in Allocation.objects.all()])
        self.assertEqual((job.status, job.data["status_code"]), ("completed", 204), job.error)
        self.assertFalse(Allocation.objects.active().exists())

    def test_background_jobs_for_segments(self):
        self.grant("view", "add", "change", "delete", model=Segment)
        self.grant("view", model=SegmentPool)
        url = url_of("segment-list")
        new = {"pool": self.pool.pk, "vid": 200, "epg_name": "E200", "prefix": "10.0.200.0/24"}
        segment = self.run_in_background("post", url, [new]).data["data"][0]
        job = self.run_in_background("patch", url, [{"id": segment["id"], "vid": 201}])
        self.assertEqual(job.data["data"][0]["vid"], 201)
        allocate("prod-01", pool=self.pool, user=make_user())
        job = self.run_in_background("delete", url, [{"id": Segment.objects.get(vid=100).pk}])
        self.assertEqual(job.data["status_code"], 409)

    def test_calls_without_background_jobs(self):
        self.grant("view", "change", model=Segment)
        self.grant("view", "add", "change", "allocate", model=SegmentPool)
        segment = self.pool.segments.first()
        for url, data in (
            (url_of("segment-disable", pk=segment.pk), {"reason": "x"}),
            (url_of("segmentpool-resize", pk=self.pool.pk), {"prefixes": ["10.0.0.0/15"]}),
            (url_of("segment-import"), [{"site": "Site1"}]),
        ):
            answer = self.call("post", f"{url}?background=true", data, status=400)
            self.assertIn("background job", str(answer))
        segment.refresh_from_db()
        self.assertEqual(segment.status, "available")
        # A single object is written without a job, as in NetBox.
        self.grant("view", "change", model=SegmentPool)
        url = url_of("segmentpool-detail", pk=self.pool.pk)
        self.assertEqual(self.call("patch", f"{url}?background=true", {"description": "x"})["description"], "x")


class ErrorsTestCase(SimpleTestCase):
    def test_every_code_of_the_services_has_a_status(self):
        errors = exceptions.VLANManagerError.__subclasses__()
        codes = {error.code for error in errors if error.__module__ == exceptions.__name__}
        self.assertIn("pool_conflict", codes)
        self.assertLessEqual(codes, set(STATUS_OF_CODE))
