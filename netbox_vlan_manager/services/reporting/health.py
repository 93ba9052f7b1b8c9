"""
Checks whether the plugin can work, and which part of it is down.

The database, the cache and the queue are checked here. Other parts of the plugin `register` their own checks.
"""

from functools import lru_cache
from pkgutil import iter_modules

import django_rq
from django.core.cache import cache
from django.db import Error
from django.db.migrations.recorder import MigrationRecorder
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError
from rq import Worker

from netbox.constants import RQ_QUEUE_DEFAULT

from ... import migrations
from ...caching import once_a_second
from ...settings import PLUGIN
from .statistics import count_low_pools

__all__ = (
    "check_health",
    "register",
)

# {name: check} of the other parts of the plugin.
_parts = {}


def register(name):
    """
    Return a decorator that adds a part of the plugin to health.

    It decorates a function without arguments that returns the part's state: "ok", "unknown", or one that makes health
    "degraded", such as "late". The function is called only if the database answers, and may use it.

    Args:
        name: The field of the answer with the state.
    """

    def add(check):
        _parts[name] = check
        return check

    return add


@once_a_second
def check_health():
    """Return {field: state}, and `status`, which sums them up. It takes three queries."""
    health = {**_check_database(), "cache": _check_cache(), **_check_queue()}
    if "down" in (health["database"], health["cache"], health["queue"]) or health["migrations"] == "pending":
        status = "unavailable"
    else:
        is_degraded = health["workers"] == "down" or any(health[name] not in ("ok", "unknown") for name in _parts)
        status = "degraded" if is_degraded else "ok"
    return {"status": status, **health}


def _check_database():
    down = {"database": "down", "migrations": "unknown", **dict.fromkeys(_parts, "unknown"), "pools_low": None}
    try:
        is_migrated = _is_migrated()
        health = {"database": "ok", "migrations": "ok" if is_migrated else "pending"}
        health |= {name: check() for name, check in _parts.items()}
        # Without its migrations a table or column may be missing.
        health["pools_low"] = count_low_pools() if is_migrated else None
    except Error:
        return down
    return health


def _is_migrated():
    applied = MigrationRecorder.Migration.objects.filter(app=PLUGIN).values_list("name", flat=True)
    return _own_migrations() <= set(applied)


@lru_cache
def _own_migrations():
    return {module.name for module in iter_modules(migrations.__path__)}


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
