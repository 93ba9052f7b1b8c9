import os
import secrets
import shutil
import subprocess
import sys

import pytest
from psycopg import sql

from tests.stack.database import PROJECT, Database, template_names

# Variables that tests.stack sets for processes in the source tree; an installed NetBox must not get them.
SOURCE_TREE = ("DJANGO_SETTINGS_MODULE", "NETBOX_CONFIGURATION", "PYTHONPATH", "VIRTUAL_ENV")


def run(*args, **kwargs):
    """Run a program to its end and return its output. A failure shows the whole output."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "check": True}
    try:
        return subprocess.run([os.fspath(arg) for arg in args], **(options | kwargs)).stdout
    except subprocess.CalledProcessError as e:
        e.add_note(e.output)
        raise


def uv(*args):
    """Run the Makefile's uv in the project's directory: elsewhere, a version manager may not find it."""
    own = PROJECT / ".uv" / "bin" / "uv"
    return run(own if own.exists() else "uv", "--no-config", *args, cwd=PROJECT)


@pytest.fixture(scope="session")
def tracked_files():
    """The paths of the repository's files, relative to its root, including files that are not committed yet."""
    command = ["git", "-c", f"safe.directory={PROJECT}", "ls-files", "--cached", "--others", "--exclude-standard"]
    return {path for path in run(*command, cwd=PROJECT).splitlines() if (PROJECT / path).is_file()}


@pytest.fixture(scope="session")
def distributions(tracked_files, tmp_path_factory):
    """A directory with sdist and wheel, the wheel built from the sdist."""
    # Build a copy, since setuptools would include leftovers of earlier builds in the source tree.
    source = tmp_path_factory.mktemp("source")
    for path in tracked_files:
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / path, target)
    directory = tmp_path_factory.mktemp("dist")
    options = ["--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", directory]
    uv("build", *options, source)
    return directory


@pytest.fixture
def new_netbox(stack):
    """A Database with NetBox's own tables only, as before the plugin is installed."""
    name = f"netbox_new_{secrets.token_hex(6)}"
    database = Database(name, stack.env | {"DB_NAME": name})
    with Database("postgres", stack.env).connect() as connection:
        names = map(sql.Identifier, (database.name, template_names()[0]))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
    yield database
    database.drop()


@pytest.fixture
def installed_env(new_netbox, tmp_path):
    """The environment of a NetBox that was installed with pip, with its own NETBOX_ROOT."""
    env = {name: value for name, value in new_netbox.env.items() if name not in SOURCE_TREE}
    (tmp_path / "conf").mkdir()
    return env | {"NETBOX_ROOT": os.fspath(tmp_path)}
