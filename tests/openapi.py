"""The OpenAPI schema of the plugin's API."""

import json
from functools import cache

from django.urls import include, path
from drf_spectacular.generators import SchemaGenerator

from netbox_vlan_manager.api.urls import urlpatterns

ROOT = "/api/plugins/vlan-manager/"


def openapi_schema():
    """Return the schema as a client gets it, with lazy translations as text."""
    return json.loads(_openapi_text())


@cache
def _openapi_text():
    # Cached, because building the schema takes seconds.
    patterns = [path(ROOT[1:], include((urlpatterns, "plugins-api:netbox_vlan_manager-api")))]
    return json.dumps(SchemaGenerator(patterns=patterns).get_schema(request=None, public=True), default=str)
