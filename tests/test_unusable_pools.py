"""Pools with invalid values, as in a restored dump: they are refused, and do not affect other pools."""

from unittest.mock import patch

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from core.choices import JobStatusChoices
from core.models import Job
from ipam.models import VRF, Prefix, VLANGroup
from netbox_vlan_manager.exceptions import PoolExhausted
from netbox_vlan_manager.jobs import DriftJob, LifeCycleJob, PoolSnapshotJob
from netbox_vlan_manager.models import PoolSnapshot, SegmentPool
from netbox_vlan_manager.services import allocate, create_pool, generate_segments, update_pool
from netbox_vlan_manager.services.reporting import thresholds
from tests.api.base import client_of, url_of
from tests.drift import find_drift
from tests.factories import make_pool, make_site, make_user, make_vrf

pytestmark = pytest.mark.django_db


def container(network):
    Prefix.objects.filter(vrf__name="Bad").update(prefix=network)


# Values that a script may write past the services, and the kind of drift that reports them, if any.
POISONS = {
    "length beyond the family": (lambda pool: pool.update(grow_prefix_length=64), "pool_values"),
    "length of the container": (lambda pool: pool.update(grow_prefix_length=16), "pool_values"),
    "length 8": (lambda pool: pool.update(grow_prefix_length=8), "pool_values"),
    "length 32": (lambda pool: pool.update(grow_prefix_length=32), "pool_values"),
    "no length": (lambda pool: pool.update(grow_prefix_length=None), "pool_values"),
    "IPv6 length without IPv6": (lambda pool: pool.update(grow_ipv6_prefix_length=64), "pool_values"),
    "shortest beyond the family": (lambda pool: pool.update(min_prefix_length=100), "pool_values"),
    "shortest beyond the longest": (lambda pool: pool.update(min_prefix_length=32), "pool_values"),
    "longest before the shortest": (lambda pool: pool.update(max_prefix_length=9), "pool_values"),
    "last address": (lambda pool: container("240.0.0.0/4"), "pool_values"),
    "all addresses": (lambda pool: container("0.0.0.0/0"), "pool_values"),
    "one address": (lambda pool: container("255.255.255.255/32"), "pool_values"),
    "last IPv6 address": (lambda pool: container("ffff::/16"), "pool_values"),
    "container elsewhere": (lambda pool: Prefix.objects.filter(vrf__name="Bad").update(vrf=None), "container_vrf"),
    "no container": (
        lambda pool: SegmentPool.prefixes.through.objects.filter(segmentpool__in=pool).delete(),
        "container_missing",
    ),
    "no scope": (lambda pool: pool.update(scope_id=0), "pool_scope"),
    "no VLAN IDs": (lambda pool: VLANGroup.objects.filter(name="Bad-Site1").update(vid_ranges=[]), None),
}


@pytest.fixture
def user():
    return make_user("alice", is_superuser=True)


@pytest.fixture(params=POISONS)
def bad(request):
    """A pool that grows, without segments and with an invalid value."""
    pool = make_pool("Bad", auto_grow=True, grow_prefix_length=24)
    poison, kind = POISONS[request.param]
    poison(SegmentPool.objects.filter(pk=pool.pk))
    pool = SegmentPool.objects.get(pk=pool.pk)
    pool.kind = kind
    return pool


def run(job):
    return Job.objects.get(pk=job.enqueue(immediate=True).pk)


def test_jobs_go_on(bad, user):
    sound = make_pool("Good", container="10.1.0.0/16", segments=1)
    allocate("a", user=user, pool=sound)
    for job in (LifeCycleJob, PoolSnapshotJob, DriftJob):
        ran = run(job)
        assert (ran.status, ran.error) == (JobStatusChoices.STATUS_COMPLETED, "")
    assert SegmentPool.objects.get(pk=sound.pk).level == "exhausted"
    assert PoolSnapshot.objects.get(pool=sound).allocated == 1
    kinds = {drift.kind for drift in find_drift() if drift.pool == bad}
    assert kinds == ({bad.kind} if bad.kind else set())


@pytest.mark.slow("Every call and page, for each kind of such a pool")
def test_calls_and_pages_say_what_is_wrong(bad, user):
    # Some of the pools have room for a network, and make segments; the others refuse with a reason.
    client = client_of(user)
    answers = [
        client.post(url_of("allocation-list"), {"pool": bad.pk, "cluster_name": "a"}, format="json"),
        client.post(url_of("segmentpool-generate", pk=bad.pk), {"count": 1}, format="json"),
        client.post(url_of("segmentpool-generate", pk=bad.pk), {"count": 1, "prefix_length": 24}, format="json"),
    ]
    assert [answer.status_code for answer in answers if answer.status_code not in (201, 400, 409)] == []
    for name in ("segmentpool-forecast", "segmentpool-detail", "segmentpool-available-segments"):
        assert client.get(url_of(name, pk=bad.pk)).status_code == 200
    assert client.get(url_of("segmentpool-list")).status_code == 200

    browser = Client()
    browser.force_login(user)
    for name in ("segmentpool", "segmentpool_generate", "segmentpool_edit", "segmentpool_resize"):
        page = reverse(f"plugins:netbox_vlan_manager:{name}", kwargs={"pk": bad.pk})
        assert browser.get(page).status_code == 200
    for name in ("segmentpool_list", "overview", "drift"):
        assert browser.get(reverse(f"plugins:netbox_vlan_manager:{name}")).status_code == 200


