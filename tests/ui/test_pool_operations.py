import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, update_pool
from netbox_vlan_manager.services.pools.retiring import retire_pool
from tests.factories import make_pool, make_segment, make_user, permit

pytestmark = pytest.mark.django_db

LIST_URL = "/plugins/vlan-manager/pools/"


@pytest.fixture
def pool():
    return make_pool(segments=3)


@pytest.fixture
def into():
    return make_pool(scope="Site2", container="10.1.0.0/16", vid_ranges=((100, 999),))


@pytest.fixture
def user(client):
    user = permit(make_user("alice"), SegmentPool, "view", "change", "delete")
    user = permit(permit(user, Segment, "view", "delete"), Prefix, "view")
    client.force_login(user)
    return user


def url(pool, name):
    return f"{pool.get_absolute_url()}{name}/"


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def ranges(pool):
    pool.vlan_group.refresh_from_db()
    return pool.vlan_group.vid_ranges_list


class TestMenu:
    def test_shows_what_the_user_may_do(self, client, pool):
        for actions, shown in (
            (("view",), ()),
            (("view", "change"), ("resize",)),
            (("view", "delete"), ("retire",)),
            (("view", "change", "delete"), ("resize", "merge", "retire")),
        ):
            client.force_login(permit(make_user("-".join(actions)), SegmentPool, *actions))
            page = client.get(pool.get_absolute_url()).content.decode()
            for name in ("resize", "merge", "retire"):
                assert (f'href="{url(pool, name)}"' in page) == (name in shown), (actions, name)

    def test_leads_to_new_segments(self, client, pool):
        for user, shown in ((make_user("bob"), False), (permit(make_user("carol"), Segment, "add"), True)):
            client.force_login(permit(user, SegmentPool, "view"))
            page = client.get(pool.get_absolute_url()).content.decode()
            for name in ("generate", "adopt"):
                assert (f'href="{url(pool, name)}"' in page) == shown, name

    def test_other_pools_are_forbidden(self, client, pool, into):
        client.force_login(permit(permit(make_user("bob"), SegmentPool, "view"), into, "change"))
        for name, status in (("merge", 404), ("resize", 404), ("retire", 403)):
            assert client.get(url(pool, name)).status_code == status
            assert client.post(url(pool, name), {"_confirm": ""}).status_code == status
        # The permission to change a pool is not enough for a merge.
        assert client.get(url(into, "merge")).status_code == 403
        assert SegmentPool.objects.count() == 2


class TestMerge:
    def test_previews_and_merges(self, client, user, pool, into):
        held = allocate("prod-01", pool=pool, user=user).allocation
        assert "_confirm" not in client.get(url(pool, "merge")).content.decode()

        page = client.post(url(pool, "merge"), {"into": into.pk, "_preview": ""})
        assert (page.context["result"].segments, page.context["result"].allocations) == (3, 1)
        content = page.content.decode()
        assert "Nothing was changed yet" in content
        assert 'name="_confirm"' in content
        assert SegmentPool.objects.count() == 2

        done = client.post(url(pool, "merge"), {"into": into.pk, "changelog_message": "Ticket 7", "_confirm": ""})
        assert done.url == into.get_absolute_url()
        assert messages_of(done) == ["Merged pool Network1 Site1, 3 segments, into Network1 Site2."]
        held.refresh_from_db()
        assert held.pool == into

    def test_conflicts(self, client, user, pool, into):
        make_segment(into, 101, epg_name="Other")
        for values in ({"_preview": ""}, {"_confirm": ""}):
            page = client.post(url(pool, "merge"), {"into": into.pk, **values})
            assert len(page.context["conflicts"]) == 1
            content = page.content.decode()
            assert "VLAN ID 101 is taken in VLAN group Network1-Site2" in content
            assert 'name="_confirm"' not in content
        assert SegmentPool.objects.count() == 2

    def test_only_pools_that_may_be_changed_are_offered(self, client, pool, into):
        other = make_pool("Network2", container="10.9.0.0/16")
        foreign = make_pool(scope="Site3", container="10.3.0.0/16")
        user = permit(make_user("bob"), SegmentPool, "view")
        for own in (pool, into, other):
            user = permit(user, own, "change", "delete")
        client.force_login(user)
        page = client.post(url(pool, "merge"), {"into": into.pk, "_preview": ""})
        assert page.context["result"].into == into
        for one in (pool, other, foreign):
            page = client.post(url(pool, "merge"), {"into": one.pk, "_confirm": ""})
            assert "into" in page.context["move_form"].errors
        assert SegmentPool.objects.count() == 4

    def test_a_session_that_ends(self, client, user, pool, into):
        client.logout()
        response = client.post(url(pool, "merge"), {"into": into.pk, "_confirm": ""})
        assert response.status_code == 302
        assert f"into%253D{into.pk}" in response.url or f"into%3D{into.pk}" in response.url
        assert SegmentPool.objects.count() == 2


