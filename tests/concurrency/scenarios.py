"""
Scenarios of many processes against one PostgreSQL, each printed as JSON: python -m tests.concurrency.scenarios NAME.

A scenario runs in a process of its own, with a database that nothing else uses. It sets NetBox up once and forks, so
that each worker has its own connection and costs no start-up.
"""

import json
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from contextlib import contextmanager

import django

django.setup()

import psycopg  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.exceptions import ValidationError  # noqa: E402
from django.db import connection, connections  # noqa: E402

from core.models import ObjectChange  # noqa: E402
from ipam.models import VLAN, Prefix, VLANGroup  # noqa: E402
from netbox_vlan_manager.exceptions import VLANManagerError  # noqa: E402
from netbox_vlan_manager.models import Allocation, Segment  # noqa: E402
from netbox_vlan_manager.services import (  # noqa: E402
    allocate,
    create_pool,
    create_segment,
    disable_segment,
    enable_segment,
    release,
)
from netbox_vlan_manager.services.consistency import find_drift  # noqa: E402
from netbox_vlan_manager.services.importing import import_segments  # noqa: E402
from tests.factories import make_pool, make_site, make_user, make_vrf  # noqa: E402

FORK = multiprocessing.get_context("fork")

# Filled by `record_events`, which scenarios put into NetBox's events pipeline.
events = []


def record_events(flushed):
    """A stage of NetBox's EVENTS_PIPELINE that remembers what it is given."""
    events.extend(f"{event['object_type'].model} {event['event_type']}" for event in flushed)


def make_big_pool(segments):
    """Return a pool with so many /24 segments, made by one import."""
    pool = make_pool(vid_ranges=((1, 4094),), container="10.0.0.0/8")
    rows = [
        (
            None,
            {
                "site": "Site1",
                "vrf": "Network1",
                "vlan_id": str(number + 1),
                "epg_name": f"EPG_{number + 1}",
                "segment": f"10.{number // 256}.{number % 256}.0/24",
            },
        )
        for number in range(segments)
    ]
    import_segments(rows, user=make_user(), atomic=True, enforce=False)
    return pool


def in_processes(tasks, processes):
    """
    Run `tasks`, functions without arguments, in so many processes that begin together; return their results.

    An error of the plugin's comes back as its code, any other as its traceback.
    """
    connections.close_all()
    results = FORK.Queue()
    barrier = FORK.Barrier(processes)

    def work(own_tasks):
        outcomes = []
        connection.ensure_connection()
        barrier.wait()
        for task in own_tasks:
            try:
                outcomes.append(task())
            except VLANManagerError as error:
                outcomes.append(error.code)
            except Exception:
                outcomes.append(traceback.format_exc())
        results.put(outcomes)

    workers = [FORK.Process(target=work, args=(tasks[number::processes],)) for number in range(processes)]
    for worker in workers:
        worker.start()
    outcomes = [outcome for _worker in workers for outcome in results.get(timeout=300)]
    for worker in workers:
        worker.join()
    return outcomes


@contextmanager
def other_session():
    """A connection of another session, in a transaction that is rolled back at the end."""
    config = connection.settings_dict
    session = psycopg.connect(
        host=config["HOST"],
        port=config["PORT"],
        user=config["USER"],
        password=config["PASSWORD"],
        dbname=config["NAME"],
    )
    with session:
        yield session
        session.rollback()


