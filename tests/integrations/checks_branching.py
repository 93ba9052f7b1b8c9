"""Checks with netbox-branching, in a NetBox that has it. Run by test_integrations.py; no check is rolled back."""

import uuid

import django

django.setup()

import pytest  # noqa: E402
from django.core.exceptions import ValidationError  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.models import ProtectedError  # noqa: E402
from django.test import Client, RequestFactory  # noqa: E402
from django.urls import reverse  # noqa: E402
from netbox_branching.choices import BranchStatusChoices  # noqa: E402
from netbox_branching.constants import BRANCH_HEADER, COOKIE_NAME  # noqa: E402
from netbox_branching.models import Branch, ChangeDiff  # noqa: E402
from netbox_branching.utilities import activate_branch, get_tables_to_replicate  # noqa: E402

from core.models import ObjectType  # noqa: E402
from dcim.models import Region, Site  # noqa: E402
from ipam.models import VLAN, Prefix  # noqa: E402
from netbox.context_managers import event_tracking  # noqa: E402
from netbox_vlan_manager.exceptions import BranchActive  # noqa: E402
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool  # noqa: E402
from netbox_vlan_manager.models.deletion import HiddenObjects  # noqa: E402
from netbox_vlan_manager.services import (  # noqa: E402
    allocate,
    create_segment,
    delete_segment,
    release,
    update_pool,
    update_segment,
)
from netbox_vlan_manager.services.drift.findings import find_drift  # noqa: E402
from tests.factories import make_pool, make_segment, make_user  # noqa: E402
from utilities.exceptions import AbortRequest  # noqa: E402
from virtualization.models import Cluster, ClusterType  # noqa: E402

API = "/api/plugins/vlan-manager/"
UI = "/plugins/vlan-manager/"
NAMES = {"site": "Site1", "vrf": "Network1"}


@pytest.fixture(scope="module")
def admin():
    return make_user("admin", is_superuser=True)


@pytest.fixture(scope="module")
def pool():
    return make_pool(segments=8)


@pytest.fixture(scope="module")
def cluster():
    return Cluster.objects.create(name="vm-01", type=ClusterType.objects.create(name="K8s", slug="k8s"))


@pytest.fixture(scope="module")
def container(pool):
    """A second container, which no segment needs."""
    container = Prefix.objects.create(prefix="10.9.0.0/16", vrf=pool.vrf, status="container")
    pool.prefixes.add(container)
    return container


@pytest.fixture(autouse=True)
def main_fits():
    yield
    assert list(find_drift()) == []


def make_branch(user):
    branch = Branch(name=f"branch {uuid.uuid4()}")
    branch.save(provision=False)
    branch.provision(user=user)
    branch.refresh_from_db()
    assert branch.status == BranchStatusChoices.READY
    return branch


@pytest.fixture(scope="module")
def branch(admin, pool, cluster, container):
    """A branch of the initial data, which no check changes."""
    return make_branch(admin)


@pytest.fixture
def new_branch(admin, pool):
    """A branch of the current data."""
    branch = make_branch(admin)
    yield branch
    branch.refresh_from_db()
    branch.delete()


@pytest.fixture
def client(admin):
    client = Client(raise_request_exception=True)
    client.force_login(admin)
    return client


@pytest.fixture
def in_branch(branch, admin):
    """Activate the branch for the block, and log its changes as those of a request."""
    request = RequestFactory().get("/")
    request.id, request.user = uuid.uuid4(), admin
    with activate_branch(branch), event_tracking(request):
        yield branch


def state():
    """Return all rows of the plugin's tables in main."""
    models = (SegmentPool, Segment, Allocation, SegmentPool.prefixes.through)
    return [list(model.objects.using("default").order_by("pk").values()) for model in models]


