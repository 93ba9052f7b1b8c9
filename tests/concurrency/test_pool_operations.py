import json

import pytest

pytestmark = pytest.mark.concurrency


@pytest.fixture
def scenario(fresh_database, warm_netbox):
    """Run a scenario of tests.concurrency.pool_operations on a database of its own and return its report."""

    def run(name):
        process = warm_netbox.run("tests.concurrency.pool_operations", name, env=fresh_database().env)
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout.splitlines()[-1])

    return run


def test_allocating_while_a_pool_is_merged(scenario):
    report = scenario("allocating")

    others = report["others"]
    assert others.pop("merged 200 segments") == 1
    others.pop("idle")
    # Late callers get a clean error, and "exhausted" only if the pool was.
    is_full = len(report["answers"]) == 200
    assert set(others) <= ({"pool_not_found", "pool_exhausted"} if is_full else {"pool_not_found"})
    assert report["pools"] == ["Network1 Site2"]
    assert report["segments"] == 210
    # Every cluster that got an answer holds the segment, once, in the remaining pool.
    assert sorted((one["id"], one["cluster"]) for one in report["answers"]) == [
        (pk, cluster) for pk, cluster, _pool, _name in report["held"]
    ]
    assert {(pool, name) for _pk, _cluster, pool, name in report["held"]} == {("Network1 Site2", "Network1 Site2")}
    assert report["answers"]
    assert report["drift"] == []


def test_allocating_and_releasing_while_a_pool_is_merged(scenario):
    report = scenario("churning")

    assert report["others"] == {"merged 60 segments": 1}
    assert len(report["answers"]) == 12
    assert report["pools"] == ["Network1 Site2"]
    assert report["active"] == []
    assert report["drift"] == []


def test_allocating_while_a_pool_retires(scenario):
    report = scenario("retiring")

    for outcome in report["rounds"]:
        assert outcome["same"]
        assert set(outcome["others"]) <= {"retired", "drained", "pool_exhausted", "pool_paused", "busy"}
        assert outcome["statuses"] == (["retiring"] if outcome["held"] else [])
    assert report["drift"] == []
