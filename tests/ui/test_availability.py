from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.models import ObjectChange
from netbox_vlan_manager.exceptions import Busy, SegmentInUse
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, disable_segment
from tests.factories import make_pool, make_segment, make_user, permit

pytestmark = pytest.mark.django_db

LIST_URL = "/plugins/vlan-manager/segments/"
BULK_DISABLE_URL = f"{LIST_URL}disable/"
BULK_ENABLE_URL = f"{LIST_URL}enable/"
BULK_RELEASE_URL = f"{LIST_URL}release/"


@pytest.fixture
def pool():
    return make_pool(segments=4)


@pytest.fixture
def segment(pool):
    return Segment.objects.get(vid=100)


@pytest.fixture
def user(client, pool):
    user = permit(make_user("alice"), Segment, "view", "change", constraints={"vid__lt": 103})
    client.force_login(user)
    return user


def disable_url(segment):
    return f"{segment.get_absolute_url()}disable/"


def enable_url(segment):
    return f"{segment.get_absolute_url()}enable/"


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def state_of(segment):
    return Segment.objects.values_list("status", "disabled_reason").get(pk=segment.pk)


def statuses():
    return list(Segment.objects.order_by("vid").values_list("status", flat=True))


class TestOne:
    def test_asks_first(self, client, user, segment):
        disable_segment(Segment.objects.get(vid=101), user=user, reason="Cable is cut")

        for url in (disable_url(segment), enable_url(Segment.objects.get(vid=101))):
            page = client.get(url).content.decode()
            modal = client.get(url, headers={"HX-Request": "true"}).content.decode()
            assert "<html" in page
            assert modal.lstrip().startswith("<form")
        assert "Cable is cut" in page
        assert statuses() == ["available", "disabled", "available", "available"]

    def test_disables(self, client, user, segment):
        response = client.post(
            disable_url(segment), {"confirm": True, "reason": "Cable is cut", "changelog_message": "Ticket 7"}
        )

        assert response.url == segment.get_absolute_url()
        assert messages_of(response) == ["Disabled segment EPG_100 (100)."]
        assert state_of(segment) == ("disabled", "Cable is cut")
        change = ObjectChange.objects.get(changed_object_id=segment.pk, action="update")
        assert (change.user, change.message) == (user, "Ticket 7")
        assert "Cable is cut" in client.get(segment.get_absolute_url()).content.decode()

    def test_enables(self, client, user, segment):
        disable_segment(segment, user=user, reason="Cable is cut")
        response = client.post(enable_url(segment), {"confirm": True, "return_url": LIST_URL})

        assert response.url == LIST_URL
        assert messages_of(response) == ["Enabled segment EPG_100 (100)."]
        assert state_of(segment) == ("available", "")

    def test_needs_the_confirmation(self, client, user, segment):
        assert client.post(disable_url(segment), {"reason": "x"}).status_code == 200
        assert state_of(segment) == ("available", "")

    def test_an_allocated_segment_is_refused(self, client, user, pool, segment):
        allocate("prod-01", pool=pool, user=user)
        response = client.post(disable_url(segment), {"confirm": True})

        assert response.url == segment.get_absolute_url()
        assert messages_of(response) == ["Segment EPG_100 (100) is allocated: release it before you disable it."]
        assert "was not disabled" in messages_of(client.post(enable_url(segment), {"confirm": True}))[-1]
        assert state_of(segment) == ("allocated", "")

    def test_again(self, client, user, segment):
        client.post(disable_url(segment), {"confirm": True, "reason": "Cable is cut"})
        assert client.get(disable_url(segment)).context["form"].initial["reason"] == "Cable is cut"
        response = client.post(disable_url(segment), {"confirm": True, "reason": "Cable is cut"})

        assert "had been disabled before" in messages_of(response)[-1]

    def test_a_session_that_ends_does_not_lose_the_reason(self, client, user, segment):
        client.logout()
        login = client.post(disable_url(segment), {"confirm": True, "reason": "Cable is cut"}).url
        client.force_login(user)
        page = client.get(parse_qs(urlsplit(login).query)["next"][0])

        assert page.context["form"].initial["reason"] == "Cable is cut"
        assert state_of(segment) == ("available", "")

    def test_a_reason_that_is_too_long(self, client, user, segment):
        response = client.post(disable_url(segment), {"confirm": True, "reason": "x" * 201})

        assert "reason" in response.context["form"].errors
        assert state_of(segment) == ("available", "")

    def test_a_reason_is_escaped(self, client, user, segment):
        disable_segment(segment, user=user, reason="<script>x</script>")

        for page in (segment.get_absolute_url(), enable_url(segment), disable_url(segment)):
            content = client.get(page).content.decode()
            assert "&lt;script&gt;x" in content
            assert "<script>x" not in content

    def test_busy(self, client, user, segment, monkeypatch):
        def refuse(*args, **kwargs):
            raise Busy

        monkeypatch.setattr("netbox_vlan_manager.views.availability.disable_segment", refuse)
        response = client.post(disable_url(segment), {"confirm": True})

        assert response.url == segment.get_absolute_url()
        assert "try again" in messages_of(response)[0]

    def test_without_the_permission_it_is_forbidden(self, client, segment):
        client.force_login(permit(make_user("bob"), Segment, "view", "add", "delete"))

        for url in (disable_url(segment), enable_url(segment)):
            assert client.get(url).status_code == 403
            assert client.post(url, {"confirm": True}).status_code == 403
        assert state_of(segment) == ("available", "")

    def test_a_segment_that_may_not_be_changed_is_not_found(self, client, user):
        foreign = Segment.objects.get(vid=103)

        for url in (disable_url(foreign), enable_url(foreign)):
            assert client.get(url).status_code == 404
            assert client.post(url, {"confirm": True}).status_code == 404
        assert state_of(foreign) == ("available", "")

    def test_buttons_follow_status_and_permission(self, client, user, pool, segment):
        held = allocate("prod-01", pool=pool, user=user).allocation.segment
        disabled = disable_segment(Segment.objects.get(vid=101), user=user).segment
        free, foreign = Segment.objects.get(vid=102), Segment.objects.get(vid=103)
        user = permit(user, Segment, "view")
        client.force_login(permit(user, Allocation, "view"))

        for segment, shown in ((free, (True, False)), (disabled, (False, True)), (held, (False, False))):
            for page in (segment.get_absolute_url(), f"{segment.get_absolute_url()}history/"):
                content = client.get(page).content.decode()
                assert (disable_url(segment) in content, enable_url(segment) in content) == shown
        for page in (foreign.get_absolute_url(), f"{foreign.get_absolute_url()}history/"):
            assert disable_url(foreign) not in client.get(page).content.decode()


