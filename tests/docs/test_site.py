"""The site that make docs builds."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from defusedxml import ElementTree

from netbox_vlan_manager import VLANManagerConfig
from tests.stack.database import PROJECT


def pages_in(nav):
    """Yield the files that a navigation names."""
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
    """README and site say the same about the settings, and the defaults are those."""
    pages = [(PROJECT / name).read_text() for name in ("README.md", "docs/installing.md")]
    tables = [dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", page, re.MULTILINE)) for page in pages]
    defaults = VLANManagerConfig.default_settings
    for table in tables:
        shown = {name: value for name, value in table.items() if name in defaults}
        assert shown == {name: repr(value).replace("'", '"') for name, value in defaults.items()}


def test_picture():
    picture = PROJECT / "docs/images/architecture.svg"
    root = ElementTree.parse(picture).getroot()
    title, about = root[0], root[1]
    assert root.get("aria-labelledby").split() == [title.get("id"), about.get("id")]
    assert "prefers-color-scheme: dark" in picture.read_text()
