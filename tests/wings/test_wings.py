"""A small wing in a copy of the plugin: its features exist everywhere if it is on, and nowhere if it is off."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from netbox_vlan_manager import wings
from tests.stack.database import PROJECT

SPECIMEN = Path(__file__).with_name("specimen")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project that has the wing `specimen`."""
    path = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "netbox_vlan_manager", path / "netbox_vlan_manager", ignore=ignored)
    shutil.copytree(PROJECT / "tests", path / "tests", ignore=ignored)
    shutil.copytree(SPECIMEN, path / "netbox_vlan_manager/specimen", ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", path)
    return path


@pytest.fixture
def look(copy, fresh_database):
    """A function that returns NetBox's objects of the wing if the wings `names` are on."""

    def run(*names):
        env = fresh_database().env | {"PYTHONPATH": os.fspath(copy), "WINGS": " ".join(names)}
        command = [sys.executable, "-m", "tests.wings.look"]
        process = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout.splitlines()[-1])

    return run


def test_on(look):
    assert look("specimen") == {
        "page": True,
        "rest": True,
        "rest call": True,
        "root": ["specimen-count", "specimens"],
        "menu": True,
        "index": True,
        "job": True,
        "event": True,
        "panel": True,
        "graphql": "specimen",
        "listed": True,
        "public": True,
        "left after a deletion": 1,
    }


def test_off(look):
    assert look() == {
        "page": False,
        "rest": False,
        "rest call": False,
        "root": [],
        "menu": False,
        "index": False,
        "job": False,
        "event": False,
        "panel": False,
        "graphql": None,
        "listed": False,
        "public": False,
        # The database has the model's table, independent of the setting.
        "left after a deletion": 0,
    }


def test_sockets(copy):
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/wings/checks.py"],
        cwd=copy,
        env=environment(copy) | {"WINGS": "specimen"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout


@pytest.fixture
def settings_of(monkeypatch):
    """A function that sets which wings exist, and which of them the setting names."""

    def set_wings(present, named):
        monkeypatch.setattr(wings, "present", lambda: present)
        monkeypatch.setattr(wings, "get_setting", lambda name: named)

    return set_wings


@pytest.mark.parametrize(
    ("present", "named", "error"),
    [
        (["specimen"], ("ddl",), "netbox_vlan_manager: wings has 'ddl'; use some of: specimen"),
        ([], ["specimen"], "netbox_vlan_manager: wings has 'specimen'; use some of: none"),
        (["specimen"], "specimen", "netbox_vlan_manager: wings is 'specimen'; use a list of names"),
        (["specimen"], [7], "netbox_vlan_manager: wings is [7]; use a list of names"),
        (["specimen"], None, "netbox_vlan_manager: wings is None; use a list of names"),
    ],
)
def test_settings_that_name_no_wing(settings_of, present, named, error):
    settings_of(present, named)
    # Models are loaded, and their wings asked for, before the setting is checked.
    assert wings.active() == []
    assert wings.find_errors() == [error]


def test_an_extra_that_is_not_installed(settings_of, monkeypatch):
    settings_of(["specimen"], ("specimen",))
    monkeypatch.setattr(wings, "_import", lambda wing, module: SimpleNamespace(EXTRA="seen", NEEDS=("json", "no_such")))
    assert wings.find_errors() == [
        "netbox_vlan_manager: the wing 'specimen' needs no_such; install netbox-vlan-manager[seen], or take the wing "
        "out of the setting wings"
    ]


def test_a_module_that_a_wing_does_not_have():
    assert wings._import("api", "no_such") is wings._import("api", "no_such.urls") is None


def test_an_error_in_a_module_of_a_wing_is_raised(copy):
    (copy / "netbox_vlan_manager/specimen/broken.py").write_text("import no_such_module\n")
    code = "from netbox_vlan_manager import wings; wings._import('specimen', 'broken')"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False, env=environment(copy)
    )
    assert "No module named 'no_such_module'" in process.stderr


@pytest.mark.parametrize(
    ("file", "line", "is_broken"),
    [
        ("specimen/wing.py", "from .. import models", False),
        ("views/pools.py", "from ..specimen import models", True),
        ("services/base/hooks.py", "from ...specimen import wing", True),
    ],
)
def test_nothing_imports_a_wing(copy, tmp_path, file, line, is_broken):
    path = tmp_path / "copy"
    shutil.copytree(copy, path, ignore=shutil.ignore_patterns("__pycache__", "tests", "static", "templates"))
    contracts = path / "pyproject.toml"
    contracts.write_text(contracts.read_text().replace('"(ddi) |', '"(specimen) | (ddi) |'))
    with (path / "netbox_vlan_manager" / file).open("a") as code:
        code.write(f"\n{line}\n")
    process = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=path,
        env=environment(path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == is_broken, process.stdout


def environment(path):
    return os.environ | {"PYTHONPATH": os.fspath(path)}