def edit(branch, user, instance, **values):
    """Edit an object in a branch as NetBox's form does."""
    request = RequestFactory().get("/")
    request.id, request.user = uuid.uuid4(), user
    with activate_branch(branch), event_tracking(request):
        draft = type(instance).objects.get(pk=instance.pk)
        draft.snapshot()
        for name, value in values.items():
            setattr(draft, name, value)
        draft.full_clean()
        draft.save()


def test_netbox_starts_and_is_migrated():
    call_command("check")
    call_command("migrate", check_unapplied=True)


def test_branches_have_no_copies_of_our_tables(branch):
    types = ObjectType.objects.filter(app_label="netbox_vlan_manager")
    assert types
    assert not [one.model for one in types if "branching" in one.features]
    assert not [table for table in get_tables_to_replicate() if table.startswith("netbox_vlan_manager")]
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [branch.schema_name])
        tables = {table for (table,) in cursor.fetchall()}
    assert "ipam_vlan" in tables
    assert not [table for table in tables if table.startswith("netbox_vlan_manager")]


def test_migrations_pass_branches_by(new_branch):
    # As if the plugin was installed or updated after the branch was made.
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {new_branch.schema_name}.django_migrations WHERE app = 'netbox_vlan_manager'")
    before = state()
    new_branch.migrate(user=None)
    new_branch.refresh_from_db()
    assert new_branch.status == BranchStatusChoices.READY
    assert state() == before
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
            "WHERE relnamespace = %s::regnamespace AND starts_with(tgname, 'netbox_vlan_manager')",
            [new_branch.schema_name],
        )
        assert cursor.fetchall() == []


@pytest.mark.parametrize(
    "write",
    [
        lambda pool: allocate("in-a-branch", **NAMES, user="admin"),
        lambda pool: allocate("in-a-branch", **NAMES, user="admin", dry_run=True),
        lambda pool: release("held", **NAMES, user="admin"),
        lambda pool: create_segment(pool, user="admin", vid=190, epg_name="EPG_190", prefix="10.0.90.0/24"),
        lambda pool: update_segment(pool.segments.first(), user="admin", epg_name="Other"),
        lambda pool: delete_segment(pool.segments.filter(status="available").first(), user="admin"),
        lambda pool: update_pool(pool, user="admin", description="other"),
    ],
    ids=["allocate", "dry run", "release", "create_segment", "update_segment", "delete_segment", "update_pool"],
)
def test_services_refuse_to_write(pool, branch, admin, write):
    allocate("held", **NAMES, user="admin")
    before = state()
    with activate_branch(branch), pytest.raises(BranchActive):
        write(pool)
    assert state() == before


@pytest.mark.parametrize(
    "write",
    [
        lambda pool: pool.save(),
        lambda pool: pool.segments.first().save(),
        lambda pool: pool.allocations.first().save(),
        lambda pool: pool.prefixes.clear(),
        lambda pool: pool.delete(),
    ],
    ids=["pool", "segment", "allocation", "containers", "delete"],
)
def test_scripts_cannot_write_either(pool, in_branch, write):
    with activate_branch(None):
        before = state()
    with pytest.raises((AbortRequest, ProtectedError)):
        write(pool)
    assert state() == before


def test_a_script_that_reads_in_a_branch_leaves_nothing_behind(pool, branch):
    # Queries that are prepared first in a branch run in main later.
    held = allocate("held", **NAMES, user="admin").allocation
    with activate_branch(branch):
        assert allocate("held", **NAMES, user="admin").allocation == held
    new = allocate("after the branch", **NAMES, user="admin").allocation
    assert new._state.db == "default"
    assert new.segment.prefix.status == "reserved"
    release("after the branch", **NAMES, user="admin")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", "allocate-vlan/", {"cluster_name": "in-a-branch", **NAMES}),
        ("post", "allocate-vlan", {"cluster_name": "in-a-branch", **NAMES}),
        ("post", "release-vlan/", {"cluster_name": "held", **NAMES}),
        ("post", "allocations/", {"cluster_name": "in-a-branch", **NAMES}),
        ("post", "allocations/?background=true", [{"cluster_name": "in-a-branch", **NAMES}]),
        ("patch", "pools/{pool}/", {"description": "other"}),
        ("delete", "pools/{pool}/", None),
    ],
)
def test_rest_refuses_to_write(pool, branch, client, method, path, body):
    before = state()
    response = getattr(client, method)(
        API + path.format(pool=pool.pk), body, "application/json", headers={BRANCH_HEADER: branch.schema_id}
    )
    assert (response.status_code, response.json()["code"]) == (409, "branch_active")
    assert state() == before


