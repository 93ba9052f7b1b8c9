"""
Scenarios of many processes against one PostgreSQL, each printed as JSON: python -m tests.concurrency.scenarios NAME.

A scenario runs in its own process, with a database that nothing else uses. It sets up NetBox once and forks: each
worker has its own connection and needs no start-up.
"""

import json
import multiprocessing
import sys
import time
import traceback
import uuid
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from itertools import zip_longest
from unittest.mock import patch

import django

django.setup()

import psycopg  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.exceptions import ValidationError  # noqa: E402
from django.db import connection, connections  # noqa: E402
from django.utils import timezone  # noqa: E402

from core.models import Job, ObjectChange  # noqa: E402
from dcim.models import SiteGroup  # noqa: E402
from ipam.models import VLAN, Prefix, VLANGroup  # noqa: E402
from netbox_vlan_manager.exceptions import Busy, VLANManagerError  # noqa: E402
from netbox_vlan_manager.jobs import LifeCycleJob  # noqa: E402
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool  # noqa: E402
from netbox_vlan_manager.services import (  # noqa: E402
    allocate,
    allocate_many,
    allocate_stretched,
    create_pool,
    create_segment,
    disable_segment,
    enable_segment,
    generate_segments,
    release,
    release_allocation,
    renew,
    share,
)
from netbox_vlan_manager.services.allocations.leases import expire_due  # noqa: E402
from netbox_vlan_manager.services.allocations.requests import AllocationRequest  # noqa: E402
from netbox_vlan_manager.services.base import transactions  # noqa: E402
from netbox_vlan_manager.services.drift.findings import find_drift  # noqa: E402
from netbox_vlan_manager.services.onboarding.importing import import_segments  # noqa: E402
from netbox_vlan_manager.services.reporting.export import segment_rows  # noqa: E402
from netbox_vlan_manager.services.segments.quarantine import promote_all  # noqa: E402
from tenancy.models import Tenant  # noqa: E402
from tests.api.base import client_of, url_of  # noqa: E402
from tests.factories import make_pool, make_site, make_user, make_vrf  # noqa: E402
from virtualization.models import Cluster, ClusterType  # noqa: E402

FORK = multiprocessing.get_context("fork")

# How long calls wait for locks, in milliseconds: on a busy machine 16 processes take seconds for what takes one
# milliseconds, and what is tried is not the machine.
PATIENCE = 60_000
# The scenarios that are about the timeouts themselves.
TIMED = ("held_for_long",)

# Filled by `record_events`, which scenarios put into NetBox's events pipeline.
events = []


def record_events(flushed):
    """A stage of NetBox's EVENTS_PIPELINE that records the events it gets."""
    events.extend(f"{event['object_type'].model} {event['event_type']}" for event in flushed)


def record_own_events(flushed):
    """A stage of EVENTS_PIPELINE that records the plugin's own events with their objects."""
    own = [event for event in flushed if event["event_type"].startswith("vlan_manager_")]
    events.extend(f"{event['event_type']} {event['object_id']}" for event in own)


