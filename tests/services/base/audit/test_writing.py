import pytest
from django.db import connection, transaction
from django.db.models.signals import post_save
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django_prometheus.models import model_inserts

from core.models import ObjectChange, ObjectType
from extras.models import CachedValue, CustomField, Notification, Subscription, Tag
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.base.audit import change_tracking, create, update
from tests.factories import make_pool, make_segment, make_user

pytestmark = pytest.mark.django_db


def logged(instance):
    """Return the logged change of `instance` as NetBox shows it, without the values that differ between objects."""
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


@pytest.mark.parametrize("kind", ["segment", "prefix", "vlan"])
@pytest.mark.parametrize("skips_empty_changes", [True, False])
def test_update_logs_what_save_would_have_logged(kind, skips_empty_changes, settings):
    settings.CHANGELOG_SKIP_EMPTY_CHANGES = skips_empty_changes
    segment = make_segment(make_pool(), 100)
    instance = {"segment": segment, "prefix": segment.prefix, "vlan": segment.vlan}[kind]
    instance.tags.add(*(Tag.objects.create(name=name, slug=name) for name in ("b", "a")))
    instance = type(instance).objects.get(pk=instance.pk)
    values = {"description": "x"} if kind != "segment" else {"dhcp": True, "description": "x"}
    with change_tracking(make_user("alice")):
        instance._changelog_message = "why"
        instance.snapshot()
        for name, value in values.items():
            setattr(instance, name, value)
        instance.save()
        saved = change_of(instance)
        type(instance).objects.filter(pk=instance.pk).update(
            description="", **({"dhcp": False} if len(values) > 1 else {})
        )
        instance = type(instance).objects.get(pk=instance.pk)
        instance._changelog_message = "why"
        update(instance, **values)

    written = change_of(instance)
    for data in ("prechange_data", "postchange_data"):
        before, after = getattr(saved, data), getattr(written, data)
        assert before.keys() == after.keys()
        assert ("last_updated" in before) is not skips_empty_changes
        assert before | {"last_updated": None} == after | {"last_updated": None}
    for name in ("user", "user_name", "action", "object_repr", "message", "changed_object", "related_object_id"):
        assert getattr(saved, name) == getattr(written, name)
    instance.refresh_from_db()
    assert instance.description == "x"
    if not skips_empty_changes:
        assert written.postchange_data["last_updated"] == instance.last_updated.isoformat()[:23] + "Z"


def change_of(instance):
    """Return the newest change of `instance`."""
    return ObjectChange.objects.filter(
        changed_object_type__model=instance._meta.model_name, changed_object_id=instance.pk
    ).latest("pk")


def test_update_notifies_subscribers_and_calls_other_receivers():
    segment = make_segment(make_pool(), 100)
    subscriber = make_user("subscriber")
    Subscription.objects.create(user=subscriber, object=segment.prefix)
    seen = []

    def receiver(instance, created, update_fields, **kwargs):
        seen.append((instance.pk, created, sorted(update_fields)))

    post_save.connect(receiver, sender=Prefix)
    try:
        allocate("prod-01", pool=segment.pool, user=make_user())
    finally:
        post_save.disconnect(receiver, sender=Prefix)

    assert seen == [(segment.prefix_id, False, ["last_updated", "status"])]
    assert Notification.objects.get().user == subscriber


@pytest.mark.django_db(transaction=True)
def test_update_of_a_field_that_search_shows_is_found():
    segment = make_segment(make_pool(), 100)
    with change_tracking(make_user()), transaction.atomic():
        update(segment.vlan, description="findme")
    assert CachedValue.objects.filter(object_id=segment.vlan_id, value="findme").exists()


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


@override_settings(CUSTOM_VALIDATORS={"netbox_vlan_manager.allocation": [{"cluster_name": {"prohibited": True}}]})
def test_custom_validators_are_asked():
    pool = make_pool(segments=1)
    with pytest.raises(Exception, match="cluster_name"):
        allocate("prod-01", pool=pool, user=make_user())
    assert Segment.objects.get().status == "available"


def test_counters_count_what_is_committed(django_capture_on_commit_callbacks):
    user, pool = make_user("alice"), make_pool(segments=2)
    counter = model_inserts.labels("allocation")._value

    before = counter.get()
    with django_capture_on_commit_callbacks(execute=True):
        allocate("prod-01", pool=pool, user=user)
        with transaction.atomic():
            allocate("prod-02", pool=pool, user=user)
            transaction.set_rollback(True)
    assert counter.get() == before + 1
