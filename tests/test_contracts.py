"""The import contracts of pyproject.toml detect the imports that they forbid."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack.database import PROJECT

FLOORS = "Floors of the plugin; every file has one"
AREAS = "Areas of the services"
BELOW = "Below the callers nobody knows HTTP, forms or pages"


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("choices.py", "from . import models", {FLOORS}),
        ("tables.py", "from . import filtersets", {FLOORS}),
        ("new.py", "", {FLOORS}),
        ("services/segments/usage.py", "from ..allocations import leases", {AREAS}),
        ("services/drift/repair.py", "from ..pools import merging", {AREAS}),
        ("services/new/__init__.py", "", {AREAS}),
        ("services/base/operations.py", "import rest_framework", {BELOW}),
        ("jobs/user.py", "from ..forms import errors", {BELOW}),
        ("models/pools.py", "", set()),
    ],
)
def test_a_fault_breaks_its_contract(tmp_path, file, line, broken):
    ignored = shutil.ignore_patterns("locale", "static", "templates", "__pycache__")
    shutil.copytree(PROJECT / "netbox_vlan_manager", tmp_path / "netbox_vlan_manager", ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    path = tmp_path / "netbox_vlan_manager" / file
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as code:
        code.write(f"\n{line}\n")
    process = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert {name for name in (FLOORS, AREAS, BELOW) if f"{name} BROKEN" in process.stdout} == broken, process.stdout
    assert process.returncode == bool(broken)
