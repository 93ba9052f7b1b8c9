import pytest

from dcim.models import Location, Region, SiteGroup
from extras.models import Tag
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.reporting.statistics import count_low_pools, iterate_statistics, pool_statistics
from tests.factories import make_pool, make_site, make_user, permit

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(segments=6)


def statistics_of(pool):
    (row,) = pool_statistics(SegmentPool.objects.filter(pk=pool.pk))
    return row


def counts(pool):
    usage = statistics_of(pool).usage
    return usage.total_segments, usage.allocated, usage.available, usage.quarantined, usage.disabled


def test_counts_each_status(pool):
    for number in range(2):
        allocate(f"prod-{number}", pool=pool, user=make_user())
    Segment.objects.filter(vid=104).update(status="quarantined")
    Segment.objects.filter(vid=105).update(status="disabled")
    assert counts(pool) == (6, 2, 2, 1, 1)


def test_counts_follow_a_release(pool):
    allocate("prod-01", pool=pool, user=make_user())
    release("prod-01", pool=pool, user=make_user())
    assert counts(pool) == (6, 0, 6, 0, 0)


@pytest.mark.parametrize(("allocated", "utilization"), [(0, 0.0), (1, 16.7), (2, 33.3), (6, 100.0)])
def test_utilization_in_percent(pool, allocated, utilization):
    for number in range(allocated):
        allocate(f"prod-{number}", pool=pool, user=make_user())
    assert statistics_of(pool).usage.utilization == utilization


def test_empty_pool():
    pool = make_pool()
    assert counts(pool) == (0, 0, 0, 0, 0)
    assert statistics_of(pool).usage.utilization == 0.0


def test_row_names_pool_place_and_vrf(pool):
    row = statistics_of(pool)
    assert (row.pool, row.pool_name, row.site, row.vrf) == (pool.pk, "Network1 Site1", "Site1", "Network1")


@pytest.mark.parametrize("kind", ["location", "site", "sitegroup", "region"])
def test_name_of_each_kind_of_place(kind):
    region = Region.objects.create(name="Region", slug="region")
    group = SiteGroup.objects.create(name="Site group", slug="group")
    site = make_site("Site", region=region, group=group)
    location = Location.objects.create(name="Location", slug="location", site=site)
    scope = {"location": location, "site": site, "sitegroup": group, "region": region}[kind]
    assert statistics_of(make_pool(scope=scope)).site == scope.name


def test_rows_are_sorted_by_pool_name():
    for name in ("Pool 10", "Pool 9", "Alpha"):
        make_pool(scope=name, name=name)
    assert [row.pool_name for row in pool_statistics(SegmentPool.objects.all())] == ["Alpha", "Pool 9", "Pool 10"]


def test_two_queries_however_many_pools(pool, django_assert_num_queries):
    for number in range(5):
        make_pool("Network2", f"Site{number}", segments=1, container=f"10.{number}.0.0/16")
    with django_assert_num_queries(2):
        assert len(pool_statistics(SegmentPool.objects.all())) == 6


def test_rows_one_by_one_are_the_same(pool):
    make_pool("Network2", segments=1)
    pools = SegmentPool.objects.all()
    assert list(iterate_statistics(pools)) == pool_statistics(pools)


def test_only_pools_of_the_queryset_count(pool):
    make_pool("Network2")
    assert [row.pool for row in pool_statistics(SegmentPool.objects.filter(vrf__name="Network1"))] == [pool.pk]


def test_only_pools_that_the_user_may_view_count(pool):
    make_pool("Network2")
    user = permit(make_user("bob"), SegmentPool, "view", constraints={"vrf__name": "Network1"})
    assert [row.pool for row in pool_statistics(SegmentPool.objects.restrict(user, "view"))] == [pool.pk]
    assert pool_statistics(SegmentPool.objects.restrict(make_user("eve"), "view")) == []


def test_pool_found_by_two_tags_is_counted_once(pool):
    for name in ("red", "blue"):
        pool.tags.add(Tag.objects.create(name=name, slug=name))
    (row,) = pool_statistics(SegmentPool.objects.filter(tags__slug__in=["red", "blue"]))
    assert row.usage.total_segments == 6


def test_pool_found_by_two_segments_is_counted_whole(pool):
    (row,) = pool_statistics(SegmentPool.objects.filter(segments__vid__in=[100, 101]))
    assert row.usage.total_segments == 6


@pytest.mark.parametrize(("available", "low"), [(0, 1), (1, 1), (2, 0), (20, 0)])
def test_pool_is_low_below_the_share_of_the_setting(available, low):
    pool = make_pool(segments=20)
    Segment.objects.filter(pool=pool, vid__gte=100 + available).update(status="disabled")
    assert count_low_pools() == low


def test_share_of_the_setting_is_read(settings):
    settings.PLUGINS_CONFIG = {
        "netbox_vlan_manager": settings.PLUGINS_CONFIG["netbox_vlan_manager"] | {"low_available_percent": 50}
    }
    pool = make_pool(segments=4)
    Segment.objects.filter(pool=pool, vid__gte=102).update(status="disabled")
    assert count_low_pools() == 0
    Segment.objects.filter(pool=pool, vid=101).update(status="disabled")
    assert count_low_pools() == 1


def test_paused_and_empty_pools_are_not_low():
    make_pool(scope="Site2")
    pool = make_pool(segments=1, status="paused")
    Segment.objects.filter(pool=pool).update(status="disabled")
    assert count_low_pools() == 0


def test_low_pools_take_one_query(pool, django_assert_num_queries):
    make_pool("Network2")
    with django_assert_num_queries(1):
        count_low_pools()
