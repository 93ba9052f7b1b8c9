"""The script that pipelines call, and the pipelines themselves."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml

pytestmark = pytest.mark.live

BUSY = (503, {"Retry-After": "1"})


def write(folder, **clusters):
    """Write {file: (name, site, vrf)} into a folder."""
    folder.mkdir(exist_ok=True)
    for file, (name, site, vrf) in clusters.items():
        (folder / f"{file}.yaml").write_text(f"name: {name}\nsite: {site}\nvrf: {vrf}\nnodes:\n  - name: other\n")


@pytest.fixture
def run(examples, front, tmp_path):
    """A function that runs the script with arguments in `tmp_path`, and returns the CompletedProcess."""

    def run(*args, **env):
        return subprocess.run(
            [sys.executable, "-I", examples / "allocate_clusters.py", *args],
            cwd=tmp_path,
            env=front.env | env,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_allocate_and_release(run, tmp_path, held):
    write(tmp_path / "clusters", a=("gitops-a", "Site1", "Network2"), b=("'gitops-b'  # new", '"Site1"', "network2"))
    done = run("--out", "networks.json", "clusters")
    assert (done.returncode, done.stderr) == (0, "")
    networks = json.loads((tmp_path / "networks.json").read_text())
    assert {name: network["vlan_id"] for name, network in networks.items()} == {"a": 202, "b": 203}
    assert "a.yaml: got VLAN 202, 10.21.2.0/24, EPG EPG_Site1_Network2_202" in done.stdout

    # Pipelines give all files every time.
    again = run("--out", "networks.json", "clusters")
    assert "b.yaml: has VLAN 203" in again.stdout
    assert held("gitops-") == {"gitops-a": 202, "gitops-b": 203}

    # A renamed file, or a name in capitals, is the same cluster.
    write(tmp_path / "removed", old=("GITOPS-A", "site1", "Network2"), b=("gitops-b", "Site1", "Network2"))
    (tmp_path / "clusters" / "b.yaml").unlink()
    done = run("--release", "--keep", "clusters", "removed")
    assert done.returncode == 0
    assert "old.yaml: kept" in done.stdout
    assert held("gitops-") == {"gitops-a": 202}
    assert "b.yaml: holds nothing" in run("--release", "--keep", "clusters", "removed").stdout
    assert run("--release", "clusters").returncode == 0


def test_busy(run, tmp_path, front):
    write(tmp_path / "clusters", a=("busy-a", "Site3", "Network1"))
    front.troubles = [BUSY, (502, {"Content-Type": "text/html"})]
    done = run("clusters")
    assert done.returncode == 0
    assert "busy-a: NetBox answers 503 (busy); again in 1 s" in done.stderr
    assert len(front.calls) == 3

    front.troubles = [BUSY] * 9
    done = run("--wait", "1.5", "clusters")
    assert done.returncode == 75
    assert "run this job again later" in done.stderr

    done = run("--wait", "0", "clusters", NETBOX_URL="http://127.0.0.1:9")
    assert done.returncode == 75
    assert "NetBox does not answer" in done.stderr


def test_exhausted(run, tmp_path, held):
    # Take all four segments of the pool.
    write(tmp_path / "clusters", a=("full-a", "Site3", "Network3"), b=("full-b", "Site3", "Network1"))
    done = run("--out", "networks.json", "clusters")
    assert done.returncode == 1
    assert "ERROR clusters/a.yaml: no network is left (pool_exhausted): Pool Network3 Site3" in done.stderr
    # The other clusters still get their networks.
    assert list(json.loads((tmp_path / "networks.json").read_text())) == ["b"]
    assert list(held("full-")) == ["full-b"]


def test_refused(run, tmp_path, held):
    write(tmp_path / "clusters", a=("bad-a", "Site9", "Network1"), b=("bad b\t*", "Site1", "Network1"))
    (tmp_path / "clusters/c.yaml").write_text("name: bad-c\n")
    (tmp_path / "clusters/d.yaml").write_bytes(b"\xff\xfe")
    done = run("clusters")
    assert done.returncode == 1
    assert "pool_not_found" in done.stderr
    assert "Site1/Network1" in done.stderr
    assert "c.yaml: no site, vrf in the file" in done.stderr
    assert "Traceback" not in done.stderr
    # The script cannot read which clusters exist, so it releases nothing.
    done = run("--release", "--keep", "clusters", "clusters")
    assert done.returncode == 1
    assert "nothing was released" in done.stderr

    done = run("clusters/a.yaml", NETBOX_TOKEN="nbt_x.y")
    assert (done.returncode, done.stderr[:24]) == (1, "ERROR clusters/a.yaml: I")
    assert "NETBOX_TOKEN must be set" in run("clusters", NETBOX_TOKEN="").stderr


def git(folder, *args):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *identity, *args], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder):
    git(folder, "add", "--all", "clusters", "ci")
    git(folder, "commit", "--message", "x")
    return git(folder, "rev-parse", "HEAD")


def gitlab_script(examples):
    job = yaml.safe_load((examples / "gitlab-ci.yml").read_text())["networks"]
    assert job["retry"]["exit_codes"] == [75]
    return "\n".join(job["script"]), "CI_COMMIT_BEFORE_SHA", "CI_COMMIT_SHA"


def github_script(examples):
    workflow = yaml.safe_load((examples / "github-actions.yml").read_text())
    steps = workflow["jobs"]["networks"]["steps"]
    assert all(len(step["uses"].split("@")[1].split()[0]) == 40 for step in steps if "uses" in step)
    return "\n".join(step["run"] for step in steps if "run" in step), "BEFORE", "GITHUB_SHA"


@pytest.mark.parametrize(("platform", "get_script"), [("gitlab", gitlab_script), ("github", github_script)])
def test_pipeline(platform, get_script, examples, front, tmp_path, held):
    script, before_name, after_name = get_script(examples)
    (tmp_path / "ci").mkdir()
    shutil.copy(examples / "allocate_clusters.py", tmp_path / "ci")
    git(tmp_path, "init")

    def push(before):
        after = commit(tmp_path)
        shutil.rmtree(tmp_path / "removed", ignore_errors=True)
        env = front.env | {before_name: before, after_name: after}
        # As both pipelines run it: the first command that fails ends the script.
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        return after, done

    clusters = tmp_path / "clusters"
    write(clusters, a=(f"{platform}-a", "Site2", "Network2"), b=(f"{platform}-b", "Site2", "Network2"))
    front.troubles = [BUSY]
    first, done = push("0" * 40)
    assert done.returncode == 0, done.stderr
    assert set(held(f"{platform}-")) == {f"{platform}-a", f"{platform}-b"}

    # One cluster is new, one is deleted, one is renamed.
    (clusters / "a.yaml").rename(clusters / "renamed.yaml")
    (clusters / "b.yaml").unlink()
    write(clusters, c=(f"{platform}-c", "Site2", "Network2"))
    second, done = push(first)
    assert done.returncode == 0, done.stderr
    assert set(held(f"{platform}-")) == {f"{platform}-a", f"{platform}-c"}

    # No segment is left: the pipeline fails and names the reason.
    write(clusters, d=(f"{platform}-d", "Site3", "Network3"))
    third, done = push(second)
    assert done.returncode == 1
    assert "no network is left" in done.stderr

    # All clusters are deleted, and the folder too.
    shutil.rmtree(clusters)
    clusters.mkdir()
    (clusters / "README").touch()
    _last, done = push(third)
    assert done.returncode == 0, done.stderr
    assert held(f"{platform}-") == {}


def test_kubernetes_job(examples, front, tmp_path, held):
    cluster, job = yaml.safe_load_all((examples / "kubernetes-job.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert (pod["restartPolicy"], pod["securityContext"]["runAsNonRoot"]) == ("Never", True)
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert (rule["onExitCodes"]["values"], rule["onExitCodes"]["containerName"]) == (
        [1],
        pod["initContainers"][0]["name"],
    )
    assert volumes["clusters"]["configMap"]["name"] == cluster["metadata"]["name"]

    for name, text in cluster["data"].items():
        write(tmp_path / "clusters")
        (tmp_path / "clusters" / name).write_text(text.replace("prod-01", "kubernetes-01"))
    (tmp_path / "network").mkdir()
    places = {"/scripts": examples, "/clusters": tmp_path / "clusters", "/network": tmp_path / "network"}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"]
        for mount in container["volumeMounts"]:
            assert mount["name"] in volumes
        command = [str(part) for part in container["command"]]
        for place, folder in places.items():
            command = [part.replace(place, str(folder), 1) if part.startswith(place) else part for part in command]
        done = subprocess.run(command, env=front.env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["prod-01"]["vlan_id"] == held("kubernetes-01")["kubernetes-01"]
