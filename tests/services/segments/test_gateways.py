"""Gateways of segments, from the pool's rule to allocations, exports and IP addresses."""

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from core.models import ObjectChange
from ipam.models import VLAN, IPAddress, Prefix
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import (
    allocate,
    create_segment,
    delete_segment,
    generate_segments,
    release,
    update_pool,
    update_segment,
)
from netbox_vlan_manager.services.allocations.releases import release_warnings
from netbox_vlan_manager.services.base import audit
from netbox_vlan_manager.services.drift.findings import find_drift
from netbox_vlan_manager.services.onboarding.adoption import adopt
from netbox_vlan_manager.services.onboarding.import_files import parse_csv
from netbox_vlan_manager.services.onboarding.importing import import_segments
from netbox_vlan_manager.services.reporting.export import segment_rows
from netbox_vlan_manager.services.segments.deletion import delete_segments_locked
from netbox_vlan_manager.services.segments.segment_columns import EXPORTED
from tests.factories import make_pool, make_segment

pytestmark = pytest.mark.django_db

BOTH = ["10.0.0.0/16", "2001:db8::/48"]


@pytest.fixture
def pool(user):
    """A pool with both families, whose segments have their first address as gateway."""
    pool = make_pool(gateway_rule="first")
    return update_pool(pool, user=user, prefixes=BOTH)


def gateways(segment):
    segment = Segment.objects.get(pk=segment.pk)
    return segment.gateway, segment.ipv6_gateway


def addresses():
    return [str(address) for address in IPAddress.objects.order_by("address")]


def load(user, text):
    return import_segments(parse_csv(text), user=user, enforce=False).results


class TestRule:
    def test_new_segments_have_it(self, user, pool):
        made = make_segment(pool, 100, ipv6_prefix="2001:db8::/64")
        assert gateways(made) == ("10.0.0.1", "2001:db8::1")
        assert gateways(make_segment(pool, 101, 1, gateway="10.0.1.9")) == ("10.0.1.9", None)
        (generated,) = generate_segments(pool, user=user, count=1, prefix_length=24, ipv6_prefix_length=64).segments
        assert gateways(generated) == ("10.0.2.1", "2001:db8:0:1::1")

    def test_growth(self, user, pool):
        pool = update_pool(pool, user=user, auto_grow=True, grow_prefix_length=31)
        allocation = allocate("prod-01", pool=pool, user=user).allocation
        assert (str(allocation.prefix), allocation.gateway) == ("10.0.0.0/31", "10.0.0.0")

    def test_adopted(self, user, pool):
        vlan = VLAN.objects.create(vid=500, name="EPG_500", group=pool.vlan_group)
        prefix = Prefix.objects.create(prefix="10.0.5.0/24", vrf=pool.vrf, vlan=vlan)
        # The router's address is no reason to disable the segment.
        IPAddress.objects.create(address="10.0.5.1/24", vrf=pool.vrf)
        (row,) = adopt(pool, user=user, prefixes=[prefix.pk]).results
        assert (row.segment_status, gateways(Segment.objects.get())) == ("available", ("10.0.5.1", None))

    def test_imported(self, user, pool):
        head = "pool,vlan_id,epg_name,segment,gateway\n"
        row = "network1-site1,{},E{},10.0.{}.0/24,{}\n"
        text = head + row.format(100, 100, 0, "") + row.format(101, 101, 1, "10.0.1.254")
        assert [result.status for result in load(user, text)] == ["created", "created"]
        assert [gateways(segment)[0] for segment in Segment.objects.all()] == ["10.0.0.1", "10.0.1.254"]
        assert [result.status for result in load(user, text)] == ["unchanged", "unchanged"]
        (changed,) = load(user, head + row.format(100, 100, 0, "10.0.0.7"))
        assert changed.changes == {"gateway": {"old": "10.0.0.1", "new": "10.0.0.7"}}
        (wrong,) = load(user, head + row.format(100, 100, 0, "10.0.9.1"))
        assert "not in prefix" in wrong.errors["gateway"][0]

    def test_exported(self, pool):
        make_segment(pool, 100, ipv6_prefix="2001:db8::/64")
        (row,) = segment_rows(Segment.objects.all(), None)
        exported = dict(zip(EXPORTED, row, strict=True))
        assert (exported["gateway"], exported["ipv6_gateway"]) == ("10.0.0.1", "2001:db8::1")

    @pytest.mark.parametrize(
        ("values", "field"),
        [
            ({"gateway_rule": "nth"}, "gateway_offset"),
            ({"gateway_offset": 3}, "gateway_offset"),
            ({"gateway_rule": "nth", "gateway_offset": 0}, "gateway_offset"),
            (
                {"gateway_rule": "nth", "gateway_offset": 300, "prefixes": BOTH[:1], "min_prefix_length": 24},
                "gateway_offset",
            ),
            ({"gateway_rule": "middle"}, "gateway_rule"),
            ({"dns_servers": ["x"]}, "dns_servers"),
            ({"domain_name": "-x.example"}, "domain_name"),
            ({"mtu": 575}, "mtu"),
            ({"mtu": 1279}, "mtu"),
            ({"mtu": 65536}, "mtu"),
        ],
    )
    def test_wrong_settings(self, user, pool, values, field):
        with pytest.raises(ValidationError) as error:
            update_pool(pool, user=user, **values)
        assert list(error.value.message_dict) == [field]

    def test_live_segments_keep_theirs(self, user, pool):
        segment = make_segment(pool, 100)
        update_pool(pool, user=user, gateway_rule="last")
        assert gateways(segment) == ("10.0.0.1", None)


