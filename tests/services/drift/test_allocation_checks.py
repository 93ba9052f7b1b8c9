import pytest
from django.utils import timezone

from ipam.models import Prefix
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import release
from netbox_vlan_manager.services.drift.findings import find_drift
from tests.factories import make_pool, make_user
from tests.services.drift.base import drifts, segment, unguarded

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("vid", "status"), [(101, "reserved"), (101, "container"), (100, "active"), (100, "deprecated")]
)
def test_prefix_status(pool, vid, status):
    Prefix.objects.filter(segment__vid=vid).update(status=status)
    assert drifts() == [("prefix_status", segment(vid))]


def test_allocated_segment_that_nobody_holds(pool):
    with unguarded():
        Segment.objects.filter(vid=101).update(status="allocated")
        Prefix.objects.filter(segment__vid=101).update(status="reserved")
    assert drifts() == [("segment_status", segment(101))]


@pytest.mark.parametrize("status", ["available", "quarantined", "disabled"])
def test_held_segment_that_is_not_allocated(pool, status):
    with unguarded():
        Segment.objects.filter(vid=100).update(status=status)
        Prefix.objects.filter(segment__vid=100).update(status="active")
    assert drifts() == [("segment_status", segment(100))]


def test_released_allocation_of_an_allocated_segment(pool):
    with unguarded():
        Allocation.objects.update(released_at=timezone.now())
    assert drifts() == [("segment_status", segment(100))]


def twin(held, **values):
    """Insert a copy of an allocation with other values."""
    Allocation.objects.filter(pk=held.pk).update(description="")
    copy = Allocation.objects.get(pk=held.pk)
    copy.pk = None
    copy._state.adding = True
    for name, value in values.items():
        setattr(copy, name, value)
    copy.save()
    return copy


def test_segment_held_twice(pool, held):
    with unguarded("allocation_unique_segment"):
        twin(held, cluster_name="prod-02")
    assert drifts() == [("segment_held_twice", segment(100))]


def test_cluster_that_holds_two_segments(pool, held):
    with unguarded("allocation_one_active"):
        other = twin(
            held, cluster_name="PROD-01", segment=segment(101), vid=101, epg_name="EPG_101", prefix="10.0.1.0/24"
        )
        Segment.objects.filter(vid=101).update(status="allocated")
        Prefix.objects.filter(segment__vid=101).update(status="reserved")
    assert sorted(drifts(), key=lambda drift: drift[1].pk) == [("allocated_twice", held), ("allocated_twice", other)]


@pytest.mark.parametrize("values", [{"vid": 7}, {"epg_name": "EPG_7"}, {"prefix": "10.0.7.0/24"}], ids=str)
def test_allocation_that_says_something_else(pool, held, values):
    Allocation.objects.update(**values)
    assert drifts() == [("allocation_stale", held)]


def test_allocation_of_another_pool(pool, held):
    other = make_pool("Network2")
    Allocation.objects.update(pool=other)
    assert drifts() == [("allocation_stale", held)]


def test_released_allocation_may_say_something_else(pool):
    release("prod-01", pool=pool, user=make_user())
    Allocation.objects.update(vid=7, epg_name="EPG_7")
    assert find_drift() == []
