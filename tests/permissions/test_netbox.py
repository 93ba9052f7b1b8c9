"""The plugin's contents elsewhere in NetBox: panels, widgets, search, GraphQL, and the choices of forms."""

import json
import re

import pytest
from django.test import Client
from django.urls import reverse

from dcim.models import Site
from extras.dashboard.utils import get_dashboard, get_widget_class
from ipam.models import VLAN, VRF, Prefix, VLANGroup
from netbox.registry import registry
from netbox.search.backends import search_backend
from netbox_vlan_manager.graphql.schema import VLANManagerQuery
from netbox_vlan_manager.models import Segment, SegmentPool
from tests.factories import make_user, permit
from tests.graphql.test_permissions import PATHS
from virtualization.models import Cluster

from .base import FORBIDDEN, WorldTestCase, read_text
from .world import HIDDEN_WORD, OPEN_WORD

# Names of the plugin's hidden objects. The user may view all of NetBox's own objects, and one half of the plugin's.
PLUGIN_OWN = re.compile(r"zqx-(near|far|here|cluster|inside|sharing)")
CORE = (
    ("ipam:vlan", "segment.vlan", "inside.vlan", "far_segment.vlan"),
    ("ipam:prefix", "segment.prefix", "inside.prefix", "far_segment.prefix", "container"),
    ("ipam:vrf", "vrf", "hidden_vrf"),
    ("ipam:vlangroup", "group", "far.vlan_group"),
    ("dcim:site", "site", "hidden_site"),
    ("virtualization:cluster", "cluster", "hidden_cluster"),
)


class NetBoxTestCase(WorldTestCase):
    @classmethod
    def setUpTestData(cls):
        super().setUpTestData()
        user = make_user("netboxer")
        for permission in cls.world.users["bound"].object_permissions.all():
            models = {object_type.model_class() for object_type in permission.object_types.all()}
            if all(model._meta.app_label == "netbox_vlan_manager" for model in models):
                permission.users.add(user)
        for model in (VLAN, Prefix, VRF, VLANGroup, Site, Cluster):
            user = permit(user, model, "view")
        cls.world.users["netboxer"] = user
        cls.headers["netboxer"] = cls.make_headers(user)
        client = Client()
        client.force_login(user)
        cls.cookies["netboxer"] = client.cookies["sessionid"].value

    def get(self, persona, url, params=None):
        client = Client(raise_request_exception=False)
        if persona in self.cookies:
            client.cookies["sessionid"] = self.cookies[persona]
        response = client.get(url, params)
        return response.status_code, read_text(response)

    def assert_tells_nothing(self, persona, text, what):
        for pattern in FORBIDDEN[persona]:
            found = pattern.search(text)
            self.assertIsNone(found, found and (persona, what, text[max(found.start() - 200, 0) : found.end() + 80]))

    @pytest.mark.slow("All of NetBox's pages that name objects of the plugin")
    def test_panels(self):
        for name, *paths in CORE:
            for path in paths:
                instance = self.world
                for part in path.split("."):
                    instance = getattr(instance, part)
                url = reverse(name, args=[instance.pk])
                is_open = not path.startswith(("hidden", "far", "inside"))
                for persona, status in (
                    ("nobody", 403),
                    ("bound", 200 if is_open else 404),
                    ("allocator", 403),
                    ("netboxer", 200),
                    ("root", 200),
                ):
                    found, text = self.get(persona, url)
                    self.assertEqual(found, status, (persona, url, path))
                    if persona == "netboxer":
                        told = PLUGIN_OWN.search(re.sub(r"<input[^>]*>|<script.*?</script>", "", text, flags=re.S))
                        self.assertIsNone(told, told and (path, text[told.start() - 200 : told.end() + 50]))
                    elif persona != "root":
                        self.assert_tells_nothing(persona, text, path)
                    elif not is_open and "cluster" not in path:
                        # The superuser sees names of the plugin on the page.
                        self.assertRegex(text, "zqx-(near|far|here|inside)|opz-pool", path)

    def test_widgets(self):
        widgets = [name for name in registry["widgets"] if name.startswith("netbox_vlan_manager.")]
        self.assertEqual(len(widgets), 2)
        for persona in ("nobody", "bound", "allocator", "netboxer", "root"):
            user = self.world.users[persona]
            dashboard = get_dashboard(user)
            dashboard.layout, dashboard.config = [], {}
            for name in widgets:
                dashboard.add_widget(get_widget_class(name)())
            dashboard.save()
            status, text = self.get(persona, reverse("home"))
            self.assertEqual(status, 200)
            if persona == "root":
                self.assertIn("zqx-far", text)
                continue
            self.assertEqual("opz-pool" in text, persona in ("bound", "netboxer"), persona)
            self.assert_tells_nothing("bound" if persona == "netboxer" else persona, text, "dashboard")

    @pytest.mark.slow("All of NetBox's pages that name objects of the plugin")
    def test_search(self):
        for model in (SegmentPool, Segment):
            search_backend.cache(model.objects.all())
        for query in ("EPG", "10.", "pool", "here", "far", "3711"):
            for persona in ("anonymous", "nobody", "bound", "allocator", "netboxer"):
                status, text = self.get(persona, reverse("search"), {"q": query})
                self.assertEqual(status, 302 if persona == "anonymous" else 200)
                self.assert_tells_nothing(
                    "bound" if persona == "netboxer" else persona, text.replace(query, ""), f"search {query}"
                )
        status, text = self.get("root", reverse("search"), {"q": "EPG"})
        for word in (HIDDEN_WORD, OPEN_WORD):
            self.assertIn(word, text)

    def test_graphql(self):
        fields = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in VLANManagerQuery.__annotations__}
        asked = " ".join(PATHS)
        for field in fields:
            self.assertIn(field.removesuffix("_list"), asked)
        for persona, status in (
            ("anonymous", 403),
            ("expired", 403),
            ("nobody", 200),
            ("bound", 200),
            ("readonly", 200),
            ("allocator", 200),
            ("root", 200),
        ):
            for query in PATHS:
                client = Client()
                response = client.post(
                    reverse("graphql"),
                    json.dumps({"query": query}),
                    content_type="application/json",
                    headers={"Accept": "application/json", **self.headers.get(persona, {})},
                )
                self.assertEqual(response.status_code, status, (persona, query))
                text = response.content.decode()
                if persona != "root":
                    self.assert_tells_nothing(persona, text, query)
                elif "tenant" not in query:
                    self.assertIn(HIDDEN_WORD, text, query)

    @pytest.mark.slow("All of NetBox's pages that name objects of the plugin")
    def test_choices_of_forms(self):
        """The choices of form fields and of NetBox's object selector."""
        selector = reverse("htmx_object_selector")
        for model in (
            "netbox_vlan_manager.segmentpool",
            "netbox_vlan_manager.segment",
            "netbox_vlan_manager.allocation",
        ):
            for persona in ("nobody", "bound", "allocator"):
                for params in ({}, {"_search": "true"}, {"_search": "true", "q": "EPG"}):
                    status, text = self.get(persona, selector, {"_model": model, "target": "id_pool", **params})
                    self.assertEqual(status, 200)
                    self.assert_tells_nothing(persona, text, f"selector {model} {params}")
