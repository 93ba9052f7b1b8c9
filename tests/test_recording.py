"""The short cuts of the tests themselves: replayed pools, and the search for drift."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from core.models import ObjectChange
from ipam.models import VLAN
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.drift import findings
from tests import recording
from tests.drift import find_drift
from tests.factories import make_pool, make_site, make_user

pytestmark = pytest.mark.django_db


def rows():
    """Return {table: its rows as text, without times and request ids}."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            if table.startswith(("core_objectchange", "dcim_", "extras_", "ipam_", "netbox_vlan_manager_")):
                cursor.execute(f"SELECT (to_jsonb(t) - 'request_id')::text FROM {table} AS t")
                found[table] = sorted(recording._TIME.sub("T", row) for (row,) in cursor.fetchall())
    return found


def make_two():
    """Make two pools in a transaction that is rolled back, and return their rows and the pools."""
    with transaction.atomic():
        pool = make_pool("Recorded", segments=2)
        second = make_pool("Recorded", "Site2", container="10.1.0.0/16", vlan_group=pool.vlan_group)
        found = rows()
        transaction.set_rollback(True)
    return found, pool, second


def test_a_replay_leaves_what_the_services_left(monkeypatch):
    make_user()
    recorded, pool, second = make_two()
    assert len(recorded["netbox_vlan_manager_segmentpool"]) == 2
    # The services are not called again.
    monkeypatch.setattr("tests.factories.create_pool", None)
    before = timezone.now()
    replayed, pool_again, second_again = make_two()
    assert replayed == recorded
    assert (pool_again, pool_again.name, second_again) == (pool, pool.name, second)
    assert before - timedelta(seconds=1) < pool_again.created < timezone.now()


def test_a_replay_has_the_times_and_the_user_of_the_call():
    make_two()
    make_user("somebody else")
    before = timezone.now()
    pool = make_pool("Recorded", segments=2)
    assert SegmentPool.objects.get().created == pool.created > before - timedelta(seconds=1)
    assert {change.user for change in ObjectChange.objects.all()} == {make_user()}


@pytest.mark.parametrize("more", [lambda: make_site("Site1"), lambda: VLAN.objects.create(vid=7, name="V")])
def test_no_replay_into_a_database_with_other_objects(more, monkeypatch):
    make_two()
    more()
    monkeypatch.setattr("tests.factories.create_pool", lambda **values: "made")
    assert make_pool("Recorded") == "made"


def test_the_search_finds_the_drift_of_the_services_search():
    pool = make_pool(segments=3)
    allocate("prod-01", pool=pool, user=make_user())
    # The second search is the short one.
    assert find_drift() == find_drift() == findings.find_drift() == []
    for changes in ({"status": "allocated"}, {"vid": 555}):
        with transaction.atomic():
            Segment.objects.filter(vid=101).update(**changes)
            expected = [drift.item for drift in findings.find_drift()]
            assert [drift.item for drift in find_drift()] == expected != []
            transaction.set_rollback(True)
