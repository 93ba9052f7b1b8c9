"""A user who may only allocate in one pool learns which segment the cluster holds, and nothing else."""

import pytest

from extras.models import Tag
from netbox_vlan_manager.services import allocate
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db

SECRETS = ("secret", "bob")


@pytest.fixture
def pool():
    return make_pool(segments=4)


@pytest.fixture
def foreign(pool):
    bob = make_user("bob")
    fields = {"description": "secret words", "comments": "secret note"}
    allocation = allocate("foreign-01", pool=pool, user=bob, **fields).allocation
    allocation.tags.add(Tag.objects.create(name="secret tag", slug="secret-tag"))
    return allocation


@pytest.fixture
def allocator(pool):
    return permit(make_user("alice"), pool, "allocate")


def calls(pool, foreign):
    asked = {"cluster_name": "foreign-01", "pool": pool.pk}
    yield "post", url_of("allocation-list"), asked
    yield "post", url_of("allocation-list"), {**asked, "dry_run": True}
    yield "post", url_of("allocation-list"), [asked]
    yield "post", url_of("allocate-vlan"), {"cluster_name": "foreign-01", "site": "Site1", "vrf": "Network1"}
    yield "post", url_of("segment-share", pk=foreign.segment_id), {"cluster_name": "foreign-01"}


def test_of_what_others_made(pool, foreign, allocator):
    client = client_of(allocator)
    for method, url, body in calls(pool, foreign):
        response = getattr(client, method)(url, body, format="json")
        assert response.status_code == 200, response.json()
        assert "EPG_100" in str(response.json())
        assert not [word for word in SECRETS if word in str(response.json())], url


def test_of_what_they_made(pool, allocator):
    asked = {"cluster_name": "own-01", "pool": pool.pk, "description": "own words"}
    client = client_of(allocator)
    for status in (201, 200):
        response = client.post(url_of("allocation-list"), asked, format="json")
        assert response.status_code == status
        assert response.json()["description"] == "own words"
        assert response.json()["allocated_by"]["username"] == "alice"
