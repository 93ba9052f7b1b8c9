import pytest
from django.db import connection, transaction
from django.db.models.signals import post_save
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from core.models import ObjectChange, ObjectType
from extras.models import CachedValue, CustomField
from ipam.models import VLAN, Prefix
from netbox.context import current_request
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.audit import change_tracking, create
from tests.factories import make_pool, make_segment, make_user

pytestmark = pytest.mark.django_db

flushed = []


def record_events(events):
    flushed.extend((event["object_type"].model, event["event_type"]) for event in events)


@pytest.fixture
def events(settings):
    flushed.clear()
    settings.EVENTS_PIPELINE = [f"{__name__}.record_events"]
    return flushed


def logged(instance):
    """Return the change of `instance` in the log as NetBox shows it, without what differs from object to object."""
    change = ObjectChange.objects.get(
        changed_object_type__model=instance._meta.model_name, changed_object_id=instance.pk
    )
    data = {name: value for name, value in change.postchange_data.items() if name not in ("created", "last_updated")}
    return {
        "user": change.user,
        "user_name": change.user_name,
        "action": change.action,
        "object_repr": change.object_repr,
        "prechange": change.prechange_data,
        "message": change.message,
        "postchange": data,
        "fields": set(change.postchange_data),
        "related": change.related_object_id,
    }


@pytest.mark.parametrize("model", [VLAN, Prefix])
def test_create_logs_what_save_would_have_logged(model):
    field = CustomField.objects.create(name="ticket", type="text", default="none")
    field.object_types.set([ObjectType.objects.get_for_model(model)])
    pool = make_pool()
    values = {
        VLAN: {"group": pool.vlan_group, "vid": 100, "name": "EPG"},
        Prefix: {"prefix": "10.0.0.0/24", "vrf": pool.vrf, "scope": pool.scope},
    }[model]
    user = make_user("alice")
    with change_tracking(user):
        saved = model(**values)
        saved.save()
        expected = logged(saved)
        saved.delete()
        made = model(**values)
        if model is Prefix:
            made.cache_related_objects()
        create([made])

    assert logged(made) == expected
    assert logged(made)["postchange"]["custom_fields"] == {"ticket": "none"}


def test_create_serves_other_plugins_receivers_and_search():
    seen = []
    pool = make_pool()

    def receiver(instance, created, **kwargs):
        seen.append((instance.pk, created))

    post_save.connect(receiver, sender=VLAN)
    try:
        segment = make_segment(pool, 100)
    finally:
        post_save.disconnect(receiver, sender=VLAN)
    assert seen == [(segment.vlan_id, True)]


@pytest.mark.django_db(transaction=True)
def test_new_vlan_and_prefix_are_found_by_search():
    segment = make_segment(make_pool(), 100, epg_name="EPG_findme")
    assert CachedValue.objects.filter(object_id=segment.vlan_id, value="EPG_findme").exists()
    assert CachedValue.objects.filter(object_id=segment.prefix_id, value="10.0.0.0/24").exists()


def test_create_takes_as_many_statements_for_many_as_for_few():
    pool = make_pool()

    def statements(first, count):
        with CaptureQueriesContext(connection) as queries, change_tracking(make_user()), transaction.atomic():
            create([VLAN(group=pool.vlan_group, vid=first + n, name=f"EPG_{first + n}") for n in range(count)])
        return len(queries)

    statements(100, 1)
    assert statements(200, 2) == statements(300, 40)


def test_every_write_of_allocate_and_release_is_logged_with_user_and_request():
    pool, user = make_pool(segments=1), make_user("alice")
    ObjectChange.objects.all().delete()
    allocate("prod-01", pool=pool, user="alice")
    release("prod-01", pool=pool, user=user)

    changes = list(ObjectChange.objects.order_by("pk"))
    assert [(change.changed_object_type.model, change.action) for change in changes] == [
        ("segment", "update"),
        ("allocation", "create"),
        ("prefix", "update"),
        ("allocation", "update"),
        ("segment", "update"),
        ("prefix", "update"),
    ]
    assert {change.user for change in changes} == {user}
    assert len({change.request_id for change in changes[:3]}) == len({change.request_id for change in changes[3:]}) == 1
    assert changes[0].request_id != changes[3].request_id
    assert (changes[0].prechange_data["status"], changes[0].postchange_data["status"]) == ("available", "allocated")
    assert (changes[2].prechange_data["status"], changes[2].postchange_data["status"]) == ("active", "reserved")
    assert changes[3].prechange_data["released_at"] is None


@pytest.mark.django_db(transaction=True)
def test_events_leave_once_committed(events):
    pool = make_pool(segments=1)
    events.clear()
    allocate("prod-01", pool=pool, user=make_user())

    assert sorted(events) == [
        ("allocation", "object_created"),
        ("prefix", "object_updated"),
        ("segment", "object_updated"),
    ]


@pytest.mark.django_db(transaction=True)
def test_caller_s_rollback_takes_events_and_changes_along(events):
    pool = make_pool(segments=1)
    events.clear()
    changes = ObjectChange.objects.count()
    with transaction.atomic():
        allocate("prod-01", pool=pool, user=make_user())
        transaction.set_rollback(True)

    assert events == []
    assert ObjectChange.objects.count() == changes
    assert Segment.objects.get().status == "available"


def test_failed_call_leaves_the_request_s_earlier_events_alone(events):
    pool = make_pool(segments=1)
    events.clear()
    with change_tracking(make_user()), transaction.atomic():
        allocate("prod-01", pool=pool, user=make_user())
        with pytest.raises(Exception, match="no available segment"):
            allocate("prod-02", pool=pool, user=make_user())
    assert current_request.get() is None


@override_settings(CUSTOM_VALIDATORS={"netbox_vlan_manager.allocation": [{"cluster_name": {"prohibited": True}}]})
def test_custom_validators_are_asked():
    pool = make_pool(segments=1)
    with pytest.raises(Exception, match="cluster_name"):
        allocate("prod-01", pool=pool, user=make_user())
    assert Segment.objects.get().status == "available"
