from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import patch

from django.contrib.auth.models import AnonymousUser
from django.http import QueryDict
from django.test import TestCase
from django.utils import timezone

from dcim.models import Location, Region, Site, SiteGroup
from extras.models import Tag
from ipam.models import VRF, Prefix, Role
from netbox_vlan_manager.choices import AllocationStatusChoices, SegmentPoolStatusChoices, SegmentStatusChoices
from netbox_vlan_manager.filters import MomentFilter
from netbox_vlan_manager.filtersets import AllocationFilterSet, SegmentFilterSet, SegmentPoolFilterSet
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release, share
from tenancy.models import Tenant, TenantGroup
from tests.factories import make_pool, make_segment, make_user
from utilities.testing import ChangeLoggedFilterSetTestMixin
from virtualization.models import Cluster, ClusterType


class Places:
    """Two sites in regions and groups, a location in the first, and a pool at each of several scopes."""

    @classmethod
    def make_places(cls):
        cls.region = Region.objects.create(name="Region1", slug="region1")
        cls.subregion = Region.objects.create(name="Region1a", slug="region1a", parent=cls.region)
        cls.site_group = SiteGroup.objects.create(name="Group1", slug="group1")
        cls.site1 = Site.objects.create(name="Site1", slug="site1", region=cls.subregion)
        cls.site2 = Site.objects.create(name="Site2", slug="site2", group=cls.site_group)
        cls.location = Location.objects.create(name="Room1", slug="room1", site=cls.site1)
        cls.vrf = VRF.objects.create(name="Network1", rd="65000:1")
        cls.other_vrf = VRF.objects.create(name="Network2", rd="65000:2")
        tenant_group = TenantGroup.objects.create(name="Tenants", slug="tenants")
        cls.tenant = Tenant.objects.create(name="Tenant1", slug="tenant1", group=tenant_group)
        cls.role = Role.objects.create(name="Fabric", slug="fabric")

        cls.site_pool = make_pool(
            cls.vrf, cls.site1, tenant=cls.tenant, min_prefix_length=20, max_prefix_length=28, description="Blue racks"
        )
        cls.room_pool = make_pool(
            cls.vrf, cls.location, container="10.1.0.0/16", status=SegmentPoolStatusChoices.PAUSED, role=cls.role
        )
        cls.region_pool = make_pool(cls.other_vrf, cls.region, container="10.2.0.0/16")
        cls.group_pool = make_pool(cls.other_vrf, cls.site_group, container="10.3.0.0/16")


class FilterSetTests(ChangeLoggedFilterSetTestMixin):
    def test_missing_filters(self):
        # NetBox's test looks for the filter set in the package that the test case is in.
        with patch.object(type(self), "__module__", "netbox_vlan_manager.tests"):
            super().test_missing_filters()

    def assert_found(self, expected, **params):
        """Check that the filters find exactly the expected objects, each once."""
        filterset = self.filterset(params, self.queryset)
        self.assertEqual(filterset.errors, {})
        self.assertCountEqual(list(filterset.qs), expected)


