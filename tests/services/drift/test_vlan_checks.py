import pytest

from ipam.models import VLAN, VLANGroup
from netbox_vlan_manager.models import Segment
from tests.services.drift.base import drifts, segment

pytestmark = pytest.mark.django_db


def test_vlan_renumbered(pool):
    VLAN.objects.filter(vid=101).update(vid=150)
    assert drifts() == [("vlan_renumbered", segment(101))]


def test_vlan_of_an_allocation_renumbered(pool, held):
    VLAN.objects.filter(vid=100).update(vid=150)
    assert drifts() == [("vlan_renumbered", segment(100)), ("allocation_stale", held)]


def test_segment_renumbered(pool):
    Segment.objects.filter(vid=101).update(vid=150)
    assert drifts() == [("vlan_renumbered", segment(150))]


@pytest.mark.parametrize("group", [None, "Other"])
def test_vlan_in_another_group(pool, group):
    group = group and VLANGroup.objects.create(name=group, slug="other")
    VLAN.objects.filter(vid=101).update(group=group)
    assert drifts() == [("vlan_group_changed", segment(101))]


@pytest.mark.parametrize(("ranges", "outside"), [([(101, 999)], 100), ([(1, 100), (102, 999)], 101), ([(1, 101)], 102)])
def test_vid_out_of_the_ranges(pool, ranges, outside):
    numeric_range = type(pool.vlan_group.vid_ranges[0])
    ranges = [numeric_range(first, last + 1) for first, last in ranges]
    VLANGroup.objects.filter(pk=pool.vlan_group_id).update(vid_ranges=ranges)
    assert drifts() == [("vid_out_of_range", segment(outside))]


@pytest.mark.parametrize("name", ["EPG 101", "", " EPG_101", "EPG_101\n", "ÉPG", "EPG\n101"])
def test_epg_name_invalid(pool, name):
    VLAN.objects.filter(vid=101).update(name=name)
    assert drifts() == [("epg_name_invalid", segment(101))]
