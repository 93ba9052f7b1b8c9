from core.models import ObjectType
from dcim.models import Region, Site
from extras.models import CustomField, Tag
from ipam.models import VRF, Prefix, VLANGroup
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tenancy.models import Tenant
from tests.api.base import ModelTests, PlainTestCase, url_of
from tests.factories import make_pool, make_site, make_user, make_vrf
from utilities.testing import APIViewTestCases


class SegmentPoolTestCase(
    ModelTests,
    APIViewTestCases.GetObjectViewTestCase,
    APIViewTestCases.ListObjectsViewTestCase,
    APIViewTestCases.CreateObjectViewTestCase,
    APIViewTestCases.UpdateObjectViewTestCase,
    APIViewTestCases.DeleteObjectViewTestCase,
):
    model = SegmentPool
    brief_fields = ["description", "display", "id", "name", "slug", "url"]
    bulk_update_data = {"description": "New description", "status": "paused"}
    bulk_update_invalid_data = {"min_prefix_length": 200}
    user_permissions = ("ipam.view_prefix", "ipam.view_vrf", "ipam.view_vlangroup", "dcim.view_site")

    @classmethod
    def setUpTestData(cls):
        vrf = make_vrf()
        for index in range(3):
            make_pool(vrf, f"Site{index}", container=f"10.{index}.0.0/16")
        sites = [make_site(f"New{index}") for index in range(3)]
        containers = [
            Prefix.objects.create(prefix=f"10.{index}.0.0/16", vrf=vrf, status="container") for index in range(10, 13)
        ]
        # To share another pool's VLAN group, a user needs the permission to change that pool.
        groups = [VLANGroup.objects.create(name=f"Group {index}", slug=f"group-{index}") for index in range(3)]
        cls.create_data = [
            {
                "name": f"Pool {site}",
                "slug": f"pool-{site.slug}",
                "vrf": vrf.pk,
                "scope_type": "dcim.site",
                "scope_id": site.pk,
                "vlan_group": group.pk,
                "prefixes": [container.pk],
                "min_prefix_length": 24,
                "description": "New",
            }
            for site, group, container in zip(sites, groups, containers, strict=True)
        ]
        cls.update_data = {"name": "Renamed", "slug": "renamed", "max_prefix_length": 28}


class SegmentPoolsTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=3)
        cls.vrf = cls.pool.vrf
        cls.site = make_site("Site2")

    def setUp(self):
        super().setUp()
        self.grant("view", "add", "change", "delete", model=SegmentPool)
        # The user may view the objects that a pool consists of.
        for model in (Prefix, Tag, VRF, VLANGroup, Site, Region):
            self.grant("view", model=model)
        self.list_url = url_of("segmentpool-list")
        self.url = url_of("segmentpool-detail", pk=self.pool.pk)

    def new(self, **changes):
        return {
            "vrf": self.vrf.pk,
            "scope_type": "dcim.site",
            "scope_id": self.site.pk,
            "prefixes": ["10.20.0.0/16"],
            **changes,
        }

    def test_representation(self):
        allocate("prod-01", pool=self.pool, user=self.user)
        pool = self.get(self.url)
        self.assertEqual(
            {name: pool[name] for name in ("total_segments", "allocated", "available", "utilization")},
            {"total_segments": 3, "allocated": 1, "available": 2, "utilization": 33.3},
        )
        self.assertEqual(pool["status"], {"value": "active", "label": "Active"})
        self.assertEqual(pool["scope_type"], "dcim.site")
        self.assertEqual(pool["scope"]["name"], "Site1")
        self.assertEqual(pool["vrf"]["name"], "Network1")
        self.assertEqual(pool["vlan_group"]["name"], "Network1-Site1")
        self.assertEqual([prefix["prefix"] for prefix in pool["prefixes"]], ["10.0.0.0/16"])
        self.assertNotIn("vid_ranges", pool)

    def test_create_with_all_that_is_needed_around_it(self):
        pool = self.post(self.list_url, self.new(vid_ranges=[[100, 199], [300, 399]]), status=201)

        self.assertEqual((pool["name"], pool["slug"]), ("Network1 Site2", "network1-site2"))
        self.assertEqual(pool["total_segments"], 0)
        self.assertEqual(pool["utilization"], 0)
        group = VLANGroup.objects.get(pk=pool["vlan_group"]["id"])
        self.assertEqual(group.name, "Network1-Site2")
        self.assertEqual([(ids.lower, ids.upper - 1) for ids in group.vid_ranges], [(100, 199), (300, 399)])
        container = Prefix.objects.get(prefix="10.20.0.0/16")
        self.assertEqual((container.vrf, container.status), (self.vrf, "container"))

    def test_cooldown_as_text(self):
        for value, seconds in (("7d", 604800), ("90m", 5400), ("60", 60), (3600, 3600)):
            self.assertEqual(self.call("patch", self.url, {"cooldown": value})["cooldown"], seconds)
        for value in ("x", "1y", "-1", -1, "9000w", "", True, None, [], {}):
            self.assertIn("cooldown", self.call("patch", self.url, {"cooldown": value}, status=400))

    def test_vid_ranges_as_text(self):
        self.post(self.list_url, self.new(vid_ranges="100-199, 300"), status=201)
        self.assertEqual(SegmentPool.objects.get(name="Network1 Site2").vlan_group.vid_ranges_list, "100-199,300")

    def test_create_from_attributes(self):
        tenant = Tenant.objects.create(name="Tenant1", slug="tenant1")
        self.grant("view", model=VRF)
        self.grant("view", model=Tenant)
        CustomField.objects.create(name="rack", type="text").object_types.add(
            ObjectType.objects.get_for_model(SegmentPool)
        )
        Tag.objects.create(name="Blue", slug="blue")
        pool = self.post(
            self.list_url,
            self.new(
                vrf={"name": "Network1"},
                tenant={"slug": "tenant1"},
                custom_fields={"rack": "R1"},
                tags=[{"slug": "blue"}],
            ),
            status=201,
        )
        self.assertEqual(pool["tenant"]["id"], tenant.pk)
        self.assertEqual(pool["custom_fields"], {"rack": "R1"})
        self.assertEqual([tag["name"] for tag in pool["tags"]], ["Blue"])

    def test_values_that_are_not_valid(self):
        other_vrf = make_vrf("Network2")
        elsewhere = Prefix.objects.create(prefix="10.30.0.0/16", vrf=other_vrf, status="container")
        active = Prefix.objects.create(prefix="10.31.0.0/16", vrf=self.vrf)
        for field, values in {
            "prefixes": (
                [],
                None,
                "10.0.0.0/16",
                ["10.0.0.1/16"],
                ["nonsense"],
                [10**30],
                [True],
                [1.5],
                [None],
                [{}],
                [elsewhere.pk],
                [active.pk],
                ["127.0.0.0/8"],
            ),
            "vid_ranges": (
                *([[0, 10]], [[10, 5]], [[1]], [5], [[1, 10**30]], [["a", "b"]], [[5, 50], [20, 60]]),
                *("5-1", "0-10", "x", ""),
            ),
            "scope_id": (10**30, -1, "x", None, {}, 999999),
            "scope_type": ("dcim.rack", "nonsense", None, 5),
            "vrf": (10**30, None, "x", {"name": "Nowhere"}, [], {"id": "x"}, {"id": []}, {"nonsense": 1}),
            "status": ("nonsense", {}, None),
            "min_prefix_length": (0, 129, -5, 10**30, "x"),
            "slug": ("no spaces",),
            "name": ("x" * 101, self.pool.name),
            "comments": ("\0",),
        }.items():
            for value in values:
                error = self.post(self.list_url, self.new(**{field: value}), status=400)
                self.assertIn(field, error, value)
        self.assertEqual(SegmentPool.objects.count(), 1)
        self.assertFalse(Prefix.objects.filter(prefix="10.20.0.0/16").exists())

    def test_one_pool_for_a_vrf_and_scope(self):
        error = self.post(self.list_url, self.new(name="Another", scope_id=make_site("Site1").pk), status=400)
        self.assertEqual(error, {"scope_id": ["This VRF already has a pool at this scope."]})

    def test_vid_ranges_of_a_vlan_group_that_is_there(self):
        ranges = {"vid_ranges": [[1, 10]]}
        self.assertIn("vid_ranges", self.call("patch", self.url, ranges, status=400))
        data = self.new(vlan_group=self.pool.vlan_group_id, **ranges)
        self.assertIn("vid_ranges", self.post(self.list_url, data, status=400))

    def test_what_segments_rest_on_stays(self):
        for change in (
            {"vrf": make_vrf("Network2").pk},
            {"vlan_group": VLANGroup.objects.create(name="Other", slug="other").pk},
            {"prefixes": ["10.20.0.0/16"]},
        ):
            self.assertEqual(list(self.call("patch", self.url, change, status=400)), list(change)[:1])

        self.call("patch", self.url, {"prefixes": ["10.20.0.0/16", "10.0.0.0/16"], "description": "Wider"})
        self.assertEqual(self.pool.prefixes.count(), 2)

    def test_change_of_scope(self):
        region = Region.objects.create(name="Region1", slug="region1")
        pool = self.call("patch", self.url, {"scope_type": "dcim.region", "scope_id": region.pk})
        self.assertEqual(pool["scope"]["name"], "Region1")
        self.assertIn("scope_id", self.call("patch", self.url, {"scope_id": 999999}, status=400))

    def test_put(self):
        pool = self.call(
            "put",
            self.url,
            self.new(scope_id=make_site("Site1").pk, vlan_group=self.pool.vlan_group_id, prefixes=["10.0.0.0/16"]),
        )
        self.assertEqual(pool["name"], self.pool.name)

    def test_tags_alone(self):
        Tag.objects.create(name="Blue", slug="blue")
        pool = self.call("patch", self.url, {"tags": [{"name": "Blue"}], "changelog_message": "Painted"})
        self.assertEqual([tag["name"] for tag in pool["tags"]], ["Blue"])
        self.assertEqual(self.pool.description, "")

    def test_numbers_that_only_the_database_sets(self):
        pool = self.post(self.list_url, self.new(id=5000, total_segments=7, available=7, utilization=50), status=201)
        self.assertNotEqual(pool["id"], 5000)
        self.assertEqual(pool["total_segments"], 0)

    def test_deleting_a_pool_with_segments(self):
        error = self.call("delete", self.url, status=409)
        self.assertEqual(error["code"], "protected")
        # The error does not name segments that the user may not view.
        self.assertNotIn("EPG_100", error["detail"])
        self.grant("view", model=Segment)
        self.assertIn("EPG_100", self.call("delete", self.url, status=409)["detail"])

        error = self.call("delete", self.list_url, [{"id": self.pool.pk}], status=409)
        self.assertEqual(error["errors"][0]["id"], self.pool.pk)

    def test_bulk_create_is_all_or_nothing(self):
        sites = [make_site(f"New{index}") for index in range(3)]
        data = [self.new(scope_id=site.pk, prefixes=[f"10.{40 + index}.0.0/16"]) for index, site in enumerate(sites)]
        error = self.post(self.list_url, [*data, self.new(prefixes=["x"])], status=400)
        self.assertEqual(error["errors"][0]["index"], 3)
        self.assertIn("prefixes", error["errors"][0]["errors"])
        error = self.post(self.list_url, [data[0], {**data[1], "name": "Network1 New0"}], status=400)
        # The generated slug is a free one.
        self.assertEqual([(entry["index"], list(entry["errors"])) for entry in error["errors"]], [(1, ["name"])])
        self.assertEqual(SegmentPool.objects.count(), 1)

        self.assertEqual(
            [pool["scope"]["name"] for pool in self.post(self.list_url, data, status=201)], ["New0", "New1", "New2"]
        )

    def test_ordering(self):
        busy = make_pool("Network2", "Site2", container="10.2.0.0/16", segments=4)
        allocate("prod-01", pool=busy, user=make_user())
        for name, first in (
            ("-total_segments", busy),
            ("utilization", self.pool),
            ("-allocated", busy),
            ("name", self.pool),
        ):
            self.assertEqual(self.get(self.list_url, {"ordering": name})["results"][0]["id"], first.pk, name)
        for name in (
            "scope",
            "prefixes",
            "tags",
            "custom_fields",
            "display",
            "nonsense",
            "-",
            "--name",
            "vrf",
            "id,vrf",
        ):
            self.get(self.list_url, {"ordering": name})

    def test_fields_omit_and_brief(self):
        self.assertEqual(list(self.get(self.url, {"fields": "id,available"})), ["id", "available"])
        self.assertNotIn("prefixes", self.get(self.url, {"omit": "prefixes"}))
        self.assertEqual(len(self.get(self.list_url, {"brief": True})["results"][0]), 6)

    def test_filters_and_their_errors(self):
        self.assertEqual(self.get(self.list_url, {"contains": "10.0.3.4"})["count"], 1)
        self.assertEqual(list(self.get(self.list_url, {"contains": "nonsense"}, status=400)), ["contains"])
        self.assertEqual(list(self.get(self.list_url, {"q": "a\0b"}, status=400)), ["q"])
        for name in (
            "id",
            "scope_id",
            "min_prefix_length__lt",
            "vrf_id__n",
            "name",
            "tag",
            "cf_nothing",
            "limit",
            "offset",
        ):
            self.client.get(self.list_url, {name: 10**30})

    def test_if_match(self):
        self.call("patch", self.url, {"description": "x"}, status=412, **{"If-Match": 'W/"stale"'})
        etag = self.client.get(self.url).headers["ETag"]
        self.call("patch", self.url, {"description": "x"}, **{"If-Match": etag})

    def test_number_of_queries_does_not_grow(self):
        self.get(self.list_url)
        with self.assertNumQueries(16):
            self.get(self.list_url)
        for number in range(5):
            make_pool(make_vrf(f"V{number}"), f"S{number}", container="10.9.0.0/16", segments=2)
        with self.assertNumQueries(16):
            self.get(self.list_url)


class AvailableSegmentsTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=4)
        allocate("prod-01", pool=cls.pool, user=make_user())

    def setUp(self):
        super().setUp()
        self.url = url_of("segmentpool-available-segments", pk=self.pool.pk)

    def available(self, **params):
        return [segment["vid"] for segment in self.get(self.url, params)]

    def test_segments_in_the_order_in_which_they_are_handed_out(self):
        self.grant("view", model=SegmentPool)
        self.grant("view", model=Segment)
        self.assertEqual(self.available(), [101, 102, 103])
        self.assertEqual(self.available(limit=2), [101, 102])
        self.assertEqual(self.available(limit=0), [101, 102, 103])
        self.assertEqual(Segment.objects.filter(status="available").count(), 3)
        for limit in ("x", "-1", "1.5", "9" * 30, ""):
            self.assertEqual(list(self.get(self.url, {"limit": limit}, status=400)["errors"]), ["limit"])

    def test_only_what_the_user_may_view(self):
        self.get(self.url, status=403)
        self.grant("view", model=SegmentPool, name="Another")
        self.get(self.url, status=404)
        self.grant("view", model=SegmentPool)
        self.assertEqual(self.available(), [])
        self.grant("view", model=Segment, vid=102)
        self.assertEqual(self.available(), [102])

    def test_number_of_queries_does_not_grow(self):
        self.grant("view", model=SegmentPool)
        self.grant("view", model=Segment)
        self.available()
        with self.assertNumQueries(13):
            self.available(limit=1)
        with self.assertNumQueries(13):
            self.available()
