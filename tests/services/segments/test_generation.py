"""Generating many segments from free networks and VLAN IDs."""

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.models import ObjectChange
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import (
    generate_segments,
    update_pool,
)
from netbox_vlan_manager.services.segments.free_space import find_networks
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_user, permit

pytestmark = pytest.mark.django_db


def errors(error):
    return error.value.message_dict


def taken(pool, *cidrs, **fields):
    for cidr in cidrs:
        Prefix.objects.create(prefix=cidr, vrf=pool.vrf, **fields)


def cidrs(networks):
    return [str(network) for network in networks]


def test_range_gives_a_segment_for_each_vlan_id(user, pool):
    result = generate_segments(pool, user=user, vid_min=100, vid_max=103, prefix_length=24)

    rows = [(s.vid, s.epg_name, str(s.prefix), s.status) for s in Segment.objects.order_by("vid")]
    assert rows == [(100 + n, f"EPG_Site1_{100 + n}", f"10.0.{n}.0/24", "available") for n in range(4)]
    assert [segment.pk for segment in result.segments] == list(Segment.objects.values_list("pk", flat=True))
    assert result.skipped == []
    assert find_drift() == []
    assert ObjectChange.objects.filter(user=user, changed_object_type__model="segment", action="create").count() == 4


def test_count_takes_the_lowest(user, pool):
    make_segment(pool, 101, 5)
    result = generate_segments(pool, user=user, count=3, prefix_length=25, epg_template="net-{vrf}-{pool}-{vid}")
    assert [(s.vid, s.epg_name, str(s.prefix)) for s in result.segments] == [
        (100, "net-Network1-Network1_Site1-100", "10.0.0.0/25"),
        (102, "net-Network1-Network1_Site1-102", "10.0.0.128/25"),
        (103, "net-Network1-Network1_Site1-103", "10.0.1.0/25"),
    ]


def test_what_is_used_is_passed_over(user, pool):
    VLAN.objects.create(group=pool.vlan_group, vid=101, name="other")
    make_segment(pool, 102, 1)
    taken(pool, "10.0.0.0/28", "10.0.2.64/26", "10.0.4.0/23")
    taken(pool, "10.0.6.0/24", status="container")
    result = generate_segments(pool, user=user, vid_min=100, vid_max=105, prefix_length=24)
    assert [s.vid for s in result.segments] == [100, 103, 104, 105]
    assert cidrs(s.prefix for s in result.segments) == ["10.0.3.0/24", "10.0.7.0/24", "10.0.8.0/24", "10.0.9.0/24"]
    assert result.skipped == [101, 102]

    # A second run with the same range makes nothing.
    result = generate_segments(pool, user=user, vid_min=100, vid_max=105, prefix_length=24)
    assert (result.segments, result.skipped) == ([], [100, 101, 102, 103, 104, 105])


def test_prefixes_of_other_vrfs_are_no_matter(user, pool):
    Prefix.objects.create(prefix="10.0.0.0/24")
    assert cidrs(find_networks(pool, 24, 1)) == ["10.0.0.0/24"]


