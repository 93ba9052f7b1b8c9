"""
A process that sets up NetBox once, and forks for each program that needs its own process: a start of NetBox takes
many seconds, a fork none.

`main` is that process. It reads the programs to run from standard input, one line of JSON each.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

__all__ = ("WarmNetBox",)


class WarmNetBox:
    """
    Runs programs of the tests, each in a fork of one process.

    Args:
        stack: The Stack whose servers the programs use.
    """

    def __init__(self, stack):
        self._stack = stack
        self._process = None
        self._directory = tempfile.TemporaryDirectory(prefix="netbox-warm-")
        self._number = 0

    def can_run(self, env):
        """Return whether a program may have the environment `env`: it differs from the stack's only in its servers."""
        names = {name for name in {*self._stack.env, *env} if self._stack.env.get(name) != env.get(name)}
        return all(name.startswith(("DB_", "REDIS_")) for name in names)

    def start(self, module, *args, env, output, errors=None):
        """
        Start a module as `python -m` does, and return the Program.

        Args:
            module: Its name.
            args: Its arguments.
            env: Its environment, that of a Database.
            output: The path of the file to which its output is appended.
            errors: The path of the file for its errors, if it is another one.
        """
        self._number += 1
        code = Path(self._directory.name) / f"code-{self._number}"
        files = {"output": str(output), "errors": str(errors or output), "code": str(code)}
        self._start()
        self._process.stdin.write(f"{json.dumps({'argv': [module, *map(str, args)], 'env': env, **files})}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"The process in which NetBox is set up has ended: {self._process.wait()}")
        return Program(int(answer), code)

    def run(self, module, *args, env):
        """Run a module as `start` does, to its end, and return the subprocess.CompletedProcess."""
        output, errors = (Path(self._directory.name) / f"{name}-{self._number}" for name in ("output", "errors"))
        program = self.start(module, *args, env=env, output=output, errors=errors)
        try:
            program.wait()
        except BaseException:
            # The test took too long.
            program.send_signal(signal.SIGKILL)
            raise
        return subprocess.CompletedProcess([module, *args], program.returncode, output.read_text(), errors.read_text())

    def stop(self):
        """End the process and its programs."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process = None
        self._directory.cleanup()

    def _start(self):
        if self._process is None:
            command = [sys.executable, "-c", "from tests.stack.warm import main; main()"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            env = self._stack.create_database().env
            self._process = subprocess.Popen(command, env=env, start_new_session=True, **pipes)


class Program:
    """
    A program of a WarmNetBox, in a process group of its own, with what Process uses of a subprocess.Popen.

    Args:
        pid: The id of its process.
        code: The path of the file that has its exit code once it has ended.
    """

    def __init__(self, pid, code):
        self.pid = pid
        self.returncode = None
        self._code = code

    def poll(self):
        """Return the exit code, or None while it runs."""
        if self.returncode is None and self._code.exists():
            self.returncode = int(self._code.read_text())
        return self.returncode

    def wait(self, timeout=None):
        """Wait for the end and return the exit code. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        deadline = timeout and time.monotonic() + timeout
        while self.poll() is None:
            if deadline and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _use_servers():
    """Point Django's and RQ's connections to the databases of the current environment."""
    from django.conf import settings
    from django.core.cache import caches
    from django.db import connections

    from tests.stack import configuration

    importlib.reload(configuration)
    for alias, database in configuration.DATABASES.items():
        connections.settings[alias].update(database)
    tasks, caching = configuration.REDIS["tasks"], configuration.REDIS["caching"]
    for queue in settings.RQ_QUEUES.values():
        queue.update(HOST=tasks["HOST"], PORT=tasks["PORT"], PASSWORD=tasks["PASSWORD"], DB=tasks["DATABASE"])
    cache = caches.settings["default"]
    cache["LOCATION"] = f"redis://{caching['HOST']}:{caching['PORT']}/{caching['DATABASE']}"
    cache["OPTIONS"]["PASSWORD"] = caching["PASSWORD"]
    caches.close_all()
    with suppress(AttributeError):
        del caches["default"]


def _run(asked):
    """Run a program in a fork, and return its exit code."""
    os.setpgid(0, 0)
    for name, number in (("output", 1), ("errors", 2)):
        file = os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.environ.clear()
    os.environ.update(asked["env"])
    _use_servers()
    sys.argv = asked["argv"]
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as exit:
        if isinstance(exit.code, str):
            print(exit.code, file=sys.stderr)
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    return 0


def _warm_up():
    """Fill the caches of the first calls, so that all forks have them."""
    from django.db import connections, transaction

    from netbox_vlan_manager.services import allocate, release
    from tests.factories import make_pool, make_user

    # NetBox imports this with the first request.
    importlib.import_module("netbox.urls")
    with transaction.atomic():
        pool, user = make_pool(segments=2), make_user()
        for cluster in ("a", "b", "a"):
            allocate(cluster, pool=pool, user=user)
        release("a", pool=pool, user=user)
        transaction.set_rollback(True)
    connections.close_all()
    # Garbage collection in a fork would copy the memory pages of all objects that it scans.
    gc.collect()
    gc.freeze()


def _fork(asked):
    """Start a program in a fork, and return its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Programs end with this process, as servers do with a parent.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        code = _run(asked)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main():
    import django

    django.setup()
    _warm_up()
    # A byte is in this pipe after each end of a program.
    ends, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.signal(signal.SIGCHLD, lambda *_signal: None)
    signal.set_wakeup_fd(wakeup)
    codes = {}
    while True:
        ready, _writable, _failed = select.select([sys.stdin, ends], [], [])
        if ends in ready:
            os.read(ends, 1000)
            for pid in [*codes]:
                if (status := os.waitpid(pid, os.WNOHANG))[0]:
                    _write_code(codes.pop(pid), os.waitstatus_to_exitcode(status[1]))
        if sys.stdin in ready:
            # The next line comes after the answer to this one.
            if not (line := sys.stdin.readline()):
                break
            asked = json.loads(line)
            pid = _fork(asked)
            codes[pid] = asked["code"]
            print(pid, flush=True)


def _write_code(path, code):
    partial = Path(f"{path}.partial")
    partial.write_text(str(code))
    partial.rename(path)
