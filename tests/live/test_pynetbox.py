import pynetbox
import pytest
import requests

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def netbox(stack):
    """A NetBox with the demo data, which no other test uses."""
    live = stack.serve(stack.create_database())
    live.database.netbox("vlan_manager_demo", "--user", live.username)
    yield live
    live.stop()


@pytest.fixture(scope="module")
def nb(netbox):
    return pynetbox.api(netbox.url, token=netbox.token)


def test_list(nb):
    pools = list(nb.plugins.vlan_manager.pools.filter(vrf="Network1"))

    assert [pool.name for pool in pools] == ["Network1 Site1", "Network1 Site2", "Network1 Site3"]
    assert pools[0].total_segments == 10
    assert len(list(nb.plugins.vlan_manager.segments.filter(pool_id=pools[0].id))) == 10


def test_create_allocate_release(nb):
    pool = nb.plugins.vlan_manager.pools.get(name="Network1 Site3")
    segment = nb.plugins.vlan_manager.segments.create(
        pool=pool.id, vid=2190, epg_name="EPG_pynetbox", prefix="10.13.90.0/24", dhcp=True
    )
    assert (segment.vid, segment.epg_name, str(segment.prefix)) == (2190, "EPG_pynetbox", "10.13.90.0/24")

    segment.description = "for tests"
    assert segment.save()

    allocation = nb.plugins.vlan_manager.allocations.create(cluster_name="lab-1", site="Site3", vrf="Network1")
    again = nb.plugins.vlan_manager.allocations.create(cluster_name="LAB-1", pool=pool.id)
    assert (again.id, allocation.status.value) == (allocation.id, "active")
    assert nb.plugins.vlan_manager.segments.get(allocation.segment.id).status.value == "allocated"

    assert allocation.delete()
    allocation = nb.plugins.vlan_manager.allocations.get(allocation.id)
    assert allocation.status.value == "released"
    assert segment.delete()


def test_first_generation_s_calls(netbox):
    def call(path, **body):
        return requests.post(
            f"{netbox.url}/api/plugins/vlan-manager/{path}",
            json=body,
            headers={"Authorization": f"Bearer {netbox.token}"},
            timeout=60,
        )

    body = {"cluster_name": "prod-01", "site": "Site1", "vrf": "Network1"}
    answer = call("allocate-vlan/", **body)
    assert answer.status_code == 200
    assert answer.json()["vlan_id"] == 104
    assert call("allocate-vlan", **body).json() == answer.json() | {"created": False, "outcome": "held"}
    assert call("release-vlan", **body).status_code == 200
    assert call("release-vlan/", **body).json()["code"] == "allocation_not_found"