class SegmentPoolFilterSetTestCase(Places, FilterSetTests, TestCase):
    queryset = SegmentPool.objects.all()
    filterset = SegmentPoolFilterSet
    # NetBox does not filter by JSON fields either.
    ignore_fields = ("segment_custom_fields", "vlan_custom_fields", "prefix_custom_fields")

    @classmethod
    def setUpTestData(cls):
        cls.make_places()

    def test_q(self):
        self.assert_found([self.site_pool], q="blue")
        self.assert_found([self.site_pool, self.room_pool], q="work1")
        self.assert_found([self.region_pool], q="network2-region1")
        self.assert_found([self.site_pool, self.room_pool, self.region_pool, self.group_pool], q="  ")

    def test_own_fields(self):
        self.assert_found([self.site_pool], name=["Network1 Site1"])
        self.assert_found([self.site_pool], slug=["network1-site1"])
        self.assert_found([self.room_pool], status=["paused"])
        self.assert_found([self.site_pool], min_prefix_length=[20])
        self.assert_found([self.site_pool], max_prefix_length=[28])
        self.assert_found([self.site_pool], description__ic=["racks"])

    def test_life_cycle(self):
        SegmentPool.objects.filter(pk=self.room_pool.pk).update(
            level="warning", allocation_order="highest", cooldown=60, max_per_cluster=1, max_per_tenant=2
        )
        SegmentPool.objects.filter(pk=self.site_pool.pk).update(level="exhausted", max_per_request=3)
        self.assert_found([self.room_pool, self.site_pool], level=["warning", "exhausted"])
        self.assert_found([self.room_pool], allocation_order=["highest"])
        self.assert_found([self.room_pool], cooldown__gte=[60])
        self.assert_found([self.room_pool], max_per_cluster=[1])
        self.assert_found([self.room_pool], max_per_tenant=[2])
        self.assert_found([self.site_pool], max_per_request__empty=False)
        self.assertIn("level", self.filterset({"level": ["full"]}, self.queryset).errors)

    def test_first_generation(self):
        SegmentPool.objects.filter(pk=self.room_pool.pk).update(first_generation="trial")
        SegmentPool.objects.filter(pk=self.site_pool.pk).update(first_generation="over")
        self.assert_found([self.room_pool], first_generation=["trial"])
        self.assert_found([self.room_pool, self.site_pool], first_generation=["trial", "over"])

    def test_growth(self):
        SegmentPool.objects.filter(pk=self.room_pool.pk).update(
            epg_template="web_{vid}", auto_grow=True, grow_prefix_length=26, grow_ipv6_prefix_length=64, grow_limit=90
        )
        self.assert_found([self.room_pool], auto_grow=True)
        self.assert_found([self.site_pool, self.region_pool, self.group_pool], auto_grow=False)
        self.assert_found([self.room_pool], grow_prefix_length=[26])
        self.assert_found([self.room_pool], grow_ipv6_prefix_length__gte=[64])
        self.assert_found([self.room_pool], grow_limit__lt=[100])
        self.assert_found([self.room_pool], epg_template__ic=["web"])

    def test_relations(self):
        self.assert_found([self.site_pool, self.room_pool], vrf_id=[self.vrf.pk])
        self.assert_found([self.site_pool, self.room_pool], vrf=["65000:1"])
        self.assert_found([self.site_pool, self.room_pool], vrf=["Network1", "Nowhere"])
        self.assert_found([self.region_pool, self.group_pool], vrf_name=["Network2"])
        self.assert_found([self.site_pool], vlan_group_id=[self.site_pool.vlan_group_id])
        self.assert_found([self.site_pool], vlan_group=[self.site_pool.vlan_group.slug])
        self.assert_found([self.site_pool], tenant_id=[self.tenant.pk])
        self.assert_found([self.site_pool], tenant=["tenant1"])
        self.assert_found([self.site_pool], tenant_group=["tenants"])
        self.assert_found([self.room_pool], role_id=[self.role.pk])
        self.assert_found([self.room_pool], role=["fabric"])

    def test_scope(self):
        in_region = [self.site_pool, self.room_pool, self.region_pool]
        self.assert_found(in_region, region_id=[self.region.pk])
        self.assert_found(in_region[:2], region=["region1a"])
        self.assert_found([self.group_pool], site_group=["group1"])
        self.assert_found([self.site_pool, self.room_pool], site=["site1"])
        # The filter takes the same names as allocating calls, and finds the places inside too.
        for site in ("SITE1", "Site1", str(self.site1.pk), f"site:{self.site1.pk}"):
            self.assert_found([self.site_pool, self.room_pool], site=[site])
        self.assert_found([self.group_pool], site=["Group1"])
        self.assert_found([self.group_pool], site=[f"site_group:{self.site_group.pk}"])
        self.assert_found(in_region, site=["Region1"])
        self.assert_found([self.room_pool, self.group_pool], site=["room1", "group1"])
        self.assert_found([], site=["nowhere"])
        self.assert_found([], site=[f"region:{self.site1.pk + 10**6}"])
        self.assert_found([self.region_pool, self.group_pool], site__n=["site1"])
        self.assert_found([self.site_pool, self.room_pool], vrf=["NETWORK1"])
        self.assert_found([self.site_pool, self.room_pool], vrf=[str(self.vrf.pk)])
        self.assert_found([self.room_pool], location_id=[self.location.pk])
        self.assert_found([self.site_pool], scope_type=["dcim.site"], scope_id=[self.site1.pk])

    def test_containers(self):
        self.assert_found([self.site_pool], prefix_id=[Prefix.objects.get(prefix="10.0.0.0/16").pk])
        self.assert_found([self.site_pool], contains="10.0.7.1")
        self.assert_found([self.room_pool], contains="10.1.4.0/24")
        self.assert_found([], contains="10.0.0.0/8")
        self.assert_found([self.site_pool, self.room_pool], prefix=["10.0.0.0/16", "10.1.0.0/16"])
        self.assert_found([self.group_pool], within="10.3.0.0/15", contains="10.3.0.0/16")
        self.assert_found([], within="10.3.0.0/16")
        self.assert_found([self.group_pool], within_include="10.3.0.0/16")

    def test_counts_stay_true_when_several_containers_or_tags_match(self):
        extra = Prefix.objects.create(prefix="10.9.0.0/16", vrf=self.vrf, status="container")
        self.site_pool.prefixes.add(extra)
        tags = [Tag.objects.create(name=name, slug=name) for name in ("one", "two")]
        self.site_pool.tags.set(tags)
        make_segment(self.site_pool, 100)

        for params in (
            {"prefix_id": [prefix.pk for prefix in self.site_pool.prefixes.all()]},
            {"prefix": ["10.0.0.0/16", "10.9.0.0/16"]},
            {"within": "10.0.0.0/8", "vrf_id": [self.vrf.pk], "tag": ["one"]},
            {"tag__any": ["one", "two"]},
        ):
            pool = self.filterset(params, SegmentPool.objects.with_usage()).qs.get()
            self.assertEqual(pool.usage.total_segments, 1)

    def test_what_is_no_network_is_an_error(self):
        self.assertIn("contains", self.filterset({"contains": "10.0.0"}, self.queryset).errors)


