import pytest

from core.models import ObjectChange
from netbox_vlan_manager.services import allocate, release
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db


def test_every_write_is_logged_with_user_and_request():
    pool, user = make_pool(segments=1), make_user("alice")
    ObjectChange.objects.all().delete()
    allocate("prod-01", pool=pool, user="alice")
    release("prod-01", pool=pool, user=user)

    changes = list(ObjectChange.objects.order_by("pk"))
    assert [(change.changed_object_type.model, change.action) for change in changes] == [
        ("segment", "update"),
        ("prefix", "update"),
        ("allocation", "create"),
        ("allocation", "update"),
        ("segment", "update"),
        ("prefix", "update"),
    ]
    assert {change.user for change in changes} == {user}
    assert len({change.request_id for change in changes[:3]}) == len({change.request_id for change in changes[3:]}) == 1
    assert changes[0].request_id != changes[3].request_id
    assert (changes[0].prechange_data["status"], changes[0].postchange_data["status"]) == ("available", "allocated")
    assert (changes[1].prechange_data["status"], changes[1].postchange_data["status"]) == ("active", "reserved")
    assert changes[3].prechange_data["released_at"] is None
