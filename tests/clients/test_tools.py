"""The examples for pynetbox, Ansible, Terraform, webhooks and custom scripts."""

import json
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import hcl2
import pytest

pytestmark = pytest.mark.live

BUSY = (503, {"Retry-After": "1"})


def run(front, *command, **kwargs):
    return subprocess.run(command, env=front.env, capture_output=True, text=True, check=False, **kwargs)


def test_pynetbox(examples, front, held):
    script = [sys.executable, examples / "pynetbox_cluster.py"]
    allocate = [*script, "allocate", "pynetbox-1", "--site", "Site1", "--vrf", "Network3"]
    front.troubles = [BUSY, BUSY]
    done = run(front, *allocate)
    assert done.returncode == 0, done.stderr
    number = re.fullmatch(r"allocated (\d+): VLAN 300, 10.31.0.0/24, EPG EPG_Site1_Network3_300\n", done.stdout)[1]
    assert run(front, *allocate).stdout.startswith(f"held {number}: VLAN 300")
    assert held("pynetbox") == {"pynetbox-1": 300}

    done = run(front, *script, "release", number)
    assert (done.stdout, done.stderr) == (f"released {number}\n", "")
    assert held("pynetbox") == {}
    assert run(front, *script, "release", number).returncode == 0
    assert "There is no allocation 999999" in run(front, *script, "release", "999999").stderr

    done = run(front, *script, "allocate", "pynetbox-1", "--site", "Site3", "--vrf", "Network3")
    assert (done.returncode, "pool_exhausted" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_ansible(examples, front, tmp_path, held):
    front.env |= {"ANSIBLE_LOCAL_TEMP": str(tmp_path / "ansible"), "ANSIBLE_NOCOLOR": "1", "HOME": str(tmp_path)}

    def play(site="Site1", vrf="Network2", **more):
        values = {"cluster_name": "ansible-1", "site": site, "vrf": vrf, "pause": 0, "tries": 3, **more}
        values["file"] = str(tmp_path / "network.json")
        values["ansible_python_interpreter"] = sys.executable
        command = [
            Path(sys.executable).with_name("ansible-playbook"),
            examples / "ansible.yml",
            "-e",
            json.dumps(values),
        ]
        return run(front, *command, cwd=tmp_path)

    # The proxy answers busy twice; the third answer is NetBox's.
    front.troubles = [BUSY, (409, {})]
    done = play()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=2" in done.stdout
    network = json.loads((tmp_path / "network.json").read_text())
    assert held("ansible-1") == {"ansible-1": network["vlan"]}
    assert re.fullmatch(r"10\.21\.\d+\.0/24", network["prefix"])

    assert "changed=0" in play().stdout

    done = play(state="absent")
    assert "changed=2" in done.stdout
    assert held("ansible-1") == {}
    assert not (tmp_path / "network.json").exists()
    done = play(state="absent")
    assert (done.returncode, "changed=0" in done.stdout) == (0, True)

    # The pool is still exhausted after all tries.
    done = play("Site3", "Network3", tries=1)
    assert done.returncode == 2
    assert "No network for ansible-1: Pool Network3 Site3" in done.stdout
    assert play("Site9", state="absent").returncode == 2


def test_terraform(examples, api):
    """Sends what the provider would send by its documentation, because the provider is not available here."""
    text = (examples / "terraform.tf").read_text()
    parsed = hcl2.loads(text)
    (resource,) = parsed["resource"]
    ((kind, named),) = resource.items()
    ((_name, network),) = named.items()
    assert kind.strip('"') == "restapi_object"
    (local,) = parsed["locals"]

    def path(name, number=""):
        value = network[name].strip('"').replace("${local.allocations}", local["allocations"].strip('"'))
        return value.replace("{id}", str(number)).removeprefix("/api/")

    (provider,) = parsed["provider"]
    assert next(iter(provider.values()))["write_returns_object"] is True
    assert network["id_attribute"].strip('"') == "id"
    keys = re.findall(r"^    (\w+) += each", text, re.MULTILINE)
    body = dict(zip(keys, ("terraform-1", "Site1", "Network3"), strict=True))

    created = api("post", path("create_path"), json=body)
    assert created.status_code == 201
    number = created.json()["id"]
    read = api("get", path("read_path", number))
    assert (read.status_code, read.json()["id"]) == (200, number)
    for name in re.findall(r"jsondecode\(network\.api_response\)\.(\w+)", text):
        assert read.json()[name]
    # Without its state, a second apply finds the existing allocation.
    again = api("post", path("create_path"), json=body)
    assert (again.status_code, again.json()["id"]) == (200, number)
    # Arguments with force_new cannot be updated.
    assert api("patch", path("update_path", number), json=body | {"site": "Site2"}).status_code == 400

    assert api("delete", path("destroy_path", number)).status_code == 204
    assert api("delete", path("destroy_path", number)).status_code == 204
    # Terraform takes the allocation for deleted, so the next apply makes a new one.
    assert api("get", path("read_path", number)).status_code == 404
    # The import id in the comment ends with the allocation's id.
    imported = re.search(r"terraform import \S+ (\S+)/\d+", text)[1]
    assert imported == local["allocations"].strip('"')


def test_event_rule(examples, api, netbox):
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            assert self.headers["X-Hook-Signature"]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        webhook = json.loads((examples / "webhook.json").read_text())
        webhook["payload_url"] = f"http://127.0.0.1:{server.server_port}/"
        created = api("post", "extras/webhooks/", json=webhook)
        assert created.status_code == 201, created.text
        rule = json.loads((examples / "event-rule.json").read_text()) | {"action_object_id": created.json()["id"]}
        created = api("post", "extras/event-rules/", json=rule)
        assert created.status_code == 201, created.text

        # The rule matches one of two pools.
        for site in ("Site1", "Site2"):
            asked = {"cluster_name": "webhook-1", "site": site, "vrf": "Network1"}
            assert api("post", "plugins/vlan-manager/allocate-vlan/", json=asked).ok, site
        asked["site"] = "Site1"
        assert api("post", "plugins/vlan-manager/release-vlan/", json=asked).ok
        netbox.database.netbox("rqworker", "--burst", "default")
        server.shutdown()
    api("delete", f"extras/event-rules/{created.json()['id']}/")
    assert sorted(body["event"] for body in received) == ["vlan_manager_allocated", "vlan_manager_released"]
    assert {body["data"]["pool"]["slug"] for body in received} == {"network1-site1"}


@pytest.fixture
def worker(netbox, tmp_path):
    """An RQ worker; NetBox runs scripts only with one."""
    worker = netbox.database.start("netbox", "rqworker", log=tmp_path / "worker.log")
    yield worker
    worker.stop()


@pytest.mark.usefixtures("worker")
def test_custom_script(examples, api, held):
    with (examples / "netbox_script.py").open("rb") as file:
        uploaded = api("post", "extras/scripts/upload/", files={"file": ("netbox_script.py", file)})
    assert uploaded.status_code == 201, uploaded.text
    (script,) = api("get", "extras/scripts/", params={"name": "NetworkOfCluster"}).json()["results"]
    pools = api("get", "plugins/vlan-manager/pools/", params={"slug": ["network3-site1", "network3-site3"]}).json()
    free, full = (pool["id"] for pool in sorted(pools["results"], key=lambda pool: pool["slug"]))

    def start(**data):
        asked = {"data": {"cluster_name": "script-1", **data}, "commit": True}
        deadline = time.monotonic() + 120
        # The worker takes a while to register.
        while (started := api("post", f"extras/scripts/{script['id']}/", json=asked)).status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert started.status_code == 200, started.text
        url = f"core/jobs/{started.json()['result']['id']}/"
        while not (job := api("get", url).json())["completed"]:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        return job

    job = start(pool=free)
    assert job["status"]["value"] == "completed", job
    assert re.fullmatch(r"30\d 10\.31\.\d\.0/24 EPG_Site1_Network3_30\d", job["data"]["output"])
    assert list(held("script-1")) == ["script-1"]
    assert start(pool=free, give_back=True)["status"]["value"] == "completed"
    assert held("script-1") == {}

    job = start(pool=full)
    assert (job["status"]["value"], "has no available segment" in json.dumps(job)) == ("errored", True)
