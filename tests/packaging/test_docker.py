import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml

from netbox_vlan_manager import VLANManagerConfig
from tests.packaging.conftest import run
from tests.stack.database import PROJECT
from tests.stack.servers import Process, free_port, wait_for

DOCKER = PROJECT / "docker"
HEALTH = "/api/plugins/vlan-manager/health/"
SCRIPTS = sorted(DOCKER.rglob("*.sh"))
# The variables that make-env.sh fills.
SECRETS = ("SUPERUSER_PASSWORD", "SECRET_KEY", "API_TOKEN_PEPPER", "DB_PASSWORD", "REDIS_PASSWORD")


def _load(path):
    return yaml.safe_load((DOCKER / path).read_text())


def _pins(path):
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (PROJECT / path).read_text(), re.MULTILINE))


def _instructions(path):
    # (instruction, arguments) of a Dockerfile, continued lines joined.
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", (DOCKER / path).read_text(), flags=re.MULTILINE))
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]


@pytest.fixture
def container_env(installed_env, tmp_path):
    """The environment of docker/'s programs outside a container; a directory of the test is NETBOX_ROOT."""
    (tmp_path / "conf/configuration.py").symlink_to(DOCKER / "configuration.py")
    password = tmp_path / "redis_password"
    password.write_text(installed_env.pop("REDIS_PASSWORD") + "\n")
    return installed_env | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ALLOWED_HOSTS": "netbox.example.com",
        "SECRET_KEY": "s" * 64,
        "API_TOKEN_PEPPER": "p" * 64,
        "REDIS_PASSWORD_FILE": os.fspath(password),
        "SUPERUSER_NAME": "somebody",
        "SUPERUSER_PASSWORD": "a-password-of-theirs-1",
        "PORT": str(free_port()),
    }


# The test starts NetBox seven times, each of which takes half a minute on a busy machine.
@pytest.mark.timeout(900)
def test_entrypoint(container_env, new_netbox, tmp_path, stack):
    """The services of compose.yaml start in its order: migrate ends, then web and worker are healthy."""
    env = container_env
    without_servers = {name: value for name, value in env.items() if not name.startswith(("DB_", "REDIS_"))}
    # The Dockerfile runs this without servers.
    run("netbox", "collectstatic", "--no-input", env=without_servers, cwd=tmp_path)

    def check(what):
        return subprocess.run([DOCKER / "healthcheck.py", what], env=env, cwd=tmp_path, capture_output=True, text=True)

    entrypoint = DOCKER / "entrypoint.sh"
    run(entrypoint, "migrate", env=env, cwd=tmp_path)
    with new_netbox.connect() as connection:
        users = connection.execute("SELECT username, is_superuser FROM users_user").fetchall()
    assert users == [("somebody", True)]
    assert check("web").stderr.startswith("unhealthy: ")
    assert check("worker").stderr == "unhealthy: No worker of this container is registered\n"

    def start(what):
        return stack.add(Process([entrypoint, what], env=env, cwd=tmp_path, log=tmp_path / f"{what}.log"))

    web, worker = start("web"), start("worker")
    try:
        wait_for(lambda: subprocess.run([DOCKER / "healthcheck.py", "web"], env=env, check=True), web, "web")
        wait_for(lambda: subprocess.run([DOCKER / "healthcheck.py", "worker"], env=env, check=True), worker, "worker")
        url = f"http://127.0.0.1:{env['PORT']}"
        with requests.Session() as session:
            session.headers["Host"] = env["ALLOWED_HOSTS"]

            def check_health():
                health = session.get(url + HEALTH, timeout=60).json()
                assert (health["status"], health["workers"]) == ("ok", "ok")

            # The answer is cached for a second, and may be from before the worker started.
            wait_for(check_health, worker, "health", timeout=30)
            assert session.get(f"{url}/static/netbox_vlan_manager/map.js", timeout=60).status_code == 200
            assert session.get(f"{url}/login/", timeout=60).status_code == 200
        assert requests.get(f"{url}/login/", timeout=60).status_code == 400
    finally:
        web.stop()
        worker.stop()


def test_entrypoint_runs_commands_of_netbox(container_env, tmp_path):
    output = run(DOCKER / "entrypoint.sh", "version", env=container_env, cwd=tmp_path)
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", output)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean(script):
    run("sh", "-n", script)
    run(Path(sys.executable).parent / "shellcheck", script)
    assert os.access(script, os.X_OK)


def test_environment_file(tmp_path):
    target = tmp_path / "env"
    run(DOCKER / "make-env.sh", target)
    values = dict(line.split("=", 1) for line in target.read_text().splitlines() if line and not line.startswith("#"))
    assert target.stat().st_mode & 0o777 == 0o600
    # The example has no secrets, and the file made of it has all of them, each different.
    example = (DOCKER / ".env.example").read_text()
    assert all(f"\n{name}=\n" in example for name in SECRETS)
    assert len({values[name] for name in SECRETS}) == len(SECRETS)
    assert all(len(values[name]) == 64 for name in SECRETS)
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
    assert used == set(values)
    # A second run keeps the file: it has the passwords of the existing database.
    before = target.read_text()
    assert subprocess.run([DOCKER / "make-env.sh", target], capture_output=True).returncode == 1
    assert target.read_text() == before


