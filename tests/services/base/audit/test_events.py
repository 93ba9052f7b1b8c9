import pytest
from django.db import transaction

from core.models import ObjectChange
from netbox.context import current_request
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.base.audit import change_tracking
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db

flushed = []


def record_events(events):
    flushed.extend((event["object_type"].model, event["event_type"]) for event in events)


@pytest.fixture
def events(settings):
    flushed.clear()
    settings.EVENTS_PIPELINE = [f"{__name__}.record_events"]
    return flushed


@pytest.mark.django_db(transaction=True)
def test_events_leave_once_committed(events):
    pool = make_pool(segments=1)
    events.clear()
    allocate("prod-01", pool=pool, user=make_user())

    assert sorted(events) == [
        ("allocation", "object_created"),
        ("allocation", "vlan_manager_allocated"),
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
