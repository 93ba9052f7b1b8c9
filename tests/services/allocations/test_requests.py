from datetime import timedelta
from unittest.mock import patch

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from netbox_vlan_manager import validators
from netbox_vlan_manager.exceptions import LimitReached
from netbox_vlan_manager.models import Allocation
from netbox_vlan_manager.services import allocate, allocate_many, release, set_clusters
from netbox_vlan_manager.services.allocations.requests import AllocationRequest, look_up_cluster
from netbox_vlan_manager.validators import ClusterName
from tenancy.models import Tenant
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_user
from tests.services.allocations.base import configure
from virtualization.models import Cluster, ClusterType

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_drift")]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"vid": 0}, "vid"),
        ({"vid": 4095}, "vid"),
        ({"vid": "x"}, "vid"),
        ({"vid": 100, "vid_min": 100}, "vid"),
        ({"vid_min": 104, "vid_max": 100}, "vid_max"),
        ({"prefix_length": 0}, "prefix_length"),
        ({"prefix_length": 129}, "prefix_length"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expires_at"),
        ({"expires_at": timezone.now() + timedelta(days=5000)}, "expires_at"),
        ({"expires_at": timezone.now().replace(tzinfo=None) + timedelta(days=1)}, "expires_at"),
    ],
)
def test_invalid_values_of_a_request(pool, user, asked, field):
    with pytest.raises(ValidationError) as error:
        allocate("a", pool=pool, user=user, **asked)
    assert list(error.value.message_dict) == [field]
    assert not Allocation.objects.exists()


def test_limits(pool, user):
    tenant = Tenant.objects.create(name="Tenant", slug="tenant")
    kind = ClusterType.objects.create(name="K8s", slug="k8s")
    for name in ("t1", "t2", "t3"):
        Cluster.objects.create(name=name, type=kind, tenant=tenant)
    pool = configure(pool, max_per_cluster=2, max_per_tenant=3, max_per_request=2)
    allocate("t1", pool=pool, user=user)
    allocate("T1", pool=pool, user=user, purpose="storage")
    with pytest.raises(LimitReached, match="allows a cluster 2"):
        allocate("t1", pool=pool, user=user, purpose="bmc")
    allocate("t2", pool=pool, user=user)
    with pytest.raises(LimitReached, match="allows a tenant 3"):
        allocate("t3", pool=pool, user=user)
    assert not allocate("t2", pool=pool, user=user).created
    with pytest.raises(LimitReached, match="One request may allocate 2"):
        allocate_many([AllocationRequest.clean(name, pool=pool) for name in "xyz"], user=user)
    assert len(allocate_many([AllocationRequest.clean(name, pool=pool) for name in "xy"], user=user)) == 2


@pytest.fixture
def cleaned():
    """A mock that counts how often a cluster name is cleaned."""
    with patch.object(validators, "clean_cluster_name", wraps=validators.clean_cluster_name) as clean:
        yield clean


@pytest.fixture
def admin():
    return make_user("admin", is_superuser=True)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("allocate-vlan", {"site": "Site1", "vrf": "Network1"}),
        ("allocate-vlan", {"site": "Site1", "vrf": "Network1", "description": "More than a place"}),
        ("release-vlan", {"site": "Site1", "vrf": "Network1"}),
        ("allocation-list", {"site": "Site1", "vrf": "Network1"}),
    ],
)
def test_rest_cleans_a_cluster_name_once(pool, user, admin, cleaned, name, asked):
    client = client_of(admin)
    if name == "release-vlan":
        allocate("prod-01", pool=pool, user=user)
    # The second call finds the allocation of the first, or nothing to release.
    for _call in range(2):
        cleaned.reset_mock()
        response = client.post(url_of(name), {"cluster_name": " prod-01 ", **asked}, format="json")
        assert response.status_code < 300 or response.data["code"] == "allocation_not_found", response.data
        assert cleaned.call_count == 1
    assert type(Allocation.objects.get().cluster_name) is str


@pytest.mark.parametrize("page", ["allocate", "stretched"])
def test_a_page_cleans_a_cluster_name_once(client, pool, admin, cleaned, page):
    other = make_pool("Network1", "Site2", container="10.2.0.0/16", segments=1)
    asked = {"allocate": {"pool": pool.pk}, "stretched": {"vrf": pool.vrf_id, "pools": [pool.pk, other.pk]}}[page]
    client.force_login(admin)
    for _call in range(2):
        cleaned.reset_mock()
        response = client.post(f"/plugins/vlan-manager/allocations/{page}/", {"cluster_name": " prod-01 ", **asked})
        assert response.status_code == 302
        assert cleaned.call_count == 1
    assert {one.cluster_name for one in Allocation.objects.all()} == {"prod-01"}


def test_a_service_cleans_a_cluster_name_once(pool, user, cleaned):
    segment = allocate(" a ", pool=pool, user=user).allocation.segment
    assert cleaned.call_count == 1
    cleaned.reset_mock()
    assert not allocate(" A ", site="Site1", vrf="Network1", user=user).created
    assert cleaned.call_count == 1
    cleaned.reset_mock()
    set_clusters(segment, [" a ", "b"], user=user)
    assert cleaned.call_count == 2
    cleaned.reset_mock()
    release("a", pool=pool, user=user)
    assert cleaned.call_count == 1


def test_a_request_holds_plain_text(pool):
    request = AllocationRequest.clean(ClusterName.clean(" prod-01 "), pool=pool)
    assert (type(request.cluster_name), request.cluster_name) == (str, "prod-01")


def test_a_request_is_not_changed_by_a_look_up(pool):
    kind = ClusterType.objects.create(name="K8s", slug="k8s")
    cluster = Cluster.objects.create(name="PROD-01", type=kind)
    request = AllocationRequest.clean("prod-01", pool=pool)
    assert look_up_cluster(request).cluster_id == cluster.pk
    assert request.cluster_id is None
