import pytest
from django.core.exceptions import ValidationError
from django.db.models import ProtectedError
from django.db.models.signals import pre_save

from core.models import ObjectChange
from dcim.models import Region, Site, SiteGroup
from ipam.models import VLAN, VRF, Prefix, VLANGroup
from netbox_vlan_manager.exceptions import Busy, SegmentInUse
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    create_pool,
    create_segment,
    delete_segment,
    release,
    update_pool,
    update_segment,
)
from netbox_vlan_manager.services.base.audit import change_tracking
from netbox_vlan_manager.services.drift.findings import find_drift
from netbox_vlan_manager.services.segments.provisioning import build_segments, clean_spec
from netbox_vlan_manager.services.segments.spaces import Containers
from tenancy.models import Tenant
from tests.factories import make_pool, make_segment, make_site, make_user, make_vrf

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice", is_superuser=True)


@pytest.fixture
def pool():
    return make_pool()


def errors(error):
    return error.value.message_dict


def test_pool_comes_with_its_vlan_group_and_container(user):
    vrf, site = make_vrf("Network1"), make_site("Site1")
    pool = create_pool(user=user, vrf=vrf, scope=site, prefixes=["10.1.0.0/16"], vid_ranges=[(100, 199), (300, 399)])

    assert (pool.name, pool.slug, pool.status) == ("Network1 Site1", "network1-site1", "active")
    assert (pool.vlan_group.name, pool.vlan_group.scope) == ("Network1-Site1", site)
    assert pool.vlan_group.vid_ranges_list == "100-199,300-399"
    (container,) = pool.prefixes.all()
    assert (str(container), container.status, container.vrf, container.scope) == ("10.1.0.0/16", "container", vrf, site)


def test_pool_takes_the_vlan_group_and_container_that_are_there(user):
    vrf, site = make_vrf(), make_site()
    container = Prefix.objects.create(prefix="10.1.0.0/16", vrf=vrf, status="container")
    group = VLANGroup.objects.create(name="Network1-Site1", slug="n1", scope=site)
    pool = create_pool(user=user, vrf=vrf, scope=site, prefixes=["10.1.0.0/16"])

    assert pool.vlan_group == group
    assert list(pool.prefixes.all()) == [container]
    assert Prefix.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"prefixes": []}, "prefixes", "at least one"),
        ({"prefixes": ["10.1.0.1/16"]}, "prefixes", "10.1.0.0/16"),
        ({"prefixes": ["nonsense"]}, "prefixes", "no mask"),
        ({"vid_ranges": [(0, 10)]}, "vid_ranges", "1 to 4094"),
        ({"vid_ranges": [(20, 10)]}, "vid_ranges", "upside down"),
        ({"vid_ranges": [(1, 10), (5, 20)]}, "vid_ranges", "overlap"),
        ({"max_prefix_length": 64}, "max_prefix_length", "IPv4"),
        ({"min_prefix_length": 28, "max_prefix_length": 24}, "__all__", "longer"),
    ],
)
def test_pool_with_a_wrong_value_is_not_made(user, fields, field, says):
    values = {"prefixes": ["10.1.0.0/16"], **fields}
    with pytest.raises(ValidationError) as error:
        create_pool(user=user, vrf=make_vrf(), scope=make_site(), **values)

    assert says in " ".join(errors(error)[field])
    assert SegmentPool.objects.count() == VLANGroup.objects.count() == Prefix.objects.count() == 0


def test_one_pool_for_a_vrf_at_a_scope(user, pool):
    with pytest.raises(ValidationError):
        create_pool(
            user=user,
            vrf=pool.vrf,
            scope=pool.scope,
            prefixes=["10.9.0.0/16"],
            name="Other",
            vlan_group=pool.vlan_group,
        )
    assert not Prefix.objects.filter(prefix="10.9.0.0/16").exists()


