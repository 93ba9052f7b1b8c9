import pytest
from django.core.exceptions import ValidationError
from django.db.models.signals import pre_save

from core.models import ObjectChange
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import (
    create_segment,
    delete_segment,
    update_pool,
)
from netbox_vlan_manager.services.base.audit import change_tracking
from netbox_vlan_manager.services.segments.provisioning import build_segments_locked
from netbox_vlan_manager.services.segments.spaces import Containers
from netbox_vlan_manager.services.segments.specs import clean_spec
from tenancy.models import Tenant
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_site

pytestmark = pytest.mark.django_db


def errors(error):
    return error.value.message_dict


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
        # The segment is written last, after its VLAN and prefix.
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


@pytest.mark.parametrize("what", ["prefixes", "scope"])
def test_pool_that_changes_while_a_segment_is_made_is_noticed(user, pool, what):
    spec = clean_spec(pool, Containers(pool), vid=100, epg_name="EPG_100", prefix="10.0.0.0/24")
    update_pool(pool, user=user, **{what: ["10.9.0.0/16"] if what == "prefixes" else make_site("Site2")})
    with change_tracking(user), pytest.raises(Busy):
        build_segments_locked([spec])
    assert VLAN.objects.count() == 0


def test_ipv6_segment(user):
    pool = make_pool(container="2001:db8::/32")
    segment = make_segment(pool, 100, prefix="2001:db8:0:1::/64")
    assert str(segment.prefix) == "2001:db8:0:1::/64"
    with pytest.raises(ValidationError) as error:
        make_segment(pool, 101, prefix="2001:db8::/40")
    assert "/48 to /127" in errors(error)["prefix"][0]
