"""Other plugins together with this one. They are not installed here, so the checks run in a separate process."""

import os
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import run
from tests.stack.database import PROJECT

CHECKS = sorted(Path(__file__).parent.glob("checks_*.py"))


@pytest.mark.timeout(900)
def test_with_other_plugins(netbox_with_plugins):
    # Without the project's configuration of pytest, which is for pytest-django.
    options = ["-c", os.devnull, "--rootdir", PROJECT, "--noconftest"]
    options += [f"-pno:{plugin}" for plugin in ("django", "cacheprovider", "randomly")]
    output = run(sys.executable, "-m", "pytest", *options, *CHECKS, env=netbox_with_plugins.env, cwd=PROJECT)
    assert " passed" in output
    assert not {"failed", "skipped", "error"}.intersection(output.splitlines()[-1].split())
