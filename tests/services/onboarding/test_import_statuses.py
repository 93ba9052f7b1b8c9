"""Statuses, purposes and expiries that an import sets, and pools that a row names directly."""

from datetime import UTC, datetime, timedelta

import pytest

from core.models import ObjectChange
from dcim.models import Location
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, disable_segment
from netbox_vlan_manager.services.onboarding.import_files import as_rows
from netbox_vlan_manager.services.onboarding.importing import import_segments
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_site, make_user, permit

pytestmark = pytest.mark.django_db

FUTURE = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
PAST = "2024-01-01T00:00:00Z"


def row(vid=100, **values):
    named = {"pool": "network1-site1", "vlan_id": vid, "epg_name": f"EPG_{vid}", "segment": f"10.0.{vid - 100}.0/24"}
    return named | values


def load(*rows, user=None, **kwargs):
    return import_segments(as_rows(rows), user=user or make_user(), enforce=user is not None, **kwargs)


def errors_of(*args, **kwargs):
    (result,) = load(*args, **kwargs).results
    return {column: " ".join(texts) for column, texts in result.errors.items()}


def now():
    return Segment.objects.values_list("status", "disabled_reason", "quarantined_until").get(vid=100)


STATES = {
    "available": ({"status": "available"}, ("available", "", None)),
    "disabled": ({"status": "disabled", "disabled_reason": "broken"}, ("disabled", "broken", None)),
    "quarantined": (
        {"status": "quarantined", "quarantined_until": FUTURE.isoformat()},
        ("quarantined", "", FUTURE),
    ),
}


@pytest.mark.parametrize("before", [None, *STATES])
@pytest.mark.parametrize("after", STATES)
def test_segment_gets_the_status_of_its_row(pool, before, after):
    if before:
        load(row(**STATES[before][0]))
    (result,) = load(row(**STATES[after][0])).results

    expected = "created" if before is None else "unchanged" if before == after else "updated"
    assert (result.status, result.errors) == (expected, {})
    assert now() == STATES[after][1]
    if expected == "updated":
        assert result.changes["status"] == {"old": before, "new": after}
    assert load(row(**STATES[after][0])).count("unchanged") == 1
    # Without the column, the status stays.
    assert load(row()).count("unchanged") == 1
    assert now() == STATES[after][1]
    assert find_drift() == []


def test_disabled_and_quarantined_ones_are_handed_out_to_nobody(pool):
    load(row(100, **STATES["disabled"][0]), row(101, **STATES["quarantined"][0]), row(102))
    assert allocate("a", pool=pool, user=make_user()).allocation.vid == 102


def test_cool_down_that_is_over_is_over(pool):
    load(row(status="quarantined", quarantined_until=PAST))
    assert now() == ("available", "", None)


def test_status_and_other_changes_together(pool):
    load(row(**STATES["disabled"][0]))
    (result,) = load(row(status="available", epg_name="new", description="x")).results
    assert result.changes.keys() == {"status", "disabled_reason", "epg_name", "description"}
    segment = Segment.objects.get()
    assert (segment.status, segment.epg_name, segment.description) == ("available", "new", "x")
    # A failed row does not change the status.
    load(row(101))
    assert "taken" in errors_of(row(status="disabled", epg_name="EPG_101"))["epg_name"]
    assert now()[0] == "available"


@pytest.mark.parametrize(
    ("values", "column", "says"),
    [
        ({"status": "free"}, "status", "use one of available, allocated, quarantined, disabled"),
        ({"status": "allocated"}, "status", "names no cluster"),
        ({"status": "available", "cluster_name": "a"}, "status", "names a cluster"),
        ({"status": "quarantined"}, "quarantined_until", "Give the time"),
        ({"status": "quarantined", "quarantined_until": "soon"}, "quarantined_until", "is no time"),
        ({"quarantined_until": PAST}, "quarantined_until", "Only segments with the status quarantined"),
        ({"status": "available", "disabled_reason": "x"}, "disabled_reason", "Only segments with the status disabled"),
        ({"status": "disabled", "disabled_reason": "x" * 201}, "disabled_reason", "200"),
        ({"cluster_name": "a", "expires_at": PAST}, "expires_at", "This is past"),
        ({"cluster_name": "a", "expires_at": "2999-01-01"}, "expires_at", "ten years"),
        ({"cluster_name": "a,b", "purpose": "x,y,z"}, "purpose", "3 values for 2 clusters"),
        ({"cluster_name": "a", "purpose": "no spaces"}, "purpose", "not valid"),
        ({"purpose": "x"}, "cluster_name", "Name the cluster"),
        ({"expires_at": PAST}, "cluster_name", "Name the cluster"),
        ({"pool": "nowhere"}, "pool", "no pool 'nowhere'"),
        ({"site": "Site2"}, "site", "is at Site1"),
        ({"vrf": "Network2"}, "vrf", "is in VRF Network1"),
    ],
)
def test_what_is_wrong(pool, values, column, says):
    errors = errors_of(row(**values))
    assert list(errors) == [column]
    assert says in errors[column]
    assert not Segment.objects.exists()


