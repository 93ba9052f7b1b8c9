"""Edits and deletions in NetBox's own pages, its REST API and by scripts, of what segments and pools are made of."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import sleep

import psycopg
import pytest
from django.contrib.messages import get_messages
from django.db import connection, connections, transaction
from django.db.models import ProtectedError
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from netaddr import IPNetwork

from core.models import ObjectChange
from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VLAN, VRF, Prefix, Role, VLANGroup
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, enable_segment, release, update_pool
from netbox_vlan_manager.services.base import transactions
from netbox_vlan_manager.services.base.audit import change_tracking
from netbox_vlan_manager.services.drift.findings import find_drift
from tests.factories import make_pool, make_segment, make_site, make_user
from utilities.exceptions import AbortRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(segments=3)


@pytest.fixture
def free(pool):
    """A segment that nobody holds: VLAN 101 with 10.0.1.0/24."""
    return Segment.objects.get(pool=pool, vid=101)


@pytest.fixture
def held(pool):
    """A segment that prod-01 holds: VLAN 100 with 10.0.0.0/24."""
    return allocate("prod-01", pool=pool, user=make_user()).allocation.segment


@pytest.fixture
def client(client):
    """A test client whose user is a superuser."""
    client.force_login(make_user("root", is_superuser=True))
    return client


class REST:
    """NetBox's REST API."""

    def __init__(self, client):
        self.client = client

    def edit(self, instance, **values):
        """Change `instance`; return {field or "detail": texts} when NetBox refuses."""
        response = self.client.patch(self._url(instance), values, content_type="application/json")
        assert response.status_code in (200, 400), response.content
        return response.json() if response.status_code == 400 else {}

    def delete(self, instance):
        """Delete `instance`; return the text of the refusal, "" when it is gone."""
        response = self.client.delete(self._url(instance))
        assert response.status_code in (204, 400, 409), response.content
        return response.json()["detail"] if response.content else ""

    def _url(self, instance):
        return reverse(f"{instance._meta.app_label}-api:{instance._meta.model_name}-detail", args=[instance.pk])


class Pages:
    """NetBox's web pages."""

    # What each form needs, however little of it changes.
    FORMS = {
        VLAN: lambda vlan: {"vid": vlan.vid, "name": vlan.name, "group": vlan.group_id or "", "status": vlan.status},
        Prefix: lambda prefix: {
            "prefix": str(prefix.prefix),
            "vrf": prefix.vrf_id or "",
            "vlan": prefix.vlan_id or "",
            "status": prefix.status,
        },
        VLANGroup: lambda group: {"name": group.name, "slug": group.slug, "vid_ranges": group.vid_ranges_list},
    }

    def __init__(self, client):
        self.client = client

    def edit(self, instance, **values):
        instance.refresh_from_db()
        if "vid_ranges" in values:
            values["vid_ranges"] = ",".join(f"{first}-{last}" for first, last in values["vid_ranges"])
        data = self.FORMS[type(instance)](instance) | {name: "" if v is None else v for name, v in values.items()}
        response = self.client.post(self._url(instance, "edit"), data)
        return {} if response.status_code == 302 else dict(response.context["form"].errors)

    def delete(self, instance):
        response = self.client.post(self._url(instance, "delete"), {"confirm": True})
        assert response.status_code == 302
        message = str(list(get_messages(response.wsgi_request))[-1])
        return "" if message.startswith("Deleted") else message

    def _url(self, instance, action):
        return reverse(f"{instance._meta.app_label}:{instance._meta.model_name}_{action}", args=[instance.pk])


@pytest.fixture(params=[REST, Pages], ids=["rest", "pages"])
def netbox(request, client):
    return request.param(client)


def save(instance, **values):
    """Change `instance` with a bare save(), as a script does, and return the text of the refusal, or ""."""
    instance = type(instance).objects.get(pk=instance.pk)
    for name, value in values.items():
        setattr(instance, name, value)
    try:
        with transaction.atomic():
            instance.save()
    except AbortRequest as error:
        return error.message
    return ""


