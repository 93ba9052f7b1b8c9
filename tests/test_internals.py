"""docs/internals.md lists exactly the undocumented names of NetBox and Django that the plugin uses."""

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path

import django
from django.conf import settings

from netbox_vlan_manager import __file__ as package
from tests.stack.database import PROJECT

PAGE = (PROJECT / "docs/internals.md").read_text()
LISTED = [
    (module, name)
    for module, names in re.findall(r"^\| `([\w.]+)` \| (.*?) \|", PAGE, re.MULTILINE)
    for name in re.findall(r"\w+", names)
]
NAMES = {name for _module, name in LISTED}

NETBOX = re.compile(
    r"(account|circuits|core|dcim|extras|ipam|netbox|tenancy|users|utilities|virtualization|vpn|wireless)\b"
)
# Modules of NetBox's apps that REST and GraphQL expose.
SHOWN = re.compile(r"\.(models|choices|graphql\.types|graphql\.filters|api\.serializers)\b")
# Modules of Django that its documentation does not name.
DJANGO = re.compile(
    r"django\.(db\.models\.(sql|query|deletion|fetch_modes|base)|db\.backends|db\.migrations\.recorder"
    r"|core\.cache\.backends|dispatch\.dispatcher)\b"
)
# Underscored names that Django or Python document.
DOCUMENTED = {"_asdict", "_base_manager", "_default_manager", "_meta", "_replace", "_state"}
# Names of other libraries and of the package itself: a serializer's request, openpyxl's reader, a base class.
OTHERS = {
    "_date_formats",
    "_get_source",
    "_get_typed",
    "_name_before",
    "_request",
    "_shared_strings",
    "_timedelta_formats",
}


@cache
def trees():
    paths = [path for path in Path(package).parent.rglob("*.py") if "migrations" not in path.parts]
    return [ast.parse(path.read_text()) for path in paths]


@cache
def documented_by_netbox():
    """Return all words of NetBox's documentation for plugin developers."""
    pages = Path(settings.DOCS_ROOT).rglob("plugins/development/**/*.html")
    return {word for page in pages for word in re.findall(r"\w+", re.sub(r"<[^>]*>", "", page.read_text()))}


def imported():
    """Return (module, name) pairs of the package's undocumented imports."""
    found = set()
    for tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or node.level:
                continue
            for name in (alias.name for alias in node.names):
                is_netbox_s = NETBOX.match(node.module) and not SHOWN.search(node.module)
                if DJANGO.match(node.module) or (is_netbox_s and name not in documented_by_netbox()):
                    found.add((node.module, name))
    return found


def is_self(node):
    return isinstance(node, ast.Name) and node.id == "self"


def own_names():
    """Return the names of the package's own functions, classes, variables and attributes."""
    found = set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                found.add(node.attr)
    return found


def underscored():
    """Return the underscored names of other libraries that the package reads, sets, passes or overrides."""
    found, own = set(), own_names()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                name = node.attr
                is_super_s = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "super"
            elif isinstance(node, ast.keyword) and node.arg:
                name, is_super_s = node.arg.partition("__")[0] or node.arg, False
            else:
                continue
            if re.match(r"_[a-z]", name) and (is_super_s or name not in own):
                found.add(re.sub(r"_id$", "", name))
    return found - DOCUMENTED - OTHERS


def test_what_is_used_is_listed():
    assert imported(), "nothing is found"
    assert {name for _module, name in imported()} - NAMES == set()
    assert underscored() - NAMES == set()


def test_what_is_listed_is_there_and_used():
    words = {word for path in Path(package).parent.rglob("*.py") for word in re.findall(r"\w+", path.read_text())}
    for module, name in LISTED:
        source = importlib.import_module(module)
        assert hasattr(source, name) or re.search(rf"\b{name}\b", inspect.getsource(source)), (module, name)
        used = re.compile(rf"(\w+__)?{name}(_id)?")
        assert any(used.fullmatch(word) for word in words), name


def test_page_names_the_versions_that_are_tested():
    netbox = re.search(r'"netbox==([\d.]+)"', (PROJECT / "pyproject.toml").read_text())[1]
    assert f"Checked on NetBox {netbox} and Django " in PAGE
    if settings.RELEASE.version == netbox:
        assert f"Django {django.__version__}." in PAGE
