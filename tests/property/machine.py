"""
Tries random sequences of all life-cycle operations, several at once: python -m tests.property.machine.

It runs in its own process, with a database that nothing else uses, and forks the clients, each with its own
connection. After every step it compares the tables with the clients' answers, and with the state before.

The environment variable PROPERTY_EXAMPLES is the number of sequences; 30 take about a minute. Failing sequences are
shrunk only in longer runs, since each try takes time and failures that depend on timing may not recur.
"""

import multiprocessing
import os
import traceback
from collections import Counter
from datetime import timedelta

import django

django.setup()

from django.core.exceptions import ValidationError  # noqa: E402
from django.db import connection, connections, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402
from hypothesis import HealthCheck, Phase, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test  # noqa: E402

from core.models import ObjectChange  # noqa: E402
from ipam.models import VLAN, Prefix  # noqa: E402
from netbox_vlan_manager.exceptions import VLANManagerError  # noqa: E402
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool  # noqa: E402
from netbox_vlan_manager.services import (  # noqa: E402
    allocate,
    allocate_many,
    allocate_stretched,
    disable_segment,
    enable_segment,
    end_quarantine,
    release,
    renew,
    set_clusters,
    share,
    update_pool,
    update_segment,
)
from netbox_vlan_manager.services.allocations.leases import expire_due, warn_expiring  # noqa: E402
from netbox_vlan_manager.services.allocations.requests import AllocationRequest  # noqa: E402
from netbox_vlan_manager.services.reporting.thresholds import refresh  # noqa: E402
from netbox_vlan_manager.services.segments.quarantine import promote_all  # noqa: E402
from tenancy.models import Tenant  # noqa: E402
from tests.drift import find_drift  # noqa: E402
from tests.factories import make_pool, make_user  # noqa: E402
from virtualization.models import Cluster, ClusterType  # noqa: E402

FORK = multiprocessing.get_context("fork")
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", 30))
CLIENTS = 4
USER = "operator"
POOLS = (0, 1)
VIDS = (100, 101, 102, 103)
# The number of segments that pool 1 may have; it makes missing ones itself.
GROW_LIMIT = len(VIDS) + 2
DEFAULTS = {
    "status": "active",
    "allocation_order": "lowest",
    "cooldown": 0,
    "max_per_cluster": None,
    "max_per_tenant": None,
    "max_per_request": None,
    "level": "normal",
}


# The clients' operations. Each function takes values that a strategy below drew, and returns the answer's allocations.


def describe(results):
    return [
        {
            "pk": allocation.pk,
            "created": created,
            "cluster": allocation.cluster_name.casefold(),
            "purpose": allocation.purpose,
            "pool": allocation.pool_id,
            "segment": allocation.segment_id,
            "vid": allocation.vid,
            "prefix_length": allocation.prefix.prefixlen,
        }
        for allocation, created in results
    ]


def pool_of(number):
    return SegmentPool.objects.get(name=f"Network1 Site{number}")


def segment_of(pool, vid):
    return Segment.objects.select_related("pool").get(pool=pool_of(pool), vid=vid)


def asked_of(asked):
    """Return the arguments of `allocate` for drawn values."""
    asked = dict(asked)
    if "segment" in asked:
        asked["segment"] = segment_of(*asked["segment"])
    if "lease" in asked:
        asked["expires_at"] = timezone.now() + timedelta(seconds=asked.pop("lease"))
    return asked


def do_allocate(pool, cluster, asked, dry_run):
    return describe([allocate(cluster, pool=pool_of(pool), user=USER, dry_run=dry_run, **asked_of(asked))])


def do_many(items, dry_run):
    requests = [
        AllocationRequest.clean(cluster, pool=pool_of(pool), **asked_of(asked)) for pool, cluster, asked in items
    ]
    return describe(allocate_many(requests, user=USER, dry_run=dry_run))


def do_stretched(cluster, asked, dry_run):
    pools = [pool_of(number) for number in POOLS]
    return describe(allocate_stretched(cluster, pools=pools, user=USER, dry_run=dry_run, **asked_of(asked)))


def do_share(pool, vid, cluster, asked, dry_run):
    return describe([share(segment_of(pool, vid), cluster, user=USER, dry_run=dry_run, **asked_of(asked))])


def do_set_clusters(pool, vid, clusters, dry_run):
    return describe(set_clusters(segment_of(pool, vid), clusters, user=USER, dry_run=dry_run))