def make_big_pool(segments):
    """Return a pool with that many /24 segments, made by one import."""
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
    Run `tasks`, functions without arguments, in that many processes, which begin together; return their results.

    An error of the plugin is returned as its code, any other error as its traceback.
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
    """A connection in another session, with a transaction that is rolled back at the end."""
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
    """Return once that many sessions of this database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _attempt in range(500):
        with psycopg.connect(session.info.dsn, password=session.info.password, autocommit=True) as observer:
            if observer.execute(query).fetchone()[0] >= count:
                return
        time.sleep(0.01)
    raise TimeoutError("No session came to wait for a lock")


def patiently(work):
    """Do what a client does: try again after a Busy."""
    for _try in range(60):
        try:
            return work()
        except Busy:
            time.sleep(0.05)
    return "busy for good"


def ask(cluster_name, pool, **asked):
    """Allocate as the test user and return the answer of a client."""
    allocation, created = allocate(cluster_name, pool=pool, user="operator", **asked)
    return {"cluster": allocation.cluster_name, "vid": allocation.vid, "created": created}


def configure(pool, **values):
    """Write settings of a pool, and return the reloaded pool."""
    SegmentPool.objects.filter(pk=pool.pk).update(**values)
    return SegmentPool.objects.get(pk=pool.pk)


def move(queryset, field):
    """Set the time in `field` to a second ago."""
    queryset.update(**{field: timezone.now() - timedelta(seconds=1)})


def report(outcomes, **more):
    """Print the outcomes, the drift that is found afterwards, and the contents of the tables."""
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
    """16 processes ask for 400 clusters in a pool of 300 segments."""
    pool = make_big_pool(300)
    report(in_processes([lambda n=n: ask(f"cluster-{n:03}", pool) for n in range(400)], 16))


def one_cluster():
    """50 processes ask at once for the same cluster, in different case."""
    pool = make_big_pool(60)
    report(in_processes([lambda n=n: ask("Prod-01" if n % 2 else "prod-01", pool) for n in range(50)], 50))


def last_segment():
    """Two clusters ask for the last segment, twenty times."""
    pool = make_big_pool(1)
    rounds = []
    for number in range(20):
        outcomes = in_processes([lambda n=n: ask(f"cluster-{n}", pool) for n in (number, number + 100)], 2)
        rounds.append(sorted(outcome if isinstance(outcome, str) else "allocated" for outcome in outcomes))
        (held,) = Allocation.objects.active()
        release(held.cluster_name, pool=pool, user="operator")
    report([], rounds=rounds)


def last_disabled():
    """One process asks for the last segment while another disables it, thirty times."""
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
    """12 processes repeatedly allocate and release in a pool of 8 segments, while 8 others disable and enable them."""
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
    """16 processes repeatedly allocate and release for 24 clusters in a pool of 8 segments."""
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


def exports():
    """Eight processes export all 600 segments, a chunk at a time, while eight others allocate and release."""
    pool = make_big_pool(600)

    def read():
        return {"vids": [row[2] for row in segment_rows(Segment.objects.all())]}

    def turn(number):
        for _round in range(5):
            ask(f"cluster-{number}", pool)
            release(f"cluster-{number}", pool=pool, user="operator")
        return "done"

    tasks = [task for number in range(16) for task in (read, lambda n=number: turn(n))]
    report(in_processes(tasks, 16))


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

    The other session holds the prefix, which the release writes last, and then asks for the release's cluster lock.
    """
    pool = make_big_pool(1)
    ask("cluster-1", pool)
    settings.EVENTS_PIPELINE = [f"{__name__}.record_events"]
    before = ObjectChange.objects.count()
    key = transactions._cluster_number(pool.vrf_id, "cluster-1", "")
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
    """16 processes create the same segment, and 16 others create segments that overlap it."""
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
    """A process dies between its writes: none of them remains, and no other session keeps waiting."""
    import os

    pool = make_big_pool(1)

    def die():
        from netbox_vlan_manager.services.segments import prefix_status

        prefix_status.get_setting = lambda name: os._exit(9) if name == "prefix_status_allocated" else "active"
        ask("cluster-1", pool)

    connections.close_all()
    worker = FORK.Process(target=die)
    worker.start()
    worker.join()
    answers = [ask("cluster-2", pool)]
    changes = ObjectChange.objects.filter(changed_object_type__model="allocation").count()
    report(answers, exitcode=worker.exitcode, changes=changes)


