import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from threading import Barrier

import pytest
import requests

pytestmark = pytest.mark.concurrency


@pytest.fixture
def scenario(fresh_database, warm_netbox):
    """Run a scenario of tests.concurrency.scenarios on a database of its own and return its report."""

    def run(name):
        process = warm_netbox.run("tests.concurrency.scenarios", name, env=fresh_database().env)
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


def test_one_cluster_that_asks_fifty_times_has_one_allocation(scenario):
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


def test_exports_are_whole_while_others_write(scenario):
    report = scenario("exports")

    assert report["others"] == {"done": 16}
    assert [answer["vids"] for answer in report["answers"]] == [list(range(1, 601))] * 16
    assert report["drift"] == []


def test_each_release_happens_once(scenario):
    report = scenario("same_releases")

    assert report["others"]["released"] == 10
    assert set(report["others"]) <= {"released", "was released", "allocation_not_found"}
    assert report["active"] == []
    assert report["drift"] == []


def test_pool_is_not_exhausted_while_another_rolls_back(scenario):
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
        "allocation vlan_manager_released",
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


def test_sharing_while_the_last_holder_releases(scenario):
    report = scenario("last_holder")

    assert report["rounds"] == [["released", "shares", "sharer-"]] * 20
    assert report["active"] == []
    assert report["drift"] == []


def test_a_lease_that_is_over_is_expired_and_not_renewed(scenario):
    report = scenario("expired_or_renewed")

    assert report["rounds"] == [["1 expired", "too late", "released"]] * 20
    assert report["drift"] == []


def test_leases_that_are_over_are_given_to_who_asks(scenario):
    report = scenario("overdue")

    assert report["rounds"] == [{"others": {"done": 2}, "created": 24, "active": True}] * 10
    assert report["reasons"] == {"expired": 240, "released": 240}
    assert report["drift"] == []


def test_no_cluster_is_renumbered_while_nearer_pools_are_added(scenario):
    report = scenario("nearer_pool")

    assert report["others"] == {"added": 2}
    assert len(report["answers"]) == 20
    for answer in report["answers"]:
        # Each place keeps one answer while pools are added.
        assert len(set(answer["vids"])) == len(set(answer["later"])) == 1, answer
    assert report["doubles"] == []
    assert report["drift"] == []


@pytest.mark.parametrize("name", ["opposite_batches", "opposite_transactions"])
def test_batches_that_want_each_other_s_segments(scenario, name):
    report = scenario(name)

    # One caller gets all segments, the other none.
    assert report["rounds"] == [["all", "vid_unavailable", 10, 1]] * 5
    assert report["active"] == []
    assert report["drift"] == []


def test_lists_that_want_each_other_s_segments_try_nothing_again(scenario):
    report = scenario("opposite_lists")

    wants = ["201 after 0 retries", "409 after 0 retries"]
    assert report["rounds"] == [[wants, ["201 after 0 retries"] * 2, ["204 after 0 retries"] * 2]] * 10
    assert report["active"] == []
    assert report["drift"] == []


def test_stretched_beside_plain_ones(scenario):
    report = scenario("stretched")

    assert report["others"] == {}
    stretched = [answer["vids"] for answer in report["answers"] if "vids" in answer]
    assert len(stretched) == 24
    assert all(first == second for first, second in stretched)
    assert len({first for first, _second in stretched}) == 24
    assert len(report["active"]) == 2 * 24 + 24
    assert report["drift"] == []


def test_limits_are_never_exceeded(scenario):
    report = scenario("limits")

    assert report["others"] == {"limit_reached": 29 + 27}
    assert sorted(cluster.split("-")[0] for cluster, _vid in report["active"]) == ["many"] * 5 + ["one"] * 3
    assert report["drift"] == []


def test_jobs_at_once_do_everything_once(scenario):
    report = scenario("jobs")

    assert report["others"] == {}
    assert sorted(event for answer in report["answers"] for event in answer["events"]) == report["expected"]
    assert report["reasons"] == {"": 10, "released": 10, "expired": 10}
    assert report["promoted"] == 10
    assert report["drift"] == []


def test_nobody_finds_a_pool_exhausted_while_its_cool_downs_end(scenario):
    report = scenario("promotions")

    assert report["rounds"] == [{"allocated": 12, "done": 2}] * 10
    assert report["drift"] == []


def test_every_order_hands_out_every_segment_once(scenario):
    report = scenario("orders")

    assert len(report["rounds"]) == 4
    for vids in report["rounds"].values():
        assert vids == list(range(1, 49))
    assert report["active"] == []
    assert report["drift"] == []


def test_a_pool_that_grows_makes_no_more_than_it_may(scenario):
    report = scenario("growth")

    assert report["others"] == {"pool_exhausted": 50}
    assert sorted(answer["vid"] for answer in report["answers"]) == list(range(1, 151))
    assert len({answer["prefix"] for answer in report["answers"]}) == 150
    assert len(report["active"]) == 150
    # Nothing remains of segments beyond the limit.
    assert (report["segments"], report["vlans"], report["prefixes"]) == (150, 150, 151)
    assert report["drift"] == []


