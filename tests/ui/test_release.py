import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import strip_tags

from core.models import ObjectChange
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, delete_segment, release_allocation, share
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db

BULK_URL = "/plugins/vlan-manager/allocations/release/"
LIST_URL = "/plugins/vlan-manager/allocations/"


@pytest.fixture
def pool():
    return make_pool(segments=3)


@pytest.fixture
def held(pool):
    return allocate("prod-01", pool=pool, user=make_user()).allocation


@pytest.fixture
def user(client, pool):
    user = permit(make_user("alice"), Allocation, "view")
    user = permit(user, Segment, "view")
    user = permit(user, pool, "release")
    client.force_login(user)
    return user


def url_of(allocation):
    return f"{LIST_URL}{allocation.pk}/release/"


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def is_active(allocation):
    return Allocation.objects.active().filter(pk=allocation.pk).exists()


def test_asks_first(client, user, held):
    page = client.get(url_of(held))
    modal = client.get(url_of(held), headers={"HX-Request": "true"})

    assert "prod-01" in page.content.decode()
    assert "<html" in page.content.decode()
    assert modal.content.decode().lstrip().startswith("<form")
    assert is_active(held)


class TestShared:
    """The confirmation lists the clusters that keep the segment."""

    @pytest.fixture
    def others(self, held):
        return [share(held.segment, name, user=make_user()).allocation for name in ("prod-03", "prod-02")]

    @staticmethod
    def text_of(page):
        return " ".join(strip_tags(page.content.decode()).split())

    def test_names_the_others(self, client, user, held, others):
        for headers in ({}, {"HX-Request": "true"}):
            text = self.text_of(client.get(url_of(held), headers=headers))
            assert "The segment stays with prod-02, prod-03. The allocation stays as history." in text
            assert "The next cluster" not in text

    def test_says_nothing_of_them_once_it_is_the_last(self, client, user, held, others):
        for other in others:
            release_allocation(other, user=user)

        text = self.text_of(client.get(url_of(held)))
        assert "The segment stays" not in text
        assert "The next cluster that asks may get the segment." in text

    def test_a_cool_down_is_that_of_the_last(self, client, user, held, others):
        SegmentPool.objects.update(cooldown=60)
        assert "quarantined" not in self.text_of(client.get(url_of(held)))
        for other in others:
            release_allocation(other, user=user)
        assert "The segment is quarantined" in self.text_of(client.get(url_of(held)))

    @pytest.mark.parametrize(
        ("visible", "text"),
        [
            (["prod-01", "prod-02"], "The segment stays with prod-02. The"),
            (["prod-01"], "The segment stays with other clusters, which you may not view."),
        ],
    )
    def test_names_only_those_that_the_user_may_view(self, client, pool, held, others, visible, text):
        user = permit(make_user("bob"), Allocation, "view", constraints={"cluster_name__in": visible})
        client.force_login(permit(user, pool, "release"))

        page = client.get(url_of(held))
        assert text in self.text_of(page)
        assert "prod-03" not in page.content.decode()

    def test_many_and_odd_names(self, client, user, held):
        share(held.segment, "<b>odd</b>", user=user)
        for number in range(30):
            share(held.segment, f"many-{number:02}", user=user)

        page = client.get(url_of(held)).content.decode()
        assert "&lt;b&gt;odd&lt;/b&gt;, many-00" in page
        assert "many-18</strong>." in page
        assert "many-19" not in page
        assert "And with 11 more." in page

    def test_number_of_queries_does_not_grow(self, client, user, held, django_assert_num_queries):
        share(held.segment, "prod-02", user=user)
        with CaptureQueriesContext(connection) as queries:
            client.get(url_of(held))
        for number in range(3, 9):
            share(held.segment, f"prod-0{number}", user=user)
        with django_assert_num_queries(len(queries)):
            client.get(url_of(held))

    def test_list_has_one_button_with_a_menu_of_the_holders(self, client, user, pool, held, others):
        alone = allocate("alone", pool=pool, user=user).allocation
        content = client.get("/plugins/vlan-manager/segments/").content.decode()
        assert 'aria-label="Release alone"' in content
        assert content.count('aria-label="Release"') == 1
        for holder in (held, *others):
            assert f"{url_of(holder)}?return_url=" in content
            assert f"Release {holder.cluster_name}\n" in content
        assert f"Release {alone.cluster_name}\n" not in content

    def test_in_bulk(self, client, user, pool, held, others):
        alone = allocate("alone", pool=pool, user=user).allocation
        last = f"{BULK_URL}?", {"pk": [held.pk, *(other.pk for other in others), alone.pk]}
        assert "with other clusters" not in self.text_of(client.post(*last))

        text = self.text_of(client.post(BULK_URL, {"pk": [held.pk, others[0].pk, alone.pk]}))
        assert "But 1 of the segments stays with other clusters, which share it." in text
        assert "prod-02" not in text