def last_holder():
    """The last holder of a segment releases it while another cluster begins to share it, twenty times."""
    pool = make_big_pool(1)
    segment = Segment.objects.select_related("pool").get()
    rounds = []
    for number in range(20):
        ask(f"holder-{number}", pool)

        def give_back(number=number):
            return "released" if release(f"holder-{number}", pool=pool, user="operator").released else "was released"

        def join(number=number):
            return "shares" if share(segment, f"sharer-{number}", user="operator").created else "shared"

        outcomes = in_processes([give_back, join], 2)
        holders = Allocation.objects.active().values_list("cluster_name", flat=True)
        rounds.append([*sorted(outcomes), *(name.rstrip("0123456789") for name in holders)])
        release(f"sharer-{number}", pool=pool, user="operator")
    report([], rounds=rounds)


def expired_or_renewed():
    """A client renews an expired lease while the job releases it, twenty times."""
    pool = make_big_pool(1)
    rounds = []
    for number in range(20):
        lease = allocate(f"cluster-{number}", pool=pool, user="operator").allocation
        move(Allocation.objects.filter(pk=lease.pk), "expires_at")

        def extend(lease=lease):
            try:
                renew(lease, user="operator", expires_at=timezone.now() + timedelta(hours=1))
            except ValidationError:
                return "too late"
            return "renewed"

        outcomes = in_processes([lambda: f"{expire_due()} expired", extend], 2)
        lease.refresh_from_db()
        rounds.append([*sorted(outcomes), lease.status])
        if lease.released_at is None:
            release(lease.cluster_name, pool=pool, user="operator")
    report([], rounds=rounds)


def nearer_pool():
    """
    20 clusters repeatedly ask for a site while two pools are added there; they release at the end.

    Each cluster reports the VLAN IDs of its answers.
    """
    group = SiteGroup.objects.create(name="Group", slug="group")
    site, other = make_site("Site1", group=group), make_site("Site2", group=group)
    make_pool(scope=group, container="10.1.0.0/16", vid_ranges=((100, 199),), segments=30)
    user = make_user()

    def cluster(number):
        answers = []
        for turn in range(12):
            place = (site, other)[number % 2] if turn < 6 else site
            asked = {"site": place.slug, "vrf": "Network1", "user": user}
            answers.append(allocate(f"cluster-{number}", **asked).allocation.vid)
            time.sleep(0.02)
        return {"cluster": f"cluster-{number}", "vids": answers[:6], "later": answers[6:]}

    def add(place, first):
        time.sleep(0.15)
        make_pool(
            scope=place,
            container=f"10.{first // 100}.0.0/16",
            vid_ranges=((first, first + 99),),
            segments=30,
        )
        return "added"

    tasks = [lambda n=n: cluster(n) for n in range(20)]
    outcomes = in_processes([lambda: add(site, 500), lambda: add(other, 600), *tasks], 22)
    held = Counter(Allocation.objects.active().values_list("cluster_name", flat=True))
    doubles = [
        one.pk
        for one in Allocation.objects.active()
        for two in Allocation.objects.active().of_cluster(one.cluster_name).exclude(pk=one.pk)
        if set(one.places) & set(two.places)
    ]
    report(outcomes, held=held, doubles=doubles)


def overdue():
    """
    All 24 leases of a full pool have expired: their clusters and 12 others ask at once, during two runs of the job. Ten
    times.
    """
    pool = make_big_pool(24)
    rounds = []
    for number in range(10):
        names = [f"owner-{number}-{n}" for n in range(24)]
        for name in names:
            ask(name, pool)
        move(Allocation.objects.unreleased(), "expires_at")

        def job():
            expire_due()
            return "done"

        names = [*names[:12], *(f"other-{number}-{n}" for n in range(12))]
        outcomes = in_processes([job, job, *(lambda name=name: ask(name, pool) for name in names)], 16)
        active = list(Allocation.objects.active().values_list("vid", flat=True))
        rounds.append(
            {
                "others": Counter(one for one in outcomes if isinstance(one, str)),
                "created": [one["created"] for one in outcomes if isinstance(one, dict)].count(True),
                "active": sorted(active) == list(range(1, 25)),
            }
        )
        for name in names:
            release(name, pool=pool, user="operator")
    report([], rounds=rounds, reasons=Counter(Allocation.objects.values_list("release_reason", flat=True)))


