"""Every bad request gets a 4xx answer, never a 5xx."""

import pytest
from django.db import transaction

from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.api.base import PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_user

BODIES = (
    b"",
    b"{",
    b"null",
    b"true",
    b"7",
    b'"text"',
    b"[]",
    b"{}",
    b"[null]",
    b"[[]]",
    b'["x"]',
    b"[{}]",
    b'[{"id": null}]',
    b'[{"id": {}}]',
    b'[{"id": "x"}]',
    b'[{"id": 1e999}]',
    b'[{"id": 1' + b"0" * 30 + b"}]",
    b'{"id": []}',
    b'{"name": {"a": []}, "pool": [], "prefix": [[]], "prefixes": {}, "tags": 5, "custom_fields": 5, "owner": []}',
    b'{"vid": 1e400, "scope_id": 1e308, "vrf": 1.5, "pool": -1, "cluster_name": false}',
    b'{"description": "\\u0000"}',
    b'{"description": "\\ud800"}',
    b'{"custom_fields": {"\\u0000": "\\u0000"}}',
    b'{"pool": {"name": "\\u0000"}, "vrf": {"rd": "\\u0000"}, "prefixes": ["\\u0000"]}',
    b'{"pool": {"nonsense": 1}, "vrf": {"segments__vid__nonsense": 1}}',
    b'{"pool": {"pk": {"in": 5}}, "vrf": {"id": "x"}, "owner": {"id": []}}',
    b'{"changelog_message": 5, "tags": [{"id": "x"}], "add_tags": 7, "remove_tags": {}}',
    b'{"changelog_message": {}, "add_tags": [null]}',
    b'{"add_tags": [{"id": "x"}]}',
    b'[{"changelog_message": {"a": 1}}]',
    b"\xff",
    b"[" * 50_000,
)

QUERIES = (
    "limit=x",
    "limit=-1",
    "limit=1" + "0" * 30,
    "offset=1" + "0" * 30,
    "offset=x",
    "start=x",
    "start=1" + "0" * 30,
    "start=1&offset=1",
    "ordering=nonsense,-,--id,id__x,%00",
    "fields=nonsense",
    "fields=,",
    "omit=id,nonsense",
    "brief=x",
    "q=%00",
    "q=%F0%9F%98%80",
    "q=" + "x" * 5000,
    "id=1" + "0" * 30,
    "id=x",
    "vid__gte=1" + "0" * 30,
    "vid=-1",
    "contains=%00",
    "within=10.0.0.0/99",
    "prefix=::/0&prefix=x",
    "region=nothing",
    "vrf=%00",
    "cluster_name=%00",
    "cluster_name=" + "x" * 5000,
    "allocated_at=never",
    "allocated_at__gte=9999-99-99",
    "created=x",
    "epg_name__regex=[",
    "name__iregex=(",
    "export=%00",
    "export=nothing",
    "format=nothing",
    "filter=nothing&filter_id=x",
    "cf_nothing=1",
    "created_by_request=x",
    "background=true",
)


@pytest.mark.slow("Every call of the API, with values that are none")
class RobustnessTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=2)
        cls.allocation = allocate("prod-01", pool=cls.pool, user=make_user()).allocation

    def setUp(self):
        super().setUp()
        self.client = client_of(make_user("root", is_superuser=True))

    def send(self, method, url, body=None):
        """Send a request in a savepoint and roll it back: a failed statement would break the test's transaction."""
        with transaction.atomic():
            options = {"content_type": "application/json"} if body is not None else {}
            response = getattr(self.client, method)(url, body, **options)
            if response.streaming:
                response.getvalue()
            transaction.set_rollback(True)
        return response

    def test_bodies(self):
        lists = [url_of(f"{model}-list") for model in ("segmentpool", "segment", "allocation")]
        requests = [
            (
                "post",
                [
                    url_of("allocate-vlan"),
                    url_of("release-vlan"),
                    url_of("segment-import"),
                    url_of("segmentpool-generate", pk=self.pool.pk),
                    *lists,
                ],
            ),
            ("patch", lists),
            ("delete", lists),
            (
                "put",
                [
                    url_of("segmentpool-detail", pk=self.pool.pk),
                    url_of("segment-detail", pk=self.allocation.segment_id),
                    url_of("allocation-detail", pk=self.allocation.pk),
                ],
            ),
        ]
        for method, urls in requests:
            for url in urls:
                for body in BODIES:
                    response = self.send(method, url, body)
                    self.assertLess(response.status_code, 500, (method, url, body[:60]))
        self.assertEqual(Segment.objects.count(), 2)
        self.assertEqual(SegmentPool.objects.count(), 1)
        self.assertEqual(Allocation.objects.active().count(), 1)

    def test_queries(self):
        urls = [
            *(url_of(f"{model}-list") for model in ("segmentpool", "segment", "allocation")),
            url_of("segmentpool-available-segments", pk=self.pool.pk),
            url_of("statistics"),
            url_of("export-segments"),
        ]
        for url in urls:
            for query in QUERIES:
                response = self.send("get", f"{url}?{query}")
                self.assertLess(response.status_code, 500, (url, query))

    def test_options(self):
        for url in self.get(url_of("api-root")).values():
            self.assertEqual(self.send("options", url).status_code, 200, url)

    def test_ids(self):
        for pk in ("0", "-1", "x", "1" + "0" * 30, "%00", "%F0%9F%98%80", "1e3"):
            for model in ("pools", "segments", "allocations"):
                url = f"/api/plugins/vlan-manager/{model}/{pk}/"
                for method in ("get", "delete", "patch"):
                    response = self.send(method, url)
                    self.assertEqual(response.status_code, 404, (method, url))
            response = self.send("get", f"/api/plugins/vlan-manager/pools/{pk}/available-segments/")
            self.assertEqual(response.status_code, 404, pk)
