"""Scenarios of operations on whole pools during allocations; they run like those of `scenarios`."""

import sys
import time

import django

django.setup()

from netbox_vlan_manager.exceptions import VLANManagerError  # noqa: E402
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool  # noqa: E402
from netbox_vlan_manager.services import allocate, release_allocation  # noqa: E402
from netbox_vlan_manager.services.onboarding.importing import import_segments  # noqa: E402
from netbox_vlan_manager.services.pools.merging import merge_pool  # noqa: E402
from netbox_vlan_manager.services.pools.retiring import delete_drained, retire_pool  # noqa: E402
from tests.concurrency.scenarios import ask, in_processes, make_big_pool, patiently, report  # noqa: E402
from tests.factories import make_pool, make_user  # noqa: E402


def make_pair(segments):
    """Return a pool at Site1 with that many segments, and one at Site2 with ten segments and other VLAN IDs."""
    pool = make_big_pool(segments)
    into = make_pool(scope="Site2", vid_ranges=((1, 4094),), container="11.0.0.0/8")
    rows = [
        (
            None,
            {
                "site": "Site2",
                "vrf": "Network1",
                "vlan_id": str(3000 + number),
                "epg_name": f"EPG_{3000 + number}",
                "segment": f"11.0.{number}.0/24",
            },
        )
        for number in range(10)
    ]
    import_segments(rows, user=make_user(), atomic=True, enforce=False)
    return pool, into


def merge_user():
    user = make_user("merger")
    user.is_superuser = True
    user.save()
    return user


def allocating():
    """15 processes ask for 300 clusters, by site and VRF, while one merges the pool of 200 segments into another."""
    pool, into = make_pair(200)
    user = merge_user()

    def one(number):
        def work():
            allocation, created = allocate(f"cluster-{number:03}", site="Site1", vrf="Network1", user="operator")
            return {"cluster": allocation.cluster_name, "id": allocation.pk, "created": created}

        time.sleep(number * 0.001)
        return patiently(work)

    def merge():
        time.sleep(0.3)
        result = patiently(lambda: merge_pool(pool, into, user=user))
        return f"merged {result.segments} segments"

    tasks = [merge, *(lambda n=n: one(n) for n in range(300))]
    # The first process only merges.
    order = [tasks[0]]
    rest = tasks[1:]
    while rest:
        order += rest[:15]
        rest = rest[15:]
        order.append(lambda: "idle")
    outcomes = in_processes(order, 16)
    report(
        outcomes,
        held=sorted(Allocation.objects.active().values_list("pk", "cluster_name", "pool__name", "pool_name")),
        pools=list(SegmentPool.objects.values_list("name", flat=True)),
        segments=Segment.objects.filter(pool=into).count(),
    )


def churning():
    """12 processes allocate, and release by the allocation's id, while the pool is merged into another."""
    pool, into = make_pair(60)
    user = merge_user()

    def churn(number):
        rounds = 0
        for turn in range(25):
            try:
                held = patiently(lambda turn=turn: ask_for(f"cluster-{number}", turn))
                patiently(lambda held=held: release_allocation(held, user="operator"))
                rounds += 1
            except VLANManagerError as error:
                # Twelve processes may ask at once for the ten segments of the other pool.
                if error.code not in ("pool_not_found", "pool_exhausted"):
                    raise
        return {"rounds": rounds}

    def ask_for(name, turn):
        return allocate(name, site="Site1" if turn % 2 else "Site2", vrf="Network1", user="operator").allocation

    def merge():
        time.sleep(0.5)
        for _try in range(50):
            try:
                return f"merged {merge_pool(pool, into, user=user).segments} segments"
            except VLANManagerError as error:
                if error.code not in ("busy", "pool_conflict"):
                    raise
                time.sleep(0.02)
        return "gave up"

    outcomes = in_processes([merge, *(lambda n=n: churn(n) for n in range(12))], 13)
    report(outcomes, pools=list(SegmentPool.objects.values_list("name", flat=True)))


def retiring():
    """15 processes allocate while one retires the pool and another deletes it once drained, ten times."""
    rounds = []
    for number in range(10):
        pool = make_pool(scope=f"Site{number}", segments=12, container=f"10.{number}.0.0/16", vid_ranges=((1, 50),))

        def retire(pool=pool):
            time.sleep(0.01)
            return "retired" if patiently(lambda: retire_pool(pool, user="operator")) else "?"

        def drain():
            time.sleep(0.02)
            delete_drained()
            return "drained"

        tasks = [lambda n=n, pool=pool, number=number: ask(f"cluster-{number}-{n}", pool) for n in range(14)]
        outcomes = in_processes([retire, *tasks, drain], 16)
        answered = sorted(one["cluster"] for one in outcomes if isinstance(one, dict))
        held = Allocation.objects.active().filter(pool=pool).order_by("cluster_name")
        rounds.append(
            {
                "same": answered == list(held.values_list("cluster_name", flat=True)),
                "others": sorted({one for one in outcomes if isinstance(one, str)}),
                "statuses": list(SegmentPool.objects.filter(pk=pool.pk).values_list("status", flat=True)),
                "held": len(answered),
            }
        )
    report([], rounds=rounds)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