def test_rest_and_pages_show_main(pool, branch, client):
    # The branch does not have this VLAN.
    segment = make_segment(pool, 150, 50)
    answer = client.get(f"{API}segments/{segment.pk}/", headers={BRANCH_HEADER: branch.schema_id})
    assert answer.json()["epg_name"] == "EPG_150"
    assert (
        client.get(f"/api/ipam/vlans/{segment.vlan_id}/", headers={BRANCH_HEADER: branch.schema_id}).status_code == 404
    )

    client.cookies[COOKIE_NAME] = branch.schema_id
    for path in ("overview/", "pools/", "segments/", "allocations/", f"pools/{pool.pk}/", f"segments/{segment.pk}/"):
        response = client.get(UI + path)
        assert response.status_code == 200, path
        assert "A branch is active." in response.text
    assert "EPG_150" in client.get(f"{UI}segments/").text
    # For the rest of NetBox, the user's branch stays active.
    assert branch.name in client.get("/dcim/sites/").text
    assert "A branch is active." not in client.get("/dcim/sites/").text
    delete_segment(segment, user="admin")


def test_pages_refuse_to_write(pool, branch, client):
    client.cookies[COOKIE_NAME] = branch.schema_id
    before = state()
    for path in ("allocations/allocate/", f"pools/{pool.pk}/edit/", f"pools/{pool.pk}/delete/", "segments/delete/"):
        response = client.post(UI + path, {"confirm": "true"}, follow=True)
        assert "leave the branch" in response.text, path
    response = client.post(f"{UI}allocations/allocate/", headers={"HX-Request": "true"})
    assert response.headers["HX-Redirect"] == f"{UI}allocations/allocate/"
    assert state() == before


def test_pages_of_netbox_work(pool, branch, client):
    held = allocate("held", **NAMES, user="admin").allocation
    new = make_segment(pool, 151, 51)
    client.cookies[COOKIE_NAME] = branch.schema_id
    segment = held.segment
    objects = [segment.vlan, segment.prefix, pool.vrf, pool.scope, pool.vlan_group, pool.prefixes.first()]
    for instance in objects:
        response = client.get(instance.get_absolute_url())
        assert response.status_code == 200
        assert "/plugins/vlan-manager/" in response.text
    assert "held" in client.get(segment.vlan.get_absolute_url()).text
    for path in ("/", "/search/?q=EPG", reverse("ipam:vlan_list"), reverse("ipam:prefix_list")):
        assert client.get(path).status_code == 200
    query = "{segment_list {id epg_name vlan {name} prefix {prefix} pool {name}}}"
    response = client.post("/graphql/", {"query": query}, "application/json", headers={BRANCH_HEADER: branch.schema_id})
    assert response.status_code == 200
    delete_segment(new, user="admin")


def test_a_draft_reaches_segments_when_it_is_merged_and_leaves_when_it_is_reverted(pool, new_branch, admin):
    segment = pool.segments.get(vid=105)
    edit(new_branch, admin, segment.vlan, vid=170, name="EPG_drafted")
    segment = Segment.objects.get(pk=segment.pk)
    assert (segment.vid, segment.epg_name) == (105, "EPG_105")

    new_branch.merge(user=admin)
    segment = Segment.objects.get(pk=segment.pk)
    assert (segment.vid, segment.epg_name) == (170, "EPG_drafted")
    assert list(find_drift()) == []

    new_branch.refresh_from_db()
    new_branch.revert(user=admin)
    segment = Segment.objects.get(pk=segment.pk)
    assert (segment.vid, segment.epg_name) == (105, "EPG_105")


