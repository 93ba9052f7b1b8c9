"""Edits that no guard refuses: other objects, and existing inconsistencies; and edits during an allocation."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import sleep

import psycopg
import pytest
from django.contrib.messages import get_messages
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from ipam.models import VLAN, Prefix, Role, VLANGroup
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.base import transactions
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_user
from tests.services.segments.world import REST, nested_places, save, state

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(segments=3)


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
    """Edit in bulk with NetBox's page, and return the form's errors; [] after a success."""
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


def test_bulk_deletion_that_breaks_one_segment_does_nothing(client, free, stranger):
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
    """Call `work`, and return its number of queries about the plugin's tables."""
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


@contextmanager
def other_session():
    """A connection in another session, with a transaction."""
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
    """Start `work` in another thread, and return its Future once it waits for a lock."""

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
def test_vid_does_not_change_during_an_allocation(client):
    pool = make_pool(segments=1)
    vlan = VLAN.objects.get(group=pool.vlan_group)
    with transaction.atomic():
        allocate("prod-01", pool=pool, user=make_user())
        edit = start(lambda: REST(client).edit(vlan, vid=150))
    assert edit.result(60) == {"detail": "The VLAN's segment is allocated: release it before its VLAN ID changes."}
    assert Allocation.objects.get().vid == VLAN.objects.get().vid == 100
    assert find_drift() == []


@pytest.mark.django_db(transaction=True)
def test_cidr_does_not_change_during_an_allocation(client):
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
    assert answer == {
        "detail": "Another transaction holds a lock that this call needs. Nothing was changed; try again."
    }
    prefix.refresh_from_db()
    assert str(prefix.prefix) == "10.0.0.0/24"