class Allocations(Places):
    @classmethod
    def make_allocations(cls):
        cls.user = make_user("alice")
        cls.first, cls.second, cls.third = (
            make_segment(cls.site_pool, 100 + index, index, dhcp=not index) for index in range(3)
        )
        cls.elsewhere = make_segment(cls.region_pool, 100, description="Spine links")
        allocate("prod-01", pool=cls.site_pool, user=cls.user)
        allocate("prod-02", pool=cls.site_pool, user=cls.user, purpose="storage")
        release("prod-01", pool=cls.site_pool, user="operator")
        cls.released, cls.held = Allocation.objects.order_by("pk")


class SegmentFilterSetTestCase(Allocations, FilterSetTests, TestCase):
    queryset = Segment.objects.all()
    filterset = SegmentFilterSet
    ignore_fields = (
        "owns_vlan",
        "owns_prefix",
        "owns_ipv6_prefix",
        "gateway_ip_address",
        "ipv6_gateway_ip_address",
    )

    @classmethod
    def setUpTestData(cls):
        cls.make_places()
        cls.make_allocations()

    def test_q(self):
        self.assert_found([self.first, self.elsewhere], q="100")
        self.assert_found([self.third], q="epg_102")
        self.assert_found([self.third], q="10.0.2.0/24")
        self.assert_found([self.third], q="10.0.2.77")
        self.assert_found([self.third], q="10.0.2")
        self.assert_found([self.elsewhere], q="spine")
        self.assert_found([self.second], q="PROD-0")
        self.assert_found([], q="nothing")

    def test_own_fields(self):
        self.assert_found([self.second], status=[SegmentStatusChoices.ALLOCATED])
        self.assert_found([self.third], vid=[102])
        self.assert_found([self.second, self.third], vid__gte=[101])
        self.assert_found([self.first], dhcp=True)
        self.assert_found([self.second], epg_name=["EPG_101"])
        self.assert_found([self.second], epg_name__ic=["g_101"])
        self.assert_found([self.second], vlan_id=[self.second.vlan_id])

    def test_quarantine(self):
        now = timezone.now()
        soon = now + timedelta(hours=1)
        Segment.objects.filter(pk=self.third.pk).update(status="quarantined", quarantined_until=soon)
        self.assert_found([self.third], quarantined_until__after=now)
        self.assert_found([], quarantined_until__before=now)
        self.assert_found([self.third], quarantined_until=[soon])
        self.assert_found([self.first, self.second, self.elsewhere], quarantined_until__empty=True)
        self.assert_found([self.first], last_released_at__lte=[now])

    def test_ipv6_prefix(self):
        prefix = Prefix.objects.create(prefix="2001:db8::/64", vrf=self.vrf)
        Segment.objects.filter(pk=self.third.pk).update(ipv6_prefix=prefix)
        self.assert_found([self.third], ipv6_prefix_id=[prefix.pk])
        self.assert_found([self.third], ipv6_prefix=["2001:db8::/64"])
        self.assert_found([self.third], q="2001:db8::5")
        self.assert_found([self.third], contains="2001:db8::5")
        self.assert_found([self.third], within="2001:db8::/32")
        self.assert_found([self.third], within_include="2001:db8::/64")
        self.assert_found([], contains="2001:db9::5")

    def test_prefix(self):
        self.assert_found([self.second], prefix_id=[self.second.prefix_id])
        self.assert_found([self.first, self.second], prefix=["10.0.0.0/24", "10.0.1.0/24"])
        self.assert_found([self.elsewhere], within="10.2.0.0/16")
        self.assert_found([], within="10.2.0.0/24")
        self.assert_found([self.elsewhere], within_include="10.2.0.0/24")
        self.assert_found([self.second], contains="10.0.1.9")
        self.assert_found([self.second], contains="10.0.1.0/24")
        for name in ("prefix", "within", "within_include", "contains"):
            params = {name: ["nonsense"] if name == "prefix" else "nonsense"}
            self.assertIn(name, self.filterset(params, self.queryset).errors)

    def test_pool(self):
        of_pool = [self.first, self.second, self.third]
        self.assert_found(of_pool, pool_id=[self.site_pool.pk])
        self.assert_found(of_pool, pool=["network1-site1"])
        self.assert_found(of_pool, vrf_id=[self.vrf.pk])
        self.assert_found([self.elsewhere], vrf=["65000:2"])
        self.assert_found([self.elsewhere], vrf=["Network2"])
        self.assert_found(of_pool, vlan_group_id=[self.site_pool.vlan_group_id])
        self.assert_found(of_pool, tenant_id=[self.tenant.pk])
        self.assert_found(of_pool, tenant=["tenant1"])
        self.assert_found(of_pool, tenant_group=["tenants"])
        self.assert_found(of_pool, vlan_group=[self.site_pool.vlan_group.slug])
        self.assert_found([*of_pool, self.elsewhere], region=["region1"])
        self.assert_found(of_pool, region_id=[self.subregion.pk])
        self.assert_found(of_pool, site=["site1"])
        self.assert_found(of_pool, site_id=[self.site1.pk])
        self.assert_found([self.elsewhere], scope_type=["dcim.region"], scope_id=[self.region.pk])
        self.assert_found([], site_group_id=[self.site_group.pk])
        self.assert_found([], site_group=["group1"])
        self.assert_found([], location_id=[self.location.pk])
        self.assert_found([], location=["room1"])

    def test_cluster_name(self):
        self.assert_found([self.second], cluster_name=["Prod-02", "prod-77"])
        self.assert_found([], cluster_name=["prod-01"])

    def test_held_at(self):
        now = timezone.now()
        self.assert_found([self.second], held_at=now)
        released = self.first.allocations.get()
        self.assert_found([self.first], held_at=released.allocated_at)
        self.assert_found([], held_at=released.allocated_at - timedelta(hours=1))

    def test_allocations_that_the_user_may_not_view_find_nothing(self):
        request = SimpleNamespace(user=AnonymousUser())
        for params in ({"cluster_name": ["prod-02"]}, {"q": "prod-02"}, {"held_at": timezone.now()}):
            self.assertFalse(self.filterset(params, self.queryset, request=request).qs.exists())


