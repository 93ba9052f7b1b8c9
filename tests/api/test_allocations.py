from datetime import timedelta
from unittest.mock import patch

from django.utils import timezone

from core.models import ObjectChange, ObjectType
from extras.models import CustomField, Tag
from netbox_vlan_manager.choices import AllocationStatusChoices
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, delete_segment, release
from tests.api.base import ModelTests, PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_user
from users.models import Owner
from utilities.testing import APIViewTestCases


class AllocationTestCase(
    ModelTests,
    APIViewTestCases.GetObjectViewTestCase,
    APIViewTestCases.ListObjectsViewTestCase,
    APIViewTestCases.UpdateObjectViewTestCase,
):
    model = Allocation
    brief_fields = ["cluster_name", "description", "display", "id", "purpose", "status", "url"]
    update_data = {"description": "Changed", "comments": "At length"}
    bulk_update_data = {"description": "New description"}
    bulk_update_invalid_data = {"description": "x" * 300}

    @classmethod
    def setUpTestData(cls):
        pool = make_pool(segments=4)
        for index in range(3):
            allocate(f"prod-{index}", pool=pool, user=make_user())


class AllocationsTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=4)
        cls.other_pool = make_pool("Network2", "Site2", container="10.2.0.0/16", segments=1)

    def setUp(self):
        super().setUp()
        self.grant("allocate", "release", model=SegmentPool, vrf__name="Network1")
        self.list_url = url_of("allocation-list")

    def new(self, **changes):
        return {"pool": self.pool.pk, "cluster_name": "prod-01", **changes}

    def create(self, status=201, **changes):
        return self.post(self.list_url, self.new(**changes), status=status)

    def delete(self, allocation, status=204, data=None):
        pk = allocation["id"] if isinstance(allocation, dict) else allocation
        return self.call("delete", url_of("allocation-detail", pk=pk), data, status=status)

    def hold(self, *clusters, pool=None):
        return [allocate(cluster, pool=pool or self.pool, user=make_user("bob")).allocation for cluster in clusters]

    # Allocating

    def test_create_needs_no_right_on_allocations_vlans_and_prefixes(self):
        allocation = self.create(purpose="Storage", description="For the disks")

        self.assertEqual(
            {name: allocation[name] for name in ("cluster_name", "purpose", "vid", "epg_name", "prefix", "pool_name")},
            {
                "cluster_name": "prod-01",
                "purpose": "storage",
                "vid": 100,
                "epg_name": "EPG_100",
                "prefix": "10.0.0.0/24",
                "pool_name": "Network1 Site1",
            },
        )
        self.assertEqual(allocation["status"], {"value": "active", "label": "Active"})
        self.assertEqual(allocation["segment"]["vid"], 100)
        self.assertEqual(allocation["segment"]["prefix"]["prefix"], "10.0.0.0/24")
        self.assertEqual(allocation["pool"]["id"], self.pool.pk)
        self.assertEqual(allocation["allocated_by"]["username"], "alice")
        self.assertIsNone(allocation["released_at"])
        self.assertEqual(allocation["description"], "For the disks")

    def test_headers(self):
        response = self.client.post(self.list_url, self.new(), format="json")
        self.assertEqual(response.headers["Location"], response.json()["url"])
        self.assertTrue(response.headers["ETag"])

    def test_a_replay_answers_200_and_changes_nothing(self):
        first = self.create(description="First")
        self.grant("view", model=Tag)
        Tag.objects.create(name="Blue", slug="blue")
        again = self.create(cluster_name="PROD-01", description="Second", tags=[{"name": "Blue"}], status=200)
        self.assertEqual((first.pop("outcome"), again.pop("outcome")), ("allocated", "held"))
        self.assertEqual(again, first)

    def test_by_site_and_vrf(self):
        allocation = self.post(
            self.list_url, {"cluster_name": "prod-01", "site": "site1", "vrf": "Network1"}, status=201
        )
        self.assertEqual(allocation["pool"]["id"], self.pool.pk)
        error = self.post(self.list_url, {"cluster_name": "prod-01", "site": "x", "vrf": "y"}, status=404)
        self.assertEqual(error["code"], "pool_not_found")
        self.assertEqual(error["combinations"], [{"site": "Site1", "vrf": "Network1"}])
        self.assertEqual(list(self.create(site="site1", status=400)["errors"]), ["pool"])
        error = self.post(self.list_url, {"cluster_name": "prod-01"}, status=400)
        self.assertEqual(set(error["errors"]), {"site", "vrf"})

    def test_what_people_write_about_an_allocation(self):
        owner = Owner.objects.create(name="Team")
        Tag.objects.create(name="Blue", slug="blue")
        for model in (Tag, Owner):
            self.grant("view", model=model)
        field = CustomField.objects.create(name="ticket", type="text", required=True)
        field.object_types.add(ObjectType.objects.get_for_model(Allocation))

        errors = self.create(status=400)["errors"]
        self.assertEqual(list(errors), ["custom_fields"])
        self.assertIn("Custom field ticket of allocations is required", errors["custom_fields"][0])
        allocation = self.create(
            comments="At length",
            owner=owner.pk,
            tags=[{"name": "Blue"}],
            custom_fields={"ticket": "T1"},
            changelog_message="Because",
        )
        self.assertEqual(allocation["comments"], "At length")
        self.assertEqual(allocation["owner"]["name"], "Team")
        self.assertEqual([tag["name"] for tag in allocation["tags"]], ["Blue"])
        self.assertEqual(allocation["custom_fields"], {"ticket": "T1"})
        change = ObjectChange.objects.get(changed_object_type=ObjectType.objects.get_for_model(Allocation))
        self.assertEqual(
            (change.message, change.user, change.postchange_data["tags"]), ("Because", self.user, ["Blue"])
        )

    def test_a_tag_that_is_refused_leaves_no_allocation(self):
        tag = Tag.objects.create(name="Blue", slug="blue")
        tag.object_types.add(ObjectType.objects.get_for_model(Segment))
        self.grant("view", model=Tag)
        error = self.create(tags=[{"name": "Blue"}], status=400)
        self.assertEqual(error["code"], "invalid")
        self.assertFalse(Allocation.objects.exists())

    def test_values_that_are_not_valid(self):
        for field, values in {
            "cluster_name": ("", None, 5, "a,b", "x" * 101, [], "\0"),
            "purpose": ("no spaces", "x" * 51, 5, [], None),
            "pool": ("x", 10**30, [], {}, {"name": "\0"}, 999999, self.other_pool.pk),
            "description": ("x" * 201, [], "\0"),
            "tags": ([{"name": "Nothing"}], "x"),
            "custom_fields": ({"nothing": 1}, []),
            "owner": (999999, "x"),
        }.items():
            for value in values:
                self.assertEqual(list(self.create(status=400, **{field: value})["errors"]), [field], value)
        self.assertFalse(Allocation.objects.exists())

    def test_a_pool_that_is_not_the_users(self):
        # A pool that the user may not view answers like one that does not exist; one that they may view is forbidden.
        error = self.create(pool=self.other_pool.pk, status=400)
        self.assertNotIn(self.other_pool.name, str(error))
        self.grant("view", model=SegmentPool)
        error = self.create(pool=self.other_pool.pk, status=403)
        self.assertEqual(error["code"], "permission_denied")

    def test_exhausted_paused_and_busy(self):
        self.hold("a", "b", "c", "d")
        self.assertEqual(self.create(status=409)["code"], "pool_exhausted")
        SegmentPool.objects.filter(pk=self.pool.pk).update(status="paused")
        self.assertEqual(self.create(status=409)["code"], "pool_paused")
        for name, data in (
            ("serializers.allocations.allocate", self.new()),
            ("views.allocations.allocate_many", [self.new()]),
        ):
            with patch(f"netbox_vlan_manager.api.{name}", side_effect=Busy):
                response = self.client.post(self.list_url, data, format="json")
                self.assertEqual((response.status_code, response.headers["Retry-After"]), (503, "1"))
                self.assertEqual(response.json()["code"], "busy")

    def test_fields_that_a_client_may_not_set(self):
        data = {
            "id": 9999,
            "status": "released",
            "allocated_at": "2000-01-01T00:00Z",
            "released_at": "2000-01-01T00:00Z",
            "allocated_by": make_user("bob").pk,
            "pool_name": "x",
            "epg_name": "x",
            "prefix": "10.0.3.0/24",
            "shared": True,
            "release_reason": "expired",
        }
        error = self.post(self.list_url, self.new(**data), status=400)
        self.assertEqual(error["errors"].keys(), data.keys())
        self.assertFalse(Allocation.objects.exists())

    def test_without_permission(self):
        client = client_of(make_user("bob"))
        for method, url, data in (
            ("post", self.list_url, self.new()),
            ("delete", self.list_url, [{"id": 1}]),
            ("delete", url_of("allocation-detail", pk=self.hold("a")[0].pk), None),
            ("get", self.list_url, None),
        ):
            self.assertEqual(self.call(method, url, data, status=403, client=client)["code"], "permission_denied")
        # The permissions that NetBox itself checks are not enough.
        self.grant("add", "delete", "view", model=Allocation)
        self.create(pool=self.other_pool.pk, status=400)

    def test_a_token_that_only_reads(self):
        client = client_of(self.user, write_enabled=False)
        self.call("post", self.list_url, self.new(), status=403, client=client)
        self.assertFalse(Allocation.objects.exists())

    # Several at once

    def test_a_list(self):
        data = [self.new(cluster_name=name) for name in ("b", "a", "B", "c")]
        allocations = self.post(self.list_url, data, status=201)
        self.assertEqual(
            [(item["cluster_name"], item["vid"]) for item in allocations],
            [
                ("b", 100),
                ("a", 101),
                ("b", 100),
                ("c", 102),
            ],
        )
        self.assertEqual([item.pop("outcome") for item in allocations], ["allocated", "allocated", "held", "allocated"])
        again = self.post(self.list_url, data, status=200)
        self.assertEqual({item.pop("outcome") for item in again}, {"held"})
        self.assertEqual(again, allocations)
        more = self.post(self.list_url, [*data, self.new(cluster_name="d")], status=201)
        self.assertEqual([item["outcome"] for item in more], [*["held"] * 4, "allocated"])

    def test_only_who_allocates_is_told_the_outcome(self):
        self.grant("view", "change", model=Allocation)
        url = self.create()["url"]
        self.assertNotIn("outcome", self.get(url))
        self.assertNotIn("outcome", self.get(self.list_url)["results"][0])
        self.assertNotIn("outcome", self.call("patch", url, {"description": "x"}))
        # The outcome is read-only.
        self.assertEqual(list(self.create(outcome="allocated", status=400)["errors"]), ["outcome"])
        fields = "pool,cluster_name,vid,outcome"
        again = self.post(f"{self.list_url}?fields={fields}", self.new())
        self.assertEqual((list(again), again["outcome"]), (["pool", "cluster_name", "vid", "outcome"], "held"))

    def test_tags_and_texts_of_a_list(self):
        self.grant("view", model=Tag)
        Tag.objects.create(name="Blue", slug="blue")
        held = self.create(cluster_name="held")
        data = [
            self.new(cluster_name="a", tags=[{"name": "Blue"}], description="First", changelog_message="Because"),
            self.new(cluster_name="held", tags=[{"name": "Blue"}]),
            self.new(cluster_name="b", comments="Second"),
        ]
        first, second, third = self.post(self.list_url, data, status=201)
        self.assertEqual([tag["name"] for tag in first["tags"]], ["Blue"])
        self.assertEqual(([tag["name"] for tag in second["tags"]], second["id"]), ([], held["id"]))
        self.assertEqual((first["description"], third["comments"]), ("First", "Second"))
        self.assertEqual(ObjectChange.objects.get(message="Because").changed_object_id, first["id"])

    def test_a_tag_that_is_refused_names_its_item_of_a_list(self):
        tag = Tag.objects.create(name="Blue", slug="blue")
        tag.object_types.add(ObjectType.objects.get_for_model(Segment))
        self.grant("view", model=Tag)
        data = [self.new(cluster_name="a"), self.new(cluster_name="b", tags=[{"name": "Blue"}])]
        error = self.post(self.list_url, data, status=400)
        self.assertEqual((error["code"], [entry["index"] for entry in error["errors"]]), ("invalid", [1]))
        self.assertFalse(Allocation.objects.exists())

    def test_what_is_refused_of_a_list_is_named_by_its_index(self):
        self.create(cluster_name="a", vid=100)
        wanted = [
            self.new(cluster_name="a"),
            self.new(cluster_name="b", vid=101),
            self.new(cluster_name="c", vid=101),
        ]
        for data in (wanted, [{**item, "dry_run": True} for item in wanted]):
            error = self.post(self.list_url, data, status=409)
            self.assertEqual(list(error), ["detail", "code", "errors"])
            self.assertEqual(
                (error["detail"], error["code"]), ("1 of 3 objects could not be created.", "vid_unavailable")
            )
            (entry,) = error["errors"]
            self.assertEqual((entry["index"], entry["code"]), (2, "vid_unavailable"))
            self.assertIn("101", entry["errors"]["__all__"][0])
        # Two items contradict what their clusters hold; the values of a third contradict each other.
        data = [
            self.new(cluster_name="a", vid=102),
            self.new(cluster_name="b", vid=101, vid_min=100),
            self.new(cluster_name="A", prefix_length=25),
        ]
        error = self.post(self.list_url, data, status=409)
        self.assertEqual(error["code"], "invalid")
        self.assertEqual(
            [(entry["index"], entry.get("code"), list(entry["errors"])) for entry in error["errors"]],
            [(0, "vid_unavailable", ["__all__"]), (1, None, ["vid"]), (2, "vid_unavailable", ["__all__"])],
        )
        self.assertEqual(Allocation.objects.count(), 1)

    def test_dry_run_of_a_list_whose_first_is_held(self):
        self.create(cluster_name="a")
        data = [self.new(cluster_name=name, dry_run=True) for name in ("a", "b", "B")]
        answers = self.post(self.list_url, data, status=200)
        self.assertEqual(
            [(item["vid"], item["id"] is None, item["outcome"]) for item in answers],
            [(100, False, "held"), (101, True, "allocated"), (101, True, "held")],
        )
        self.assertEqual(self.post(self.list_url, self.new(dry_run="false"), status=201)["outcome"], "allocated")

    def test_a_list_lands_as_a_whole_or_not_at_all(self):
        self.grant("view", model=SegmentPool)
        data = [
            self.new(),
            self.new(cluster_name="a,b"),
            self.new(cluster_name="c", pool=self.other_pool.pk),
            {"cluster_name": "d", "site": "Nowhere", "vrf": "Network1"},
            "e",
        ]
        error = self.post(self.list_url, data, status=403)
        self.assertEqual(error["detail"], "4 of 5 objects could not be created.")
        self.assertEqual(error["code"], "invalid")
        self.assertEqual(
            [(entry["index"], entry.get("code"), list(entry["errors"])) for entry in error["errors"]],
            [
                (1, None, ["cluster_name"]),
                (2, "permission_denied", ["__all__"]),
                (3, "pool_not_found", ["__all__"]),
                (4, None, ["__all__"]),
            ],
        )
        error = self.post(self.list_url, [self.new(cluster_name=str(number)) for number in range(5)], status=409)
        self.assertEqual([(entry["index"], entry["code"]) for entry in error["errors"]], [(4, "pool_exhausted")])
        self.assertFalse(Allocation.objects.exists())
        self.assertEqual(Segment.objects.filter(status="available").count(), 5)
        self.assertFalse(ObjectChange.objects.filter(user=self.user).exists())

    # Releasing

    def test_delete_releases_and_can_be_repeated(self):
        allocation = self.create()
        self.delete(allocation, data={"changelog_message": "Torn down"})
        row = Allocation.objects.get(pk=allocation["id"])
        self.assertEqual((row.status, row.released_by), (AllocationStatusChoices.RELEASED, self.user))
        self.assertEqual(row.segment.status, "available")
        self.assertEqual(ObjectChange.objects.get(message="Torn down").changed_object, row)
        self.delete(allocation)
        self.delete(999999, status=404)

    def test_delete_of_what_is_not_the_users(self):
        (held,) = self.hold("a", pool=self.other_pool)
        self.delete(held.pk, status=404)
        self.grant("view", model=Allocation)
        self.assertEqual(self.delete(held.pk, status=403)["code"], "permission_denied")
        self.assertEqual(Allocation.objects.get().status, "active")

    def test_delete_of_what_has_no_pool_any_more(self):
        (held,) = self.hold("a", pool=self.other_pool)
        release("a", pool=self.other_pool, user=self.user)
        for segment in self.other_pool.segments.all():
            delete_segment(segment, user=self.user)
        self.other_pool.delete()
        self.delete(held.pk, status=404)
        self.grant("view", model=Allocation)
        self.delete(held.pk)
        self.assertEqual(self.get(url_of("allocation-detail", pk=held.pk))["pool_name"], "Network2 Site2")

    def test_bulk_delete_releases_each(self):
        held = self.hold("a", "b", "c")
        release("b", pool=self.pool, user=self.user)
        self.call("delete", self.list_url, [{"id": row.pk} for row in held], status=204)
        self.assertFalse(Allocation.objects.active().exists())
        self.assertEqual(Allocation.objects.count(), 3)

    def test_bulk_delete_is_all_or_nothing(self):
        held = [*self.hold("a", "b"), *self.hold("c", pool=self.other_pool)]
        self.grant("view", model=Allocation)
        error = self.call("delete", self.list_url, [{"id": row.pk} for row in held], status=403)
        self.assertEqual(
            [(entry["id"], entry["code"]) for entry in error["errors"]], [(held[2].pk, "permission_denied")]
        )
        self.assertEqual(Allocation.objects.active().count(), 3)
        error = self.call("delete", self.list_url, [{"id": held[0].pk}, {"id": 999999}], status=400)
        self.assertEqual(error["errors"][0]["id"], 999999)

    def test_if_match_holds_for_a_release(self):
        (held,) = self.hold("a")
        url = url_of("allocation-detail", pk=held.pk)
        self.call("delete", url, status=412, **{"If-Match": 'W/"stale"'})
        self.grant("view", model=Allocation)
        etag = self.client.get(url).headers["ETag"]
        self.call("delete", url, status=204, **{"If-Match": etag})

    # Editing and reading

    def test_update_changes_only_what_people_wrote(self):
        self.grant("view", "change", model=Allocation)
        (held,) = self.hold("prod-01")
        url = url_of("allocation-detail", pk=held.pk)
        later = (timezone.now() + timedelta(days=1)).isoformat()
        for change in (
            {"cluster_name": "prod-02"},
            {"pool": self.other_pool.pk},
            {"purpose": "x"},
            {"site": "Site2"},
            {"vrf": "Network2"},
            {"vid": 7},
            {"vid_min": 101},
            {"vid_max": 99},
            {"prefix_length": 25},
            {"segment": self.pool.segments.get(vid=101).pk},
            {"expires_at": later},
            {"dry_run": True},
        ):
            self.assertEqual(list(self.call("patch", url, change, status=400)), list(change))
        changed = self.call(
            "patch",
            url,
            {"status": "released", "released_at": "2000-01-01", "release_reason": "x", "description": "x"},
        )
        self.assertEqual((changed["status"]["value"], changed["vid"], changed["description"]), ("active", 100, "x"))
        self.assertEqual(changed["segment"]["vid"], 100)
        self.call("put", url, {"comments": "y"})
        self.call("put", url, {"cluster_name": "prod-01", "pool": self.pool.pk, "purpose": "", "comments": "z"})
        self.assertEqual(Allocation.objects.get().comments, "z")
        # A client may send back the value that it read, with or without an expiry.
        for expires_at in (None, later):
            Allocation.objects.update(expires_at=expires_at)
            read = self.get(url)
            again = {name: read[name] for name in ("cluster_name", "purpose", "vid", "expires_at")}
            again |= {"pool": read["pool"]["id"], "segment": read["segment"]["id"], "comments": "w"}
            self.assertEqual(self.call("put", url, again)["comments"], "w")
        self.assertEqual(list(self.call("patch", url, {"expires_at": None}, status=400)), ["expires_at"])

    def test_the_body_that_made_it_may_be_put(self):
        """Clients such as Terraform send the body of the creation again, with their changes."""
        self.grant("view", "change", model=Allocation)
        later = (timezone.now() + timedelta(days=1)).isoformat()
        wishes = {"vid_min": 101, "vid_max": 103, "prefix_length": 24, "purpose": "P", "expires_at": later}
        body = {"cluster_name": "Prod", "site": "Site1", "vrf": "Network1", **wishes, "dry_run": False}
        url = self.post(self.list_url, body, status=201)["url"]
        for again in (
            {"description": "new"},
            {"cluster_name": " prod ", "description": "case"},
            {"site": "SITE1", "vrf": self.pool.vrf_id, "description": "other names"},
            {"site": str(self.pool.scope_id), "vid_min": None, "segment": None, "description": "no wish"},
        ):
            answer = self.call("put", url, {**body, **again})
            self.assertEqual((answer["description"], answer["vid"]), (again["description"], 101))
            self.assertEqual(answer["cluster_name"], "Prod")
        for name, other in (("cluster_name", "prod2"), ("site", "Site2"), ("vrf", "Network2"), ("vid_min", 102)):
            answer = self.call("put", url, {**body, name: other, "description": "refused"}, status=400)
            self.assertIn(name, answer)
            self.assertIn("release it and allocate again", answer[name][0])
        self.assertEqual(Allocation.objects.get().description, "no wish")

    def test_an_edit_does_not_undo_a_release(self):
        self.grant("view", "change", model=Allocation)
        (held,) = self.hold("prod-01")
        url = url_of("allocation-detail", pk=held.pk)

        def release_meanwhile(allocation, **kwargs):
            release("prod-01", pool=self.pool, user=self.user)

        with patch.object(Allocation, "full_clean", autospec=True, side_effect=release_meanwhile):
            changed = self.call("patch", url, {"description": "x"})
        self.assertEqual((changed["status"]["value"], changed["description"]), ("released", "x"))

    def test_status_and_ordering(self):
        self.hold("a", "b", "c")
        release("b", pool=self.pool, user=self.user)
        self.grant("view", model=Allocation)
        clusters = lambda **params: [row["cluster_name"] for row in self.get(self.list_url, params)["results"]]  # noqa: E731
        self.assertEqual(clusters(), ["c", "b", "a"])
        self.assertEqual(clusters(status="released"), ["b"])
        self.assertEqual(clusters(ordering="vid"), ["a", "b", "c"])
        self.assertEqual(clusters(ordering="-released_at", status="active", cluster_name="A"), ["a"])
        for name in ("status", "segment", "pool", "prefix", "tags", "site", "display", "cluster", "allocated_by"):
            clusters(ordering=name)
        self.assertEqual(list(self.get(self.list_url, {"status": "nonsense"}, status=400)), ["status"])

    def test_number_of_queries_of_a_call(self):
        self.delete(self.create(cluster_name="warm-up"))
        with self.assertNumQueries(27):
            allocation = self.create()
        with self.assertNumQueries(15):
            self.create(status=200)
        with self.assertNumQueries(25):
            self.delete(allocation)

    def test_number_of_queries_does_not_grow(self):
        self.grant("view", model=Allocation)
        self.hold("a", "b", "c")
        self.get(self.list_url)
        for params, queries in (({}, 13), ({"brief": True}, 10)):
            with self.subTest(params):
                with self.assertNumQueries(queries):
                    self.get(self.list_url, {"limit": 1, **params})
                with self.assertNumQueries(queries):
                    self.get(self.list_url, params)
