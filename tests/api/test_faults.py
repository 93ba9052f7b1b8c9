"""The answers to a client when PostgreSQL or Redis fails during a call, simulated; tests/chaos has real failures."""

import json
from unittest.mock import patch

from django.db import connection, transaction
from django.db.models.signals import post_save
from django.test import TransactionTestCase
from redis.exceptions import ConnectionError as RedisConnectionError

from netbox_vlan_manager.models import Allocation
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_user

FAILING = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'No space left on device: secret-path' USING ERRCODE = '{}'; END $$;
CREATE {} TRIGGER fail {} INSERT ON netbox_vlan_manager_allocation {} FOR EACH ROW EXECUTE FUNCTION fail();
"""
WRITE = ("", "BEFORE", "")
COMMIT = ("CONSTRAINT", "AFTER", "DEFERRABLE INITIALLY DEFERRED")
DISK_FULL, TOO_MANY_CONNECTIONS, ADMIN_SHUTDOWN, READ_ONLY = "53100", "53300", "57P01", "25006"


class FailingDatabaseTestCase(TransactionTestCase):
    def setUp(self):
        self.pool = make_pool(segments=2)
        self.client = client_of(make_user("root", is_superuser=True))
        self.asked = {"cluster_name": "a", "site": "Site1", "vrf": "Network1"}

    def assert_unavailable(self, state, moment, **headers):
        calls = (("allocate-vlan", self.asked), ("allocation-list", self.asked), ("allocation-list", [self.asked]))
        with connection.cursor() as cursor:
            cursor.execute(FAILING.format(state, *moment))
        for name, body in calls:
            with self.subTest(name, state=state, body=body), self.assertLogs("netbox_vlan_manager.api", "ERROR"):
                response = self.client.post(url_of(name), body, format="json", headers=headers)
                self.assertEqual(response.status_code, 503, response.content)
                self.assertEqual(json.loads(response.content)["code"], "unavailable")
                self.assertEqual(response.headers["Retry-After"], "5")
                self.assertNotIn("secret-path", response.content.decode())
        self.assertFalse(Allocation.objects.exists())
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION fail CASCADE")

    def test_at_a_write(self):
        for state in (DISK_FULL, TOO_MANY_CONNECTIONS, ADMIN_SHUTDOWN, READ_ONLY):
            self.assert_unavailable(state, WRITE)

    def test_at_commit(self):
        for state in (DISK_FULL, ADMIN_SHUTDOWN, READ_ONLY):
            self.assert_unavailable(state, COMMIT)

    def assert_redis_is_named(self, response):
        self.assertEqual((response.status_code, response.headers["Retry-After"]), (503, "5"))
        self.assertEqual(json.loads(response.content)["code"], "unavailable")
        self.assertNotIn("secret-address", response.content.decode())

    def test_redis_is_gone(self):
        # NetBox reads its configuration from the database at each login with a token.
        with (
            patch("netbox.api.authentication.get_config", side_effect=RedisConnectionError("secret-address")),
            self.assertLogs("netbox_vlan_manager.api", "ERROR"),
        ):
            self.assert_redis_is_named(self.client.post(url_of("allocate-vlan"), self.asked, format="json"))
        self.assertFalse(Allocation.objects.exists())

    def test_redis_goes_after_commit(self):
        def fail():
            raise RedisConnectionError("secret-address")

        def enqueue(**kwargs):
            transaction.on_commit(fail)

        post_save.connect(enqueue, sender=Allocation)
        self.addCleanup(post_save.disconnect, enqueue, sender=Allocation)
        for headers in ({}, {"Idempotency-Key": "k"}):
            cluster = {**self.asked, "cluster_name": f"a{len(headers)}"}
            with self.assertLogs("netbox_vlan_manager.api", "ERROR"):
                response = self.client.post(url_of("allocation-list"), cluster, format="json", headers=headers)
            self.assert_redis_is_named(response)
            # The next call reports the allocation that the first one made.
            self.assertEqual(self.client.post(url_of("allocation-list"), cluster, format="json").status_code, 200)
        self.assertEqual(Allocation.objects.count(), 2)

    def test_at_the_commit_of_an_idempotency_key(self):
        self.assert_unavailable(DISK_FULL, COMMIT, **{"Idempotency-Key": "k"})

        # The key has no stored answer.
        response = self.client.post(
            url_of("allocation-list"), self.asked, format="json", headers={"Idempotency-Key": "k"}
        )
        self.assertEqual(response.status_code, 201)
        self.assertNotIn("Idempotency-Replayed", response.headers)
