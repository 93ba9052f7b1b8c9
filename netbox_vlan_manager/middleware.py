"""
Adds pool gauges to /metrics, answers health when NetBox fails, and keeps the plugin on main while a branch is active.
"""

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import MiddlewareNotUsed
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import resolve, reverse
from django.utils.translation import gettext as _
from rest_framework.permissions import SAFE_METHODS

from . import branching
from .api.errors import STATUS_OF_CODE
from .exceptions import BranchActive
from .services.reporting.gauges import database_metrics
from .services.reporting.health import check_health

__all__ = (
    "BranchMiddleware",
    "HealthMiddleware",
    "MetricsMiddleware",
)

NAMESPACES = {"plugins:netbox_vlan_manager", "plugins-api:netbox_vlan_manager-api"}

HEALTH_VIEW = "plugins-api:netbox_vlan_manager-api:health"
METRICS_VIEW = "prometheus-django-metrics"


class HealthMiddleware:
    """
    Answers requests for health if NetBox fails before the view runs: without its cache, NetBox serves no request.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        if response.status_code == 500 and request.path == reverse(HEALTH_VIEW):
            return JsonResponse(check_health() | {"status": "unavailable"}, status=503)
        return response


class MetricsMiddleware:
    """Adds the gauges to /metrics. Not used if NetBox has no metrics."""

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
    Serves the plugin's pages and endpoints from main, and refuses changes, while a branch (netbox-branching) is active.

    In a branch, they would find segments whose VLANs the branch does not have.
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
            messages.info(
                request, _("A branch is active. VLAN Manager has no branches: this page shows main as it is now.")
            )
        with branching.on_main():
            return self.get_response(request)


def _own_namespace(request):
    """Return the namespace of a request's URL, or "" if it is not one of the plugin's."""
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
