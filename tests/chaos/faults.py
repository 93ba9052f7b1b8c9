"""The faults. Each is a function of a World and a scale, and returns an Outcome."""

import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier

import psycopg
import redis

from tests.chaos.load import Call, allocate, call, count_answers, find_losses
from tests.chaos.world import kill_with_children
from tests.stack import StackError
from tests.stack.servers import Process, wait_for

__all__ = ("FAULTS", "SEGMENTS", "Outcome")

# The number of segments in each pool.
SEGMENTS = 500

ALLOCATIONS = "netbox_vlan_manager_allocation"

DISK_FULL = f"""
CREATE FUNCTION chaos_disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.5 THEN
        RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER chaos_write BEFORE INSERT OR UPDATE ON {ALLOCATIONS}
    FOR EACH ROW EXECUTE FUNCTION chaos_disk_full();
CREATE CONSTRAINT TRIGGER chaos_commit AFTER INSERT OR UPDATE ON {ALLOCATIONS} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION chaos_disk_full();
"""


@dataclass
class Outcome:
    """
    The result of a fault.

    Attributes:
        tried: A sentence with the fault and its load.
        answers: The number of answers of each kind.
        lost: Texts, one for each broken promise.
        back: Seconds until the service answered again; None if it never stopped.
        skipped: The reason if the fault could not be tried.
    """

    tried: str
    answers: Counter = field(default_factory=Counter)
    lost: list = field(default_factory=list)
    back: float | None = None
    skipped: str = ""


def judge(world, pool, calls, tried, netboxes=None):
    """Wait until the service is back, compare all answers with the database, and return the Outcome."""
    backs = []
    for netbox in netboxes or [world.netbox]:
        more, back = world.wait_until_back(pool, netbox)
        backs.append(back)
        calls = [*calls, *more]
    with world.database.connect() as connection:
        lost = find_losses(connection, pool, calls)
    return Outcome(tried, count_answers(calls), lost + world.find_drift(), max(backs))


def let_pass(load, count, kind="done", seconds=60):
    """Wait until the clients of a Load get that many more answers of a kind, or until that many seconds have passed."""
    deadline = time.monotonic() + seconds
    enough = count_answers(load.calls)[kind] + count
    while count_answers(load.calls)[kind] < enough and time.monotonic() < deadline:
        time.sleep(0.05)


def kill_workers(world, load, seconds, netboxes):
    """
    Kill gunicorn's workers at random moments of a Load for that many seconds, and return the number of kills.

    The pauses are counted in calls, not seconds: on a slow machine, workers would otherwise die while they start.
    """
    deadline, kills = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        enough = len(load.calls) + random.randint(2, 15)
        while len(load.calls) < enough and time.monotonic() < deadline:
            time.sleep(random.uniform(0, 0.02))
        kills += world.kill_a_worker(random.choice(netboxes))
    return kills


