from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from netbox_vlan_manager.models import Allocation
from netbox_vlan_manager.services import allocate, release_allocation, renew
from netbox_vlan_manager.services.allocations.leases import expire_due, warn_expiring
from tests.services.allocations.base import moved, status_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_drift")]


def test_leases(pool, user):
    soon = timezone.now() + timedelta(minutes=5)
    held = allocate("a", pool=pool, user=user, expires_at=soon).allocation
    allocate("b", pool=pool, user=user, expires_at=timezone.now() + timedelta(days=365))
    allocate("c", pool=pool, user=user)
    assert expire_due() == 0
    assert warn_expiring() == 1
    assert warn_expiring() == 0

    later = timezone.now() + timedelta(days=30)
    assert renew(held, user=user, expires_at=later).expires_at == later
    assert not Allocation.objects.get(pk=held.pk).expiry_warned
    Allocation.objects.filter(pk=held.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert expire_due() == 1
    assert expire_due() == 0
    ended = Allocation.objects.get(pk=held.pk)
    assert (ended.release_reason, ended.released_by, ended.status) == ("expired", None, "released")
    assert status_of(100) == "available"
    with pytest.raises(ValidationError, match="was released"):
        renew(ended, user=user, expires_at=later)


def test_renewed_while_the_job_runs(pool, user):
    held = allocate("a", pool=pool, user=user, expires_at=timezone.now() + timedelta(minutes=5)).allocation
    # The job read the lease as due, but it was renewed before the job got the lock.
    assert not release_allocation(held, user=None, reason="expired", if_due=True).released
    assert renew(held, user=user, expires_at=None).expires_at is None
    assert not release_allocation(held, user=None, reason="expired", if_due=True).released


def test_a_clock_that_goes_back_ends_no_lease_early(pool, user):
    held = allocate("a", pool=pool, user=user, expires_at=timezone.now() + timedelta(days=365)).allocation
    with moved(days=-30):
        assert (warn_expiring(), expire_due()) == (0, 0)
        # 13 months from Python's moved clock, which refuses earlier times as past.
        assert renew(held, user=user, expires_at=held.expires_at + timedelta(days=30))
        with pytest.raises(ValidationError):
            renew(held, user=user, expires_at=timezone.now())
    # The database's clock decides.
    now = timezone.now()
    Allocation.objects.update(allocated_at=now - timedelta(days=396), expires_at=now - timedelta(seconds=1))
    assert expire_due() == 1
    with moved(days=-30):
        # The lease has ended, independent of Python's clock.
        assert expire_due() == 0
        assert not release_allocation(held, user=user).released
    ended = Allocation.objects.get(pk=held.pk)
    assert ended.release_reason == "expired"
    assert ended.released_at > ended.expires_at > ended.allocated_at


def test_a_lease_that_ends_while_the_clock_is_before_its_start(pool, user):
    held = allocate("a", pool=pool, user=user, expires_at=timezone.now() + timedelta(minutes=5)).allocation
    Allocation.objects.filter(pk=held.pk).update(expires_at=timezone.now() - timedelta(days=2))
    with moved(days=-1):
        assert expire_due() == 1
    ended = Allocation.objects.get(pk=held.pk)
    assert ended.released_at == ended.allocated_at