def state():
    """Return all that segments, allocations, and their VLANs and prefixes are, and what the change log has."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (SegmentPool, Segment, Allocation, VLAN, Prefix, VLANGroup, ObjectChange)
    ] + [list(SegmentPool.prefixes.through.objects.order_by("pk").values())]


@pytest.fixture
def unchanged():
    """A function that makes sure that nothing was written since the test began to ask."""
    before = []

    def check():
        assert state() == before[0]
        connection.check_constraints()
        assert find_drift() == []

    before.append(state())
    return check


# VLANs


def test_new_vid_of_a_free_segment_is_followed(netbox, free):
    assert netbox.edit(free.vlan, vid=150) == {}
    free.refresh_from_db()
    assert free.vid == 150
    assert find_drift() == []


def test_followed_vid_is_in_the_change_log_of_the_same_request(netbox, free):
    netbox.edit(free.vlan, vid=150)
    vlan, segment = ObjectChange.objects.filter(request_id=ObjectChange.objects.order_by("-pk")[0].request_id)
    changes = {change.changed_object_type.model: change for change in (vlan, segment)}
    assert changes["segment"].prechange_data["vid"] == 101
    assert changes["segment"].postchange_data["vid"] == 150
    assert {change.user_name for change in (vlan, segment)} == {"root"}


def test_new_vid_of_an_allocated_segment_is_refused(netbox, held, unchanged):
    assert netbox.edit(held.vlan, vid=150) == {
        "vid": ["The VLAN's segment is allocated: release it before its VLAN ID changes."]
    }
    unchanged()


def test_bare_save_of_a_new_vid_of_an_allocated_segment_is_refused(held, unchanged):
    assert save(held.vlan, vid=150) == "The VLAN's segment is allocated: release it before its VLAN ID changes."
    unchanged()


def test_bare_save_of_a_new_vid_of_a_free_segment_is_followed(free):
    assert save(free.vlan, vid=150) == ""
    assert Segment.objects.get(pk=free.pk).vid == 150


def test_vid_outside_the_ranges_of_the_group_is_refused(netbox, free, unchanged):
    assert set(netbox.edit(free.vlan, vid=1500)) == {"vid"}
    unchanged()


def test_bare_save_of_a_vid_outside_the_ranges_of_the_group_is_refused(free, unchanged):
    assert save(free.vlan, vid=1500) == "VLAN ID 1500 is not in VLAN group Network1-Site1: use one of 100-999."
    unchanged()


def test_vid_of_another_segment_is_refused(netbox, free, unchanged):
    assert netbox.edit(free.vlan, vid=102) != {}
    unchanged()


def test_new_name_of_a_vlan_is_the_new_epg_name_of_the_allocation(netbox, held):
    assert netbox.edit(held.vlan, name="EPG_new") == {}
    assert Allocation.objects.get(segment=held).epg_name == "EPG_new"
    assert Segment.objects.get(pk=held.pk).epg_name == "EPG_new"
    assert find_drift() == []


def test_name_that_is_no_epg_name_is_refused(netbox, free, unchanged):
    (message,) = netbox.edit(free.vlan, name="EPG 101")["name"]
    assert message.startswith("EPG name 'EPG 101' is not valid")
    unchanged()


def test_bare_save_of_a_name_that_is_no_epg_name_is_refused(free, unchanged):
    assert save(free.vlan, name="EPG 101").startswith("EPG name 'EPG 101' is not valid")
    unchanged()


def test_bare_save_of_a_name_trims_it(free):
    assert save(free.vlan, name=" EPG_new ") == ""
    assert Segment.objects.get(pk=free.pk).epg_name == "EPG_new"


def test_vlan_stays_in_its_group(netbox, pool, free, unchanged):
    other = VLANGroup.objects.create(name="Other", slug="other")
    (message,) = netbox.edit(free.vlan, group=other.pk)["group"]
    assert message == f"The VLAN belongs to a segment of pool {pool}: it stays in VLAN group Network1-Site1."
    other.delete()
    unchanged()


def test_vlan_stays_in_a_group(netbox, free, unchanged):
    assert set(netbox.edit(free.vlan, group=None)) == {"group"}
    unchanged()


def test_bare_save_of_another_group_is_refused(free, unchanged):
    assert "it stays in VLAN group" in save(free.vlan, group=None)
    unchanged()


def test_all_that_is_wrong_with_a_vlan_is_said_at_once(netbox, held, unchanged):
    assert set(netbox.edit(held.vlan, vid=150, name="EPG 150", group=None)) == {"vid", "name", "group"}
    unchanged()


def test_other_fields_of_a_vlan_may_change(netbox, held):
    assert netbox.edit(held.vlan, description="Rack 7", status="deprecated") == {}
    held.vlan.refresh_from_db()
    assert held.vlan.description == "Rack 7"


@pytest.mark.parametrize("status", ["reserved", "deprecated"])
def test_vlan_that_is_not_active_is_handed_out_to_nobody(netbox, free, status):
    assert netbox.edit(free.vlan, status=status) == {}
    free.refresh_from_db()
    assert (free.status, free.disabled_reason) == ("disabled", f"VLAN {status}")
    assert find_drift() == []
    change = ObjectChange.objects.filter(changed_object_id=free.pk, changed_object_type__model="segment").latest("time")
    assert (change.user_name, change.prechange_data["status"]) == ("root", "available")
    # Whoever enables the segment says that it is free, and its VLAN with it.
    enable_segment(free, user="root")
    assert VLAN.objects.get(pk=free.vlan_id).status == "active"
    assert find_drift() == []


def test_cool_down_ends_with_a_vlan_that_is_not_active(netbox, pool):
    update_pool(pool, user=make_user(), cooldown=60)
    segment = allocate("prod-01", pool=pool, user=make_user()).allocation.segment
    release("prod-01", pool=pool, user=make_user())
    assert netbox.edit(segment.vlan, status="reserved") == {}
    segment.refresh_from_db()
    assert (segment.status, segment.quarantined_until) == ("disabled", None)


def test_status_of_the_vlan_of_an_allocated_segment_may_change(netbox, held):
    assert netbox.edit(held.vlan, status="deprecated") == {}
    held.refresh_from_db()
    assert held.status == "allocated"
    assert find_drift() == []
    # Nobody gets it afterwards.
    update_pool(held.pool, user=make_user(), cooldown=60)
    release("prod-01", pool=held.pool, user=make_user())
    held.refresh_from_db()
    assert (held.status, held.disabled_reason, held.quarantined_until) == ("disabled", "VLAN deprecated", None)
    assert held.last_released_at is not None
    assert find_drift() == []


def test_saving_some_other_field_of_a_vlan_asks_nothing(free):
    with CaptureQueriesContext(connection) as queries:
        # The name and the description are in a segment's answers, and change its ETag.
        free.vlan.save(update_fields=["comments"])
    assert not [query for query in queries if "netbox_vlan_manager" in query["sql"]]


# Prefixes


def test_new_cidr_of_a_free_segment_is_taken(netbox, free):
    assert netbox.edit(free.prefix, prefix="10.0.77.0/25") == {}
    assert str(Segment.objects.get(pk=free.pk).prefix.prefix) == "10.0.77.0/25"
    assert find_drift() == []


def test_new_cidr_of_an_allocated_segment_is_refused(netbox, held, unchanged):
    assert netbox.edit(held.prefix, prefix="10.0.77.0/24") == {
        "prefix": ["The prefix's segment is allocated: release it before its prefix changes."]
    }
    unchanged()


@pytest.mark.parametrize(
    ("cidr", "reason"),
    [
        ("10.1.0.0/24", "lies in no container of pool Network1 Site1: take one from 10.0.0.0/16."),
        ("10.0.0.0/24", "overlaps 10.0.0.0/24 of another segment in VRF Network1: use a free one."),
        ("10.0.2.128/25", "overlaps 10.0.2.0/24 of another segment in VRF Network1: use a free one."),
        ("10.0.0.0/17", "overlaps 10.0.0.0/24 of another segment in VRF Network1: use a free one."),
        ("10.0.77.0/32", "has length /32: this pool takes /16 to /31."),
        ("127.0.0.0/24", "lies in or covers 127.0.0.0/8, which hosts cannot use: take another network."),
    ],
)
def test_new_cidr_that_does_not_fit_is_refused(netbox, pool, free, unchanged, cidr, reason):
    assert netbox.edit(free.prefix, prefix=cidr)["prefix"] == [f"Prefix {cidr} {reason}"]
    unchanged()


def test_bare_save_of_a_cidr_that_does_not_fit_is_refused(free, unchanged):
    assert "lies in no container" in save(free.prefix, prefix="10.1.0.0/24")
    unchanged()


def test_bare_save_of_a_cidr_with_host_bits_is_refused(free, unchanged):
    assert "is not a network address" in save(free.prefix, prefix="10.0.77.1/24")
    unchanged()


def test_cidr_that_shrinks_or_grows_in_its_own_place_is_taken(netbox, pool):
    segment = make_segment(pool, 110, prefix="10.0.64.0/24")
    for cidr in ("10.0.64.0/25", "10.0.64.0/23"):
        assert netbox.edit(segment.prefix, prefix=cidr) == {}
    assert find_drift() == []


def test_prefix_stays_in_its_vrf(netbox, pool, free, unchanged):
    other = VRF.objects.create(name="Network9")
    assert netbox.edit(free.prefix, vrf=other.pk)["vrf"] == [
        f"The prefix belongs to a segment of pool {pool}: it stays in VRF Network1."
    ]
    assert set(netbox.edit(free.prefix, vrf=None)) == {"vrf"}
    unchanged()


def test_prefix_stays_with_its_vlan(netbox, pool, free, unchanged):
    assert netbox.edit(free.prefix, vlan=None)["vlan"] == [
        "The prefix belongs to a segment: it stays with VLAN EPG_101 (101)."
    ]
    other = Segment.objects.get(vid=102).vlan
    assert set(netbox.edit(free.prefix, vlan=other.pk)) == {"vlan"}
    unchanged()


@pytest.mark.parametrize(("name", "value"), [("vrf", None), ("vlan", None)])
def test_bare_save_of_another_vrf_or_vlan_is_refused(free, unchanged, name, value):
    assert "it stays" in save(free.prefix, **{name: value})
    unchanged()


def test_prefix_of_a_held_segment_cannot_be_marked_free(netbox, held, unchanged):
    assert netbox.edit(held.prefix, status="active") == {
        "status": ["The prefix belongs to a segment, which is allocated: allocate or release the segment instead."]
    }
    unchanged()


def test_prefix_of_a_free_segment_cannot_be_marked_taken(netbox, free, unchanged):
    for status in ("reserved", "container", "deprecated"):
        assert netbox.edit(free.prefix, status=status)["status"] == [
            "The prefix belongs to a segment, which is available: allocate or release the segment instead."
        ]
    unchanged()


def test_bare_save_of_another_status_is_refused(held, unchanged):
    assert "which is allocated" in save(held.prefix, status="active")
    unchanged()


def test_bare_save_of_a_prefix_read_before_an_allocation_does_not_free_it(pool):
    stale = Prefix.objects.get(prefix="10.0.0.0/24")
    allocate("prod-01", pool=pool, user=make_user())
    with pytest.raises(AbortRequest), transaction.atomic():
        stale.save()
    assert Prefix.objects.get(pk=stale.pk).status == "reserved"


def test_other_fields_of_a_prefix_may_change(netbox, held):
    assert netbox.edit(held.prefix, description="Rack 7", is_pool=True) == {}
    held.prefix.refresh_from_db()
    assert held.prefix.description == "Rack 7"


def test_saving_some_other_field_of_a_prefix_asks_nothing(free):
    with CaptureQueriesContext(connection) as queries:
        free.prefix.save(update_fields=["comments"])
    assert not [query for query in queries if "netbox_vlan_manager" in query["sql"]]


def test_prefix_may_be_made_inside_a_segment_and_around_it(client, held):
    for cidr in ("10.0.0.128/25", "10.0.0.0/23"):
        data = {"prefix": cidr, "vrf": held.pool.vrf_id}
        response = client.post(reverse("ipam-api:prefix-list"), data, content_type="application/json")
        assert response.status_code == 201
    # What is around is told of, for it may stand for another use of the same addresses.
    assert {drift.kind for drift in find_drift()} == {"prefix_around"}


def test_network_of_a_segment_is_given_to_no_other_prefix(netbox, client, held, free, stranger):
    VRF.objects.update(enforce_unique=False)
    before = state()
    data = {"prefix": "10.0.0.0/24", "vrf": held.pool.vrf_id}
    response = client.post(reverse("ipam-api:prefix-list"), data, content_type="application/json")
    assert response.json() == {
        "prefix": ["Prefix 10.0.0.0/24 belongs to a segment in VRF Network1: use that prefix, or another network."]
    }
    text = "belongs to a segment in VRF Network1"
    assert text in netbox.edit(stranger[1], prefix="10.0.0.0/24", vrf=held.pool.vrf_id)["prefix"][0]
    with pytest.raises(AbortRequest, match=text), transaction.atomic():
        Prefix.objects.create(prefix=IPNetwork("10.0.0.0/24"), vrf=held.pool.vrf, status="container")
    assert text in save(stranger[1], prefix=IPNetwork("10.0.0.0/24"), vrf=held.pool.vrf)
    assert state() == before
    # In another VRF, or in none, it is another network.
    for vrf in (None, VRF.objects.create(name="Other")):
        Prefix.objects.create(prefix=IPNetwork("10.0.0.0/24"), vrf=vrf)
    assert find_drift() == []


@pytest.mark.parametrize("prefix", ["", "nonsense", "10.0.0.1/24"])
def test_form_of_a_prefix_says_itself_that_it_is_not_valid(client, held, prefix):
    data = {"prefix": prefix, "vrf": held.pool.vrf_id, "status": "active"}
    for url in (reverse("ipam:prefix_add"), reverse("ipam:prefix_edit", args=[held.prefix_id])):
        response = client.post(url, data)
        assert response.status_code == 200
        assert "prefix" in response.context["form"].errors


def test_prefix_of_a_segment_does_not_move_onto_another_prefix(netbox, free):
    VRF.objects.update(enforce_unique=False)
    Prefix.objects.create(prefix=IPNetwork("10.0.50.0/24"), vrf=free.pool.vrf)
    assert "in VRF Network1 more than once" in netbox.edit(free.prefix, prefix="10.0.50.0/24")["prefix"][0]
    assert netbox.edit(free.prefix, prefix="10.0.51.0/24") == {}
    assert find_drift() == []


def test_prefix_that_is_there_twice_already_may_be_edited(netbox, free):
    VRF.objects.update(enforce_unique=False)
    twin = Prefix(prefix=IPNetwork("10.0.1.0/24"), vrf=free.pool.vrf)
    Prefix.objects.bulk_create([twin])
    assert netbox.edit(twin, description="Rack 7") == {}
    assert netbox.edit(free.prefix, description="Rack 7") == {}


# Containers


@pytest.fixture
def container(pool):
    return pool.prefixes.get()


def test_container_may_grow(netbox, container):
    assert netbox.edit(container, prefix="10.0.0.0/15") == {}
    assert find_drift() == []


def test_container_may_shrink_around_its_segments(netbox, container):
    assert netbox.edit(container, prefix="10.0.0.0/20") == {}
    assert find_drift() == []


def test_container_may_not_leave_a_segment(netbox, pool, container, unchanged):
    make_segment(pool, 150, 200)
    before = state()
    assert netbox.edit(container, prefix="10.0.0.0/20")["prefix"] == [
        f"Pool {pool} has segments outside 10.0.0.0/20, such as 10.0.200.0/24: keep them inside."
    ]
    assert state() == before


def test_bare_save_of_a_container_that_leaves_its_segments_is_refused(container, unchanged):
    assert "has segments outside 10.9.0.0/16" in save(container, prefix="10.9.0.0/16")
    unchanged()


def test_container_may_leave_a_segment_that_another_container_holds(netbox, pool, container):
    pool.prefixes.add(Prefix.objects.create(prefix="10.0.0.0/8", vrf=pool.vrf, status="container"))
    assert netbox.edit(container, prefix="10.0.128.0/17") == {}
    assert find_drift() == []


def test_container_stays_in_its_vrf(netbox, pool, container, unchanged):
    other = VRF.objects.create(name="Network9")
    for vrf in (other.pk, None):
        assert netbox.edit(container, vrf=vrf)["vrf"] == [
            f"The prefix is a container of pool {pool}: it stays in VRF Network1."
        ]
    unchanged()


def test_container_stays_a_container(netbox, pool, container, unchanged):
    assert netbox.edit(container, status="active")["status"] == [
        f"The prefix is a container of pool {pool}: its status stays Container."
    ]
    assert save(container, status="active") != ""
    unchanged()


def test_other_fields_of_a_container_may_change(netbox, container):
    assert netbox.edit(container, description="Campus") == {}


# VLAN groups


def test_ranges_that_hold_all_segments_are_taken(netbox, pool):
    assert netbox.edit(pool.vlan_group, vid_ranges=[[100, 101], [102, 110], [2000, 2010]]) == {}
    assert find_drift() == []


@pytest.mark.parametrize(
    ("ranges", "outside"), [([[101, 999]], 100), ([[100, 100], [102, 999]], 101), ([[1, 101]], 102)]
)
def test_ranges_that_leave_a_segment_are_refused(netbox, pool, unchanged, ranges, outside):
    assert netbox.edit(pool.vlan_group, vid_ranges=ranges) == {
        "vid_ranges": [f"VLAN ID {outside} belongs to a segment: keep it in a range."]
    }
    unchanged()


def test_bare_save_of_ranges_that_leave_a_segment_is_refused(pool, unchanged):
    ranges = [type(pool.vlan_group.vid_ranges[0])(101, 1000)]
    assert save(pool.vlan_group, vid_ranges=ranges) == "VLAN ID 100 belongs to a segment: keep it in a range."
    unchanged()


@pytest.mark.parametrize("ranges", [[[None, 100]], [[100, None]], [[999, 100]], [], None, [[1]], "1-5"])
def test_ranges_that_are_none_are_refused_by_netbox(client, pool, unchanged, ranges):
    url = reverse("ipam-api:vlangroup-detail", args=[pool.vlan_group_id])
    response = client.patch(url, {"vid_ranges": ranges}, content_type="application/json")
    assert response.status_code == 400
    unchanged()


def test_other_edits_of_a_group_that_is_wrong_go_on(netbox, pool):
    VLANGroup.objects.filter(pk=pool.vlan_group_id).update(vid_ranges=[type(pool.vlan_group.vid_ranges[0])(200, 300)])
    assert netbox.edit(pool.vlan_group, description="Fabric 1") == {}
    assert netbox.edit(pool.vlan_group, vid_ranges=[[100, 300]]) == {}
    assert find_drift() == []


def test_other_fields_of_a_group_may_change(netbox, pool):
    assert netbox.edit(pool.vlan_group, description="Fabric 1") == {}


# Deletions


@pytest.mark.parametrize("which", ["free", "held"])
@pytest.mark.parametrize("part", ["vlan", "prefix"])
def test_vlan_and_prefix_of_a_segment_stay(netbox, request, which, part):
    segment = request.getfixturevalue(which)
    before = state()
    assert "EPG_" in netbox.delete(getattr(segment, part))
    assert state() == before


def test_container_of_a_pool_stays(netbox, pool, container, unchanged):
    assert pool.name in netbox.delete(container)
    unchanged()


def test_container_that_no_segment_needs_may_go(netbox, pool, container):
    spare = Prefix.objects.create(prefix="10.5.0.0/16", vrf=pool.vrf, status="container")
    pool.prefixes.add(spare)
    assert netbox.delete(spare) == ""
    assert list(pool.prefixes.all()) == [container]


def test_script_takes_no_container_away_that_segments_need(pool, container):
    spare = Prefix.objects.create(prefix="10.5.0.0/16", vrf=pool.vrf, status="container")
    update_pool(pool, user=make_user(), prefixes=[container, spare])
    for take_away in (
        lambda: pool.prefixes.remove(container),
        lambda: pool.prefixes.clear(),
        lambda: pool.prefixes.set([spare]),
        lambda: container.segment_pools.remove(pool),
        lambda: container.segment_pools.clear(),
    ):
        with pytest.raises(AbortRequest, match="hands out of this container"), transaction.atomic():
            take_away()
    assert set(pool.prefixes.all()) == {container, spare}
    pool.prefixes.remove(spare)
    assert find_drift() == []
    # What the service has checked may go through moments at which segments lie outside.
    wider = update_pool(pool, user=make_user(), prefixes=["10.0.0.0/8"])
    assert [str(prefix) for prefix in wider.prefixes.all()] == ["10.0.0.0/8"]
    with pytest.raises(AbortRequest), transaction.atomic():
        wider.prefixes.clear()


def test_last_container_of_an_empty_pool_stays(netbox):
    pool = make_pool()
    assert pool.name in netbox.delete(pool.prefixes.get())


@pytest.mark.parametrize("field", ["vlan_group", "vrf", "scope"])
def test_what_a_pool_is_made_of_stays(netbox, pool, unchanged, field):
    assert "dependent objects were found" in netbox.delete(getattr(pool, field))
    unchanged()


def test_what_an_empty_pool_is_made_of_stays(netbox):
    pool = make_pool()
    for field in ("vlan_group", "vrf", "scope"):
        assert pool.name in netbox.delete(getattr(pool, field))
    assert SegmentPool.objects.get() == pool


def nested_places():
    """Return {name: place}: a location in a site in a site group and a region, each with one of its kind around it."""
    outer_region = Region.objects.create(name="Country", slug="country")
    region = Region.objects.create(name="City", slug="city", parent=outer_region)
    outer_group = SiteGroup.objects.create(name="Company", slug="company")
    group = SiteGroup.objects.create(name="Branch", slug="branch", parent=outer_group)
    site = make_site("Campus", region=region, group=group)
    hall = Location.objects.create(name="Hall", slug="hall", site=site)
    room = Location.objects.create(name="Room", slug="room", site=site, parent=hall)
    places = (outer_region, region, outer_group, group, site, hall, room)
    return {place.name.lower(): place for place in places}


@pytest.mark.parametrize(
    ("scope", "deleted"),
    [
        ("country", "country"),
        ("city", "city"),
        ("city", "country"),
        ("company", "company"),
        ("branch", "branch"),
        ("branch", "company"),
        ("campus", "campus"),
        ("hall", "hall"),
        ("hall", "campus"),
        ("room", "room"),
        ("room", "hall"),
        ("room", "campus"),
    ],
)
def test_place_that_a_pool_serves_stays_and_so_do_those_around_it_that_would_take_it_along(netbox, scope, deleted):
    places = nested_places()
    pool = make_pool(scope=places[scope])
    assert pool.name in netbox.delete(places[deleted])
    assert type(places[deleted]).objects.filter(pk=places[deleted].pk).exists()
    assert SegmentPool.objects.get().scope == places[scope]


@pytest.mark.parametrize(("scope", "deleted"), [("campus", "city"), ("hall", "branch"), ("campus", "room")])
def test_place_that_no_pool_serves_may_go(netbox, scope, deleted):
    places = nested_places()
    make_pool(scope=places[scope])
    assert netbox.delete(places[deleted]) == ""
    assert SegmentPool.objects.get().scope == places[scope]
    assert find_drift() == []


def test_refused_deletion_does_not_keep_a_later_one_out_of_the_change_log():
    region = Region.objects.create(name="North", slug="north")
    pool = make_pool(scope=region)
    with change_tracking(make_user()):
        with pytest.raises(ProtectedError), transaction.atomic():
            region.delete()
        pool.delete()
        region.delete()
    assert ObjectChange.objects.filter(action="delete", object_repr="North").exists()


def test_deletion_that_is_tried_again_after_a_deadlock_is_in_the_change_log(free):
    tries = []

    def delete():
        Segment.objects.get(pk=free.pk).delete()
        tries.append(free)
        if len(tries) == 1:
            with connection.cursor() as cursor:
                cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'Deadlock' USING ERRCODE = '40P01'; END $$")

    with change_tracking(make_user()):
        transactions.run(delete)
    assert len(tries) == 2
    deleted = ObjectChange.objects.filter(action="delete").values_list("changed_object_type__model", flat=True)
    assert sorted(deleted) == ["prefix", "segment", "vlan"]


def test_held_segment_stays(held, unchanged):
    with pytest.raises(ProtectedError), transaction.atomic():
        held.delete()
    unchanged()


def test_pool_with_segments_stays(pool, unchanged):
    with pytest.raises(ProtectedError), transaction.atomic():
        pool.delete()
    unchanged()


def test_empty_pool_may_go_and_its_parts_stay():
    pool = make_pool()
    pool.delete()
    assert VLANGroup.objects.exists()
    assert Prefix.objects.exists()


def test_queryset_deletions_are_refused_too(pool, free, unchanged):
    for rows in (
        VLAN.objects.filter(pk=free.vlan_id),
        Prefix.objects.filter(pk=free.prefix_id),
        Prefix.objects.filter(pk=pool.prefixes.get().pk),
        VLANGroup.objects.filter(pk=pool.vlan_group_id),
        VRF.objects.filter(pk=pool.vrf_id),
        Site.objects.filter(pk=pool.scope_id),
    ):
        with pytest.raises(ProtectedError), transaction.atomic():
            rows.delete()
    unchanged()


# What has nothing to do with segments


@pytest.fixture
def stranger(pool):
    """A VLAN and a prefix beside those of the pool, in its group and VRF."""
    vlan = VLAN.objects.create(vid=900, name="Not an EPG name", group=pool.vlan_group)
    return vlan, Prefix.objects.create(prefix="10.0.200.0/24", vrf=pool.vrf, vlan=vlan)


def test_strangers_may_be_edited(netbox, stranger):
    vlan, prefix = stranger
    assert netbox.edit(vlan, vid=901, name="Some name", group=None) == {}
    assert netbox.edit(prefix, prefix="10.0.0.0/25", vlan=None, vrf=None, status="container") == {}


def test_strangers_may_be_deleted(netbox, stranger):
    vlan, prefix = stranger
    assert netbox.delete(prefix) == ""
    assert netbox.delete(vlan) == ""


def test_strangers_may_be_made(client, pool):
    for name, data in (
        ("vlan", {"vid": 900, "name": "Some name", "group": pool.vlan_group_id}),
        ("prefix", {"prefix": "10.0.1.0/25", "vrf": pool.vrf_id}),
        ("vlangroup", {"name": "Some group", "slug": "some-group"}),
    ):
        response = client.post(reverse(f"ipam-api:{name}-list"), data, content_type="application/json")
        assert response.status_code == 201, response.content


def test_places_that_no_pool_serves_may_be_deleted(netbox, pool):
    for place in reversed(nested_places().values()):
        assert netbox.delete(place) == ""


def bulk_edit(client, model, objects, **values):
    """Edit in bulk with NetBox's page, and return the form's errors, [] when it was done."""
    url = reverse(f"ipam:{model._meta.model_name}_bulk_edit")
    data = {"pk": [instance.pk for instance in objects], "_apply": True} | values
    response = client.post(url, data)
    if response.status_code == 302:
        return ""
    return response.content.decode()


def test_bulk_edit_of_strangers(client, pool):
    vlans = [VLAN.objects.create(vid=800 + n, name=f"Some name {n}") for n in range(5)]
    prefixes = [Prefix.objects.create(prefix=f"10.9.{n}.0/24") for n in range(5)]
    assert bulk_edit(client, VLAN, vlans, status="reserved", description="Rack 7") == ""
    assert bulk_edit(client, Prefix, prefixes, status="reserved", vrf=pool.vrf_id) == ""
    assert VLAN.objects.filter(status="reserved", description="Rack 7").count() == 5
    assert Prefix.objects.filter(status="reserved", vrf=pool.vrf).count() == 5


def test_bulk_edit_of_what_segments_use(client, held, free):
    assert bulk_edit(client, VLAN, [held.vlan, free.vlan], status="deprecated") == ""
    assert bulk_edit(client, Prefix, [held.prefix, free.prefix], description="Rack 7") == ""
    assert VLAN.objects.filter(status="deprecated").count() == 2
    statuses = Segment.objects.filter(vid__in=(100, 101)).order_by("vid").values_list("status", flat=True)
    assert list(statuses) == ["allocated", "disabled"]
    assert find_drift() == []


def test_bulk_edit_that_would_break_one_segment_changes_nothing(client, held, free, unchanged):
    vlan = VLAN.objects.create(vid=950, name="Some name")
    before = state()
    other = VLANGroup.objects.create(name="Other", slug="other")
    page = bulk_edit(client, VLAN, [vlan, free.vlan], group=other.pk)
    assert "it stays in VLAN group" in page
    other.delete()
    assert state() == before


def test_bulk_edit_of_prefix_statuses_is_refused(client, held, free, unchanged):
    assert "which is available" in bulk_edit(client, Prefix, [free.prefix, held.prefix], status="reserved")
    unchanged()


def test_bulk_deletion_that_would_break_one_segment_deletes_nothing(client, free, stranger):
    before = state()
    for model, objects in ((VLAN, [stranger[0], free.vlan]), (Prefix, [stranger[1], free.prefix])):
        url = reverse(f"ipam-api:{model._meta.model_name}-list")
        data = [{"id": instance.pk} for instance in objects]
        response = client.delete(url, data, content_type="application/json")
        assert response.status_code == 409
        page = client.post(
            reverse(f"ipam:{model._meta.model_name}_bulk_delete"),
            {"pk": [instance.pk for instance in objects], "_confirm": True, "confirm": True},
        )
        assert "Unable to delete" in str(list(get_messages(page.wsgi_request))[-1])
    assert state() == before


def queries_of_ours(work):
    """Return how many queries about the plugin's tables `work` made."""
    with CaptureQueriesContext(connection) as queries:
        work()
    return sum("netbox_vlan_manager" in query["sql"] for query in queries)


