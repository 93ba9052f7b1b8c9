"""Reads matrix.txt: one call a line, with the answer that each persona gets."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from django.urls import get_resolver, reverse

from .world import PERSONAS

__all__ = (
    "MATRIX",
    "Row",
    "endpoints",
    "read",
    "sections",
    "write",
)

MATRIX = Path(__file__).with_name("matrix.txt")

NAMESPACES = {"page": "plugins:netbox_vlan_manager:", "rest": "plugins-api:netbox_vlan_manager-api:", "core": ""}
CALL = re.compile(r"(?P<method>[A-Z]+) (?P<kind>\w+) (?P<name>[^\s@?]+)(?:@(?P<objects>[\w,]+))?(?P<query>\?\S*)?")


@dataclass
class Row:
    """
    A line of the matrix.

    `call` is "METHOD kind name@objects?query": the name is that of the URL, and its ids are those of the objects. HTMX
    in place of GET is a GET by htmx. `answers` has a status for each persona, with a "+" if the call changes the
    database, or "-" if there is nothing to try. $name in the body or query is the id of an object.
    """

    call: str
    answers: list
    body: str = ""

    def __post_init__(self):
        match = CALL.fullmatch(self.call)
        self.method, self.kind, self.name, self.objects, self.query = match.group(
            "method", "kind", "name", "objects", "query"
        )

    @property
    def endpoint(self):
        return ("GET" if self.method == "HTMX" else self.method), NAMESPACES[self.kind] + self.name

    def get_url(self, ids):
        if self.name.startswith("/"):
            # The only URL without a name.
            url = reverse(f"{NAMESPACES[self.kind]}api-root").rstrip("/") + self.name
        else:
            names = ("pk", "job_pk")
            objects = dict(zip(names, (self.objects or "").split(","), strict=False)) if self.objects else {}
            kwargs = {name: ids[value] for name, value in objects.items()}
            url = reverse(NAMESPACES[self.kind] + self.name, kwargs=kwargs)
        return url + Template(self.query or "").substitute(ids)

    def get_body(self, ids):
        return json.loads(Template(self.body).substitute(ids)) if self.body else {}

    def __str__(self):
        answers = " ".join(f"{answer:5}" for answer in self.answers)
        return f"{self.call:62} {answers} {self.body}".rstrip()


def read():
    """Return the lines of the matrix as Rows; headings and empty lines stay text."""
    lines = []
    for line in MATRIX.read_text().splitlines():
        if not line or line.startswith("#"):
            lines.append(line)
            continue
        method, kind, name, *rest = line.split(None, 3 + len(PERSONAS))
        answers, body = rest[: len(PERSONAS)], rest[len(PERSONAS) :]
        lines.append(Row(f"{method} {kind} {name}", answers, *body))
    return lines


def sections(lines):
    """Return {heading: the Rows below it}."""
    found, heading = {}, None
    for line in lines:
        if isinstance(line, Row):
            found[heading].append(line)
        elif line:
            heading = line.removeprefix("# ")
            found[heading] = []
    return found


def write(lines):
    MATRIX.write_text("".join(f"{line}\n" for line in lines))


def endpoints():
    """Return {(method, name of the URL)} of all endpoints of the plugin."""
    found = set()
    for namespace, pattern, view in _walk(get_resolver().url_patterns):
        if "netbox_vlan_manager" not in namespace or "(?P<format>" in pattern:
            continue
        actions = getattr(view, "actions", None)
        view_class = getattr(view, "view_class", None) or view.cls
        methods = actions or [name for name in ("get", "post", "put", "patch", "delete") if hasattr(view_class, name)]
        # The first GET of a view set binds HEAD too.
        found |= {(method.upper(), namespace) for method in methods if method != "head"}
    return found


def _walk(patterns, path="", namespaces=()):
    for entry in patterns:
        if hasattr(entry, "url_patterns"):
            inner = (*namespaces, entry.namespace) if entry.namespace else namespaces
            yield from _walk(entry.url_patterns, path + str(entry.pattern), inner)
        else:
            name = entry.name or "/" + path.rpartition("/")[2] + str(entry.pattern)
            yield ":".join((*namespaces, name)), path + str(entry.pattern), entry.callback