def test_two_pools_grow_out_of_one_vlan_group(scenario):
    report = scenario("growth_in_one_group")

    assert report["others"] == {}
    assert sorted(answer["vid"] for answer in report["answers"]) == list(range(1, 121))
    assert len({(answer["pool"], answer["prefix"]) for answer in report["answers"]}) == 120
    assert report["drift"] == []


def test_a_pool_grows_while_segments_are_imported(scenario):
    report = scenario("growth_beside_an_import")

    assert report["others"] == {}
    asked = [answer for answer in report["answers"] if "vid" in answer]
    assert len(asked) == len({answer["vid"] for answer in asked}) == len({answer["prefix"] for answer in asked}) == 96
    imports = [answer for answer in report["answers"] if "imported" in answer]
    # The import refuses segments that the pool made first.
    assert all(answer["imported"] + answer["failed"] == 100 for answer in imports)
    assert max(answer["imported"] for answer in imports) == 100
    assert report["segments"] >= sum(answer["imported"] for answer in imports)
    assert report["drift"] == []


def test_one_idempotency_key_posted_eight_times_at_once(stack, fresh_database):
    live = stack.serve(fresh_database())
    try:
        live.database.netbox("vlan_manager_demo", "--user", live.username)
        barrier = Barrier(8)

        def post(number):
            barrier.wait()
            return requests.post(
                f"{live.url}/api/plugins/vlan-manager/allocations/",
                json={"cluster_name": "idempotent", "site": "Site1", "vrf": "Network1"},
                headers={"Authorization": f"Bearer {live.token}", "Idempotency-Key": "once"},
                timeout=60,
            )

        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(post, range(8)))
        assert [answer.status_code for answer in answers] == [201] * 8
        assert all(answer.json() == answers[0].json() for answer in answers)
        assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
        with live.database.connect() as connection:
            count = connection.execute(
                "SELECT count(*) FROM netbox_vlan_manager_allocation WHERE cluster_name = 'idempotent'"
            )
            assert count.fetchone() == (1,)
    finally:
        live.stop()


def test_nothing_is_given_twice_beside_netbox_s_own_endpoints(scenario):
    report = scenario("beside_netbox")

    assert report["others"] == {}
    taken = [answer for answer in report["answers"] if "status" in answer]
    assert Counter(answer["status"] for answer in taken) == {201: 50}
    assert sum(answer.get("generated", 0) for answer in report["answers"]) == 72
    # Clusters take generated segments if any are free; otherwise their pool grows.
    assert 72 <= report["segments"] <= 92
    assert report["networks"] == report["distinct"] == report["segments"] + 25
    assert report["vlans"] == report["segments"] + 25
    assert report["drift"] == []


POOL = """
from tests.factories import make_pool

pool = make_pool(container="10.0.0.0/8", vid_ranges=((1, 4094),), auto_grow=True, grow_prefix_length=24)
print("IDS", pool.pk, pool.prefixes.get().pk, pool.vlan_group_id)
"""


def test_nothing_is_given_twice_by_http_and_netbox_s_endpoints(stack, fresh_database):
    live = stack.serve(fresh_database(), workers=6)
    try:
        output = live.database.netbox("nbshell", "-c", POOL).stdout
        pool, container, group = (int(word) for word in output.partition("IDS ")[2].split()[:3])
        plugin = "plugins/vlan-manager"
        asks = [(f"{plugin}/allocations/", {"pool": pool, "cluster_name": f"c{number}"}) for number in range(20)]
        generate = (f"{plugin}/pools/{pool}/generate/", {"count": 12, "prefix_length": 24})
        prefix = (f"ipam/prefixes/{container}/available-prefixes/", {"prefix_length": 24})
        vlans = [(f"ipam/vlan-groups/{group}/available-vlans/", {"name": f"n{number}"}) for number in range(25)]
        calls = [call for four in zip_longest(asks, [generate] * 6, [prefix] * 25, vlans) for call in four if call]

        def post(call):
            headers = {"Authorization": f"Bearer {live.token}"}
            return requests.post(f"{live.url}/api/{call[0]}", json=call[1], headers=headers, timeout=120).status_code

        with ThreadPoolExecutor(18) as clients:
            assert Counter(clients.map(post, calls)) == {201: 76}
        with live.database.connect() as connection:
            networks = "SELECT count(*), count(DISTINCT prefix) FROM ipam_prefix WHERE vrf_id IS NOT NULL"
            total, distinct = connection.execute(networks).fetchone()
            (segments,) = connection.execute("SELECT count(*) FROM netbox_vlan_manager_segment").fetchone()
            (vids,) = connection.execute("SELECT count(DISTINCT vid) FROM ipam_vlan").fetchone()
        # One more prefix is the container.
        assert total == distinct == segments + 25 + 1
        assert vids == segments + 25
    finally:
        live.stop()
