import subprocess
import sys

import pytest


# The full run: make profile
@pytest.mark.timeout(300)
def test_profile_finds_the_layers():
    command = [sys.executable, "-m", "tests.benchmarks.profile", "--calls", "1"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    for call in ("allocate", "replay", "release"):
        assert f"**{call}**, 1 calls" in process.stdout
