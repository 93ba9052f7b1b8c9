import pytest
from django.urls import reverse

from netbox_vlan_manager.models import Segment, SegmentPool
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db

EVIL = (
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "https:evil.example",
    "javascript:alert(1)",
    " javascript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,x",
    "/\t/evil.example/",
    "\x00//evil.example/",
    "http://testserver@evil.example/",
)
# Django's redirect() takes these for names of views.
WORDS = ("1", "home", "evil")


def leads_away(url):
    return not url.startswith(("/", "./")) or url.startswith("//") or "evil.example" in url.partition("?")[0]


@pytest.fixture
def segment(client):
    client.force_login(make_user("root", is_superuser=True))
    return make_pool(segments=1).segments.get()


@pytest.mark.parametrize("url", [*EVIL, *WORDS])
def test_pages_go_nowhere_else(client, segment, url):
    root = "/plugins/vlan-manager"
    for path, data in (
        (f"{root}/segments/{segment.pk}/disable/", {"confirm": "on"}),
        (f"{root}/segments/{segment.pk}/enable/", {"confirm": "on"}),
        (f"{root}/segments/disable/", {}),
        (f"{root}/segments/release/", {}),
        (f"{root}/allocations/release/", {}),
        (f"{root}/drift/repair/", {}),
    ):
        for response in (
            client.post(f"{path}", {**data, "return_url": url}),
            client.post(path, data, query_params={"return_url": url}),
        ):
            if "\0" in url and response.status_code == 200:
                # The form refuses this address itself.
                continue
            assert response.status_code == 302, path
            assert not leads_away(response.headers["location"]), (path, response.headers["location"])
    for path in ("segments/import/", "allocations/allocate/", f"segments/{segment.pk}/disable/"):
        response = client.get(f"{root}/{path}", {"return_url": url})
        assert f'href="{url}"' not in response.content.decode()


@pytest.mark.parametrize("url", EVIL)
def test_login_leads_back_to_the_form(client, url):
    path = reverse("plugins:netbox_vlan_manager:allocation_allocate")
    response = client.post(path, {"cluster_name": "c", "return_url": url, "next": url})
    assert response.headers["location"].startswith(f"/login/?next={path}")


def test_words_in_the_way_of_who_may_less(client):
    pool = make_pool(segments=1)
    user = permit(permit(make_user("bob"), SegmentPool, "view"), Segment, "view", "change")
    client.force_login(user)
    response = client.post(
        f"/plugins/vlan-manager/segments/{pool.segments.get().pk}/disable/", {"confirm": "on", "return_url": "1"}
    )
    assert response.headers["location"] == "./1"
