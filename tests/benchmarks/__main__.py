"""
Compares the plugin with NetBox and plain SQL in one run, and prints a table: python -m tests.benchmarks.

Only the ratios are meaningful: both sides run in turn on the same servers, so a busy machine slows both.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.clients import Client, throughput
from tests.benchmarks.world import fill
from tests.stack import Stack

ALLOCATIONS = "/api/plugins/vlan-manager/allocate-vlan/"
LARGE = {"pools": 50, "segments": 4000, "taken": 3900}


@dataclass
class Row:
    """One line of the table; `ours` and `other` are in `unit`, and the goal limits ours divided by other."""

    what: str
    against: str
    ours: float
    other: float
    unit: str
    goal: float
    at_least: bool = False

    @property
    def ratio(self):
        return self.ours / self.other

    @property
    def reached(self):
        return self.ratio >= self.goal if self.at_least else self.ratio <= self.goal


class Bench:
    def __init__(self, stack, scale):
        self.stack = stack
        self.scale = scale

    def times(self, count):
        """Return how often this run repeats a measurement that a full run repeats `count` times."""
        return max(3, int(count * self.scale))

    def run_inprocess(self, database, measure, *arguments):
        """Run one of the measures of tests.benchmarks.inprocess and return its result."""
        command = [sys.executable, "-m", "tests.benchmarks.inprocess", measure, *map(str, arguments)]
        process = subprocess.run(command, env=database.env, stdout=subprocess.PIPE, check=True)
        return json.loads(process.stdout.splitlines()[-1])

    def world(self, **pools):
        """Return a new database with the pools of `fill`; the keywords are the prefixes of their names."""
        database = self.stack.create_database()
        with database.connect() as connection:
            for prefix, size in pools.items():
                fill(connection, prefix, **size)
        return database

    def rest(self):
        """Calls by REST, one client and eight."""
        database = self.world(Bench={"pools": 4, "segments": 4000}, Grow={"pools": 1, "segments": 50, "taken": 50})
        client = Client(self.stack.serve(database))
        with database.connect() as connection:
            connection.execute(
                "UPDATE netbox_vlan_manager_segmentpool SET auto_grow = true, grow_prefix_length = 24 "
                "WHERE name = 'Grow-1'"
            )
            (vrf,) = connection.execute("SELECT id FROM ipam_vrf WHERE name = 'Bench-4'").fetchone()
        # NetBox's calls get their own VLAN groups and container, empty and of the same size.
        group, _time = client("POST", "/api/ipam/vlan-groups/", {"name": "Other", "slug": "other"})
        busy_group, _time = client("POST", "/api/ipam/vlan-groups/", {"name": "Busy", "slug": "busy"})
        container, _time = client(
            "POST", "/api/ipam/prefixes/", {"prefix": "172.16.0.0/12", "vrf": vrf, "status": "container"}
        )

        def allocate(number, pool=1, name="bench"):
            body = {"cluster_name": f"{name}-{number}", "site": f"Bench-{pool}", "vrf": f"Bench-{pool}"}
            return client("POST", ALLOCATIONS, body)

        def grow(number):
            body = {"cluster_name": f"grown-{number}", "site": "Grow-1", "vrf": "Grow-1"}
            return client("POST", ALLOCATIONS, body)

        def available_vlan(number, group=group):
            return client("POST", f"/api/ipam/vlan-groups/{group['id']}/available-vlans/", {"name": f"vlan-{number}"})

        def available_prefix(_number):
            return client("POST", f"/api/ipam/prefixes/{container['id']}/available-prefixes/", {"prefix_length": 24})

        calls = {"allocate": allocate, "grow": grow, "vlan": available_vlan, "prefix": available_prefix}
        medians = self._in_turn(calls, 200)
        yield Row(
            "allocate by REST, one client, p50",
            "NetBox available-vlans",
            medians["allocate"],
            medians["vlan"],
            "s",
            0.5,
        )
        yield Row(
            "allocate by REST, one client, p50",
            "NetBox available-vlans, then available-prefixes",
            medians["allocate"],
            medians["vlan"] + medians["prefix"],
            "s",
            0.25,
        )
        yield Row(
            "allocate by REST from a pool that grows, p50",
            "any other allocation, and NetBox available-vlans and available-prefixes",
            medians["grow"],
            medians["allocate"] + medians["vlan"] + medians["prefix"],
            "s",
            1,
        )

        vlan, _time = client("GET", "/api/ipam/vlans/?limit=1&fields=id")
        vlan = vlan["results"][0]["id"]
        medians = self._in_turn(
            {"replay": lambda _number: allocate(1), "get": lambda _number: client("GET", f"/api/ipam/vlans/{vlan}/")},
            300,
        )
        replay = Row(
            "replay of an allocation by REST, p50",
            "NetBox GET of one VLAN",
            medians["replay"],
            medians["get"],
            "s",
            0.2,
        )

        rates = {"ours": [], "other": []}
        for turn in range(3):
            rates["ours"].append(throughput(lambda n, turn=turn: allocate(n, 2, f"busy-{turn}"), 8, 5 * self.scale))
            rates["other"].append(
                throughput(lambda n, turn=turn: available_vlan(f"{turn}-{n}", busy_group), 8, 5 * self.scale)
            )
        yield Row(
            "allocations per second, 8 clients on one pool",
            "NetBox available-vlans, 8 clients on one group",
            statistics.median(rates["ours"]),
            statistics.median(rates["other"]),
            "/s",
            2,
            at_least=True,
        )
        yield replay

    def _in_turn(self, calls, count):
        """Return the median time of each call, made `count` times in turn."""
        times = {name: [] for name in calls}
        for number in range(-3, self.times(count)):
            for name, call in calls.items():
                _answer, elapsed = call(number)
                # Numbers below 0 warm up: the first calls import modules and connect.
                if number >= 0:
                    times[name].append(elapsed)
        return {name: statistics.median(values) for name, values in times.items()}

    def processes(self):
        """Allocations without HTTP, in separate processes."""
        turns = 3
        database = self.world(Two={"pools": turns, "segments": 4094}, One={"pools": turns, "segments": 4094})
        seconds = 5 * self.scale
        rates = {1: [], 2: []}
        for turn in range(1, turns + 1):
            rates[1].append(self.run_inprocess(database, "rate", f"One-{turn}", 1, seconds))
            rates[2].append(self.run_inprocess(database, "rate", f"Two-{turn}", 2, seconds))
        yield Row(
            "allocations per second, 2 worker processes on one pool",
            "1 worker process",
            statistics.median(rates[2]),
            statistics.median(rates[1]),
            "/s",
            1.8,
            at_least=True,
        )

        database = self.world(Ours={"pools": 1, "segments": 4000}, Bare={"pools": 1, "segments": 4000})
        ours, bare = [], []
        for _turn in range(3):
            ours.append(self.run_inprocess(database, "latency", "Ours-1", self.times(300)))
            bare.append(self.run_inprocess(database, "bare", "Bare-1", self.times(300)))
            with database.connect() as connection:
                connection.execute("UPDATE netbox_vlan_manager_allocation SET cluster_name = cluster_name || '-' || id")
        yield Row(
            "allocate in-process, p50",
            "the same writes through psycopg",
            statistics.median(ours),
            statistics.median(bare),
            "s",
            5,
        )

    def large(self):
        """Operations with 200,000 segments."""
        large = self.world(Large=LARGE)
        small = self.world(Small={"pools": 20, "segments": 10})
        times = {"large": [], "small": []}
        # A pool of 10 and the last 100 of a large pool allow this many calls.
        for turn in range(10):
            times["large"].append(self.run_inprocess(large, "latency", "Large-1", 9))
            times["small"].append(self.run_inprocess(small, "latency", f"Small-{turn + 1}", 9))
            with large.connect() as connection:
                connection.execute("UPDATE netbox_vlan_manager_allocation SET cluster_name = cluster_name || '-' || id")
        yield Row(
            "allocate in a pool of 4,000 with 3,900 taken, 200,000 segments in all",
            "in a pool of 10 in an empty table",
            statistics.median(times["large"]),
            statistics.median(times["small"]),
            "s",
            1.15,
        )

        ours, bare = self.run_inprocess(large, "count_segments")
        yield Row("statistics of 200,000 segments", "the bare GROUP BY", ours, bare, "s", 1.3)

        netbox = self.stack.serve(large)
        client = Client(netbox)
        cookies = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in netbox.login())
        client.headers["Cookie"] = cookies
        pages = {
            "page": lambda _number: client("GET", "/plugins/vlan-manager/segments/", accept="text/html"),
            "prefix page": lambda _number: client("GET", "/ipam/prefixes/", accept="text/html"),
            "rest": lambda _number: client("GET", "/api/plugins/vlan-manager/segments/"),
            "prefix rest": lambda _number: client("GET", "/api/ipam/prefixes/"),
        }
        medians = self._in_turn(pages, 20)
        for ours, other, name in (("page", "prefix page", "page"), ("rest", "prefix rest", "REST page")):
            yield Row(
                f"segment list {name} at 200,000 rows",
                f"NetBox's prefix list {name} at 200,000",
                medians[ours],
                medians[other],
                "s",
                1.0,
            )
        netbox.stop()

        memory = [self.run_inprocess(large, "export_memory", count) for count in (50_000, 500)]
        yield Row("export 50,000 segments as CSV, peak memory", "500 segments", *memory, "B", 1.2)

        seconds = 20 * self.scale
        idle, busy = [], []
        for turn in range(3):
            idle.append(self.run_inprocess(large, "rate", f"Large-{10 + turn}", 1, seconds / 3))
            export = subprocess.Popen(
                [sys.executable, "-m", "tests.benchmarks.inprocess", "export_for", str(seconds)],
                env=large.env,
                stdout=subprocess.DEVNULL,
            )
            busy.append(self.run_inprocess(large, "rate", f"Large-{20 + turn}", 1, seconds / 3))
            export.wait()
        yield Row(
            "allocations per second while an export reads",
            "without it",
            statistics.median(busy),
            statistics.median(idle),
            "/s",
            0.8,
            at_least=True,
        )

    def imports(self):
        """Creating 1,000 segments."""
        count = self.times(1000)
        client = Client(self.stack.serve(self.world(Bench={"pools": 2, "segments": 1})))
        pools, _time = client("GET", "/api/plugins/vlan-manager/pools/?ordering=name")
        ours_pool, other_pool = pools["results"]

        def network(number):
            return f"10.{8 + number // 256}.{number % 256}.0/24"

        rows = [
            {
                "site": ours_pool["name"],
                "vrf": ours_pool["name"],
                "vlan_id": number + 100,
                "epg_name": f"EPG_{number}_new",
                "segment": network(number),
            }
            for number in range(count)
        ]
        answer, ours = client("POST", "/api/plugins/vlan-manager/segments/import/", rows)
        assert answer["created"] == count, answer["results"][:3]
        vlans = [
            {"vid": number + 100, "name": f"EPG_{number}_new", "group": other_pool["vlan_group"]["id"]}
            for number in range(count)
        ]
        vlans, vlan_time = client("POST", "/api/ipam/vlans/", vlans)
        prefixes = [
            {"prefix": network(number), "vrf": other_pool["vrf"]["id"], "vlan": vlan["id"]}
            for number, vlan in enumerate(vlans)
        ]
        _answer, prefix_time = client("POST", "/api/ipam/prefixes/", prefixes)
        yield Row(
            f"create {count:,} segments by segments/import/",
            "the same VLANs and prefixes by NetBox's bulk POSTs",
            ours,
            vlan_time + prefix_time,
            "s",
            0.1,
        )


def show(value, unit):
    """Return a value with its unit, in a readable form."""
    if unit == "s":
        return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.1f} s"
    if unit == "B":
        return f"{value / 2**20:.2f} MiB"
    return f"{value:.0f}{unit}"


def main():
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=["rest", "processes", "imports", "large"], action="append")
    parser.add_argument("--scale", type=float, default=1, help="Repeat this much as often as a full run")
    parser.add_argument("--json", type=Path, help="Write the results there as well")
    options = parser.parse_args()

    rows = []
    print("| what | against | ours | other | ratio | goal | |\n|---|---|---|---|---|---|---|", flush=True)
    with Stack() as stack:
        bench = Bench(stack, options.scale)
        for name in options.only or ("rest", "processes", "imports", "large"):
            for row in getattr(bench, name)():
                rows.append(row)
                goal = f"{'≥' if row.at_least else '≤'} {row.goal}"
                print(
                    f"| {row.what} | {row.against} | {show(row.ours, row.unit)} | {show(row.other, row.unit)} "
                    f"| {row.ratio:.2f} | {goal} | {'reached' if row.reached else 'missed'} |",
                    flush=True,
                )
    if options.json:
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform(terse=True)}
        results = [asdict(row) | {"ratio": row.ratio, "reached": row.reached} for row in rows]
        options.json.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
