"""Users with a permission for their own or their group's allocations can end only these, in every way."""

from datetime import timedelta

import pytest
from django.utils import timezone

from netbox_vlan_manager.models import Allocation, SegmentPool
from netbox_vlan_manager.services import allocate, share
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_user, permit
from users.models import Group

pytestmark = pytest.mark.django_db

PAGES = "/plugins/vlan-manager/"


@pytest.fixture
def pool():
    return make_pool(segments=6)


@pytest.fixture
def user(pool):
    return permit(make_user("alice"), pool, "allocate", "release_own")


@pytest.fixture
def other(pool):
    return permit(make_user("bob"), pool, "allocate", "release_own")


@pytest.fixture
def viewer(user):
    return permit(permit(user, Allocation, "view"), SegmentPool, "view")


@pytest.fixture
def own(pool, user):
    return allocate("own-01", pool=pool, user=user).allocation


@pytest.fixture
def foreign(pool, other):
    return allocate("foreign-01", pool=pool, user=other).allocation


def is_active(allocation):
    return Allocation.objects.active().filter(pk=allocation.pk).exists()


def release_vlan(user, name):
    values = {"cluster_name": name, "site": "Site1", "vrf": "Network1"}
    return client_of(user).post(url_of("release-vlan"), values, format="json")


def test_release_vlan(user, own, foreign):
    assert release_vlan(user, "own-01").status_code == 200
    # The refusal is the same as for a cluster that holds nothing.
    hidden, missing = release_vlan(user, "foreign-01"), release_vlan(user, "missing-01")
    assert (hidden.status_code, hidden.json()["code"]) == (404, "allocation_not_found")
    assert hidden.json()["detail"].replace("foreign", "missing") == missing.json()["detail"]
    assert not is_active(own)
    assert is_active(foreign)


def test_release_vlan_of_what_may_be_viewed(viewer, foreign):
    refused = release_vlan(viewer, "foreign-01")
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert is_active(foreign)


def test_delete(user, own, foreign):
    client = client_of(user)
    assert client.delete(url_of("allocation-detail", pk=own.pk)).status_code == 204
    assert client.delete(url_of("allocation-detail", pk=foreign.pk)).status_code == 404
    assert not is_active(own)
    assert is_active(foreign)


def test_delete_what_may_be_viewed(viewer, foreign):
    assert client_of(viewer).delete(url_of("allocation-detail", pk=foreign.pk)).status_code == 403
    assert is_active(foreign)


def test_delete_a_list(viewer, own, foreign):
    client = client_of(viewer)
    rows = [{"id": own.pk}, {"id": foreign.pk}]
    refused = client.delete(url_of("allocation-list"), rows, format="json")
    assert refused.status_code == 403
    assert [error["id"] for error in refused.json()["errors"]] == [foreign.pk]
    assert is_active(own)
    assert client.delete(url_of("allocation-list"), rows[:1], format="json").status_code == 204
    assert not is_active(own)


def test_release(user, own, foreign):
    client = client_of(user)
    previewed = client.post(url_of("allocation-release", pk=own.pk), {"dry_run": True}, format="json")
    assert previewed.status_code == 200
    assert is_active(own)
    assert client.post(url_of("allocation-release", pk=own.pk), {}, format="json").status_code == 200
    assert client.post(url_of("allocation-release", pk=foreign.pk), {}, format="json").status_code == 404
    assert not is_active(own)
    assert is_active(foreign)


def test_what_the_group_allocated(user, other, own, foreign):
    group = Group.objects.create(name="Team A")
    other.groups.add(group)
    assert client_of(user).delete(url_of("allocation-detail", pk=foreign.pk)).status_code == 404
    user.groups.add(group)
    assert client_of(user).delete(url_of("allocation-detail", pk=foreign.pk)).status_code == 204
    assert not is_active(foreign)


def test_what_nobody_allocated(user, foreign):
    Allocation.objects.update(allocated_by=None)
    assert client_of(user).delete(url_of("allocation-detail", pk=foreign.pk)).status_code == 404


def test_another_pool(user):
    far = allocate("far-01", pool=make_pool("Network2", container="10.2.0.0/16", segments=1), user=user).allocation
    assert client_of(user).delete(url_of("allocation-detail", pk=far.pk)).status_code == 404
    assert is_active(far)


def test_set_clusters(user, own, foreign):
    share(own.segment, "shared-01", user=make_user("bob"))
    client = client_of(user)
    url = url_of("segment-clusters", pk=own.segment_id)
    refused = client.put(url, {"cluster_names": "own-01"}, format="json")
    assert refused.status_code == 403
    assert "shared-01" not in str(refused.json())
    assert client.put(url, {"cluster_names": "shared-01"}, format="json").status_code == 200
    assert not is_active(own)


def test_to_renew_for_less_is_to_release(pool, user, other, own):
    """An expiry a moment from now would take the network away from its cluster."""
    foreign = allocate("leased-01", pool=pool, user=other, expires_at=timezone.now() + timedelta(days=9)).allocation
    user = permit(user, Allocation, "view")
    client, page = client_of(user), f"{PAGES}allocations/{{}}/renew/"

    def renew(allocation, **delta):
        expires_at = (timezone.now() + timedelta(**delta)).isoformat() if delta else None
        url = url_of("allocation-renew", pk=allocation.pk)
        return client.post(url, {"expires_at": expires_at}, format="json").status_code

    assert renew(foreign, days=1) == 403
    assert renew(foreign, days=20) == 200
    assert renew(foreign) == 200
    assert renew(foreign, days=1) == 403
    assert renew(own, days=1) == 200
    assert not Allocation.objects.get(pk=foreign.pk).expires_at
    assert page


def test_allocators_renew_nothing_that_they_were_never_told_of(pool, foreign):
    stranger = permit(make_user("carol"), pool, "allocate")
    url = url_of("allocation-renew", pk=foreign.pk)
    assert client_of(stranger).post(url, {"expires_at": None}, format="json").status_code == 404


def test_pages(client, viewer, own, foreign):
    client.force_login(viewer)
    listed = client.get(f"{PAGES}allocations/").content.decode()
    assert f"allocations/{own.pk}/release/" in listed
    assert f"allocations/{foreign.pk}/release/" not in listed
    for allocation, status in ((own, 200), (foreign, 403)):
        url = f"{PAGES}allocations/{allocation.pk}/"
        assert (f"{url}release/" in client.get(url).content.decode()) is (status == 200)
        assert client.get(f"{url}release/").status_code == status
    assert client.post(f"{PAGES}allocations/{foreign.pk}/release/", {"confirm": "true"}).status_code == 403
    client.post(f"{PAGES}allocations/release/", {"pk": [own.pk, foreign.pk], "_confirm": "1"})
    assert not is_active(own)
    assert is_active(foreign)


def test_buttons_of_a_shared_segment(client, user, own):
    share(own.segment, "shared-01", user=make_user("bob"))
    for model in (Allocation, SegmentPool, type(own.segment)):
        user = permit(user, model, "view")
    client.force_login(user)
    theirs = own.segment.allocations.get(cluster_name="shared-01")
    for url in (
        f"{PAGES}segments/",
        own.segment.get_absolute_url(),
        f"{own.segment.get_absolute_url()}history/",
        f"{PAGES}pools/{own.pool_id}/segments/",
        f"{PAGES}pools/{own.pool_id}/allocations/",
    ):
        page = client.get(url).content.decode()
        assert f"allocations/{own.pk}/release/" in page, url
        assert f"allocations/{theirs.pk}/release/" not in page, url
