"""An expired lease has ended in every read and write, even if the job has not released it yet."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db.models import F
from django.utils import timezone

from core.models import ObjectChange
from netbox_vlan_manager.exceptions import AllocationNotFound, LimitReached, PoolExhausted, PoolPaused, VIDUnavailable
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import (
    allocate,
    allocate_many,
    allocate_stretched,
    disable_segment,
    release,
    release_allocation,
    renew,
    set_clusters,
    share,
)
from netbox_vlan_manager.services.allocations.leases import expire_due, warn_expiring
from netbox_vlan_manager.services.allocations.requests import AllocationRequest
from netbox_vlan_manager.services.pools.retiring import retire_pool
from netbox_vlan_manager.services.reporting.export import segment_rows
from netbox_vlan_manager.services.reporting.vlan_map import vlan_map
from netbox_vlan_manager.services.segments.segment_columns import EXPORTED
from tenancy.models import Tenant
from tests.api.base import client_of, url_of
from tests.drift import find_drift
from tests.factories import make_pool, make_user
from tests.services.allocations.base import configure
from virtualization.models import Cluster, ClusterType

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def user():
    return make_user("alice", is_superuser=True)


@pytest.fixture
def pool():
    return make_pool(segments=2)


@pytest.fixture(autouse=True)
def no_drift():
    yield
    assert find_drift() == []


def make_overdue(cluster_name, pool, user, **asked):
    """Return an allocation that expired a second ago and is not released yet."""
    allocation = allocate(cluster_name, pool=pool, user=user, **asked).allocation
    Allocation.objects.filter(pk=allocation.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    return Allocation.objects.select_related("pool", "segment__pool").get(pk=allocation.pk)


def assert_expired(allocation):
    allocation.refresh_from_db()
    assert allocation.released_at is not None
    assert (allocation.release_reason, allocation.released_by) == ("expired", None)


@pytest.mark.parametrize("cooldown", [0, 3600])
def test_a_new_allocation_of_its_own_segment(pool, user, cooldown):
    pool = configure(pool, cooldown=cooldown)
    allocate("other", pool=pool, user=user)
    over = make_overdue("a", pool, user)
    # The lowest VLAN ID is available too, but the cluster gets its own back.
    release("other", pool=pool, user=user)

    expires_at = timezone.now() + HOUR
    result = allocate("A", pool=pool, user=user, expires_at=expires_at)
    assert result.created
    assert result.allocation.pk != over.pk
    assert (result.allocation.vid, result.allocation.expires_at) == (over.vid, expires_at)
    assert_expired(over)
    assert allocate("a", pool=pool, user=user).allocation == result.allocation
    assert [one.pk for one in Allocation.objects.active()] == [result.allocation.pk]


def test_another_one_where_another_is_wanted(pool, user):
    over = make_overdue("a", pool, user)
    assert allocate("a", pool=pool, user=user, vid=101).allocation.vid == 101
    assert_expired(over)
    assert Segment.objects.get(vid=100).status == "available"


def test_another_one_where_others_share_its_own(pool, user):
    over = make_overdue("a", pool, user)
    share(over.segment, "b", user=user)
    assert allocate("a", pool=pool, user=user).allocation.vid == 101
    assert_expired(over)
    assert [one.cluster_name for one in over.segment.allocations.active()] == ["b"]


def test_a_dry_run_shows_it_and_leaves_it(pool, user):
    over = make_overdue("a", pool, user)
    result = allocate("a", pool=pool, user=user, dry_run=True)
    assert (result.created, result.allocation.pk, result.allocation.vid) == (True, None, over.vid)
    over.refresh_from_db()
    assert over.released_at is None


def test_a_paused_pool_gives_nothing_more(pool, user):
    make_overdue("a", pool, user)
    with pytest.raises(PoolPaused):
        allocate("a", pool=configure(pool, status="paused"), user=user)


def test_a_list_is_served_the_same_way(pool, user):
    over = [make_overdue(name, pool, user) for name in "ab"]
    results = allocate_many([AllocationRequest.clean(name, pool=pool) for name in "ba"], user=user)
    assert [(result.created, result.allocation.vid) for result in results] == [(True, 101), (True, 100)]
    for one in over:
        assert_expired(one)


def test_the_change_log_has_the_caller_and_the_event_the_expiry(pool, user):
    over = make_overdue("a", pool, user)
    allocate("a", pool=pool, user=user)
    change = ObjectChange.objects.filter(changed_object_id=over.pk, changed_object_type__model="allocation").latest(
        "pk"
    )
    assert (change.user, change.postchange_data["release_reason"]) == (user, "expired")


def test_a_full_pool_has_what_is_over(pool, user):
    over = [make_overdue(name, pool, user) for name in "ab"]
    assert allocate("c", pool=pool, user=user).allocation.vid == 100
    assert_expired(over[0])
    assert allocate("d", pool=pool, user=user, vid=101).allocation.vid == 101
    assert_expired(over[1])
    with pytest.raises(PoolExhausted):
        allocate("e", pool=pool, user=user)


def test_a_pool_that_grows_takes_it_back_first(user):
    pool = make_pool(segments=1, auto_grow=True, grow_prefix_length=24)
    make_overdue("a", pool, user)
    assert allocate("b", pool=pool, user=user).allocation.vid == 100
    assert Segment.objects.count() == 1


def test_what_others_still_share_is_not_to_be_had(pool, user):
    over = make_overdue("a", pool, user)
    share(over.segment, "b", user=user)
    allocate("c", pool=pool, user=user)
    with pytest.raises(PoolExhausted):
        allocate("d", pool=pool, user=user)


def test_with_a_cool_down_it_is_not_to_be_had_yet(pool, user):
    pool = configure(pool, cooldown=3600)
    for name in "ab":
        make_overdue(name, pool, user)
    with pytest.raises(PoolExhausted):
        allocate("c", pool=pool, user=user)
    assert expire_due() == 2


def test_available_ones_come_first(pool, user):
    over = make_overdue("a", pool, user)
    assert allocate("b", pool=pool, user=user).allocation.vid == 101
    over.refresh_from_db()
    assert over.released_at is None


def test_limits_do_not_count_it(pool, user):
    tenant, kind = Tenant.objects.create(name="T", slug="t"), ClusterType.objects.create(name="K", slug="k")
    for name in "ab":
        Cluster.objects.create(name=name, type=kind, tenant=tenant)
    pool = configure(pool, max_per_tenant=1, max_per_cluster=1)
    make_overdue("a", pool, user)
    allocate("b", pool=pool, user=user)
    with pytest.raises(LimitReached):
        allocate("a", pool=pool, user=user)


def test_it_cannot_be_renewed(pool, user):
    over = make_overdue("a", pool, user)
    with pytest.raises(ValidationError, match=r"ended at .*allocate again"):
        renew(over, user=user, expires_at=timezone.now() + HOUR)


def test_release_by_name_finds_nothing_and_by_object_ends_it(pool, user):
    over = make_overdue("a", pool, user)
    with pytest.raises(AllocationNotFound):
        release("a", pool=pool, user=user)
    assert release_allocation(over, user=user).released
    assert_expired(over)


@pytest.mark.parametrize("cooldown", [0, 3600])
def test_it_is_shared_again_by_its_own_cluster(pool, user, cooldown):
    over = make_overdue("a", configure(pool, cooldown=cooldown), user)
    result = share(over.segment, "a", user=user)
    assert (result.created, result.allocation.segment) == (True, over.segment)
    assert_expired(over)
    assert set_clusters(over.segment, ["a"], user=user)[0].created is False


def test_a_set_of_clusters_ends_it(pool, user):
    over = make_overdue("a", pool, user)
    set_clusters(over.segment, ["b"], user=user)
    assert_expired(over)


def test_the_segment_can_be_disabled(pool, user):
    over = make_overdue("a", pool, user)
    assert disable_segment(over.segment, user=user).changed
    assert_expired(over)


def test_a_retiring_pool_goes(pool, user):
    over = make_overdue("a", pool, user)
    assert retire_pool(pool, user=user).deleted
    assert Allocation.objects.get(pk=over.pk).release_reason == "expired"


def test_stretched_gives_it_back_and_takes_from_others(user):
    pools = [make_pool(scope=f"Site{n}", container=f"10.{n}.0.0/16", segments=2, slug=f"s{n}") for n in range(2)]
    for pool in pools:
        allocate("other", pool=pool, user=user)
    over = [make_overdue("a", pool, user) for pool in pools]
    for pool in pools:
        release("other", pool=pool, user=user)
    results = allocate_stretched("a", pools=pools, user=user)
    assert [(result.created, result.allocation.vid) for result in results] == [(True, 101)] * 2
    for one in over:
        assert_expired(one)
    for pool in pools:
        make_overdue("b", pool, user)
    assert [one.allocation.vid for one in allocate_stretched("c", pools=pools, user=user)] == [100] * 2


def test_no_list_has_it_as_active(pool, user):
    over = make_overdue("a", pool, user)
    client = client_of(user)

    def get(name, **query):
        return client.get(url_of(name), query).json()

    assert over.status == "released"
    assert get("allocation-list", status="active")["count"] == 0
    (shown,) = get("allocation-list", status="released")["results"]
    assert shown["status"]["value"] == "released"
    (segment,) = get("segment-list", vid=100)["results"]
    # The next call that needs the segment releases it, or the job of the minute does.
    assert (segment["status"]["value"], segment["allocations"]) == ("allocated", [])
    assert get("segment-list", cluster_name="a")["count"] == 0
    query = "{allocation_list(filters: {status: {exact: STATUS_%s}}) {status}}"
    for status, count in (("ACTIVE", 0), ("RELEASED", 1)):
        answer = client.post("/graphql/", {"query": query % status}, format="json").json()
        assert answer["data"]["allocation_list"] == [{"status": "released"}] * count, answer
    (row, _other) = segment_rows(Segment.objects.all())
    assert dict(zip(EXPORTED, row, strict=True))["cluster"] == ""
    assert {cell.cluster_name for cell in vlan_map(pool, user).cells} == {None}
    Allocation.objects.update(expires_at=F("expires_at") - HOUR)
    assert warn_expiring() == 0


def test_rest_answers(pool, user):
    client = client_of(user)
    over = make_overdue("a", pool, user)
    names = {"cluster_name": "a", "site": "Site1", "vrf": "Network1"}

    answer = client.post(url_of("allocation-renew", pk=over.pk), {"expires_at": None}, format="json")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["expires_at"])
    assert client.post(url_of("release-vlan"), names, format="json").json()["code"] == "allocation_not_found"
    answer = client.post(url_of("allocate-vlan"), names, format="json").json()
    assert (answer["created"], answer["vlan_id"]) == (True, over.vid)
    assert answer["allocation"] != over.pk
    assert client.delete(url_of("allocation-detail", pk=over.pk)).status_code == 204
    Allocation.objects.filter(pk=answer["allocation"]).update(expires_at=timezone.now() - HOUR)
    answer = client.post(url_of("allocation-list"), {**names, "expires_at": timezone.now() + HOUR}, format="json")
    assert (answer.status_code, answer.json()["outcome"]) == (201, "allocated")


def test_number_of_queries_is_the_same_beside_it(pool, user, django_assert_num_queries):
    allocate("a", site="Site1", vrf="Network1", user=user)
    with django_assert_num_queries(3):
        assert not allocate("a", site="Site1", vrf="Network1", user=user).created
    make_overdue("a", pool, user, purpose="other")
    with django_assert_num_queries(3):
        assert not allocate("a", site="Site1", vrf="Network1", user=user).created


def test_a_vid_that_another_holds_stays_unavailable(pool, user):
    allocate("a", pool=pool, user=user)
    with pytest.raises(VIDUnavailable):
        allocate("b", pool=pool, user=user, vid=100)
