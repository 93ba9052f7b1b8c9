"""The number of locks of operations on large pools: all transactions share PostgreSQL's lock table of a fixed size."""

import pytest
from django.db import connection, transaction

from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services.base.transactions import lock_spaces
from netbox_vlan_manager.services.pools.merging import merge_pool
from netbox_vlan_manager.services.pools.resizing import resize_pool
from netbox_vlan_manager.services.pools.retiring import retire_pool
from netbox_vlan_manager.services.segments.generation import generate_segments
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db

HOLDERS = 3000
# Each table and index that a transaction uses takes one lock; the cascades of a deletion use many.
MOST = 800


def count_locks():
    """Return the number of locks that this transaction holds, and the number of advisory ones among them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(*) FILTER (WHERE locktype = 'advisory') FROM pg_locks WHERE pid = pg_backend_pid()"
        )
        return cursor.fetchone()


def make_large_pool(segments):
    pool = make_pool(container="10.0.0.0/12", vid_ranges=((1, 4094),))
    generate_segments(pool, user=make_user(), enforce=False, count=segments, prefix_length=28)
    return pool


def hold_all(pool, released_at=None):
    segments = pool.segments.select_related("vlan", "prefix")
    allocations = []
    for segment in segments:
        allocation = Allocation(
            segment=segment, pool=pool, cluster_name=f"cluster-{segment.vid}", released_at=released_at
        )
        segment.pool = pool
        allocation.record_segment(segment)
        allocations.append(allocation)
    Allocation.objects.bulk_create(allocations)
    if released_at is None:
        segments.update(status="allocated")


@pytest.mark.slow("3,000 segments")
def test_a_merge_of_thousands_of_holders():
    pool = make_large_pool(HOLDERS)
    hold_all(pool)
    into = make_pool(scope="Site2", container="10.16.0.0/16", vlan_group=pool.vlan_group)
    merge_pool(pool, into, user=make_user("root", is_superuser=True))
    total, advisory = count_locks()
    assert Allocation.objects.active().filter(pool=into).count() == HOLDERS
    assert total < MOST
    assert advisory < 10


@pytest.mark.slow("1,000 segments")
def test_resizing_and_retiring_with_a_thousand_segments():
    pool = make_large_pool(1000)
    first = min(pool.segments.values_list("vid", flat=True))
    user = make_user("root", is_superuser=True)
    resize_pool(pool, user=user, vid_ranges=[(first, first + 499)], remove_segments=True)
    assert Segment.objects.count() == 500
    hold_all(pool, released_at="2026-01-01T00:00:00Z")
    assert retire_pool(pool, user=user).deleted
    assert not SegmentPool.objects.exists()
    total, advisory = count_locks()
    assert total < MOST
    assert advisory < 10


def test_the_spaces_of_thousands_of_pools():
    with transaction.atomic():
        lock_spaces(range(1, 2001), range(1, 2001))
        # Includes the two keys of NetBox's own endpoints.
        assert count_locks()[1] == 4002