def test_container_of_another_vrf_is_refused(user):
    container = Prefix.objects.create(prefix="10.1.0.0/16", vrf=make_vrf("Other"), status="container")
    with pytest.raises(ValidationError) as error:
        create_pool(user=user, vrf=make_vrf(), scope=make_site(), prefixes=[container])
    assert "VRF Other" in errors(error)["prefixes"][0]


def test_segment_comes_with_its_vlan_and_prefix(user):
    tenant = Tenant.objects.create(name="Platform", slug="platform")
    pool = make_pool(tenant=tenant)
    segment = create_segment(pool, user=user, vid="100", epg_name=" EPG_a ", prefix="10.0.3.0/24", dhcp=True)

    assert (segment.vid, segment.epg_name, segment.status, segment.dhcp) == (100, "EPG_a", "available", True)
    vlan, prefix = VLAN.objects.get(), Prefix.objects.get(prefix="10.0.3.0/24")
    assert (vlan.group, vlan.tenant, vlan.status) == (pool.vlan_group, tenant, "active")
    assert (prefix.vrf, prefix.vlan, prefix.scope, prefix.tenant) == (pool.vrf, vlan, pool.scope, tenant)
    assert prefix._site == pool.scope
    assert (prefix.depth, Prefix.objects.get(prefix="10.0.0.0/16").children) == (1, 1)
    assert find_drift() == []


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        ({"vid": 99}, "vid", "100-999"),
        ({"vid": 0}, "vid", "1 to 4094"),
        ({"vid": 100}, "vid", "taken"),
        ({"epg_name": "has space"}, "epg_name", "letters"),
        ({"epg_name": "EPG_100"}, "epg_name", "VLAN 100"),
        ({"prefix": "10.0.7.0"}, "prefix", "no mask"),
        ({"prefix": "10.0.7.1/24"}, "prefix", "10.0.7.0/24"),
        ({"prefix": "10.0.0.0/15"}, "prefix", "/16 to /31"),
        ({"prefix": "10.1.0.0/24"}, "prefix", "10.0.0.0/16"),
        ({"prefix": "10.0.0.0/25"}, "prefix", "10.0.0.0/24"),
        ({"prefix": "10.0.0.0/16"}, "prefix", "overlaps"),
    ],
)
def test_segment_with_a_wrong_value_is_not_made(user, pool, values, field, says):
    make_segment(pool, 100)
    with pytest.raises(ValidationError) as error:
        create_segment(pool, user=user, **{"vid": 101, "epg_name": "EPG_101", "prefix": "10.0.1.0/24"} | values)

    assert says in " ".join(errors(error)[field])
    assert Segment.objects.count() == VLAN.objects.count() == 1
    assert Prefix.objects.count() == 2


def test_pools_that_share_a_vlan_group_never_share_a_vlan_id(user, pool):
    make_segment(pool, 100)
    other = make_pool("Network2", vlan_group=pool.vlan_group)
    with pytest.raises(ValidationError) as error:
        make_segment(other, 100, epg_name="EPG_other")
    assert "taken" in errors(error)["vid"][0]


def test_same_prefix_in_another_vrf_is_another_prefix(user, pool):
    make_segment(pool, 100)
    assert make_segment(make_pool("Network2"), 100).vid == 100


def test_vlan_and_prefix_that_are_there_are_taken_and_kept(user, pool):
    vlan = VLAN.objects.create(group=pool.vlan_group, vid=100, name="EPG_100")
    prefix = Prefix.objects.create(prefix="10.0.0.0/24", vrf=pool.vrf)
    segment = make_segment(pool, 100)

    assert (segment.vlan, segment.prefix, segment.prefix.vlan) == (vlan, prefix, vlan)
    delete_segment(segment, user=user)
    assert VLAN.objects.filter(pk=vlan.pk).exists()
    assert Prefix.objects.filter(pk=prefix.pk).exists()


