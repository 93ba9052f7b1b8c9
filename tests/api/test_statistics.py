import csv
import io
import json
from unittest.mock import patch

import openpyxl
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dcim.models import Location, Region
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.reporting.statistics import pool_statistics
from tests.api.base import PlainTestCase, url_of
from tests.factories import make_pool, make_segment, make_site, make_user

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class Inventory(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=3)
        cls.region = Region.objects.create(name="Region1", slug="region1")
        cls.other_pool = make_pool("Network2", cls.region, container="10.2.0.0/16", segments=1)
        allocate("prod-01", pool=cls.pool, user=make_user())
        allocate("prod-02", pool=cls.pool, user=make_user())
        release("prod-02", pool=cls.pool, user=make_user())


class StatisticsTestCase(Inventory):
    def setUp(self):
        super().setUp()
        self.url = url_of("statistics")

    def test_numbers(self):
        self.grant("view", model=SegmentPool)
        self.assertEqual(
            self.get(self.url),
            [
                {
                    "pool": self.pool.pk,
                    "pool_name": "Network1 Site1",
                    "site": "Site1",
                    "vrf": "Network1",
                    "total_segments": 3,
                    "allocated": 1,
                    "available": 2,
                    "quarantined": 0,
                    "disabled": 0,
                    "utilization": 33.3,
                    "held_elsewhere": 0,
                },
                {
                    "pool": self.other_pool.pk,
                    "pool_name": "Network2 Region1",
                    "site": "Region1",
                    "vrf": "Network2",
                    "total_segments": 1,
                    "allocated": 0,
                    "available": 1,
                    "quarantined": 0,
                    "disabled": 0,
                    "utilization": 0.0,
                    "held_elsewhere": 0,
                },
            ],
        )

    def test_only_pools_that_the_user_may_view(self):
        self.get(self.url, status=403)
        self.grant("view", model=SegmentPool, vrf__name="Network1")
        self.assertEqual([row["pool"] for row in self.get(self.url)], [self.pool.pk])
        self.client.credentials()
        self.get(self.url, status=403)

    def test_filters(self):
        self.grant("view", model=SegmentPool)
        for params, expected in (
            ({"site": "site1"}, [self.pool.pk]),
            ({"region": "region1"}, [self.other_pool.pk]),
            ({"vrf_id": self.pool.vrf_id}, [self.pool.pk]),
            ({"q": "network2"}, [self.other_pool.pk]),
            ({"contains": "10.2.3.4"}, [self.other_pool.pk]),
            ({"tag": "nothing"}, None),
        ):
            if expected is None:
                self.assertEqual(self.get(self.url, params, status=400)["code"], "invalid")
            else:
                self.assertEqual([row["pool"] for row in self.get(self.url, params)], expected, params)

    def test_a_location_is_named_before_its_site(self):
        room = Location.objects.create(name="Room1", slug="room1", site=make_site())
        make_pool("Network3", room, container="10.3.0.0/16")
        names = {row.pool_name: row.site for row in pool_statistics(SegmentPool.objects.all())}
        self.assertEqual(names["Network3 Room1"], "Room1")

    def test_calls_take_as_many_queries_for_many_pools(self):
        self.grant("view", model=SegmentPool)
        counts = []
        for number in (4, 8):
            for index in range(number):
                pool = make_pool(f"Network{number}{index}", "Site1", container="10.9.0.0/16", segments=1)
                allocate("a", pool=pool, user=self.user, places=(f"dcim.site:{pool.scope_id}",))
            self.get(self.url)
            with CaptureQueriesContext(connection) as queries:
                self.get(self.url)
            counts.append(len(queries))
        self.assertEqual(*counts)

    def test_two_queries(self):
        with self.assertNumQueries(2):
            self.assertEqual(len(pool_statistics(SegmentPool.objects.all())), 2)


