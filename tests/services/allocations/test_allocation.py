import pytest

from ipam.models import Prefix
from netbox_vlan_manager import exceptions
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate, release, release_allocation
from netbox_vlan_manager.services.pools.merging import merge_pool
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice")


@pytest.fixture
def pool():
    return make_pool(segments=3)


def test_hands_out_the_lowest_available_segment(pool, user):
    result = allocate("prod-01", site="Site1", vrf="Network1", user=user)

    assert result.created
    assert result.allocation.vid == 100
    assert result.allocation.segment.status == "allocated"
    assert str(result.allocation.prefix) == "10.0.0.0/24"
    assert result.allocation.allocated_by == user
    assert Prefix.objects.get(prefix="10.0.0.0/24").status == "reserved"


def test_answers_the_same_when_the_cluster_asks_again(pool, user):
    first = allocate("prod-01", pool=pool, user=user)
    again = allocate("  PROD-01 ", pool=pool, user=user)

    assert not again.created
    assert again.allocation == first.allocation


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


def test_pool_that_went_meanwhile_is_not_called_exhausted(pool, user):
    other = make_pool(scope="Site2", container="10.1.0.0/16")
    merge_pool(pool, other, user=user)
    with pytest.raises(exceptions.Busy):
        allocate("prod-01", pool=pool, user=user)


def test_exhausted_pool(pool, user):
    for number in range(3):
        allocate(f"prod-{number}", pool=pool, user=user)
    with pytest.raises(exceptions.PoolExhausted):
        allocate("prod-4", pool=pool, user=user)