def test_vlan_that_is_there_under_another_name_is_not_taken(user, pool):
    VLAN.objects.create(group=pool.vlan_group, vid=100, name="servers")
    with pytest.raises(ValidationError) as error:
        create_segment(pool, user=user, vid=100, epg_name="EPG_100", prefix="10.0.0.0/24")
    assert "servers" in errors(error)["epg_name"][0]


def test_prefix_of_another_vlan_is_not_taken(user, pool):
    Prefix.objects.create(prefix="10.0.0.0/24", vrf=pool.vrf, vlan=VLAN.objects.create(vid=5, name="servers"))
    with pytest.raises(ValidationError) as error:
        create_segment(pool, user=user, vid=100, epg_name="EPG_100", prefix="10.0.0.0/24")
    assert "servers" in errors(error)["prefix"][0]


def test_failure_half_way_leaves_nothing(user, pool):
    changes = ObjectChange.objects.count()

    def fail(**kwargs):
        # The segment is the last to be written.
        assert (VLAN.objects.count(), Prefix.objects.filter(prefix="10.0.0.0/24").count()) == (1, 1)
        raise ZeroDivisionError

    pre_save.connect(fail, sender=Segment)
    try:
        with pytest.raises(ZeroDivisionError):
            make_segment(pool, 100)
    finally:
        pre_save.disconnect(fail, sender=Segment)
    assert VLAN.objects.count() == 0
    assert Prefix.objects.filter(prefix="10.0.0.0/24").count() == 0
    assert ObjectChange.objects.count() == changes


def test_update_changes_vlan_and_prefix(user, pool):
    segment = make_segment(pool, 100)
    segment = update_segment(
        segment, user=user, vid=200, epg_name="EPG_b", prefix="10.0.9.0/25", dhcp=True, description="moved"
    )

    segment = Segment.objects.get(pk=segment.pk)
    assert (segment.vid, segment.vlan.vid, segment.epg_name) == (200, 200, "EPG_b")
    assert (str(segment.prefix), segment.dhcp, segment.description) == ("10.0.9.0/25", True, "moved")
    assert find_drift() == []
    logged = ObjectChange.objects.filter(user=user).values_list("changed_object_type__model", flat=True)
    assert set(logged) == {"vlan", "prefix", "segment"}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"vid": 101}, "vid"),
        ({"vid": 99}, "vid"),
        ({"epg_name": "EPG_101"}, "epg_name"),
        ({"epg_name": "a b"}, "epg_name"),
        ({"prefix": "10.0.1.0/25"}, "prefix"),
        ({"prefix": "10.7.0.0/24"}, "prefix"),
        ({"description": "x" * 201}, "description"),
    ],
)
def test_update_with_a_wrong_value_changes_nothing(user, pool, values, field):
    segment = make_segment(pool, 100)
    make_segment(pool, 101, 1)
    with pytest.raises(ValidationError) as error:
        update_segment(segment, user=user, **{"dhcp": True} | values)

    assert field in errors(error)
    segment = Segment.objects.get(pk=segment.pk)
    assert (segment.vid, segment.epg_name, str(segment.prefix), segment.dhcp) == (100, "EPG_100", "10.0.0.0/24", False)


def test_update_leaves_alone_what_nobody_gave(user, pool):
    segment = make_segment(pool, 100)
    stale = Segment.objects.select_related("vlan", "prefix").get(pk=segment.pk)
    update_segment(segment, user=user, vid=200, epg_name="EPG_new", prefix="10.0.9.0/24")
    update_segment(stale, user=user, description="x")

    segment = Segment.objects.get()
    assert (segment.vid, segment.epg_name, str(segment.prefix), segment.description) == (
        200,
        "EPG_new",
        "10.0.9.0/24",
        "x",
    )


def test_new_epg_name_is_an_update_of_the_segment(user, pool):
    segment = make_segment(pool, 100)
    before = segment.last_updated
    assert update_segment(segment, user=user, epg_name="EPG_new").last_updated > before


