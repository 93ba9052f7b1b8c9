"""Edits of the VLANs, VLAN groups and prefixes of segments, in NetBox's pages, its REST API and by scripts."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from netaddr import IPNetwork

from ipam.models import VRF, Prefix, VLANGroup
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_user
from tests.services.segments.world import save, state
from utilities.exceptions import AbortRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(segments=3)


def test_new_vid_of_an_allocated_segment_is_refused(netbox, held, unchanged):
    assert netbox.edit(held.vlan, vid=150) == {
        "vid": ["The VLAN's segment is allocated: release it before its VLAN ID changes."]
    }
    unchanged()


def test_bare_save_of_a_held_vid_is_refused(held, unchanged):
    assert save(held.vlan, vid=150) == "The VLAN's segment is allocated: release it before its VLAN ID changes."
    unchanged()


def test_vid_outside_the_ranges_of_the_group_is_refused(netbox, free, unchanged):
    assert set(netbox.edit(free.vlan, vid=1500)) == {"vid"}
    unchanged()


def test_bare_save_of_a_vid_outside_the_ranges_is_refused(free, unchanged):
    assert save(free.vlan, vid=1500) == "VLAN ID 1500 is not in VLAN group Network1-Site1: use one of 100-999."
    unchanged()


def test_vid_of_another_segment_is_refused(netbox, free, unchanged):
    assert netbox.edit(free.vlan, vid=102) != {}
    unchanged()


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


def test_saving_some_other_field_of_a_vlan_asks_nothing(free):
    with CaptureQueriesContext(connection) as queries:
        # Name and description are in the segment's REST answers, so they change its ETag; comments are not.
        free.vlan.save(update_fields=["comments"])
    assert not [query for query in queries if "netbox_vlan_manager" in query["sql"]]


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


def test_late_bare_save_of_a_prefix_does_not_free_it(pool):
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
    # Drift reports a prefix around the segment's, because it may be another use of the same addresses.
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
    # In another VRF, or in none, the prefix is another network.
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
