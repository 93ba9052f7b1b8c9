"""Edits of VLANs and prefixes that segments and allocations follow."""

import pytest

from core.models import ObjectChange
from ipam.models import VLAN
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import allocate, enable_segment, release, update_pool
from tests.drift import find_drift
from tests.factories import make_pool, make_user
from tests.services.segments.world import save

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(segments=3)


def test_new_vid_of_a_free_segment_is_followed(netbox, free):
    assert netbox.edit(free.vlan, vid=150) == {}
    free.refresh_from_db()
    assert free.vid == 150
    assert find_drift() == []


def test_followed_vid_is_in_the_change_log_of_the_same_request(netbox, free):
    netbox.edit(free.vlan, vid=150)
    vlan, segment = ObjectChange.objects.filter(request_id=ObjectChange.objects.order_by("-pk")[0].request_id)
    changes = {change.changed_object_type.model: change for change in (vlan, segment)}
    assert changes["segment"].prechange_data["vid"] == 101
    assert changes["segment"].postchange_data["vid"] == 150
    assert {change.user_name for change in (vlan, segment)} == {"root"}


def test_bare_save_of_a_new_vid_of_a_free_segment_is_followed(free):
    assert save(free.vlan, vid=150) == ""
    assert Segment.objects.get(pk=free.pk).vid == 150


def test_new_name_of_a_vlan_is_the_allocations_epg_name(netbox, held):
    assert netbox.edit(held.vlan, name="EPG_new") == {}
    assert Allocation.objects.get(segment=held).epg_name == "EPG_new"
    assert Segment.objects.get(pk=held.pk).epg_name == "EPG_new"
    assert find_drift() == []


@pytest.mark.parametrize("status", ["reserved", "deprecated"])
def test_vlan_that_is_not_active_is_handed_out_to_nobody(netbox, free, status):
    assert netbox.edit(free.vlan, status=status) == {}
    free.refresh_from_db()
    assert (free.status, free.disabled_reason) == ("disabled", f"VLAN {status}")
    assert find_drift() == []
    change = ObjectChange.objects.filter(changed_object_id=free.pk, changed_object_type__model="segment").latest("time")
    assert (change.user_name, change.prechange_data["status"]) == ("root", "available")
    # By enabling the segment, the user declares its VLAN free too.
    enable_segment(free, user="root")
    assert VLAN.objects.get(pk=free.vlan_id).status == "active"
    assert find_drift() == []


def test_cool_down_ends_with_a_vlan_that_is_not_active(netbox, pool):
    update_pool(pool, user=make_user(), cooldown=60)
    segment = allocate("prod-01", pool=pool, user=make_user()).allocation.segment
    release("prod-01", pool=pool, user=make_user())
    assert netbox.edit(segment.vlan, status="reserved") == {}
    segment.refresh_from_db()
    assert (segment.status, segment.quarantined_until) == ("disabled", None)


def test_status_of_the_vlan_of_an_allocated_segment_may_change(netbox, held):
    assert netbox.edit(held.vlan, status="deprecated") == {}
    held.refresh_from_db()
    assert held.status == "allocated"
    assert find_drift() == []
    # After the release, no cluster gets the segment.
    update_pool(held.pool, user=make_user(), cooldown=60)
    release("prod-01", pool=held.pool, user=make_user())
    held.refresh_from_db()
    assert (held.status, held.disabled_reason, held.quarantined_until) == ("disabled", "VLAN deprecated", None)
    assert held.last_released_at is not None
    assert find_drift() == []
