"""The servers that NetBox needs, for the lifetime of one process."""

import os
import shutil
import signal
import tempfile
from contextlib import ExitStack
from dataclasses import replace

from tests.stack.database import PROJECT, Database, TemplateCache, create_database, ensure_templates
from tests.stack.live import LiveNetBox
from tests.stack.servers import PgBouncer, PostgreSQL, Valkey, free_port
from tests.stack.warm import WarmNetBox

__all__ = ("Stack",)


class Stack:
    """
    PostgreSQL with a template database, and Valkey. DB_HOST and REDIS_HOST name existing servers; without them, servers
    are started on this machine and stopped at the end.

    Args:
        settings: Settings of PostgreSQL if it is started here.

    Attributes:
        postgresql: The PostgreSQL that was started here, if any.
        valkey: The Valkey that was started here, if any.
        warm: The WarmNetBox of this stack, after keep_warm().
        inherited: The environment that this process was started with.
        env: The environment for processes that use the stack, without DB_NAME.
    """

    def __init__(self, **settings):
        self.settings = settings
        self.postgresql = None
        self.valkey = None
        self.warm = None
        self._resources = ExitStack()
        self._pairs = 0
        self.inherited = dict(os.environ)
        self.env = {}

    def start(self):
        """
        Start what is needed.

        Raises:
            StackError: Something is missing or does not start.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self):
        # NetBox keeps media, reports and scripts below this.
        root = tempfile.mkdtemp(prefix="netbox-root-")
        self._resources.callback(shutil.rmtree, root, ignore_errors=True)
        self.env = os.environ | {
            "DJANGO_SETTINGS_MODULE": "netbox.settings",
            "NETBOX_CONFIGURATION": "tests.stack.configuration",
            "NETBOX_ROOT": root,
            "PYTHONPATH": str(PROJECT),
        }
        if "REDIS_HOST" in os.environ:
            # Processes of one test run must not take each other's jobs, so each has its own pair of databases.
            number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
            databases = {"REDIS_DATABASE": str(2 * number)}
            self.env = {"REDIS_PORT": "6379", "REDIS_PASSWORD": ""} | databases | self.env
        else:
            self.valkey = Valkey()
            self._resources.callback(self.valkey.stop)
            self.valkey.start()
            self.env |= self.valkey.env
        if "DB_HOST" in os.environ:
            self.env = {"DB_PORT": "5432", "DB_USER": "netbox", "DB_PASSWORD": ""} | self.env
            ensure_templates(self.env)
        else:
            self.postgresql = PostgreSQL(**self.settings)
            self._resources.callback(self.postgresql.stop)
            TemplateCache(self.env).fill(self.postgresql)
            self.postgresql.start()
            self.env |= self.postgresql.env

    def stop(self):
        """Stop and delete everything that start() and the methods below made."""
        # A second Ctrl-C must not interrupt the cleanup.
        previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._resources.close()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def create_database(self):
        """
        Make a database with all tables, and a pair of Valkey databases if Valkey was started here. Both end with the
        stack.

        Returns:
            The Database.
        """
        database = create_database(self.env)
        self._resources.callback(database.drop)
        if self.valkey:
            # The jobs of one NetBox fail in a worker of another. The first pair belongs to `env`.
            self._pairs += 1
            database.env["REDIS_DATABASE"] = str(2 * self._pairs)
        return replace(database, warm=self.warm)

    def keep_warm(self):
        """Let the processes of the databases that are made from now on be forks of one process: see WarmNetBox."""
        self.warm = WarmNetBox(self)
        self._resources.callback(self.warm.stop)

    def add(self, process):
        """Register a Process to be stopped with the stack, and return it."""
        self._resources.callback(process.stop)
        return process

    def renew_database(self, name):
        """Replace a database by a fresh copy of the template."""
        Database(name, self.env).drop()
        create_database(self.env, name)

    def start_pgbouncer(self):
        """
        Start a PgBouncer before PostgreSQL and return it. It stops with the stack.

        Raises:
            StackError: It is not installed.
        """
        pgbouncer = PgBouncer(self.env)
        self._resources.callback(pgbouncer.stop)
        pgbouncer.start()
        return pgbouncer

    def serve(self, database, port=0, **account):
        """
        Run NetBox on a database.

        Args:
            database: The Database.
            port: The port to listen on, or the first free one after it.
            account: username, password and token of the new superuser, random by default; and `workers`.

        Returns:
            A LiveNetBox. It stops with the stack, or earlier by its `stop`.
        """
        live = LiveNetBox(database, free_port(port), **account)
        self._resources.callback(live.stop)
        live.start()
        return live

    def __enter__(self):
        return self.start()

    def __exit__(self, *args):
        self.stop()