def do_release(pool, cluster, purpose):
    release(cluster, pool=pool_of(pool), user=USER, purpose=purpose)
    return []


def do_renew(pool, cluster, purpose, lease):
    held = Allocation.objects.active().of_cluster(cluster).filter(pool=pool_of(pool), purpose=purpose).first()
    if held:
        renew(held, user=USER, expires_at=lease and timezone.now() + timedelta(seconds=lease))
    return []


def do_job():
    promote_all()
    expire_due()
    warn_expiring()
    refresh()
    return []


def do_end_quarantine(pool, vid):
    end_quarantine(segment_of(pool, vid), user=USER)
    return []


def do_disable(pool, vid):
    disable_segment(segment_of(pool, vid), user=USER, reason="Test")
    return []


def do_enable(pool, vid):
    enable_segment(segment_of(pool, vid), user=USER)
    return []


def do_configure(pool, values):
    update_pool(pool_of(pool), user=USER, **values)
    return []


def outcome_of(name, arguments):
    """Return a client's answer: a list of allocations, or the code of an error that it may get."""
    try:
        return globals()[f"do_{name}"](**arguments)
    except VLANManagerError as error:
        return error.code
    except ValidationError:
        return "invalid"
    except Exception:
        return f"UNEXPECTED {traceback.format_exc()}"


def serve(pipe):
    """Run a client until the other end of the pipe is closed."""
    connection.ensure_connection()
    while True:
        try:
            pipe.send(outcome_of(*pipe.recv()))
        except EOFError:
            return


def start_clients():
    """Start that many clients, and return a pipe to each."""
    connections.close_all()
    pipes = []
    for _number in range(CLIENTS):
        ours, theirs = FORK.Pipe()
        FORK.Process(target=serve, args=(theirs,), daemon=True).start()
        theirs.close()
        pipes.append(ours)
    return pipes


# The drawn values: an operation is its name and the arguments of its function.

pools = st.sampled_from(POOLS)
vids = st.sampled_from(VIDS)
clusters = st.sampled_from(("a", "A", "b", "c"))
purposes = st.sampled_from(("", "", "storage"))
leases = st.sampled_from((60, 100_000))
wishes = st.one_of(
    st.just({}),
    st.just({}),
    st.fixed_dictionaries({"vid": vids}),
    st.fixed_dictionaries({"vid_min": vids}, optional={"vid_max": vids}),
    st.fixed_dictionaries({"prefix_length": st.sampled_from((24, 24, 25))}),
    st.fixed_dictionaries({"segment": st.tuples(pools, vids)}),
)
details = st.fixed_dictionaries({"purpose": purposes}, optional={"lease": leases})
asked = st.builds(lambda wish, more: wish | more, wishes, details)
stretched = st.builds(
    lambda wish, more: wish | more, st.one_of(st.just({}), st.fixed_dictionaries({"vid": vids})), details
)
limits = st.one_of(st.none(), st.sampled_from((1, 2)))
pool_values = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(("active", "active", "paused")),
        "allocation_order": st.sampled_from(("lowest", "highest", "least-recently-used", "random")),
        "cooldown": st.sampled_from((0, 3600)),
        "max_per_cluster": limits,
        "max_per_tenant": limits,
        "max_per_request": limits,
    },
)


def operation(name, **strategies):
    return st.tuples(st.just(name), st.fixed_dictionaries(strategies))


def allocating(dry_run):
    return [
        operation("allocate", pool=pools, cluster=clusters, asked=asked, dry_run=dry_run),
        operation("many", items=st.lists(st.tuples(pools, clusters, asked), max_size=4), dry_run=dry_run),
        operation("stretched", cluster=clusters, asked=stretched, dry_run=dry_run),
        operation("share", pool=pools, vid=vids, cluster=clusters, asked=details, dry_run=dry_run),
        operation("set_clusters", pool=pools, vid=vids, clusters=st.lists(clusters, max_size=3), dry_run=dry_run),
    ]


previews = st.one_of(*allocating(st.just(True)))
operations = st.one_of(
    *allocating(st.sampled_from((False, False, False, True))),
    *allocating(st.just(False)),
    operation("release", pool=pools, cluster=clusters, purpose=purposes),
    operation("release", pool=pools, cluster=clusters, purpose=purposes),
    operation("renew", pool=pools, cluster=clusters, purpose=purposes, lease=st.one_of(st.none(), leases)),
    operation("job"),
    operation("end_quarantine", pool=pools, vid=vids),
    operation("disable", pool=pools, vid=vids),
    operation("enable", pool=pools, vid=vids),
    operation("configure", pool=pools, values=pool_values),
)


