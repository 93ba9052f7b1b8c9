import re

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from core.models import ObjectChange
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db

URL = "/plugins/vlan-manager/allocations/allocate/"


@pytest.fixture
def pool():
    return make_pool(segments=2)


@pytest.fixture
def user(pool):
    user = permit(make_user("alice"), SegmentPool, "allocate", "view")
    return permit(user, Allocation, "view")


@pytest.fixture
def ask(client, user):
    """A function that posts the form as `user`."""
    client.force_login(user)

    def post(pool, cluster_name="prod-01", **data):
        return client.post(URL, {"pool": getattr(pool, "pk", pool), "cluster_name": cluster_name, **data})

    return post


def errors_of(response):
    assert response.status_code == 200
    return response.context["allocate_form"].errors


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_allocates_and_shows_the_allocation(ask, pool, user):
    response = ask(pool, " prod-01 ", purpose="Storage", description="For storage", changelog_message="Ticket 1")

    allocation = Allocation.objects.get()
    assert response.status_code == 302
    assert response.url == allocation.get_absolute_url()
    assert messages_of(response) == ["Allocated VLAN 100, prefix 10.0.0.0/24, EPG EPG_100 to cluster prod-01."]
    assert (allocation.cluster_name, allocation.purpose) == ("prod-01", "storage")
    assert allocation.description == "For storage"
    assert allocation.allocated_by == user
    change = ObjectChange.objects.get(changed_object_type__model="allocation")
    assert (change.user, change.action, change.message) == (user, "create", "Ticket 1")


def test_a_double_click_makes_one_allocation(ask, pool):
    ask(pool)
    response = ask(pool, "PROD-01")

    assert response.url == Allocation.objects.get().get_absolute_url()
    assert "already holds VLAN 100" in messages_of(response)[-1]


def test_names_are_escaped(client, ask, pool):
    response = client.get(ask(pool, "<script>alert(1)</script>").url)

    assert b"<script>alert(1)" not in response.content
    assert b"&lt;script&gt;alert(1)" in response.content


def test_a_name_of_a_hundred_characters(ask, pool):
    assert ask(pool, "x" * 100).status_code == 302
    assert "cluster_name" in errors_of(ask(pool, "x" * 101))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pool", ""),
        ("pool", "0"),
        ("pool", "abc"),
        ("pool", "²"),
        ("pool", "9" * 30),
        ("cluster_name", ""),
        ("cluster_name", "a,b"),
        ("cluster_name", "a\0b"),
        ("purpose", "not valid"),
        ("description", "x" * 201),
    ],
)
def test_wrong_values_are_reported_at_their_field(ask, pool, field, value):
    data = {"pool": pool.pk, "description": "kept", field: value}
    response = ask(**data)

    assert list(errors_of(response)) == [field]
    assert response.context["allocate_form"]["description"].value() == data["description"]
    assert not Allocation.objects.exists()


def test_exhausted_pool(ask, pool):
    ask(pool, "prod-01")
    ask(pool, "prod-02")

    assert "has no available segment" in errors_of(ask(pool, "prod-03"))["__all__"][0]


def test_paused_pool(ask, pool):
    SegmentPool.objects.update(status="paused")

    assert "is paused" in errors_of(ask(pool))["__all__"][0]


def test_busy_pool(ask, pool, monkeypatch):
    def refuse(**kwargs):
        raise Busy

    monkeypatch.setattr("netbox_vlan_manager.views.allocations.allocate", refuse)

    assert "try again" in errors_of(ask(pool))["__all__"][0]


def test_offers_the_pools_that_the_user_may_allocate_in(client, pool):
    make_pool(scope="Site2", container="10.1.0.0/16", status="paused")
    make_pool(scope="Site3", container="10.2.0.0/16")
    user = permit(make_user("bob"), SegmentPool, "allocate", constraints={"name__in": [pool.name, "Network1 Site2"]})
    client.force_login(user)

    labels = [label for _, label in client.get(URL).context["allocate_form"].fields["pool"].choices]

    assert labels[1:] == ["Network1 Site1 (2 of 2 available)", "Network1 Site2 (paused)"]


def test_another_pool_is_forbidden(client, pool):
    other = make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
    client.force_login(permit(make_user("bob"), pool, "allocate"))

    assert client.get(URL).status_code == 200
    assert client.get(URL, {"pool": pool.pk}).status_code == 200
    assert client.get(URL, {"pool": other.pk}).status_code == 403
    assert client.post(URL, {"pool": other.pk, "cluster_name": "prod-01"}).status_code == 403
    assert not Allocation.objects.exists()


def test_without_the_permission_it_is_forbidden(client, pool):
    client.force_login(permit(make_user("bob"), SegmentPool, "view", "add", "change", "delete", "release"))

    assert client.get(URL).status_code == 403
    assert client.post(URL, {"pool": pool.pk, "cluster_name": "prod-01"}).status_code == 403