def test_releases(client, user, held):
    response = client.post(url_of(held), {"confirm": True})

    allocation = Allocation.objects.get()
    assert response.url == allocation.get_absolute_url()
    assert messages_of(response) == ["Released prod-01: EPG_100 (100)."]
    assert allocation.released_by == user
    assert Segment.objects.get(pk=held.segment_id).status == "available"


def test_changelog_message(client, user, held):
    client.post(url_of(held), {"confirm": True, "changelog_message": "Cluster is gone"})
    assert ObjectChange.objects.filter(message="Cluster is gone", user=user, changed_object_id=held.pk).count() == 1

    held = allocate("prod-02", pool=held.pool, user=user).allocation
    client.post(BULK_URL, {"pk": held.pk, "_confirm": True, "changelog_message": "This one too"})
    change = ObjectChange.objects.filter(changed_object_type__model="allocation", action="update").latest("pk")
    assert (change.changed_object_id, change.message) == (held.pk, "This one too")


def test_needs_the_confirmation(client, user, held):
    assert client.post(url_of(held)).status_code == 200
    assert is_active(held)


def test_returns_to_where_it_was_asked(client, user, held):
    assert client.get(url_of(held), {"return_url": LIST_URL}).context["return_url"] == LIST_URL
    assert client.post(url_of(held), {"confirm": True, "return_url": LIST_URL}).url == LIST_URL


def test_releasing_again_changes_nothing(client, user, held):
    client.post(url_of(held), {"confirm": True})
    before = Allocation.objects.get().released_at
    response = client.post(url_of(held), {"confirm": True})

    assert "had been released before" in messages_of(response)[-1]
    assert Allocation.objects.get().released_at == before


def test_history_without_its_pool(client, user, held):
    release_allocation(held, user=user)
    for segment in Segment.objects.all():
        delete_segment(segment, user=user)
    SegmentPool.objects.get().delete()

    assert client.get(held.get_absolute_url()).status_code == 200
    assert "had been released before" in messages_of(client.post(url_of(held), {"confirm": True}))[0]


def test_busy(client, user, held, monkeypatch):
    def refuse(*args, **kwargs):
        raise Busy

    monkeypatch.setattr("netbox_vlan_manager.views.allocations.release_allocation", refuse)
    response = client.post(url_of(held), {"confirm": True})

    assert response.url == held.get_absolute_url()
    assert "try again" in messages_of(response)[0]


def test_without_the_permission_it_is_forbidden(client, held):
    user = permit(make_user("bob"), Allocation, "view", "add", "change", "delete")
    user = permit(user, SegmentPool, "view", "add", "change", "delete", "allocate")
    client.force_login(user)

    assert client.get(url_of(held)).status_code == 403
    assert client.post(url_of(held), {"confirm": True}).status_code == 403
    assert client.post(BULK_URL, {"pk": held.pk, "_confirm": True}).status_code == 403
    assert is_active(held)


def test_in_another_pool_it_is_forbidden(client, user):
    other = make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
    held = allocate("prod-02", pool=other, user=user).allocation

    assert client.get(url_of(held)).status_code == 403
    assert client.post(url_of(held), {"confirm": True}).status_code == 403
    response = client.post(BULK_URL, {"pk": held.pk, "_confirm": True})
    assert "None of the selected" in messages_of(response)[0]
    assert is_active(held)