def rush(world, scale, netboxes=None):
    """Twice as many clients as a pool has segments, all at once."""
    pool, clients = world.next_pool(), max(60, int(1000 * scale))
    with world.database.connect() as connection:
        # All other segments are disabled.
        connection.execute(
            "UPDATE netbox_vlan_manager_segment SET status = 'disabled' WHERE vid > %s AND pool_id = "
            "(SELECT id FROM netbox_vlan_manager_segmentpool WHERE name = %s)",
            [clients // 2, pool],
        )
    targets = netboxes or [world.netbox]
    barrier = Barrier(clients)

    def ask(number):
        barrier.wait()
        return allocate(targets[number % len(targets)], pool, f"{pool}-rush-{number}".lower())

    with ThreadPoolExecutor(clients) as threads:
        calls = list(threads.map(ask, range(clients)))
    with world.database.connect() as connection:
        lost = find_losses(connection, pool, calls)
    answers = count_answers(calls)
    expected = {"done": clients // 2, "409 pool_exhausted": clients - clients // 2}
    if answers != expected:
        lost.append(f"{dict(answers)} instead of {expected}")
    return Outcome(f"{clients} clients, {clients // 2} segments", answers, lost + world.find_drift())


def two_netboxes(world, scale):
    """Two NetBoxes with workers of their own on one database: a rush, then a load with kills in both."""
    second = world.stack.serve(world.database, username="second")
    netboxes = [world.netbox, second]
    try:
        rushed = rush(world, scale, netboxes)
        pool, seconds = world.next_pool(), max(6, 60 * scale)
        with world.load(pool, 12, netboxes) as load:
            kills = kill_workers(world, load, seconds, netboxes)
        outcome = judge(
            world, pool, load.calls, f"{rushed.tried}; then {seconds:.0f} s of load, {kills} kills", netboxes
        )
    finally:
        second.stop()
    outcome.answers += rushed.answers
    outcome.lost += rushed.lost
    return outcome


def gunicorn_killed(world, scale):
    """gunicorn's workers are killed in mid-request."""
    pool, seconds = world.next_pool(), max(6, 60 * scale)
    with world.load(pool) as load:
        kills = kill_workers(world, load, seconds, [world.netbox])
    return judge(world, pool, load.calls, f"{kills} SIGKILLs to workers in {seconds:.0f} s of load")


def postgresql_killed(world, scale):
    """PostgreSQL is stopped hard and started again."""
    pool, hows = world.next_pool(), [signal.SIGQUIT, signal.SIGKILL] * max(1, int(4 * scale))
    with world.load(pool) as load:
        for how in hows:
            let_pass(load, random.randint(10, 60))
            world.crash_postgresql(how)
            time.sleep(random.uniform(0.5, 2))
            world.stack.postgresql.start()
        let_pass(load, 10)
    return judge(world, pool, load.calls, f"{len(hows)} crashes of PostgreSQL, by turns SIGQUIT and SIGKILL")


def valkey_gone(world, scale):
    """Valkey is killed, stays away for a while, and comes back empty."""
    pool, rounds = world.next_pool(), max(1, int(4 * scale))
    with world.load(pool) as load:
        for _round in range(rounds):
            let_pass(load, random.randint(10, 60))
            world.stack.valkey.process.stop(signal.SIGKILL)
            time.sleep(random.uniform(2, 4))
            world.stack.valkey.start()
        let_pass(load, 10)
    return judge(world, pool, load.calls, f"Valkey killed {rounds} times, back empty after some seconds")


def import_killed(world, scale):
    """The RQ worker is killed in the middle of an import; then the same is imported again."""
    lost, ended, rounds, size = [], Counter(), max(1, int(6 * scale)), 1500
    for _round in range(rounds):
        pool = world.next_pool()
        vids = range(1000, 1000 + size)
        rows = [
            {
                "site": pool,
                "vrf": pool,
                "vlan_id": vid,
                "epg_name": f"EPG_{vid}_import",
                "segment": f"10.{8 + vid // 256}.{vid % 256}.0/24",
            }
            for vid in vids
        ]
        with _worker(world) as worker:
            job = _start_import(world, rows)
            _wait_for(world, worker, "SELECT status <> 'pending' FROM core_job WHERE job_id = %s", job)
            time.sleep(random.uniform(0, 2))
        imported = _ask(
            world,
            "SELECT count(*) FROM ipam_vlan WHERE name LIKE 'EPG_%%_import' AND group_id = "
            "(SELECT vlan_group_id FROM netbox_vlan_manager_segmentpool WHERE name = %s)",
            pool,
        )
        ended["all" if imported else "nothing"] += 1
        if imported not in (0, size):
            lost.append(f"{imported} VLANs of {size}")
        lost += world.find_drift()
        _forget_workers(world)
        status, _headers, text = call(world.netbox, "POST", "/segments/import/", rows)
        answer = json.loads(text)
        if status != 200 or answer["created" if not imported else "unchanged"] != size:
            lost.append(f"{status} {text[:200]} after {imported} VLANs of {size}")
        segments = _ask(
            world,
            "SELECT count(*) FROM netbox_vlan_manager_segment WHERE vid >= 1000 AND pool_id = "
            "(SELECT id FROM netbox_vlan_manager_segmentpool WHERE name = %s)",
            pool,
        )
        if segments != size:
            lost.append(f"{segments} segments after importing {size} again")
    tried = f"{rounds} imports of {size} rows killed ({', '.join(f'{n} left {what}' for what, n in ended.items())})"
    return Outcome(tried, Counter(done=rounds), lost + world.find_drift())


def leases_killed(world, scale):
    """The RQ worker is killed in the middle of the job that ends leases."""
    pool, size = world.next_pool(), max(40, int(300 * scale))
    calls = [allocate(world.netbox, pool, f"{pool}-lease-{number}".lower()) for number in range(size)]
    with world.database.connect() as connection:
        connection.execute(
            f"UPDATE {ALLOCATIONS} SET expires_at = now() - interval '1 minute' WHERE pool_name = %s", [pool]
        )
    released = f"SELECT count(*) FROM {ALLOCATIONS} WHERE pool_name = %s AND released_at IS NOT NULL"
    with _worker(world) as worker:
        _wait_for(world, worker, released.replace("count(*)", "count(*) > 0"), pool)
    at_kill = _ask(world, released, pool)
    _forget_workers(world)
    with _worker(world) as worker:
        _wait_for(world, worker, released.replace("count(*)", f"count(*) = {size}"), pool)
        # Two runs of the job may overlap: wait, so that the second could do harm.
        time.sleep(2)
    # No client asked for these releases, so only the change log and the events can be compared.
    with world.database.connect() as connection:
        lost = [loss for loss in find_losses(connection, pool, calls) if "by the answers" not in loss]
    _forget_workers(world)
    tried = f"{size} leases over, killed after {at_kill}; the next worker ended the rest"
    return Outcome(tried, Counter(done=size), lost + world.find_drift())


def disk_full_by_trigger(world, scale):
    """PostgreSQL says that the disk is full: half of the writes and, worse, half of the COMMITs fail."""
    pool, seconds = world.next_pool(), max(2, 20 * scale)
    with world.load(pool) as load:
        let_pass(load, 10)
        with world.database.connect() as connection:
            connection.execute(DISK_FULL)
            time.sleep(seconds)
            let_pass(load, 10, "503 unavailable")
            connection.execute("DROP FUNCTION chaos_disk_full CASCADE")
        let_pass(load, 10)
    return judge(world, pool, load.calls, f"SQLSTATE 53100 by a trigger, at writing and at COMMIT, for {seconds:.0f} s")


def disk_full(world, scale):
    """The allocations' file system is full."""
    directory = world.stack.postgresql.directory / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", directory]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        return Outcome("a full file system", skipped="only root may mount a small file system")
    pool, seconds = world.next_pool(), max(2, 20 * scale)
    try:
        data, filler = directory / "data", directory / "filler"
        data.mkdir()
        for path in (directory, data):
            shutil.chown(path, world.stack.postgresql.user["user"])
        with world.database.connect() as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{data}'")
            connection.execute(f"ALTER TABLE {ALLOCATIONS} SET TABLESPACE small")
            with world.load(pool) as load:
                let_pass(load, 10)
                with suppress(OSError), open(filler, "wb", buffering=0) as file:
                    while file.write(bytes(4096)):
                        pass
                time.sleep(seconds)
                let_pass(load, 10, "503 unavailable")
                filler.unlink()
                let_pass(load, 10)
            connection.execute(f"ALTER TABLE {ALLOCATIONS} SET TABLESPACE pg_default")
            connection.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "--lazy", directory], check=False)
    outcome = judge(world, pool, load.calls, f"the allocations' file system full for {seconds:.0f} s")
    if not outcome.answers["503 unavailable"]:
        outcome.lost.append("The disk was never full")
    return outcome


