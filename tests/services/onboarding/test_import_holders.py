"""Allocations that an import makes."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from core.models import ObjectChange
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, disable_segment, release
from netbox_vlan_manager.services.onboarding.import_files import parse_csv
from netbox_vlan_manager.services.onboarding.importing import import_segments
from tests.drift import find_drift
from tests.factories import make_segment, make_user, permit
from virtualization.models import Cluster, ClusterType

pytestmark = pytest.mark.django_db

HEADER = "site,vlan_id,epg_name,segment,vrf,cluster_name,allocated_at\n"


def load(text, user=None, enforce=False, **kwargs):
    return import_segments(parse_csv(HEADER + text), user=user or make_user(), enforce=enforce, **kwargs)


def line(number, clusters="", allocated_at=""):
    return f'Site1,{number},EPG_{number},10.0.{number - 100}.0/24,Network1,"{clusters}",{allocated_at}\n'


def holders():
    active = Allocation.objects.active().order_by("vid", "pk")
    return list(active.values_list("vid", "cluster_name", "shared"))


def failure(result):
    (row,) = (row for row in result.results if row.status == "failed")
    return row.errors


def test_statements_do_not_grow_with_the_clusters(pool):
    counts = []
    # Every import has the same number of new rows; later ones also read the segments of earlier ones.
    for first, clusters in ((100, 1), (140, 1), (180, 5)):
        rows = (line(vid, ",".join(f"{vid}-{n}" for n in range(clusters))) for vid in range(first, first + 40))
        with CaptureQueriesContext(connection) as queries:
            assert load("".join(rows)).count("created") == 40
        counts.append(len(queries))
    assert max(counts[1:]) <= counts[0]


def test_new_segment_is_held_by_its_cluster(pool):
    kind = ClusterType.objects.create(name="K", slug="k")
    cluster = Cluster.objects.create(name="Prod-01", type=kind)
    result = load(line(100, "prod-01", "2025-03-01T08:00:00Z") + line(101))

    assert result.count("created") == 2
    allocation = Allocation.objects.get()
    assert (allocation.cluster_name, allocation.vid, str(allocation.prefix)) == ("prod-01", 100, "10.0.0.0/24")
    assert (allocation.allocated_at, allocation.cluster) == (datetime(2025, 3, 1, 8, tzinfo=UTC), cluster)
    assert allocation.segment.status == "allocated"
    assert allocation.segment.prefix.status == "reserved"
    assert find_drift() == []
    # The cluster gets this allocation when it asks.
    assert not allocate("PROD-01", user=make_user(), pool=pool).created
    change = ObjectChange.objects.get(changed_object_type__model="allocation")
    assert (change.action, change.user) == ("create", make_user())


def test_several_clusters_share(pool):
    load(line(100, "a, b,A"))
    assert holders() == [(100, "a", False), (100, "b", True)]


def test_importing_again_changes_nothing(pool):
    text = line(100, "a,b", "2025-03-01") + line(101, "c") + line(102)
    load(text)
    changes = ObjectChange.objects.count()
    assert load(text).count("unchanged") == 3
    assert ObjectChange.objects.count() == changes


def test_segment_that_is_there_gets_its_holders(pool):
    make_segment(pool, 100)
    result = load(line(100, "a"))
    assert (result.results[0].status, result.results[0].changes) == (
        "updated",
        {"cluster_name": {"old": "", "new": "a"}},
    )
    result = load(line(100, "a,b"))
    assert result.results[0].changes == {"cluster_name": {"old": "a", "new": "a, b"}}
    assert holders() == [(100, "a", False), (100, "b", True)]
    # The import releases no cluster, whether the column is empty or names others.
    assert load(line(100)).count("unchanged") == 1
    assert "Other clusters hold" in failure(load(line(100, "b")))["cluster_name"][0]
    assert len(holders()) == 2
    assert find_drift() == []


def test_other_changes_of_the_row_come_along(pool):
    make_segment(pool, 100)
    result = load("Site1,100,EPG_new,10.0.9.0/24,Network1,a,\n")
    assert result.results[0].changes.keys() == {"epg_name", "segment", "cluster_name"}
    allocation = Allocation.objects.get()
    assert (allocation.epg_name, str(allocation.prefix)) == ("EPG_new", "10.0.9.0/24")
    assert find_drift() == []


def test_quarantine_ends_and_limits_are_not_asked(pool):
    SegmentPool.objects.update(cooldown=3600, max_per_cluster=1, status="paused")
    pool.refresh_from_db()
    SegmentPool.objects.update(status="active")
    make_segment(pool, 100)
    allocate("a", user=make_user(), pool=SegmentPool.objects.get())
    release("a", user=make_user(), pool=SegmentPool.objects.get())
    SegmentPool.objects.update(status="paused")
    assert Segment.objects.get().status == "quarantined"
    assert load(line(100, "b")).count("updated") == 1
    assert (Segment.objects.get().status, Segment.objects.get().quarantined_until) == ("allocated", None)
    assert find_drift() == []


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        (line(101, "a"), "cluster_name", "Cluster a holds another segment"),
        (line(101, "x" * 101), "cluster_name", "at most 100"),
        (line(101, "b", "yesterday"), "allocated_at", "is no time"),
        (line(101, "b", "2025-02-30"), "allocated_at", "is no time"),
        (line(101, "b", "2999-01-01"), "allocated_at", "in the future"),
        (line(101, "", "2025-01-01"), "cluster_name", "Name the cluster"),
        (line(102, "c"), "cluster_name", "disabled"),
    ],
)
def test_what_is_wrong_with_the_holders_fails_the_row(pool, text, column, says):
    load(line(100, "a"))
    disable_segment(make_segment(pool, 102, 2), user=make_user())
    before = Segment.objects.count()
    errors = failure(load(text))
    assert list(errors) == [column]
    assert says in errors[column][0]
    assert (Segment.objects.count(), holders()) == (before, [(100, "a", False)])


def test_one_cluster_in_two_rows(pool):
    result = load(line(100, "a") + line(101, "A"))
    assert [row.status for row in result.results] == ["created", "failed"]
    assert Segment.objects.count() == 1


def test_atomic_and_dry_run_change_nothing(pool):
    result = load(line(100, "a") + line(101, "a"), atomic=True)
    assert [row.status for row in result.results] == ["skipped", "failed"]
    result = load(line(100, "a"), dry_run=True)
    assert (result.count("created"), result.results[0].segment) == (1, None)
    assert Segment.objects.count() == Allocation.objects.count() == 0


def test_user_needs_to_be_allowed_to_allocate(pool):
    make_segment(pool, 100)
    user = permit(make_user("bob"), SegmentPool, "view")
    user = permit(user, Segment, "add")
    errors = failure(load(line(101, "a"), user=user, enforce=True))
    assert "may not allocate" in errors["cluster_name"][0]
    assert load(line(101), user=user, enforce=True).count("created") == 1
    # A user who may allocate needs no permission to change the segment.
    user = permit(user, SegmentPool, "allocate")
    assert load(line(100, "a"), user=user, enforce=True).count("updated") == 1
    assert holders() == [(100, "a", False)]


def test_time_without_a_zone_is_that_of_netbox(pool):
    load(line(100, "a", "2025-03-01 08:00"))
    allocated_at = Allocation.objects.get().allocated_at
    assert timezone.localtime(allocated_at).replace(tzinfo=None) == datetime(2025, 3, 1, 8)
    load(line(101, "b"))
    assert timezone.now() - Allocation.objects.get(vid=101).allocated_at < timedelta(minutes=1)
