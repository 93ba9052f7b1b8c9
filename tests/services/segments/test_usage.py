import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from netaddr import IPNetwork

from dcim.models import Device, DeviceRole, DeviceType, Interface, Manufacturer
from ipam.models import VLAN, IPAddress, IPRange, Prefix
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services.segments.usage import Network, find_segment_use, find_use, status_reasons, used_ids
from tests.factories import make_segment, make_site, make_user, permit
from virtualization.models import Cluster, ClusterType, VirtualMachine, VMInterface
from vpn.models import L2VPN, L2VPNTermination
from wireless.models import WirelessLAN

pytestmark = pytest.mark.django_db


@pytest.fixture
def segment(pool):
    return make_segment(pool, 100)


def make_device():
    maker = Manufacturer.objects.create(name="M", slug="m")
    kind = DeviceType.objects.create(manufacturer=maker, model="T", slug="t")
    role = DeviceRole.objects.create(name="R", slug="r")
    return Device.objects.create(name="d", site=make_site(), device_type=kind, role=role)


def make_machine():
    kind = ClusterType.objects.create(name="K", slug="k")
    return VirtualMachine.objects.create(name="m", cluster=Cluster.objects.create(name="c", type=kind))


def tag(interface, vlan):
    interface.tagged_vlans.add(vlan)


USES = {
    "1 IP address": lambda segment: make_address(segment, "10.0.0.10/16"),
    "1 IP range": lambda segment: make_range(segment, "10.0.0.250/16", "10.0.1.9/16"),
    "1 prefix": lambda segment: Prefix.objects.create(prefix=IPNetwork("10.0.0.0/26"), vrf=segment.pool.vrf),
    "1 prefix of the VLAN": lambda segment: Prefix.objects.create(prefix=IPNetwork("10.9.0.0/26"), vlan=segment.vlan),
    "1 interface": lambda segment: Interface.objects.create(
        device=make_device(), name="e", type="virtual", mode="access", untagged_vlan=segment.vlan
    ),
    "1 interface that is tagged": lambda segment: tag(
        Interface.objects.create(device=make_device(), name="e", type="virtual", mode="tagged"), segment.vlan
    ),
    "1 interface of a virtual machine": lambda segment: tag(
        VMInterface.objects.create(virtual_machine=make_machine(), name="e", mode="tagged"), segment.vlan
    ),
    "1 wireless LAN": lambda segment: WirelessLAN.objects.create(ssid="s", vlan=segment.vlan),
    "1 L2VPN termination": lambda segment: L2VPNTermination.objects.create(
        l2vpn=L2VPN.objects.create(name="v", slug="v", type="vpls"), assigned_object=segment.vlan
    ),
    "1 VLAN": lambda segment: VLAN.objects.create(vid=7, name="inner", qinq_role="cvlan", qinq_svlan=segment.vlan),
}


def make_address(segment, address):
    return IPAddress.objects.create(address=IPNetwork(address), vrf=segment.pool.vrf)


def make_range(segment, first, last):
    return IPRange.objects.create(
        start_address=IPNetwork(first), end_address=IPNetwork(last), size=1, vrf=segment.pool.vrf
    )


@pytest.mark.parametrize("name", USES)
def test_each_kind_of_use(segment, name):
    other = make_segment(segment.pool, 102, 2)
    USES[name](segment)
    found = find_segment_use([segment, other])
    assert str(found[segment.pk]) == name.partition(" of ")[0].partition(" that ")[0]
    assert not found[other.pk]
    assert str(found[other.pk]) == ""
    # A query for all segments gives the same answer.
    assert list(Segment.objects.filter(pk__in=used_ids(Segment.objects.all()))) == [segment]


@pytest.mark.parametrize("name", USES)
def test_what_the_user_may_not_view_is_neither_named_nor_counted(segment, name):
    USES[name](segment)
    user = make_user("viewer")
    (use,) = find_use([Network.of(segment)], user)
    assert use
    assert use.counts == {}
    assert str(use) == "something that you may not view"


def test_counts_only_what_the_user_may_view(segment):
    for number in range(4):
        make_address(segment, f"10.0.0.1{number}/24")
    user = permit(make_user("viewer"), IPAddress, "view", constraints={"address": "10.0.0.10/24"})
    (use,) = find_use([Network.of(segment)], user)
    assert str(use) == "1 IP address, something that you may not view"
    assert str(find_use([Network.of(segment)])[0]) == "4 IP addresses"


@pytest.mark.parametrize("address", ["9.255.255.255/24", "10.0.1.0/24", "2001:db8::1/64"])
def test_addresses_outside(segment, address):
    make_address(segment, address)
    assert not find_use([Network.of(segment)])[0]


def test_addresses_of_another_vrf(segment):
    IPAddress.objects.create(address=IPNetwork("10.0.0.10/24"))
    assert not find_use([Network.of(segment)])[0]
    network = Network(None, None, (IPNetwork("10.0.0.0/24"),))
    assert str(find_use([network])[0]) == "1 IP address"


def test_first_and_last_address_and_both_families(pool):
    vrf = pool.vrf.pk
    for address in ("10.0.0.0/24", "10.0.0.255/24", "2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff/64"):
        IPAddress.objects.create(address=IPNetwork(address), vrf=pool.vrf)
    both = (IPNetwork("10.0.0.0/24"), IPNetwork("2001:db8::/64"))
    found = find_use([Network(None, vrf, both), Network(None, vrf, both[:1]), Network(None, vrf, both[1:])])
    assert list(map(str, found)) == ["4 IP addresses", "2 IP addresses", "2 IP addresses"]


def test_statements_do_not_grow(pool):
    def count(segments, user):
        with CaptureQueriesContext(connection) as queries:
            find_segment_use(segments, user)
        return len(queries)

    segments = [make_segment(pool, 100 + number, number) for number in range(5)]
    user = permit(make_user("viewer"), IPAddress, "view")
    for who in (None, user):
        # The first call reads the user's permissions, which are cached.
        count(segments, who)
        assert count(segments, who) == count(segments[:1], who) <= 13


def test_nothing_asked(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert find_use([]) == []


@pytest.mark.parametrize(
    ("vlan", "prefix", "texts"),
    [
        ({}, {}, []),
        ({"status": "reserved"}, {}, ["VLAN reserved"]),
        ({}, {"status": "deprecated"}, ["prefix deprecated"]),
        ({}, {"mark_utilized": True}, ["prefix marked as utilized"]),
    ],
)
def test_statuses(vlan, prefix, texts):
    prefix = Prefix(**{"prefix": IPNetwork("10.0.0.0/24"), "status": "active", **prefix})
    assert status_reasons(VLAN(**{"status": "active", **vlan}), [prefix]) == texts
    assert status_reasons(None, [prefix]) == [text for text in texts if "VLAN" not in text]
