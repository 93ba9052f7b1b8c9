from datetime import timedelta

from django.test import TestCase
from django.utils import timezone

from netbox_vlan_manager.models import Allocation, IdempotencyKey, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.base.idempotency import forget_old_keys
from tests.api.base import client_of, grant, url_of
from tests.factories import make_pool, make_user


class LifeCycleTestCase(TestCase):
    def setUp(self):
        self.pool = make_pool(segments=4)
        self.user = make_user("alice")
        grant(self.user, "view", "allocate", "release", model=SegmentPool)
        self.client = client_of(self.user)

    def post(self, name, body=None, status=200, headers=None, **kwargs):
        response = self.client.post(url_of(name, **kwargs), body or {}, format="json", headers=headers)
        self.assertEqual(response.status_code, status, getattr(response, "data", response.content))
        return response.json() if response.content else None

    def allocate(self, status=201, headers=None, **asked):
        body = {"cluster_name": "prod-01", "pool": self.pool.pk, **asked}
        return self.post("allocation-list", body, status, headers)


class WishTestCase(LifeCycleTestCase):
    def test_a_say_in_which(self):
        self.assertEqual(self.allocate(vid=102)["vid"], 102)
        self.assertEqual(self.allocate(200, vid=102)["vid"], 102)
        self.assertEqual(self.allocate(409, vid=103)["code"], "vid_unavailable")
        self.assertEqual(self.allocate(cluster_name="b", vid_min=101, vid_max=103)["vid"], 101)
        self.assertEqual(self.allocate(cluster_name="c", prefix_length=24)["vid"], 100)
        self.assertEqual(self.allocate(409, cluster_name="d", prefix_length=25)["code"], "pool_exhausted")
        self.assertEqual(self.allocate(409, cluster_name="d", vid=100)["code"], "vid_unavailable")

    def test_a_segment(self):
        segment = Segment.objects.get(vid=103)
        hidden = make_pool("Hidden", "Site9", container="10.9.0.0/16", segments=1)
        SegmentPool.objects.exclude(pk=hidden.pk).update(description="mine")
        self.user = make_user("bob")
        grant(self.user, "allocate", model=SegmentPool, description="mine")
        self.client = client_of(self.user)
        unknown = self.post("allocation-list", {"cluster_name": "a", "segment": hidden.segments.get().pk}, 400)
        self.assertEqual(list(unknown["errors"]), ["segment"])
        self.assertNotIn("Hidden", str(unknown))
        answer = self.post("allocation-list", {"cluster_name": "a", "segment": segment.pk}, 201)
        self.assertEqual((answer["vid"], answer["segment"]["id"]), (103, segment.pk))
        other = make_pool("Network2", container="10.1.0.0/16", description="mine")
        error = self.allocate(400, pool=other.pk, segment=segment.pk)
        self.assertEqual(list(error["errors"]), ["segment"])

    def test_values_that_are_not_valid(self):
        for field, values in {
            "vid": (0, 4095, "x", [], 1.5),
            "vid_min": (0, "x"),
            "prefix_length": (0, 129, "x"),
            "segment": (10**30, "x", []),
            "expires_at": ("x", "2020-01-01T00:00:00Z", 5),
        }.items():
            for value in values:
                with self.subTest(field=field, value=value):
                    self.assertEqual(list(self.allocate(400, **{field: value})["errors"]), [field])
        self.assertFalse(Allocation.objects.exists())

    def test_null_is_nothing(self):
        nothing = dict.fromkeys(("vid", "vid_min", "vid_max", "prefix_length", "segment", "expires_at"))
        self.assertEqual(self.allocate(**nothing)["vid"], 100)

    def test_dry_run(self):
        answer = self.allocate(200, dry_run=True)
        self.assertEqual((answer["id"], answer["vid"], answer["prefix"]), (None, 100, "10.0.0.0/24"))
        self.assertEqual(answer["outcome"], "allocated")
        self.assertFalse(Allocation.objects.exists())
        items = [{"cluster_name": name, "pool": self.pool.pk, "dry_run": True} for name in "abc"]
        answers = self.post("allocation-list", items, 200)
        self.assertEqual([answer["vid"] for answer in answers], [100, 101, 102])
        answers = self.post(
            "allocation-list", [{**item, "cluster_name": f"c{i}"} for i, item in enumerate(items * 2)], 409
        )
        self.assertEqual(answers["code"], "pool_exhausted")
        self.assertEqual([entry["index"] for entry in answers["errors"]], [4])
        self.assertFalse(Allocation.objects.exists())

    def test_a_dry_run_needs_the_permission(self):
        other = make_user("bob")
        grant(other, "view", model=SegmentPool)
        self.client = client_of(other)
        self.allocate(403, dry_run=True)

    def test_limits(self):
        SegmentPool.objects.update(max_per_request=2, max_per_cluster=1)
        items = [{"cluster_name": name, "pool": self.pool.pk} for name in "abc"]
        self.assertEqual(self.post("allocation-list", items, 409)["code"], "limit_reached")
        self.assertFalse(Allocation.objects.exists())
        self.post("allocation-list", items[:2], 201)
        self.assertEqual(self.allocate(409, cluster_name="a", purpose="storage")["code"], "limit_reached")

    def test_the_contract_call_follows_the_order_of_the_pool(self):
        SegmentPool.objects.update(allocation_order="highest")
        answer = self.post("allocate-vlan", {"cluster_name": "a", "site": "Site1", "vrf": "Network1"})
        self.assertEqual(answer["vlan_id"], 103)


