from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from core.models import ObjectChange
from netbox_vlan_manager.exceptions import LimitReached, PoolExhausted, PoolPaused, VIDUnavailable
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    allocate_many,
    allocate_stretched,
    end_quarantine,
    release,
    release_allocation,
    renew,
    set_clusters,
    share,
)
from netbox_vlan_manager.services.allocations.allocation import clean_request
from netbox_vlan_manager.services.allocations.leases import expire_due, warn_expiring
from netbox_vlan_manager.services.drift.findings import find_drift
from netbox_vlan_manager.services.reporting.thresholds import refresh
from netbox_vlan_manager.services.segments.quarantine import promote_all
from tenancy.models import Tenant
from tests.factories import make_pool, make_segment, make_user
from virtualization.models import Cluster, ClusterType

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice")


@pytest.fixture
def pool():
    return make_pool(segments=5)


@pytest.fixture(autouse=True)
def no_drift():
    """Whatever a test does leaves nothing that does not fit."""
    yield
    assert find_drift() == []


def configure(pool, **values):
    SegmentPool.objects.filter(pk=pool.pk).update(**values)
    return SegmentPool.objects.get(pk=pool.pk)


def status_of(vid):
    return Segment.objects.get(vid=vid).status


@pytest.mark.parametrize(
    ("asked", "vid"),
    [
        ({"vid": 103}, 103),
        ({"vid": "103"}, 103),
        ({"vid_min": 102}, 102),
        ({"vid_min": 101, "vid_max": 103}, 101),
        ({"vid_max": 101}, 100),
        ({"prefix_length": 24}, 100),
        ({"prefix_length": 24, "vid_min": 104}, 104),
    ],
)
def test_a_say_in_which(pool, user, asked, vid):
    assert allocate("a", pool=pool, user=user, **asked).allocation.vid == vid


def test_a_given_segment(pool, user):
    segment = Segment.objects.get(vid=102)
    assert allocate("a", pool=pool, user=user, segment=segment).allocation.segment == segment


def test_a_prefix_length(pool, user):
    make_segment(pool, 110, prefix="10.0.200.0/26")
    assert allocate("a", pool=pool, user=user, prefix_length=26).allocation.vid == 110
    with pytest.raises(PoolExhausted, match="with a /26"):
        allocate("b", pool=pool, user=user, prefix_length=26)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"vid": 0}, "vid"),
        ({"vid": 4095}, "vid"),
        ({"vid": "x"}, "vid"),
        ({"vid": 100, "vid_min": 100}, "vid"),
        ({"vid_min": 104, "vid_max": 100}, "vid_max"),
        ({"prefix_length": 0}, "prefix_length"),
        ({"prefix_length": 129}, "prefix_length"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expires_at"),
        ({"expires_at": timezone.now() + timedelta(days=5000)}, "expires_at"),
        ({"expires_at": timezone.now().replace(tzinfo=None) + timedelta(days=1)}, "expires_at"),
    ],
)
def test_wishes_that_are_not_valid(pool, user, asked, field):
    with pytest.raises(ValidationError) as error:
        allocate("a", pool=pool, user=user, **asked)
    assert list(error.value.message_dict) == [field]
    assert not Allocation.objects.exists()


def test_unavailable_vids_say_why_but_not_who(pool, user):
    allocate("secret-holder", pool=pool, user=user, vid=100)
    Segment.objects.filter(vid=101).update(status="disabled")
    until = timezone.now() + timedelta(hours=1)
    Segment.objects.filter(vid=102).update(status="quarantined", quarantined_until=until)
    for vid, text in (
        (100, "is allocated to another cluster"),
        (101, "disabled"),
        (102, "quarantined until"),
        (999, "no segment"),
    ):
        with pytest.raises(VIDUnavailable, match=text) as error:
            allocate("b", pool=pool, user=user, vid=vid)
        assert "secret-holder" not in str(error.value)