@pytest.mark.parametrize(
    ("asked", "field", "says"),
    [
        ({}, "count", "the number of segments"),
        ({"vid_min": 100}, "count", "the number of segments"),
        ({"count": 0}, "count", "1 to 4094"),
        ({"count": 4095}, "count", "1 to 4094"),
        ({"vid_min": 0, "vid_max": 5}, "vid_min", "1 to 4094"),
        ({"vid_min": 5, "vid_max": 4}, "vid_max", "ends before"),
        ({"vid_min": 99, "vid_max": 101}, "vid_min", "not in VLAN group"),
        ({"vid_min": 100, "vid_max": 1000}, "vid_max", "not in VLAN group"),
        ({"count": 901}, "count", "(100-999) has 900 free VLAN IDs"),
        ({"count": 11, "vid_min": 100, "vid_max": 109}, "count", "has 10 free VLAN IDs"),
        ({"count": 1, "prefix_length": None}, "prefix_length", "Give the prefix length"),
        ({"count": 1, "prefix_length": 15}, "prefix_length", "/16 to /31"),
        ({"count": 257}, "prefix_length", "room for 256 more /24, not 257"),
        ({"count": 1, "ipv6_prefix_length": 64}, "ipv6_prefix_length", "no IPv6 container"),
        ({"count": 1, "epg_template": "EPG"}, "epg_template", "no {vid}"),
        ({"count": 1, "epg_template": "{tenant}_{vid}"}, "epg_template", "{tenant}: use {site}"),
        ({"count": 1, "epg_template": "a b {vid}"}, "epg_template", "not valid"),
        ({"count": 1, "epg_template": "x" * 62 + "{vid}"}, "epg_template", "1 to 64"),
        ({"count": 1, "epg_template": "{vid"}, "epg_template", "no {vid}"),
    ],
)
def test_what_cannot_be_made_makes_nothing(user, pool, asked, field, says):
    with pytest.raises(ValidationError) as error:
        generate_segments(pool, user=user, **{"prefix_length": 24, **asked})
    assert list(errors(error)) == [field]
    assert says in errors(error)[field][0]
    assert VLAN.objects.count() == 0
    assert Prefix.objects.count() == 1


def test_name_that_is_taken_is_told_with_its_vlan_id(user, pool):
    VLAN.objects.create(group=pool.vlan_group, vid=500, name="EPG_Site1_101")
    with pytest.raises(ValidationError) as error:
        generate_segments(pool, user=user, count=3, prefix_length=24)
    assert errors(error)["epg_template"] == [
        "VLAN ID 101: EPG name 'EPG_Site1_101' is taken by VLAN 500 in VLAN group Network1-Site1: use another name."
    ]
    assert Segment.objects.count() == 0


def test_dual_stack(user, pool):
    update_pool(pool, user=user, prefixes=["10.0.0.0/16", "2001:db8::/48"])
    generate_segments(pool, user=user, count=2, prefix_length=24, ipv6_prefix_length=64)
    pairs = [(str(s.prefix), str(s.ipv6_prefix)) for s in Segment.objects.order_by("vid")]
    assert pairs == [("10.0.0.0/24", "2001:db8::/64"), ("10.0.1.0/24", "2001:db8:0:1::/64")]


def test_dry_run_tells_the_same_and_changes_nothing(user, pool):
    asked = {"user": user, "count": 3, "prefix_length": 24, "dhcp": True}
    told = generate_segments(pool, dry_run=True, **asked).segments
    assert (VLAN.objects.count(), Prefix.objects.count(), ObjectChange.objects.filter(user=user).count()) == (0, 1, 0)
    made = generate_segments(pool, **asked).segments
    assert [(s.pk, s.vid, s.epg_name, str(s.prefix)) for s in told] == [
        (None, s.vid, s.epg_name, str(s.prefix)) for s in made
    ]
    assert all(segment.dhcp for segment in Segment.objects.all())


def test_user_needs_the_permission_to_add_them(pool):
    user = make_user("bob")
    with pytest.raises(PermissionDenied):
        generate_segments(pool, user=user, count=1, prefix_length=24)
    user = permit(user, Segment, "add", constraints={"vid__lt": 102})
    generate_segments(pool, user=user, count=2, prefix_length=24)
    with pytest.raises(PermissionDenied):
        generate_segments(pool, user=user, count=1, prefix_length=24)
    assert Segment.objects.count() == 2


def test_pool_that_is_gone(user, pool):
    SegmentPool.objects.get().delete()
    with pytest.raises(Busy):
        generate_segments(pool, user=user, count=1, prefix_length=24)


def test_number_of_queries_hardly_grows(user):
    counts = []
    for number, count in enumerate((30, 120)):
        pool = make_pool(scope=f"Site{number}", container=f"10.{number}.0.0/16")
        with CaptureQueriesContext(
            connection,
        ) as queries:
            generate_segments(pool, user=user, count=count, prefix_length=24)
        counts.append(len(queries))
    assert counts[1] - counts[0] <= 3