class LeaseTestCase(LifeCycleTestCase):
    def test_expiry_and_renewal(self):
        soon = (timezone.now() + timedelta(hours=1)).isoformat()
        later = (timezone.now() + timedelta(hours=2)).isoformat()
        held = self.allocate(expires_at=soon)
        renewed = self.post("allocation-renew", {"expires_at": later}, pk=held["id"])
        self.assertGreater(renewed["expires_at"], held["expires_at"])
        self.assertIsNone(self.post("allocation-renew", {"expires_at": None}, pk=held["id"])["expires_at"])
        for value in ("x", "2020-01-01T00:00:00Z", 5):
            self.assertIn(
                "expires_at", self.post("allocation-renew", {"expires_at": value}, 400, pk=held["id"])["errors"]
            )
        self.assertIn("expires_at", self.post("allocation-renew", {}, 400, pk=held["id"])["errors"])

    def test_renewal_needs_the_permission(self):
        held = self.allocate()
        other = make_user("bob")
        grant(other, "view", model=Allocation)
        grant(other, "allocate", model=SegmentPool, name="another")
        self.client = client_of(other)
        self.post("allocation-renew", {"expires_at": None}, 403, pk=held["id"])
        self.client = client_of(make_user("carol"))
        self.post("allocation-renew", {"expires_at": None}, 403, pk=held["id"])


class StretchedTestCase(LifeCycleTestCase):
    def setUp(self):
        super().setUp()
        self.other = make_pool("Network1", "Site2", container="10.1.0.0/16", segments=4)
        self.asked = {"cluster_name": "a", "vrf": "Network1", "sites": ["Site1", "Site2"]}

    def test_same_vid_everywhere(self):
        allocate("x", pool=self.pool, user=self.user)
        allocate("a", pool=self.other, vid=101, user=self.user)
        answers = self.post("allocation-stretched", self.asked, 201)
        self.assertEqual([answer["vid"] for answer in answers], [101, 101])
        self.assertEqual([answer["outcome"] for answer in answers], ["allocated", "held"])
        self.assertEqual([answer["pool"]["id"] for answer in answers], [self.pool.pk, self.other.pk])
        self.post("allocation-stretched", self.asked, 200)
        answers = self.post("allocation-stretched", {**self.asked, "cluster_name": "b", "dry_run": True}, 200)
        self.assertEqual(
            [(answer["vid"], answer["id"], answer["outcome"]) for answer in answers], [(102, None, "allocated")] * 2
        )
        self.assertEqual(self.post("allocation-stretched", {**self.asked, "vid": 103}, 409)["code"], "vid_unavailable")

    def test_refusals(self):
        self.assertEqual(
            self.post("allocation-stretched", {**self.asked, "sites": ["Site1", "Nowhere"]}, 404)["code"],
            "pool_not_found",
        )
        self.assertIn("sites", self.post("allocation-stretched", {**self.asked, "sites": ["Site1"]}, 400)["errors"])
        self.assertIn(
            "sites", self.post("allocation-stretched", {**self.asked, "sites": ["Site1", "Site1"]}, 400)["errors"]
        )
        user = make_user("bob")
        grant(user, "view", model=SegmentPool)
        grant(user, "allocate", model=SegmentPool, pk=self.pool.pk)
        self.client = client_of(user)
        self.post("allocation-stretched", self.asked, 403)
        self.assertFalse(Allocation.objects.exists())


