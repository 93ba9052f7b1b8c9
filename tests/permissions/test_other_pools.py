"""A permission for one pool does not let a user change objects that other pools share, or that they may not view."""

import pytest
from django.urls import reverse

from extras.models import Tag
from ipam.models import VLAN, VRF, Prefix, VLANGroup
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import create_pool, update_pool
from netbox_vlan_manager.services.pools.resizing import resize_pool
from tenancy.models import Tenant
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_site, make_user, make_vrf, permit
from tests.ui.test_pools import edit_data, form_data
from wireless.models import WirelessLAN

pytestmark = pytest.mark.django_db

SHARED = "is shared with"


@pytest.fixture
def pool():
    return make_pool(segments=3, name="Own", slug="own")


@pytest.fixture
def other(pool):
    """Another pool with the same VLAN group and a container near the pool's."""
    return make_pool(scope="Site2", container="10.8.0.0/16", vlan_group=pool.vlan_group, name="zqx-other", slug="other")


@pytest.fixture
def user(pool, other):
    user = permit(make_user("alice"), SegmentPool, "view", "change", "add", constraints={"slug__in": ["own", "new"]})
    for model in (VLANGroup, VRF, Segment, type(pool.scope), Prefix):
        user = permit(user, model, "view")
    return permit(user, Segment, "delete")


def state():
    return [list(model.objects.order_by("pk").values()) for model in (SegmentPool, VLANGroup, Prefix, Segment)] + [
        list(SegmentPool.prefixes.through.objects.order_by("pk").values_list("segmentpool", "prefix"))
    ]


def refused(response, status=403):
    assert response.status_code == status, response.content
    text = response.content.decode()
    assert SHARED in text
    return text


class TestResize:
    @pytest.mark.parametrize("dry_run", [True, False])
    def test_rest(self, pool, other, user, dry_run):
        before = state()
        client, url = client_of(user), url_of("segmentpool-resize", pk=pool.pk)
        text = refused(client.post(url, {"vid_ranges": "100-110", "dry_run": dry_run}, format="json"))
        # The error says that other pools exist, but not which or how many.
        assert "zqx-" not in text
        assert "pools that you may not view" in text
        assert state() == before
        user = permit(user, other, "view")
        text = refused(client_of(user).post(url, {"vid_ranges": "100-110", "dry_run": dry_run}, format="json"))
        assert "zqx-other" in text
        assert "not view" not in text
        client = client_of(permit(user, other, "change"))
        assert client.post(url, {"vid_ranges": "100-110", "dry_run": dry_run}, format="json").status_code == 200

    def test_containers_alone_need_no_other_pool(self, pool, user):
        body = {"vid_ranges": "100-999", "prefixes": ["10.0.0.0/16", "10.1.0.0/16"]}
        response = client_of(user).post(url_of("segmentpool-resize", pk=pool.pk), body, format="json")
        assert response.status_code == 200, response.json()

    def test_page(self, client, pool, other, user):
        client.force_login(user)
        before = state()
        data = {"vid_ranges": "100-110", "prefixes": [pool.prefixes.get().pk]}
        for button in ("_preview", "_confirm"):
            text = refused(client.post(f"{pool.get_absolute_url()}resize/", {**data, button: "1"}), 200)
            assert "zqx-" not in text
        assert state() == before

    def test_commands_and_scripts_may(self, pool, other):
        assert resize_pool(pool, user=make_user("script"), vid_ranges=[(100, 110)]).after.vids == 11


# Changes that make a pool share objects or address space of another pool.
JOINS = {
    "its VLAN group": lambda other: {"vlan_group": other.vlan_group.pk},
    "its container": lambda other: {"prefixes": ["10.8.0.0/16"]},
    "a network in it": lambda other: {"prefixes": ["10.8.4.0/22"]},
    "a network around it": lambda other: {"prefixes": ["10.0.0.0/8"]},
}


