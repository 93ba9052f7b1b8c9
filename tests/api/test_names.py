"""
A call uses every name of its body and query string, or refuses it. Names that shape the answer change nothing else.
"""

from uuid import uuid4

import pytest
from django.apps import apps
from django.db import transaction

from core.models import Job, ObjectType
from dcim.models import SiteGroup
from extras.models import CustomField, SavedFilter, Tag
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, disable_segment, release
from tests.api.base import NAMESPACE, PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_user
from tests.permissions.matrix import endpoints

# Calls that ignore unknown names, as NetBox's own do, but refuse names that other calls use.
LIKE_NETBOX = {
    (method, f"{model}-{kind}")
    for model in ("segmentpool", "segment", "allocation")
    for method, kind in (
        ("POST", "list"),
        ("PUT", "list"),
        ("PATCH", "list"),
        ("DELETE", "list"),
        ("PUT", "detail"),
        ("PATCH", "detail"),
        ("DELETE", "detail"),
    )
} - {("POST", "allocation-list"), ("DELETE", "allocation-list"), ("DELETE", "allocation-detail")}

# Parameters that clients add, misspell or guess.
SHAPES = ("fields=id", "fields=nonsense", "omit=id", "omit=dry_run,cluster_name,pool,prefix,prefixes,vid", "brief=true")
UNKNOWN = (
    "nonsense=1",
    "dryrun=true",
    "dry-run=true",
    "DRY_RUN=true",
    "exclude=segment",
    "pool_id=1",
    "cluster_name=x",
    "limit=1",
    "_=1",
)


def state():
    """Return the contents of the tables, without values that differ between any two tries."""
    return [
        sorted(objects.values_list(*names), key=repr)
        for objects, names in (
            (Allocation.objects.active(), ("cluster_name", "purpose", "vid", "expires_at", "description")),
            (Allocation.objects, ("cluster_name", "purpose", "vid")),
            (Segment.objects, ("vid", "status", "pool__name", "prefix__prefix", "disabled_reason", "description")),
            (SegmentPool.objects, ("name", "status", "description", "vlan_group__vid_ranges")),
            (SegmentPool.objects, ("name", "prefixes__prefix")),
            (Prefix.objects, ("prefix", "status", "description")),
            (VLAN.objects, ("vid", "name", "description")),
            # Without the jobs of dry runs, which are expected.
            (Job.objects.exclude(data__dry_run=True), ("name",)),
        )
    ]