def test_a_cluster_that_holds_another_one(pool, user):
    allocate("a", pool=pool, user=user, vid=100)
    assert not allocate("a", pool=pool, user=user, vid=100).created
    assert not allocate("a", pool=pool, user=user, vid_min=100, prefix_length=24).created
    for asked in ({"vid": 101}, {"vid_min": 101}, {"vid_max": 99}, {"prefix_length": 25}):
        with pytest.raises(VIDUnavailable, match="holds VLAN ID 100"):
            allocate("a", pool=pool, user=user, **asked)
    assert allocate("a", pool=pool, user=user, vid=101, purpose="storage").created


def test_orders(pool, user):
    pool = configure(pool, allocation_order="highest")
    assert allocate("a", pool=pool, user=user).allocation.vid == 104

    pool = configure(pool, allocation_order="least-recently-used")
    for name in ("b", "c", "d", "e"):
        allocate(name, pool=pool, user=user)
    for name in ("c", "a", "b", "d", "e"):
        release(name, pool=pool, user=user)
    # In the order in which they were released.
    vids = [allocate(name, pool=pool, user=user).allocation.vid for name in "vwxyz"]
    assert vids == [101, 104, 100, 102, 103]


def test_random_order(pool, user):
    pool = configure(pool, allocation_order="random")
    firsts = set()
    for _try in range(40):
        firsts.add(allocate("a", pool=pool, user=user).allocation.vid)
        release("a", pool=pool, user=user)
    # All five the same in forty tries happens once in 10**27.
    assert len(firsts) > 1


def test_share_and_release_one_by_one(pool, user):
    first = allocate("a", pool=pool, user=user).allocation
    second, created = share(first.segment, "b", user=user)
    assert created
    assert second.shared
    assert second.segment == first.segment
    assert not share(first.segment, "B", user=user).created

    assert release("a", pool=pool, user=user).released
    assert status_of(100) == "allocated"
    assert share(first.segment, "c", user=user).allocation.shared
    release("b", pool=pool, user=user)
    assert status_of(100) == "allocated"
    release("c", pool=pool, user=user)
    assert status_of(100) == "available"


def test_sharing_what_is_not_held_allocates_it(pool, user):
    result = share(Segment.objects.get(vid=103), "a", user=user)
    assert not result.allocation.shared
    assert status_of(103) == "allocated"


def test_sharing_is_refused(pool, user):
    held = allocate("a", pool=pool, user=user).allocation
    allocate("b", pool=pool, user=user)
    with pytest.raises(VIDUnavailable, match="holds VLAN ID 101"):
        share(held.segment, "b", user=user)
    assert share(held.segment, "b", user=user, purpose="storage").created
    Segment.objects.filter(vid=104).update(status="disabled")
    with pytest.raises(VIDUnavailable, match="disabled"):
        share(Segment.objects.get(vid=104), "c", user=user)
    with pytest.raises(PoolPaused):
        share(
            Segment.objects.select_related("pool").get(pool=configure(pool, status="paused"), vid=103), "c", user=user
        )


def test_set_clusters(pool, user):
    pool = configure(pool, cooldown=60)
    segment = Segment.objects.get(vid=100)
    names = lambda: sorted(Allocation.objects.active().filter(segment=segment).values_list("cluster_name", flat=True))  # noqa: E731
    set_clusters(segment, ["a", "b"], user=user)
    assert names() == ["a", "b"]
    results = set_clusters(segment, ["b", "c"], user=user)
    assert [result.created for result in results] == [False, True]
    assert names() == ["b", "c"]
    set_clusters(segment, ["d"], user=user)
    assert names() == ["d"]
    set_clusters(segment, [], user=user)
    assert names() == []
    assert status_of(100) == "quarantined"
    with pytest.raises(ValidationError, match="twice"):
        set_clusters(segment, ["a", "A"], user=user)


