import pytest

from dcim.models import Region, Site
from ipam.models import VRF
from netbox_vlan_manager.models import SegmentPool
from netbox_vlan_manager.services.drift.findings import find_drift
from tests.factories import make_pool, make_site
from tests.services.drift.base import drifts

pytestmark = pytest.mark.django_db


def test_scope_that_is_gone(pool):
    SegmentPool.objects.update(scope_id=0)
    assert drifts() == [("pool_scope", pool)]


def test_scope_that_was_changed_behind_the_pool_s_back(pool):
    SegmentPool.objects.update(scope_id=make_site("Site2").pk)
    assert drifts() == [("pool_places", pool)]


def test_place_of_the_scope_that_the_pool_does_not_know(pool):
    region = Region.objects.create(name="North", slug="north")
    Site.objects.update(region=region)
    assert find_drift() == []
    SegmentPool.objects.update(_region=None)
    assert drifts() == [("pool_places", pool)]


def test_container_in_another_vrf():
    pool = make_pool()
    pool.prefixes.update(vrf=VRF.objects.create(name="Other"))
    assert drifts() == [("container_vrf", pool)]


def test_container_that_is_none():
    pool = make_pool()
    pool.prefixes.update(status="active")
    assert drifts() == [("container_status", pool)]


def test_pool_without_containers():
    pool = make_pool()
    SegmentPool.prefixes.through.objects.filter(segmentpool=pool).delete()
    assert drifts() == [("container_missing", pool)]
