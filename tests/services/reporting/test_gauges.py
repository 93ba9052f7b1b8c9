import uuid
from unittest.mock import patch

import pytest
from django.db import DatabaseError
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from core.choices import JobStatusChoices
from core.models import Job
from netbox_vlan_manager.choices import SegmentStatusChoices
from netbox_vlan_manager.jobs import DriftJob, LifeCycleJob
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.reporting import gauges, thresholds
from tests.factories import make_pool, make_user

PLUGIN = "netbox_vlan_manager"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def configure(settings):
    """Change settings of the plugin; the gauges tell pools apart."""

    def change(**values):
        settings.PLUGINS_CONFIG = {PLUGIN: settings.PLUGINS_CONFIG[PLUGIN] | values}

    change(metrics_per_pool=True)
    yield change
    gauges.database_metrics.forget()


def read_gauges():
    """Return {(name, *labels): value} of the gauges."""
    gauges.database_metrics.forget()
    text = gauges.database_metrics().decode()
    return {
        (sample.name.removeprefix(f"{PLUGIN}_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def make_job(runner, data=None, status=JobStatusChoices.STATUS_COMPLETED, completed=None):
    job = Job.objects.create(name=runner.name, job_id=uuid.uuid4())
    Job.objects.filter(pk=job.pk).update(data=data, status=status, completed=completed or timezone.now())
    return job


def test_gauges():
    user = make_user()
    pool = make_pool(segments=4, cooldown=60)
    make_pool(scope="Site2", container="10.1.0.0/16")
    for name in "abc":
        allocate(name, pool=pool, user=user)
    release("a", pool=pool, user=user)
    Segment.objects.filter(vid=103).update(status="disabled")
    thresholds.refresh()
    ended = timezone.now()
    make_job(LifeCycleJob, completed=ended)
    make_job(LifeCycleJob, status=JobStatusChoices.STATUS_ERRORED)
    make_job(DriftJob, {"1": ["a", "b"], "2": ["c"]})
    make_job(DriftJob, {"1": ["x"] * 100}, status=JobStatusChoices.STATUS_RUNNING)
    found = read_gauges()
    drift_ended = found.pop(("job_last_success_timestamp_seconds", "drift"))
    assert drift_ended == pytest.approx(ended.timestamp(), abs=60)
    assert found == {
        ("database_up",): 1,
        ("pool_capacity", "network1-site1"): 4,
        ("pool_capacity", "network1-site2"): 0,
        ("pool_segments", "network1-site1", "available"): 0,
        ("pool_segments", "network1-site1", "allocated"): 2,
        ("pool_segments", "network1-site1", "quarantined"): 1,
        ("pool_segments", "network1-site1", "disabled"): 1,
        **{("pool_segments", "network1-site2", status): 0 for status in SegmentStatusChoices.values()},
        ("pool_utilization_ratio", "network1-site1"): 0.5,
        ("pool_utilization_ratio", "network1-site2"): 0,
        ("pools", "normal"): 1,
        ("pools", "warning"): 0,
        ("pools", "critical"): 0,
        ("pools", "exhausted"): 1,
        ("job_last_success_timestamp_seconds", "life_cycle"): pytest.approx(ended.timestamp()),
        ("drift_findings",): 3,
    }


def test_gauges_of_an_empty_database(configure):
    configure(metrics_per_pool=False)
    found = read_gauges()
    assert found["pool_capacity", "all"] == found["pool_utilization_ratio", "all"] == 0
    # A job that never ran has no time, and without a drift job the number of findings is unknown.
    assert not any(name in ("job_last_success_timestamp_seconds", "drift_findings") for name, *_labels in found)


def test_queries_are_a_fixed_number_and_made_once_a_second(django_assert_num_queries):
    for number in range(3):
        make_pool(scope=f"Site{number}", container=f"10.{number}.0.0/16", segments=1)
        gauges.database_metrics.forget()
        with django_assert_num_queries(7):
            gauges.database_metrics()
    with django_assert_num_queries(0):
        gauges.database_metrics()


def test_database_down():
    with patch.object(gauges, "usage_of_pools", side_effect=DatabaseError):
        assert read_gauges() == {("database_up",): 0}


def test_part_of_the_plugin_can_register_gauges(monkeypatch):
    monkeypatch.setattr(gauges, "_families", [*gauges._families])

    @gauges.register
    def read_wings():
        wings = GaugeMetricFamily(f"{gauges.PREFIX}wings", "Wings", labels=["name"])
        wings.add_metric(("left",), 1)
        wings.add_metric(("right",), 2)
        yield wings

    found = read_gauges()
    assert (found["wings", "left"], found["wings", "right"]) == (1, 2)
    assert found["database_up",] == 1

    @gauges.register
    def fail():
        raise DatabaseError
        yield

    assert read_gauges() == {("database_up",): 0}
