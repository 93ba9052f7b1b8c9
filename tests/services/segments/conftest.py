"""A pool with a free and a held segment, and the ways to edit them in NetBox."""

import pytest
from django.db import connection

from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.drift.consistency import find_drift
from tests.factories import make_pool, make_user
from tests.services.segments.world import REST, Pages, state


@pytest.fixture
def pool():
    return make_pool(segments=3)


@pytest.fixture
def free(pool):
    """A segment that nobody holds: VLAN 101 with 10.0.1.0/24."""
    return Segment.objects.get(pool=pool, vid=101)


@pytest.fixture
def held(pool):
    """A segment that prod-01 holds: VLAN 100 with 10.0.0.0/24."""
    return allocate("prod-01", pool=pool, user=make_user()).allocation.segment


@pytest.fixture
def client(client):
    """A test client whose user is a superuser."""
    client.force_login(make_user("root", is_superuser=True))
    return client


@pytest.fixture(params=[REST, Pages], ids=["rest", "pages"])
def netbox(request, client):
    return request.param(client)


@pytest.fixture
def unchanged():
    """A function that makes sure that nothing was written since the test began to ask."""
    before = []

    def check():
        assert state() == before[0]
        connection.check_constraints()
        assert find_drift() == []

    before.append(state())
    return check


@pytest.fixture
def container(pool):
    return pool.prefixes.get()


@pytest.fixture
def stranger(pool):
    """A VLAN and a prefix beside those of the pool, in its group and VRF."""
    vlan = VLAN.objects.create(vid=900, name="Not an EPG name", group=pool.vlan_group)
    return vlan, Prefix.objects.create(prefix="10.0.200.0/24", vrf=pool.vrf, vlan=vlan)
