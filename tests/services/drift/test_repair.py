from itertools import count
from unittest.mock import patch

import pytest
from django.db import connection, transaction

from core.models import ObjectChange
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services.base import audit
from netbox_vlan_manager.services.drift import repair
from netbox_vlan_manager.services.drift.findings import KINDS, find_drift
from netbox_vlan_manager.services.drift.repair import repair_drift
from tests.services.drift.base import kinds, statuses, unguarded
from tests.services.drift.planting import REPAIRABLE, UNREPAIRABLE, prefix, unguarded_update, vlan

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool(dual_stack_pool):
    return dual_stack_pool


@pytest.fixture
def snapshot(django_user_model):
    """A function that returns all rows that a repair might write."""

    def take():
        models = (Segment, Allocation, SegmentPool, VLAN, Prefix, ObjectChange)
        return [list(model.objects.order_by("pk").values()) for model in models]

    return take


@pytest.mark.parametrize("name", REPAIRABLE)
class TestRepairs:
    @pytest.mark.slow("Repairs each kind of drift, all at once")
    def test_all(self, pool, user, name):
        expected, plant, is_repaired = REPAIRABLE[name]
        plant()
        ObjectChange.objects.all().delete()
        assert kinds() == expected
        assert not is_repaired()
        results = repair_drift(user=user)
        assert set(statuses(results)) <= {"repaired", "skipped"}
        assert (find_drift(), is_repaired()) == ([], True)
        assert set(ObjectChange.objects.values_list("user__username", flat=True)) == {"alice"}
        before = ObjectChange.objects.count()
        assert repair_drift(user=user) == []
        assert ObjectChange.objects.count() == before

    @pytest.mark.slow("Repairs each kind of drift, one by one")
    def test_one_by_one(self, pool, user, name):
        REPAIRABLE[name][1]()
        for found in find_drift():
            (result,) = repair_drift([found.item], user=user, changelog_message="Because")
            # A repair may resolve other findings too.
            assert (result.item, result.status in ("repaired", "skipped")) == (found.item, True), result
        for found in find_drift():
            (result,) = repair_drift([found.item], user=user)
            assert result.status == "repaired"
        assert find_drift() == []
        messages = set(ObjectChange.objects.values_list("message", flat=True))
        assert "Because" in messages
        # A second repair changes nothing.
        (again,) = repair_drift([result.item], user=user)
        assert again.status == "skipped"

    def test_dry_run(self, pool, user, name, snapshot):
        REPAIRABLE[name][1]()
        before, found = snapshot(), find_drift()
        results = repair_drift(user=user, dry_run=True)
        assert [result.item for result in results] == [one.item for one in found]
        repairs = {one.item: one.repair for one in found}
        assert statuses(results) == ["would_repair" if repairs[result.item] else "skipped" for result in results]
        assert all(result.message == repairs[result.item] for result in results if repairs[result.item])
        assert snapshot() == before


@pytest.mark.parametrize("name", UNREPAIRABLE)
def test_what_people_have_to_decide(pool, user, name, snapshot):
    expected, plant = UNREPAIRABLE[name]
    plant()
    found = find_drift()
    assert [one.kind for one in found] == expected
    assert all(one.advice.endswith(".") and not one.repair and not one.changes for one in found)
    before = snapshot()
    results = repair_drift(user=user)
    assert [(result.status, result.message) for result in results] == [("skipped", one.advice) for one in found]
    assert snapshot() == before


def test_every_kind_is_planted():
    planted = {kind for case in (*REPAIRABLE.values(), *UNREPAIRABLE.values()) for kind in case[0]}
    # The database refuses these kinds even here; see test_allocation_checks.
    assert set(KINDS) - planted == {"segment_held_twice", "allocated_twice"}


def test_chain_of_renumbered_vlans_is_repaired_as_a_whole(pool, user):
    for vid in (102, 101, 100):
        VLAN.objects.filter(vid=vid).update(vid=vid + 1)
    results = repair_drift(user=user)
    assert {result.status for result in results} == {"repaired"}
    assert find_drift() == []
    assert list(Segment.objects.values_list("vid", flat=True)) == [101, 102, 103]


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_follows_a_repair_by_the_system(pool, dry_run):
    """The repair of a VLAN's name updates its segment and the allocation; the change log names no user."""
    vlan(name="No EPG name")
    with unguarded():
        Segment.objects.filter(vid=100).update(vid=999)
        Allocation.objects.update(epg_name="EPG_of_old")
    found = find_drift()
    results = repair_drift(user=None, enforce=False, dry_run=dry_run)
    assert "failed" not in statuses(results)
    assert find_drift() == (found if dry_run else [])
    changes = [] if dry_run else [(None, audit.SYSTEM)]
    assert [*ObjectChange.objects.order_by().values_list("user", "user_name").distinct()] == changes


def test_swapped_vlans_are_left_alone(pool, user):
    for before, after in ((101, 999), (102, 101), (999, 102)):
        VLAN.objects.filter(vid=before).update(vid=after)
    assert statuses(repair_drift(user=user)) == ["skipped", "skipped"]
    assert kinds() == ["vlan_renumbered", "vlan_renumbered"]


def test_depths_of_prefixes_follow_a_repaired_vrf(pool, user):
    network = "10.0.1.0/24"
    Prefix.objects.filter(prefix=network).update(vrf=None, _depth=0)
    Prefix.objects.filter(prefix="10.0.0.0/16").update(_children=2)
    repair_drift(user=user)
    assert Prefix.objects.get(prefix=network)._depth == 1
    assert Prefix.objects.get(prefix="10.0.0.0/16")._children == 3


def test_what_another_plugin_refuses_fails_alone(pool, user):
    prefix("10.0.1.0/24", status="reserved")
    prefix("10.0.2.0/24", status="reserved")
    write, calls = repair.audit.write, count()

    def refuse_first(updates):
        write(updates=updates)
        if next(calls) == 0:
            raise Busy

    with patch.object(repair.audit, "write", refuse_first):
        results = repair_drift([found.item for found in find_drift()], user=user)
    assert statuses(results) == ["failed", "repaired"]
    assert kinds() == ["prefix_status"]
    assert ObjectChange.objects.count() == 1


def test_repaired_by_another_user_before_the_lock(pool, user):
    prefix("10.0.1.0/24", status="reserved")
    lock = repair._lock

    def repair_first(found):
        lock(found)
        prefix("10.0.1.0/24", status="active")

    with patch.object(repair, "_lock", repair_first):
        results = repair_drift(user=user)
    assert [(result.status, result.message) for result in results] == [("skipped", "Already resolved.")]


@pytest.mark.parametrize("items", [[], ["x"], ["prefix_status:a.b"], ["no:a.b:1"], ["prefix_status:a.b:x"], [1]])
def test_items_that_are_none(pool, user, items):
    with pytest.raises(repair.ValidationError) as caught:
        repair_drift(items, user=user)
    assert list(caught.value.message_dict) == ["items"]


def test_a_repair_is_committed_with_the_rows_it_needs_locked(pool, user):
    """The deferred trigger agrees at the commit, not only before."""
    unguarded_update(Segment.objects.filter(vid=101), status="allocated")
    assert statuses(repair_drift(user=user))[0] == "repaired"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
