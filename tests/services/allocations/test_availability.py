import pytest
from django.core.exceptions import ValidationError

from core.models import ObjectChange
from netbox_vlan_manager.exceptions import Busy, SegmentInUse
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import allocate, delete_segment, disable_segment, enable_segment, release
from tests.drift import find_drift
from tests.factories import make_pool

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(segments=2)


@pytest.fixture
def segment(pool):
    return Segment.objects.get(vid=100)


def changes_of(segment):
    return ObjectChange.objects.filter(
        changed_object_type__model="segment", changed_object_id=segment.pk, action="update"
    ).order_by("pk")


def state_of(segment):
    return Segment.objects.values_list("status", "disabled_reason").get(pk=segment.pk)


def test_a_disabled_segment_is_not_allocated(pool, segment, user):
    result = disable_segment(segment, user=user, reason="  Cable is cut ", changelog_message="Ticket 7")

    assert result.changed
    assert (result.segment.status, result.segment.disabled_reason) == ("disabled", "Cable is cut")
    assert state_of(segment) == ("disabled", "Cable is cut")
    assert allocate("prod-01", pool=pool, user=user).allocation.vid == 101
    assert find_drift() == []


def test_an_enabled_segment_is_allocated_again(pool, segment, user):
    disable_segment(segment, user=user, reason="Cable is cut")

    assert enable_segment(segment, user=user).changed
    assert state_of(segment) == ("available", "")
    assert allocate("prod-01", pool=pool, user=user).allocation.vid == 100
    assert find_drift() == []


def test_both_are_change_logged_as_one_change_each(segment, user):
    disable_segment(segment, user="alice", reason="Cable is cut", changelog_message="Ticket 7")
    enable_segment(segment, user="alice", changelog_message="Mended")

    disabled, enabled = changes_of(segment)
    assert (disabled.user, disabled.message) == (user, "Ticket 7")
    assert disabled.diff()["pre"] | {"last_updated": None} == {
        "status": "available",
        "disabled_reason": "",
        "last_updated": None,
    }
    assert disabled.postchange_data["status"] == "disabled"
    assert disabled.postchange_data["disabled_reason"] == "Cable is cut"
    assert (enabled.message, enabled.postchange_data["disabled_reason"]) == ("Mended", "")
    assert ObjectChange.objects.filter(changed_object_type__model="prefix", action="update").count() == 0


def test_an_allocated_segment_is_refused(pool, segment, user):
    allocate("prod-01", pool=pool, user=user)
    before = changes_of(segment).count()

    # The caller's copy of the segment is still available.
    with pytest.raises(SegmentInUse, match="EPG_100 \\(100\\) is allocated: release it before you disable it"):
        disable_segment(segment, user=user)
    assert not enable_segment(segment, user=user).changed
    assert state_of(segment) == ("allocated", "")
    assert changes_of(segment).count() == before

    release("prod-01", pool=pool, user=user)
    assert disable_segment(segment, user=user).changed


def test_a_quarantined_segment_is_disabled_and_not_enabled(segment, user):
    Segment.objects.filter(pk=segment.pk).update(status="quarantined")

    assert not enable_segment(segment, user=user).changed
    assert state_of(segment) == ("quarantined", "")
    assert disable_segment(segment, user=user).changed
    assert state_of(segment) == ("disabled", "")


def test_disabling_again_changes_nothing_but_the_reason(segment, user):
    disable_segment(segment, user=user, reason="Cable is cut")

    assert not disable_segment(segment, user=user, reason="Cable is cut").changed
    assert not disable_segment(segment, user=user).changed
    assert state_of(segment) == ("disabled", "Cable is cut")
    assert changes_of(segment).count() == 1
    assert disable_segment(segment, user=user, reason="Switch is gone").changed
    assert state_of(segment) == ("disabled", "Switch is gone")


def test_a_reason_that_is_too_long(segment, user):
    with pytest.raises(ValidationError) as error:
        disable_segment(segment, user=user, reason="x" * 201)

    assert list(error.value.message_dict) == ["reason"]
    assert state_of(segment) == ("available", "")


def test_a_segment_that_was_deleted(segment, user):
    delete_segment(Segment.objects.get(pk=segment.pk), user=user)

    for change in (disable_segment, enable_segment):
        with pytest.raises(Busy):
            change(segment, user=user)


def test_an_edit_that_read_the_segment_before_does_not_undo_it(segment, user):
    disable_segment(segment, user=user, reason="Cable is cut")
    segment.description = "New"
    segment.save()

    assert state_of(segment) == ("disabled", "Cable is cut")


def test_disabling_ends_a_cool_down(pool, segment, user):
    SegmentPool.objects.update(cooldown=3600)
    pool.refresh_from_db()
    allocate("prod-01", pool=pool, user=user)
    release("prod-01", pool=pool, user=user)
    assert Segment.objects.get(pk=segment.pk).quarantined_until

    disable_segment(segment, user=user, reason="Cable is cut")
    assert Segment.objects.values_list("status", "quarantined_until").get(pk=segment.pk) == ("disabled", None)
    change = changes_of(segment).last()
    assert change.prechange_data["quarantined_until"]
    assert change.postchange_data["quarantined_until"] is None
    enable_segment(segment, user=user)
    assert state_of(segment) == ("available", "")
    assert find_drift() == []
