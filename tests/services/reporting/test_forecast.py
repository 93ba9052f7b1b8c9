from datetime import timedelta

import pytest
from django.utils import timezone

from netbox_vlan_manager.models import PoolSnapshot
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.reporting.forecast import forecast
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(segments=10)


def take(pool, *allocated):
    """Save snapshots of the days before today; the last is yesterday's."""
    today = timezone.localdate()
    for number, count in enumerate(reversed(allocated), 1):
        PoolSnapshot.objects.create(
            pool=pool,
            date=today - timedelta(days=number),
            total_segments=10,
            allocated=count,
            available=10 - count,
            quarantined=0,
            disabled=0,
        )


def fill(pool, count):
    for number in range(count):
        allocate(f"c{number}", pool=pool, user=make_user())


def test_a_straight_line(pool):
    take(pool, 0, 1, 2, 3)
    fill(pool, 4)
    result = forecast(pool)
    assert (result.days_until_exhausted, result.samples) == (6, 5)
    # The line fits exactly, but five days are few.
    assert result.confidence == round(5 / 14, 2)


def test_many_days_make_it_sure(pool):
    take(pool, *(number // 4 for number in range(20)))
    fill(pool, 5)
    assert forecast(pool).confidence > 0.9


def test_ups_and_downs_make_it_doubtful(pool):
    take(pool, *([1, 6] * 10))
    fill(pool, 5)
    assert forecast(pool).confidence < 0.2


@pytest.mark.parametrize("allocated", [(), (3, 3, 3), (9, 7, 5)])
def test_a_pool_that_does_not_fill_up(pool, allocated):
    take(pool, *allocated)
    fill(pool, 3)
    assert forecast(pool).days_until_exhausted is None


def test_exhausted(pool):
    take(pool, 1, 5)
    fill(pool, 10)
    assert forecast(pool).days_until_exhausted == 0


def test_empty_pool():
    result = forecast(make_pool())
    assert (result.days_until_exhausted, result.confidence, result.samples) == (None, 0.0, 1)


def test_two_queries(pool, django_assert_num_queries):
    take(pool, 1, 2, 3)
    with django_assert_num_queries(2):
        forecast(pool)