def wait_until_blocked(session, count=1):
    """Return when so many sessions of this database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _attempt in range(500):
        with psycopg.connect(session.info.dsn, password=session.info.password, autocommit=True) as observer:
            if observer.execute(query).fetchone()[0] >= count:
                return
        time.sleep(0.01)
    raise TimeoutError("No session came to wait for a lock")


def ask(cluster_name, pool):
    """Allocate as the test user and return what a client would get."""
    allocation, created = allocate(cluster_name, pool=pool, user="operator")
    return {"cluster": allocation.cluster_name, "vid": allocation.vid, "created": created}


def report(outcomes, **more):
    """Print the outcomes, the drift found afterwards, and what the tables hold."""
    answers = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    others = [outcome for outcome in outcomes if not isinstance(outcome, dict)]
    active = list(Allocation.objects.active().values_list("cluster_name", "vid"))
    print(
        json.dumps(
            {
                "answers": answers,
                "others": Counter(others),
                "active": active,
                "drift": [drift.message for drift in find_drift()],
                **more,
            }
        )
    )


def rush():
    """16 processes, 400 clusters, 300 segments."""
    pool = make_big_pool(300)
    report(in_processes([lambda n=n: ask(f"cluster-{n:03}", pool) for n in range(400)], 16))


def one_cluster():
    """50 processes ask at once for the same cluster, in different case."""
    pool = make_big_pool(60)
    report(in_processes([lambda n=n: ask("Prod-01" if n % 2 else "prod-01", pool) for n in range(50)], 50))


def last_segment():
    """Two clusters ask for the last segment, twenty times over."""
    pool = make_big_pool(1)
    rounds = []
    for number in range(20):
        outcomes = in_processes([lambda n=n: ask(f"cluster-{n}", pool) for n in (number, number + 100)], 2)
        rounds.append(sorted(outcome if isinstance(outcome, str) else "allocated" for outcome in outcomes))
        (held,) = Allocation.objects.active()
        release(held.cluster_name, pool=pool, user="operator")
    report([], rounds=rounds)


def last_disabled():
    """One asks for the last segment while another disables it, thirty times over."""
    pool = make_big_pool(1)
    segment = Segment.objects.get()
    rounds = []

    def disable():
        return disable_segment(segment, user="operator", reason="Race").segment.status

    for number in range(30):
        outcomes = in_processes([lambda n=number: ask(f"cluster-{n}", pool), disable], 2)
        segment.refresh_from_db()
        rounds.append([*sorted(o if isinstance(o, str) else "allocated" for o in outcomes), "then", segment.status])
        if segment.status == "allocated":
            release(f"cluster-{number}", pool=pool, user="operator")
        else:
            enable_segment(segment, user="operator")
    report([], rounds=rounds)


def disabling():
    """12 processes allocate and release in a pool of 8 segments, over and over, while 8 disable and enable these."""
    pool = make_big_pool(8)
    segments = list(Segment.objects.all())
    quiet = {"pool_exhausted", "segment_in_use", "allocation_not_found"}

    def turn(work):
        for _round in range(15):
            for step in work:
                try:
                    step()
                except VLANManagerError as error:
                    if error.code not in quiet:
                        raise
        return "done"

    def cluster(number):
        name = f"cluster-{number}"
        return turn([lambda: ask(name, pool), lambda: release(name, pool=pool, user="operator")])

    def operator(segment):
        return turn(
            [
                lambda: disable_segment(segment, user="operator", reason="Race"),
                lambda: enable_segment(segment, user="operator"),
            ]
        )

    tasks = [lambda n=n: cluster(n) for n in range(12)] + [lambda s=s: operator(s) for s in segments]
    outcomes = in_processes(tasks, 20)
    changes = ObjectChange.objects.filter(changed_object_type__model="segment", action="update")
    steps = changes.values_list("prechange_data__status", "postchange_data__status")
    report(
        outcomes,
        steps=sorted({f"{before} {after}" for before, after in steps}),
        history=Allocation.objects.count(),
        reasons=sorted(set(Segment.objects.values_list("disabled_reason", flat=True))),
    )


def churn():
    """16 processes allocate and release 24 clusters in a pool of 8, over and over."""
    pool = make_big_pool(8)

    def turn(number):
        for _round in range(15):
            try:
                ask(f"cluster-{number}", pool)
                release(f"cluster-{number}", pool=pool, user="operator")
            except VLANManagerError as error:
                if error.code != "pool_exhausted":
                    raise
        return "done"

    report(in_processes([lambda n=n: turn(n) for n in range(24)], 16), history=Allocation.objects.count())


def same_releases():
    """16 processes release the same 10 clusters: each release happens once."""
    pool = make_big_pool(10)
    for number in range(10):
        ask(f"cluster-{number}", pool)

    def give_back(number):
        return "released" if release(f"cluster-{number}", pool=pool, user="operator").released else "was released"

    report(in_processes([lambda n=n: give_back(n % 10) for n in range(160)], 16))


def held_by_rolled_back():
    """The only available row is locked by a transaction that rolls back: the pool is not exhausted."""
    pool = make_big_pool(1)
    with other_session() as holder:
        holder.execute("UPDATE netbox_vlan_manager_segment SET status = 'allocated'")
        connections.close_all()
        with FORK.Pool(1) as workers:
            result = workers.apply_async(ask, ("cluster-1", pool))
            wait_until_blocked(holder)
            holder.rollback()
            outcomes = [result.get(timeout=60)]
    report(outcomes)


def held_for_long():
    """The only available row stays locked: the call answers busy, not exhausted, and changes nothing."""
    pool = make_big_pool(1)
    with other_session() as holder:
        holder.execute("UPDATE netbox_vlan_manager_segment SET status = 'allocated'")
        outcomes = in_processes([lambda: ask("cluster-1", pool)], 1)
    report(outcomes, changes=ObjectChange.objects.filter(changed_object_type__model="allocation").count())


def deadlock():
    """
    A release that has written its segment and allocation runs into a deadlock, and is tried again.

    The other session holds the prefix, which the release writes last, and then wants the release's cluster lock.
    """
    from netbox_vlan_manager.services import transactions

    pool = make_big_pool(1)
    ask("cluster-1", pool)
    settings.EVENTS_PIPELINE = [f"{__name__}.record_events"]
    before = ObjectChange.objects.count()
    key = transactions._cluster_number(pool.pk, "cluster-1", "")
    tries = FORK.Value("i", 0)

    def give_back():
        handler = transactions.logger.info
        transactions.logger.info = lambda *args: (setattr(tries, "value", tries.value + 1), handler(*args))
        release("cluster-1", pool=pool, user="operator")
        return {"events": events}

    with other_session() as other:
        other.execute("SELECT 1 FROM ipam_prefix WHERE prefix = '10.0.0.0/24' FOR UPDATE")
        connections.close_all()
        results = FORK.Queue()
        worker = FORK.Process(target=lambda: results.put(give_back()))
        worker.start()
        wait_until_blocked(other)
        other.execute("SELECT pg_advisory_xact_lock(%s)", [key])
        other.rollback()
        outcomes = [results.get(timeout=60)]
        worker.join()
    changes = ObjectChange.objects.order_by("pk")[before:]
    report(
        outcomes,
        retries=tries.value,
        changes=[change.changed_object_type.model for change in changes],
        request_ids=len({change.request_id for change in changes}),
    )


def same_segment():
    """16 processes create the same segment, and 16 others segments that overlap it."""
    pool = make_pool(vid_ranges=((1, 4094),), container="10.0.0.0/8")
    user = make_user()

    def make(number):
        own = {"vid": 7, "epg_name": "EPG_7", "prefix": "10.0.0.0/24"}
        other = {"vid": 100 + number, "epg_name": f"EPG_{number}", "prefix": f"10.0.0.{number % 16 * 16}/28"}
        try:
            segment = create_segment(pool, user=user, **(own if number % 2 else other))
        except Exception as error:
            return type(error).__name__
        return {"vid": segment.vid}

    outcomes = in_processes([lambda n=n: make(n) for n in range(32)], 16)
    report(outcomes, segments=Segment.objects.count(), vlans=VLAN.objects.count(), prefixes=Prefix.objects.count())


def same_pool():
    """Eight processes create the same pool: one makes it, with one VLAN group and one container."""
    vrf, site, user = make_vrf(), make_site(), make_user()

    def make(number):
        try:
            return create_pool(user=user, vrf=vrf, scope=site, prefixes=["10.0.0.0/16"]).name
        except ValidationError:
            return "exists"

    outcomes = in_processes([lambda n=n: make(n) for n in range(8)], 8)
    report(outcomes, groups=VLANGroup.objects.count(), prefixes=Prefix.objects.count())


def same_import():
    """Two processes import the same 200 rows at once."""
    make_pool(vid_ranges=((1, 4094),), container="10.0.0.0/8")
    rows = [
        (
            None,
            {
                "site": "Site1",
                "vrf": "Network1",
                "vlan_id": n + 1,
                "epg_name": f"EPG_{n + 1}",
                "segment": f"10.0.{n}.0/24",
            },
        )
        for n in range(200)
    ]

    def load():
        result = import_segments(rows, user="operator", enforce=False)
        return {status: result.count(status) for status in ("created", "unchanged", "failed")}

    report(in_processes([load, load], 2), segments=Segment.objects.count())


def killed():
    """A process dies between its writes: nothing of them is left, and nobody is kept waiting."""
    import os

    pool = make_big_pool(1)

    def die():
        from netbox_vlan_manager.services import allocation

        allocation.get_setting = lambda name: os._exit(9) if name == "prefix_status_allocated" else 1000
        ask("cluster-1", pool)

    connections.close_all()
    worker = FORK.Process(target=die)
    worker.start()
    worker.join()
    answers = [ask("cluster-2", pool)]
    changes = ObjectChange.objects.filter(changed_object_type__model="allocation").count()
    report(answers, exitcode=worker.exitcode, changes=changes)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
