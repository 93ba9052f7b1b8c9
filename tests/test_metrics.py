import re
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from django.conf import settings as django_settings
from django.core.exceptions import MiddlewareNotUsed, ValidationError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from netbox_vlan_manager import metrics, middleware
from netbox_vlan_manager.choices import PoolLevelChoices
from netbox_vlan_manager.exceptions import AllocationNotFound, Busy, PoolExhausted, PoolNotFound
from netbox_vlan_manager.jobs import JOBS, DriftJob, LifeCycleJob
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate, allocate_many, allocate_stretched, release, set_clusters, share
from netbox_vlan_manager.services.allocations.releasing import release_allocation
from netbox_vlan_manager.services.allocations.requests import AllocationRequest
from netbox_vlan_manager.services.base import operations, transactions
from netbox_vlan_manager.services.reporting import gauges
from tests.factories import make_pool, make_user
from tests.services.reporting.test_gauges import make_job, read_gauges

PLUGIN = "netbox_vlan_manager"
DOCS = Path(__file__).parent.parent / "docs"

pytestmark = pytest.mark.django_db


class Samples:
    """The increments of the counters since this object was made, by name and labels."""

    def __init__(self):
        self.before = self._read()

    def _read(self):
        return {
            (sample.name.removeprefix(f"{PLUGIN}_"), *sample.labels.values()): sample.value
            for family in REGISTRY.collect()
            if family.name.startswith(PLUGIN)
            for sample in family.samples
            if not sample.name.endswith(("_created", "_bucket", "_sum"))
        }

    def __call__(self):
        now = self._read()
        return {key: value - self.before.get(key, 0) for key, value in now.items() if value != self.before.get(key, 0)}


@pytest.fixture
def configure(settings):
    def change(**values):
        settings.PLUGINS_CONFIG = {PLUGIN: settings.PLUGINS_CONFIG[PLUGIN] | values}

    return change


@pytest.fixture
def counted(settings, configure):
    """Turns on metrics by pool; a function that returns the increments since then."""
    settings.METRICS_ENABLED = True
    configure(metrics_per_pool=True)
    gauges.database_metrics.forget()
    yield Samples()
    gauges.database_metrics.forget()