def test_environment_file_is_never_committed(tracked_files):
    assert "docker/.env.example" in tracked_files
    assert "docker/.env" not in tracked_files
    assert "/docker/.env\n" in (PROJECT / ".gitignore").read_text()


def test_dockerfile():
    instructions = _instructions("Dockerfile")
    last = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    final = dict(instructions[last:])
    assert final["USER"] == "1000:1000"
    assert "healthcheck.py" in final["HEALTHCHECK"]
    assert "entrypoint.sh" in final["ENTRYPOINT"]
    # No later instruction runs as root.
    names = [name for name, _ in instructions]
    assert "RUN" not in names[names.index("USER") :]
    assert "ADD" not in names

    bases = {arguments.split()[0] for name, arguments in instructions if name == "FROM"}
    assert all(re.fullmatch(r"python:3\.12\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?", base) for base in bases)
    for name, arguments in instructions:
        if name == "RUN":
            installs = re.findall(r"pip install [^&]+", arguments)
            assert all("--no-deps" in install for install in installs)

    # The copied files exist, and the ignore file lets them into the build.
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    for name, arguments in instructions:
        if name == "COPY":
            for source in [word for word in arguments.split() if not word.startswith("--")][:-1]:
                assert (PROJECT / source).exists(), source
                assert f"!{source}" in ignored


def test_image_has_the_versions_that_are_tested():
    lock, image = _pins("requirements-dev.txt"), _pins("docker/requirements.txt")
    assert {name: lock[name] for name in image} == image
    assert {"netbox", "gunicorn", "openpyxl", "whitenoise"} <= set(image)
    text = (DOCKER / "requirements.txt").read_text()
    assert text.count("\n    --hash=sha256:") >= len(image)
    assert f"setuptools=={lock['setuptools']}\n" in (DOCKER / "Dockerfile").read_text()


def test_compose_file():
    compose = _load("compose.yaml")
    services = compose["services"]
    assert set(services) == {"web", "worker", "migrate", "postgres", "valkey"}
    for name in ("web", "worker", "migrate"):
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["command"] == [name]
        assert f"    {name})\n" in (DOCKER / "entrypoint.sh").read_text()
        assert service["depends_on"]["valkey"] == {"condition": "service_healthy"}
        for variable in ("SECRET_KEY", "API_TOKEN_PEPPER", "DB_PASSWORD", "REDIS_PASSWORD"):
            assert service["environment"][variable].startswith(f"${{{variable}:?")
        unknown = set(service["environment"]) - set(
            re.findall(r'"([A-Z_]+)"', (DOCKER / "configuration.py").read_text())
        )
        assert unknown <= {"SUPERUSER_NAME", "SUPERUSER_PASSWORD"}
    for name in ("web", "worker"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert services["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    assert services["migrate"]["restart"] == "no"
    for name in ("worker", "postgres", "valkey"):
        assert services[name]["healthcheck"]["test"]
    # Only this machine reaches NetBox's port, and the servers have no ports.
    assert [port for service in services.values() for port in service.get("ports", [])] == [
        "127.0.0.1:${PORT:-8000}:8080"
    ]
    used = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert used == set(compose["volumes"])
    for name in ("postgres", "valkey"):
        assert re.fullmatch(r"docker\.io/\S+:\d+\.\d+\S*", services[name]["image"])


def test_netbox_docker():
    instructions = _instructions("netbox-docker/Dockerfile-Plugins")
    netbox = ".".join(VLANManagerConfig.min_version.split(".")[:2])
    assert instructions[0] == ("FROM", instructions[0][1])
    assert instructions[0][1].startswith(f"docker.io/netboxcommunity/netbox:v{netbox}-")
    for name, arguments in instructions:
        if name == "COPY":
            assert (DOCKER / "netbox-docker" / arguments.split()[0]).is_file()
    services = _load("netbox-docker/docker-compose.override.yml")["services"]
    assert services["netbox"]["image"] == services["netbox-worker"]["image"]
    assert services["netbox"]["build"]["dockerfile"] == "Dockerfile-Plugins"
    assert HEALTH in services["netbox"]["healthcheck"]["test"]

    settings = {}
    exec((DOCKER / "netbox-docker/configuration/plugins.py").read_text(), settings)
    assert settings["PLUGINS"] == [VLANManagerConfig.name]
    assert set(settings["PLUGINS_CONFIG"]["netbox_vlan_manager"]) <= set(VLANManagerConfig.default_settings)


def test_helm_values():
    values = _load("helm/values.yaml")
    override = _load("netbox-docker/docker-compose.override.yml")
    assert f"{values['image']['repository']}:{values['image']['tag']}" == override["services"]["netbox"]["image"]
    assert values["plugins"] == [VLANManagerConfig.name]
    assert set(values["pluginsConfig"]["netbox_vlan_manager"]) <= set(VLANManagerConfig.default_settings)
    probe = values["customReadinessProbe"]["httpGet"]
    assert probe["path"] == HEALTH
    assert probe["httpHeaders"] == [{"name": "Host", "value": values["allowedHosts"][0]}]
    assert values["worker"]["enabled"] is True
    # Values files are committed, so they must have no secrets.
    assert not {"superuser", "secretKey", "apiTokenPeppers"} & set(values)
