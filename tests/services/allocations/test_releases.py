"""Objects that still use a segment at its release, and the pool's setting for them."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ipam.models import IPAddress
from netbox_vlan_manager.exceptions import SegmentInUse
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import (
    allocate,
    end_quarantine,
    release,
    release_allocation,
    set_clusters,
    share,
    update_pool,
)
from netbox_vlan_manager.services.allocations.leases import expire_due
from netbox_vlan_manager.services.allocations.releases import release_warnings
from netbox_vlan_manager.services.segments.quarantine import promote_all
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(segments=2)


@pytest.fixture
def held(pool, user):
    allocation = allocate("prod-01", pool=pool, user=user).allocation
    IPAddress.objects.create(address="10.0.0.17/24", vrf=pool.vrf)
    return allocation


def policy(pool, value, **values):
    return update_pool(pool, user=make_user(), release_in_use=value, **values)


def status():
    return Segment.objects.values_list("status", "quarantined_until").get(vid=100)


def test_an_allowing_pool_releases_what_is_in_use(pool, held, user):
    assert release("prod-01", pool=pool, user=user).released
    assert status() == ("available", None)


def test_an_allowing_pool_asks_nothing(pool, user):
    allocations = [allocate(name, pool=pool, user=user).allocation for name in ("prod-01", "prod-02")]
    with CaptureQueriesContext(connection) as queries:
        release_allocation(allocations[0], user=user)
    assert not any("ipam_ipaddress" in query["sql"] for query in queries)


def test_a_refusing_pool_keeps_what_is_in_use(pool, held, user):
    pool = policy(pool, "refuse")
    with pytest.raises(SegmentInUse, match="1 IP address"):
        release("prod-01", pool=pool, user=make_user("root", is_superuser=True))
    # A user who may not view the addresses learns neither which nor how many there are.
    with pytest.raises(SegmentInUse) as caught:
        release("prod-01", pool=pool, user=user)
    assert "IP address" not in str(caught.value)
    assert Allocation.objects.active().get() == held
    assert status() == ("allocated", None)

    IPAddress.objects.all().delete()
    assert release("prod-01", pool=pool, user=user).released
    assert status() == ("available", None)


def test_a_quarantining_pool_keeps_it_until_a_user_ends_that(pool, held, user):
    pool = policy(pool, "quarantine", cooldown=1)
    release("prod-01", pool=pool, user=user)
    assert status() == ("quarantined", None)

    promote_all()
    assert allocate("prod-02", pool=pool, user=user).allocation.vid == 101
    # The cluster that held the segment gets it back.
    assert allocate("prod-01", pool=pool, user=user).allocation.vid == 100

    release("prod-01", pool=pool, user=user)
    end_quarantine(Segment.objects.get(vid=100), user=user)
    assert status() == ("available", None)


@pytest.mark.parametrize("value", ["quarantine", "refuse"])
def test_what_nothing_uses_is_released_as_ever(pool, user, value):
    pool = policy(pool, value)
    allocate("prod-01", pool=pool, user=user)
    release("prod-01", pool=pool, user=user)
    assert status() == ("available", None)


@pytest.mark.parametrize(
    ("value", "expected"), [("allow", "available"), ("quarantine", "quarantined"), ("refuse", "quarantined")]
)
def test_a_lease_that_is_over_ends(pool, held, value, expected):
    policy(pool, value)
    Allocation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert expire_due() == 1
    assert status() == (expected, None)


def test_one_of_several_clusters_leaves(pool, held, user):
    """The segment stays allocated, so that no other cluster gets its devices and addresses."""
    pool = policy(pool, "refuse")
    share(held.segment, "prod-02", user=user)
    assert release("prod-01", pool=pool, user=user).released
    with pytest.raises(SegmentInUse):
        release("prod-02", pool=pool, user=user)


def test_set_clusters(pool, held, user):
    policy(pool, "refuse")
    segment = Segment.objects.get(vid=100)
    set_clusters(segment, ["prod-02"], user=user)
    with pytest.raises(SegmentInUse):
        set_clusters(segment, [], user=user)
    assert Allocation.objects.active().get().cluster_name == "prod-02"

    policy(pool, "quarantine")
    set_clusters(Segment.objects.get(vid=100), [], user=user)
    assert status() == ("quarantined", None)


def test_dry_run(pool, held, user):
    allocation, released = release_allocation(held, user=user, dry_run=True)
    assert released
    assert allocation.released_at
    assert Allocation.objects.active().get() == held
    assert status() == ("allocated", None)


def test_warnings_tell_what_the_user_may_view(pool, held, user):
    root = make_user("root", is_superuser=True)
    assert release_warnings([held], root) == {
        held.segment_id: "VLAN 100 (EPG_100, 10.0.0.0/24) is still used by 1 IP address."
    }
    assert "something that you may not view" in release_warnings([held], user)[held.segment_id]
    user = permit(user, IPAddress, "view", constraints={"address__net_host_contained": "10.0.0.0/24"})
    IPAddress.objects.create(address="10.0.0.18/24", vrf=pool.vrf)
    assert "2 IP addresses" in release_warnings([held], user)[held.segment_id]


def test_warnings_take_as_many_queries_for_many_as_for_one(pool, held, user):
    allocations = [held, allocate("prod-02", pool=pool, user=user).allocation]
    counts = []
    # Fills NetBox's content-type cache, which lasts as long as the process.
    release_warnings(allocations, user)
    for some in (allocations[:1], allocations):
        with CaptureQueriesContext(connection) as queries:
            release_warnings(some, user)
        counts.append(len(queries))
    assert counts[0] == counts[1]
    with CaptureQueriesContext(connection) as queries:
        assert release_warnings([], user) == {}
    assert len(queries) == 0
