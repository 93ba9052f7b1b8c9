import subprocess
import sys

import pytest


# The full run: make fuzz
@pytest.mark.timeout(600)
def test_every_answer_is_one_that_the_schema_has(fresh_database):
    command = [sys.executable, "-m", "tests.fuzz.api", "--cases", "600"]
    process = subprocess.run(command, env=fresh_database().env, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
