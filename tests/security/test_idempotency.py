import pytest

from netbox_vlan_manager.models import Allocation, IdempotencyKey, SegmentPool
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db


def test_keys_of_others():
    """A key of one user gives another user no stored answer, and does not reveal that there is one."""
    pool = make_pool(segments=2)
    data = {"pool": pool.pk, "cluster_name": "secret-cluster", "description": "of alice"}
    headers = {"Idempotency-Key": "guessed"}
    alice, mallory, bob = (make_user(name) for name in ("alice", "mallory", "bob"))
    for user in (alice, bob):
        permit(permit(user, Allocation, "view"), SegmentPool, "view", "allocate")
    url = url_of("allocation-list")
    first = client_of(alice).post(url, data, format="json", headers=headers)
    assert first.status_code == 201

    denied = client_of(mallory).post(url, data, format="json", headers=headers)
    assert denied.status_code in (400, 403)
    assert "Idempotency-Replayed" not in denied.headers
    assert b"EPG_" not in denied.content
    # Bob's call with the same key is a new call.
    other = client_of(bob).post(url, {**data, "cluster_name": "b"}, format="json", headers=headers)
    assert other.status_code == 201
    assert set(IdempotencyKey.objects.values_list("user__username", "key")) == {
        ("alice", "guessed"),
        ("bob", "guessed"),
    }


def test_stored_answer_is_what_its_user_saw():
    pool = make_pool(segments=1)
    user = permit(make_user("alice"), SegmentPool, "allocate")
    response = client_of(user).post(
        url_of("allocation-list"),
        {"pool": pool.pk, "cluster_name": "c"},
        format="json",
        headers={"Idempotency-Key": "k", "Authorization": client_of(user)._credentials["HTTP_AUTHORIZATION"]},
    )
    stored = IdempotencyKey.objects.get()
    assert stored.body == response.json()
    assert stored.headers.keys() <= {"Location", "ETag"}
    assert "nbt_" not in str(vars(stored))
