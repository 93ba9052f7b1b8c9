"""Helpers of the tests of pool operations: pools, a device, and checks of the changes."""

from django.db import connection

from core.models import ObjectChange
from dcim.models import Device, DeviceRole, DeviceType, Manufacturer
from ipam.models import VLAN, Prefix, VLANGroup
from netbox_vlan_manager.models import Allocation, PoolSnapshot, Segment, SegmentPool
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_site


def make_pair(**fields):
    """Return two pools of one VRF with different VLAN IDs and EPG names."""
    pool = make_pool(segments=3)
    into = make_pool(scope="Site2", container="10.1.0.0/16", vid_ranges=((100, 999),), **fields)
    for index in range(2):
        make_segment(into, 500 + index, index)
    return pool, into


def make_device():
    kind = DeviceType.objects.create(manufacturer=Manufacturer.objects.create(name="M", slug="m"), model="D", slug="d")
    role = DeviceRole.objects.create(name="R", slug="r")
    return Device.objects.create(name="leaf", device_type=kind, role=role, site=make_site())


def check():
    """Run the deferred trigger, and check that there is no drift."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
    assert [drift.message for drift in find_drift()] == []


def texts(conflicts):
    return [conflict.message for conflict in conflicts]


def state():
    """Return all rows that an operation may change."""
    return [
        list(model.objects.order_by("pk").values_list())
        for model in (SegmentPool, Segment, Allocation, VLAN, Prefix, VLANGroup, ObjectChange, PoolSnapshot)
    ] + [list(SegmentPool.prefixes.through.objects.order_by("pk").values_list())]
