"""The pages of a list together have each row once, in every order."""

import pytest
from django.test import RequestFactory
from django.utils import timezone

from netbox_vlan_manager import tables
from netbox_vlan_manager.api import views
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.reporting.snapshots import take_snapshots
from tests.api.base import PlainTestCase, client_of, url_of
from tests.factories import make_pool, make_user

LISTS = {
    "segmentpool": (SegmentPool, views.SegmentPoolViewSet, tables.SegmentPoolTable),
    "segment": (Segment, views.SegmentViewSet, tables.SegmentTable),
    "allocation": (Allocation, views.AllocationViewSet, tables.AllocationTable),
}
PAGE = 7


class OrderingTestCase(PlainTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = make_user("root", is_superuser=True)
        cls.pools = [
            make_pool(f"Network{number}", "Site1", container=f"10.{number}.0.0/16", segments=number % 3)
            for number in range(24)
        ]
        for pool in cls.pools:
            if pool.segments.count() == 2:
                for name in ("a", "b"):
                    allocate(name, pool=pool, user=cls.root)
        # All objects have the same values, as far as possible.
        now = timezone.now()
        for model, *_rest in LISTS.values():
            model.objects.update(created=now, last_updated=now)
        Allocation.objects.update(allocated_at=now)
        take_snapshots()

    def setUp(self):
        super().setUp()
        self.client = client_of(self.root)

    def check_rest(self, name):
        model, viewset, _table = LISTS[name]
        count = model.objects.count()
        self.assertGreater(count, 2 * PAGE)
        for field in ("", *viewset.ordering_fields):
            for order in (field, f"-{field}") if field else ("",):
                with self.subTest(name, order=order):
                    found = []
                    for offset in range(0, count, PAGE):
                        params = {"ordering": order, "limit": PAGE, "offset": offset, "fields": "id"}
                        found += [row["id"] for row in self.get(url_of(f"{name}-list"), params)["results"]]
                    self.assertEqual(sorted(found), sorted(model.objects.values_list("pk", flat=True)))
                    self.assertEqual(len(set(found)), count)

    @pytest.mark.slow("All pages in all orders")
    def test_pools_by_rest(self):
        self.check_rest("segmentpool")

    @pytest.mark.slow("All pages in all orders")
    def test_segments_by_rest(self):
        self.check_rest("segment")

    @pytest.mark.slow("All pages in all orders")
    def test_allocations_by_rest(self):
        self.check_rest("allocation")

    def test_orders_end_with_the_id(self):
        """Checks the SQL, because the database may return rows in a stable order by chance."""
        for model, viewset, table_class in LISTS.values():
            queryset = viewset.queryset
            for column in table_class(queryset).columns.iterall():
                if not column.orderable or column.name == "actions":
                    continue
                for order in (column.name, f"-{column.name}"):
                    with self.subTest(table_class.__name__, order=order):
                        request = RequestFactory().get("/", {"sort": order})
                        request.user = self.root
                        table = table_class(queryset)
                        table.order_by = order
                        last = table.data.data.query.order_by[-1]
                        self.assertIn(last, ("pk", "-pk", "id", "-id", "vlan__pk"))
                        self.assertEqual(len(set(table.data.data.values_list("pk", flat=True))), model.objects.count())

    def test_graphql(self):
        for name in ("segment_pool", "segment", "allocation", "pool_snapshot"):
            found, size = [], 0
            while True:
                page = f"pagination: {{offset: {len(found)}, limit: {PAGE}}}"
                answer = self.post("/graphql/", {"query": f"{{ {name}_list({page}) {{ id }} }}"})
                rows = answer["data"][f"{name}_list"]
                found += [row["id"] for row in rows]
                size = max(size, len(rows))
                if len(rows) < PAGE:
                    break
            self.assertEqual(size, PAGE)
            self.assertEqual(len(set(found)), len(found), name)

    def test_models(self):
        """Lists without an order, in GraphQL and elsewhere, use the order of the model, which is a total order."""
        for model, *_rest in LISTS.values():
            names = {name.lstrip("-").removesuffix("_id") for name in model._meta.ordering}
            unique = [{field.name} for field in model._meta.fields if field.unique] + [{"pk"}]
            unique += [set(one.fields) for one in model._meta.constraints if getattr(one, "fields", ())]
            self.assertTrue(any(one <= names for one in unique), model)

    def test_utilization(self):
        """A pool without segments sorts like a pool without allocations."""
        url = url_of("segmentpool-list")
        for order in ("utilization", "-utilization"):
            rows = self.get(url, {"ordering": order, "limit": 100})["results"]
            values = [row["utilization"] for row in rows]
            self.assertEqual(values, sorted(values, reverse=order[0] == "-"))
            table = tables.SegmentPoolTable(SegmentPool.objects.with_usage())
            table.order_by = order
            self.assertEqual([pool.pk for pool in table.data.data], [row["id"] for row in rows])
