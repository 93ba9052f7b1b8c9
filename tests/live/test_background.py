"""Bulk writes as NetBox's background jobs, run by a real worker."""

from pathlib import Path

import pytest
import requests

from tests.stack.servers import Valkey, free_port, wait_for

pytestmark = pytest.mark.live

ACCOUNTS = """
from core.models import Job
from netbox_vlan_manager.models import Segment, SegmentPool
from tests.factories import make_pool, make_user, permit
from users.models import Token

pool = make_pool(segments=3)
other = make_pool("Network2", container="10.2.0.0/16", segments=2)
user = make_user("pipeline")
permit(user, pool, "view", "change", "allocate", "release")
permit(user, Segment, "view", "add", "change", "delete")
permit(user, Job, "view")
Token.objects.create(user=user, version=1, token="0123456789abcdef0123456789abcdef01234567", write_enabled=True)
print("POOLS", pool.pk, other.pk)
"""
TOKEN = "0123456789abcdef0123456789abcdef01234567"


class Client:
    def __init__(self, live):
        self.live = live
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Token {TOKEN}"

    def call(self, method, path, body=None):
        url = f"{self.live.url}/api/plugins/vlan-manager/{path}"
        return self.session.request(method, url, json=body, timeout=60)

    def in_background(self, method, path, body):
        """Make a call as a background job, wait for it, and return the job as REST shows it."""
        answer = self.call(method, f"{path}?background=true", body)
        assert answer.status_code == 202, answer.text
        url = answer.json()["job"]["url"]
        assert answer.headers["Location"] == url

        def finished():
            job = self.session.get(url, timeout=60).json()
            assert job["status"]["value"] in ("completed", "failed", "errored"), job["status"]
            return job

        return wait_for(finished, self.live.process, "the job", timeout=120)


@pytest.fixture(scope="module")
def world(stack):
    """A (Client, ids of two pools) pair for a NetBox with its own queue and a worker."""
    valkey = Valkey()
    valkey.start()
    database = stack.create_database()
    database.env.update(valkey.env)
    output = database.netbox("nbshell", "-c", ACCOUNTS).stdout
    pools = [int(word) for word in output.partition("POOLS ")[2].split()[:2]]
    live = stack.serve(database, free_port())
    client = Client(live)
    # Without a worker, NetBox refuses jobs.
    refused = client.call("post", "allocations/?background=true", [{"pool": pools[0], "cluster_name": "early"}])
    assert refused.status_code == 503

    log = Path(database.env["NETBOX_ROOT"]) / f"rqworker-{valkey.port}.log"
    worker = database.start("netbox", "rqworker", log=log)

    def check_worker():
        status = requests.get(f"{live.url}/api/status/", headers={"Authorization": f"Bearer {live.token}"}, timeout=60)
        assert status.json()["rq-workers-running"] == 1

    wait_for(check_worker, worker, "the worker", timeout=120)
    yield client, pools
    worker.stop()
    live.stop()
    valkey.stop()


def test_allocations(world):
    client, (pool, _other) = world
    body = [{"pool": pool, "cluster_name": name} for name in ("a", "b")]
    job = client.in_background("post", "allocations/", body)
    assert (job["status"]["value"], job["data"]["status_code"]) == ("completed", 201)
    assert job["user"]["username"] == "pipeline"
    allocations = job["data"]["data"]
    assert [(one["cluster_name"], one["vid"], one["allocated_by"]["username"]) for one in allocations] == [
        ("a", 100, "pipeline"),
        ("b", 101, "pipeline"),
    ]
    # A second call gets the same answer, and the change log names the user.
    assert client.in_background("post", "allocations/", body)["data"]["status_code"] == 200

    # One name too many: no allocation is made, and the job names the item that failed.
    job = client.in_background("post", "allocations/", [{"pool": pool, "cluster_name": name} for name in ("c", "d")])
    assert (job["status"]["value"], job["data"]["status_code"]) == ("failed", 409)
    (error,) = job["data"]["data"]["errors"]
    assert (error["index"], error["code"]) == (1, "pool_exhausted")

    job = client.in_background("delete", "allocations/", [{"id": one["id"]} for one in allocations])
    assert (job["status"]["value"], job["data"]["status_code"]) == ("completed", 204)
    assert client.call("get", f"pools/{pool}/").json()["allocated"] == 0


def test_permissions_are_the_users(world):
    client, (_pool, other) = world
    job = client.in_background("post", "allocations/", [{"pool": other, "cluster_name": "x"}])
    assert job["status"]["value"] == "failed"
    assert job["data"]["status_code"] in (400, 403)


def test_segments(world):
    client, (pool, _other) = world
    new = [{"pool": pool, "vid": 200 + n, "epg_name": f"E{200 + n}", "prefix": f"10.0.{200 + n}.0/24"} for n in (0, 1)]
    job = client.in_background("post", "segments/", new)
    assert (job["status"]["value"], job["data"]["status_code"]) == ("completed", 201)
    ids = [one["id"] for one in job["data"]["data"]]

    job = client.in_background("patch", "segments/", [{"id": ids[0], "vid": 210}, {"id": ids[1], "vid": 5000}])
    assert (job["status"]["value"], job["data"]["status_code"]) == ("failed", 400)
    assert job["data"]["data"]["errors"][0]["id"] == ids[1]
    job = client.in_background("patch", "segments/", [{"id": pk, "description": "by a job"} for pk in ids])
    assert {one["description"] for one in job["data"]["data"]} == {"by a job"}
    assert client.call("get", f"segments/{ids[0]}/").json()["vid"] == 200

    job = client.in_background("delete", "segments/", [{"id": pk} for pk in ids])
    assert (job["status"]["value"], job["data"]["status_code"]) == ("completed", 204)
    assert client.call("get", f"segments/{ids[0]}/").status_code == 404


def test_pools(world):
    client, (pool, other) = world
    job = client.in_background("patch", "pools/", [{"id": pool, "description": "by a job"}])
    assert (job["status"]["value"], job["data"]["status_code"]) == ("completed", 200)
    assert client.call("get", f"pools/{pool}/").json()["description"] == "by a job"
    # The user may not view the pool at all.
    job = client.in_background("patch", "pools/", [{"id": other, "description": "x"}])
    assert job["status"]["value"] == "failed"
