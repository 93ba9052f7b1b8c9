"""The number of queries of a page does not grow with its rows."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from netbox_vlan_manager import models
from netbox_vlan_manager.services import allocate
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client):
    user = make_user("root", is_superuser=True)
    client.force_login(user)
    return user


@pytest.fixture
def count(client, admin):
    """A function that returns how many queries a call takes, for one pool with two allocations or for five."""

    def count(call):
        counts = []
        for numbers in ((1,), (2, 3, 4, 5)):
            for number in numbers:
                pool = make_pool(scope=f"Site{number}", container=f"10.{number}.0.0/16", segments=3)
                allocate("prod-01", pool=pool, user=admin)
                allocate("prod-02", pool=pool, user=admin)
            call()
            with CaptureQueriesContext(connection) as queries:
                assert call().status_code == 200
            counts.append(len(queries))
        return counts

    return count


@pytest.mark.parametrize("name", ["segmentpool", "segment", "allocation"])
def test_list(client, count, name):
    url = reverse(f"plugins:netbox_vlan_manager:{name}_list")
    few, many = count(lambda: client.get(url))

    assert few == many


@pytest.mark.parametrize("name", ["segmentpool", "segment", "allocation"])
def test_export(client, count, name):
    url = reverse(f"plugins:netbox_vlan_manager:{name}_list")
    few, many = count(lambda: client.get(f"{url}?export"))

    assert few == many


@pytest.mark.parametrize(
    ("model", "view"),
    [
        (models.SegmentPool, "bulk_edit"),
        (models.Segment, "bulk_edit"),
        (models.Segment, "bulk_delete"),
        (models.Allocation, "bulk_edit"),
        (models.Allocation, "bulk_release"),
    ],
)
def test_bulk(client, count, model, view):
    url = reverse(f"plugins:netbox_vlan_manager:{model._meta.model_name}_{view}")
    objects = model.objects.exclude(status="allocated") if model is models.Segment else model.objects.all()
    few, many = count(lambda: client.post(url, {"pk": [instance.pk for instance in objects.all()]}))

    assert few == many
