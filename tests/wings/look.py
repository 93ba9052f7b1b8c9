"""
Prints NetBox's objects of the wing `specimen` as JSON: python -m tests.wings.look, in a copy of the plugin that has it.
"""

import json
import sys
from contextlib import suppress

import django

django.setup()

from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import NoReverseMatch, reverse  # noqa: E402

from core.models import ObjectType  # noqa: E402
from netbox.registry import registry  # noqa: E402
from netbox_vlan_manager.models import Segment  # noqa: E402
from netbox_vlan_manager.specimen.models import Specimen  # noqa: E402
from tests.factories import make_pool, make_segment, make_user  # noqa: E402
from utilities.exceptions import AbortRequest  # noqa: E402
from utilities.relations import get_related_models  # noqa: E402


def has_route(name):
    try:
        return bool(reverse(name))
    except NoReverseMatch:
        return False


def look():
    with connection.schema_editor() as editor:
        editor.create_model(Specimen)
    user = make_user(is_superuser=True)
    segment = make_segment(make_pool(), 100)
    Specimen.objects.create(segment=segment, note="seen")
    client = Client()
    client.force_login(user)
    menu = next(menu for menu in registry["plugins"]["menus"] if menu.label == "VLAN Manager")
    page = client.get(segment.get_absolute_url())
    query = client.post("/graphql/", {"query": "{ specimen_name }"}, content_type="application/json").json()
    root = client.get(reverse("plugins-api:netbox_vlan_manager-api:api-root"), headers={"Accept": "application/json"})
    found = {
        "page": has_route("plugins:netbox_vlan_manager:specimens"),
        "rest": has_route("plugins-api:netbox_vlan_manager-api:specimen-list"),
        "rest call": has_route("plugins-api:netbox_vlan_manager-api:specimen-count"),
        "root": sorted(name for name in root.json() if "specimen" in name),
        "menu": "Specimens" in [group.label for group in menu.groups],
        "index": "netbox_vlan_manager.specimen" in registry["search"],
        "job": "SpecimenJob" in [job.__name__ for job in registry["system_jobs"]],
        "event": "vlan_manager_specimen" in registry["event_types"],
        "panel": "Specimen panel" in page.content.decode(),
        "graphql": (query.get("data") or {}).get("specimen_name"),
        "listed": Specimen in [model for model, _field in get_related_models(Segment)],
        "public": ObjectType.objects.get_for_model(Specimen).public,
    }
    # The wing refuses it, where it is on.
    with suppress(AbortRequest):
        segment.delete()
    found["left after a deletion"] = Specimen.objects.count()
    return found


if __name__ == "__main__":
    json.dump(look(), sys.stdout)
