"""Allocations and NetBox's clusters are linked by name, in whichever order they are made."""

import pytest
from django.utils import timezone

from core.models import ObjectChange
from netbox_vlan_manager.exceptions import LimitReached
from netbox_vlan_manager.models import Allocation
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.drift.repair import repair_drift
from tenancy.models import Tenant
from tests.api.base import client_of, url_of
from tests.drift import find_drift
from tests.factories import make_pool, make_user
from virtualization.models import Cluster, ClusterGroup, ClusterType

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice", is_superuser=True)


@pytest.fixture
def pool():
    return make_pool(segments=4, max_per_tenant=1)


@pytest.fixture
def tenant():
    return Tenant.objects.create(name="T", slug="t")


def make_cluster(name, group=None, **fields):
    kind = ClusterType.objects.get_or_create(name="K", slug="k")[0]
    if group:
        fields["group"] = ClusterGroup.objects.get_or_create(name=group, slug=group)[0]
    return Cluster.objects.create(name=name, type=kind, **fields)


def linked():
    return Allocation.objects.active().get(cluster_name__iexact="k8s").cluster


@pytest.fixture
def held(pool, user):
    return allocate("k8s", pool=pool, user=user).allocation


@pytest.fixture(autouse=True)
def no_drift():
    yield
    assert find_drift() == []


def test_a_cluster_that_is_made_later(held):
    before = ObjectChange.objects.count()
    cluster = make_cluster("K8S")
    assert linked() == cluster
    assert Allocation.objects.get().last_updated > held.last_updated
    # Links are not change-logged, like NetBox's own cached relations.
    assert ObjectChange.objects.count() == before


def test_one_that_is_renamed_and_deleted(held):
    cluster = make_cluster("other")
    assert linked() is None
    cluster.name = "k8s"
    cluster.save()
    assert linked() == cluster
    cluster.name = "gone"
    cluster.save()
    assert linked() is None
    cluster.name = "k8s"
    cluster.save()
    cluster.delete()
    assert linked() is None


def test_two_of_one_name_are_no_link_until_one_is_left(held):
    first = make_cluster("k8s", "g1")
    second = make_cluster("K8s", "g2")
    assert linked() is None
    second.delete()
    assert linked() == first
    third = make_cluster("k8s", "g3")
    assert linked() is None
    first.name = "else"
    first.save()
    assert linked() == third


def test_other_saves_leave_it(held):
    cluster = make_cluster("k8s")
    cluster.description = "x"
    cluster.save()
    cluster.save(update_fields=["description"])
    assert linked() == cluster


def test_names_are_the_database_s(pool, user):
    """The names are equal if the index of allocations takes them for equal; NetBox's own collation differs for ß."""
    held = allocate("straße", pool=pool, user=user).allocation
    other = make_cluster("STRASSE")
    held.refresh_from_db()
    assert held.cluster is None
    assert allocate("strasse", pool=pool, user=user).allocation.cluster == other


def test_history_keeps_its_link(held, pool, user):
    cluster = make_cluster("k8s")
    release("k8s", pool=pool, user=user)
    cluster.name = "else"
    cluster.save()
    make_cluster("k8s")
    assert Allocation.objects.get().cluster == cluster


def test_the_tenant_s_limit_counts_it(held, pool, user, tenant):
    make_cluster("k8s", tenant=tenant)
    make_cluster("second", tenant=tenant)
    with pytest.raises(LimitReached):
        allocate("second", pool=pool, user=user)
    other = Tenant.objects.create(name="U", slug="u")
    Cluster.objects.filter(name="k8s").update(tenant=other)
    assert allocate("second", pool=pool, user=user).created


def test_rest_shows_it_and_its_etag_changes(held, user):
    client = client_of(user)
    url = url_of("allocation-detail", pk=held.pk)
    before = client.get(url)
    answer = client.post(
        "/api/virtualization/clusters/",
        [{"name": "k8s", "type": {"name": ClusterType.objects.create(name="K", slug="k").name}}],
        format="json",
    )
    assert answer.status_code == 201, answer.content
    after = client.get(url)
    assert (before.json()["cluster"], after.json()["cluster"]["name"]) == (None, "k8s")
    assert before.headers["ETag"] != after.headers["ETag"]


def test_what_scripts_write_past_it_is_drift(held, user):
    kind = ClusterType.objects.create(name="K", slug="k")
    (cluster,) = Cluster.objects.bulk_create([Cluster(name="k8s", type=kind)])
    (drift,) = find_drift()
    assert (drift.kind, drift.object) == ("cluster_link", held)
    (result,) = repair_drift([drift.item], user=user)
    assert result.status == "repaired"
    assert linked() == cluster
    Cluster.objects.update(name="else", last_updated=timezone.now())
    (drift,) = find_drift()
    repair_drift([drift.item], user=user)
    assert linked() is None