def _batches(work):
    """Let two callers ask for the same ten VLAN IDs, one upwards and one downwards, five times."""
    pool = make_big_pool(10)
    rounds = []
    for number in range(5):

        def batch(name, vids, number=number):
            work(pool, [(f"{name}-{number}-{vid}", vid) for vid in vids])
            return "all"

        up = lambda batch=batch: batch("up", range(1, 11))  # noqa: E731
        down = lambda batch=batch: batch("down", range(10, 0, -1))  # noqa: E731
        outcomes = in_processes([up, down], 2)
        held = list(Allocation.objects.active().values_list("cluster_name", flat=True))
        rounds.append([*sorted(outcomes), len(held), len({name.split("-")[0] for name in held})])
        for name in held:
            release(name, pool=pool, user="operator")
    report([], rounds=rounds)


def opposite_batches():
    """Two batches ask for each other's segments."""

    def work(pool, wanted):
        allocate_many([AllocationRequest.clean(name, pool=pool, vid=vid) for name, vid in wanted], user="operator")

    _batches(work)


def opposite_transactions():
    """Two transactions of many calls, as scripts make them, ask for each other's segments."""

    def work(pool, wanted):
        transactions.run(lambda: [ask(name, pool, vid=vid) for name, vid in wanted])

    _batches(work)


def opposite_lists():
    """
    Two lists by REST ask for each other's segments, then for each other's limits, then release segments that both
    share; ten times. Each reports its status and the number of retries.
    """
    pool = make_big_pool(10)
    user = make_user("root", is_superuser=True)
    client = client_of(user)
    path = url_of("allocation-list")

    def call(method, body):
        with patch.object(transactions.logger, "info") as log:
            status = getattr(client, method)(path, body, format="json").status_code
        return f"{status} after {log.call_count} retries"

    def in_both(method, up, down):
        return sorted(in_processes([lambda: call(method, up), lambda: call(method, down)], 2))

    def release_all():
        for held in Allocation.objects.active():
            release_allocation(held, user=user)

    rounds = []
    for number in range(10):
        items = {
            name: [{"cluster_name": f"{name}-{number}-{vid}", "pool": pool.pk, "vid": vid} for vid in range(1, 11)]
            for name in ("up", "down")
        }
        vids = in_both("post", items["up"], items["down"][::-1])
        release_all()

        configure(pool, max_per_cluster=2)
        names = [f"cluster-{number}-{n}" for n in range(5)]
        items = [{"cluster_name": name, "pool": pool.pk} for name in names]
        limits = in_both("post", items, [{**item, "purpose": "storage"} for item in items[::-1]])
        configure(pool, max_per_cluster=None)
        release_all()

        shared = [
            share(segment, f"{name}-{segment.vid}", user=user)
            for segment in Segment.objects.all()
            for name in ("up", "down")
        ]
        ids = [{"id": result.allocation.pk} for result in shared]
        releases = in_both("delete", ids[::2], ids[:0:-2])
        rounds.append([vids, limits, releases])
    report([], rounds=rounds)


def stretched():
    """16 processes ask for the same VLAN ID at two sites, or for any VLAN ID at one of them."""
    pools = [
        make_pool("Network1", f"Site{n}", container=f"10.{n}.0.0/16", vid_ranges=((1, 60),), segments=60)
        for n in range(2)
    ]

    def both(number):
        results = allocate_stretched(f"both-{number}", pools=pools, user="operator")
        return {"vids": [result.allocation.vid for result in results]}

    tasks = []
    for n in range(24):
        tasks += [lambda n=n: both(n), lambda n=n: ask(f"one-{n}", pools[n % 2])]
    report(in_processes(tasks, 16))