def test_saving_a_stranger_costs_few_queries(stranger):
    vlan, prefix = stranger
    assert queries_of_ours(vlan.save) <= 4
    assert queries_of_ours(prefix.save) <= 5


def test_saving_a_stranger_costs_the_same_among_many_segments(pool, stranger):
    vlan, prefix = stranger
    before = [queries_of_ours(vlan.save), queries_of_ours(prefix.save)]
    for number in range(10, 20):
        make_segment(pool, 100 + number, number)
    assert [queries_of_ours(vlan.save), queries_of_ours(prefix.save)] == before


def test_making_a_stranger_costs_nothing(pool):
    assert queries_of_ours(lambda: VLAN.objects.create(vid=900, name="Some name")) == 0
    assert queries_of_ours(lambda: Prefix.objects.create(prefix="10.9.0.0/24")) == 0
    assert queries_of_ours(lambda: VLANGroup.objects.create(name="Some group", slug="some-group")) == 0


# What is wrong already


def test_other_edits_of_a_vlan_in_a_wrong_group_go_on(netbox, free):
    VLAN.objects.filter(pk=free.vlan_id).update(group=None, name="EPG 101")
    assert netbox.edit(free.vlan, description="Rack 7") == {}
    assert netbox.edit(free.vlan, group=free.pool.vlan_group_id, name="EPG_101") == {}
    assert find_drift() == []


