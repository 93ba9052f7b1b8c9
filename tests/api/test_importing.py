from django.core.files.uploadedfile import SimpleUploadedFile

from core.models import ObjectChange
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.api.base import PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_user

HEADER = "site,vlan_id,epg_name,segment,vrf,dhcp,description"


class ImportTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.pool = make_pool(segments=1)
        cls.other_pool = make_pool("Network2", "Site2", container="10.2.0.0/16")

    def setUp(self):
        super().setUp()
        self.grant("view", model=SegmentPool)
        self.grant("add", "change", model=Segment, pool__vrf__name="Network1")
        self.url = url_of("segment-import")

    def row(self, vid=200, **changes):
        return {
            "site": "Site1",
            "vlan_id": vid,
            "epg_name": f"E{vid}",
            "segment": f"10.0.{vid % 256}.0/24",
            "vrf": "Network1",
            **changes,
        }

    def line(self, vid=200, separator=","):
        return separator.join(("Site1", str(vid), f"E{vid}", f"10.0.{vid % 256}.0/24", "Network1", "yes", "From CSV"))

    def post_csv(self, content, status=200, query=""):
        content = content if isinstance(content, bytes) else content.encode()
        response = self.client.post(self.url + query, content, content_type="text/csv")
        self.assertEqual(response.status_code, status, response.content)
        return response.json()

    def counts(self, answer):
        return tuple(answer[name] for name in ("created", "updated", "unchanged", "failed"))

    def test_rows(self):
        rows = [
            self.row(200, dhcp=True),
            self.row(201, description="New"),
            self.row(100, epg_name="EPG_100", segment="10.0.0.0/24"),
        ]
        answer = self.post(self.url, rows)
        self.assertEqual(self.counts(answer), (2, 0, 1, 0))
        self.assertEqual(
            answer["results"][1],
            {
                "index": 1,
                "line": None,
                "status": "created",
                "segment": Segment.objects.get(vid=201).pk,
                "errors": {},
                "changes": {},
                "warnings": [],
            },
        )
        self.assertTrue(Segment.objects.get(vid=200).dhcp)
        self.assertEqual(self.counts(self.post(self.url, rows)), (0, 0, 3, 0))
        rows[1]["description"] = "Newer"
        self.assertEqual(self.counts(self.post(self.url, {"rows": rows})), (0, 1, 2, 0))

    def test_changes_are_logged_under_the_user(self):
        self.post(self.url, [self.row()])
        changes = ObjectChange.objects.filter(user=self.user)
        self.assertCountEqual(
            changes.values_list("changed_object_type__model", flat=True), ["prefix", "segment", "vlan"]
        )
        self.assertEqual(len(set(changes.values_list("request_id", flat=True))), 1)

    def test_good_rows_land_beside_bad_ones(self):
        answer = self.post(
            self.url,
            [
                self.row(200),
                self.row(5000),
                self.row(201, site="Nowhere"),
                self.row(202, segment="10.0.0.0/25"),
                self.row(203, dhcp="perhaps", nonsense=1),
                "no row",
                None,
                self.row(200),
                {},
            ],
        )
        self.assertEqual(self.counts(answer), (1, 0, 0, 8))
        errors = [list(result["errors"]) for result in answer["results"]]
        self.assertEqual(errors[0:4], [[], ["vlan_id"], ["site"], ["segment"]])
        self.assertEqual(errors[7], ["vlan_id"])
        self.assertEqual(set(errors[8]), {"site", "vlan_id", "epg_name", "segment", "vrf"})

    def test_nothing_landed(self):
        answer = self.post(self.url, [self.row(5000)], status=400)
        self.assertEqual(self.counts(answer), (0, 0, 0, 1))

    def test_atomic(self):
        rows = [self.row(200), self.row(5000)]
        for url, body in (
            (self.url, {"rows": rows, "atomic": True}),
            (self.url + "?atomic=true", rows),
            (self.url + "?atomic=1", {"rows": rows}),
        ):
            answer = self.post(url, body, status=400)
            self.assertEqual([result["status"] for result in answer["results"]], ["skipped", "failed"])
        self.assertEqual(Segment.objects.count(), 1)
        self.assertEqual(self.counts(self.post(self.url, {"rows": rows, "atomic": False})), (1, 0, 0, 1))
        for value in ("perhaps", 5, None, []):
            error = self.post(self.url, {"rows": rows, "atomic": value}, status=400)
            self.assertEqual(list(error["errors"]), ["atomic"])

    def test_dry_run(self):
        rows = [self.row(200), self.row(5000), self.row(100, epg_name="Renamed", segment="10.0.0.0/24", dhcp=True)]
        changes = ObjectChange.objects.count()
        for url, body in (
            (self.url, {"rows": rows, "dry_run": True}),
            (self.url + "?dry_run=true", rows),
        ):
            answer = self.post(url, body)
            self.assertEqual(self.counts(answer), (1, 1, 0, 1))
            self.assertEqual(
                [(result["status"], result["segment"]) for result in answer["results"]],
                [("created", None), ("failed", None), ("updated", Segment.objects.get().pk)],
            )
            self.assertEqual(
                answer["results"][2]["changes"],
                {"epg_name": {"old": "EPG_100", "new": "Renamed"}, "dhcp": {"old": False, "new": True}},
            )
        self.assertEqual(Segment.objects.get().epg_name, "EPG_100")
        self.assertEqual(ObjectChange.objects.count(), changes)
        answer = self.post(self.url + "?dry_run=1&atomic=1", rows, status=400)
        self.assertEqual([result["status"] for result in answer["results"]], ["skipped", "failed", "skipped"])
        for url, value in ((self.url, "perhaps"), (self.url + "?dry_run=false", True)):
            error = self.post(url, {"rows": rows, "dry_run": value}, status=400)
            self.assertEqual(list(error["errors"]), ["dry_run"])
        self.assertEqual(ObjectChange.objects.count(), changes)

    def test_dry_run_of_csv(self):
        text = f"{HEADER}\n{self.line(200)}\n"
        self.assertEqual(self.counts(self.post_csv(text, query="?dry_run=true")), (1, 0, 0, 0))
        self.assertEqual(self.counts(self.upload(text, dry_run="true")), (1, 0, 0, 0))
        self.assertFalse(Segment.objects.filter(vid=200).exists())

    def test_dry_run_asks_for_the_same_permissions(self):
        row = self.row(201, site="Site2", vrf="Network2", segment="10.2.1.0/24")
        answer = self.post(self.url + "?dry_run=true", [row], status=400)
        self.assertIn("permission", answer["results"][0]["errors"]["vlan_id"][0])

    def test_csv_in_every_wrapping(self):
        for number, (text, wrap) in enumerate(
            (
                ("{header}\n{line}\n", self.post_csv),
                ("\ufeff{header}\r\n{line}\r\n", self.post_csv),
                ("{header}\n\n{line}\n\n", self.post_csv),
                ("{header}\n{line}", lambda text: self.post(self.url, {"csv": text})),
                ("\ufeff{header}\n{line}", self.upload),
            )
        ):
            vid = 300 + number
            answer = wrap(text.format(header=HEADER, line=self.line(vid)))
            self.assertEqual(self.counts(answer), (1, 0, 0, 0), text)
            self.assertEqual(answer["results"][0]["line"], 3 if "\n\n" in text else 2)
            segment = Segment.objects.get(vid=vid)
            self.assertEqual((segment.dhcp, segment.description), (True, "From CSV"))

        for number, separator in enumerate(";\t"):
            text = f"{HEADER.replace(',', separator)}\n{self.line(400 + number, separator)}\n"
            self.assertEqual(self.counts(self.post_csv(text)), (1, 0, 0, 0))

    def upload(self, text, status=200, **fields):
        data = {
            "file": SimpleUploadedFile("segments.csv", text if isinstance(text, bytes) else text.encode()),
            **fields,
        }
        response = self.client.post(self.url, data, format="multipart")
        self.assertEqual(response.status_code, status, response.content)
        return response.json()

    def test_atomic_csv(self):
        text = f"{HEADER}\n{self.line(200)}\n{self.line(5000)}\n"
        self.post_csv(text, query="?atomic=true", status=400)
        self.upload(text, atomic="true", status=400)
        self.post(self.url, {"csv": text, "atomic": True}, status=400)
        self.assertEqual(Segment.objects.count(), 1)
        self.assertEqual(self.counts(self.post_csv(text)), (1, 0, 0, 1))

    def test_csv_that_is_none(self):
        for content in (
            "\n \n",
            HEADER,
            self.line(),
            "site,vlan_id\nSite1,5",
            f"{HEADER},dhcp\n{self.line()},x",
            f"{HEADER},colour\n{self.line()},x",
            "a\0b",
            b"\xff\xfes\0i\0t\0e\0",
            '"',
        ):
            error = self.post_csv(content, status=400)
            self.assertEqual((error["code"], list(error["errors"])), ("invalid", ["csv"]), content)
        self.assertEqual(self.post_csv("", status=400)["code"], "invalid")
        self.upload(b"\xff\xfe", status=400)
        error = self.post_csv(f"{HEADER}\nonly,three,values", status=400)
        self.assertEqual(self.counts(error), (0, 0, 0, 1))

    def test_bodies_that_are_no_import(self):
        for body in (
            {},
            {"rows": [], "csv": ""},
            {"rows": {}},
            {"rows": "x"},
            {"rows": None},
            {"rows": []},
            [],
            {"csv": 5},
            {"csv": ["x"]},
            {"file": "x"},
            5,
            None,
            {"rows": [{"site": "\0"}]},
        ):
            error = self.post(self.url, body, status=400)
            self.assertEqual(error["code"], "invalid", body)
        response = self.client.post(self.url, "<x/>", content_type="application/xml")
        self.assertEqual(response.status_code, 415)

    def test_rows_with_values_of_any_type(self):
        columns = ("site", "vlan_id", "epg_name", "segment", "vrf", "dhcp")
        numbers = [1.5, 10**30]
        rows = [self.row(200, **{name: value}) for name in columns for value in ({}, [], [1], *numbers)]
        rows = [row for row in rows if row["epg_name"] not in numbers]
        # Digits, with or without a dot, are a valid name.
        rows += [self.row(201 + index, epg_name=number) for index, number in enumerate(numbers)]
        self.assertEqual(self.counts(self.post(self.url, rows)), (2, 0, 0, len(rows) - 2))
        names = Segment.objects.order_by("vid").values_list("vid", "vlan__name")
        self.assertEqual(list(names), [(100, "EPG_100"), (201, "1.5"), (202, str(10**30))])

    def test_permissions(self):
        # The second row is for a pool that the user may not change.
        rows = [self.row(), self.row(201, site="Site2", vrf="Network2", segment="10.2.1.0/24")]
        answer = self.post(self.url, rows)
        self.assertEqual(self.counts(answer), (1, 0, 0, 1))
        self.assertEqual(answer["results"][1]["segment"], None)
        self.assertFalse(Segment.objects.filter(pool=self.other_pool).exists())

        client = client_of(make_user("bob"))
        error = self.post(self.url, rows, status=403, client=client)
        self.assertEqual(error["code"], "permission_denied")
        client = client_of(self.user, write_enabled=False)
        self.post(self.url, rows, status=403, client=client)
        self.client.credentials()
        self.post(self.url, rows, status=403)

    def test_pools_that_the_user_may_not_view_do_not_show(self):
        self.user = make_user("bob")
        self.grant("add", model=Segment)
        self.grant("view", model=SegmentPool, vrf__name="Network1")
        self.client = client_of(self.user)
        answer = self.post(self.url, [self.row(site="Site2", vrf="Network2")], status=400)
        self.assertEqual(list(answer["results"][0]["errors"]), ["site"])
        self.assertNotIn(self.other_pool.name, str(answer))

    def test_the_permission_to_change_alone(self):
        self.user = make_user("bob")
        self.grant("change", model=Segment)
        self.grant("view", model=SegmentPool)
        self.client = client_of(self.user)
        rows = [self.row(), self.row(100, epg_name="Renamed", segment="10.0.0.0/24")]
        self.assertEqual(self.counts(self.post(self.url, rows)), (0, 1, 0, 1))

    def test_an_allocated_segment(self):
        allocate("prod-01", pool=self.pool, user=self.user)
        answer = self.post(self.url, [self.row(100, segment="10.0.77.0/24")], status=400)
        self.assertEqual(list(answer["results"][0]["errors"]), ["segment"])