class IdempotencyTestCase(LifeCycleTestCase):
    def send(self, key="k1", status=201, **asked):
        body = {"cluster_name": "prod-01", "pool": self.pool.pk, **asked}
        response = self.client.post(url_of("allocation-list"), body, format="json", headers={"Idempotency-Key": key})
        self.assertEqual(response.status_code, status, getattr(response, "data", None))
        return response

    def test_the_first_answer_again(self):
        first = self.send()
        Allocation.objects.update(released_at=timezone.now(), release_reason="released")
        Segment.objects.update(status="available")
        again = self.send()
        self.assertEqual(again.json(), first.json())
        self.assertEqual(again.headers["Idempotency-Replayed"], "true")
        self.assertNotIn("Idempotency-Replayed", first.headers)
        self.assertEqual(Allocation.objects.count(), 1)

    def test_another_body(self):
        self.send()
        self.assertEqual(self.send(status=422, cluster_name="b").json()["code"], "idempotency_conflict")
        self.assertEqual(self.send("k2", cluster_name="b").json()["vid"], 101)

    def test_keys_are_the_user_s_own(self):
        self.send()
        other = make_user("bob")
        grant(other, "allocate", model=SegmentPool)
        self.client = client_of(other)
        self.assertEqual(self.send(cluster_name="b").json()["vid"], 101)

    def test_a_refusal_is_not_kept(self):
        SegmentPool.objects.update(status="paused")
        self.send(status=409)
        self.assertFalse(IdempotencyKey.objects.exists())
        SegmentPool.objects.update(status="active")
        self.send()

    def test_a_delete(self):
        held = self.send().json()
        url = url_of("allocation-detail", pk=held["id"])
        for _time in range(2):
            response = self.client.delete(url, headers={"Idempotency-Key": "k2"})
            self.assertEqual(response.status_code, 204)
        self.assertEqual(response.headers["Idempotency-Replayed"], "true")

    def test_the_contract_call(self):
        body = {"cluster_name": "a", "site": "Site1", "vrf": "Network1"}
        first = self.post("allocate-vlan", body, headers={"Idempotency-Key": "k"})
        self.assertTrue(first["created"])
        self.assertEqual(self.post("allocate-vlan", body, headers={"Idempotency-Key": "k"}), first)
        error = self.post("allocate-vlan", {**body, "site": "x"}, 422, headers={"Idempotency-Key": "k"})
        self.assertEqual(error["code"], "idempotency_conflict")

    def test_keys_that_are_not_valid(self):
        for key in ("", "x" * 256, "ä"):
            self.assertEqual(self.send(key, status=400).json()["code"], "invalid")
        self.assertFalse(Allocation.objects.exists())

    def test_kept_for_a_day(self):
        self.send()
        IdempotencyKey.objects.update(created=timezone.now() - timedelta(hours=23))
        self.assertEqual(forget_old_keys(), 0)
        IdempotencyKey.objects.update(created=timezone.now() - timedelta(hours=25))
        self.send(status=200)
        IdempotencyKey.objects.update(created=timezone.now() - timedelta(hours=25))
        self.assertEqual(forget_old_keys(), 1)

    def test_reading_takes_no_key(self):
        self.client.get(url_of("allocation-list"), headers={"Idempotency-Key": "k"})
        self.assertFalse(IdempotencyKey.objects.exists())


class ForecastTestCase(LifeCycleTestCase):
    def test_forecast(self):
        answer = self.client.get(url_of("segmentpool-forecast", pk=self.pool.pk))
        self.assertEqual(answer.json(), {"days_until_exhausted": None, "confidence": 0.0, "samples": 1})

    def test_a_pool_that_the_user_may_not_view(self):
        user = make_user("bob")
        grant(user, "view", model=SegmentPool, name="another")
        response = client_of(user).get(url_of("segmentpool-forecast", pk=self.pool.pk))
        self.assertEqual(response.status_code, 404)


class HandOverTestCase(LifeCycleTestCase):
    def test_hand_over_and_undo(self):
        held = self.allocate()
        there = {"pk": held["id"]}
        plan = self.post("allocation-hand-over", {"cluster_name": "prod-02", "dry_run": True}, **there)
        self.assertEqual((plan["id"], plan["outcome"], plan["vid"]), (None, "allocated", 100))
        new = self.post("allocation-hand-over", {"cluster_name": "prod-02"}, 201, **there)
        again = self.post("allocation-hand-over", {"cluster_name": "prod-02"}, **there)
        self.assertEqual((new["outcome"], again["outcome"], again["id"]), ("allocated", "held", new["id"]))
        self.assertEqual((new["vid"], new["cluster_name"]), (100, "prod-02"))
        old = Allocation.objects.get(pk=held["id"])
        self.assertEqual((old.status, old.release_reason), ("released", "handed-over"))

        self.post("allocation-release", pk=new["id"])
        back = self.post("allocation-undo-release", status=201, pk=new["id"])
        self.assertEqual((back["vid"], back["cluster_name"], back["status"]["value"]), (100, "prod-02", "active"))
        self.assertEqual(self.post("allocation-undo-release", pk=new["id"])["outcome"], "held")

    def test_what_cannot_be(self):
        held = self.allocate()
        self.allocate(cluster_name="prod-02")
        there = {"pk": held["id"]}
        error = self.post("allocation-hand-over", {"cluster_name": "prod-02"}, 409, **there)
        self.assertEqual(error["code"], "vid_unavailable")
        self.assertEqual(list(self.post("allocation-hand-over", {}, 400, **there)["errors"]), ["cluster_name"])
        self.assertEqual(self.post("allocation-undo-release", status=400, **there)["code"], "invalid")
        self.post("allocation-hand-over", {"cluster_name": "prod-03"}, 404, pk=0)

    def test_it_takes_both_permissions(self):
        held = self.allocate()
        for actions in (("allocate",), ("release",)):
            self.user = make_user(f"with-{actions[0]}")
            grant(self.user, "view", *actions, model=SegmentPool)
            grant(self.user, "view", model=Allocation)
            self.client = client_of(self.user)
            self.post("allocation-hand-over", {"cluster_name": "prod-02"}, 403, pk=held["id"])
        self.assertEqual(Allocation.objects.get().cluster_name, "prod-01")