class LifeCycle(RuleBasedStateMachine):
    """The state machine; `clients` are the pipes to the clients."""

    clients = ()

    def __init__(self):
        super().__init__()
        empty_tables()
        self.log = []
        # The ids of ended allocations whose segment another cluster may get: its cool-down is over, or it had none.
        self.may_follow = set()
        self.state = State()

    @rule(drawn=st.lists(operations, min_size=1, max_size=CLIENTS))
    def step(self, drawn):
        self.do(drawn)

    @rule(drawn=st.lists(previews, min_size=1, max_size=CLIENTS))
    def preview(self, drawn):
        self.do(drawn)

    @rule(drawn=previews)
    def do_as_previewed(self, drawn):
        name, arguments = drawn
        (shown,) = self.do([drawn])
        is_random = any(pool["allocation_order"] == "random" for pool in self.state.pools.values())
        (done,) = self.do([(name, arguments | {"dry_run": False})])
        if not is_random:
            self.check(without_ids(shown) == without_ids(done), "what was previewed is not what was done")

    @rule(pool=pools)
    def cool_downs_end(self, pool):
        cooling = Segment.objects.filter(pool=pool_of(pool), quarantined_until__isnull=False)
        segments = set(cooling.values_list("pk", flat=True))
        cooling.update(quarantined_until=timezone.now() - timedelta(seconds=1))
        self.log.append(f"The cool-downs of segments {segments} end")
        self.may_follow |= {pk for pk, row in self.state.ended.items() if row["segment_id"] in segments}
        self.state = State()

    @rule(pool=pools)
    def leases_end(self, pool):
        leased = Allocation.objects.active().filter(pool=pool_of(pool), expires_at__isnull=False)
        count = leased.update(expires_at=timezone.now() - timedelta(seconds=1))
        self.log.append(f"{count} leases of pool {pool} end")
        self.state = State()

    def do(self, drawn):
        """Let clients do the drawn operations at once, check everything, and return the answers."""
        for client, one in zip(self.clients, drawn, strict=False):
            client.send(one)
        answers = []
        for client, one in zip(self.clients, drawn, strict=False):
            if not client.poll(120):
                raise AssertionError(f"No answer to {one} within two minutes")
            answers.append(client.recv())
        self.log.append("\n    ".join(f"{one} -> {answer}" for one, answer in zip(drawn, answers, strict=True)))
        before, self.state = self.state, State()
        self.compare(before, drawn, answers)
        return answers

    def check(self, holds, problem):
        if not holds:
            raise AssertionError("\n".join([problem, "after", *self.log]))

    def compare(self, before, drawn, answers):
        after = self.state
        for answer in answers:
            self.check(not str(answer).startswith("UNEXPECTED"), "an unexpected exception")
        self.check(not (drift := [one.message for one in find_drift()]), f"drift: {drift}")

        self.compare_history(before)
        real = [
            (name, arguments, answer)
            for (name, arguments), answer in zip(drawn, answers, strict=True)
            if not arguments.get("dry_run")
        ]
        if not real:
            self.check(before == after, "a dry run changed something")
        self.compare_answers(before, real)
        for name, arguments, answer in zip(*zip(*drawn, strict=True), answers, strict=True):
            self.check(isinstance(answer, str) or meets_wishes(name, arguments, answer), "not what was asked for")

        # The settings that each pool may have had while the clients ran.
        for pk, pool in before.pools.items():
            values = [pool] + [
                pool | arguments["values"]
                for name, arguments in drawn
                if name == "configure" and pool["name"].endswith(str(arguments["pool"]))
            ]
            values.append(after.pools[pk])
            self.compare_limits(pk, before, values)
            if any(value["cooldown"] == 0 for value in values):
                ended = after.ended.keys() - before.ended.keys()
                self.may_follow |= {number for number in ended if after.ended[number]["pool_id"] == pk}
        for name, arguments in drawn:
            # Disabling ends a cool-down as well.
            if name in ("disable", "end_quarantine"):
                segment = segment_of(**arguments).pk
                self.may_follow |= {pk for pk, row in after.ended.items() if row["segment_id"] == segment}
        self.compare_cool_downs(before)
        count = Segment.objects.filter(pool=pool_of(1)).count()
        self.check(count <= GROW_LIMIT, f"a pool has grown to {count} segments")

        if len(drawn) == 1 and answers[0] == "pool_exhausted" and drawn[0][0] == "allocate":
            pool, wish = drawn[0][1]["pool"], drawn[0][1]["asked"]
            if not wish.keys() - {"purpose", "lease"}:
                available = Segment.objects.filter(pool=pool_of(pool), status="available")
                self.check(not available.exists(), "a pool was called exhausted that is not")

    def compare_history(self, before):
        """Nothing disappears, ended allocations do not change, and active ones keep their cluster and segment."""
        after = self.state
        for pk, row in before.ended.items():
            self.check(after.ended.get(pk) == row, f"history changed: {row} is {after.ended.get(pk)}")
        for pk, row in before.active.items():
            now = after.rows.get(pk)
            self.check(now is not None, f"history lost: {row}")
            for name in ("segment_id", "pool_id", "cluster_name", "purpose", "allocated_at", "vid", "prefix"):
                self.check(now[name] == row[name], f"{name} of an allocation changed: {row} is {now}")
        active = after.active.values()
        keys = Counter((row["pool_id"], row["cluster_name"].casefold(), row["purpose"]) for row in active)
        self.check(max(keys.values(), default=0) <= 1, "a cluster has two allocations for one purpose")
        holders = Counter(row["segment_id"] for row in active if not row["shared"])
        self.check(max(holders.values(), default=0) <= 1, "a segment has two holders")

    def compare_answers(self, before, real):
        """Each allocation in the answers exists, once, and no other is new."""
        after = self.state
        created = []
        for _name, _arguments, answer in real:
            for one in () if isinstance(answer, str) else answer:
                row = after.rows.get(one["pk"])
                self.check(row is not None, f"an answered allocation is not there: {one}")
                found = (row["cluster_name"].casefold(), row["purpose"], row["pool_id"], row["segment_id"], row["vid"])
                told = (one["cluster"], one["purpose"], one["pool"], one["segment"], one["vid"])
                self.check(found == told, f"an answer is not what is there: {one}, {row}")
                if one["created"]:
                    created.append(one["pk"])
        new = after.rows.keys() - before.rows.keys()
        self.check(sorted(created) == sorted(new), f"answered as new: {sorted(created)}, new are {sorted(new)}")
        self.check(after.creations - before.creations == len(new), "the change log has not each new allocation once")

    def compare_limits(self, pk, before, values):
        def highest(name):
            limits = [value[name] for value in values]
            return None if None in limits else max(limits)

        for name, was, now in (
            ("max_per_cluster", before.per_cluster(pk), self.state.per_cluster(pk)),
            ("max_per_tenant", before.per_tenant(pk), self.state.per_tenant(pk)),
        ):
            limit = highest(name)
            for key, count in now.items() if limit else ():
                self.check(count <= max(limit, was[key]), f"{key} holds {count}, {name} is {limit}")

    def compare_cool_downs(self, before):
        """No cluster got a segment during the cool-down after another cluster."""
        for pk in self.state.rows.keys() - before.rows.keys():
            row = self.state.rows[pk]
            if row["shared"]:
                continue
            others = [one for one in self.state.ended.values() if one["segment_id"] == row["segment_id"]]
            earlier = [one for one in others if one["pk"] != pk and one["released_at"] <= row["allocated_at"]]
            last = max(earlier, key=lambda one: one["released_at"], default=None)
            if last and last["cluster_name"].casefold() != row["cluster_name"].casefold():
                self.check(last["pk"] in self.may_follow, f"{row} follows {last} within the cool-down")