def test_other_edits_of_a_prefix_that_is_wrong_go_on(netbox, held):
    Prefix.objects.filter(pk=held.prefix_id).update(vlan=None, vrf=None, status="active")
    assert netbox.edit(held.prefix, description="Rack 7") == {}
    assert netbox.edit(held.prefix, vlan=held.vlan_id, vrf=held.pool.vrf_id, status="reserved") == {}
    assert find_drift() == []


def test_other_edits_of_a_container_that_is_wrong_go_on(netbox, container):
    Prefix.objects.filter(pk=container.pk).update(prefix="10.0.0.0/25", status="active")
    assert netbox.edit(container, description="Campus") == {}
    assert netbox.edit(container, prefix="10.0.0.0/16", status="container") == {}
    assert find_drift() == []


def test_role_of_a_prefix_that_is_wrong_may_be_deleted(netbox, held):
    role = Role.objects.create(name="Role", slug="role")
    Prefix.objects.filter(pk=held.prefix_id).update(status="active", role=role)
    assert netbox.delete(role) == ""


# Edits while somebody allocates


@contextmanager
def other_session():
    """A connection of another session, in a transaction."""
    config = connection.settings_dict
    session = psycopg.connect(
        host=config["HOST"],
        port=config["PORT"],
        user=config["USER"],
        password=config["PASSWORD"],
        dbname=config["NAME"],
    )
    with session:
        yield session