class TestRetire:
    def test_shows_the_effect_and_retires(self, client, user, pool):
        allocate("prod-01", pool=pool, user=user)
        page = client.get(url(pool, "retire"))
        assert "when the last of its allocations is released" in page.content.decode()
        done = client.post(url(pool, "retire"), {"_confirm": ""})
        assert done.url == pool.get_absolute_url()
        assert messages_of(done) == [
            "Pool Network1 Site1 is retiring: it is deleted when its 1 active allocation is released."
        ]
        assert "Retiring" in client.get(pool.get_absolute_url()).content.decode()

    def test_an_empty_one_goes_at_once(self, client, user, pool):
        assert "at once" in client.get(url(pool, "retire")).content.decode()
        assert SegmentPool.objects.exists()
        done = client.post(url(pool, "retire"), {"_confirm": ""})
        assert done.url == LIST_URL
        assert messages_of(done) == ["Deleted pool Network1 Site1."]
        assert not SegmentPool.objects.exists()

    def test_something_else_uses_a_vlan(self, client, user, pool):
        Prefix.objects.create(prefix="192.0.2.0/24", vlan=VLAN.objects.get(vid=101))
        for page in (client.get(url(pool, "retire")), client.post(url(pool, "retire"), {"_confirm": ""})):
            content = page.content.decode()
            assert "192.0.2.0/24 uses it" in content
            assert 'name="_confirm"' not in content
        assert SegmentPool.objects.get().status == "active"

    def test_it_can_be_called_off(self, client, user, pool):
        allocate("prod-01", pool=pool, user=user)
        retire_pool(pool, user=user)
        pool = SegmentPool.objects.get()
        assert pool.status == "retiring"
        pool.snapshot()
        pool.status = "active"
        pool.full_clean()
        pool.save()
        assert SegmentPool.objects.get().status == "active"
        assert Allocation.objects.active().count() == 1


class TestResize:
    def data(self, pool, **values):
        return {"vid_ranges": "100-999", "prefixes": [prefix.pk for prefix in pool.prefixes.all()], **values}

    def test_counts_addresses_of_ipv4_only(self, client, user):
        pool = make_pool("Dual", container="10.2.0.0/16")
        update_pool(pool, user=make_user(), prefixes=["10.2.0.0/16", "2001:db8::/48"])
        page = client.post(url(pool, "resize"), {**self.data(pool), "_preview": ""}).content.decode()
        assert "65,536" in page
        assert "1,208,925" not in page

    def test_previews_and_resizes(self, client, user, pool):
        page = client.get(url(pool, "resize"))
        assert page.context["move_form"].initial["prefixes"] == [pool.prefixes.get().pk]
        data = self.data(pool, vid_ranges="100-101,300-399", new_prefixes="10.7.0.0/16", remove_segments="on")
        page = client.post(url(pool, "resize"), {**data, "_preview": ""})
        assert page.context["result"].removed == 1
        assert "100-101,300-399" in page.content.decode()
        assert ranges(pool) == "100-999"
        done = client.post(url(pool, "resize"), {**data, "_confirm": ""})
        assert done.url == pool.get_absolute_url()
        assert messages_of(done) == [
            "Pool Network1 Site1 now has the VLAN IDs 100-101,300-399 and the containers 10.0.0.0/16, 10.7.0.0/16."
        ]
        assert ranges(pool) == "100-101,300-399"
        assert Segment.objects.count() == 2

    def test_past_segments(self, client, user, pool):
        data = self.data(pool, vid_ranges="200-999")
        for values in ({"_preview": ""}, {"_confirm": ""}):
            page = client.post(url(pool, "resize"), {**data, **values})
            assert len(page.context["conflicts"]) == 3
            assert "choose to remove segments" in page.content.decode()
        assert ranges(pool) == "100-999"

    def test_bad_values(self, client, user, pool):
        for values, field in (
            ({"vid_ranges": ""}, "vid_ranges"),
            ({"vid_ranges": "x"}, "vid_ranges"),
            ({"vid_ranges": "0-5000"}, "vid_ranges"),
            ({"vid_ranges": "100-200,150-300"}, "vid_ranges"),
            ({"prefixes": []}, None),
            ({"new_prefixes": "x"}, "new_prefixes"),
        ):
            page = client.post(url(pool, "resize"), {**self.data(pool, **values), "_confirm": ""})
            assert page.status_code == 200
            errors = page.context["move_form"].errors
            assert (field in errors) if field else errors, values
        assert ranges(pool) == "100-999"

    def test_containers_that_the_user_may_not_view_stay(self, client, pool):
        user = permit(make_user("bob"), SegmentPool, "view", "change")
        client.force_login(user)
        page = client.post(url(pool, "resize"), {"vid_ranges": "100-998", "_confirm": ""})
        assert page.status_code == 302
        assert [str(prefix) for prefix in pool.prefixes.all()] == ["10.0.0.0/16"]
        assert ranges(pool) == "100-998"

    def test_number_of_queries(self, client, user, pool):
        make_segment(pool, 200, 10)
        counts = []
        for vids in ("101-999", "103-999"):
            data = self.data(pool, vid_ranges=vids, _preview="")
            client.post(url(pool, "resize"), data)
            with CaptureQueriesContext(connection) as queries:
                client.post(url(pool, "resize"), data)
            counts.append(len(queries))
        assert counts[0] == counts[1]