class State:
    """The contents of the tables."""

    def __init__(self):
        values = Allocation.objects.order_by("pk").values()
        self.rows = {row["id"]: row | {"pk": row["id"]} for row in values}
        self.active = {pk: row for pk, row in self.rows.items() if row["released_at"] is None}
        self.ended = {pk: row for pk, row in self.rows.items() if row["released_at"] is not None}
        self.segments = list(Segment.objects.order_by("pk").values())
        self.pools = {row["id"]: row for row in SegmentPool.objects.values()}
        self.prefixes = list(Prefix.objects.order_by("pk").values("pk", "status", "last_updated"))
        self.changes = ObjectChange.objects.count()
        self.creations = ObjectChange.objects.filter(changed_object_type__model="allocation", action="create").count()
        self.tenants = dict(Cluster.objects.values_list("pk", "tenant"))

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None

    def counted(self, pool):
        """Return the allocations of a pool that count against its limits; expired ones do not."""
        now = timezone.now()
        rows = [row for row in self.active.values() if row["pool_id"] == pool]
        return [row for row in rows if row["expires_at"] is None or row["expires_at"] > now]

    def per_cluster(self, pool):
        return Counter(row["cluster_name"].casefold() for row in self.counted(pool))

    def per_tenant(self, pool):
        linked = [row for row in self.counted(pool) if row["cluster_id"]]
        return Counter(self.tenants[row["cluster_id"]] for row in linked)


