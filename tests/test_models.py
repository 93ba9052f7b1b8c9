from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from tests.factories import make_pool, make_segment, make_site, make_user, make_vrf
from virtualization.models import Cluster, ClusterType

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(segments=3)


@pytest.fixture
def other_pool():
    return make_pool("Network2", segments=1)


@pytest.fixture
def held(pool):
    """The allocation of segment 100 to prod-01."""
    return allocate("prod-01", pool=pool, user=make_user()).allocation


def accepted(write):
    """Call `write`, and run the database's deferred checks."""
    with transaction.atomic():
        write()
        connection.check_constraints()


def refused(write):
    """Check that the database refuses `write`, at once or at the commit, and return the constraint's name."""
    with pytest.raises(IntegrityError) as caught:
        accepted(write)
    return caught.value.__cause__.diag.constraint_name.removeprefix("netbox_vlan_manager_")


def copy_of(allocation, **values):
    """Return an unsaved active copy of `allocation` with other `values`."""
    fields = ("segment", "pool", "cluster_name", "purpose", "pool_name", "vrf_name", "vid", "epg_name", "prefix")
    return Allocation(**{name: getattr(allocation, name) for name in fields} | values)


# Pools


def test_one_pool_for_a_vrf_and_scope(pool, other_pool):
    rows = SegmentPool.objects.filter(pk=other_pool.pk)
    assert refused(lambda: rows.update(vrf=pool.vrf)) == "segmentpool_unique_vrf_scope"


def test_pool_has_a_scope(pool):
    rows = SegmentPool.objects.filter(pk=pool.pk)
    assert refused(lambda: rows.update(scope_id=None)) == "segmentpool_scope_set"
    assert refused(lambda: rows.update(scope_type=None)) == "segmentpool_scope_set"


def test_pool_names_and_slugs_are_unique(pool, other_pool):
    rows = SegmentPool.objects.filter(pk=other_pool.pk)
    assert refused(lambda: rows.update(name=pool.name)) == "segmentpool_name_key"
    assert refused(lambda: rows.update(slug=pool.slug)) == "segmentpool_slug_key"


def test_prefix_lengths_of_a_pool_are_in_order(pool):
    rows = SegmentPool.objects.filter(pk=pool.pk)
    lengths = {"min_prefix_length": 28, "max_prefix_length": 24}
    assert refused(lambda: rows.update(**lengths)) == "segmentpool_prefix_lengths_ordered"
    accepted(lambda: rows.update(min_prefix_length=24, max_prefix_length=24))


def test_pool_scope_is_a_region_site_group_site_or_location(pool):
    pool.scope = make_vrf()
    with pytest.raises(ValidationError) as caught:
        pool.clean()
    assert caught.value.message_dict == {"scope_type": ["A pool serves a region, site group, site or location."]}


def test_second_pool_of_a_vrf_and_scope_is_refused_in_words(pool):
    twin = SegmentPool(name="Twin", slug="twin", vrf=pool.vrf, scope=pool.scope, vlan_group=pool.vlan_group)
    with pytest.raises(ValidationError, match="This VRF already has a pool at this scope"):
        twin.full_clean()


def places():
    """Return a location in a site in a group and a region."""
    region = Region.objects.create(name="Region", slug="region")
    group = SiteGroup.objects.create(name="Group", slug="group")
    site = make_site("Place", region=region, group=group)
    return Location.objects.create(name="Hall", slug="hall", site=site)


def cached(pool):
    """Return the names of the pool's cached location, site, site group and region."""
    pool = SegmentPool.objects.get(pk=pool.pk)
    return tuple(place and place.name for place in (pool._location, pool._site, pool._site_group, pool._region))


@pytest.mark.parametrize(
    ("find", "expected"),
    [
        (lambda hall: hall, ("Hall", "Place", "Group", "Region")),
        (lambda hall: hall.site, (None, "Place", "Group", "Region")),
        (lambda hall: hall.site.group, (None, None, "Group", None)),
        (lambda hall: hall.site.region, (None, None, None, "Region")),
    ],
    ids=["location", "site", "sitegroup", "region"],
)
def test_pool_caches_its_places(find, expected):
    assert cached(make_pool(scope=find(places()))) == expected


