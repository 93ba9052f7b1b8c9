"""The servers that the fault suite breaks, and the checks after each fault."""

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.benchmarks.world import fill
from tests.chaos.load import Load, allocate, call, release
from tests.stack import Stack, StackError

__all__ = ("Broken", "World", "children_of", "kill_with_children")

# Seconds within which the service must answer again by itself.
PATIENCE = 90
# Calls in a row that must succeed, enough for each worker to answer some.
STEADY = 12


class Broken(Exception):
    """The service did not come back."""


def children_of(pid):
    """Return the ids of the living child processes of a process."""
    output = subprocess.run(["ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in output.splitlines()]
    return [int(child) for child, parent, stat in lines if int(parent) == pid and not stat.startswith("Z")]


def kill_with_children(process):
    """Kill a Process and its children; an RQ worker's scheduler and job have process groups of their own."""
    for pid in (process.popen.pid, *children_of(process.popen.pid)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.stop()


class World:
    """
    PostgreSQL, Valkey and NetBox, with a pool for each fault.

    Args:
        stack: A started Stack with servers of its own.
        pools: How many pools to make.
        segments: How many segments each gets.
    """

    def __init__(self, stack, pools, segments):
        self.stack = stack
        self.database = stack.create_database()
        with self.database.connect() as connection:
            fill(connection, "Chaos", pools, segments)
        self._pools = iter(range(1, pools + 1))
        self.netbox = stack.serve(self.database)

    @classmethod
    def stack(cls):
        """
        Return the Stack, not started, that a World needs.

        Raises:
            StackError: The environment names servers for this run to use, which must not be broken.
        """
        if "DB_HOST" in os.environ or "REDIS_HOST" in os.environ:
            raise StackError("The fault suite stops and kills its servers: unset DB_HOST and REDIS_HOST.")
        # Commits must survive a kill of the server's processes. A crash of the machine is not tried.
        return Stack(synchronous_commit="on", max_connections=60)

    def next_pool(self):
        """Return the name of a pool that no fault has used yet."""
        return f"Chaos-{next(self._pools)}"

    def load(self, pool, clients=8, netboxes=None):
        """Return a Load on the pool, a context manager."""
        return Load(netboxes or [self.netbox], pool, clients)

    def workers(self, netbox=None):
        """Return the ids of gunicorn's worker processes."""
        return children_of((netbox or self.netbox).process.popen.pid)

    def kill_a_worker(self, netbox=None):
        """Kill one of gunicorn's workers and return whether there was one."""
        workers = self.workers(netbox)
        if workers:
            with suppress(ProcessLookupError):
                os.kill(random.choice(workers), signal.SIGKILL)
        return bool(workers)

    def crash_postgresql(self, how):
        """Stop PostgreSQL with SIGQUIT (immediate shutdown) or SIGKILL, and wait for the end of all its processes."""
        process = self.stack.postgresql.process
        children = children_of(process.popen.pid)
        process.stop(how)
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
            time.sleep(0.05)

    def wait_until_back(self, pool, netbox=None):
        """
        Call until all workers answer again, and return the Calls and the seconds that it took.

        Raises:
            Broken: They do not within PATIENCE seconds.
        """
        start = time.monotonic()
        netbox = netbox or self.netbox
        calls, steady = [], 0
        while steady < STEADY:
            if time.monotonic() - start > PATIENCE:
                raise Broken(f"No service {PATIENCE} s after the fault: {calls[-1]}")
            for act in (allocate, release):
                calls.append(act(netbox, pool, f"{pool}-back-{netbox.port}".lower()))
                steady = steady + 1 if calls[-1].done else 0
                if steady == 1:
                    back = time.monotonic() - start
            if not steady:
                time.sleep(0.1)
        return calls, back

    def find_drift(self):
        """Return the drift that NetBox reports, as a list of texts."""
        answer = call(self.netbox, "GET", "/drift/")
        if answer is None or answer[0] != 200:
            return [f"No report of drift: {answer}"]
        return [drift["message"] for drift in json.loads(answer[2])["results"]]