def no_connections(world, scale):
    """Others take all of PostgreSQL's connections, and NetBox's are ended."""
    pool, seconds = world.next_pool(), max(2, 20 * scale)
    taken = []
    with world.load(pool) as load:
        let_pass(load, 10)
        end = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND application_name <> 'chaos' AND backend_type = 'client backend'"
        )
        observer = world.database.connect(application_name="chaos")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(psycopg.OperationalError):
                while True:
                    taken.append(world.database.connect(application_name="chaos"))
            observer.execute(end)
            time.sleep(0.01)
        for connection in (*taken, observer):
            connection.close()
        let_pass(load, 10)
    tried = f"{len(taken)} connections taken, NetBox's ended over and over (57P01, 53300), for {seconds:.0f} s"
    return judge(world, pool, load.calls, tried)


def clients_hang_up(world, scale):
    """Clients hang up in the middle of their request, or as soon as they have sent it."""
    pool, count = world.next_pool(), max(40, int(300 * scale))

    def hang_up(number):
        cluster = f"{pool}-gone-{number}".lower()
        body = json.dumps({"cluster_name": cluster, "site": pool, "vrf": pool})
        request = (
            "POST /api/plugins/vlan-manager/allocate-vlan/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {world.netbox.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        with socket.create_connection(("127.0.0.1", world.netbox.port)) as connection:
            # With this option, close() resets the connection.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(request[: random.randrange(len(request))] if number % 3 == 0 else request)
            time.sleep(random.uniform(0, 0.1))

    with world.load(pool, 4) as load, ThreadPoolExecutor(8) as threads:
        list(threads.map(hang_up, range(count)))
    # A second call returns the allocation; whether the first one made it is unknown.
    again = [allocate(world.netbox, pool, f"{pool}-gone-{number}".lower()) for number in range(count)]
    made = sum(not one.created for one in again)
    unanswered = [Call(one.cluster, "allocate") for one in again]
    tried = f"{count} clients gone; {made} of them had been given a segment, and got the same when they asked again"
    return judge(world, pool, [*load.calls, *unanswered, *again], tried)


@contextmanager
def _worker(world):
    """An RQ worker, which is killed with its job at the end of the block."""
    log = Path(world.database.env["NETBOX_ROOT"]) / "rqworker.log"
    worker = world.stack.add(Process([sys.executable, "-m", "netbox", "rqworker"], env=world.database.env, log=log))
    try:
        yield worker
    finally:
        kill_with_children(worker)


def _start_import(world, rows):
    """Start the import as a background job and return its id."""
    code = (
        "from netbox_vlan_manager.jobs import SegmentImportJob; from users.models import User; import sys; "
        "print(SegmentImportJob.start(sys.stdin.read(), user=User.objects.get(username='admin')).job_id)"
    )
    process = world.database.netbox("shell", "--no-imports", "--command", code, input=json.dumps(rows))
    return process.stdout.split()[-1]


def _ask(world, query, *parameters):
    with world.database.connect() as connection:
        return connection.execute(query, parameters).fetchone()[0]


def _wait_for(world, worker, query, *parameters):
    def check():
        if not _ask(world, query, *parameters):
            raise StackError("still not")

    wait_for(check, worker, f"What {query} asks for")


def _forget_workers(world):
    """Simulate that minutes pass: RQ drops the killed worker, and scheduled jobs are due."""
    valkey, number = world.stack.valkey, int(world.database.env["REDIS_DATABASE"])
    client = redis.Redis(port=valkey.port, password=valkey.password, db=number)
    for key in client.scan_iter("rq:wip:*"):
        client.zadd(key, dict.fromkeys(client.zrange(key, 0, -1), 1))
    for key in client.scan_iter("rq:scheduled:*"):
        client.zadd(key, dict.fromkeys(client.zrange(key, 0, -1), 1))
    for key in client.scan_iter("rq:scheduler-lock:*"):
        client.delete(key)


FAULTS = {
    "rush": rush,
    "gunicorn": gunicorn_killed,
    "postgresql": postgresql_killed,
    "valkey": valkey_gone,
    "import": import_killed,
    "leases": leases_killed,
    "disk": disk_full,
    "commit": disk_full_by_trigger,
    "connections": no_connections,
    "clients": clients_hang_up,
    "instances": two_netboxes,
}