def test_a_merge_meets_the_rules_of_main(pool, new_branch, admin):
    segment = pool.segments.get(vid=106)
    edit(new_branch, admin, segment.vlan, vid=171)
    held = allocate("meanwhile", **NAMES, user="admin", vid=106).allocation
    with pytest.raises(ValidationError, match="release it before its VLAN ID changes"):
        new_branch.merge(user=admin)
    new_branch.refresh_from_db()
    assert new_branch.status == BranchStatusChoices.READY
    assert Allocation.objects.get(pk=held.pk).vid == VLAN.objects.get(pk=segment.vlan_id).vid == 106
    release("meanwhile", **NAMES, user="admin")


def test_a_branch_follows_what_main_allocates(pool, new_branch, admin):
    # The segment is allocated, released and allocated to another cluster before the branch is synchronized.
    edit(new_branch, admin, pool.scope, description="makes the branch differ")
    first = allocate("one", **NAMES, user="admin", vid=107).allocation
    release("one", **NAMES, user="admin")
    update_segment(first.segment, user="admin", epg_name="EPG_107b")
    second = allocate("two", **NAMES, user="admin", vid=107).allocation
    new_branch.sync(user=admin)
    new_branch.refresh_from_db()
    with activate_branch(new_branch):
        assert Prefix.objects.get(pk=second.segment.prefix_id).status == "reserved"
        assert VLAN.objects.get(pk=second.segment.vlan_id).name == "EPG_107b"
    release("two", **NAMES, user="admin")


def test_a_conflict_is_noticed(pool, new_branch, admin):
    segment = pool.segments.get(vid=104)
    edit(new_branch, admin, segment.vlan, name="EPG_by_branch")
    update_segment(segment, user="admin", epg_name="EPG_by_main")
    diff = ChangeDiff.objects.get(branch=new_branch, object_id=segment.vlan_id, object_type__model="vlan")
    assert diff.conflicts == ["name"]


def test_a_place_that_moves_in_a_branch_moves_no_pool(pool, new_branch, admin):
    region = Region.objects.create(name="North", slug="north")
    with activate_branch(new_branch):
        draft = Region.objects.create(name="South", slug="south")
        Site.objects.filter(pk=pool.scope_id).update(region=draft)
    assert SegmentPool.objects.get(pk=pool.pk)._region_id is None
    # A change in main does change the answer.
    Site.objects.filter(pk=pool.scope_id).update(region=region)
    assert SegmentPool.objects.get(pk=pool.pk)._region_id == region.pk


@pytest.mark.parametrize("what", ["cluster", "container", "site", "vlan"])
def test_a_branch_deletes_nothing_that_main_refers_to(pool, branch, cluster, container, what):
    held = allocate("vm-01", **NAMES, user="admin").allocation
    assert held.cluster == cluster
    used = {"cluster": cluster, "container": container, "site": pool.scope, "vlan": held.segment.vlan}[what]
    before = state()
    with activate_branch(branch), pytest.raises((ProtectedError, AbortRequest)):
        type(used).objects.get(pk=used.pk).delete()
    assert state() == before


def test_a_refusal_in_a_branch_names_nothing_hidden(pool, branch):
    """The prefix is an exception: NetBox itself names it to every user who may delete its VLAN."""
    held = allocate("vm-02", **NAMES, user="admin").allocation
    request = RequestFactory().get("/")
    request.id, request.user = uuid.uuid4(), make_user("nobody")
    with activate_branch(branch), event_tracking(request), pytest.raises(ProtectedError) as caught:
        VLAN.objects.get(pk=held.segment.vlan_id).delete()
    assert set(caught.value.protected_objects) == {held.segment.prefix, HiddenObjects()}