def test_an_allocation_that_may_not_be_viewed_is_not_found(client, pool, held):
    user = permit(permit(make_user("bob"), pool, "release"), Allocation, "view", constraints={"cluster_name": "x"})
    client.force_login(user)

    assert client.get(url_of(held)).status_code == 404


def test_buttons_follow_the_permission(client, user, pool, held):
    other = make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
    foreign = allocate("prod-02", pool=other, user=user).allocation

    for page in (LIST_URL, reverse("plugins:netbox_vlan_manager:segment_list")):
        content = client.get(page).content.decode()
        assert url_of(held) in content
        assert url_of(foreign) not in content
    for allocation, shown in ((held, True), (foreign, False)):
        for page in (allocation.get_absolute_url(), allocation.segment.get_absolute_url()):
            assert (url_of(allocation) in client.get(page).content.decode()) is shown
    assert BULK_URL in client.get(LIST_URL).content.decode()


def test_no_button_once_released(client, user, held):
    release_allocation(held, user=user)

    for page in (held.get_absolute_url(), held.segment.get_absolute_url(), LIST_URL):
        assert url_of(held) not in client.get(page).content.decode()


def test_a_holder_that_may_not_be_viewed_does_not_show(client, pool, held):
    client.force_login(permit(permit(make_user("bob"), Segment, "view"), pool, "release"))

    for page in (held.segment.get_absolute_url(), reverse("plugins:netbox_vlan_manager:segment_list")):
        content = client.get(page).content.decode()
        assert "prod-01" not in content
        assert url_of(held) not in content


class TestBulk:
    @pytest.fixture
    def allocations(self, pool, held):
        return [held, *(allocate(f"prod-0{number}", pool=pool, user=make_user()).allocation for number in (2, 3))]

    def test_asks_first(self, client, user, allocations):
        response = client.post(BULK_URL, {"pk": [allocation.pk for allocation in allocations[:2]]})

        assert len(response.context["table"].rows) == 2
        for allocation in allocations[:2]:
            assert f'name="pk" value="{allocation.pk}"' in response.content.decode()
        assert all(map(is_active, allocations))

    def test_releases_each(self, client, user, allocations):
        data = {"pk": [allocation.pk for allocation in allocations[:2]], "_confirm": True}
        response = client.post(BULK_URL, data)

        assert response.url == LIST_URL
        assert messages_of(response) == ["Released 2 allocations."]
        assert [is_active(allocation) for allocation in allocations] == [False, False, True]

    def test_of_all_that_match(self, client, user, allocations):
        response = client.post(f"{BULK_URL}?cluster_name=prod-02", {"_all": True})

        assert [row.record.cluster_name for row in response.context["table"].rows] == ["prod-02"]

    def test_says_which_was_not_released_and_why(self, client, user, allocations, monkeypatch):
        def refuse_one(allocation, **kwargs):
            if allocation.cluster_name == "prod-02":
                raise Busy
            return release_allocation(allocation, **kwargs)

        monkeypatch.setattr("netbox_vlan_manager.views.allocations.release_allocation", refuse_one)
        data = {"pk": [allocation.pk for allocation in allocations], "_confirm": True}
        refused, released = messages_of(client.post(BULK_URL, data))

        assert "prod-02: EPG_101 (101) was not released: " in refused
        assert released == "Released 2 allocations."

    @pytest.mark.parametrize("pk", ["", "abc", "0", "9" * 30])
    def test_nothing_selected(self, client, user, allocations, pk):
        response = client.post(BULK_URL, {"pk": pk, "_confirm": True})

        assert response.url == LIST_URL
        assert "None of the selected" in messages_of(response)[0]

    def test_a_changelog_message_that_is_too_long(self, client, user, allocations):
        data = {"pk": allocations[0].pk, "_confirm": True, "changelog_message": "x" * 201}

        assert "changelog_message" in client.post(BULK_URL, data).context["form"].errors
        assert is_active(allocations[0])

    def test_get_leads_to_the_list(self, client, user):
        assert client.get(BULK_URL).url == LIST_URL
