from django.test import TestCase, override_settings

from netbox_vlan_manager.models import SegmentPool
from netbox_vlan_manager.services import allocate
from tests.api.base import client_of, grant, url_of
from tests.factories import make_pool, make_user

events = []


def record_events(flushed):
    """A stage of NetBox's EVENTS_PIPELINE that records the events it gets."""
    events.extend(event["event_type"] for event in flushed)


@override_settings(EVENTS_PIPELINE=[f"{__name__}.record_events"])
class RefusedTestCase(TestCase):
    def setUp(self):
        events.clear()
        self.pool = make_pool(segments=1)
        user = make_user("alice")
        grant(user, "allocate", model=SegmentPool)
        self.client = client_of(user)
        allocate("a", pool=self.pool, user=user)

    def refuse(self, **headers):
        events.clear()
        body = {"cluster_name": "b", "pool": self.pool.pk}
        response = self.client.post(url_of("allocation-list"), body, format="json", headers=headers)
        self.assertEqual(response.status_code, 409, response.data)
        return SegmentPool.objects.get().level

    def test_a_refused_call_with_a_key_names_nothing_rolled_back(self):
        self.assertEqual((self.refuse(**{"Idempotency-Key": "k"}), events), ("normal", []))
        # The next call that finds the pool exhausted sends the event.
        self.assertEqual((self.refuse(), events), ("exhausted", ["vlan_manager_exhausted"]))