def limits():
    """8 processes ask for one cluster's many purposes, then for many clusters of one tenant, in a pool with limits."""
    pool = configure(make_big_pool(60), max_per_cluster=3)
    outcomes = in_processes([lambda n=n: ask("one", pool, purpose=f"p{n}") for n in range(32)], 8)

    tenant = Tenant.objects.create(name="T", slug="t")
    kind = ClusterType.objects.create(name="K", slug="k")
    for number in range(32):
        Cluster.objects.create(name=f"many-{number}", type=kind, tenant=tenant)
    pool = configure(pool, max_per_tenant=5)
    outcomes += in_processes([lambda n=n: ask(f"many-{n}", pool) for n in range(32)], 8)
    report(outcomes)


def jobs():
    """Four simultaneous runs of the job of every minute."""
    pool = configure(make_big_pool(40), cooldown=3600, warning_threshold=20)
    leases = [allocate(f"cluster-{n}", pool=pool, user="operator").allocation.pk for n in range(30)]
    for n in range(20, 30):
        release(f"cluster-{n}", pool=pool, user="operator")
    move(Segment.objects.filter(status="quarantined"), "quarantined_until")
    move(Allocation.objects.filter(pk__in=leases[:10]), "expires_at")
    Allocation.objects.filter(pk__in=leases[10:20]).update(expires_at=timezone.now() + timedelta(minutes=5))
    # The remaining usage is above the threshold.
    settings.EVENTS_PIPELINE = [f"{__name__}.record_own_events"]
    before = ObjectChange.objects.count()

    def work(number):
        LifeCycleJob(Job(name="Race", job_id=uuid.uuid4())).run()
        return {"events": events}

    outcomes = in_processes([lambda n=n: work(n) for n in range(4)], 4)
    changes = ObjectChange.objects.order_by("pk")[before:]
    report(
        outcomes,
        expected=sorted(
            [f"vlan_manager_expired {pk}" for pk in leases[:10]]
            + [f"vlan_manager_expiring {pk}" for pk in leases[10:20]]
            + [f"vlan_manager_threshold_passed {pool.pk}"]
        ),
        reasons=Counter(Allocation.objects.values_list("release_reason", flat=True)),
        promoted=sum(
            change.prechange_data.get("status") == "quarantined" and change.changed_object_type.model == "segment"
            for change in changes
        ),
    )


def promotions():
    """Clusters ask for segments whose cool-down is over while the job promotes them, ten times."""
    pool = configure(make_big_pool(12), cooldown=3600)
    rounds = []
    for number in range(10):
        Segment.objects.update(status="quarantined")
        move(Segment.objects.all(), "quarantined_until")

        def job():
            promote_all()
            return "done"

        tasks = [lambda n=n, number=number: ask(f"cluster-{number}-{n}", pool) for n in range(12)]
        outcomes = in_processes([job, *tasks[:6], job, *tasks[6:]], 14)
        rounds.append(Counter(one if isinstance(one, str) else "allocated" for one in outcomes))
        for name in Allocation.objects.active().values_list("cluster_name", flat=True):
            release(name, pool=pool, user="operator")
    report([], rounds=rounds)


def orders():
    """16 processes ask for all 48 segments of a pool, in each allocation order."""
    pool = make_big_pool(48)
    rounds = {}
    for order in ("lowest", "highest", "least-recently-used", "random"):
        pool = configure(pool, allocation_order=order)
        names = [f"{order}-{n}" for n in range(48)]
        outcomes = in_processes([lambda name=name, pool=pool: ask(name, pool) for name in names], 16)
        rounds[order] = sorted(one if isinstance(one, str) else one["vid"] for one in outcomes)
        give_back = [lambda n=n, pool=pool: release(n, pool=pool, user="operator").released for n in names]
        in_processes(give_back, 16)
    report([], rounds=rounds)


def ask_grown(cluster_name, pool):
    """Allocate as `ask` does, and return the pool, VLAN ID and prefix."""
    allocation = allocate(cluster_name, pool=pool, user="operator").allocation
    return {"pool": pool.pk, "vid": allocation.vid, "prefix": str(allocation.prefix)}


