import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.live

SEGMENTS, CLUSTERS = 20, 25

SETUP = f"""
import django; django.setup()
from tests.factories import make_pool
make_pool(segments={SEGMENTS}); make_pool(scope="Site2", segments=1, container="10.1.0.0/16")
"""


@pytest.fixture(scope="module")
def observed(stack, tmp_path_factory):
    """A NetBox with metrics and logs, a pool with SEGMENTS segments and a pool with one."""
    folder = tmp_path_factory.mktemp("observed")
    database = stack.create_database()
    env = {
        "NETBOX_CONFIGURATION": "tests.stack.configuration_observed",
        "OPERATIONS_LOG": str(folder / "operations.log"),
    }
    database = replace(database, env=database.env | env)
    subprocess.run([sys.executable, "-c", SETUP], env=database.env, check=True)
    (folder / "operations.log").write_text("")
    files = folder / "metrics"
    files.mkdir()
    # The directory is for the web server only: management commands count nothing.
    live = stack.serve(replace(database, env=database.env | {"PROMETHEUS_MULTIPROC_DIR": str(files)}))
    live.log, live.files = folder / "operations.log", files
    yield live
    live.stop()


@pytest.fixture(scope="module")
def answers(observed):
    """The answers to many simultaneous calls, by kind."""
    root = f"{observed.url}/api/plugins/vlan-manager"
    headers = {"Authorization": f"Bearer {observed.token}"}

    def post(path, body, **more):
        return requests.post(f"{root}/{path}", json=body, headers=headers | more, timeout=60)

    def named(cluster, site="Site1", **more):
        return {"cluster_name": cluster, "site": site, "vrf": "Network1", **more}

    answers = {}
    with ThreadPoolExecutor(8) as pool:
        clusters = [f"c{number}" for number in range(CLUSTERS)]
        answers["allocate"] = list(pool.map(lambda name: post("allocate-vlan/", named(name)), clusters))
        held = [answer.json() for answer in answers["allocate"] if answer.ok]
        again = [one["cluster_name"] for one in held[:5]]
        answers["replay"] = list(pool.map(lambda name: post("allocate-vlan/", named(name)), again))
    # These are rolled back: a list whose second item gets no segment, and a refused call with an Idempotency-Key.
    answers["list"] = post("allocations/", [named("x", "Site2"), named("y", "Site2")])
    answers["refused"] = post("allocate-vlan/", named("z"), **{"Idempotency-Key": "k1"})
    answers["dry run"] = post("allocations/", named("x", "Site2", dry_run=True))
    answers["release"] = [post("release-vlan/", named(name)) for name in again[:3]]
    answers["first"], answers["stored"] = (
        post("allocate-vlan/", named("line\nend", "Site2"), **{"Idempotency-Key": "k2"}),
        post("allocate-vlan/", named("new", "Site2"), **{"Idempotency-Key": "k2"}),
    )
    answers["named"] = [post("allocate-vlan/", named("é", "Site2"), **{"Idempotency-Key": "k3"}) for _ in range(2)]
    return answers


def scrape(observed):
    text = requests.get(f"{observed.url}/metrics", timeout=60)
    assert text.status_code == 200
    return text.text


def read(text):
    return {
        (sample.name.removeprefix("netbox_vlan_manager_"), *(value for _key, value in sorted(sample.labels.items()))): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("netbox_vlan_manager") and not sample.name.endswith("_created")
    }


def test_storm_went_as_planned(answers):
    assert Counter(answer.status_code for answer in answers["allocate"]) == {200: SEGMENTS, 409: CLUSTERS - SEGMENTS}
    assert [answer.status_code for answer in answers["replay"]] == [200] * 5
    assert (answers["list"].status_code, answers["refused"].status_code) == (409, 409)
    assert (answers["dry run"].status_code, answers["first"].status_code) == (200, 400)
    assert [answer.status_code for answer in answers["release"]] == [200] * 3
    assert answers["stored"].status_code == 200
    assert answers["named"][1].status_code == answers["named"][0].status_code == 409


def test_counters_of_all_workers(observed, answers):
    # Both workers have counted, and either one reports the sum.
    files = [path.read_bytes() for path in observed.files.glob("counter_*.db")]
    assert sum(b'"netbox_vlan_manager_allocations_total"' in content for content in files) == 2
    for _scrape in range(4):
        metrics = read(scrape(observed))
        assert metrics["allocations_total", "allocated", "network1-site1"] == SEGMENTS
        assert metrics["allocations_total", "held", "network1-site1"] == 5
        assert metrics["allocations_total", "allocated", "network1-site2"] == 1
        assert metrics["releases_total", "released", "network1-site1"] == 3
        assert metrics["exhaustions_total", "network1-site1"] == CLUSTERS - SEGMENTS + 1
        # The list, and the two refused calls with their own keys; a dry run does not count.
        assert metrics["exhaustions_total", "network1-site2"] == 3
        assert metrics["operation_seconds_count", "allocate", "allocated"] == SEGMENTS + 1
        assert metrics["operation_seconds_count", "allocate_many", "dry_run"] == 1
        assert metrics["operation_seconds_bucket", "+Inf", "allocate", "allocated"] == SEGMENTS + 1
        assert metrics["operation_seconds_sum", "allocate", "allocated"] > 0


def test_gauges_come_once_and_from_the_database(observed, answers):
    text = scrape(observed)
    assert text.count("# TYPE netbox_vlan_manager_pool_capacity gauge") == 1
    # NetBox's own metrics are still there.
    assert "django_http_requests_total_by_method_total" in text
    metrics = read(text)
    assert metrics["pool_segments", "network1-site1", "allocated"] == SEGMENTS - 3
    assert metrics["pool_segments", "network1-site1", "available"] == 3
    assert metrics["pool_capacity", "network1-site1"] == SEGMENTS
    assert metrics["pool_utilization_ratio", "network1-site2"] == 1
    assert metrics["database_up",] == 1


def test_log_has_what_was_done_and_nothing_else(observed, answers):
    lines = [json.loads(line) for line in observed.log.read_text().splitlines()]
    done = [line for line in lines if line["logger"] == "netbox_vlan_manager.operations"]
    assert Counter((line["operation"], line["outcome"]) for line in done) == {
        ("allocate", "allocated"): SEGMENTS + 1,
        ("allocate", "held"): 5,
        ("release", "released"): 3,
    }
    assert {line["user"] for line in done} == {observed.username}
    ids = {answer.headers["X-Request-ID"] for answer in (*answers["allocate"], *answers["replay"])}
    assert {line["request"] for line in done if line.get("pool") == "Network1 Site1" and "reason" not in line} <= ids


def test_health_is_capped(observed):
    url = f"{observed.url}/api/plugins/vlan-manager/health/"
    answers = [requests.get(url, timeout=60) for _number in range(100)]
    statuses = Counter(answer.status_code for answer in answers)
    # 40 an hour, in each of two processes.
    assert statuses[429] >= 20
    assert statuses[200] >= 40
    assert answers[0].json()["workers"] == "down"
    assert answers[0].json()["status"] == "degraded"
