"""The pages about settings and errors are complete: they list what the code has."""

import ast
import re

import pytest
from rest_framework import exceptions as rest

from netbox_vlan_manager import exceptions
from netbox_vlan_manager.api.errors import STATUS_OF_CODE
from netbox_vlan_manager.models import SegmentPool
from tests.stack.database import PROJECT

PACKAGE = PROJECT / "netbox_vlan_manager"
# REST framework's errors that the plugin's calls answer.
GENERAL = (
    rest.MethodNotAllowed,
    rest.NotAuthenticated,
    rest.NotFound,
    rest.PermissionDenied,
    rest.Throttled,
    rest.UnsupportedMediaType,
)


def page(name):
    return (PROJECT / f"docs/{name}.md").read_text()


def test_pool_settings():
    """The page has a row for each editable field of a pool, and no other."""
    fields = [field.name for field in (*SegmentPool._meta.fields, *SegmentPool._meta.many_to_many) if field.editable]
    # NetBox's own: the id, the cached places of the scope, and the values of custom fields.
    own = [name for name in fields if not name.startswith("_") and name not in ("id", "custom_field_data")]
    rows = re.findall(r"^\| `(\w+)` \|", page("pool-settings"), re.MULTILINE)
    assert sorted(rows) == sorted(own)


@pytest.mark.parametrize("name", ["troubleshooting", "rest"])
def test_codes(name):
    """The page has each code that the API answers, with its status, and no other."""
    own = {vars(error)["code"] for error in vars(exceptions).values() if "code" in getattr(error, "__dict__", ())}
    assert own - {exceptions.VLANManagerError.code} <= {*STATUS_OF_CODE}
    answered = STATUS_OF_CODE | {error.default_code: error.status_code for error in GENERAL}
    # Without WWW-Authenticate, which NetBox does not send, this is 403.
    answered[rest.NotAuthenticated.default_code] = 403
    shown = {}
    for line in page(name).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        status = next((cell for cell in cells[:2] if re.fullmatch(r"[45]\d\d", cell)), None)
        if line.startswith("|") and status:
            codes = cells[1] if cells[0] == status else cells[0]
            shown |= dict.fromkeys(re.findall(r"`(\w+)`", codes), int(status))
    assert shown == answered


def texts():
    """Return all texts of the package's code."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_quoted_texts():
    """Each error that the page quotes is a text of the code. "…" stands for anything."""
    quoted = re.findall(r'^\| "(.+?)" \|', page("troubleshooting"), re.MULTILINE)
    assert len(quoted) > 30
    known = list(texts())
    patterns = {text: re.compile(".*".join(map(re.escape, text.split("…"))), re.DOTALL) for text in quoted}
    assert [text for text, pattern in patterns.items() if not any(map(pattern.fullmatch, known))] == []