class AllocationFilterSetTestCase(Allocations, FilterSetTests, TestCase):
    queryset = Allocation.objects.all()
    filterset = AllocationFilterSet
    # `places` is internal: the service's record of the requested places.
    ignore_fields = ("expiry_warned", "places")

    @classmethod
    def setUpTestData(cls):
        cls.make_places()
        cls.make_allocations()
        cls.cluster = Cluster.objects.create(
            name="prod-03", type=ClusterType.objects.create(name="Bare metal", slug="bare-metal")
        )
        cls.third_held = allocate("prod-03", pool=cls.region_pool, user=cls.user, purpose="backup").allocation

    def test_q(self):
        self.assert_found([self.held], q="PROD-02")
        self.assert_found([self.held], q="101")
        self.assert_found([self.held], q="epg_101")
        self.assert_found([self.held], q="10.0.1.4")
        self.assert_found([self.third_held], q="network2 region")
        self.assert_found([self.held, self.released, self.third_held], q=" ")

    def test_cluster(self):
        self.assert_found([self.held], cluster_name=["Prod-02"])
        self.assert_found([self.released, self.held], cluster_name__n=["prod-03"])
        self.assert_found([self.third_held], cluster_id=[self.cluster.pk])
        self.assert_found([self.held], purpose=["storage"])

    def test_status(self):
        self.assert_found([self.held, self.third_held], status=[AllocationStatusChoices.ACTIVE])
        self.assert_found([self.released], status=[AllocationStatusChoices.RELEASED])
        self.assert_found([self.held, self.third_held, self.released], status=AllocationStatusChoices.values())

    def test_times(self):
        soon, before = timezone.now() + timedelta(hours=1), timezone.now() - timedelta(hours=1)
        everything = [self.held, self.released, self.third_held]
        self.assert_found(everything, allocated_at__lt=[soon])
        self.assert_found(everything, allocated_at__before=soon)
        self.assert_found([], allocated_at__gte=[soon])
        self.assert_found([], allocated_at__after=soon)
        self.assert_found([self.released], released_at__lte=[soon])
        self.assert_found([self.released], released_at__after=before)
        self.assert_found([], released_at__before=before)
        self.assert_found([self.held], allocated_at=[self.held.allocated_at])

    def test_held_at(self):
        start, end = datetime(2026, 3, 12, tzinfo=UTC), datetime(2026, 3, 14, tzinfo=UTC)
        tick = timedelta(microseconds=1)
        Allocation.objects.update(allocated_at=end + tick)
        Allocation.objects.filter(pk=self.released.pk).update(allocated_at=start, released_at=end)
        Allocation.objects.filter(pk=self.held.pk).update(allocated_at=start, expires_at=end)
        for moment, expected in (
            (start - tick, []),
            (start, [self.released, self.held]),
            ("2026-03-12", [self.released, self.held]),
            ("2026-03-11T23:00:00Z", []),
            ("2026-03-13 23:59:59", [self.released, self.held]),
            ("2026-03-14T02:00:00+03:00", [self.released, self.held]),
            ("2026-03-14T02:00:00+02:00", []),
            (end, []),
            (end + tick, [self.third_held]),
        ):
            self.assert_found(expected, held_at=moment)
        self.assert_found([self.held], held_at=start, vid=[101])
        with timezone.override("Asia/Tokyo"):
            self.assert_found([self.released, self.held], held_at="2026-03-13")
            self.assert_found([], held_at="2026-03-12")

    def test_leases(self):
        now = timezone.now()
        soon = now + timedelta(hours=1)
        Allocation.objects.filter(pk=self.held.pk).update(expires_at=soon)
        self.assert_found([self.held], expires_at__after=now)
        self.assert_found([], expires_at__before=now)
        self.assert_found([self.held], expires_at__lte=[soon])
        self.assert_found([self.held], expires_at__empty=False)
        self.assert_found([self.released, self.third_held], expires_at__empty=True)
        self.assert_found([self.released], release_reason=["released", "expired"])
        self.assertIn("release_reason", self.filterset({"release_reason": ["x"]}, self.queryset).errors)

    def test_shared(self):
        shared = share(self.second, "prod-04", user=self.user).allocation
        self.assert_found([shared], shared=True)
        self.assert_found([self.held, self.released, self.third_held], shared=False)

    def test_ipv6_prefix(self):
        Allocation.objects.filter(pk=self.held.pk).update(ipv6_prefix="2001:db8::/64")
        self.assert_found([self.held], ipv6_prefix=["2001:db8::/64"])
        self.assert_found([self.held], q="2001:db8::5")
        self.assert_found([self.held], contains="2001:db8::5")
        self.assert_found([self.held], within="2001:db8::/32")
        self.assert_found([self.held], within_include="2001:db8::/64")

    def test_users(self):
        self.assert_found([self.held, self.released, self.third_held], allocated_by=["alice"])
        self.assert_found([], allocated_by_id=[make_user().pk])
        self.assert_found([self.released], released_by=["operator"])
        self.assert_found([self.released], released_by_id=[make_user().pk])

    def test_what_was_held(self):
        self.assert_found([self.held], segment_id=[self.second.pk])
        self.assert_found([self.held], vid=[101])
        self.assert_found([self.held], epg_name=["EPG_101"])
        self.assert_found([self.held, self.released], pool_name=["Network1 Site1"])
        self.assert_found([self.third_held], vrf_name=["Network2"])
        self.assert_found([self.held], prefix=["10.0.1.0/24"])
        self.assert_found([self.held, self.released], within="10.0.0.0/16")
        self.assert_found([self.held], within_include="10.0.1.0/24")
        self.assert_found([self.held], contains="10.0.1.1")

    def test_pool(self):
        self.assert_found([self.third_held], pool_id=[self.region_pool.pk])
        self.assert_found([self.third_held], pool=[self.region_pool.slug])
        self.assert_found([self.held, self.released], vrf_id=[self.vrf.pk])
        self.assert_found([self.held, self.released], site=["site1"])
        self.assert_found([self.held, self.released, self.third_held], region_id=[self.region.pk])