class TestBulk:
    def pks(self, *vids):
        return [segment.pk for segment in Segment.objects.filter(vid__in=vids)]

    def test_asks_first(self, client, user, pool):
        allocate("prod-01", pool=pool, user=user)
        response = client.post(BULK_DISABLE_URL, {"pk": self.pks(100, 101, 102), "return_url": f"{LIST_URL}?q=x"})

        assert [row.record.vid for row in response.context["table"].rows] == [101, 102]
        content = response.content.decode()
        assert "Disable 2 segments?" in content
        assert "1 more that you selected is allocated" in content
        for pk in self.pks(101, 102):
            assert f'name="pk" value="{pk}"' in content
        assert f'name="return_url" value="{LIST_URL}?q=x"' in content
        assert "disabled" not in statuses()

    def test_disables_and_enables(self, client, user, pool):
        data = {"pk": self.pks(100, 102), "_confirm": True, "reason": "Rack is off", "changelog_message": "Ticket 7"}
        response = client.post(BULK_DISABLE_URL, data)

        assert response.url == LIST_URL
        assert messages_of(response) == ["Disabled 2 segments."]
        assert statuses() == ["disabled", "available", "disabled", "available"]
        assert set(Segment.objects.filter(status="disabled").values_list("disabled_reason", flat=True)) == {
            "Rack is off"
        }
        assert ObjectChange.objects.filter(message="Ticket 7", user=user).count() == 2

        both = {"pk": self.pks(100, 101)}
        response = client.post(BULK_ENABLE_URL, both)
        assert [row.record.vid for row in response.context["table"].rows] == [100]
        assert "1 more that you selected is not disabled" in response.content.decode()
        response = client.post(BULK_ENABLE_URL, {**both, "_confirm": True})
        assert messages_of(response)[-1] == "Enabled 1 segment."
        assert statuses() == ["available", "available", "disabled", "available"]

    def test_of_all_that_match(self, client, user, pool):
        response = client.post(f"{BULK_DISABLE_URL}?q=EPG_101", {"_all": True})

        assert [row.record.vid for row in response.context["table"].rows] == [101]

    def test_only_those_that_the_user_may_change(self, client, user, pool):
        client.post(BULK_DISABLE_URL, {"pk": self.pks(102, 103), "_confirm": True})

        assert statuses() == ["available", "available", "disabled", "available"]
        response = client.post(BULK_DISABLE_URL, {"pk": self.pks(103), "_confirm": True})
        assert "None of the selected" in messages_of(response)[-1]

    def test_says_which_were_refused_and_why(self, client, user, pool, monkeypatch):
        for number in range(13):
            make_segment(pool, 110 + number, 10 + number)
        client.force_login(permit(user, Segment, "view", "change"))

        def refuse(segment, **kwargs):
            if segment.vid == 100:
                return disable_segment(segment, **kwargs)
            raise SegmentInUse(f"{segment.vid} was taken")

        monkeypatch.setattr("netbox_vlan_manager.views.availability.disable_segment", refuse)
        pks = Segment.objects.exclude(vid__in=(101, 102)).values_list("pk", flat=True)
        *refused, more, done = messages_of(client.post(BULK_DISABLE_URL, {"pk": list(pks), "_confirm": True}))

        assert refused[0] == "EPG_103 (103) was not changed: 103 was taken"
        assert len(refused) == 10
        assert more == "4 more segments were not changed."
        assert done == "Disabled 1 segment."

    @pytest.mark.parametrize("pk", ["", "abc", "0", "9" * 30])
    def test_nothing_selected(self, client, user, pool, pk):
        for url in (BULK_DISABLE_URL, BULK_ENABLE_URL):
            response = client.post(url, {"pk": pk, "_confirm": True})
            assert response.url == LIST_URL
            assert "None of the selected" in messages_of(response)[-1]

    def test_a_reason_that_is_too_long(self, client, user, pool):
        response = client.post(BULK_DISABLE_URL, {"pk": self.pks(100), "_confirm": True, "reason": "x" * 201})

        assert "reason" in response.context["form"].errors
        assert "disabled" not in statuses()

    def test_without_the_permission_it_is_forbidden(self, client, pool):
        client.force_login(permit(make_user("bob"), Segment, "view", "add", "delete"))

        for url in (BULK_DISABLE_URL, BULK_ENABLE_URL):
            assert client.post(url, {"pk": self.pks(100), "_confirm": True}).status_code == 403
            assert url not in client.get(LIST_URL).content.decode()
        assert "disabled" not in statuses()

    def test_buttons_on_the_list(self, client, user, pool):
        content = client.get(LIST_URL, {"status": "available"}).content.decode()

        for url in (BULK_DISABLE_URL, BULK_ENABLE_URL):
            assert f'formaction="{url}?status=available"' in content
            assert client.get(url).url == LIST_URL

    def test_number_of_queries_does_not_grow(self, client, user, pool):
        for url, status in ((BULK_DISABLE_URL, "available"), (BULK_ENABLE_URL, "disabled")):
            Segment.objects.update(status=status)
            counts = []
            for vids in ((100,), (100, 101, 102)):
                client.post(url, {"pk": self.pks(*vids)})
                with CaptureQueriesContext(connection) as queries:
                    assert client.post(url, {"pk": self.pks(*vids)}).status_code == 200
                counts.append(len(queries))
            # The counts include the test's own query of the segments.
            assert counts[0] == counts[1]


