"""Edits of the containers of pools, and deletions of the parts of pools and segments."""

import pytest
from django.db import connection, transaction
from django.db.models import ProtectedError

from core.models import ObjectChange
from dcim.models import Region, Site
from ipam.models import VLAN, VRF, Prefix, VLANGroup
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import update_pool
from netbox_vlan_manager.services.base import transactions
from netbox_vlan_manager.services.base.audit import change_tracking
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_user
from tests.services.segments.world import nested_places, save, state
from utilities.exceptions import AbortRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(segments=3)


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


def test_bare_save_of_a_container_off_its_segments_is_refused(container, unchanged):
    assert "has segments outside 10.9.0.0/16" in save(container, prefix="10.9.0.0/16")
    unchanged()


def test_container_may_leave_a_segment_to_another_container(netbox, pool, container):
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
    # The service checks the result, so segments may be outside the containers in between.
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
def test_place_of_a_pool_stays_with_those_around_it(netbox, scope, deleted):
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


def test_deletion_after_a_refused_one_is_in_the_change_log():
    region = Region.objects.create(name="North", slug="north")
    pool = make_pool(scope=region)
    with change_tracking(make_user()):
        with pytest.raises(ProtectedError), transaction.atomic():
            region.delete()
        pool.delete()
        region.delete()
    assert ObjectChange.objects.filter(action="delete", object_repr="North").exists()


def test_deletion_after_a_deadlock_is_in_the_change_log(free):
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
