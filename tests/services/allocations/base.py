"""Helpers of the tests of allocations."""

from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import patch

from django.utils import timezone

from netbox_vlan_manager.models import Segment, SegmentPool


def configure(pool, **values):
    """Change values of `pool` in the database, and return the reloaded pool."""
    SegmentPool.objects.filter(pk=pool.pk).update(**values)
    return SegmentPool.objects.get(pk=pool.pk)


def status_of(vid):
    return Segment.objects.get(vid=vid).status


@contextmanager
def moved(**by):
    """Move Python's clock within the block, by the arguments of a timedelta."""
    now = timezone.now
    with patch("django.utils.timezone.now", lambda: now() + timedelta(**by)):
        yield