@pytest.mark.slow("Every call of the API, with names that it does not know")
class NamesTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = make_user("root", is_superuser=True)
        cls.pool = make_pool(segments=8)
        cls.other = make_pool("Network1", "Site2", container="10.1.0.0/16", vid_ranges=((900, 919),), segments=1)
        cls.held = allocate("held", pool=cls.pool, user=cls.root, vid=100).allocation
        cls.released = allocate("released", pool=cls.pool, user=cls.root, vid=105).allocation
        release("released", pool=cls.pool, user=cls.root)
        cls.segments = {segment.vid: segment for segment in cls.pool.segments.all()}
        disable_segment(cls.segments[107], user=cls.root)
        Segment.objects.filter(pk=cls.segments[106].pk).update(status="quarantined")
        cls.calls = cls.get_calls()

    @classmethod
    def get_calls(cls):
        """Return {(method, name of the URL): (id, body)} of each writing call; each body changes something."""
        pool, held, free = cls.pool.pk, cls.held.pk, cls.segments[103].pk
        site = {"site": "Site1", "vrf": "Network1"}
        place = {"scope_type": "dcim.sitegroup", "scope_id": SiteGroup.objects.create(name="Group", slug="group").pk}
        new_pool = {"vrf": cls.pool.vrf_id, "prefixes": ["10.9.0.0/16"], "vid_ranges": "1-9", **place}
        twin = make_pool("Network2", "Site1", container="10.2.0.0/16", segments=8)
        old_pool = {
            "name": cls.pool.name,
            "slug": cls.pool.slug,
            "vrf": cls.pool.vrf_id,
            "scope_type": "dcim.site",
            "scope_id": cls.pool.scope_id,
            "prefixes": [cls.pool.prefixes.get().pk],
            "description": "new",
        }
        old_segment = {"pool": pool, "vid": 103, "epg_name": "EPG_103", "prefix": "10.0.3.0/24", "description": "new"}
        row = {"site": "Site1", "vrf": "Network1", "vlan_id": 200, "epg_name": "E", "segment": "10.0.200.0/24"}
        described = {"description": "new"}
        return {
            ("POST", "allocate-vlan"): (None, {"cluster_name": "new", **site}),
            ("POST", "release-vlan"): (None, {"cluster_name": "held", **site}),
            ("POST", "segment-import"): (None, {"rows": [row]}),
            ("POST", "drift-repair"): (None, {"all": True}),
            ("POST", "migrate-first-generation"): (None, {}),
            ("POST", "segmentpool-list"): (None, new_pool),
            ("PUT", "segmentpool-list"): (None, [{"id": pool, **old_pool}]),
            ("PATCH", "segmentpool-list"): (None, [{"id": pool, **described}]),
            ("DELETE", "segmentpool-list"): (None, [{"id": cls.make_empty().pk}]),
            ("PUT", "segmentpool-detail"): (pool, old_pool),
            ("PATCH", "segmentpool-detail"): (pool, described),
            ("DELETE", "segmentpool-detail"): (cls.make_empty().pk, None),
            ("POST", "segmentpool-adopt"): (pool, {"all": True}),
            ("POST", "segmentpool-generate"): (pool, {"count": 2, "prefix_length": 24}),
            ("POST", "segmentpool-merge"): (cls.other.pk, {"into": pool}),
            ("POST", "segmentpool-retire"): (pool, {}),
            ("POST", "segmentpool-resize"): (pool, {"vid_ranges": "100-300"}),
            ("POST", "segment-list"): (None, {**old_segment, "vid": 150, "epg_name": "E", "prefix": "10.0.50.0/24"}),
            ("PUT", "segment-list"): (None, [{"id": free, **old_segment}]),
            ("PATCH", "segment-list"): (None, [{"id": free, **described}]),
            ("DELETE", "segment-list"): (None, [{"id": free}]),
            ("PUT", "segment-detail"): (free, old_segment),
            ("PATCH", "segment-detail"): (free, described),
            ("DELETE", "segment-detail"): (free, None),
            ("POST", "segment-disable"): (free, {"reason": "broken"}),
            ("POST", "segment-enable"): (cls.segments[107].pk, {}),
            ("POST", "segment-end-quarantine"): (cls.segments[106].pk, {}),
            ("POST", "segment-share"): (cls.segments[100].pk, {"cluster_name": "new"}),
            ("PUT", "segment-clusters"): (cls.segments[100].pk, {"cluster_names": ["new", "newer"]}),
            ("POST", "allocation-list"): (None, {"cluster_name": "new", "pool": pool, "vid": 104, "purpose": "p"}),
            ("PUT", "allocation-list"): (None, [{"id": held, "cluster_name": "held", **described}]),
            ("PATCH", "allocation-list"): (None, [{"id": held, **described}]),
            ("DELETE", "allocation-list"): (None, [{"id": held}]),
            ("PUT", "allocation-detail"): (held, {"cluster_name": "held", **described}),
            ("PATCH", "allocation-detail"): (held, described),
            ("DELETE", "allocation-detail"): (held, None),
            ("POST", "allocation-stretched"): (None, {"cluster_name": "new", "pools": [pool, twin.pk]}),
            ("POST", "allocation-release"): (held, {}),
            ("POST", "allocation-hand-over"): (held, {"cluster_name": "new"}),
            ("POST", "allocation-undo-release"): (cls.released.pk, {}),
            ("POST", "allocation-renew"): (held, {"expires_at": "2030-01-01T00:00:00Z"}),
        }

    @classmethod
    def make_empty(cls):
        name = f"Empty{SegmentPool.objects.count()}"
        return make_pool(name, name)

    def setUp(self):
        super().setUp()
        self.client = client_of(self.root)

    def send(self, call, query="", body=None):
        """Make a call, roll it back, and return the status, the body of the answer and the state after the call."""
        (method, name), (pk, usual) = call, self.calls[call]
        body = usual if body is None else body
        url = url_of(name, **({"pk": pk} if pk else {}))
        with transaction.atomic():
            response = getattr(self.client, method.lower())(f"{url}?{query}", body, format="json")
            after = state()
            transaction.set_rollback(True)
        return response.status_code, response.json() if response.content else None, after

    def check_refused(self, answer, before, call, *names):
        """Check that a call was refused for these names, in its error format, and changed nothing."""
        status, body, after = answer
        self.assertEqual((status, after == before), (400, True), body)
        if call in LIKE_NETBOX:
            return
        self.assertEqual(body["code"], "invalid", body)
        if isinstance(body["errors"], dict):
            self.assertEqual(set(body["errors"]), set(names), body)
            self.assertTrue(body["detail"])

    def test_all_writing_calls_are_here(self):
        prefix = f"{NAMESPACE}-api:"
        found = {
            (method, name.removeprefix(prefix))
            for method, name in endpoints()
            if name.startswith(prefix) and method != "GET" and "/" not in name
        }
        self.assertEqual(found, set(self.calls))

    def test_usual_calls(self):
        """Each call changes something; otherwise the other tests would prove nothing."""
        before = state()
        quiet = {("POST", "drift-repair"), ("POST", "segmentpool-adopt")}
        for call in self.calls:
            with self.subTest(call):
                status, body, after = self.send(call)
                if call not in quiet:
                    self.assertLess(status, 300, body)
                    self.assertNotEqual(after, before)

    def test_answer_shapes(self):
        before = state()
        for call in self.calls:
            usual = self.send(call)
            for query in SHAPES:
                with self.subTest(call, query=query):
                    status, body, after = self.send(call, query)
                    if status == 400:
                        self.assertEqual(after, before)
                        self.assertNotIn(call, LIKE_NETBOX)
                    else:
                        self.assertEqual((status, after), (usual[0], usual[2]), body)

    def test_dry_run(self):
        """Wherever a client gives `dry_run`, the call changes nothing, and the answer does not claim a change."""
        before = state()
        for call, (_pk, usual) in self.calls.items():
            with self.subTest(call):
                in_query = self.send(call, "dry_run=true")
                if isinstance(usual, list):
                    in_body = self.send(call, body=[{**one, "dry_run": True} for one in usual])
                else:
                    in_body = self.send(call, body={**(usual or {}), "dry_run": True})
                for status, body, after in (in_query, in_body):
                    self.assertEqual(after, before)
                    self.assertIn(status, (200, 202, 400), body)
                if isinstance(usual, dict):
                    self.assertEqual(in_query[0], in_body[0])
                    both = self.send(call, "dry_run=false", {**usual, "dry_run": True})
                    for status, _body, after in (both, self.send(call, "dry_run=maybe")):
                        self.assertEqual((status, after), (400, before))

    def test_unknown_in_query(self):
        before = state()
        for call in self.calls:
            for query in UNKNOWN:
                with self.subTest(call, query=query):
                    self.check_refused(self.send(call, query), before, call, query.partition("=")[0])

    def test_unknown_in_body(self):
        before = state()
        for call, (_pk, usual) in self.calls.items():
            if not isinstance(usual, dict):
                continue
            for name in ("nonsense", "dryrun", "vlan_id", "Cluster_Name"):
                with self.subTest(call, name=name):
                    answer = self.send(call, body={**usual, name: 1})
                    if call in LIKE_NETBOX and name in ("nonsense", "Cluster_Name"):
                        self.assertLess(answer[0], 300)
                        self.assertEqual(answer[2], self.send(call)[2])
                    else:
                        self.check_refused(answer, before, call, name)

    def test_unknown_in_list(self):
        body = self.post(
            url_of("allocation-list"),
            [{"cluster_name": "a", "pool": self.pool.pk}, {"cluster_name": "b", "pool": self.pool.pk, "vlan_id": 1}],
            status=400,
        )
        self.assertEqual([(one["index"], list(one["errors"])) for one in body["errors"]], [(1, ["vlan_id"])])
        self.assertIn("Did you mean vid?", body["errors"][0]["errors"]["vlan_id"][0])

    def test_reads(self):
        """An unknown filter that was ignored would answer with more objects than the client asked for."""
        for name, pk in (
            ("statistics", None),
            ("export-segments", None),
            ("export-statistics", None),
            ("drift", None),
            ("segmentpool-available-segments", self.pool.pk),
            ("segmentpool-forecast", self.pool.pk),
            ("segmentpool-adoptable", self.pool.pk),
        ):
            url = url_of(name, **({"pk": pk} if pk else {}))
            with self.subTest(name):
                for query in ("nonsense=1", "pools=1", "dry_run=true", "omitt=id"):
                    body = self.get(f"{url}?{query}", status=400)
                    self.assertEqual((body["code"], list(body["errors"])), ("invalid", [query.partition("=")[0]]))
                response = self.client.get(f"{url}?_=1", headers={"Accept": "application/json"})
                if response.streaming:
                    # Read to the end: an open stream keeps a cursor of the test's transaction.
                    response.getvalue()
                self.assertEqual(response.status_code, 200)

    def test_lists(self):
        """A misspelt filter is refused; what NetBox's own clients and pages send is not."""
        field = CustomField.objects.create(name="rack", type="text")
        field.object_types.set(ObjectType.objects.get_for_models(SegmentPool, Segment, Allocation).values())
        Tag.objects.create(name="x", slug="x")
        allowed = (
            "limit=5&offset=1&ordering=id&brief=true&fields=id&omit=tags&format=json&_=1",
            "q=x&tag=x&tag__n=x&id=1&id__n=2&created__gte=2026-01-01&created_by_request=" + str(uuid4()),
            "cf_rack=a&description__empty=true&site=x&site__n=y&start=0&limit=2",
        )
        for name in ("segmentpool", "segment", "allocation"):
            url = url_of(f"{name}-list")
            for query in (
                "held=2026-01-01",
                "site_idd=1",
                "cf_rak=a",
                "vid__around=1",
                "depth=1",
                "_branch=x",
                "held-at=1",
            ):
                with self.subTest(name, query=query):
                    errors = self.get(f"{url}?{query}", status=400)
                    self.assertEqual(list(errors), [query.partition("=")[0]])
                    self.assertIn("/api/schema/swagger-ui/", errors[query.partition("=")[0]][0])
            for query in allowed:
                with self.subTest(name, query=query):
                    self.get(f"{url}?{query}")
            pk = apps.get_model("netbox_vlan_manager", name).objects.first().pk
            self.get(f"{url}{pk}/?fields=id&_=1")
            self.get(f"{url}{pk}/?nonsense=1", status=400)
        errors = self.get(f"{url_of('allocation-list')}?held=2026-01-01", status=400)
        self.assertIn("Did you mean held_at?", errors["held"][0])

    def test_saved_filters(self):
        """A saved filter holds the parameters of the page it was saved on. Those of the page itself filter nothing."""
        url = url_of("segment-list")
        for number, (parameters, status) in enumerate(
            (
                ({"vid": ["103"], "pool": [self.pool.slug], "per_page": ["50"], "sort": ["vid"]}, 200),
                ({"viid": ["103"]}, 400),
            )
        ):
            saved = SavedFilter.objects.create(
                name=f"Saved {number}", slug=f"saved-{number}", parameters=parameters, user=self.root
            )
            saved.object_types.set([ObjectType.objects.get_for_model(Segment)])
            for query in (f"filter={saved.slug}", f"filter_id={saved.pk}"):
                body = self.get(f"{url}?{query}", status=status)
                self.assertEqual(body.get("count", list(body)), 1 if status == 200 else ["viid"])

    def test_pool_filters(self):
        for query in (f"pool_id={self.pool.pk}", f"pool={self.pool.slug}"):
            rows = self.get(f"{url_of('statistics')}?{query}")
            self.assertEqual([row["pool"] for row in rows], [self.pool.pk])
            for name, count in (("export-statistics", 1), ("export-segments", 8)):
                response = self.client.get(f"{url_of(name)}?format=json&{query}")
                self.assertEqual((response.status_code, response.getvalue().count(b"{")), (200, count))