def test_other_changes_are_not_refused(bad, user):
    if bad.kind != "pool_scope":
        assert update_pool(bad, user=user, description="Ours").description == "Ours"


def test_a_pool_that_fails_keeps_none_of_the_others(user, caplog):
    bad = make_pool("Bad")
    sound = make_pool("Good", container="10.1.0.0/16", segments=1)
    allocate("a", user=user, pool=sound)
    usage_with_growth = thresholds.usage_with_growth

    def fail(usage, pool):
        if pool == bad:
            raise ZeroDivisionError("by nought")
        return usage_with_growth(usage, pool)

    with patch.object(thresholds, "usage_with_growth", fail):
        job = run(LifeCycleJob)
        assert job.status == JobStatusChoices.STATUS_ERRORED
        # The error is the refusal, not the invalid value of the pool.
        with pytest.raises(PoolExhausted):
            allocate("b", user=user, pool=bad)
    messages = [entry["message"] for entry in job.log_entries]
    assert f"The level of pool {bad} ({bad.pk}) could not be found: ZeroDivisionError('by nought')" in messages
    assert "Found 1 pools at another level; 1 could not be read" in messages
    assert SegmentPool.objects.get(pk=sound.pk).level == "exhausted"
    assert any(record.exc_info for record in caplog.records if record.name == "netbox_vlan_manager.thresholds")


# (request, field of the error, text of the error)
REFUSED = [
    ({"grow_prefix_length": 64}, "grow_prefix_length", "/16 to /31"),
    ({"grow_prefix_length": 8}, "grow_prefix_length", "/16 to /31"),
    ({"grow_prefix_length": 32}, "grow_prefix_length", "/16 to /31"),
    ({"grow_prefix_length": 16}, "grow_prefix_length", "No container has room for a /16"),
    ({"grow_ipv6_prefix_length": 64}, "grow_ipv6_prefix_length", "no IPv6 container"),
    ({"min_prefix_length": 33}, "min_prefix_length", "IPv4: use a length up to /32"),
    ({"max_prefix_length": 128}, "max_prefix_length", "IPv4: use a length up to /32"),
    ({"min_prefix_length": 32}, "min_prefix_length", "longer than the longest, /31"),
    ({"max_prefix_length": 9}, "max_prefix_length", "longer than the longest, /9"),
    ({"max_prefix_length": 16}, "prefixes", "No container has room"),
    ({"prefixes": ["10.0.0.0/31"]}, "prefixes", "No container has room"),
    ({"prefixes": "240.0.0.0/4"}, "prefixes", "240.0.0.0/4"),
    ({"prefixes": "0.0.0.0/0"}, "prefixes", "cannot use"),
    ({"prefixes": "224.0.0.0/24"}, "prefixes", "cannot use"),
    ({"prefixes": "ff00::/16"}, "prefixes", "cannot use"),
    ({"prefixes": ["10.0.0.0/24"], "grow_prefix_length": 24}, "grow_prefix_length", "No container has room"),
    ({"prefixes": ["2001:db8::/32"], "grow_prefix_length": 24}, "grow_prefix_length", "/48 to /127"),
]


def by_id(vrf, values):
    """Replace the text of a container by the id of the existing prefix."""
    if isinstance(values.get("prefixes"), str):
        prefix = Prefix.objects.create(prefix=values["prefixes"], vrf=vrf, status="container")
        return {**values, "prefixes": [prefix.pk]}
    return values


@pytest.mark.parametrize(("values", "field", "says"), REFUSED)
def test_values_that_a_pool_cannot_use_are_refused(user, values, field, says):
    client, vrf = client_of(user), make_vrf("Bad")
    body = {
        "vrf": vrf.pk,
        "scope_type": "dcim.site",
        "scope_id": make_site().pk,
        "prefixes": ["10.0.0.0/16"],
        **by_id(vrf, values),
    }
    answer = client.post(url_of("segmentpool-list"), body, format="json")
    assert (answer.status_code, list(answer.json())) == (400, [field])
    assert says in answer.json()[field][0]
    assert not SegmentPool.objects.exists()

    pool = make_pool(make_vrf("Other"), make_site("Site2"), container="10.0.0.0/16")
    answer = client.patch(url_of("segmentpool-detail", pk=pool.pk), by_id(pool.vrf, values), format="json")
    assert (answer.status_code, list(answer.json())) == (400, [field])
    assert says in answer.json()[field][0]
    assert not pool.__class__.objects.exclude(pk=pool.pk).exists()


def test_lengths_that_a_pool_can_use(user):
    for number, values in enumerate(
        (
            {"max_prefix_length": 32, "grow_prefix_length": 32},
            {"grow_prefix_length": 31},
            {"min_prefix_length": 8, "grow_prefix_length": 17},
            {"prefixes": ["10.0.0.0/16", "2001:db8::/32"], "grow_ipv6_prefix_length": 64},
            {"prefixes": ["2001:db8::/32"], "grow_prefix_length": 64},
        )
    ):
        values = {"prefixes": ["10.0.0.0/16"], **values}
        pool = create_pool(user=user, vrf=VRF.objects.create(name=f"V{number}"), scope=make_site(), **values)
        if pool.grow_prefix_length:
            update_pool(pool, user=user, auto_grow=True)
            assert allocate("a", user=user, pool=SegmentPool.objects.get(pk=pool.pk)).created
    with pytest.raises(ValidationError):
        generate_segments(pool, user=user, count=1, prefix_length=128)