def meets_wishes(name, arguments, answer):
    """Whether the answer's segments match the wishes."""
    if name in ("share", "set_clusters"):
        segment = segment_of(arguments["pool"], arguments["vid"]).pk
        return all(one["segment"] == segment for one in answer)
    if name == "many":
        return len(answer) == len(arguments["items"]) and all(
            meets_wish(wish, one) for (_pool, _cluster, wish), one in zip(arguments["items"], answer, strict=True)
        )
    if name == "stretched" and len({one["vid"] for one in answer}) > 1:
        return False
    return all(meets_wish(arguments.get("asked", {}), one) for one in answer)


def meets_wish(wish, one):
    return (
        one["vid"] == wish.get("vid", one["vid"])
        and wish.get("vid_min", 0) <= one["vid"] <= wish.get("vid_max", 4094)
        and wish.get("prefix_length", one["prefix_length"]) == one["prefix_length"]
        and ("segment" not in wish or segment_of(*wish["segment"]).pk == one["segment"])
    )


def without_ids(answer):
    """Return an answer without the ids of new objects, which a preview cannot know."""
    if isinstance(answer, str):
        return answer
    made = {(one["pool"], one["cluster"], one["purpose"]) for one in answer if one["created"]}
    # An allocation that is asked for twice is in the answer twice.
    return [
        # A segment that a pool would make has no id yet; its VLAN ID identifies it.
        one | {"pk": None, "segment": None} if (one["pool"], one["cluster"], one["purpose"]) in made else one
        for one in answer
    ]


def make_world():
    make_user(USER)
    tenant = Tenant.objects.create(name="T", slug="t")
    kind = ClusterType.objects.create(name="K", slug="k")
    for name in ("a", "b"):
        Cluster.objects.create(name=name, type=kind, tenant=tenant)
    for number in POOLS:
        make_pool("Network1", f"Site{number}", container=f"10.{number}.0.0/16", segments=len(VIDS))
    # One of the pools is dual stack.
    update_pool(pool_of(0), user=USER, prefixes=[*pool_of(0).prefixes.all(), "2001:db8::/48"])
    for number, segment in enumerate(pool_of(0).segments.all()):
        update_segment(segment, user=USER, ipv6_prefix=f"2001:db8:0:{number:x}::/64")
    # The other pool grows.
    update_pool(pool_of(1), user=USER, auto_grow=True, grow_prefix_length=24, grow_limit=GROW_LIMIT)


@transaction.atomic
def empty_tables():
    # The models refuse to delete history.
    for model in (Allocation, ObjectChange):
        model.objects.order_by()._raw_delete(connection.alias)
    grown = Segment.objects.exclude(vid__in=VIDS)
    prefixes, vlans = (list(grown.values_list(name, flat=True)) for name in ("prefix", "vlan"))
    for rows in (grown, Prefix.objects.filter(pk__in=prefixes), VLAN.objects.filter(pk__in=vlans)):
        rows.order_by()._raw_delete(connection.alias)
    Segment.objects.update(status="available", quarantined_until=None, last_released_at=None, disabled_reason="")
    Prefix.objects.filter(vlan__isnull=False).update(status="active")
    SegmentPool.objects.update(**DEFAULTS)
    SegmentPool.objects.filter(pk=pool_of(0).pk).update(cooldown=3600)


def main():
    make_world()
    LifeCycle.clients = start_clients()
    is_long = "PROPERTY_EXAMPLES" in os.environ
    run_state_machine_as_test(
        LifeCycle,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=20,
            deadline=None,
            database=None,
            print_blob=False,
            phases=(Phase.generate, Phase.shrink) if is_long else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


if __name__ == "__main__":
    main()
