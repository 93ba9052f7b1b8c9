import pytest


# The full run: make fuzz
@pytest.mark.timeout(600)
def test_every_answer_is_one_that_the_schema_has(fresh_database, warm_netbox):
    process = warm_netbox.run("tests.fuzz.api", "--cases", "600", env=fresh_database().env)
    assert process.returncode == 0, process.stdout + process.stderr