def test_many_or_none(pool, user):
    other = make_pool("Network2", container="10.1.0.0/16", segments=1)
    requests = [clean_request("a", pool=pool), clean_request("a", pool=other), clean_request("b", pool=pool)]
    results = allocate_many(requests, user=user)
    assert [(result.allocation.pool, result.allocation.vid) for result in results] == [
        (pool, 100),
        (other, 100),
        (pool, 101),
    ]
    assert not any(result.created for result in allocate_many(requests, user=user))

    with pytest.raises(PoolExhausted):
        allocate_many([clean_request("c", pool=pool), clean_request("c", pool=other)], user=user)
    assert not Allocation.objects.filter(cluster_name="c").exists()


def test_dry_runs_change_nothing(pool, user):
    def state():
        return (
            list(Segment.objects.values_list("vid", "status")),
            Allocation.objects.count(),
            ObjectChange.objects.count(),
        )

    allocate("held", pool=pool, user=user)
    before = state()
    assert allocate("held", pool=pool, user=user, dry_run=True).created is False
    result = allocate("a", pool=pool, user=user, dry_run=True)
    assert (result.created, result.allocation.vid, result.allocation.pk) == (True, 101, None)
    requests = [clean_request(name, pool=pool) for name in "abc"]
    assert [one.allocation.vid for one in allocate_many(requests, user=user, dry_run=True)] == [101, 102, 103]
    assert share(Segment.objects.get(vid=100), "b", user=user, dry_run=True).allocation.shared
    set_clusters(Segment.objects.get(vid=100), [], user=user, dry_run=True)
    assert state() == before


def test_stretched(user):
    pools = [make_pool("Network1", f"Site{number}", container=f"10.{number}.0.0/16", segments=4) for number in range(3)]
    allocate("x", pool=pools[0], user=user, vid=100)
    allocate("y", pool=pools[2], user=user, vid=101)
    results = allocate_stretched("a", pools=pools, user=user)
    assert [result.allocation.vid for result in results] == [102, 102, 102]
    assert not any(result.created for result in allocate_stretched("a", pools=pools, user=user))
    assert [r.allocation.vid for r in allocate_stretched("b", pools=pools, vid=103, user=user, dry_run=True)] == [
        103
    ] * 3

    with pytest.raises(VIDUnavailable, match="101 is not available"):
        allocate_stretched("b", pools=pools, vid=101, user=user)
    allocate("b", pool=pools[1], user=user, vid=103)
    # It gets what it has at one site at the others as well.
    assert [r.allocation.vid for r in allocate_stretched("b", pools=pools, user=user)] == [103] * 3
    with pytest.raises(PoolExhausted, match="one VLAN ID"):
        allocate_stretched("c", pools=pools, user=user)
    assert not Allocation.objects.filter(cluster_name="c").exists()
    with pytest.raises(ValidationError):
        allocate_stretched("c", pools=pools[:1], user=user)
    with pytest.raises(ValidationError):
        allocate_stretched("c", pools=[pools[0], pools[0]], user=user)


def test_stretched_over_different_vids(user):
    pools = [make_pool("Network1", f"Site{number}", container=f"10.{number}.0.0/16", segments=4) for number in range(2)]
    allocate("a", pool=pools[0], user=user, vid=100)
    allocate("a", pool=pools[1], user=user, vid=101)
    with pytest.raises(VIDUnavailable, match="different VLAN IDs"):
        allocate_stretched("a", pools=pools, user=user)


def test_cooldown(pool, user):
    pool = configure(pool, cooldown=3600)
    allocate("a", pool=pool, user=user)
    release("a", pool=pool, user=user)
    segment = Segment.objects.get(vid=100)
    assert segment.status == "quarantined"
    assert timedelta(minutes=59) < segment.quarantined_until - timezone.now() < timedelta(minutes=61)
    assert allocate("b", pool=pool, user=user).allocation.vid == 101
    # The same again for who had it.
    assert allocate("A", pool=pool, user=user).allocation.vid == 100
    assert Segment.objects.get(vid=100).quarantined_until is None


