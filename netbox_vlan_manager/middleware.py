"""
Adds pool gauges to /metrics, answers health when NetBox fails, and keeps the plugin on main while a branch is active.

Where NetBox runs with several worker processes, its view of metrics reads the counters of all of them from files, and
knows no collectors. Numbers written there by one process would be another's for as long as these files live, and no
host has those of another. So they are read when somebody asks, by whichever process answers: each host says the same.
"""

import logging
from dataclasses import fields

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import MiddlewareNotUsed
from django.db import Error
from django.db.models import Count
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import resolve, reverse
from django.utils.translation import gettext as _
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from rest_framework.permissions import SAFE_METHODS

from . import branching
from .api.errors import STATUS_OF_CODE
from .api.views.health import check_health
from .caching import once_a_second
from .choices import PoolLevelChoices, SegmentStatusChoices
from .exceptions import BranchActive
from .jobs import DriftJob, LifeCycleJob, PoolSnapshotJob
from .metrics import ALL_POOLS
from .models import SegmentPool, SegmentUsage
from .services.reporting.statistics import usage_of_pools
from .settings import get_setting

__all__ = (
    "BranchMiddleware",
    "HealthMiddleware",
    "MetricsMiddleware",
)

logger = logging.getLogger("netbox_vlan_manager.metrics")

NAMESPACES = {"plugins:netbox_vlan_manager", "plugins-api:netbox_vlan_manager-api"}

HEALTH_VIEW = "plugins-api:netbox_vlan_manager-api:health"
METRICS_VIEW = "prometheus-django-metrics"

JOBS = {"life_cycle": LifeCycleJob, "drift": DriftJob, "snapshot": PoolSnapshotJob}


class HealthMiddleware:
    """
    Answers for the health endpoint where NetBox fails before it gets there: it serves nothing without its cache.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        if response.status_code == 500 and request.path == reverse(HEALTH_VIEW):
            return JsonResponse(check_health() | {"status": "unavailable"}, status=503)
        return response


class MetricsMiddleware:
    """Adds what the database knows of the pools to the page of metrics; where there is none, it is not there."""

    def __init__(self, get_response):
        if not settings.METRICS_ENABLED:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        match = request.resolver_match
        if match is not None and match.view_name == METRICS_VIEW:
            response.write(database_metrics())
        return response


class BranchMiddleware:
    """
    Has the plugin's pages and endpoints show main while a branch of netbox-branching is active, and change nothing.

    In a branch they would find segments whose VLANs it has not got.
    """

    def __init__(self, get_response):
        if not branching.is_installed():
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request):
        if not branching.is_active() or not (namespace := _own_namespace(request)):
            return self.get_response(request)
        is_page = namespace.startswith("plugins:")
        if request.method not in SAFE_METHODS:
            return _refuse(request, is_page)
        if is_page and "HX-Request" not in request.headers and "export" not in request.GET:
            messages.info(request, _("A branch is active. VLAN Manager has no branches: this is main, as it is now."))
        with branching.on_main():
            return self.get_response(request)


def _own_namespace(request):
    """Return the namespace of what a request asks for, or an empty text if it is not the plugin's."""
    try:
        namespace = resolve(request.path_info).namespace
    except Http404:
        return ""
    return namespace if namespace in NAMESPACES else ""


def _refuse(request, is_page):
    error = BranchActive()
    if not is_page:
        return JsonResponse({"detail": str(error), "code": error.code}, status=STATUS_OF_CODE[error.code])
    messages.error(request, str(error))
    target = request.get_full_path()
    return HttpResponse(headers={"HX-Redirect": target}) if "HX-Request" in request.headers else redirect(target)


@once_a_second
def database_metrics():
    """Return what the database knows, in Prometheus' format; where it does not answer, that it does not."""
    up = GaugeMetricFamily("netbox_vlan_manager_database_up", "Whether the database told the numbers of the pools")
    try:
        families = _read()
        up.add_metric((), 1)
    except Error:
        logger.exception("The database told no metrics")
        families = []
        up.add_metric((), 0)
    registry = CollectorRegistry()
    registry.register(_Families([up, *families]))
    return generate_latest(registry)


class _Families:
    """What a registry asks for its metrics."""

    def __init__(self, families):
        self.families = families

    def collect(self):
        return self.families


def _read():
    prefix = "netbox_vlan_manager_"
    capacity = GaugeMetricFamily(f"{prefix}pool_capacity", "Segments of a pool, of any status", labels=["pool"])
    segments = GaugeMetricFamily(f"{prefix}pool_segments", "Segments of a pool by status", labels=["pool", "status"])
    utilization = GaugeMetricFamily(
        f"{prefix}pool_utilization_ratio", "Share of a pool's segments that is allocated, 0 to 1", labels=["pool"]
    )
    for pool, usage in _usages():
        capacity.add_metric((pool,), usage.total_segments)
        utilization.add_metric((pool,), usage.utilization / 100)
        for status in SegmentStatusChoices.values():
            segments.add_metric((pool, status), getattr(usage, status))

    pools = GaugeMetricFamily(f"{prefix}pools", "Pools by how full they were a minute ago", labels=["level"])
    levels = dict(SegmentPool.objects.order_by().values_list("level").annotate(count=Count("*")))
    for level in PoolLevelChoices.values():
        pools.add_metric((level,), levels.get(level, 0))

    successes = GaugeMetricFamily(
        f"{prefix}job_last_success_timestamp_seconds", "When a job ended well last", labels=["job"]
    )
    for name, job in JOBS.items():
        if ended := job.last_success():
            successes.add_metric((name,), ended.timestamp())
    drift = GaugeMetricFamily(f"{prefix}drift_findings", "What no longer fitted when the drift job looked last")
    if (found := DriftJob.count_findings()) is not None:
        drift.add_metric((), found)
    return [capacity, segments, utilization, pools, successes, drift]


def _usages():
    """Return (label of a pool, its SegmentUsage) pairs."""
    slugs = dict(SegmentPool.objects.order_by("slug").values_list("pk", "slug"))
    usages = usage_of_pools(slugs)
    if get_setting("metrics_per_pool"):
        return [(slug, usages[pk]) for pk, slug in slugs.items()]
    counts = (field.name for field in fields(SegmentUsage))
    return [(ALL_POOLS, SegmentUsage(**{name: sum(getattr(one, name) for one in usages.values()) for name in counts}))]
