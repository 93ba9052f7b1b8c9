import json
from unittest.mock import patch

from django.db import OperationalError

from core.models import ObjectChange
from dcim.models import Region, Site
from extras.models import Tag
from ipam.models import VRF
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.api.base import PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_user, make_vrf

ASKED = {"cluster_name": "prod-01", "site": "Site1", "vrf": "Network1"}


class ContractTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=3)
        cls.other_pool = make_pool("Network2", "Site2", container="10.2.0.0/16", segments=1)

    def setUp(self):
        super().setUp()
        self.grant("allocate", "release", model=SegmentPool, vrf__name="Network1")

    def allocate(self, status=200, **changes):
        return self.post(url_of("allocate-vlan"), {**ASKED, **changes}, status=status)

    def release(self, status=200, **changes):
        return self.post(url_of("release-vlan"), {**ASKED, **changes}, status=status)

    def test_no_background_jobs(self):
        for name in ("allocate-vlan", "release-vlan"):
            answer = self.post(f"{url_of(name)}?background=true", ASKED, status=400)
            self.assertEqual((answer["code"], set(answer["errors"])), ("invalid", {"background"}))
        self.assertFalse(Allocation.objects.exists())

    def test_allocate(self):
        answer = self.allocate()

        allocation = Allocation.objects.get()
        self.assertEqual(
            answer,
            {
                "vlan_id": 100,
                "cluster_name": "prod-01",
                "site": "site1",
                "segment": "10.0.0.0/24",
                "epg_name": "EPG_100",
                "vrf": "Network1",
                "allocated_at": answer["allocated_at"],
                "created": True,
                "vid": 100,
                "prefix": "10.0.0.0/24",
                "outcome": "allocated",
                "allocation": allocation.pk,
                "pool": self.pool.pk,
            },
        )
        self.assertEqual(answer["allocated_at"], allocation.allocated_at.isoformat().replace("+00:00", "Z"))
        self.assertEqual(allocation.allocated_by, self.user)

    def test_a_replay_answers_the_same(self):
        first = self.allocate()
        again = self.allocate(cluster_name=" PROD-01 ")
        self.assertEqual(again, {**first, "created": False, "outcome": "held"})

    def test_a_purpose_gets_a_segment_of_its_own(self):
        self.assertEqual(self.allocate()["vlan_id"], 100)
        self.assertEqual(self.allocate(purpose="Storage")["vlan_id"], 101)
        self.release(purpose="storage")
        self.release()

    def test_release(self):
        self.allocate()
        answer = self.release()
        self.assertEqual(list(answer), ["message", "warnings"])
        self.assertEqual(answer["warnings"], [])
        self.assertIn("EPG_100", answer["message"])
        self.assertEqual(Segment.objects.get(pool=self.pool, vid=100).status, "available")
        self.assertEqual(Allocation.objects.get().released_by, self.user)

        error = self.release(status=404)
        self.assertEqual(error["code"], "allocation_not_found")
        self.assertIn("prod-01", error["detail"])

    def test_without_a_trailing_slash(self):
        self.post(url_of("allocate-vlan").rstrip("/"), ASKED)
        self.post(url_of("release-vlan").rstrip("/"), ASKED)

    def test_the_place_asked_for_is_named_if_the_pool_is_further_out(self):
        region = Region.objects.create(name="Region1", slug="region1")
        Site.objects.create(name="Site3", slug="site3", region=region)
        make_pool("Network1", region, container="10.3.0.0/16", segments=1)

        self.assertEqual(self.allocate(site="Site3")["site"], "site3")

    def test_ids_slugs_names_and_rds(self):
        VRF.objects.filter(name="Network1").update(rd="65000:1")
        site, vrf = Site.objects.get(name="Site1"), VRF.objects.get(name="Network1")
        for names in (
            {"site": site.pk, "vrf": vrf.pk},
            {"site": str(site.pk), "vrf": str(vrf.pk)},
            {"site": "SITE1", "vrf": "65000:1"},
            {"site": " site1 ", "vrf": "network1"},
        ):
            self.assertEqual(self.allocate(**names)["vlan_id"], 100, names)

    def test_changes_are_logged_under_the_user_and_request(self):
        response = self.client.post(url_of("allocate-vlan"), ASKED, format="json")
        changes = ObjectChange.objects.filter(request_id=response.headers["X-Request-ID"])
        self.assertCountEqual(
            changes.values_list("changed_object_type__model", flat=True), ["allocation", "prefix", "segment"]
        )
        self.assertEqual({change.user for change in changes}, {self.user})

    def test_unknown_pool(self):
        for call in (self.allocate, self.release):
            error = call(site="Nowhere", status=404)
            self.assertEqual(error["code"], "pool_not_found")
            # Only the combination that the user may use.
            self.assertEqual(error["combinations"], [{"site": "Site1", "vrf": "Network1"}])

    def test_a_pool_that_the_user_may_not_know_of_is_unknown(self):
        error = self.allocate(site="Site2", vrf="Network2", status=404)
        self.assertEqual(error["code"], "pool_not_found")
        self.assertNotIn(self.other_pool.name, json.dumps(error))

    def test_a_pool_that_the_user_may_only_view_is_forbidden(self):
        self.grant("view", model=SegmentPool)
        for call in (self.allocate, self.release):
            error = call(site="Site2", vrf="Network2", status=403)
            self.assertEqual(error["code"], "permission_denied")
        self.assertFalse(Allocation.objects.exists())

    def test_allocating_does_not_permit_releasing(self):
        user = make_user("bob")
        self.user = user
        self.grant("allocate", model=SegmentPool)
        self.client = client_of(user)
        self.allocate()
        self.assertEqual(self.release(status=403)["code"], "permission_denied")

    def test_several_pools(self):
        region = Region.objects.create(name="Site1", slug="region-site1")
        make_pool("Network1", region, container="10.4.0.0/16", name="Regional")
        error = self.allocate(status=400)
        self.assertEqual(error["code"], "invalid")
        self.assertIn("more than one pool", error["detail"])

    def test_exhausted_and_paused_pool(self):
        for number in range(3):
            allocate(f"c{number}", pool=self.pool, user=self.user)
        self.assertEqual(self.allocate(status=409)["code"], "pool_exhausted")
        SegmentPool.objects.filter(pk=self.pool.pk).update(status="paused")
        self.assertEqual(self.allocate(status=409)["code"], "pool_paused")
        # Existing allocations are still answered, and can be released.
        self.assertFalse(self.allocate(cluster_name="c0")["created"])
        self.release(cluster_name="c0")

    def test_busy(self):
        with patch("netbox_vlan_manager.api.views.contract.allocate", side_effect=Busy):
            response = self.client.post(url_of("allocate-vlan"), ASKED, format="json")
        self.assertEqual(response.status_code, 503)
        self.assertEqual(response.json()["code"], "busy")
        self.assertEqual(response.headers["Retry-After"], "1")

    def test_database_down(self):
        with (
            patch("netbox_vlan_manager.api.views.contract.locate", side_effect=OperationalError),
            self.assertLogs("netbox_vlan_manager.api", "ERROR"),
        ):
            response = self.client.post(url_of("allocate-vlan"), ASKED, format="json")
        self.assertEqual((response.status_code, response.json()["code"]), (503, "unavailable"))
        self.assertTrue(response.headers["Retry-After"])

    def test_values_that_are_not_valid(self):
        for field, values in {
            "site": ("", "  ", None, {}, [], ["Site1"], True, 1.5, 10**300, "a\0b", 1e300),
            "vrf": ("", None, {"name": "x"}, [[]], False, "\0"),
            "cluster_name": ("", " ", None, 5, {}, [], "a,b", "a\nb", "x" * 101, "\0"),
            "purpose": ("no spaces", "x" * 51, {}, [], 5, "\0"),
        }.items():
            for value in values:
                for call in (self.allocate, self.release):
                    status = 404 if value in (10**300,) else 400
                    error = call(**{field: value}, status=status)
                    if status == 400:
                        self.assertEqual(error["code"], "invalid", (field, value))
                        self.assertEqual(list(error["errors"]), [field], value)
                        self.assertTrue(error["detail"].startswith(f"{field}: "), error)
        self.assertFalse(Allocation.objects.exists())

    def test_missing_values_are_reported_together(self):
        error = self.post(url_of("allocate-vlan"), {}, status=400)
        self.assertEqual(set(error["errors"]), {"cluster_name", "site", "vrf"})

    def test_bodies_that_are_no_object(self):
        for body in (
            b"",
            b"{",
            b"[]",
            b"null",
            b"5",
            b'"text"',
            b'[{"cluster_name": "a"}]',
            b"\xff\xfe",
            b'{"site": NaN}',
            rb'{"site": "\ud800", "vrf": "a", "cluster_name": "b"}',
            rb'{"site": "a", "vrf": "b", "cluster_name": "a\udc00"}',
            b'{"site": 1e999, "vrf": "a", "cluster_name": "b"}',
            b'{"site": ' + b"9" * 5000 + b"}",
            b"[" * 100_000,
            b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        ):
            response = self.client.post(url_of("allocate-vlan"), body, content_type="application/json")
            self.assertEqual(response.status_code, 400, body[:40])
            self.assertEqual(response.json()["code"], "invalid", body[:40])

    def test_other_methods_and_media_types(self):
        self.assertEqual(self.get(url_of("allocate-vlan"), status=405)["code"], "method_not_allowed")
        response = self.client.post(url_of("allocate-vlan"), "a=b", content_type="application/x-www-form-urlencoded")
        self.assertEqual(response.status_code, 415)
        self.assertEqual(response.json()["code"], "unsupported_media_type")

    def test_a_token_that_only_reads_is_refused(self):
        client = client_of(self.user, write_enabled=False)
        for name in ("allocate-vlan", "release-vlan"):
            error = self.post(url_of(name), ASKED, status=403, client=client)
            self.assertEqual(error["code"], "permission_denied")
            self.assertIn("write enabled", error["detail"])

    def test_without_login(self):
        self.client.credentials()
        error = self.allocate(status=403)
        self.assertEqual(error["code"], "not_authenticated")

    def test_unknown_names(self):
        names = {"vlan_id": 102, "allocated_by": 1, "owns_vlan": True, "dryrun": True}
        errors = self.allocate(400, **names)["errors"]
        self.assertEqual(errors.keys(), names.keys())
        self.assertIn("Did you mean vid?", errors["vlan_id"][0])
        self.assertIn("Did you mean dry_run?", errors["dryrun"][0])
        self.assertIn("It knows: add_tags,", errors["owns_vlan"][0])
        self.assertEqual(list(self.release(400, dry_run=True)["errors"]), ["dry_run"])
        for query in ("dryrun=true", "vid=102"):
            error = self.post(f"{url_of('allocate-vlan')}?{query}", ASKED, status=400)
            self.assertEqual(list(error["errors"]), [query.partition("=")[0]])
        self.assertFalse(Allocation.objects.exists())

    def test_wishes(self):
        """The call takes the same wishes as creating an allocation."""
        self.grant("view", model=Tag)
        Tag.objects.create(name="Blue", slug="blue")
        answer = self.allocate(vid=101, expires_at="2030-01-01T00:00:00Z", description="d", tags=[{"slug": "blue"}])
        self.assertEqual((answer["vlan_id"], answer["created"], answer["site"]), (101, True, "site1"))
        held = Allocation.objects.get()
        self.assertEqual((held.expires_at.year, held.description, held.tags.get().name), (2030, "d", "Blue"))
        self.assertEqual(self.allocate(vid_min=100, vid_max=101, prefix_length=24)["created"], False)
        self.assertEqual(self.allocate(409, vid=102)["code"], "vid_unavailable")
        segment = self.pool.segments.get(vid=102)
        for number, wanted in enumerate(({"id": segment.pk}, {"pool": self.pool.slug, "vid": 102})):
            answer = self.allocate(cluster_name=f"other{number}", segment=wanted, dry_run=True)
            self.assertEqual((answer["vlan_id"], answer["allocation"]), (102, None))
        self.assertEqual(list(self.allocate(400, vid=5000)["errors"]), ["vid"])
        # A wish does not reveal pools that the user may not view.
        self.assertEqual(self.allocate(404, site="Site2", vrf="Network2", vid=100)["code"], "pool_not_found")
        self.assertEqual(Allocation.objects.count(), 1)

    def test_dry_run(self):
        for url, body in (
            (url_of("allocate-vlan"), {**ASKED, "dry_run": True}),
            (f"{url_of('allocate-vlan')}?dry_run=true", {**ASKED, "tags": []}),
            (f"{url_of('allocate-vlan')}?dry_run=true", ASKED),
        ):
            answer = self.post(url, body)
            self.assertEqual((answer["vlan_id"], answer["created"], answer["allocation"]), (100, True, None))
        error = self.post(f"{url_of('allocate-vlan')}?dry_run=true", {**ASKED, "dry_run": False}, status=400)
        self.assertEqual(list(error["errors"]), ["dry_run"])
        self.assertFalse(Allocation.objects.exists())

    def test_by_pool(self):
        for pool in (self.pool.pk, str(self.pool.pk), self.pool.slug, self.pool.name, self.pool.name.upper()):
            body = {"cluster_name": "prod-01", "pool": pool}
            for wish in ({}, {"vid": 100}):
                answer = self.post(url_of("allocate-vlan"), {**body, **wish})
                self.assertEqual((answer["pool"], answer["site"], answer["vlan_id"]), (self.pool.pk, "site1", 100))
            self.post(url_of("release-vlan"), body)
        for name in ("allocate-vlan", "release-vlan"):
            answer = self.post(url_of(name), {**ASKED, "pool": self.pool.pk}, status=400)
            self.assertEqual(list(answer["errors"]), ["pool"])
            answer = self.post(url_of(name), {"cluster_name": "a", "pool": self.other_pool.slug}, status=404)
            self.assertEqual(answer["code"], "pool_not_found")
        self.grant("view", model=SegmentPool)
        for wish in ({}, {"vid": 100}):
            body = {"cluster_name": "a", "pool": self.other_pool.slug, **wish}
            self.assertEqual(self.post(url_of("allocate-vlan"), body, status=403)["code"], "permission_denied")

    def test_number_of_queries(self):
        # Not counted: look-ups that a process makes once, and the token's write once a minute.
        self.allocate(cluster_name="warm-up")
        for name, call, queries in (
            ("allocate", self.allocate, 21),
            ("replay", self.allocate, 9),
            # One query reads the owner of the allocation, five find what still uses the segment.
            ("release", self.release, 25),
        ):
            with self.subTest(name), self.assertNumQueries(queries):
                call()

    def test_number_of_queries_for_an_unknown_pool(self):
        for number in range(8):
            make_pool(make_vrf(f"V{number}"), "Site1", container=f"10.{number}.0.0/16")
        self.grant("view", model=SegmentPool)
        self.allocate()
        with self.assertNumQueries(9):
            self.allocate(vrf="Nowhere", status=404)