@pytest.fixture
def committed(django_capture_on_commit_callbacks):
    """A context that ends as if the transaction around the test were committed."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


@pytest.fixture
def user():
    return make_user()


def test_allocations_and_releases(counted, committed, user):
    pool = make_pool(segments=3)
    with committed():
        allocate("a", pool=pool, user=user)
        allocate("a", pool=pool, user=user)
        allocate("b", site="Site1", vrf="Network1", user=user)
        release("a", pool=pool, user=user)
        held = allocate("b", pool=pool, user=user).allocation
        release_allocation(held, user=None, reason="expired")
    assert counted() == {
        ("allocations_total", "network1-site1", "allocated"): 2,
        ("allocations_total", "network1-site1", "held"): 2,
        ("releases_total", "network1-site1", "released"): 1,
        ("releases_total", "network1-site1", "expired"): 1,
        ("operation_seconds_count", "allocate", "allocated"): 2,
        ("operation_seconds_count", "allocate", "held"): 2,
        ("operation_seconds_count", "release", "released"): 2,
    }


def test_many_stretched_and_shared(counted, committed, user):
    pools = [make_pool(segments=3), make_pool(scope="Site2", segments=3, container="10.1.0.0/16")]
    with committed():
        allocate_many([AllocationRequest.clean("a", pool=pool) for pool in (*pools, pools[0])], user=user)
        allocate_stretched("b", pools=pools, user=user)
        segment = Segment.objects.get(pool=pools[0], vid=102)
        share(segment, "c", user=user)
        share(segment, "c", user=user)
        set_clusters(segment, ["d", "e"], user=user)
    found = counted()
    assert {key[1:]: value for key, value in found.items() if key[0] == "allocations_total"} == {
        ("network1-site1", "allocated"): 5,
        ("network1-site1", "held"): 2,
        ("network1-site2", "allocated"): 2,
    }
    assert found["releases_total", "network1-site1", "released"] == 1
    assert found["operation_seconds_count", "allocate_many", "done"] == 1
    assert found["operation_seconds_count", "share", "held"] == 1


def test_what_is_rolled_back_is_not_counted(counted, committed, user):
    pool = make_pool(segments=3)
    with committed():
        for work in (
            lambda: allocate("a", pool=pool, user=user),
            lambda: allocate_many(
                [AllocationRequest.clean("a", pool=pool), AllocationRequest.clean("b", pool=pool)], user=user
            ),
        ):
            with suppress(KeyError), transaction.atomic():
                work()
                release("a", pool=pool, user=user)
                raise KeyError
    assert counted() == {}


def test_dry_runs_are_not_counted(counted, committed, user):
    pool = make_pool(segments=1)
    with committed():
        allocate("a", pool=pool, user=user)
    with committed():
        allocate("a", pool=pool, user=user, dry_run=True)
        with pytest.raises(PoolExhausted):
            allocate("b", pool=pool, user=user, dry_run=True)
        set_clusters(Segment.objects.get(), [], user=user, dry_run=True)
    assert counted() == {
        ("allocations_total", "network1-site1", "allocated"): 1,
        ("operation_seconds_count", "allocate", "allocated"): 1,
        ("operation_seconds_count", "allocate", "dry_run"): 1,
        ("operation_seconds_count", "allocate", "pool_exhausted"): 1,
        ("operation_seconds_count", "set_clusters", "dry_run"): 1,
    }


def test_failures_are_latencies_and_exhaustions(counted, committed, user):
    pool = make_pool(segments=1)
    with committed():
        allocate("a", pool=pool, user=user)
    # An Idempotency-Key or the caller rolls back a failed call like this.
    with committed(), suppress(PoolExhausted), transaction.atomic():
        allocate("b", pool=pool, user=user)
    with suppress(PoolNotFound):
        allocate("b", site="Nowhere", vrf="Network1", user=user)
    with suppress(ValidationError):
        allocate("b", site="", vrf="", user=user)
    with suppress(AllocationNotFound):
        release("b", pool=pool, user=user)
    assert counted() == {
        ("allocations_total", "network1-site1", "allocated"): 1,
        ("exhaustions_total", "network1-site1"): 1,
        ("operation_seconds_count", "allocate", "allocated"): 1,
        ("operation_seconds_count", "allocate", "pool_exhausted"): 1,
        ("operation_seconds_count", "allocate", "pool_not_found"): 1,
        ("operation_seconds_count", "allocate", "invalid"): 1,
    }


@pytest.mark.parametrize(
    ("state", "reason", "outcome"),
    [("40P01", "deadlock", "busy"), ("55P03", "lock_timeout", "busy"), ("23505", "unique_violation", "error")],
)
def test_retries(counted, state, reason, outcome):
    def fail():
        cause = Exception()
        cause.sqlstate = state
        raise (IntegrityError if state == "23505" else DatabaseError)() from cause

    with patch("time.sleep"), pytest.raises((Busy, IntegrityError)), operations.track("allocate"):
        transactions.run(fail)
    assert counted() == {
        ("retries_total", reason): 3,
        ("operation_seconds_count", "allocate", outcome): 1,
    }


def test_outcomes_are_few(counted):
    """Outcomes that an operation logs make no new time series."""
    for outcome in ("3 created, 2 failed", "17 segments", "created"):
        with operations.track("create segment") as operation:
            operation.outcome = outcome
    for error in (ZeroDivisionError(), PermissionError("x" * 100)):
        with suppress(Exception), operations.track("create segment"):
            raise error
    # The test's own transaction has not ended.
    assert set(counted()) == {("operation_seconds_count", "create_segment", "error")}


def test_pools_are_not_told_apart_unless_asked_to(counted, configure, committed, user):
    pool = make_pool(segments=1)
    configure(metrics_per_pool=False)
    with committed():
        allocate("a", pool=pool, user=user)
    with suppress(PoolExhausted):
        allocate("b", pool=pool, user=user)
    with committed():
        release("a", pool=pool, user=user)
    labels = {key[1] for key in counted() if not key[0].startswith("operation")}
    assert labels == {"all"}
    assert "network1" not in gauges.database_metrics().decode()


def test_off_counts_nothing_and_asks_nothing(settings, configure, django_capture_on_commit_callbacks, user):
    pool = make_pool(segments=6)
    allocate("warm-up", pool=pool, user=user)

    def work(name):
        with CaptureQueriesContext(connection) as queries, django_capture_on_commit_callbacks(execute=True) as calls:
            allocate(name, pool=pool, user=user)
            allocate(name, pool=pool, user=user)
            release(name, pool=pool, user=user)
        return len(queries), len(calls)

    counted = Samples()
    queries, callbacks = work("off")
    assert counted() == {}
    settings.METRICS_ENABLED = True
    queries_on, callbacks_on = work("on")
    assert queries == queries_on
    # Callbacks: two counts of allocations, one of a release, and three latencies.
    assert callbacks_on == callbacks + 6
    settings.METRICS_ENABLED = False
    with pytest.raises(MiddlewareNotUsed):
        middleware.MetricsMiddleware(None)


def test_metrics_that_fail_fail_nothing_else(counted, committed, user, caplog):
    pool = make_pool(segments=1)
    with patch.object(metrics.ALLOCATIONS, "labels", side_effect=OSError("No space left on device")), committed():
        allocate("a", pool=pool, user=user)
    with patch.object(metrics.OPERATION_SECONDS, "labels", side_effect=OSError), pytest.raises(PoolExhausted):
        allocate("b", pool=pool, user=user)
    assert [record.getMessage() for record in caplog.records if record.name.endswith("metrics")] == [
        "A metric could not be updated"
    ] * 2


def test_only_the_page_of_metrics_is_added_to(counted):
    def answer(view_name):
        def get_response(request):
            request.resolver_match = view_name and type("Match", (), {"view_name": view_name})
            return HttpResponse("text\n")

        return middleware.MetricsMiddleware(get_response)(RequestFactory().get("/metrics")).content

    assert answer(None) == answer("home") == b"text\n"
    assert answer("prometheus-django-metrics").startswith(b"text\n# HELP netbox_vlan_manager_")
    assert f"{PLUGIN}.middleware.MetricsMiddleware" in django_settings.MIDDLEWARE


def test_alerts_and_docs_name_metrics_that_exist(counted):
    make_pool()
    make_job(LifeCycleJob)
    make_job(DriftJob, {})
    known = {f"{PLUGIN}_{name}" for name, *_labels in read_gauges()}
    for family in REGISTRY.collect():
        if family.name.startswith(PLUGIN):
            suffixes = {"counter": ["_total"], "histogram": ["", "_bucket", "_count", "_sum"]}[family.type]
            known |= {family.name + suffix for suffix in suffixes}
    page = (DOCS / "observability.md").read_text()
    listed = set(re.findall(r"`(netbox_vlan_manager_\w+)`", page))
    assert listed <= known
    assert {name for name in known if not name.endswith(("_bucket", "_count", "_sum"))} <= listed

    rules = [rule for group in yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    for rule in rules:
        named = set(re.findall(r"netbox_vlan_manager_\w+", rule["expr"]))
        assert named <= known, rule["alert"]
        assert named or "probe_success" in rule["expr"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} <= set(rule["annotations"])
        # The page says how to handle each alert.
        assert f"`{rule['alert']}`" in page
    jobs = {job for rule in rules for job in re.findall(r'_seconds\{job="(\w+)"', rule["expr"])}
    assert jobs == set(JOBS)
    levels = {level for rule in rules for level in re.findall(r'level="(\w+)"', rule["expr"])}
    assert levels <= set(PoolLevelChoices.values())
