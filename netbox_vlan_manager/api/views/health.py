from django.core.cache.backends.locmem import LocMemCache
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.response import Response
from rest_framework.throttling import SimpleRateThrottle

from utilities.request import get_client_ip

from ...services.reporting.health import check_health
from ...settings import get_setting
from ..serializers import ErrorSerializer, HealthSerializer
from .base import PlainView

__all__ = ("HealthView",)


class HealthThrottle(SimpleRateThrottle):
    """
    Limits the requests from one address to each worker process, which counts them in its memory: NetBox's cache is
    Redis, which may be down.
    """

    scope = "netbox_vlan_manager_health"
    cache = LocMemCache(scope, {})

    def get_rate(self):
        return get_setting("health_rate")

    def get_cache_key(self, request, view):
        # The address of the client, not of the proxy: a client must not use up the load balancer's requests.
        try:
            address = get_client_ip(request)
        except ValueError:
            address = None
        return self.cache_format % {"scope": self.scope, "ident": address or request.META.get("REMOTE_ADDR", "")}


class HealthView(PlainView):
    """
    Report whether the plugin works, and which part is down, to load balancers and monitoring without a login.

    503 means that this NetBox should get no traffic: the database, cache or queue is down, or migrations are missing.
    A NetBox that works but needs attention, such as one without a worker, is "degraded", with status 200.
    """

    # Authentication would query the database, which may be down.
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = (HealthThrottle,)
    # Not checked: a load balancer may add any parameters.
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
