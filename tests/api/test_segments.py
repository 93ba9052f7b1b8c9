from django.urls import reverse

from core.choices import ObjectChangeActionChoices
from core.models import ObjectChange, ObjectType
from extras.models import CustomField, Tag
from ipam.models import VLAN, IPAddress, Prefix
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from tests.api.base import ModelTests, PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_segment, make_user
from utilities.testing import APIViewTestCases


class SegmentTestCase(
    ModelTests,
    APIViewTestCases.GetObjectViewTestCase,
    APIViewTestCases.ListObjectsViewTestCase,
    APIViewTestCases.CreateObjectViewTestCase,
    APIViewTestCases.UpdateObjectViewTestCase,
    APIViewTestCases.DeleteObjectViewTestCase,
):
    model = Segment
    brief_fields = ["description", "display", "epg_name", "id", "ipv6_prefix", "prefix", "url", "vid"]
    bulk_update_data = {"description": "New description", "dhcp": True}
    bulk_update_invalid_data = {"vid": 5000}
    user_permissions = ("netbox_vlan_manager.view_segmentpool",)
    # The body has a CIDR, the model a Prefix.
    validation_excluded_fields = ("prefix",)

    @classmethod
    def setUpTestData(cls):
        pool = make_pool(segments=3)
        cls.create_data = [
            {
                "pool": pool.pk,
                "vid": 200 + index,
                "epg_name": f"EPG_{200 + index}",
                "prefix": f"10.0.{200 + index}.0/24",
                "dhcp": True,
                "description": "New",
            }
            for index in range(3)
        ]
        cls.update_data = {"dhcp": True, "description": "Changed", "comments": "At length"}


class SegmentsTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=3)
        cls.segment = Segment.objects.get(vid=100)
        cls.other_pool = make_pool("Network2", "Site2", container="10.2.0.0/16", segments=1)

    def setUp(self):
        super().setUp()
        self.grant("view", "add", "change", "delete", model=Segment, pool__vrf__name="Network1")
        self.grant("view", model=SegmentPool, vrf__name="Network1")
        self.grant("view", model=Tag)
        self.list_url = url_of("segment-list")
        self.url = url_of("segment-detail", pk=self.segment.pk)

    def new(self, **changes):
        return {"pool": self.pool.pk, "vid": 200, "epg_name": "EPG_200", "prefix": "10.0.200.0/24", **changes}

    def patch(self, status=200, **changes):
        return self.call("patch", self.url, changes, status=status)

    def test_representation(self):
        segment = self.get(self.url)
        self.assertEqual(segment["display"], "EPG_100 (100)")
        self.assertEqual(
            {name: segment[name] for name in ("vid", "epg_name", "dhcp", "status", "allocations")},
            {
                "vid": 100,
                "epg_name": "EPG_100",
                "dhcp": False,
                "status": {"value": "available", "label": "Available"},
                "allocations": [],
            },
        )
        self.assertEqual(segment["pool"]["name"], self.pool.name)
        self.assertEqual(segment["prefix"]["prefix"], "10.0.0.0/24")
        self.assertEqual(segment["vlan"]["vid"], 100)

    def test_etag(self):
        """After the VLAN or prefix changes in NetBox, a write with the segment's old ETag is refused."""
        root = client_of(make_user("root", is_superuser=True))
        segment = self.pool.segments.get(vid=100)
        held = allocate("prod-01", pool=self.pool, vid=100, user=self.user).allocation
        urls = [url_of("segment-detail", pk=segment.pk), url_of("allocation-detail", pk=held.pk)]
        vlan, prefix = (
            reverse("ipam-api:vlan-detail", args=[segment.vlan_id]),
            reverse("ipam-api:prefix-detail", args=[segment.prefix_id]),
        )
        for url, change, shown in (
            (vlan, {"name": "EPG_other"}, urls),
            (vlan, {"description": "x"}, urls[:1]),
            (prefix, {"description": "x"}, urls[:1]),
        ):
            before = {shown_url: root.get(shown_url).headers["ETag"] for shown_url in shown}
            self.assertEqual(root.patch(url, change, format="json").status_code, 200)
            for shown_url, etag in before.items():
                self.assertNotEqual(root.get(shown_url).headers["ETag"], etag, change)
                response = root.patch(shown_url, {"comments": "x"}, format="json", headers={"If-Match": etag})
                self.assertEqual(response.status_code, 412)
        release("prod-01", pool=self.pool, user=self.user)
        etag = root.get(urls[0]).headers["ETag"]
        for change in ({"vid": 300}, {"name": "EPG_third"}):
            self.assertEqual(root.patch(vlan, change, format="json").status_code, 200)
            etag, old = root.get(urls[0]).headers["ETag"], etag
            self.assertNotEqual(etag, old)
        self.assertEqual(root.patch(prefix, {"prefix": "10.0.99.0/24"}, format="json").status_code, 200)
        self.assertNotEqual(root.get(urls[0]).headers["ETag"], etag)
        # Changes that the plugin writes change the ETag too.
        for change in ({"epg_name": "EPG_fourth"}, {"prefix": "10.0.98.0/24"}):
            etag = root.get(urls[0]).headers["ETag"]
            self.assertEqual(root.patch(urls[0], change, format="json").status_code, 200)
            self.assertNotEqual(root.get(urls[0]).headers["ETag"], etag, change)

    def test_allocations_are_those_that_the_user_may_view(self):
        allocate("prod-01", pool=self.pool, user=self.user)
        self.assertEqual(self.get(self.url)["status"]["value"], "allocated")
        self.assertEqual(self.get(self.url)["allocations"], [])
        self.assertEqual(self.get(self.list_url, {"cluster_name": "prod-01"})["count"], 0)

        self.grant("view", model=Allocation, cluster_name="prod-01")
        (allocation,) = self.get(self.url)["allocations"]
        self.assertEqual(allocation["cluster_name"], "prod-01")
        self.assertEqual(self.get(self.list_url, {"cluster_name": "Prod-01"})["count"], 1)
        self.assertEqual(self.patch(description="x")["allocations"], [allocation])

    def test_create_makes_vlan_and_prefix(self):
        segment = self.post(self.list_url, self.new(dhcp=True), status=201)
        vlan, prefix = VLAN.objects.get(pk=segment["vlan"]["id"]), Prefix.objects.get(pk=segment["prefix"]["id"])
        self.assertEqual((vlan.vid, vlan.name, vlan.group), (200, "EPG_200", self.pool.vlan_group))
        self.assertEqual((prefix.vrf, prefix.vlan, prefix.status), (self.pool.vrf, vlan, "active"))
        self.assertTrue(Segment.objects.get(pk=segment["id"]).owns_vlan)

    def test_create_on_a_prefix_that_is_there(self):
        prefix = Prefix.objects.create(prefix="10.0.201.0/24", vrf=self.pool.vrf)
        # To a user who may not view the prefix, its id is unknown.
        self.assertEqual(list(self.post(self.list_url, self.new(prefix=prefix.pk), status=400)), ["prefix"])
        self.grant("view", model=Prefix)
        self.grant("view", model=SegmentPool)
        elsewhere = Prefix.objects.create(prefix="10.0.202.0/24", vrf=self.other_pool.vrf)
        self.assertEqual(list(self.post(self.list_url, self.new(prefix=elsewhere.pk), status=400)), ["prefix"])

        segment = self.post(self.list_url, self.new(prefix=prefix.pk), status=201)
        self.assertEqual(segment["prefix"]["id"], prefix.pk)
        self.assertFalse(Segment.objects.get(pk=segment["id"]).owns_prefix)

    def test_create_of_what_is_in_use(self):
        for vid, asked, status, reason in (
            (201, {}, "disabled", "When it was made: VLAN reserved, prefix deprecated, in use"),
            (202, {"as": "available"}, "available", ""),
            (203, {"as": "disabled"}, "disabled", ""),
        ):
            VLAN.objects.create(group=self.pool.vlan_group, vid=vid, name=f"EPG_{vid}", status="reserved")
            Prefix.objects.create(prefix=f"10.0.{vid}.0/24", vrf=self.pool.vrf, status="deprecated")
            IPAddress.objects.create(address=f"10.0.{vid}.7/24", vrf=self.pool.vrf)
            body = self.new(vid=vid, epg_name=f"EPG_{vid}", prefix=f"10.0.{vid}.0/24", **asked)
            segment = self.post(self.list_url, body, status=201)
            self.assertEqual((segment["status"]["value"], segment["disabled_reason"]), (status, reason))
            # The body of the creation, sent again, changes nothing.
            again = self.call("put", url_of("segment-detail", pk=segment["id"]), body)
            self.assertEqual((again["status"]["value"], again["disabled_reason"]), (status, reason))
        self.post(self.list_url, self.new(**{"as": "allocated"}), status=400)

    def test_pool_by_attributes(self):
        self.post(self.list_url, self.new(pool={"slug": self.pool.slug}), status=201)

    def test_custom_fields_and_tags(self):
        field = CustomField.objects.create(name="ticket", type="text", required=True)
        field.object_types.add(ObjectType.objects.get_for_model(Segment))
        Tag.objects.create(name="Blue", slug="blue")
        self.post(self.list_url, self.new(), status=400)
        segment = self.post(
            self.list_url, self.new(custom_fields={"ticket": "T1"}, tags=[{"name": "Blue"}]), status=201
        )
        self.assertEqual(segment["custom_fields"], {"ticket": "T1"})
        self.assertEqual([tag["name"] for tag in segment["tags"]], ["Blue"])
        self.assertEqual(
            ObjectChange.objects.get(
                changed_object_id=segment["id"], changed_object_type=ObjectType.objects.get_for_model(Segment)
            ).postchange_data["tags"],
            ["Blue"],
        )

    def test_values_that_are_not_valid(self):
        for field, values in {
            "vid": (0, 4095, -1, 5000, 10**30, "x", None, [], 99, 100, True, 1.5),
            "epg_name": ("", "no spaces", "x" * 65, None, [], {}, "EPG_101", "a\0b", "5/5"),
            "prefix": ("", "x", "10.0.200.1/24", "10.9.0.0/24", "10.0.0.0/25", None, [], {}, 10**30, True, "\0"),
            "pool": (
                "x",
                None,
                [],
                {},
                10**30,
                {"name": "\0"},
                {"id": "x"},
                {"nonsense": 1},
                self.other_pool.pk,
                {"name": self.other_pool.name},
            ),
            "dhcp": ("x", None, []),
            "description": ("x" * 201, "\0", []),
            "owner": (10**30, "x", {"name": "Nobody"}),
            "tags": ("x", [{"name": "Nothing"}], [10**30]),
            "custom_fields": ({"nothing": 1}, [], "x", {"nothing": "\0"}),
            "changelog_message": (5, {"a": 1}, [1], "x" * 201, "\0"),
        }.items():
            for value in values:
                error = self.post(self.list_url, self.new(**{field: value}), status=400)
                self.assertEqual(list(error), [field], (value, error))
                if field not in ("prefix", "epg_name", "vid", "pool"):
                    self.patch(status=400, **{field: value})
        self.assertEqual(Segment.objects.count(), 4)

    def test_fields_that_a_client_may_not_set(self):
        vlan = VLAN.objects.create(vid=300, name="Mine", group=self.pool.vlan_group)
        segment = self.post(
            self.list_url,
            self.new(status="allocated", vlan=vlan.pk, owns_vlan=False, allocations=[{"cluster_name": "x"}], id=9999),
            status=201,
        )
        self.assertEqual(segment["status"]["value"], "available")
        self.assertNotEqual(segment["vlan"]["id"], vlan.pk)
        self.assertNotEqual(segment["id"], 9999)
        self.assertTrue(Segment.objects.get(pk=segment["id"]).owns_vlan)
        segment = self.patch(status=200, vlan=vlan.pk, owns_vlan=False)
        self.assertEqual(segment["vlan"]["id"], self.segment.vlan_id)
        segment = self.call("patch", self.url, {"status": "disabled"})
        self.assertEqual(segment["status"]["value"], "available")

    def test_update_of_vlan_and_prefix(self):
        segment = self.patch(vid=150, epg_name="Renamed", prefix="10.0.150.0/24", description="Moved")
        self.assertEqual(
            (segment["vid"], segment["vlan"]["vid"], segment["epg_name"], segment["prefix"]["prefix"]),
            (150, 150, "Renamed", "10.0.150.0/24"),
        )
        vlan = VLAN.objects.get(pk=self.segment.vlan_id)
        self.assertEqual((vlan.vid, vlan.name), (150, "Renamed"))
        self.assertEqual(list(self.patch(vid=101, status=400)), ["vid"])
        self.assertEqual(list(self.patch(prefix="10.0.1.0/24", status=400)), ["prefix"])

    def test_the_pool_stays(self):
        self.grant("view", model=SegmentPool)
        self.assertEqual(list(self.patch(pool=self.other_pool.pk, status=400)), ["pool"])
        self.patch(pool=self.pool.pk)

    def test_put(self):
        segment = self.call("put", self.url, self.new(vid=100, epg_name="EPG_100", prefix="10.0.0.0/24"))
        self.assertEqual(segment["vid"], 100)
        self.assertEqual(set(self.call("put", self.url, {}, status=400)), {"pool", "vid", "epg_name", "prefix"})

    def test_an_allocated_segment_keeps_its_vlan_id_and_prefix(self):
        allocate("prod-01", pool=self.pool, user=self.user)
        for change in ({"vid": 150}, {"prefix": "10.0.150.0/24"}):
            error = self.patch(status=409, **change)
            self.assertEqual(error["code"], "segment_in_use")
        self.assertEqual(self.patch(description="Held", dhcp=True)["status"]["value"], "allocated")

    def test_delete(self):
        self.call("delete", self.url, {"changelog_message": "Torn down"}, status=204)
        self.assertFalse(VLAN.objects.filter(pk=self.segment.vlan_id).exists())
        change = ObjectChange.objects.get(
            changed_object_type=ObjectType.objects.get_for_model(Segment),
            action=ObjectChangeActionChoices.ACTION_DELETE,
        )
        self.assertEqual((change.message, change.user), ("Torn down", self.user))

    def test_an_allocated_segment_is_not_deleted(self):
        allocate("prod-01", pool=self.pool, user=self.user)
        self.assertEqual(self.call("delete", self.url, status=409)["code"], "segment_in_use")
        free = Segment.objects.get(pool=self.pool, vid=101)
        error = self.call("delete", self.list_url, [{"id": free.pk}, {"id": self.segment.pk}], status=409)
        self.assertEqual(
            [(entry["id"], entry["code"]) for entry in error["errors"]], [(self.segment.pk, "segment_in_use")]
        )
        self.assertEqual((error["detail"], error["code"]), ("1 of 2 objects could not be deleted.", "segment_in_use"))
        self.assertTrue(Segment.objects.filter(pk=free.pk).exists())

    def test_constraints_hold_for_what_is_written(self):
        self.grant("view", model=SegmentPool)
        data = self.new(pool=self.other_pool.pk, prefix="10.2.200.0/24")
        error = self.post(self.list_url, data, status=403)
        self.assertEqual(error["code"], "permission_denied")
        error = self.post(self.list_url, [self.new(), data], status=403)
        self.assertEqual(error["errors"][0]["index"], 1)
        self.assertEqual(Segment.objects.count(), 4)
        # The VLAN and prefix of the failed creation are gone too.
        self.assertFalse(VLAN.objects.filter(vid=200).exists())
        self.assertFalse(ObjectChange.objects.filter(postchange_data__vid=200).exists())

        hidden = url_of("segment-detail", pk=Segment.objects.get(pool=self.other_pool).pk)
        for method in ("get", "patch", "delete"):
            self.call(method, hidden, {} if method != "get" else None, status=404)

    def test_bulk_create(self):
        data = [self.new(vid=200 + n, epg_name=f"E{n}", prefix=f"10.0.{200 + n}.0/24") for n in range(3)]
        # The second segment conflicts with the first, the third with none.
        error = self.post(self.list_url, [data[0], {**data[1], "vid": 200}, data[2]], status=400)
        self.assertEqual([(entry["index"], list(entry["errors"])) for entry in error["errors"]], [(1, ["vid"])])
        error = self.post(self.list_url, [data[0], 5, [data[1]], {}], status=400)
        self.assertEqual([entry["index"] for entry in error["errors"]], [1, 2, 3])
        self.assertEqual(Segment.objects.count(), 4)
        segments = self.post(self.list_url, data, status=201)
        self.assertEqual([segment["vid"] for segment in segments], [200, 201, 202])
        self.assertEqual(self.post(self.list_url, [], status=201), [])

    def test_bulk_update(self):
        first, second = Segment.objects.filter(pool=self.pool)[:2]
        data = [{"id": first.pk, "vid": 300}, {"id": second.pk, "vid": 300}]
        error = self.call("patch", self.list_url, data, status=400)
        self.assertEqual([(entry["id"], list(entry["errors"])) for entry in error["errors"]], [(second.pk, ["vid"])])
        first.refresh_from_db()
        self.assertEqual(first.vid, 100)
        data[1]["vid"] = 301
        self.assertEqual([item["vid"] for item in self.call("patch", self.list_url, data)], [300, 301])

    def test_ordering(self):
        make_segment(self.pool, 99 + 50, 40, epg_name="AAA")
        self.assertEqual(self.get(self.list_url, {"ordering": "epg_name"})["results"][0]["epg_name"], "AAA")
        self.assertEqual(self.get(self.list_url, {"ordering": "-prefix"})["results"][0]["epg_name"], "AAA")
        for name in ("pool", "vlan", "-status", "allocations", "tags", "display", "prefix,-vid", "vlan__name"):
            self.get(self.list_url, {"ordering": name})

    def test_number_of_queries_does_not_grow(self):
        self.grant("view", model=Allocation)
        for number in range(2):
            allocate(f"prod-{number}", pool=self.pool, user=make_user())
        self.get(self.list_url)
        for params, queries in (({}, 12), ({"brief": True}, 10)):
            with self.subTest(params):
                with self.assertNumQueries(queries):
                    self.get(self.list_url, {"limit": 2, **params})
                with self.assertNumQueries(queries):
                    self.get(self.list_url, params)
