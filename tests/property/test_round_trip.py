"""An import of an export gives the same data, in every format, except history and ids."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcim.models import Location
from ipam.models import VRF
from netbox_vlan_manager.choices import SegmentStatusChoices
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, disable_segment
from netbox_vlan_manager.services.allocations.sharing import share
from netbox_vlan_manager.services.base import audit, transactions
from netbox_vlan_manager.services.onboarding.import_files import parse_file, read_file
from netbox_vlan_manager.services.onboarding.importing import import_segments
from netbox_vlan_manager.services.reporting.export import csv_chunks, json_chunks, segment_rows, xlsx_file
from netbox_vlan_manager.services.segments.provisioning import build_segments_locked
from netbox_vlan_manager.services.segments.segment_columns import EXPORTED
from netbox_vlan_manager.services.segments.spaces import Containers
from netbox_vlan_manager.services.segments.specs import clean_spec
from tests.drift import find_drift
from tests.factories import make_pool, make_site, make_user

pytestmark = pytest.mark.django_db

VIDS = range(100, 108)
PAST = st.datetimes(datetime(2020, 1, 1), datetime(2025, 1, 1), timezones=st.just(UTC))
FUTURE = st.integers(60, 3000).map(lambda hours: datetime.now(UTC) + timedelta(hours=hours))
# Ordinary texts, and texts with a meaning for spreadsheets and parsers.
TEXT = st.one_of(
    st.sampled_from(
        (
            "",
            "=1+1",
            "'=1",
            "''=x",
            "a;=b",
            "a, b",
            '"',
            "a\nb",
            "a\r\nb",
            "#x",
            "- x",
            "true",
            "0100",
            "1.0",
            "2026-01-31",
            "ü",
        )
    ),
    st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=20).map(str.strip),
)
HOLDERS = st.lists(
    st.tuples(
        st.sampled_from(("prod", "straße", "a b")), st.sampled_from(("", "storage", "2")), PAST, st.none() | FUTURE
    ),
    max_size=3,
    unique_by=lambda holder: holder[:2],
)
SEGMENT = st.fixed_dictionaries(
    {
        "status": st.sampled_from(SegmentStatusChoices.values()),
        "dhcp": st.booleans(),
        "description": TEXT,
        "comments": TEXT,
        "ipv6": st.booleans(),
        "reason": TEXT,
        "until": FUTURE,
        "holders": HOLDERS,
    }
)


@pytest.fixture
def pools():
    """Pools with ambiguous names: places of one name, VRFs of one name, and a slug that looks like an id."""
    halls = [Location.objects.create(name="Hall", slug="hall", site=make_site(name)) for name in ("A", "B")]
    nets = [VRF.objects.create(name="Net"), VRF.objects.create(name="Net", rd="1:1")]
    places = [(nets[0], halls[0]), (nets[0], halls[1]), (nets[1], halls[0])]
    pools = []
    for number, (vrf, place) in enumerate(places):
        pool = make_pool(
            vrf,
            place,
            container=f"10.{number}.0.0/16",
            vid_ranges=((100, 199),),
            name=f"Pool {number}",
            slug=f"p{number}",
        )
        pool.prefixes.create(prefix=f"2001:db8:{number}::/48", vrf=vrf, status="container")
        pools.append(pool)
    SegmentPool.objects.filter(pk=pools[0].pk).update(slug=str(pools[1].pk))
    return list(SegmentPool.objects.select_related("vrf").order_by("pk"))


def build(pools, world, user):
    """Make segments and allocations of {(number of the pool, VLAN ID): values that SEGMENT draws}."""
    containers = [Containers(pool) for pool in pools]
    specs = [
        clean_spec(
            pools[number],
            containers[number],
            # Pools of VRFs and places of one name share their VLAN group.
            vid=vid + 20 * number,
            epg_name=f"EPG_{vid + 20 * number}",
            prefix=f"10.{number}.{vid}.0/24",
            ipv6_prefix=f"2001:db8:{number}:{vid}::/64" if drawn["ipv6"] else None,
            dhcp=drawn["dhcp"],
            description=drawn["description"],
            comments=drawn["comments"],
        )
        for (number, vid), drawn in world.items()
    ]
    with audit.change_tracking(user):
        transactions.lock_spaces([spec.pool.vrf_id for spec in specs], [spec.pool.vlan_group_id for spec in specs])
        segments, errors = build_segments_locked(specs)
        assert not any(errors)
    held = set()
    for segment, ((number, _vid), drawn) in zip(segments, world.items(), strict=True):
        if drawn["status"] == SegmentStatusChoices.DISABLED:
            disable_segment(segment, user=user, reason=drawn["reason"])
        elif drawn["status"] == SegmentStatusChoices.QUARANTINED:
            Segment.objects.filter(pk=segment.pk).update(status="quarantined", quarantined_until=drawn["until"])
        elif drawn["status"] == SegmentStatusChoices.ALLOCATED:
            for cluster, purpose, allocated_at, expires_at in drawn["holders"]:
                # A cluster holds one segment of a pool for each purpose.
                if (number, cluster, purpose) not in held:
                    held.add((number, cluster, purpose))
                    hold(segment, cluster, purpose, expires_at, user)
                    active = Allocation.objects.active().filter(segment=segment, cluster_name=cluster, purpose=purpose)
                    active.update(allocated_at=allocated_at)


def hold(segment, cluster, purpose, expires_at, user):
    segment = Segment.objects.select_related("pool__vrf").get(pk=segment.pk)
    if segment.status == SegmentStatusChoices.ALLOCATED:
        share(segment, cluster, purpose=purpose, expires_at=expires_at, user=user)
    else:
        allocate(cluster, pool=segment.pool, vid=segment.vid, purpose=purpose, expires_at=expires_at, user=user)


def export(kind):
    rows = list(segment_rows(Segment.objects.all()))
    if kind == "csv":
        return rows, "".join(csv_chunks(EXPORTED, rows)).encode()
    if kind == "json":
        return rows, "".join(json_chunks(EXPORTED, rows)).encode()
    with xlsx_file(EXPORTED, rows) as file:
        return rows, file.read()


@pytest.mark.parametrize("kind", ["csv", "json", "xlsx"])
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(world=st.dictionaries(st.tuples(st.integers(0, 2), st.sampled_from(VIDS)), SEGMENT, min_size=1, max_size=8))
def test_export_empty_import_export(pools, kind, world):
    user = make_user()
    with transaction.atomic():
        build(pools, world, user)
        before, content = export(kind)
        # Importing into the same data changes nothing.
        result = import_segments(parse_file(content), user=user, enforce=False)
        assert {row.status for row in result.results} == {"unchanged"}, [(r.errors, r.changes) for r in result.results]
        transaction.set_rollback(True)
    assert not Segment.objects.exists()

    with transaction.atomic():
        # The page sends the file on as text.
        rows, text = read_file(content)
        assert parse_file(text) == rows
        result = import_segments(rows, user=user, enforce=False)
        assert {row.status for row in result.results} == {"created"}, [row.errors for row in result.results]
        after, _content = export(kind)
        assert after == before
        assert find_drift() == []
        transaction.set_rollback(True)
