"""
A pool with a free and a held segment, and the ways to edit them in NetBox.

pytest may import this file before Django is set up, so the fixtures import models themselves.
"""

import pytest


@pytest.fixture
def free(pool):
    """A segment without a holder: VLAN 101 with 10.0.1.0/24."""
    return pool.segments.get(vid=101)


@pytest.fixture
def held(pool):
    """A segment that prod-01 holds: VLAN 100 with 10.0.0.0/24."""
    from netbox_vlan_manager.services import allocate
    from tests.factories import make_user

    return allocate("prod-01", pool=pool, user=make_user()).allocation.segment


@pytest.fixture
def client(client):
    """A test client whose user is a superuser."""
    from tests.factories import make_user

    client.force_login(make_user("root", is_superuser=True))
    return client


@pytest.fixture(params=["rest", "pages"])
def netbox(request, client):
    from tests.services.segments import world

    return {"rest": world.REST, "pages": world.Pages}[request.param](client)


@pytest.fixture
def unchanged():
    """A function that checks that nothing was written since the fixture was set up."""
    from tests.services.segments import world

    before = world.state()
    return lambda: world.check_unchanged(before)


@pytest.fixture
def container(pool):
    return pool.prefixes.get()


@pytest.fixture
def stranger(pool):
    """A VLAN and a prefix in the pool's group and VRF that belong to no segment."""
    from ipam.models import VLAN, Prefix

    vlan = VLAN.objects.create(vid=900, name="Not an EPG name", group=pool.vlan_group)
    return vlan, Prefix.objects.create(prefix="10.0.200.0/24", vrf=pool.vrf, vlan=vlan)