@pytest.mark.parametrize("join", JOINS)
class TestJoining:
    @pytest.fixture
    def alone(self, user):
        """A pool that the user may change, which shares nothing yet and has no segment."""
        return make_pool(scope="Site3", container="10.9.0.0/16", name="New", slug="new")

    def test_rest(self, other, user, alone, join):
        values, before = JOINS[join](other), state()
        for response in (
            client_of(user).patch(url_of("segmentpool-detail", pk=alone.pk), values, format="json"),
            client_of(user).patch(url_of("segmentpool-list"), [{"id": alone.pk, **values}], format="json"),
        ):
            assert "zqx-" not in refused(response)
        if "prefixes" in values:
            url = url_of("segmentpool-resize", pk=alone.pk)
            assert "zqx-" not in refused(client_of(user).post(url, values, format="json"))
        assert state() == before
        user = permit(user, other, "view", "change")
        # The user may also change the pool that shares the group with the other one.
        response = client_of(user).patch(url_of("segmentpool-detail", pk=alone.pk), values, format="json")
        assert response.status_code == 200, response.json()

    def test_a_new_pool(self, other, user, join):
        before = state()
        body = {
            "name": "New",
            "slug": "new",
            "vrf": other.vrf.pk,
            "scope_type": "dcim.site",
            "scope_id": make_site("S").pk,
        }
        body |= {"prefixes": ["10.9.0.0/16"], "vid_ranges": "1-9"} | JOINS[join](other)
        if "vlan_group" in body:
            del body["vid_ranges"]
        assert "zqx-" not in refused(client_of(user).post(url_of("segmentpool-list"), body, format="json"))
        assert state() == before

    def test_pages(self, client, other, user, alone, join):
        client.force_login(user)
        values, before = JOINS[join](other), state()
        if "prefixes" in values:
            values = {"prefixes": [], "new_prefixes": values["prefixes"][0]}
        refused(client.post(f"{alone.get_absolute_url()}edit/", edit_data(alone, **values)), 200)
        assert state() == before
        data = form_data(name="New 2", slug="new-2", scope_object_id=make_site("S").pk, vrf=other.vrf.pk, **values)
        refused(client.post(reverse("plugins:netbox_vlan_manager:segmentpool_add"), data), 200)
        assert SegmentPool.objects.count() == len(before[0])


class TestHiddenContainers:
    @pytest.fixture
    def pool(self, pool):
        """A pool with a container that the user may not view, which has no segment."""
        hidden = Prefix.objects.create(prefix="172.16.0.0/16", vrf=pool.vrf, status="container")
        pool.prefixes.add(hidden)
        return pool

    @pytest.fixture
    def user(self, pool):
        user = permit(make_user("alice"), SegmentPool, "view", "change")
        for model in (VLANGroup, VRF, type(pool.scope)):
            user = permit(user, model, "view")
        return user

    def networks(self, pool):
        return sorted(map(str, pool.prefixes.values_list("prefix", flat=True)))

    @pytest.mark.parametrize("visible", [["10.0.0.0/16"], []])
    def test_an_edit_keeps_them(self, client, pool, user, visible):
        user = permit(user, Prefix, "view", constraints={"prefix__in": visible})
        client.force_login(user)
        shown = [prefix.pk for prefix in Prefix.objects.filter(prefix__in=visible)]
        response = client.post(
            f"{pool.get_absolute_url()}edit/", edit_data(pool, prefixes=shown, description="Changed")
        )
        assert response.status_code == 302, response.context["form"].errors
        pool.refresh_from_db()
        assert pool.description == "Changed"
        assert self.networks(pool) == ["10.0.0.0/16", "172.16.0.0/16"]

    def test_the_form_does_not_name_them(self, client, pool, user):
        client.force_login(user)
        content = client.get(f"{pool.get_absolute_url()}edit/").content.decode()
        assert "172.16." not in content
        assert "Values that you may not view are not shown, and stay." in content

    def test_what_the_user_may_view_can_be_taken_away(self, client, pool, user):
        spare = Prefix.objects.create(prefix="10.1.0.0/16", vrf=pool.vrf, status="container")
        pool.prefixes.add(spare)
        client.force_login(permit(user, Prefix, "view", constraints={"prefix__net_contained_or_equal": "10.0.0.0/8"}))
        own = Prefix.objects.get(prefix="10.0.0.0/16")
        response = client.post(f"{pool.get_absolute_url()}edit/", edit_data(pool, prefixes=[own.pk]))
        assert response.status_code == 302
        assert self.networks(pool) == ["10.0.0.0/16", "172.16.0.0/16"]

    @pytest.mark.parametrize("method", ["patch", "put", "list", "resize", "import", "resize page"])
    def test_every_other_way_keeps_them(self, client, pool, user, method):
        user = permit(user, Prefix, "view", constraints={"prefix": "10.0.0.0/16"})
        user = permit(user, SegmentPool, "add")
        client.force_login(user)
        rest, detail = client_of(user), url_of("segmentpool-detail", pk=pool.pk)
        body = {"prefixes": ["10.0.0.0/16"]}
        full = {"name": "Own", "slug": "own", "vrf": pool.vrf.pk, "scope_type": "dcim.site", "scope_id": pool.scope_id}
        send = {
            "patch": lambda: rest.patch(detail, body, format="json"),
            "put": lambda: rest.put(detail, {**full, **body}, format="json"),
            "list": lambda: rest.patch(url_of("segmentpool-list"), [{"id": pool.pk, **body}], format="json"),
            "resize": lambda: rest.post(url_of("segmentpool-resize", pk=pool.pk), body, format="json"),
            "import": lambda: client.post(
                reverse("plugins:netbox_vlan_manager:segmentpool_bulk_import"),
                {
                    "import_method": "direct",
                    "format": "csv",
                    "csv_delimiter": ",",
                    "data": f"id,prefixes\n{pool.pk},10.0.0.0/16",
                },
            ),
            "resize page": lambda: client.post(
                f"{pool.get_absolute_url()}resize/",
                {"vid_ranges": "100-999", "prefixes": [pool.prefixes.get(prefix="10.0.0.0/16").pk], "_confirm": "1"},
            ),
        }
        response = send[method]()
        assert response.status_code in (200, 302), response.content
        assert self.networks(pool) == ["10.0.0.0/16", "172.16.0.0/16"]

    def test_the_vrf_of_hidden_containers_stays(self, user):
        pool = make_pool(scope="Site5", container="172.20.0.0/16")
        with pytest.raises(Exception, match="containers that you may not view") as caught:
            update_pool(pool, user=user, enforce=True, vrf=make_vrf("Network9"), prefixes=["10.3.0.0/16"])
        assert "172.20" not in str(caught.value)

    def test_all_else_that_is_hidden_stays_too(self, client, pool, user):
        """These are the tenant, the tags, and the VRF, VLAN group and scope that a pool needs."""
        pool.tenant = Tenant.objects.create(name="T", slug="t")
        pool.save()
        tag = Tag.objects.create(name="Secret", slug="secret")
        pool.tags.add(tag)
        stranger = permit(make_user("bob"), SegmentPool, "view", "change")
        client.force_login(stranger)
        data = {"name": "Own", "slug": "own", "status": "active", "description": "Changed"}
        response = client.post(f"{pool.get_absolute_url()}edit/", data)
        assert response.status_code == 302, response.context["form"].errors
        now = SegmentPool.objects.get(pk=pool.pk)
        assert now.description == "Changed"
        assert (now.tenant, now.vrf, now.vlan_group, now.scope) == (pool.tenant, pool.vrf, pool.vlan_group, pool.scope)
        assert list(now.tags.all()) == [tag]
        assert self.networks(pool) == ["10.0.0.0/16", "172.16.0.0/16"]

    def test_the_forms_of_segments_and_allocations(self, client, pool):
        tag = Tag.objects.create(name="Secret", slug="secret")
        segment = pool.segments.first()
        segment.tags.add(tag)
        client.force_login(permit(make_user("bob"), Segment, "view", "change"))
        data = {"vid": 100, "epg_name": "EPG_100", "prefix": "10.0.0.0/24", "description": "Changed"}
        response = client.post(f"{segment.get_absolute_url()}edit/", data)
        assert response.status_code == 302, response.context["form"].errors
        assert list(segment.tags.all()) == [tag]


