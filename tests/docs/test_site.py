"""The site that `make docs` builds."""

import re
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import yaml
from defusedxml import ElementTree
from django.urls import NoReverseMatch, reverse

from netbox_vlan_manager import VLANManagerConfig
from tests.permissions.matrix import NAMESPACES, endpoints
from tests.stack.database import PROJECT


def pages_in(nav):
    """Yield the files in a navigation."""
    for entry in nav:
        for value in entry.values():
            if isinstance(value, list):
                yield from pages_in(value)
            else:
                yield value


def test_build(tmp_path):
    shutil.copytree(PROJECT / "docs", tmp_path / "docs")
    shutil.copy(PROJECT / "mkdocs.yml", tmp_path)
    zensical = Path(sys.executable).with_name("zensical")
    done = subprocess.run([zensical, "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    site = tmp_path / "build/site"
    assert "NetBox VLAN Manager" in (site / "index.html").read_text()
    assert (site / "rest/index.html").exists()
    assert (site / "examples/ansible.yml").exists()


def test_every_page_is_in_the_navigation():
    nav = list(pages_in(yaml.safe_load((PROJECT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(nav) == sorted(path.name for path in PROJECT.glob("docs/*.md"))


def test_settings():
    """The site documents the right defaults of the settings."""
    page = (PROJECT / "docs/installing.md").read_text()
    shown = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", page, re.MULTILINE))
    defaults = {name: repr(value).replace("'", '"') for name, value in VLANManagerConfig.default_settings.items()}
    assert shown == defaults


def test_every_call_is_listed():
    table = (PROJECT / "docs/rest.md").read_text().partition("## All calls")[2].partition("\n## ")[0]
    for _method, name in endpoints():
        if name.startswith(NAMESPACES["rest"]) and not re.search(r":api-root$|:/|-(list|detail)$", name):
            try:
                path = reverse(name)
            except NoReverseMatch:
                path = reverse(name, kwargs={"pk": 0})
            assert f"{path.rstrip('/').rpartition('/')[2]}/`" in table, name


def test_services_are_in_the_architecture():
    page = (PROJECT / "docs/architecture.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("|")]
    services = PROJECT / "netbox_vlan_manager/services"
    areas = [path.name for path in services.iterdir() if (path / "__init__.py").exists()]
    assert len(areas) == 7
    for area in areas:
        names = {path.stem for path in (services / area).iterdir() if not path.name.startswith("__")}
        first = next(number for number, row in enumerate(rows) if row[0].strip() == f"`{area}/`")
        own = list(takewhile(lambda row: not row[0].strip(), rows[first + 1 :]))
        listed = {name.strip(" `/") for row in [rows[first], *own] for name in row[1].split(",")}
        assert listed == names


def test_picture():
    picture = PROJECT / "docs/images/architecture.svg"
    root = ElementTree.parse(picture).getroot()
    title, about = root[0], root[1]
    assert root.get("aria-labelledby").split() == [title.get("id"), about.get("id")]
    assert "prefers-color-scheme: dark" in picture.read_text()
