import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.concurrency


@pytest.fixture
def scenario(fresh_database):
    """Run a scenario of tests.concurrency.scenarios on a database of its own and return its report."""

    def run(name):
        command = [sys.executable, "-m", "tests.concurrency.scenarios", name]
        process = subprocess.run(command, env=fresh_database().env, capture_output=True, text=True, timeout=400)
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout.splitlines()[-1])

    return run


def test_no_segment_is_given_twice(scenario):
    report = scenario("rush")

    assert len(report["answers"]) == 300
    assert report["others"] == {"pool_exhausted": 100}
    assert {answer["vid"] for answer in report["answers"]} == set(range(1, 301))
    assert len({answer["cluster"] for answer in report["answers"]}) == 300
    assert sorted(vid for _cluster, vid in report["active"]) == list(range(1, 301))
    assert report["drift"] == []


def test_one_cluster_asking_fifty_times_at_once_has_one_allocation(scenario):
    report = scenario("one_cluster")

    assert len(report["answers"]) == 50
    assert {answer["vid"] for answer in report["answers"]} == {1}
    assert sum(answer["created"] for answer in report["answers"]) == 1
    assert len({answer["cluster"] for answer in report["answers"]}) == 1
    assert len(report["active"]) == 1
    assert report["drift"] == []


def test_two_clusters_asking_for_the_last_segment(scenario):
    report = scenario("last_segment")

    assert report["rounds"] == [["allocated", "pool_exhausted"]] * 20
    assert report["drift"] == []


def test_the_last_segment_is_either_allocated_or_disabled(scenario):
    report = scenario("last_disabled")

    assert len(report["rounds"]) == 30
    for outcome in report["rounds"]:
        assert outcome in (
            ["allocated", "segment_in_use", "then", "allocated"],
            ["disabled", "pool_exhausted", "then", "disabled"],
        )
    assert report["drift"] == []


def test_disabling_and_enabling_while_clusters_come_and_go(scenario):
    report = scenario("disabling")

    assert report["others"] == {"done": 20}
    # No segment went from disabled to allocated or back.
    assert report["steps"] == ["allocated available", "available allocated", "available disabled", "disabled available"]
    assert report["active"] == []
    assert report["history"] > 12
    assert report["reasons"] == [""]
    assert report["drift"] == []


def test_allocating_and_releasing_in_turn(scenario):
    report = scenario("churn")

    assert report["others"] == {"done": 24}
    assert report["active"] == []
    assert report["history"] > 24
    assert report["drift"] == []


def test_each_release_happens_once(scenario):
    report = scenario("same_releases")

    assert report["others"]["released"] == 10
    assert set(report["others"]) <= {"released", "was released", "allocation_not_found"}
    assert report["active"] == []
    assert report["drift"] == []


def test_pool_is_not_exhausted_behind_a_transaction_that_rolls_back(scenario):
    report = scenario("held_by_rolled_back")

    assert report["answers"] == [{"cluster": "cluster-1", "vid": 1, "created": True}]
    assert report["drift"] == []


def test_lock_that_is_not_had_in_time_answers_busy(scenario):
    report = scenario("held_for_long")

    assert report["others"] == {"busy": 1}
    assert report["active"] == []
    assert report["changes"] == 0


def test_deadlock_is_tried_again_without_the_failed_try_s_events(scenario):
    report = scenario("deadlock")

    assert report["retries"] >= 1
    assert sorted(report["answers"][0]["events"]) == [
        "allocation object_updated",
        "prefix object_updated",
        "segment object_updated",
    ]
    assert sorted(report["changes"]) == ["allocation", "prefix", "segment"]
    assert report["request_ids"] == 1
    assert report["active"] == []
    assert report["drift"] == []


def test_two_that_create_the_same_segment_make_one(scenario):
    report = scenario("same_segment")

    assert report["segments"] == len(report["answers"])
    assert set(report["others"]) == {"ValidationError"}
    assert report["vlans"] == report["segments"]
    assert report["prefixes"] == report["segments"] + 1
    assert report["drift"] == []


def test_eight_that_create_the_same_pool_make_one(scenario):
    report = scenario("same_pool")

    assert report["others"] == {"Network1 Site1": 1, "exists": 7}
    assert (report["groups"], report["prefixes"]) == (1, 1)
    assert report["drift"] == []


def test_two_imports_of_the_same_file_make_no_duplicates(scenario):
    report = scenario("same_import")

    assert sorted(answer["created"] for answer in report["answers"]) == [0, 200]
    assert all(answer["failed"] == 0 for answer in report["answers"])
    assert report["segments"] == 200
    assert report["drift"] == []


def test_process_that_dies_half_way_leaves_nothing(scenario):
    report = scenario("killed")

    assert report["exitcode"] == 9
    assert report["answers"] == [{"cluster": "cluster-2", "vid": 1, "created": True}]
    assert report["changes"] == 1
    assert report["drift"] == []