@pytest.mark.parametrize("path", ["allocate", "stretched"])
def test_who_may_not_view_allocations_gets_the_result_here(client, pool, path):
    pools = [pool, make_pool(scope="Site2", container="10.1.0.0/16", segments=2)]
    client.force_login(permit(make_user("bob"), SegmentPool, "allocate"))
    where = {"pool": pool.pk} if path == "allocate" else {"vrf": pool.vrf_id, "pools": [one.pk for one in pools]}

    for text in ("Allocated to cluster", "already holds this"):
        response = client.post(f"/plugins/vlan-manager/allocations/{path}/", {**where, "cluster_name": "prod-01"})
        content = response.content.decode()
        assert messages_of(response) == []
        held = list(Allocation.objects.order_by("prefix"))
        assert content.count(text) == len(held) == len(where)
        for allocation in held:
            assert f">{allocation.prefix}</span>" in content
        targets = re.findall(r'data-clipboard-target="#([^"]+)"', content)
        assert len(set(targets)) == len(targets) == 3 * len(held)
        assert all(content.count(f'id="{target}"') == 1 for target in targets)
        form = response.context["allocate_form"]
        assert {name: form[name].value() for name in where} == {
            name: [str(pk) for pk in value] if name == "pools" else str(value) for name, value in where.items()
        }
        assert not form["cluster_name"].value()


@pytest.mark.parametrize("page", ["allocation_list", "segmentpool_list", "segmentpool"])
def test_button(client, pool, page):
    url = reverse(f"plugins:netbox_vlan_manager:{page}", kwargs={"pk": pool.pk} if page == "segmentpool" else None)
    user = permit(permit(make_user("bob"), SegmentPool, "view"), Allocation, "view")
    client.force_login(user)
    assert URL.encode() not in client.get(url).content

    permit(user, SegmentPool, "allocate")
    assert URL.encode() in client.get(url).content


def test_buttons_of_a_list_show_for_permitted_pools_only(client, pool):
    other = make_pool(scope="Site2", container="10.1.0.0/16")
    user = permit(permit(make_user("bob"), SegmentPool, "view"), other, "allocate")
    client.force_login(user)

    content = client.get("/plugins/vlan-manager/pools/").content.decode()
    assert f"{URL}?pool={other.pk}" in content
    assert f"{URL}?pool={pool.pk}" not in content
    assert f"{URL}?pool={other.pk}" in client.get(other.get_absolute_url()).content.decode()
    assert f"{URL}?pool={pool.pk}" not in client.get(pool.get_absolute_url()).content.decode()


@pytest.mark.parametrize("page", ["", "history/", "list", "pool"])
def test_an_available_segment_leads_here(client, pool, page):
    free = Segment.objects.get(vid=101)
    url = {"list": "/plugins/vlan-manager/segments/", "pool": f"{pool.get_absolute_url()}segments/"}.get(
        page, f"{free.get_absolute_url()}{page}"
    )
    user = permit(permit(make_user("bob"), SegmentPool, "view"), Segment, "view")
    permit(user, Allocation, "view")
    client.force_login(user)

    def links():
        return set(re.findall(rf'"{URL}\?(pool=\d+&amp;vid=\d+)"', client.get(url).content.decode()))

    assert not links()
    permit(user, pool, "allocate")
    expected = {100, 101} if page in ("list", "pool") else {101}
    assert links() == {f"pool={pool.pk}&amp;vid={vid}" for vid in expected}
    allocate("prod-01", pool=pool, user=user, vid=101)
    assert links() == {f"pool={pool.pk}&amp;vid={vid}" for vid in expected - {101}}
    SegmentPool.objects.update(status="paused")
    assert not links()


def test_pool_is_chosen_on_arrival(client, user, pool):
    client.force_login(user)

    assert client.get(URL, {"pool": pool.pk}).context["allocate_form"]["pool"].value() == str(pool.pk)


def test_an_outsider_is_sent_to_the_login(client):
    assert client.get(URL).url.startswith("/login/")


def test_cancel_returns(client, user):
    client.force_login(user)

    assert client.get(URL, {"return_url": "/plugins/vlan-manager/pools/"}).context["return_url"].endswith("/pools/")
    assert client.get(URL, {"return_url": "https://example.com/"}).context["return_url"].endswith("/allocations/")


def test_many_pools_take_no_more_queries(client, user, pool):
    client.force_login(user)
    client.get(URL)
    with CaptureQueriesContext(connection) as few:
        client.get(URL)
    for number in range(2, 6):
        make_pool(scope=f"Site{number}", container=f"10.{number}.0.0/16")
    with CaptureQueriesContext(connection) as many:
        client.get(URL)

    assert len(many) == len(few)