@pytest.mark.parametrize("what", ["prefixes", "scope"])
def test_pool_that_changes_while_a_segment_is_made_is_noticed(user, pool, what):
    spec = clean_spec(pool, Containers(pool), vid=100, epg_name="EPG_100", prefix="10.0.0.0/24")
    update_pool(pool, user=user, **{what: ["10.9.0.0/16"] if what == "prefixes" else make_site("Site2")})
    with change_tracking(user), pytest.raises(Busy):
        build_segments([spec])
    assert VLAN.objects.count() == 0


def test_allocated_segment_keeps_its_vlan_id_and_prefix_but_not_its_texts(user, pool):
    segment = make_segment(pool, 100)
    allocation = allocate("prod-01", pool=pool, user=user).allocation
    for values in ({"vid": 200}, {"prefix": "10.0.9.0/24"}):
        with pytest.raises(SegmentInUse):
            update_segment(segment, user=user, **values)
    update_segment(segment, user=user, epg_name="EPG_new", description="kept")

    allocation.refresh_from_db()
    assert allocation.epg_name == "EPG_new"
    assert Segment.objects.get().status == "allocated"
    assert find_drift() == []


def test_deleting_a_segment_removes_what_was_made_with_it(user, pool):
    segment = make_segment(pool, 100)
    delete_segment(segment, user=user)

    assert VLAN.objects.count() == 0
    assert not Prefix.objects.filter(prefix="10.0.0.0/24").exists()
    assert Prefix.objects.get().children == 0
    deleted = ObjectChange.objects.filter(user=user, action="delete")
    assert sorted(deleted.values_list("changed_object_type__model", flat=True)) == ["prefix", "segment", "vlan"]


def test_allocated_segment_is_not_deleted(user, pool):
    segment = make_segment(pool, 100)
    allocate("prod-01", pool=pool, user=user)
    with pytest.raises(SegmentInUse):
        delete_segment(segment, user=user)
    with pytest.raises(ProtectedError):
        segment.delete()
    with pytest.raises(ProtectedError):
        Segment.objects.all().delete()
    assert Segment.objects.count() == VLAN.objects.count() == 1


def test_segment_whose_vlan_something_else_uses_is_not_deleted(user, pool):
    segment = make_segment(pool, 100)
    Prefix.objects.create(prefix="192.168.0.0/24", vlan=segment.vlan)
    with pytest.raises(ProtectedError):
        delete_segment(segment, user=user)
    assert Segment.objects.count() == 1
    assert Prefix.objects.filter(prefix="10.0.0.0/24").exists()


def test_history_outlives_segment_and_pool(user, pool):
    segment = make_segment(pool, 100)
    allocate("prod-01", pool=pool, user=user)
    allocation = release("prod-01", pool=pool, user=user).allocation
    delete_segment(segment, user=user)
    pool.delete()

    allocation.refresh_from_db()
    assert (allocation.segment, allocation.pool) == (None, None)
    assert (allocation.pool_name, allocation.vrf_name, allocation.vid) == ("Network1 Site1", "Network1", 100)
    assert (allocation.epg_name, str(allocation.prefix), allocation.cluster_name) == (
        "EPG_100",
        "10.0.0.0/24",
        "prod-01",
    )


def test_ipv6_segment(user):
    pool = make_pool(container="2001:db8::/32")
    segment = make_segment(pool, 100, prefix="2001:db8:0:1::/64")
    assert str(segment.prefix) == "2001:db8:0:1::/64"
    with pytest.raises(ValidationError) as error:
        make_segment(pool, 101, prefix="2001:db8::/40")
    assert "/48 to /127" in errors(error)["prefix"][0]


@pytest.mark.parametrize("kind", [Region, SiteGroup])
def test_pool_at_a_region_or_site_group(user, kind):
    place = kind.objects.create(name="EMEA", slug="emea")
    assert make_segment(make_pool(scope=place), 100).prefix.scope == place


def test_vrfs_are_looked_up_never_made(user, pool):
    make_segment(pool, 100)
    assert VRF.objects.count() == 1
    assert Site.objects.count() == 1
