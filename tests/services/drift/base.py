"""Helpers of the drift tests: writes that the database would refuse, and the findings."""

from contextlib import contextmanager

from django.db import connection

from core.models import ObjectChange
from ipam.models import Prefix
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.drift.findings import find_drift
from tests.factories import make_pool, make_user

__all__ = (
    "Allocation",
    "drifts",
    "kinds",
    "make_dual_stack_pool",
    "make_held_pool",
    "make_user",
    "segment",
    "statuses",
    "unguarded",
)


def make_held_pool(user):
    pool = make_pool(segments=3)
    allocate("prod-01", pool=pool, user=user)
    return pool


def make_dual_stack_pool(user):
    pool = make_pool(segments=3)
    pool.prefixes.add(Prefix.objects.create(prefix="2001:db8::/48", vrf=pool.vrf, status="container"))
    for number, segment in enumerate(Segment.objects.all()):
        prefix = Prefix.objects.create(prefix=f"2001:db8:0:{number}::/64", vrf=pool.vrf, vlan=segment.vlan)
        Segment.objects.filter(pk=segment.pk).update(ipv6_prefix=prefix)
    allocate("prod-01", pool=pool, user=user)
    ObjectChange.objects.all().delete()
    assert find_drift() == []
    return pool


@contextmanager
def unguarded(*without):
    """Let the block write values that the database refuses: disables the triggers and drops the given indexes."""
    tables = [model._meta.db_table for model in (Segment, Allocation)]
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for name in without:
            cursor.execute(f"DROP INDEX netbox_vlan_manager_{name}")
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def drifts():
    """Return the found drift, as (kind, object) pairs."""
    return [(drift.kind, drift.object) for drift in find_drift()]


def segment(vid):
    return Segment.objects.get(vid=vid)


def kinds():
    return [found.kind for found in find_drift()]


def statuses(results):
    return [result.status for result in results]
