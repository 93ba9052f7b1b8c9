import pytest
from django.db import connection
from django.test import Client

from tests.security.world import build_world, page_paths, rest_paths

pytestmark = pytest.mark.django_db

WRITING = ("post", "put", "patch", "delete")

# SQL for the names of the tables whose state counts; sessions and login times are no changes.
CHANGING = """
SELECT relname FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    AND relname ~ '^(netbox_vlan_manager|ipam|dcim|tenancy|virtualization|extras|core)_'
ORDER BY relname
"""


@pytest.fixture
def world():
    return build_world()


@pytest.fixture
def client(world):
    """A test client that checks CSRF tokens, which Django's client skips by default."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(world["root"])
    return client


def state():
    """Return {table: (number of rows, hash of their contents)} of the tables that users write."""
    with connection.cursor() as cursor:
        cursor.execute(CHANGING)
        tables = [name for (name,) in cursor.fetchall()]
        versions = {}
        for name in tables:
            cursor.execute(f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM \"{name}\" t")
            versions[name] = cursor.fetchone()
    return versions


def test_pages_refuse_a_form_of_another_site(client, world):
    before = state()
    for name, path in page_paths(world).items():
        for data in ({}, {"confirm": "on", "_confirm": "", "pk": [world["segment"].pk]}):
            response = client.post(path, data)
            assert response.status_code == 403, name
            assert b"CSRF" in response.content, name
    assert state() == before


def test_rest_refuses_a_session_without_a_token(client, world):
    before = state()
    for (name, path), view in rest_paths(world).items():
        allowed = getattr(view, "actions", None) or {method: 1 for method in WRITING if hasattr(view.cls, method)}
        for method in WRITING:
            response = getattr(client, method)(path, "{}", content_type="application/json")
            if method in allowed:
                assert response.status_code == 403, (name, method, path)
                assert "CSRF" in response.json()["detail"], (name, method)
            else:
                assert response.status_code in (403, 404, 405), (name, method)
    assert state() == before


@pytest.mark.slow("Every page")
def test_asking_changes_nothing(client, world):
    before = state()
    tempting = {"confirm": "on", "_confirm": "", "_import": "", "_apply": "", "pk": world["segment"].pk}
    pages = page_paths(world).values()
    for path in [*pages, *(path for _name, path in rest_paths(world))]:
        for headers in ({}, {"HX-Request": "true"}) if path in pages else ({},):
            response = client.get(path, tempting, headers=headers)
            response.getvalue()
            assert response.status_code < 500 or "health" in path, path
    assert state() == before


def test_forms_carry_the_token(client, world):
    """Requests that are refused without the token work with it."""
    for name in ("allocation_allocate", "segment_disable", "segmentpool_merge", "segment_bulk_import"):
        assert 'name="csrfmiddlewaretoken"' in client.get(page_paths(world)[name]).content.decode(), name
