import pytest

pytestmark = pytest.mark.concurrency


# A longer run: PROPERTY_EXAMPLES=1000 make test ARGS="tests/property --timeout 0"
@pytest.mark.timeout(0)
def test_random_sequences_of_every_operation_keep_all_invariants(fresh_database, warm_netbox):
    process = warm_netbox.run("tests.property.machine", env=fresh_database().env)
    assert process.returncode == 0, process.stdout + process.stderr
