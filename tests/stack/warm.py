"""
A process that sets up NetBox once, and forks for each program that needs its own process: a start of NetBox takes
many seconds, a fork none.

Run as a program, this module is that process. It reads the programs to run from standard input, one line of JSON each.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ("WarmNetBox",)


class WarmNetBox:
    """
    Runs programs of the tests, each in a fork of one process.

    Args:
        env: The environment of NetBox's processes. A program's may differ only in its database.
    """

    def __init__(self, env):
        self._env = env
        self._process = None
        self._directory = tempfile.TemporaryDirectory(prefix="netbox-warm-")

    def run(self, module, *args, env):
        """
        Run a module as `python -m` does, and return the subprocess.CompletedProcess.

        Args:
            module: Its name.
            args: Its arguments.
            env: Its environment, that of a Database.
        """
        output, errors = (Path(self._directory.name) / name for name in ("output", "errors"))
        asked = {"argv": [module, *args], "env": env, "output": str(output), "errors": str(errors)}
        self._start()
        try:
            self._process.stdin.write(f"{json.dumps(asked)}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BaseException:
            # The test took too long: end its program, and start another process for the next test.
            self._end()
            raise
        if not answer:
            raise RuntimeError(f"The process in which NetBox is set up has ended: {self._process.wait()}")
        return subprocess.CompletedProcess([module, *args], int(answer), output.read_text(), errors.read_text())

    def stop(self):
        """End the process and its programs."""
        self._end()
        self._directory.cleanup()

    def _start(self):
        if self._process is None:
            command = [sys.executable, "-m", "tests.stack.warm"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._process = subprocess.Popen(command, env=self._env, start_new_session=True, **pipes)

    def _end(self):
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None


def _use_database():
    """Point Django's connections to the databases of the current environment."""
    from django.db import connections

    from tests.stack import configuration

    for alias, settings in importlib.reload(configuration).DATABASES.items():
        connections.settings[alias].update(settings)


def _run(asked):
    """Run a program in a fork, and return its exit code."""
    for number, name in ((1, "output"), (2, "errors")):
        file = os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["env"])
    _use_database()
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


def main():
    import django

    django.setup()
    _warm_up()

    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = _run(asked)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _pid, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
