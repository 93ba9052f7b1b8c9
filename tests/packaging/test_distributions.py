import email
import re
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import PurePosixPath

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from netbox_vlan_manager import VLANManagerConfig, __version__
from tests.stack.database import PROJECT

PACKAGE = "netbox_vlan_manager"
STEM = f"{PACKAGE}-{__version__}"
# The files in the sdist besides the package; an installation does not need the rest of the repository.
IN_SDIST = {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"}


@pytest.fixture(scope="module")
def package_files(tracked_files):
    return {path for path in tracked_files if path.startswith(f"{PACKAGE}/")}


@pytest.fixture(scope="module")
def wheel(distributions):
    with zipfile.ZipFile(distributions / f"{STEM}-py3-none-any.whl") as file:
        yield file


def test_wheel_holds_the_package_and_nothing_else(wheel, package_files):
    names = set(wheel.namelist())
    metadata = {name for name in names if name.startswith(f"{STEM}.dist-info/")}
    assert names - metadata == package_files
    assert {PurePosixPath(name).name for name in metadata} == {
        "LICENSE",
        "METADATA",
        "RECORD",
        "WHEEL",
        "top_level.txt",
    }


@pytest.mark.parametrize(
    "pattern", ["migrations/0*.py", "static/**/*.js", "static/**/*.css", "templates/**/*.html", "locale/**/*.po"]
)
def test_wheel_holds_what_is_no_code(wheel, pattern):
    expected = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / PACKAGE).glob(pattern)}
    assert expected
    assert expected <= set(wheel.namelist())


def test_sdist_holds_what_the_wheel_is_built_from(distributions, package_files):
    with tarfile.open(distributions / f"{STEM}.tar.gz") as file:
        names = {member.name.removeprefix(f"{STEM}/") for member in file if member.isfile()}
    made = {name for name in names if name in ("PKG-INFO", "setup.cfg") or name.startswith(f"{PACKAGE}.egg-info/")}
    assert names - made == package_files | IN_SDIST


def test_metadata(wheel):
    metadata = email.message_from_bytes(wheel.read(f"{STEM}.dist-info/METADATA"))
    assert metadata["Name"] == "netbox-vlan-manager"
    assert metadata["Version"] == __version__ == VLANManagerConfig.version == version("netbox-vlan-manager")
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload(decode=True).decode().strip() == (PROJECT / "README.md").read_text().strip()
    # NetBox is installed before the plugin, and pip must not replace it.
    assert not [name for name in metadata.get_all("Requires-Dist") if name.startswith("netbox")]


def test_version_is_declared_once(tracked_files):
    declaration = re.compile(rf"""^\s*(__version__|version)\s*=\s*["']{re.escape(__version__)}["']""", re.MULTILINE)
    paths = [
        path for path in tracked_files if path.endswith((".py", ".toml", ".cfg")) and not path.startswith("tests/")
    ]
    assert [path for path in paths if declaration.search((PROJECT / path).read_text())] == [f"{PACKAGE}/__init__.py"]


def test_compatibility_is_said_the_same_everywhere():
    catalogue = yaml.safe_load((PROJECT / "netbox-plugin.yaml").read_text())
    assert catalogue["version"] == 0.1
    assert catalogue["package_name"] == "netbox-vlan-manager"
    assert catalogue["compatibility"][0] == {
        "release": __version__,
        "netbox_min": VLANManagerConfig.min_version,
        "netbox_max": VLANManagerConfig.max_version,
    }

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    pythons = ["3." + name.removeprefix(prefix) for name in project["classifiers"] if name.startswith(prefix)]
    accepted = SpecifierSet(project["requires-python"])
    assert [f"3.{minor}" for minor in range(20) if f"3.{minor}" in accepted] == pythons

    release, netbox = (".".join(text.split(".")[:2]) for text in (__version__, VLANManagerConfig.min_version))
    text = (PROJECT / "COMPATIBILITY.md").read_text()
    assert f"| {release} | {netbox} | {', '.join(pythons)} | 15 to 18 |" in text
    locked = re.search(r"^netbox==([\d.]+)", (PROJECT / "requirements-dev.txt").read_text(), re.MULTILINE)[1]
    assert f"with NetBox {locked} on" in text


def test_plugin_of_netbox_docker_is_this_one():
    requirements = (PROJECT / "docker/netbox-docker/plugin_requirements.txt").read_text()
    assert requirements == f"netbox-vlan-manager=={__version__}\n"
