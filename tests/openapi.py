"""The OpenAPI schema of the plugin's API."""

import json
from functools import cache

from django.urls import include, path
from drf_spectacular.generators import SchemaGenerator

from netbox_vlan_manager.api.urls import urlpatterns

ROOT = "/api/plugins/vlan-manager/"


def openapi_schema():
    """Return it as a client gets it: texts that wait for their translation are text."""
    return json.loads(_openapi_text())


@cache
def _openapi_text():
    # It takes seconds.
    patterns = [path(ROOT[1:], include((urlpatterns, "plugins-api:netbox_vlan_manager-api")))]
    return json.dumps(SchemaGenerator(patterns=patterns).get_schema(request=None, public=True), default=str)