@pytest.mark.parametrize("find", [lambda hall: hall, lambda hall: hall.site], ids=["location", "site"])
def test_cached_places_follow_a_site_to_another_region_and_group(find):
    hall = places()
    pool = make_pool(scope=find(hall))
    region = Region.objects.create(name="Elsewhere", slug="elsewhere")
    Site.objects.filter(pk=hall.site_id).update(region=region, group=None)
    assert cached(pool)[1:] == ("Place", None, "Elsewhere")


def test_cached_places_follow_a_location_to_another_site():
    hall = places()
    pool = make_pool(scope=hall)
    region = Region.objects.create(name="Elsewhere", slug="elsewhere")
    Location.objects.filter(pk=hall.pk).update(site=make_site("Site9", region=region))
    assert cached(pool) == ("Hall", "Site9", None, "Elsewhere")


def test_usage_counts_each_status(pool, held):
    Segment.objects.filter(vid=102).update(status="disabled")
    usage = pool.usage
    assert (usage.total_segments, usage.allocated, usage.available, usage.quarantined, usage.disabled) == (
        3,
        1,
        1,
        0,
        1,
    )
    assert usage.utilization == 33.3


def test_usage_of_a_queryset_needs_no_query_of_its_own(pool, held, django_assert_num_queries):
    with django_assert_num_queries(1):
        (found,) = SegmentPool.objects.with_usage()
        usage = found.usage
    assert usage == SegmentPool.objects.get(pk=pool.pk).usage


def test_usage_of_an_empty_pool_is_zero_percent():
    assert make_pool().usage.utilization == 0


# Segments


def test_vid_is_unique_in_a_pool(pool):
    rows = Segment.objects.filter(pool=pool, vid=101)
    assert refused(lambda: rows.update(vid=100)) == "segment_unique_pool_vid"


def test_pools_with_their_own_groups_may_share_a_vid(pool, other_pool):
    assert Segment.objects.filter(vid=100).count() == 2


@pytest.mark.parametrize("vid", [0, 4095])
def test_vid_is_from_1_to_4094(pool, vid):
    assert refused(lambda: Segment.objects.filter(vid=100).update(vid=vid)) == "segment_vid_range"


def test_status_is_a_known_one(pool):
    assert refused(lambda: Segment.objects.filter(vid=100).update(status="broken")) == "segment_status_known"


def test_vlan_and_prefix_belong_to_one_segment(pool):
    first, second, _third = Segment.objects.order_by("vid")
    rows = Segment.objects.filter(pk=second.pk)
    assert refused(lambda: rows.update(vlan=first.vlan)).startswith("segment_vlan_id_key")
    assert refused(lambda: rows.update(prefix=first.prefix)).startswith("segment_prefix_id_key")


# Allocations


def test_segment_is_held_once(held):
    other = copy_of(held, cluster_name="prod-02")
    assert refused(other.save) == "allocation_unique_segment"


@pytest.mark.parametrize("name", ["prod-01", "PROD-01"])
def test_cluster_holds_one_segment_of_a_pool(pool, held, name):
    other = copy_of(held, cluster_name=name, segment=Segment.objects.get(vid=101))
    assert refused(other.save) == "allocation_one_active"


def test_cluster_may_hold_one_segment_for_each_purpose(pool, held):
    accepted(lambda: allocate("prod-01", purpose="storage", pool=pool, user=make_user()))
    assert Allocation.objects.active().count() == 2


def test_cluster_may_hold_a_segment_in_each_pool(pool, other_pool, held):
    accepted(lambda: allocate("prod-01", pool=other_pool, user=make_user()))
    assert Allocation.objects.active().count() == 2


def test_released_allocations_may_repeat(pool):
    for _turn in range(3):
        allocate("prod-01", pool=pool, user=make_user())
        accepted(lambda: release("prod-01", pool=pool, user=make_user()))
    assert Allocation.objects.filter(cluster_name="prod-01", vid=100).count() == 3


@pytest.mark.parametrize("field", ["segment", "pool"])
def test_active_allocation_has_segment_and_pool(held, field):
    rows = Allocation.objects.filter(pk=held.pk)
    assert refused(lambda: rows.update(**{field: None})) == "allocation_active_has_segment"


# The trigger that ties a segment's status to its allocations


