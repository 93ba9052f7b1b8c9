"""A refusal to delete an object of NetBox or the plugin reveals no object that the user may not view."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VLAN, VRF, Prefix, Role, VLANGroup
from netbox_vlan_manager.models import Allocation, IdempotencyKey, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, share
from tenancy.models import Tenant
from tests.api.base import client_of
from tests.factories import make_pool, make_segment, make_user, permit
from users.models import Owner, User
from virtualization.models import Cluster, ClusterType
from wireless.models import WirelessLAN

pytestmark = pytest.mark.django_db

# Names, ids and pages of the hidden objects. EPG names are no secret to a user who may view VLANs.
# The hyphen keeps a random CSRF token from looking like a name.
HIDDEN = re.compile(r"zqx-|\b77000\d\d\b|/plugins/vlan-manager/(?:pools|segments|allocations)/\d")
TABLES = ("segmentpool", "segment", "allocation")
STAND_IN = "something that you may not view"
SEGMENTS = 5


@pytest.fixture
def world():
    """Return {name: object}: hidden objects of the plugin prevent the deletion of each, except those in FREE."""
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), 7700000)", [f"netbox_vlan_manager_{table}"])
    outer = Region.objects.create(name="Country", slug="country")
    region = Region.objects.create(name="City", slug="city", parent=outer)
    group = SiteGroup.objects.create(name="Branch", slug="branch")
    site = Site.objects.create(name="Campus", slug="campus", region=region, group=group)
    hall = Location.objects.create(name="Hall", slug="hall", site=site)
    tenant = Tenant.objects.create(name="Tenant", slug="tenant")
    role = Role.objects.create(name="Role", slug="role")
    owner = Owner.objects.create(name="Owner")
    cluster = Cluster.objects.create(
        name="zqx-held", type=ClusterType.objects.create(name="Kubernetes", slug="kubernetes")
    )
    asker = make_user("asker")
    pools = {}
    for number, place in enumerate((region, group, site, hall)):
        pools[place.name] = make_pool(
            scope=place,
            container=f"10.{number}.0.0/16",
            name=f"zqx-{place.name}",
            slug=f"zqx-{number}",
            tenant=tenant,
            role=role,
            vlan_group=pools["City"].vlan_group if number else None,
            **({} if number else {"vid_ranges": [(100, 999)]}),
        )
    pool = pools["Campus"]
    segments = [make_segment(pool, 100 + index, index) for index in range(SEGMENTS)]
    allocation = allocate("zqx-held", pool=pool, user=asker).allocation
    for index in range(3):
        share(allocation.segment, f"zqx-shared-{index}", user=asker)
    IdempotencyKey.objects.create(user=asker, key="zqx-key", fingerprint="0", status_code=200)
    SegmentPool.objects.update(owner=owner)
    Segment.objects.update(owner=owner)
    Allocation.objects.update(owner=owner)
    return {
        "region": region,
        "outer region": outer,
        "site group": group,
        "site": site,
        "location": hall,
        "VRF": pool.vrf,
        "VLAN group": pool.vlan_group,
        "VLAN": segments[1].vlan,
        "VLAN held": allocation.segment.vlan,
        "prefix": segments[1].prefix,
        "container": pool.prefixes.get(),
        "tenant": tenant,
        "owner": owner,
        "role": role,
        "cluster": cluster,
        "user": asker,
        "segment": segments[2],
        "segment held": allocation.segment,
        "pool": pool,
        "empty pool": pools["Hall"],
    }


# Objects that can be deleted without deleting others of the plugin.
FREE = ("role", "cluster", "user", "empty pool", "segment")
CORE = (Region, SiteGroup, Site, Location, VRF, VLANGroup, VLAN, Prefix, Tenant, Owner, Role, Cluster, User)
NAMES = (
    "region",
    "outer region",
    "site group",
    "site",
    "location",
    "VRF",
    "VLAN group",
    "VLAN",
    "VLAN held",
    "prefix",
    "container",
    "tenant",
    "owner",
    "role",
    "cluster",
    "user",
    "segment",
    "segment held",
    "pool",
    "empty pool",
)


def without(instance, text):
    """Return `text` without the names and ids of the object itself, which the user knows."""
    for own in (instance.get_absolute_url(), str(instance), getattr(instance, "name", None), str(instance.pk)):
        text = text.replace(own, "") if own and len(own) > 2 else text
    return text


def make_deleter(is_told):
    user = make_user("deleter")
    for model in CORE:
        user = permit(user, model, "view", "delete")
    for model in (SegmentPool, Segment, Allocation):
        user = permit(user, model, "delete", *(("view",) if is_told else ()))
    return user


def page_of(instance, action):
    meta = instance._meta
    namespace = "plugins:netbox_vlan_manager" if meta.app_label == "netbox_vlan_manager" else meta.app_label
    args = () if action.startswith("bulk") else (instance.pk,)
    return reverse(f"{namespace}:{meta.model_name}_{action}", args=args)


def rest_of(instance, action="detail"):
    meta = instance._meta
    plugin = "plugins-api:" if meta.app_label == "netbox_vlan_manager" else ""
    args = (instance.pk,) if action == "detail" else ()
    return reverse(f"{plugin}{meta.app_label}-api:{meta.model_name}-{action}", args=args)


def all_of(response):
    """Return the text that the client gets, including the headers and the messages of the next page."""
    texts = [response.content.decode(), *(str(value) for value in response.headers.values())]
    if hasattr(response, "wsgi_request") and hasattr(response.wsgi_request, "_messages"):
        texts += [str(message) for message in response.wsgi_request._messages]
    return "\n".join(texts)


def ask_all_ways(user, instance):
    """Yield (way, response) of each way to delete `instance`; the last one may succeed."""
    rest, page = client_of(user), Client(raise_request_exception=False)
    rest.raise_request_exception = False
    page.force_login(user)
    ids = {"pk": [instance.pk]}
    yield "page", page.get(page_of(instance, "delete"))
    yield "dialogue", page.get(page_of(instance, "delete"), headers={"HX-Request": "true"})
    yield "bulk page", page.post(page_of(instance, "bulk_delete"), ids)
    yield "bulk", page.post(page_of(instance, "bulk_delete"), {**ids, "_confirm": "1", "confirm": "1"})
    if type(instance)._default_manager.filter(pk=instance.pk).exists():
        yield "form", page.post(page_of(instance, "delete"), {"confirm": "1"})
    if type(instance)._default_manager.filter(pk=instance.pk).exists():
        yield "REST list", rest.delete(rest_of(instance, "list"), [{"id": instance.pk}], format="json")
        yield "REST", rest.delete(rest_of(instance))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow("Deletes one of each kind of object, in pages and REST")
def test_a_refusal_tells_nothing_of_what_the_user_may_not_view(world, name):
    instance = world[name]
    for way, response in ask_all_ways(make_deleter(False), instance):
        text = without(instance, all_of(response))
        assert response.status_code < 500, (way, text)
        told = HIDDEN.search(text)
        assert told is None, (way, told and text[max(told.start() - 200, 0) : told.end() + 100])
        for message in re.findall(r"dependent objects were found:.*", text):
            # The stand-in appears once, for any number of hidden objects.
            assert message.count(STAND_IN) <= 1, (way, message)
    assert type(instance)._default_manager.filter(pk=instance.pk).exists() == (name not in FREE)
    assert Segment.objects.count() == SEGMENTS - (name == "segment")
    assert IdempotencyKey.objects.exists() == (name != "user")


@pytest.mark.parametrize("name", ["segment", "empty pool"])
def test_all_of_a_list_are_those_that_the_user_may_view(world, name):
    instance = world[name]
    user = permit(make_user("deleter"), type(instance), "delete")
    client = Client()
    client.force_login(permit(user, type(instance), "view", constraints={"pk": instance.pk}))
    page = client.post(page_of(instance, "bulk_delete"), {"_all": "1"}).content.decode()
    assert re.findall(r'name="pk" value="(\d+)"', page) == [str(instance.pk)]


@pytest.mark.parametrize("action", ["bulk_delete", "bulk_edit", "bulk_disable"])
def test_a_selection_shows_nothing_that_the_user_may_not_view(world, action):
    segment = world["segment"]
    client = Client()
    client.force_login(permit(make_user("blind"), Segment, "change", "delete"))
    for selection in ({"pk": [segment.pk]}, {"_all": "1"}):
        text = all_of(client.post(page_of(segment, action), selection))
        told = HIDDEN.search(text.replace(str(segment.pk), ""))
        assert told is None, told and text[max(told.start() - 200, 0) : told.end() + 100]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*FREE, "segment held")])
@pytest.mark.slow("Deletes one of each kind of object, in pages and REST")
def test_a_refusal_names_what_the_user_may_view(world, name):
    instance = world[name]
    texts = [all_of(response) for _way, response in ask_all_ways(make_deleter(True), instance)]
    assert any(HIDDEN.search(without(instance, text)) for text in texts), texts


def test_the_system_is_told_all(world):
    with pytest.raises(Exception, match="zqx-City"):
        world["region"].delete()


def test_what_else_in_netbox_uses_the_vlan_of_a_segment(world):
    """Each of the plugin's ways to delete names it to users who may view it."""
    segment = world["segment"]
    lans = [WirelessLAN.objects.create(ssid=f"zqx-lan-{index}", vlan=segment.vlan) for index in range(4)]
    user = make_deleter(False)
    for is_told in (False, True):
        if is_told:
            user = permit(user, WirelessLAN, "view")
        found = []
        for way, response in ask_all_ways(user, segment):
            text = all_of(response)
            assert response.status_code < 500, (way, text)
            found.append("zqx-lan" in text)
            if not is_told:
                told = HIDDEN.search(without(segment, text))
                assert told is None, (way, told and text[max(told.start() - 200, 0) : told.end() + 100])
        assert any(found) is is_told
    assert Segment.objects.filter(pk=segment.pk).exists()
    assert len(lans) == WirelessLAN.objects.count()