class TestBulkRelease:
    @pytest.fixture
    def user(self, client, pool):
        user = permit(permit(make_user("alice"), Segment, "view"), Allocation, "view")
        user = permit(user, pool, "release")
        client.force_login(user)
        return user

    @pytest.fixture
    def held(self, pool):
        return [allocate(f"prod-0{number}", pool=pool, user=make_user()).allocation for number in (1, 2)]

    def test_asks_for_the_allocations_of_the_segments(self, client, user, pool, held):
        pks = [segment.pk for segment in Segment.objects.exclude(vid=101)]
        response = client.post(BULK_RELEASE_URL, {"pk": pks, "return_url": f"{LIST_URL}?q=x"})

        assert [row.record.pk for row in response.context["table"].rows] == [held[0].pk]
        content = response.content.decode()
        assert 'action="/plugins/vlan-manager/allocations/release/"' in content
        assert f'name="pk" value="{held[0].pk}"' in content
        assert f'name="return_url" value="{LIST_URL}?q=x"' in content

    def test_of_all_that_match(self, client, user, pool, held):
        response = client.post(f"{BULK_RELEASE_URL}?q=prod-02", {"_all": True})

        assert [row.record.pk for row in response.context["table"].rows] == [held[1].pk]

    def test_segments_that_nobody_holds(self, client, user, pool, held):
        free = Segment.objects.get(vid=103)
        response = client.post(BULK_RELEASE_URL, {"pk": free.pk, "return_url": LIST_URL})

        assert response.url == LIST_URL
        assert "None of the selected" in messages_of(response)[0]

    def test_in_another_pool_nothing_is_released(self, client, user, held):
        other = make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
        foreign = allocate("prod-09", pool=other, user=make_user()).allocation
        response = client.post(BULK_RELEASE_URL, {"pk": foreign.segment_id})

        assert "None of the selected" in messages_of(response)[0]

    def test_permissions(self, client, user, pool, held):
        assert BULK_RELEASE_URL in client.get(LIST_URL).content.decode()

        bob = permit(permit(make_user("bob"), Segment, "view"), SegmentPool, "view", "allocate")
        client.force_login(permit(bob, Allocation, "view"))
        assert BULK_RELEASE_URL not in client.get(LIST_URL).content.decode()
        assert client.post(BULK_RELEASE_URL, {"pk": held[0].segment_id}).status_code == 403
        client.force_login(permit(permit(make_user("carol"), Segment, "view"), pool, "release"))
        assert BULK_RELEASE_URL not in client.get(LIST_URL).content.decode()
        assert client.post(BULK_RELEASE_URL, {"pk": held[0].segment_id}).status_code == 403
