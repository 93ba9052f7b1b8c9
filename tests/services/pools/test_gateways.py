"""The service and the command that give existing segments their gateways."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.models import ObjectChange
from ipam.models import IPAddress
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import allocate, update_pool
from netbox_vlan_manager.services.drift.findings import find_drift
from netbox_vlan_manager.services.pools.gateways import set_gateways
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool(user):
    """Three segments without a gateway, of which prod-01 holds the first, in a pool that has a rule since."""
    pool = make_pool(segments=3)
    allocate("prod-01", pool=pool, user=user)
    return update_pool(pool, user=user, gateway_rule="first")


def gateways():
    return [segment.gateway for segment in Segment.objects.order_by("vid")]


def run(*args):
    out = StringIO()
    call_command("vlan_manager_gateways", *args, user=make_user().username, stdout=out)
    return out.getvalue().splitlines()


def test_segments_get_theirs_and_allocations_follow(user, pool):
    assert run("network1-site1", "--dry-run") == [
        "VLAN 100, 10.0.0.0/24: 10.0.0.1",
        "VLAN 101, 10.0.1.0/24: 10.0.1.1",
        "VLAN 102, 10.0.2.0/24: 10.0.2.1",
        "network1-site1: 3 segments would change; nothing was changed",
    ]
    assert gateways() == [None] * 3
    assert run("network1-site1") == ["network1-site1: 3 segments changed, 0 IP addresses made"]
    assert gateways() == ["10.0.0.1", "10.0.1.1", "10.0.2.1"]
    assert Allocation.objects.get().gateway == "10.0.0.1"
    change = ObjectChange.objects.filter(changed_object_type__model="segment").order_by("pk").last()
    assert (change.prechange_data["gateway"], change.postchange_data["gateway"]) == (None, "10.0.2.1")
    assert run("network1-site1") == ["network1-site1: 0 segments changed, 0 IP addresses made"]
    assert find_drift() == []


def test_overwrite(user, pool):
    set_gateways(pool, user=user)
    pool = update_pool(pool, user=user, gateway_rule="last")
    assert set_gateways(pool, user=user).segments == []
    assert len(set_gateways(pool, user=user, overwrite=True).segments) == 3
    assert gateways() == ["10.0.0.254", "10.0.1.254", "10.0.2.254"]
    pool = update_pool(pool, user=user, gateway_rule="none")
    assert set_gateways(pool, user=user, overwrite=True).segments == []


def test_missing_ip_addresses_are_made(user, pool):
    set_gateways(pool, user=user)
    pool = update_pool(pool, user=user, create_gateways=True)
    IPAddress.objects.create(address="10.0.1.1/24", vrf=pool.vrf)
    result = set_gateways(pool, user=user)
    assert (result.segments, result.created, IPAddress.objects.count()) == ([], 2, 3)
    assert find_drift() == []


def test_statements_do_not_grow_but_for_the_rows(user):
    counts = []
    for number, size in enumerate((10, 40)):
        pool = make_pool(f"Network{number}", segments=size, gateway_rule="none")
        pool = update_pool(pool, user=user, gateway_rule="first", create_gateways=True)
        with CaptureQueriesContext(connection) as queries:
            set_gateways(pool, user=user)
        counts.append(len(queries))
    assert counts[1] - counts[0] <= 30 + 2


def test_unknown_pool():
    with pytest.raises(CommandError, match="no pool with the slug 'nowhere'"):
        run("nowhere")
