"""The OpenAPI schema of the plugin's API."""

import json

from django.urls import include, path
from drf_spectacular.generators import SchemaGenerator

from netbox_vlan_manager.api.urls import urlpatterns

ROOT = "/api/plugins/vlan-manager/"


def openapi_schema():
    """Return it as a client gets it: texts that wait for their translation are text."""
    patterns = [path(ROOT[1:], include((urlpatterns, "plugins-api:netbox_vlan_manager-api")))]
    return json.loads(json.dumps(SchemaGenerator(patterns=patterns).get_schema(request=None, public=True), default=str))
