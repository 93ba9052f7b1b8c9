import re
import shlex
import shutil
import sys
import tomllib
from importlib import metadata
from subprocess import CalledProcessError

import pytest

from netbox_vlan_manager import __version__
from tests.packaging.conftest import run, uv
from tests.stack.database import PROJECT

PLUGIN = "netbox-vlan-manager"

# Runs in nbshell: all migrations are applied, and the README's first steps work.
SMOKE_TEST = """
import netbox_vlan_manager
from dcim.models import Site
from ipam.models import VRF
from netbox_vlan_manager.services import allocate, create_pool, create_segment
from django.core.management import call_command
from users.models import User

call_command("check")
call_command("migrate", check_unapplied=True)
print("FROM", netbox_vlan_manager.__file__)
User.objects.create_superuser("admin")
site = Site.objects.create(name="Site1", slug="site1")
vrf = VRF.objects.create(name="Network1")
pool = create_pool(user="admin", vrf=vrf, scope=site, prefixes=["10.11.0.0/16"])
create_segment(pool, user="admin", vid=104, epg_name="EPG_104", prefix="10.11.4.0/24")
for _ in range(2):
    result = allocate("prod-01", site="Site1", vrf="Network1", user="admin")
    print("ALLOCATED", result.allocation.vid, result.created)
"""


@pytest.fixture
def environment(distributions, tmp_path):
    """A virtual environment with NetBox, the built wheel and their requirements."""
    environment = tmp_path / "venv"
    constraints = tmp_path / "constraints.txt"
    # The installed versions, which may belong to another NetBox than the lock file's.
    pins = {f"{package.name}=={package.version}" for package in metadata.distributions() if package.name != PLUGIN}
    constraints.write_text("\n".join(pins))
    overrides = tmp_path / "overrides.txt"
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["uv"]
    overrides.write_text("\n".join(settings["override-dependencies"]))
    uv("venv", "--python", sys.executable, environment)
    install = ["pip", "install", "--python", environment, "--constraint", constraints]
    install += ["--override", overrides, f"netbox=={metadata.version('netbox')}", *distributions.glob("*.whl")]
    try:
        # All packages are in uv's cache, from the development environment.
        uv(*install, "--offline")
    except CalledProcessError:
        uv(*install)
    return environment


def _commands_of_readme():
    # NetBox's commands in the section about installing, except those that restart system services.
    section = (
        (PROJECT / "README.md").read_text().partition("## Install into an existing NetBox")[2].partition("\n## ")[0]
    )
    return [shlex.split(line) for line in re.findall(r"^\$ python manage\.py (.+)$", section, re.MULTILINE)]


# The test starts NetBox four times, each of which takes half a minute on a busy machine.
@pytest.mark.timeout(900)
def test_install_into_a_new_netbox(environment, installed_env, tmp_path):
    """The README's steps work with the built wheel, in an environment without this source tree."""
    shutil.copy(PROJECT / "tests/stack/configuration.py", tmp_path / "conf/configuration.py")

    def netbox(*args):
        return run(environment / "bin/netbox", *args, env=installed_env, cwd=tmp_path)

    commands = _commands_of_readme()
    assert [command[0] for command in commands] == ["migrate", "collectstatic", "reindex"]
    for command in commands:
        netbox(*command)
    assert (tmp_path / "static/netbox_vlan_manager/map.js").is_file()
    output = netbox("nbshell", "-c", SMOKE_TEST)
    assert f"FROM {environment}" in output
    assert re.findall(r"^ALLOCATED (.+)$", output, re.MULTILINE) == ["104 True", "104 False"]

    listed = uv("pip", "list", "--python", environment, "--format", "freeze")
    assert f"{PLUGIN}=={__version__}" in listed
    assert "\npytest==" not in listed
