import pytest

from netbox_vlan_manager.models import Allocation, SegmentPool
from tests.factories import make_user, permit

ROOT = "/plugins/vlan-manager"


@pytest.mark.django_db
def test_menu_shows_what_the_user_may_use(client, whole_menu):
    user = make_user("alice")
    client.force_login(user)
    assert client.get("/").content.decode().count(f'"{ROOT}/') == 1

    permit(permit(user, Allocation, "view"), SegmentPool, "allocate")
    content = client.get("/").content.decode()
    assert f"{ROOT}/allocations/" in content
    assert f"{ROOT}/allocations/allocate/" in content
    assert f"{ROOT}/pools/" not in content

    client.force_login(make_user("root", is_superuser=True))
    content = client.get("/").content.decode()
    for path in ("pools", "pools/add", "pools/import", "segments", "segments/add", "segments/import", "allocations"):
        assert f'"{ROOT}/{path}/"' in content


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("action", "shown"),
    [("allocate", {"overview", "allocations/allocate"}), ("view", {"overview", "pools", "drift"}), ("change", set())],
)
def test_menu_leads_to_what_one_permission_is_for(client, action, shown):
    client.force_login(permit(make_user("alice"), SegmentPool, action))
    content = client.get("/").content.decode()

    for path in ("overview", "allocations/allocate", "allocations", "pools", "drift"):
        assert (f'"{ROOT}/{path}/"' in content) is (path in shown), path
        assert (client.get(f"{ROOT}/{path}/").status_code == 200) is (path in shown), path
