import pytest
from django.core.exceptions import ValidationError

from netbox_vlan_manager.exceptions import PoolPaused, VIDUnavailable
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import allocate, release, set_clusters, share
from netbox_vlan_manager.services.drift.findings import find_drift
from tests.factories import make_pool, make_user
from tests.services.allocations.base import configure, status_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice")


@pytest.fixture
def pool():
    return make_pool(segments=5)


@pytest.fixture(autouse=True)
def no_drift():
    """Checks after every test that there is no drift."""
    yield
    assert find_drift() == []


def test_share_and_release_one_by_one(pool, user):
    first = allocate("a", pool=pool, user=user).allocation
    second, created = share(first.segment, "b", user=user)
    assert created
    assert second.shared
    assert second.segment == first.segment
    assert not share(first.segment, "B", user=user).created

    assert release("a", pool=pool, user=user).released
    assert status_of(100) == "allocated"
    assert share(first.segment, "c", user=user).allocation.shared
    release("b", pool=pool, user=user)
    assert status_of(100) == "allocated"
    release("c", pool=pool, user=user)
    assert status_of(100) == "available"


def test_sharing_what_is_not_held_allocates_it(pool, user):
    result = share(Segment.objects.get(vid=103), "a", user=user)
    assert not result.allocation.shared
    assert status_of(103) == "allocated"


def test_sharing_is_refused(pool, user):
    held = allocate("a", pool=pool, user=user).allocation
    allocate("b", pool=pool, user=user)
    with pytest.raises(VIDUnavailable, match="holds VLAN ID 101"):
        share(held.segment, "b", user=user)
    assert share(held.segment, "b", user=user, purpose="storage").created
    Segment.objects.filter(vid=104).update(status="disabled")
    with pytest.raises(VIDUnavailable, match="disabled"):
        share(Segment.objects.get(vid=104), "c", user=user)
    with pytest.raises(PoolPaused):
        share(
            Segment.objects.select_related("pool").get(pool=configure(pool, status="paused"), vid=103), "c", user=user
        )


def test_set_clusters(pool, user):
    pool = configure(pool, cooldown=60)
    segment = Segment.objects.get(vid=100)
    names = lambda: sorted(Allocation.objects.active().filter(segment=segment).values_list("cluster_name", flat=True))  # noqa: E731
    set_clusters(segment, ["a", "b"], user=user)
    assert names() == ["a", "b"]
    results = set_clusters(segment, ["b", "c"], user=user)
    assert [result.created for result in results] == [False, True]
    assert names() == ["b", "c"]
    set_clusters(segment, ["d"], user=user)
    assert names() == ["d"]
    set_clusters(segment, [], user=user)
    assert names() == []
    assert status_of(100) == "quarantined"
    with pytest.raises(ValidationError, match="twice"):
        set_clusters(segment, ["a", "A"], user=user)