@pytest.mark.parametrize("status", ["available", "quarantined", "disabled"])
def test_held_segment_is_allocated_at_the_commit(held, status):
    rows = Segment.objects.filter(pk=held.segment_id)
    assert refused(lambda: rows.update(status=status)) == "segment_status"


def test_commit_refuses_an_allocated_segment_without_holder(pool):
    assert refused(lambda: Segment.objects.filter(vid=102).update(status="allocated")) == "segment_status"


def test_commit_refuses_an_allocation_of_an_available_segment(held):
    other = copy_of(held, cluster_name="prod-02", segment=Segment.objects.get(vid=101))
    assert refused(other.save) == "segment_status"


def test_commit_refuses_a_release_that_leaves_it_allocated(held):
    rows = Allocation.objects.filter(pk=held.pk)
    assert refused(lambda: rows.update(released_at=timezone.now())) == "segment_status"


def test_commit_refuses_the_deletion_of_an_active_allocation(held):
    rows = Allocation.objects.filter(pk=held.pk)
    assert refused(lambda: rows._raw_delete("default")) == "segment_status"


def test_commit_refuses_an_allocation_moved_to_another_segment(held):
    rows = Allocation.objects.filter(pk=held.pk)
    assert refused(lambda: rows.update(segment=Segment.objects.get(vid=101))) == "segment_status"


def test_moving_an_allocation_and_both_statuses_is_accepted(held):
    def move():
        Segment.objects.filter(vid=100).update(status="available")
        Segment.objects.filter(vid=101).update(status="allocated")
        Allocation.objects.filter(pk=held.pk).update(segment=Segment.objects.get(vid=101))

    accepted(move)


@pytest.mark.parametrize("status", ["quarantined", "disabled"])
def test_status_of_a_segment_that_nobody_holds_may_change(pool, status):
    accepted(lambda: Segment.objects.filter(vid=101).update(status=status))


@pytest.mark.django_db(transaction=True)
def test_trigger_refuses_a_real_commit():
    pool = make_pool(segments=1)
    with pytest.raises(IntegrityError):
        Segment.objects.filter(pool=pool).update(status="allocated")
    assert Segment.objects.get(pool=pool).status == "available"


# Stale copies


def test_saving_a_segment_read_before_keeps_the_allocation(pool):
    stale = Segment.objects.get(vid=100)
    allocate("prod-01", pool=pool, user=make_user())
    stale.description = "Rack 7"
    accepted(stale.save)
    stale.refresh_from_db()
    assert (stale.status, stale.description) == ("allocated", "Rack 7")


def test_saving_a_segment_read_before_a_release_does_not_undo_it(pool, held):
    stale = Segment.objects.get(vid=100)
    release("prod-01", pool=pool, user=make_user())
    stale.dhcp = True
    accepted(stale.save)
    stale.refresh_from_db()
    assert (stale.status, stale.dhcp) == ("available", True)


def test_saving_an_allocation_read_before_keeps_the_release(pool, held):
    stale = Allocation.objects.get(pk=held.pk)
    release("prod-01", pool=pool, user=make_user())
    stale.description = "For the spring release"
    accepted(stale.save)
    stale.refresh_from_db()
    assert stale.released_at is not None
    assert stale.released_by == make_user()
    assert stale.description == "For the spring release"


def test_plain_save_changes_nothing_that_an_allocation_says(held):
    allocation = Allocation.objects.get(pk=held.pk)
    allocation.cluster_name, allocation.vid, allocation.allocated_at = "other", 7, timezone.now() - timedelta(days=1)
    allocation.save()
    found = Allocation.objects.get(pk=held.pk)
    assert (found.cluster_name, found.vid, found.allocated_at) == ("prod-01", 100, held.allocated_at)


def test_saving_with_force_update_leaves_hot_columns_alone(pool):
    stale = Segment.objects.get(vid=100)
    allocate("prod-01", pool=pool, user=make_user())
    accepted(lambda: stale.save(force_update=True))
    assert Segment.objects.get(vid=100).status == "allocated"


def test_saving_a_segment_that_is_gone_does_not_bring_it_back(pool):
    stale = Segment.objects.get(vid=100)
    Segment.objects.get(vid=100).delete()
    with pytest.raises(DatabaseError, match="did not affect any rows"), transaction.atomic():
        stale.save()
    assert not Segment.objects.filter(vid=100).exists()


