import pytest
from django.db.models import ProtectedError

from core.models import ObjectChange
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.exceptions import SegmentInUse
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import (
    allocate,
    delete_segment,
    release,
)
from tests.factories import make_segment

pytestmark = pytest.mark.django_db


def test_deleting_a_segment_removes_what_was_made_with_it(user, pool):
    segment = make_segment(pool, 100)
    delete_segment(segment, user=user)

    assert VLAN.objects.count() == 0
    assert not Prefix.objects.filter(prefix="10.0.0.0/24").exists()
    assert Prefix.objects.get().children == 0
    deleted = ObjectChange.objects.filter(user=user, action="delete")
    assert sorted(deleted.values_list("changed_object_type__model", flat=True)) == ["prefix", "segment", "vlan"]


def test_allocated_segment_is_not_deleted(user, pool):
    segment = make_segment(pool, 100)
    allocate("prod-01", pool=pool, user=user)
    with pytest.raises(SegmentInUse):
        delete_segment(segment, user=user)
    with pytest.raises(ProtectedError):
        segment.delete()
    with pytest.raises(ProtectedError):
        Segment.objects.all().delete()
    assert Segment.objects.count() == VLAN.objects.count() == 1


def test_segment_whose_vlan_something_else_uses_is_not_deleted(user, pool):
    segment = make_segment(pool, 100)
    Prefix.objects.create(prefix="192.168.0.0/24", vlan=segment.vlan)
    with pytest.raises(ProtectedError):
        delete_segment(segment, user=user)
    assert Segment.objects.count() == 1
    assert Prefix.objects.filter(prefix="10.0.0.0/24").exists()


def test_history_outlives_segment_and_pool(user, pool):
    segment = make_segment(pool, 100)
    allocate("prod-01", pool=pool, user=user)
    allocation = release("prod-01", pool=pool, user=user).allocation
    delete_segment(segment, user=user)
    pool.delete()

    allocation.refresh_from_db()
    assert (allocation.segment, allocation.pool) == (None, None)
    assert (allocation.pool_name, allocation.vrf_name, allocation.vid) == ("Network1 Site1", "Network1", 100)
    assert (allocation.epg_name, str(allocation.prefix), allocation.cluster_name) == (
        "EPG_100",
        "10.0.0.0/24",
        "prod-01",
    )


def test_protected_error_of_a_single_delete_is_unchanged(user, pool):
    make_segment(pool, 100)
    allocate("prod-01", pool=pool, user=user)
    with pytest.raises(ProtectedError):
        Segment.objects.get().delete()
