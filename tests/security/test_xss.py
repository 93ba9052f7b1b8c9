import inspect
import re
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from django.db import models, transaction
from django.forms.forms import BaseForm

from netbox_vlan_manager import filtersets, forms
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services.segments.segment_columns import COLUMNS
from tests.security.world import EVALUATED, HOSTILE, LONG, MARKER, build_world, core_paths, page_paths, rest_paths

pytestmark = [pytest.mark.django_db, pytest.mark.slow("Every page with markup in every field")]

RAW = (HOSTILE, "<script>window.", "<img src=x", "<svg/onload", EVALUATED)
URL_ATTRIBUTES = ("href", "src", "action", "formaction", "data", "xlink:href", "hx-get", "hx-post", "data-url")

# Query parameters of pages other than the fields of forms and filters.
PARAMETERS = (
    "return_url",
    "days",
    "show",
    "job",
    "page",
    "per_page",
    "sort",
    "status",
    "tab",
    "state",
    "kind",
    "export",
)


# The empty file that the import page offers: a constant, and a type that no browser runs.
EMPTY_FILE = "data:text/csv;charset=utf-8," + quote(",".join(COLUMNS) + "\r\n")


class Attacks(HTMLParser):
    """An HTML parser that collects the attacks that a browser would run."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.in_script = False

    def handle_starttag(self, tag, attrs):
        self.in_script = tag == "script" and ("type", "application/json") not in attrs
        for name, value in attrs:
            value = value or ""
            if name.startswith("on") and MARKER in value:
                self.found.append((tag, name, value))
            if (tag, name, value) == ("a", "href", EMPTY_FILE):
                continue
            if name in URL_ATTRIBUTES and re.sub(r"[\s\0-\x20]", "", value).lower().startswith(
                ("javascript:", "vbscript:", "data:text")
            ):
                self.found.append((tag, name, value))

    def handle_endtag(self, tag):
        self.in_script = False

    def handle_data(self, data):
        if self.in_script and MARKER in data:
            self.found.append(("script", data))


def find_attacks(path, response, ok=500):
    """Return the attacks that a page would run. Fails if its status is `ok` or more."""
    content = response.getvalue()
    if "html" not in response.headers.get("content-type", ""):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        return []
    text = content.decode()
    parser = Attacks()
    parser.feed(text)
    return parser.found + [raw for raw in RAW if raw in text]


def field_names():
    """Return the names of all fields of the plugin's forms."""
    classes = [form for _name, form in inspect.getmembers(forms, inspect.isclass) if issubclass(form, BaseForm)]
    assert len(classes) > 20
    return sorted({name for form in classes for name in form.base_fields})


@pytest.fixture
def world(client):
    world = build_world()
    client.force_login(world["root"])
    return world


def test_attacks_are_found():
    parser = Attacks()
    parser.feed(f"<p title='{LONG}'>{HOSTILE}</p><a href=' java\nscript:x'>")
    assert len(parser.found) >= 3


def test_every_text_of_the_models_is_an_attack(world):
    for model in (SegmentPool, Segment, Allocation):
        for field in model._meta.get_fields():
            if isinstance(field, models.CharField | models.TextField) and not field.choices:
                assert model.objects.filter(**{f"{field.name}__contains": f"window.{MARKER}="}).exists(), field


def test_stored(client, world):
    found, seen = {}, 0
    for path in [*page_paths(world).values(), *core_paths(world)]:
        for headers in ({}, {"HX-Request": "true"}):
            response = client.get(path, headers=headers)
            if attacks := find_attacks(path, response):
                found[path, *headers] = attacks
            seen += b"&lt;script&gt;" in response.getvalue()
    assert found == {}
    # The pages contain the texts; otherwise the test has checked nothing.
    assert seen > 60


def test_stored_in_the_browsable_api(client, world):
    found, seen = {}, 0
    for (_name, path), _view in rest_paths(world).items():
        response = client.get(path, headers={"Accept": "text/html"})
        # NetBox's own template shows JSON as HTML, links and all.
        seen += "html" in response.headers.get("content-type", "")
        if attacks := find_attacks(path, response):
            found[path] = attacks
    assert found == {}
    assert seen > 10


def test_reflected_from_the_address(client, world):
    # NetBox's own forms fail on an id that is no number; its error page shows why.
    client.raise_request_exception = False
    names = [*field_names(), *PARAMETERS, *filtersets.SegmentFilterSet.base_filters]
    found = {}
    for path in page_paths(world).values():
        for query in (dict.fromkeys(names, LONG), {"q": LONG, "return_url": f"javascript:window.{MARKER}=1"}):
            if attacks := find_attacks(path, client.get(path, query), ok=600):
                found[path] = attacks
    assert found == {}


def test_reflected_from_forms(client, world):
    client.raise_request_exception = False
    names = field_names()
    numbers = {**dict.fromkeys(names, "1"), "cluster_name": LONG, "name": LONG, "data": LONG, "return_url": LONG}
    hostile = dict.fromkeys(names, LONG)
    # One field at a time: an error in one field hides the errors of others.
    sent = [
        hostile,
        {**hostile, "_confirm": "", "_apply": ""},
        {**numbers, "_preview": ""},
        {**numbers, "_confirm": ""},
    ]
    # NetBox's own imports need these values.
    fixed = {"import_method": "direct", "format": "csv", "csv_delimiter": ","}
    found = {}
    for path in page_paths(world).values():
        for values in sent:
            with transaction.atomic():
                response = client.post(path, {**values, **fixed}, follow=True)
                transaction.set_rollback(True)
            if attacks := find_attacks(path, response, ok=600):
                found[path] = attacks
    assert found == {}


def test_reflected_from_files(client, world):
    """Attacks in file names and cells."""
    from django.core.files.uploadedfile import SimpleUploadedFile

    path = page_paths(world)["segment_bulk_import"]
    header = "site,vlan_id,epg_name,segment,vrf"
    for content in (
        LONG,
        f"{header},{LONG}\n",
        f"{header}\n{LONG},{LONG}",
        f"{header},cluster_name\n{','.join(['x' + HOSTILE.replace(chr(34), '')] * 6)}",
        f"---\n- {{a: {LONG}",
        "{" + LONG,
        b"PK\x03\x04" + LONG.encode(),
    ):
        content = content if isinstance(content, bytes) else content.encode()
        file = SimpleUploadedFile(f"{HOSTILE}.csv", content, content_type=HOSTILE)
        response = client.post(path, {"import_method": "upload", "upload_file": file})
        assert response.status_code == 200
        assert find_attacks(path, response) == []
