"""System jobs run again after their workers are killed."""

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from tests.stack.servers import Valkey

pytestmark = pytest.mark.live

JOBS = "SELECT status, job_id FROM core_job WHERE name LIKE 'VLAN Manager: cool-downs%' ORDER BY id"
LOCK = "LOCK TABLE netbox_vlan_manager_segment IN ACCESS EXCLUSIVE MODE"


@pytest.fixture
def valkey():
    """A separate Valkey: the queues of the shared one have jobs of other databases."""
    server = Valkey()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def database(fresh_database):
    return fresh_database()


@pytest.fixture
def start_worker(database, valkey):
    """A function that starts an RQ worker."""
    workers = []

    def start():
        log = Path(database.env["NETBOX_ROOT"]) / f"rqworker-{valkey.port}-{len(workers)}.log"
        workers.append(replace(database, env=database.env | valkey.env).start("netbox", "rqworker", log=log))
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop(signal.SIGKILL)


def wait_for_statuses(database, worker, *expected):
    """Return the ids of the job's runs once they have these statuses, in the order in which they were made."""
    deadline = time.monotonic() + 120
    while True:
        with database.connect() as connection:
            runs = connection.execute(JOBS).fetchall()
        statuses = tuple(status for status, _id in runs)
        if statuses == expected:
            return [str(job_id) for _status, job_id in runs]
        assert time.monotonic() < deadline, (statuses, worker.output[-2000:])
        time.sleep(0.2)


def kill(worker):
    """Kill a worker, its scheduler and its job's process, which have process groups of their own."""
    processes = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in processes.splitlines()]
    for pid in (worker.popen.pid, *(pid for pid, parent in pairs if parent == worker.popen.pid)):
        os.kill(pid, signal.SIGKILL)
    worker.popen.wait()


def test_a_killed_worker_does_not_end_the_job_for_good(database, valkey, start_worker):
    with database.connect(autocommit=False) as holder:
        holder.execute(LOCK)
        worker = start_worker()
        lost, following = wait_for_statuses(database, worker, "running", "scheduled")
        kill(worker)
        holder.rollback()

    # Simulate that minutes pass: RQ has no heartbeat of the worker, and the next run is due.
    client = redis.Redis(port=valkey.port, password=valkey.password)
    client.zadd("rq:wip:default", dict.fromkeys(client.zrange("rq:wip:default", 0, -1), 1))
    client.zadd("rq:scheduled:default", {following: 1}, xx=True)
    client.delete(*client.keys("rq:scheduler-lock:*"))

    worker = start_worker()
    runs = wait_for_statuses(database, worker, "errored", "completed", "scheduled")
    assert runs[:2] == [lost, following]