# History


def test_history_outlives_segment_pool_and_names(pool, held):
    release("prod-01", pool=pool, user=make_user())
    for segment in Segment.objects.all():
        segment.delete()
    SegmentPool.objects.get(pk=pool.pk).delete()
    pool.vrf.name = "Renamed"
    pool.vrf.save()
    left = Allocation.objects.get(pk=held.pk)
    assert (left.segment, left.pool) == (None, None)
    assert (left.pool_name, left.vrf_name, left.vid, left.epg_name) == ("Network1 Site1", "Network1", 100, "EPG_100")
    assert str(left.prefix) == "10.0.0.0/24"
    assert left.status == "released"
    assert str(left) == "prod-01: EPG_100 (100)"


def test_history_has_pool_and_vrf_names_as_of_the_release(pool, held):
    pool.name = "Renamed pool"
    pool.save()
    pool.vrf.name = "Renamed VRF"
    pool.vrf.save()
    left = release("prod-01", pool=pool, user=make_user()).allocation
    assert (left.pool_name, left.vrf_name) == ("Renamed pool", "Renamed VRF")
    assert Allocation.objects.filter(pool_name="Renamed pool", vrf_name="Renamed VRF").exists()


def test_history_outlives_a_queryset_deletion_of_the_segments(pool, held):
    release("prod-01", pool=pool, user=make_user())
    accepted(Segment.objects.all().delete)
    assert Allocation.objects.get(pk=held.pk).vid == 100


@pytest.mark.parametrize("active", [True, False])
def test_allocation_cannot_be_deleted(pool, held, active):
    if not active:
        release("prod-01", pool=pool, user=make_user())
    with pytest.raises(ProtectedError, match="release them instead"), transaction.atomic():
        Allocation.objects.get(pk=held.pk).delete()
    with pytest.raises(ProtectedError), transaction.atomic():
        Allocation.objects.all().delete()
    assert Allocation.objects.filter(pk=held.pk).exists()


def test_held_segment_cannot_be_deleted(pool, held):
    with pytest.raises(ProtectedError), transaction.atomic():
        Segment.objects.get(vid=100).delete()
    with pytest.raises(ProtectedError), transaction.atomic():
        Segment.objects.all().delete()
    assert Segment.objects.count() == 3


def test_deleting_the_user_keeps_the_allocation(pool):
    user = make_user("leaver")
    pk = allocate("prod-01", pool=pool, user=user).allocation.pk
    release("prod-01", pool=pool, user=user)
    user.delete()
    left = Allocation.objects.get(pk=pk)
    assert (left.allocated_by, left.released_by) == (None, None)
    assert left.released_at is not None


def test_deleting_the_user_keeps_an_active_allocation(pool):
    user = make_user("leaver")
    pk = allocate("prod-01", pool=pool, user=user).allocation.pk
    user.delete()
    assert Allocation.objects.active().filter(pk=pk, cluster_name="prod-01").exists()


def test_deleting_the_netbox_cluster_keeps_the_allocation(pool):
    cluster = Cluster.objects.create(name="prod-01", type=ClusterType.objects.create(name="K8s", slug="k8s"))
    allocation = allocate("Prod-01", pool=pool, user=make_user()).allocation
    assert allocation.cluster == cluster
    cluster.delete()
    left = Allocation.objects.get(pk=allocation.pk)
    assert left.cluster is None
    assert (left.cluster_name, left.status) == ("Prod-01", "active")


def test_deleting_a_segment_deletes_what_was_made_with_it_only(pool):
    vlan = VLAN.objects.create(vid=500, name="EPG_500", group=pool.vlan_group)
    prefix = Prefix.objects.create(prefix="10.0.50.0/24", vrf=pool.vrf)
    make_segment(pool, 500, prefix="10.0.50.0/24").delete()
    Segment.objects.get(vid=100).delete()
    assert VLAN.objects.filter(pk=vlan.pk).exists()
    assert Prefix.objects.filter(pk=prefix.pk).exists()
    assert not VLAN.objects.filter(vid=100, group=pool.vlan_group).exists()
    assert not Prefix.objects.filter(prefix="10.0.0.0/24").exists()