class TestConflicts:
    """A pool neither shrinks nor retires while other objects use its VLANs; the conflict names them."""

    @pytest.fixture
    def used(self, pool):
        WirelessLAN.objects.create(ssid="zqx-lan", vlan=VLAN.objects.get(vid=102))
        return pool

    @pytest.fixture
    def mover(self):
        user = permit(make_user("mover"), SegmentPool, "view", "change", "delete")
        return permit(permit(user, Segment, "view", "delete"), Prefix, "view")

    @pytest.mark.parametrize("is_told", [True, False])
    @pytest.mark.parametrize("call", ["resize", "retire"])
    def test_moves(self, client, used, mover, call, is_told):
        before = state()
        user = permit(mover, WirelessLAN, "view") if is_told else mover
        client.force_login(user)
        body = {"vid_ranges": "100-101", "remove_segments": True} if call == "resize" else {}
        url, rest = url_of(f"segmentpool-{call}", pk=used.pk), client_of(user)
        dry = rest.post(url, {**body, "dry_run": True}, format="json")
        assert dry.status_code == 200, dry.json()
        (conflict,) = dry.json()["conflicts"]
        error = rest.post(url, body, format="json")
        assert (error.status_code, error.json()["code"]) == (409, "pool_conflict")
        assert error.json()["conflicts"] == [conflict]
        data = {"vid_ranges": "100-101", "prefixes": [used.prefixes.get().pk], "remove_segments": "on"}
        texts = [str(dry.json()), str(error.json())]
        for button in ("_preview", "_confirm"):
            response = client.post(f"{used.get_absolute_url()}{call}/", {**data, button: "1"})
            assert response.status_code == 200
            texts.append(response.content.decode())
            assert "Nothing was changed." in texts[-1]
        for text in texts:
            assert ("zqx-lan" in text) is is_told
        assert state() == before


def test_whom_the_preview_lists(pool, other):
    """The preview lists the group's other pools that the user may view."""
    root = make_user("root", is_superuser=True)
    result = resize_pool(pool, user=root, enforce=True, vid_ranges=[(100, 500)], dry_run=True)
    assert [one.pool for one in result.sharing_pools] == [other]


def test_a_default_group_that_another_pool_uses(other, user):
    """A pool made without a VLAN group gets the group of its VRF and place, which may belong to another pool."""
    site = make_site("Site9")
    group = VLANGroup.objects.create(name="Network1-Site9", slug="network1-site9", scope=site)
    SegmentPool.objects.filter(pk=other.pk).update(vlan_group=group)
    with pytest.raises(Exception, match=SHARED):
        create_pool(user=user, enforce=True, vrf=other.vrf, scope=site, prefixes=["10.99.0.0/16"], slug="new")