def test_same_again_only_within_the_wish_and_purpose(pool, user):
    pool = configure(pool, cooldown=3600)
    allocate("a", pool=pool, user=user)
    release("a", pool=pool, user=user)
    assert allocate("a", pool=pool, user=user, purpose="storage").allocation.vid == 101
    assert allocate("a", pool=pool, user=user, vid=103).allocation.vid == 103


def test_promotion(pool, user):
    pool = configure(pool, cooldown=3600)
    for name in "abcde":
        allocate(name, pool=pool, user=user)
    for name in "ab":
        release(name, pool=pool, user=user)
    with pytest.raises(PoolExhausted):
        allocate("x", pool=pool, user=user)
    assert promote_all() == 0
    Segment.objects.filter(status="quarantined").update(quarantined_until=timezone.now() - timedelta(seconds=1))
    # Before any job has run.
    assert allocate("x", pool=pool, user=user).allocation.vid == 100
    assert status_of(101) == "available"
    release("x", pool=pool, user=user)
    Segment.objects.filter(status="quarantined").update(quarantined_until=timezone.now() - timedelta(seconds=1))
    assert promote_all() == 1
    assert promote_all() == 0
    change = ObjectChange.objects.filter(changed_object_type__model="segment").latest("pk")
    assert (change.user, change.user_name) == (None, "system")
    assert change.postchange_data["status"] == "available"


def test_end_quarantine(pool, user):
    pool = configure(pool, cooldown=3600)
    allocate("a", pool=pool, user=user)
    release("a", pool=pool, user=user)
    segment = end_quarantine(Segment.objects.get(vid=100), user=user, changelog_message="Ticket 1")
    assert (segment.status, segment.quarantined_until) == ("available", None)
    assert ObjectChange.objects.latest("pk").message == "Ticket 1"
    changes = ObjectChange.objects.count()
    end_quarantine(segment, user=user)
    assert ObjectChange.objects.count() == changes


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
    # The job has read it as due; by the time it has the lock it is not.
    assert not release_allocation(held, user=None, reason="expired", if_due=True).released
    assert renew(held, user=user, expires_at=None).expires_at is None
    assert not release_allocation(held, user=None, reason="expired", if_due=True).released


def test_release_tells_its_reason(pool, user):
    allocate("a", pool=pool, user=user)
    assert release("a", pool=pool, user=user).allocation.release_reason == "released"


def test_limits(pool, user):
    tenant = Tenant.objects.create(name="Tenant", slug="tenant")
    kind = ClusterType.objects.create(name="K8s", slug="k8s")
    for name in ("t1", "t2", "t3"):
        Cluster.objects.create(name=name, type=kind, tenant=tenant)
    pool = configure(pool, max_per_cluster=2, max_per_tenant=3, max_per_request=2)
    allocate("t1", pool=pool, user=user)
    allocate("T1", pool=pool, user=user, purpose="storage")
    with pytest.raises(LimitReached, match="allows a cluster 2"):
        allocate("t1", pool=pool, user=user, purpose="bmc")
    allocate("t2", pool=pool, user=user)
    with pytest.raises(LimitReached, match="allows a tenant 3"):
        allocate("t3", pool=pool, user=user)
    assert not allocate("t2", pool=pool, user=user).created
    with pytest.raises(LimitReached, match="One request may allocate 2"):
        allocate_many([clean_request(name, pool=pool) for name in "xyz"], user=user)
    assert len(allocate_many([clean_request(name, pool=pool) for name in "xy"], user=user)) == 2


def test_levels_are_told_once(pool, user):
    pool = configure(pool, warning_threshold=40, critical_threshold=80)
    levels = []
    for name in "abcde":
        allocate(name, pool=pool, user=user)
        levels.append([changed.level for changed in refresh()])
    assert levels == [[], ["warning"], [], ["critical"], ["exhausted"]]
    assert refresh() == []
    with pytest.raises(PoolExhausted):
        allocate("f", pool=pool, user=user)
    for name in "abcd":
        release(name, pool=pool, user=user)
    assert [changed.level for changed in refresh()] == ["normal"]