class TestOneSegment:
    def test_edit_by_hand(self, user, pool):
        segment = make_segment(pool, 100)
        held = allocate("prod-01", pool=pool, user=user).allocation
        update_segment(segment, user=user, gateway="10.0.0.9")
        held.refresh_from_db()
        assert (gateways(segment)[0], held.gateway) == ("10.0.0.9", "10.0.0.9")
        update_segment(segment, user=user, gateway="")
        held.refresh_from_db()
        assert (gateways(segment)[0], held.gateway) == (None, None)
        for values in ({"gateway": "10.0.1.1"}, {"gateway": "10.0.0.255"}, {"ipv6_gateway": "2001:db8::1"}):
            with pytest.raises(ValidationError) as error:
                update_segment(segment, user=user, **values)
            assert error.value.message_dict.keys() == values.keys()
        assert find_drift() == []

    def test_history_keeps_it(self, user, pool):
        segment = make_segment(pool, 100)
        released = allocate("prod-01", pool=pool, user=user).allocation
        release("prod-01", pool=pool, user=user)
        update_segment(segment, user=user, gateway="10.0.0.9")
        assert Allocation.objects.get(pk=released.pk).gateway == "10.0.0.1"

    def test_it_follows_the_prefix(self, user, pool):
        segment = make_segment(pool, 100)
        update_segment(segment, user=user, prefix="10.0.8.0/23", ipv6_prefix="2001:db8:0:8::/64")
        assert gateways(segment) == ("10.0.8.1", "2001:db8:0:8::1")
        update_segment(segment, user=user, prefix="10.0.0.0/24", gateway="10.0.0.254", ipv6_prefix=None)
        assert gateways(segment) == ("10.0.0.254", None)
        prefix = Prefix.objects.get(prefix="10.0.0.0/24")
        prefix.prefix = "10.0.7.0/24"
        prefix.save()
        assert gateways(segment) == ("10.0.7.254", None)
        assert find_drift() == []


class TestIPAddresses:
    @pytest.fixture
    def pool(self, user, pool):
        return update_pool(pool, user=user, create_gateways=True)

    def test_they_come_and_go_with_segments(self, user, pool):
        segment = make_segment(pool, 100, ipv6_prefix="2001:db8::/64")
        assert addresses() == ["10.0.0.1/24", "2001:db8::1/64"]
        address = segment.gateway_ip_address
        assert (address.vrf, address.status, address.tenant, address.role) == (pool.vrf, "active", None, None)
        assert ObjectChange.objects.filter(changed_object_type__model="ipaddress", action="create").count() == 2
        assert find_drift() == []
        delete_segment(segment, user=user)
        assert addresses() == []
        assert ObjectChange.objects.filter(changed_object_type__model="ipaddress", action="delete").count() == 2

    def test_many_take_no_statement_each(self, user, pool):
        counts = []
        for count in (30, 60):
            with CaptureQueriesContext(
                connection,
            ) as queries:
                generate_segments(pool, user=user, count=count, prefix_length=24, ipv6_prefix_length=64)
            counts.append(sum("ipam_ipaddress" in query["sql"] for query in queries))
        assert counts[0] == counts[1] < 10
        assert IPAddress.objects.count() == 180

    def test_one_that_is_there_is_used_and_stays(self, user, pool):
        IPAddress.objects.create(address="10.0.0.1/16", vrf=pool.vrf)
        segment = make_segment(pool, 100, status="available")
        assert (segment.gateway, segment.gateway_ip_address) == ("10.0.0.1", None)
        assert find_drift() == []
        delete_segment(segment, user=user)
        assert addresses() == ["10.0.0.1/16"]

    def test_it_follows_the_gateway(self, user, pool):
        segment = make_segment(pool, 100, ipv6_prefix="2001:db8::/64")
        update_segment(segment, user=user, gateway="10.0.0.9")
        assert addresses() == ["10.0.0.9/24", "2001:db8::1/64"]
        update_segment(segment, user=user, prefix="10.0.8.0/23", ipv6_prefix=None)
        assert addresses() == ["10.0.8.9/23"]
        update_segment(segment, user=user, gateway=None)
        assert addresses() == []
        update_segment(segment, user=user, gateway="10.0.8.1")
        assert addresses() == ["10.0.8.1/23"]
        IPAddress.objects.create(address="10.0.8.2/23", vrf=pool.vrf)
        update_segment(segment, user=user, gateway="10.0.8.2")
        assert addresses() == ["10.0.8.2/23"]
        assert Segment.objects.get().gateway_ip_address is None

    def test_it_is_no_use_of_the_segment(self, user, pool):
        make_segment(pool, 100, ipv6_prefix="2001:db8::/64")
        update_pool(pool, user=user, release_in_use="refuse")
        allocate("prod-01", pool=pool, user=user)
        allocation = Allocation.objects.get()
        assert release_warnings([allocation], user) == {}
        release("prod-01", pool=pool, user=user)
        assert Segment.objects.get().status == "available"
        assert find_drift() == []

    def test_bulk_deletion(self, user, pool):
        for index in range(3):
            make_segment(pool, 100 + index, index)
        with audit.change_tracking(user), transaction.atomic():
            delete_segments_locked(Segment.objects.all())
        assert (addresses(), Segment.objects.count()) == ([], 0)

    def test_somebody_deletes_it(self, user, pool):
        segment = make_segment(pool, 100)
        IPAddress.objects.get().delete()
        segment.refresh_from_db()
        assert (segment.gateway, segment.gateway_ip_address) == ("10.0.0.1", None)


def test_create_segment_names_the_field(user, pool):
    with pytest.raises(ValidationError) as error:
        create_segment(pool, user=user, vid=100, epg_name="a", prefix="10.0.0.0/24", gateway="10.0.0.0")
    assert list(error.value.message_dict) == ["gateway"]
