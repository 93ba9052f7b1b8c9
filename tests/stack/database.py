"""Migrated databases in under a second: migrate a template once, then copy it."""

import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import psycopg
from psycopg import sql

from tests.stack.servers import PostgreSQL, Process, StackError

__all__ = ("Database", "TemplateCache", "create_database", "ensure_templates", "template_names")

PROJECT = Path(__file__).resolve().parents[2]
# The number of kept templates with other migrations of the plugin, such as those of another branch.
KEPT_TEMPLATES = 3


@dataclass(frozen=True)
class Database:
    """
    A NetBox database.

    Attributes:
        name: Its name on the server.
        env: The environment in which NetBox's processes use it.
        warm: A WarmNetBox that runs these processes, if any.
    """

    name: str
    env: dict = field(repr=False)
    warm: object = field(default=None, repr=False)

    def connect(self, **kwargs):
        """Open a psycopg connection to it, in autocommit mode by default."""
        return _connect(self.env, self.name, **kwargs)

    def netbox(self, *args, **kwargs):
        """Run a management command to its end, as `run` does."""
        return self.run("netbox", *args, **kwargs)

    def run(self, module, *args, **kwargs):
        """
        Run a module as `python -m` does, to its end.

        Args:
            module: Its name.
            args: Its arguments.
            kwargs: For subprocess.run(); output is captured as text by default.

        Returns:
            The subprocess.CompletedProcess.

        Raises:
            subprocess.CalledProcessError: It failed.
        """
        options = {"env": self.env, "capture_output": True, "text": True, "check": True}
        try:
            if self._is_warm and not kwargs:
                process = self.warm.run(module, *args, env=self.env)
                process.check_returncode()
                return process
            return subprocess.run([sys.executable, "-m", module, *args], **(options | kwargs))
        except subprocess.CalledProcessError as e:
            if e.stderr:
                e.add_note(e.stderr)
            raise

    def start(self, module, *args, log=None):
        """
        Start a module as `python -m` does, and return its Process.

        Args:
            module: Its name.
            args: Its arguments.
            log: The path of the file for its output.
        """
        if self._is_warm:
            return Process(start=partial(self.warm.start, module, *args, env=self.env), log=log)
        return Process([sys.executable, "-m", module, *args], env=self.env, log=log)

    @property
    def _is_warm(self):
        return self.warm is not None and self.warm.can_run(self.env)

    def drop(self):
        """Delete it, and end all connections to it."""
        with _connect(self.env) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))


def _connect(env, name="postgres", **kwargs):
    options = {"autocommit": True} | kwargs
    return psycopg.connect(
        host=env["DB_HOST"],
        port=env["DB_PORT"],
        user=env["DB_USER"],
        password=env["DB_PASSWORD"],
        dbname=name,
        **options,
    )


@cache
def template_names():
    """
    Return the names of the template with NetBox's tables only, and of the one with this plugin's too. They stay the
    same while a process lives, even if the plugin's files change.
    """
    core = f"netbox_{version('netbox').replace('.', '_')}"
    digest = hashlib.sha256()
    # The models count too: NetBox records their features and permissions when it migrates.
    plugin = PROJECT / "netbox_vlan_manager"
    for path in sorted([*plugin.glob("migrations/*.py"), *plugin.glob("models/*.py")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return core, f"{core}_{digest.hexdigest()[:12]}"


def create_database(env, name=None):
    """
    Make a database with all tables.

    Args:
        env: A stack's environment.
        name: The database's name; a unique one by default.

    Returns:
        The Database.
    """
    name = name or f"netbox_run_{secrets.token_hex(6)}"
    with _connect(env) as connection:
        _copy(connection, template_names()[1], name)
    return Database(name, env | {"DB_NAME": name})


def _copy(connection, template, name):
    connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))


def ensure_templates(env, core_only=False):
    """
    Make the template databases on a server that lacks them.

    Args:
        env: A stack's environment.
        core_only: Stop before the plugin's template.
    """
    core, plugin = template_names()
    with _connect(env) as connection:
        # Other processes may do the same on a shared server. The lock ends with the connection.
        connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [core])
        existing = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        if core not in existing:
            print("Migrating NetBox's own tables: about 4 minutes, once per NetBox version", file=sys.stderr)
            _build(connection, env | {"NETBOX_PLUGINS": ""}, "template0", core)
        if not core_only and plugin not in existing:
            print("Migrating the plugin's tables", file=sys.stderr)
            _build(connection, env, core, plugin)
            stale = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY oid DESC OFFSET %s",
                [f"{core}_", KEPT_TEMPLATES + 1],
            )
            for (name,) in stale.fetchall():
                Database(name, env).drop()


def _build(connection, env, template, name):
    # The database gets its name only when complete, so that no interrupted build becomes a template.
    building = Database(f"{name}_building", env | {"DB_NAME": f"{name}_building"})
    building.drop()
    _copy(connection, template, building.name)
    applied = 0
    output = []
    with subprocess.Popen(
        [sys.executable, "-m", "netbox", "migrate", "--no-input"],
        env=building.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout:
            output.append(line)
            if line.lstrip().startswith("Applying "):
                applied += 1
                if applied % 100 == 0:
                    print(f"  {applied} migrations applied", file=sys.stderr)
    if process.returncode:
        sys.stderr.writelines(output)
        raise StackError("Migrating the database failed, see above.")
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(building.name), sql.Identifier(name))
    )


class TemplateCache:
    """Data directories of PostgreSQL servers that hold the template databases, kept between runs."""

    def __init__(self, env):
        self.env = env
        if directory := os.environ.get("NETBOX_VLAN_MANAGER_CACHE"):
            self.directory = Path(directory)
        elif os.geteuid() == 0:
            # The postgres user cannot enter root's home.
            self.directory = Path("/var/cache/netbox-vlan-manager")
        else:
            cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            self.directory = Path(cache) / "netbox-vlan-manager"

    def fill(self, server):
        """
        Give a stopped server a data directory with the template databases.

        Args:
            server: The PostgreSQL instance.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        if server.user:
            shutil.chown(self.directory, server.user["user"], server.user["group"])
        core, plugin = (self.directory / f"postgresql-{server.major}-{name}" for name in template_names())
        with self._locked():
            if not plugin.exists():
                if not core.exists():
                    self._build(core, None, core_only=True)
                self._build(plugin, core)
                self._prune(core, plugin)
            # Touched, because the least recently used directories are deleted first.
            for path in filter(Path.exists, (core, plugin)):
                os.utime(path)
            server.copy_from(plugin)

    def _build(self, target, source, **kwargs):
        # The statistics of a template must not depend on the time of an autovacuum run.
        server = PostgreSQL(autovacuum="off")
        try:
            if source:
                server.copy_from(source)
            else:
                server.init()
            server.start()
            ensure_templates(self.env | server.env, **kwargs)
            server.stop(keep_data=True)
            partial = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            server.copy_to(partial)
            partial.rename(target)
        finally:
            server.stop()

    def _prune(self, core, plugin):
        others = [path for path in self.directory.glob("postgresql-*") if path not in (core, plugin)]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[KEPT_TEMPLATES:]:
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _locked(self):
        with open(self.directory / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("Waiting for another run that makes the database template", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
