import subprocess
import sys

import pytest

pytestmark = pytest.mark.concurrency


# A longer run: PROPERTY_EXAMPLES=1000 make test ARGS="tests/property --timeout 0"
@pytest.mark.timeout(0)
def test_random_sequences_of_every_operation_keep_all_invariants(fresh_database):
    command = [sys.executable, "-m", "tests.property.machine"]
    process = subprocess.run(command, env=fresh_database().env, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
