import os
import secrets
import shutil
import subprocess
import sys

import pytest
from psycopg import sql

from tests.stack.database import PROJECT, Database, template_names

# What tests.stack sets for processes that run from the source tree, which an installed NetBox knows nothing of.
SOURCE_TREE = ("DJANGO_SETTINGS_MODULE", "NETBOX_CONFIGURATION", "PYTHONPATH", "VIRTUAL_ENV")


def run(*args, **kwargs):
    """Run a program to its end and return what it wrote. A failure says all of it."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "check": True}
    try:
        return subprocess.run([os.fspath(arg) for arg in args], **(options | kwargs)).stdout
    except subprocess.CalledProcessError as e:
        e.add_note(e.output)
        raise


def uv(*args):
    """Run uv, where the Makefile finds it, in the project's directory: elsewhere a version manager may find none."""
    own = PROJECT / ".uv" / "bin" / "uv"
    return run(own if own.exists() else "uv", "--no-config", *args, cwd=PROJECT)


@pytest.fixture(scope="session")
def tracked_files():
    """The paths of the repository's files, below its root, those that are not committed yet among them."""
    command = ["git", "-c", f"safe.directory={PROJECT}", "ls-files", "--cached", "--others", "--exclude-standard"]
    return {path for path in run(*command, cwd=PROJECT).splitlines() if (PROJECT / path).is_file()}


@pytest.fixture(scope="session")
def distributions(tracked_files, tmp_path_factory):
    """A directory with sdist and wheel, the wheel built from the sdist."""
    # A copy, since setuptools takes up what earlier builds left in the source tree.
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
    """A Database with NetBox's own tables alone: a NetBox that has not met this plugin yet."""
    name = f"netbox_new_{secrets.token_hex(6)}"
    database = Database(name, stack.env | {"DB_NAME": name})
    with Database("postgres", stack.env).connect() as connection:
        names = map(sql.Identifier, (database.name, template_names()[0]))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
    yield database
    database.drop()


@pytest.fixture
def installed_env(new_netbox, tmp_path):
    """The environment of processes of a NetBox that was installed with pip, in a NETBOX_ROOT of its own."""
    env = {name: value for name, value in new_netbox.env.items() if name not in SOURCE_TREE}
    (tmp_path / "conf").mkdir()
    return env | {"NETBOX_ROOT": os.fspath(tmp_path)}
