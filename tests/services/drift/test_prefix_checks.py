import pytest

from ipam.models import VRF, Prefix
from tests.services.drift.base import drifts, segment

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("vrf", [None, "Other"])
def test_prefix_in_another_vrf(pool, vrf):
    vrf = vrf and VRF.objects.create(name=vrf)
    Prefix.objects.filter(prefix="10.0.1.0/24").update(vrf=vrf)
    assert drifts() == [("prefix_vrf_changed", segment(101))]


def test_prefix_of_another_vlan(pool):
    Prefix.objects.filter(prefix="10.0.1.0/24").update(vlan=segment(102).vlan)
    # The other segment is available, and its VLAN has a prefix that is not its own.
    assert drifts() == [("prefix_vlan_changed", segment(101)), ("segment_in_use", segment(102))]


def test_prefix_of_no_vlan(pool):
    Prefix.objects.filter(prefix="10.0.1.0/24").update(vlan=None)
    assert drifts() == [("prefix_vlan_changed", segment(101))]


def test_prefix_outside_the_containers(pool):
    Prefix.objects.filter(prefix="10.0.1.0/24").update(prefix="10.9.0.0/24")
    assert drifts() == [("prefix_outside_containers", segment(101))]


def test_prefix_around_the_container(pool):
    Prefix.objects.filter(prefix="10.0.0.0/16").update(prefix="10.0.0.0/23")
    assert drifts() == [("prefix_outside_containers", segment(102))]


def test_prefix_inside_another(pool):
    Prefix.objects.filter(prefix="10.0.1.0/24").update(prefix="10.0.2.0/25")
    assert drifts() == [("prefix_overlap", segment(102))]


def test_prefix_twice(pool):
    Prefix.objects.filter(prefix="10.0.1.0/24").update(prefix="10.0.2.0/24")
    assert drifts() == [("prefix_overlap", segment(101)), ("prefix_overlap", segment(102))]
