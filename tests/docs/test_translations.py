"""Every text that users see can be translated."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack.database import PROJECT

PACKAGE = PROJECT / "netbox_vlan_manager"
CATALOGUE = PACKAGE / "locale/en/LC_MESSAGES/django.po"
TEMPLATES = sorted(PACKAGE.glob("templates/**/*.html"))
MODULES = ("forms", "models", "views", "ui", "api", "tables.py", "filtersets.py", "widgets.py")
# The attributes of an element that users see.
SHOWN = re.compile(r'\b(?:title|placeholder|alt|aria-label|data-bs-title)="([^"]*)"')
# Names that are the same in all languages.
NAMES = re.compile(r"\b(VLAN|EPG|VRF|CSV|XLSX|JSON|YAML|DHCP|IPv[46]|NetBox|REST|API|ID)s?\b")
SHOWN_NAMES = ("label", "help_text", "verbose_name", "verbose_name_plural", "empty_label", "title", "default_title")


def is_english(value):
    return isinstance(value, str) and re.search(r"[A-Za-z]{2,}", NAMES.sub("", value))


def untranslated(text):
    """Return the texts of a template that are not marked for translation."""
    for block in ("comment", "blocktrans", "blocktranslate", "verbatim"):
        text = re.sub(rf"{{%\s*{block}\b.*?{{%\s*end{block}\s*%}}", "", text, flags=re.DOTALL)
    text = re.sub(r"<(script|style|code|pre)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", "", text, flags=re.DOTALL)
    shown = SHOWN.findall(text)
    # The first letter after "<" tells an element from a comparison.
    shown += re.split(r"</?[a-zA-Z!][^>]*>", text)
    shown = (NAMES.sub("", re.sub(r"&\w+;", "", part)) for part in shown)
    shown = (part.strip() for part in shown)
    # The text may be a CSS class in a block, such as btn-danger.
    return [part for part in shown if re.search(r"[A-Za-z]{2,}", part) and not re.fullmatch(r"[a-z]+(-[a-z]+)+", part)]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates(template):
    assert untranslated(template.read_text()) == []


@pytest.mark.parametrize("name", MODULES)
def test_python(name):
    """Labels, help texts and similar strings are marked for translation."""
    path = PACKAGE / name
    bare = []
    for module in [path] if path.is_file() else path.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            given = [(keyword.arg, keyword.value) for keyword in getattr(node, "keywords", ())]
            if isinstance(node, ast.Assign):
                given += [(target.id, node.value) for target in node.targets if isinstance(target, ast.Name)]
            bare += [
                f"{module.name}:{value.lineno}: {name}={value.value!r}"
                for name, value in given
                if name in SHOWN_NAMES and isinstance(value, ast.Constant) and is_english(value.value)
            ]
    assert bare == []


def messages(path):
    # The header contains the time of the run.
    return path.read_text().split("\n\n", 1)[1]


@pytest.mark.skipif(not shutil.which("xgettext"), reason="GNU gettext is not installed")
def test_catalogue_is_current(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
    command = re.search(r"django-admin (makemessages .*)", (PROJECT / "Makefile").read_text())[1].split()
    admin = Path(sys.executable).with_name("django-admin")
    subprocess.run([admin, *command], cwd=tmp_path / "package", check=True, capture_output=True)
    now = tmp_path / "package" / CATALOGUE.relative_to(PACKAGE)
    assert messages(now) == messages(CATALOGUE), "run make messages"
