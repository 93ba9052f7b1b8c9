"""The plugin's own calls share one error format; the calls that NetBox has for every model keep NetBox's."""

from netbox_vlan_manager.api.errors import STATUS_OF_CODE
from netbox_vlan_manager.services import allocate
from tests.api.base import PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_user
from tests.stack.stack import PROJECT


class ShapeTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = make_user("root", is_superuser=True)
        cls.pool = make_pool(segments=2)
        cls.held = allocate("held", pool=cls.pool, user=cls.root).allocation

    def setUp(self):
        super().setUp()
        self.client = client_of(self.root)

    def test_own_calls(self):
        pool, segment, held = {"pk": self.pool.pk}, {"pk": self.held.segment_id}, {"pk": self.held.pk}
        for method, name, kwargs, body, field in (
            ("post", "allocate-vlan", {}, {"cluster_name": ""}, "cluster_name"),
            ("post", "allocate-vlan", {}, {"cluster_name": "a", "pool": self.pool.pk, "vid": "x"}, "vid"),
            ("post", "release-vlan", {}, {"cluster_name": "a", "site": 1.5, "vrf": 1}, "site"),
            ("post", "allocation-list", {}, {"cluster_name": "a"}, "site"),
            ("post", "allocation-list", {}, {"cluster_name": "a", "pool": 10**9}, "pool"),
            ("post", "allocation-list", {}, {"cluster_name": "a", "pool": self.pool.pk, "tags": [7]}, "tags"),
            ("post", "allocation-stretched", {}, {"cluster_name": "a"}, "sites"),
            ("post", "allocation-renew", held, {"expires_at": "x"}, "expires_at"),
            ("post", "segmentpool-generate", pool, {"count": 0}, "count"),
            ("post", "segmentpool-adopt", pool, {}, "prefixes"),
            ("post", "segmentpool-merge", pool, {}, "into"),
            ("post", "segmentpool-resize", pool, {}, "vid_ranges"),
            ("post", "segmentpool-retire", pool, {"dry_run": "x"}, "dry_run"),
            ("get", "segmentpool-available-segments", pool, {"limit": "x"}, "limit"),
            ("post", "segment-disable", segment, {"reason": "x" * 1000}, "reason"),
            ("post", "segment-end-quarantine", segment, {"reason": "x" * 1000}, "reason"),
            ("post", "segment-share", segment, {}, "cluster_name"),
            ("put", "segment-clusters", segment, {"cluster_names": 5}, "cluster_names"),
            ("post", "segment-import", {}, {}, "rows"),
            ("post", "drift-repair", {}, {}, "items"),
            ("get", "drift", {}, {"kind": "x"}, "kind"),
            ("get", "statistics", {}, {"vrf_id": "x"}, "vrf_id"),
        ):
            with self.subTest(name, body=body):
                url = url_of(name, **kwargs)
                answer = self.get(url, body, status=400) if method == "get" else self.call(method, url, body, 400)
                self.assertEqual((answer.keys(), answer["code"]), ({"detail", "code", "errors"}, "invalid"))
                self.assertIn(field, answer["errors"])
                for texts in answer["errors"].values():
                    self.assertTrue(all(isinstance(text, str) for text in texts), answer)
                    self.assertIn(texts[0], answer["detail"])

    def test_calls_like_netbox(self):
        for method, name, kwargs in (
            ("post", "segment-list", {}),
            ("put", "segment-detail", {"pk": self.held.segment_id}),
            ("post", "segmentpool-list", {}),
            ("put", "segmentpool-detail", {"pk": self.pool.pk}),
        ):
            answer = self.call(method, url_of(name, **kwargs), {"vid": "x"}, 400)
            self.assertTrue(all(isinstance(texts, list) for texts in answer.values()), answer)

    def test_others(self):
        """Refusals of REST framework have a code too."""
        missing = url_of("segment-disable", pk=10**9)
        wrong_type = self.client.post(url_of("allocate-vlan"), b"x", content_type="text/plain")
        for answer, code in (
            (self.post(missing, {}, status=404), "not_found"),
            (self.get(url_of("allocate-vlan"), status=405), "method_not_allowed"),
            (wrong_type.json(), "unsupported_media_type"),
            (self.call("post", url_of("allocate-vlan"), {}, 403, client=client_of(make_user("a"), write_enabled=False)),
             "permission_denied"),
        ):  # fmt: skip
            self.assertEqual(answer["code"], code)
            self.assertEqual(answer.keys(), {"detail", "code"})

    def test_docs_list_every_code(self):
        page = (PROJECT / "docs/rest.md").read_text()
        rows = [line.split("|")[2] for line in page.splitlines() if line.startswith(("| 4", "| 5"))]
        listed = {code.strip(" `") for row in rows for code in row.split(",")}
        others = {"not_found", "not_authenticated", "permission_denied", "method_not_allowed", "unsupported_media_type"}
        self.assertLessEqual({*STATUS_OF_CODE, *others}, listed)