class ExportTestCase(Inventory):
    def setUp(self):
        super().setUp()
        self.segments_url, self.statistics_url = url_of("export-segments"), url_of("export-statistics")

    def export(self, url=None, client=None, **params):
        response = (client or self.client).get(url or self.segments_url, params)
        self.assertEqual(response.status_code, 200, getattr(response, "data", None))
        # Read to the end: an open stream keeps a cursor of the test's transaction.
        response.chunks = list(response.streaming_content)
        response.body = b"".join(response.chunks)
        return response

    def rows(self, url=None, **params):
        """Return the rows of a CSV as dicts."""
        return list(csv.DictReader(io.StringIO(self.export(url, **params).body.decode())))

    def test_segments(self):
        self.grant("view", model=Segment)
        self.grant("view", model=Allocation)
        first, second, *others = self.rows()
        held, released = Allocation.objects.order_by("pk")
        self.assertEqual(
            first,
            {
                "Site": "Site1",
                "VRF": "Network1",
                "VLAN ID": "100",
                "EPG Name": "EPG_100",
                "Segment": "10.0.0.0/24",
                "DHCP": "False",
                "Description": "",
                "Cluster": "prod-01",
                "Allocated At": held.allocated_at.isoformat(timespec="seconds"),
                "Released At": "",
                "Status": "allocated",
                "IPv6 Prefix": "",
                "Pool": "network1-site1",
                "Purpose": "",
                "Expires At": "",
                "Disabled Reason": "",
                "Quarantined Until": "",
                "Comments": "",
                "Gateway": "",
                "IPv6 Gateway": "",
            },
        )
        self.assertEqual(
            (second["Cluster"], second["Allocated At"], second["Released At"], second["Status"]),
            ("", "", released.released_at.isoformat(timespec="seconds"), "available"),
        )
        self.assertEqual([(row["Site"], row["VLAN ID"]) for row in others], [("Site1", "102"), ("Region1", "100")])

    def test_formats(self):
        self.grant("view", model=Segment)
        self.grant("view", model=SegmentPool)
        for url, name, first in (
            (self.segments_url, "segments", "Site1"),
            (self.statistics_url, "statistics", self.pool.pk),
        ):
            for file_format, content_type in (("csv", "text/csv"), ("json", "application/json"), ("xlsx", XLSX)):
                response = self.export(url, format=file_format)
                self.assertTrue(response.streaming)
                self.assertEqual(response.headers["Content-Type"].split(";")[0], content_type)
                self.assertEqual(
                    response.headers["Content-Disposition"], f'attachment; filename="{name}.{file_format}"'
                )
                content = response.body
                if file_format == "json":
                    self.assertEqual(next(iter(json.loads(content)[0].values())), first)
                elif file_format == "xlsx":
                    rows = list(openpyxl.load_workbook(io.BytesIO(content)).active.values)
                    self.assertEqual(rows[1][0], first)
                else:
                    self.assertEqual(content.decode().splitlines()[1].split(",")[0], str(first))
            self.assertEqual(self.export(url).headers["Content-Type"].split(";")[0], "text/csv")

    def test_json(self):
        self.grant("view", model=Segment)
        segment = json.loads(self.export(format="json").body)[0]
        self.assertEqual((segment["vlan_id"], segment["dhcp"], segment["segment"]), (100, False, "10.0.0.0/24"))

    def test_statistics(self):
        self.grant("view", model=SegmentPool, vrf__name="Network1")
        self.assertEqual(
            self.rows(self.statistics_url),
            [
                {
                    "Pool ID": str(self.pool.pk),
                    "Pool": "Network1 Site1",
                    "Site": "Site1",
                    "VRF": "Network1",
                    "Total Segments": "3",
                    "Allocated": "1",
                    "Available": "2",
                    "Quarantined": "0",
                    "Disabled": "0",
                    "Utilization": "33.3",
                    "Held Elsewhere": "0",
                }
            ],
        )

    def test_nothing_to_export(self):
        self.grant("view", model=Segment)
        self.assertEqual(json.loads(self.export(format="json", vid=4000).body), [])
        self.assertEqual(len(self.export(vid=4000).body.decode().splitlines()), 1)
        workbook = openpyxl.load_workbook(io.BytesIO(self.export(format="xlsx", vid=4000).body))
        self.assertEqual(len(list(workbook.active.values)), 1)

    def test_what_the_user_may_not_view_does_not_show(self):
        for url in (self.segments_url, self.statistics_url):
            self.assertEqual(self.get(url, status=403)["code"], "permission_denied")
        self.grant("view", model=Segment, pool__vrf__name="Network1")
        self.grant("view", model=Allocation, cluster_name="another")
        rows = self.rows()
        self.assertEqual({row["VRF"] for row in rows}, {"Network1"})
        self.assertEqual({row["Cluster"] + row["Allocated At"] + row["Released At"] for row in rows}, {""})
        self.assertEqual(self.rows(cluster_name="prod-01"), [])
        self.client.credentials()
        self.get(self.segments_url, status=403)

    def test_filters(self):
        self.grant("view", model=Segment)
        self.assertEqual([row["VLAN ID"] for row in self.rows(status="available", site="site1")], ["101", "102"])
        self.assertEqual([row["Site"] for row in self.rows(q="10.2")], ["Region1"])
        for params in ({"format": "pdf"}, {"format": ""}, {"within": "x"}, {"vid": "x"}):
            error = self.get(self.segments_url, params, status=400)
            self.assertEqual((error["code"], list(error["errors"])), ("invalid", list(params)))

    def test_formulas_and_control_characters(self):
        self.grant("view", model=Segment)
        texts = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "plain", 'with "quotes", and\nlines', "bell\x07")
        for number, text in enumerate(texts):
            make_segment(self.pool, 200 + number, 200 + number, description=text)
        stored = [row["Description"] for row in self.rows(vid__gte=200)]
        # Descriptions are not trimmed: the tab and the line end stay, the latter as a line feed. Some spreadsheets skip
        # white space before a formula.
        self.assertEqual(stored[:4], [f"'{text}" for text in texts[:4]])
        self.assertEqual(stored[4:6], ["'\t'=1", "'\n'=1"])
        self.assertEqual(stored[6:8], list(texts[6:8]))
        workbook = openpyxl.load_workbook(io.BytesIO(self.export(format="xlsx", vid__gte=200).body))
        cells = [row[6] for row in list(workbook.active.rows)[1:]]
        self.assertEqual({cell.data_type for cell in cells}, {"s"})
        self.assertEqual((cells[0].value, cells[8].value), ("'=1+1", "bell"))
        exported = json.loads(self.export(format="json", vid__gte=200).body)
        # All formats have the same line breaks, so an import of any of them gives the same text.
        self.assertEqual([row["description"] for row in exported], [text.replace("\r", "\n") for text in texts])

    def test_an_epg_name_that_looks_like_a_formula(self):
        self.grant("view", model=Segment)
        make_segment(self.pool, 200, 200, epg_name="-1")
        self.assertEqual(self.rows(vid=200)[0]["EPG Name"], "'-1")

    def test_more_rows_than_a_chunk(self):
        self.grant("view", model=Segment)
        with patch("netbox_vlan_manager.services.reporting.export.CHUNK_SIZE", 2):
            self.assertEqual(len(self.rows()), 4)
            self.assertEqual(len(json.loads(self.export(format="json").body)), 4)
            self.assertGreater(len(self.export().chunks), 2)

    def test_number_of_queries_does_not_grow(self):
        self.grant("view", model=Segment)
        self.grant("view", model=Allocation)
        self.export()
        numbers = []
        for vid in (150, 151):
            with CaptureQueriesContext(connection) as queries:
                self.export()
            numbers.append(len(queries))
            make_segment(self.pool, vid, vid)
        self.assertEqual(numbers[0], numbers[1])