def start(work):
    """Begin `work` in a thread of its own, and return its Future once it waits for a lock."""

    def run():
        try:
            return work()
        finally:
            connections.close_all()

    executor = ThreadPoolExecutor(1)
    future = executor.submit(run)
    executor.shutdown(wait=False)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with other_session() as observer:
        observer.autocommit = True
        while not future.done() and not observer.execute(waiting).fetchone():
            sleep(0.01)
    return future


@pytest.mark.django_db(transaction=True)
def test_vid_is_not_changed_under_an_allocation_that_is_being_made(client):
    pool = make_pool(segments=1)
    vlan = VLAN.objects.get(group=pool.vlan_group)
    with transaction.atomic():
        allocate("prod-01", pool=pool, user=make_user())
        edit = start(lambda: REST(client).edit(vlan, vid=150))
    assert edit.result(60) == {"detail": "The VLAN's segment is allocated: release it before its VLAN ID changes."}
    assert Allocation.objects.get().vid == VLAN.objects.get().vid == 100
    assert find_drift() == []


@pytest.mark.django_db(transaction=True)
def test_cidr_is_not_changed_under_an_allocation_that_is_being_made(client):
    pool = make_pool(segments=1)
    prefix = Prefix.objects.get(prefix="10.0.0.0/24")
    with transaction.atomic():
        allocate("prod-01", pool=pool, user=make_user())
        edit = start(lambda: REST(client).edit(prefix, prefix="10.0.7.0/24"))
    assert "release it before its prefix changes" in edit.result(60)["detail"]
    assert str(Allocation.objects.get().prefix) == "10.0.0.0/24"
    assert find_drift() == []


@pytest.mark.django_db(transaction=True)
def test_allocation_that_waited_for_a_new_name_has_it():
    pool = make_pool(segments=1)
    with transaction.atomic():
        save(VLAN.objects.get(), name="EPG_new")
        allocation = start(lambda: allocate("prod-01", pool=pool, user="operator").allocation)
    assert allocation.result(60).epg_name == "EPG_new"
    assert find_drift() == []


@pytest.mark.django_db(transaction=True)
def test_edit_that_does_not_get_its_lock_is_told_so(client, settings):
    settings.PLUGINS_CONFIG = {
        "netbox_vlan_manager": settings.PLUGINS_CONFIG["netbox_vlan_manager"] | {"lock_timeout": 50}
    }
    pool = make_pool(segments=1)
    prefix = Prefix.objects.get(prefix="10.0.0.0/24")
    with other_session() as session:
        session.execute("SELECT pg_advisory_xact_lock(%s, %s)", [transactions.VRF_SPACE, pool.vrf_id])
        answer = REST(client).edit(prefix, prefix="10.0.7.0/24")
    assert answer == {"detail": "Another transaction holds what this call needs. Nothing was changed; try again."}
    prefix.refresh_from_db()
    assert str(prefix.prefix) == "10.0.0.0/24"
