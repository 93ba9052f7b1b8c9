import pytest
from django.core.exceptions import ValidationError

from dcim.models import Region, Site, SiteGroup
from ipam.models import VRF, Prefix, VLANGroup
from netbox_vlan_manager.models import SegmentPool
from netbox_vlan_manager.services import (
    create_pool,
)
from tests.factories import make_pool, make_segment, make_site, make_user, make_vrf

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user("alice", is_superuser=True)


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
        ({"vid_ranges": [(20, 10)]}, "vid_ranges", "is reversed"),
        ({"vid_ranges": [(1, 10), (5, 20)]}, "vid_ranges", "overlap"),
        ({"max_prefix_length": 64}, "max_prefix_length", "IPv4"),
        ({"min_prefix_length": 28, "max_prefix_length": 24}, "min_prefix_length", "longer"),
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


@pytest.mark.parametrize("kind", [Region, SiteGroup])
def test_pool_at_a_region_or_site_group(user, kind):
    place = kind.objects.create(name="EMEA", slug="emea")
    assert make_segment(make_pool(scope=place), 100).prefix.scope == place


def test_vrfs_are_looked_up_never_made(user, pool):
    make_segment(pool, 100)
    assert VRF.objects.count() == 1
    assert Site.objects.count() == 1
