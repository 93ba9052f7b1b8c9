import pytest
from django.core.exceptions import ValidationError

from core.models import ObjectChange
from netbox_vlan_manager.exceptions import SegmentInUse
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import (
    allocate,
    update_segment,
)
from tests.drift import find_drift
from tests.factories import make_segment

pytestmark = pytest.mark.django_db


def errors(error):
    return error.value.message_dict


def test_update_changes_vlan_and_prefix(user, pool):
    segment = make_segment(pool, 100)
    segment = update_segment(
        segment, user=user, vid=200, epg_name="EPG_b", prefix="10.0.9.0/25", dhcp=True, description="moved"
    )

    segment = Segment.objects.get(pk=segment.pk)
    assert (segment.vid, segment.vlan.vid, segment.epg_name) == (200, 200, "EPG_b")
    assert (str(segment.prefix), segment.dhcp, segment.description) == ("10.0.9.0/25", True, "moved")
    assert find_drift() == []
    logged = ObjectChange.objects.filter(user=user).values_list("changed_object_type__model", flat=True)
    assert set(logged) == {"vlan", "prefix", "segment"}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"vid": 101}, "vid"),
        ({"vid": 99}, "vid"),
        ({"epg_name": "EPG_101"}, "epg_name"),
        ({"epg_name": "a b"}, "epg_name"),
        ({"prefix": "10.0.1.0/25"}, "prefix"),
        ({"prefix": "10.7.0.0/24"}, "prefix"),
        ({"description": "x" * 201}, "description"),
    ],
)
def test_update_with_a_wrong_value_changes_nothing(user, pool, values, field):
    segment = make_segment(pool, 100)
    make_segment(pool, 101, 1)
    with pytest.raises(ValidationError) as error:
        update_segment(segment, user=user, **{"dhcp": True} | values)

    assert field in errors(error)
    segment = Segment.objects.get(pk=segment.pk)
    assert (segment.vid, segment.epg_name, str(segment.prefix), segment.dhcp) == (100, "EPG_100", "10.0.0.0/24", False)


def test_update_leaves_alone_what_nobody_gave(user, pool):
    segment = make_segment(pool, 100)
    stale = Segment.objects.select_related("vlan", "prefix").get(pk=segment.pk)
    update_segment(segment, user=user, vid=200, epg_name="EPG_new", prefix="10.0.9.0/24")
    update_segment(stale, user=user, description="x")

    segment = Segment.objects.get()
    assert (segment.vid, segment.epg_name, str(segment.prefix), segment.description) == (
        200,
        "EPG_new",
        "10.0.9.0/24",
        "x",
    )


def test_new_epg_name_is_an_update_of_the_segment(user, pool):
    segment = make_segment(pool, 100)
    before = segment.last_updated
    assert update_segment(segment, user=user, epg_name="EPG_new").last_updated > before


def test_allocated_segment_keeps_its_vlan_id_and_prefix(user, pool):
    segment = make_segment(pool, 100)
    allocation = allocate("prod-01", pool=pool, user=user).allocation
    for values in ({"vid": 200}, {"prefix": "10.0.9.0/24"}):
        with pytest.raises(SegmentInUse):
            update_segment(segment, user=user, **values)
    update_segment(segment, user=user, epg_name="EPG_new", description="kept")

    allocation.refresh_from_db()
    assert allocation.epg_name == "EPG_new"
    assert Segment.objects.get().status == "allocated"
    assert find_drift() == []