@contextmanager
def moved(**by):
    """The clock is another one by so much."""
    now = timezone.now
    with patch("django.utils.timezone.now", lambda: now() + timedelta(**by)):
        yield


YEAR = 365 * 86400


@pytest.mark.parametrize("cooldown", [1, 3600, YEAR, 2**31 - 1])
@pytest.mark.parametrize("days", [0, -1, -400])
def test_a_clock_that_goes_back_shortens_no_cool_down(pool, user, cooldown, days):
    pool = configure(pool, cooldown=cooldown)
    held = allocate("a", pool=pool, user=user).allocation
    with moved(days=days):
        ended = release("a", pool=pool, user=user).allocation
        segment = Segment.objects.get(vid=100)
        assert ended.released_at >= held.allocated_at
        assert segment.status == "quarantined"
        assert segment.quarantined_until - ended.released_at == timedelta(seconds=cooldown)
        assert segment.last_released_at == ended.released_at
        if days:
            # By the moved clock it has only begun.
            assert promote_all() == 0
            # Whoever had it gets it all the same.
            assert allocate("a", pool=pool, user=user).allocation.vid == 100
            release("a", pool=pool, user=user)
    with moved(seconds=cooldown + 1):
        assert promote_all() == 1
    assert status_of(100) == "available"


def test_no_cool_down_is_no_time_at_all(pool, user):
    pool = configure(pool, cooldown=0)
    allocate("a", pool=pool, user=user)
    with moved(days=-1):
        release("a", pool=pool, user=user)
    segment = Segment.objects.get(vid=100)
    assert (segment.status, segment.quarantined_until) == ("available", None)
    assert allocate("b", pool=pool, user=user).allocation.vid == 100


def test_a_cool_down_that_is_changed_holds_for_the_next_release(pool, user):
    pool = configure(pool, cooldown=YEAR)
    for name in "ab":
        allocate(name, pool=pool, user=user)
    release("a", pool=pool, user=user)
    pool = configure(pool, cooldown=0)
    release("b", pool=pool, user=user)
    assert (status_of(100), status_of(101)) == ("quarantined", "available")
    with moved(days=364):
        assert promote_all() == 0
    with moved(days=366):
        assert promote_all() == 1


def test_a_clock_that_goes_back_ends_no_lease_early(pool, user):
    held = allocate("a", pool=pool, user=user, expires_at=timezone.now() + timedelta(days=365)).allocation
    with moved(days=-30):
        assert (warn_expiring(), expire_due()) == (0, 0)
        # A year and a month from the moved clock's now; what is past for it is refused.
        assert renew(held, user=user, expires_at=held.expires_at + timedelta(days=30))
        with pytest.raises(ValidationError):
            renew(held, user=user, expires_at=timezone.now())
    # The database's clock says what is over.
    now = timezone.now()
    Allocation.objects.update(allocated_at=now - timedelta(days=396), expires_at=now - timedelta(seconds=1))
    assert expire_due() == 1
    with moved(days=-30):
        # It is over, whatever the clock says now.
        assert expire_due() == 0
        assert not release_allocation(held, user=user).released
    ended = Allocation.objects.get(pk=held.pk)
    assert ended.release_reason == "expired"
    assert ended.released_at > ended.expires_at > ended.allocated_at


def test_a_lease_that_ends_while_the_clock_is_before_its_beginning(pool, user):
    held = allocate("a", pool=pool, user=user, expires_at=timezone.now() + timedelta(minutes=5)).allocation
    Allocation.objects.filter(pk=held.pk).update(expires_at=timezone.now() - timedelta(days=2))
    with moved(days=-1):
        assert expire_due() == 1
    ended = Allocation.objects.get(pk=held.pk)
    assert ended.released_at == ended.allocated_at
