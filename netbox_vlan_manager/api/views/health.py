from datetime import timedelta
from functools import lru_cache
from pkgutil import iter_modules

import django_rq
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.db import Error
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from django_redis.exceptions import ConnectionInterrupted
from drf_spectacular.utils import OpenApiResponse, extend_schema
from redis.exceptions import RedisError
from rest_framework.response import Response
from rest_framework.throttling import SimpleRateThrottle
from rq import Worker

from netbox.constants import RQ_QUEUE_DEFAULT
from utilities.request import get_client_ip

from ... import migrations
from ...caching import once_a_second
from ...jobs import LifeCycleJob
from ...services.reporting.statistics import count_low_pools
from ...settings import PLUGIN, get_setting
from ..serializers import ErrorSerializer, HealthSerializer
from .base import PlainView

__all__ = ("HealthView",)

# How long after the last one the job of every minute is late.
LATE = timedelta(minutes=10)


class HealthThrottle(SimpleRateThrottle):
    """
    So many requests an address in each worker process, counted in its memory: NetBox's cache is Redis, which may be
    down.
    """

    scope = "netbox_vlan_manager_health"
    cache = LocMemCache(scope, {})

    def get_rate(self):
        return get_setting("health_rate")

    def get_cache_key(self, request, view):
        # The address as NetBox finds it behind a proxy: one client must not use up what the load balancer may ask for.
        try:
            address = get_client_ip(request)
        except ValueError:
            address = None
        return self.cache_format % {"scope": self.scope, "ident": address or request.META.get("REMOTE_ADDR", "")}


class HealthView(PlainView):
    """
    Whether the plugin can work, and which part of it is down: for load balancers and monitoring, which do not log in.

    503 means that this NetBox should get no traffic: the database, cache or queue is down, or migrations are missing.
    What works, but needs somebody to look after it, such as a worker that is gone, is "degraded", with status 200.
    """

    # Authentication would ask the database, which may be down.
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = (HealthThrottle,)
    # A load balancer may add what it likes; there is nothing to ask for.
    query_names = None

    @extend_schema(
        auth=[],
        responses={
            200: HealthSerializer,
            503: HealthSerializer,
            429: OpenApiResponse(ErrorSerializer, "`throttled`: ask again after `Retry-After` seconds"),
        },
    )
    def get(self, request):
        health = check_health()
        return Response(health, status=503 if health["status"] == "unavailable" else 200)


@once_a_second
def check_health():
    """Return what HealthSerializer describes. It takes three queries."""
    health = {**_check_database(), "cache": _check_cache(), **_check_queue()}
    if "down" in (health["database"], health["cache"], health["queue"]) or health["migrations"] == "pending":
        status = "unavailable"
    else:
        status = "degraded" if health["workers"] == "down" or health["jobs"] == "late" else "ok"
    return {"status": status, **health}


def _check_database():
    health = {"database": "down", "migrations": "unknown", "jobs": "unknown", "pools_low": None}
    try:
        is_migrated = _is_migrated()
        health |= {"database": "ok", "migrations": "ok" if is_migrated else "pending", "jobs": _check_jobs()}
        # Without its migrations this may ask for what is not there.
        if is_migrated:
            health["pools_low"] = count_low_pools()
    except Error:
        health |= {"database": "down", "migrations": "unknown", "jobs": "unknown"}
    return health


def _is_migrated():
    applied = MigrationRecorder.Migration.objects.filter(app=PLUGIN).values_list("name", flat=True)
    return _own_migrations() <= set(applied)


@lru_cache
def _own_migrations():
    return {module.name for module in iter_modules(migrations.__path__)}


def _check_jobs():
    ended = LifeCycleJob.last_success()
    if ended is None:
        return "unknown"
    return "ok" if timezone.now() - ended < LATE else "late"


def _check_cache():
    try:
        cache.get("config")
    except (ConnectionInterrupted, RedisError):
        return "down"
    return "ok"


def _check_queue():
    try:
        queue = django_rq.get_queue(RQ_QUEUE_DEFAULT)
        queue.connection.ping()
        # Redis forgets a worker some minutes after its last sign of life.
        return {"queue": "ok", "workers": "ok" if Worker.all(queue=queue) else "down"}
    except RedisError:
        return {"queue": "down", "workers": "unknown"}