def growing_pool(vrf="Network1", **fields):
    """Return a pool without segments that grows."""
    return make_pool(
        vrf, container="10.0.0.0/8", vid_ranges=((1, 4094),), auto_grow=True, grow_prefix_length=24, **fields
    )


def growth():
    """16 processes ask for 200 clusters in a pool that makes at most 150 segments."""
    pool = growing_pool(grow_limit=150)
    outcomes = in_processes([lambda n=n: ask_grown(f"cluster-{n}", pool) for n in range(200)], 16)
    report(outcomes, segments=Segment.objects.count(), vlans=VLAN.objects.count(), prefixes=Prefix.objects.count())


def growth_in_one_group():
    """16 processes ask two pools that grow in the same VLAN group."""
    pools = [growing_pool()]
    pools.append(growing_pool("Network2", vlan_group=pools[0].vlan_group))
    report(in_processes([lambda n=n: ask_grown(f"cluster-{n}", pools[n % 2]) for n in range(120)], 16))


def growth_beside_an_import():
    """12 processes ask a pool that grows, while others import the segments that it would make, and further ones."""
    pool = growing_pool()

    def bring(first):
        rows = [
            (
                None,
                {
                    "site": "Site1",
                    "vrf": "Network1",
                    "vlan_id": str(first + number),
                    "epg_name": f"imported_{first + number}",
                    "segment": f"10.{first // 256}.{first % 256 + number}.0/24",
                },
            )
            for number in range(100)
        ]
        result = import_segments(rows, user="operator", enforce=False)
        return {"imported": result.count("created"), "failed": result.count("failed")}

    asks = [lambda n=n: ask_grown(f"cluster-{n}", pool) for n in range(96)]
    report(in_processes([lambda: bring(1), lambda: bring(1025), *asks], 14), segments=Segment.objects.count())


def beside_netbox():
    """
    16 processes ask a pool that grows, generate segments, and use NetBox's endpoints for available prefixes and VLANs:
    25 networks of the pool's container and 25 VLAN IDs of its group.
    """
    pool = growing_pool()
    container, group = pool.prefixes.get(), pool.vlan_group
    user = make_user("root", is_superuser=True)
    client = client_of(user)

    def take(path, body, field):
        response = client.post(f"/api/ipam/{path}/", body, format="json")
        return {"status": response.status_code, field: response.json().get(field)}

    def take_prefix():
        return take(f"prefixes/{container.pk}/available-prefixes", {"prefix_length": 24}, "prefix")

    def take_vlan(number):
        return take(f"vlan-groups/{group.pk}/available-vlans", {"name": f"netbox-{number}"}, "vid")

    def generate():
        return {"generated": len(generate_segments(pool, user=user, count=12, prefix_length=24).segments)}

    asks = [lambda n=n: patiently(lambda: ask_grown(f"cluster-{n}", pool)) for n in range(20)]
    vlans = [lambda n=n: take_vlan(n) for n in range(25)]
    # Each process gets tasks of each kind.
    tasks = [
        task
        for four in zip_longest(asks, [lambda: patiently(generate)] * 6, [take_prefix] * 25, vlans)
        for task in four
        if task
    ]
    outcomes = in_processes(tasks, 16)
    networks = Prefix.objects.filter(vrf=pool.vrf).exclude(pk=container.pk)
    report(
        outcomes,
        networks=networks.count(),
        distinct=networks.order_by().values("prefix").distinct().count(),
        segments=Segment.objects.count(),
        vlans=VLAN.objects.filter(group=group).count(),
    )


if __name__ == "__main__":
    if sys.argv[1] not in TIMED:
        settings.PLUGINS_CONFIG["netbox_vlan_manager"].update(lock_timeout=PATIENCE, last_segment_timeout=PATIENCE)
    globals()[sys.argv[1]]()