class MomentsTestCase(TestCase):
    def test_every_filter_by_time_says_how_to_write_one(self):
        for filterset in (SegmentFilterSet, AllocationFilterSet):
            for name, one in filterset.base_filters.items():
                if isinstance(one, MomentFilter):
                    for text in ("March", "2026-02-30", "12.03.2026", "1e9", "2026-03-12T14:30:00 02:00", "\0"):
                        errors = filterset({name: text}, filterset._meta.model.objects.all()).errors
                        self.assertIn(name, errors, text)
                    found = filterset({name: "9999-12-31T23:59:59-14:00"}, filterset._meta.model.objects.all())
                    self.assertEqual(list(found.qs), [])


class LiteralNullTestCase(TestCase):
    def test_every_filter_takes_null(self):
        for filterset in (SegmentPoolFilterSet, SegmentFilterSet, AllocationFilterSet):
            asked = QueryDict("&".join(f"{name}=null" for name in filterset.base_filters))
            self.assertIsNotNone(filterset(asked, filterset._meta.model.objects.all()).qs)

    def test_null_is_text_where_nothing_cannot_be_compared(self):
        pool = make_pool(name="A null pool")
        found = SegmentPoolFilterSet(QueryDict("name__regex=null"), SegmentPool.objects.all()).qs
        self.assertEqual(list(found), [pool])