@pytest.mark.parametrize("status", ["available", "disabled", "quarantined"])
def test_held_segment_keeps_its_status(pool, status):
    load(row(cluster_name="a"))
    assert "release it first" in errors_of(row(**STATES[status][0]))["status"]
    assert load(row(status="allocated")).count("unchanged") == 1


def test_holders_with_purposes_and_ends(pool):
    end = FUTURE.isoformat()
    load(
        row(100, cluster_name="a, b", purpose=",x", allocated_at=PAST, expires_at=f",{end}"),
        row(101, cluster_name="a", purpose="storage"),
    )
    held = Allocation.objects.order_by("vid", "pk").values_list(
        "vid", "cluster_name", "purpose", "expires_at", "shared"
    )
    assert list(held) == [
        (100, "a", "", None, False),
        (100, "b", "x", FUTURE, True),
        (101, "a", "storage", None, False),
    ]
    # A file without purposes identifies clusters by their names.
    assert load(row(101, cluster_name="a"), row(100, cluster_name="b,A")).count("unchanged") == 2
    assert "Other clusters" in errors_of(row(101, cluster_name="a", purpose=""))["cluster_name"]
    text = errors_of(row(100, cluster_name="a,b", purpose=",x", expires_at=f"{end},{end}"))["expires_at"]
    assert "renew it" in text
    assert find_drift() == []


def test_pool_by_slug_id_and_name(pool):
    other = make_pool(scope="Site2", container="10.1.0.0/16", name="Other")
    SegmentPool.objects.filter(pk=other.pk).update(slug=str(pool.pk))
    for name in (pool.pk, pool.slug, pool.slug.upper(), pool.name):
        assert load(row(pool=name), dry_run=True).count("created") == 1, name
    # Exports write the slug.
    (result,) = load(row(pool=str(pool.pk), segment="10.1.0.0/24")).results
    assert result.errors == {}
    assert Segment.objects.get().pool == other


def test_pool_with_its_place_and_vrf(pool):
    hall = Location.objects.create(name="Hall", slug="hall", site=make_site("Site1"))
    make_pool(pool.vrf, Location.objects.create(name="Hall", slug="hall", site=make_site("Site2")), name="Hall 2")
    for site in ("site1", "SITE1", pool.scope_id):
        assert load(row(site=site, vrf="network1"), dry_run=True).count("created") == 1
    # The place within the site that the pool serves.
    Location.objects.filter(pk=hall.pk).update(name="Hall 1")
    assert load(row(site="Hall 1"), dry_run=True).count("created") == 1


def test_a_user_needs_the_permission_before_and_after(pool):
    user = permit(make_user("bob"), SegmentPool, "view")
    user = permit(user, Segment, "add", "view")
    user = permit(user, Segment, "change", constraints={"status": "available"})
    disable_segment(make_segment(pool, 100), user=make_user())
    changes = ObjectChange.objects.count()

    assert "may not write" in errors_of(row(status="available"), user=user)["vlan_id"]
    assert (now()[0], ObjectChange.objects.count()) == ("disabled", changes)
    assert "no pool" in errors_of(row(pool="hidden"), user=user)["pool"]


def test_pool_that_a_user_may_not_view_is_one_that_is_not_there(pool):
    make_pool("Secret", "Site2", container="10.1.0.0/16", slug="secret")
    user = permit(permit(make_user("bob"), Segment, "add"), pool, "view")
    hidden, missing = (errors_of(row(pool=name), user=user)["pool"] for name in ("secret", "absent"))
    assert hidden.replace("secret", "absent") == missing
