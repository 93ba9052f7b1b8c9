"""
Guards against collapse: compares the times of two operations, within bounds that hold on a busy machine too.

`make bench` measures precisely. Here both sides of a ratio run in turn in this process, and their medians count.
"""

import statistics
import time

import pytest
from django.db import connection, transaction

from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import SegmentPool
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.base.audit import change_tracking
from netbox_vlan_manager.services.onboarding.importing import import_segments
from tests.benchmarks import inprocess
from tests.benchmarks.world import fill
from tests.factories import make_user

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True)]

IMPORTED = 200


def make_pools(prefix, **size):
    with connection.cursor() as cursor:
        fill(cursor, prefix, **size)
    return list(SegmentPool.objects.select_related("vrf", "vlan_group").filter(name__startswith=prefix).order_by("pk"))


def ratio(ours, other, count, warm_up=3):
    """
    Return the median time of one function divided by that of another, called in turn with numbers from 0 on.

    The first calls are not counted: they prepare statements and fill caches.
    """
    times = {ours: [], other: []}
    for number in range(warm_up + count):
        for work, elapsed in times.items():
            start = time.perf_counter()
            work(number)
            elapsed.append(time.perf_counter() - start)
    return statistics.median(times[ours][warm_up:]) / statistics.median(times[other][warm_up:])


def test_replay_is_cheaper_than_an_allocation():
    (pool,), user = make_pools("Ours", pools=1, segments=200), make_user()

    def allocate_number(number):
        assert allocate(f"cluster-{number}", user=user, pool=pool).created

    def replay(number):
        # The previous call made this allocation.
        assert not allocate(f"cluster-{max(number - 1, 0)}", user=user, pool=pool).created

    allocate_number(0)
    assert ratio(replay, lambda number: allocate_number(number + 1), 60) <= 0.5


def test_allocation_is_no_great_multiple_of_its_writes():
    # Both sides use the same cluster names each time, so each turn needs new pools.
    names = [pool.name for pool in make_pools("Pool", pools=16, segments=20)]
    ours, bare = [], []
    for turn in range(8):
        ours.append(inprocess.latency(names[2 * turn], 15))
        bare.append(inprocess.bare(names[2 * turn + 1], 15))
    assert statistics.median(ours) <= 15 * statistics.median(bare)


def test_allocation_costs_the_same_in_a_large_and_a_small_pool():
    (large,) = make_pools("Large", pools=1, segments=2000, taken=1900)
    (small,) = make_pools("Small", pools=1, segments=80)
    user = make_user()

    def allocate_in(pool):
        return lambda number: allocate(f"cluster-{number}", user=user, pool=pool)

    assert ratio(allocate_in(large), allocate_in(small), 60) <= 2


def test_import_is_cheaper_than_saving_one_by_one():
    pools, user = make_pools("Pool", pools=8, segments=1), make_user(is_superuser=True)

    def network(number):
        return f"10.{100 + number // 256}.{number % 256}.0/24"

    def import_into(turn):
        pool = pools[2 * turn].name
        rows = [
            {
                "site": pool,
                "vrf": pool,
                "vlan_id": number + 100,
                "epg_name": f"NEW_{number}",
                "segment": network(number),
            }
            for number in range(IMPORTED)
        ]
        assert import_segments(enumerate(rows), user=user).count("created") == IMPORTED

    def save(turn):
        pool = pools[2 * turn + 1]
        with change_tracking(user), transaction.atomic():
            for number in range(IMPORTED):
                vlan = VLAN(group=pool.vlan_group, vid=number + 100, name=f"NEW_{number}")
                vlan.save()
                Prefix(prefix=network(number), vrf=pool.vrf, vlan=vlan, status="active").save()

    assert ratio(import_into, save, 3, warm_up=1) <= 0.6
