from datetime import timedelta

import pytest
from django.utils import timezone

from core.models import ObjectChange
from ipam.models import Prefix
from netbox_vlan_manager.exceptions import PoolExhausted
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate, end_quarantine, release, release_allocation
from netbox_vlan_manager.services.segments.quarantine import promote_all
from tests.services.allocations.base import configure, moved, status_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_drift")]

YEAR = 365 * 86400


def test_release_and_reuse(pool, user):
    held = allocate("prod-01", pool=pool, user=user).allocation
    result = release("Prod-01", pool=pool, user=user)

    assert result.released
    assert result.allocation.pk == held.pk
    assert result.allocation.released_by == user
    assert Segment.objects.get(pk=held.segment_id).status == "available"
    assert Prefix.objects.get(pk=held.segment.prefix_id).status == "active"
    assert not release_allocation(result.allocation, user=user).released
    assert allocate("prod-02", pool=pool, user=user).allocation.segment_id == held.segment_id


def test_a_release_has_its_reason(pool, user):
    allocate("a", pool=pool, user=user)
    assert release("a", pool=pool, user=user).allocation.release_reason == "released"


def test_cooldown(pool, user):
    pool = configure(pool, cooldown=3600)
    allocate("a", pool=pool, user=user)
    release("a", pool=pool, user=user)
    segment = Segment.objects.get(vid=100)
    assert segment.status == "quarantined"
    assert timedelta(minutes=59) < segment.quarantined_until - timezone.now() < timedelta(minutes=61)
    assert allocate("b", pool=pool, user=user).allocation.vid == 101
    # The cluster that held the segment gets it again.
    assert allocate("A", pool=pool, user=user).allocation.vid == 100
    assert Segment.objects.get(vid=100).quarantined_until is None


def test_promotion(pool, user):
    pool = configure(pool, cooldown=3600)
    for name in "abcde":
        allocate(name, pool=pool, user=user)
    for name in "ab":
        release(name, pool=pool, user=user)
    with pytest.raises(PoolExhausted):
        allocate("x", pool=pool, user=user)
    assert promote_all() == 0
    Segment.objects.filter(status="quarantined").update(quarantined_until=timezone.now() - timedelta(seconds=1))
    # The segment is available before a job has run.
    assert allocate("x", pool=pool, user=user).allocation.vid == 100
    assert status_of(101) == "available"
    release("x", pool=pool, user=user)
    Segment.objects.filter(status="quarantined").update(quarantined_until=timezone.now() - timedelta(seconds=1))
    assert promote_all() == 1
    assert promote_all() == 0
    change = ObjectChange.objects.filter(changed_object_type__model="segment").latest("pk")
    assert (change.user, change.user_name) == (None, "system")
    assert change.postchange_data["status"] == "available"


def test_end_quarantine(pool, user):
    pool = configure(pool, cooldown=3600)
    allocate("a", pool=pool, user=user)
    release("a", pool=pool, user=user)
    segment = end_quarantine(Segment.objects.get(vid=100), user=user, changelog_message="Ticket 1")
    assert (segment.status, segment.quarantined_until) == ("available", None)
    assert ObjectChange.objects.latest("pk").message == "Ticket 1"
    changes = ObjectChange.objects.count()
    end_quarantine(segment, user=user)
    assert ObjectChange.objects.count() == changes


@pytest.mark.parametrize("cooldown", [1, 3600, YEAR, 2**31 - 1])
@pytest.mark.parametrize("days", [0, -1, -400])
def test_a_clock_that_goes_back_shortens_no_cool_down(pool, user, cooldown, days):
    pool = configure(pool, cooldown=cooldown)
    held = allocate("a", pool=pool, user=user).allocation
    with moved(days=days):
        ended = release("a", pool=pool, user=user).allocation
        segment = Segment.objects.get(vid=100)
        assert ended.released_at >= held.allocated_at
        assert segment.status == "quarantined"
        assert segment.quarantined_until - ended.released_at == timedelta(seconds=cooldown)
        assert segment.last_released_at == ended.released_at
        if days:
            # By the moved clock, the cool-down has only just begun.
            assert promote_all() == 0
            # The cluster that had the segment gets it nevertheless.
            assert allocate("a", pool=pool, user=user).allocation.vid == 100
            release("a", pool=pool, user=user)
    with moved(seconds=cooldown + 1):
        assert promote_all() == 1
    assert status_of(100) == "available"


def test_no_cool_down_is_no_time_at_all(pool, user):
    pool = configure(pool, cooldown=0)
    allocate("a", pool=pool, user=user)
    with moved(days=-1):
        release("a", pool=pool, user=user)
    segment = Segment.objects.get(vid=100)
    assert (segment.status, segment.quarantined_until) == ("available", None)
    assert allocate("b", pool=pool, user=user).allocation.vid == 100


def test_a_cool_down_that_is_changed_holds_for_the_next_release(pool, user):
    pool = configure(pool, cooldown=YEAR)
    for name in "ab":
        allocate(name, pool=pool, user=user)
    release("a", pool=pool, user=user)
    pool = configure(pool, cooldown=0)
    release("b", pool=pool, user=user)
    assert (status_of(100), status_of(101)) == ("quarantined", "available")
    with moved(days=364):
        assert promote_all() == 0
    with moved(days=366):
        assert promote_all() == 1
