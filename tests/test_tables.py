from netbox_vlan_manager import tables
from netbox_vlan_manager.models import Allocation, Segment
from utilities.testing import TableTestCases


class SegmentPoolTableTestCase(TableTestCases.StandardTableTestCase):
    table = tables.SegmentPoolTable


class SegmentTableTestCase(TableTestCases.StandardTableTestCase):
    table = tables.SegmentTable


class AllocationTableTestCase(TableTestCases.StandardTableTestCase):
    table = tables.AllocationTable


class PoolSegmentTableTestCase(TableTestCases.StandardTableTestCase):
    table = tables.PoolSegmentTable
    queryset_sources = [("SegmentPoolSegmentsView", Segment.objects.all())]


class PoolAllocationTableTestCase(TableTestCases.StandardTableTestCase):
    table = tables.PoolAllocationTable
    queryset_sources = [("SegmentPoolAllocationsView", Allocation.objects.all())]


class SegmentAllocationTableTestCase(TableTestCases.StandardTableTestCase):
    table = tables.SegmentAllocationTable
    queryset_sources = [("SegmentHistoryView", Allocation.objects.all())]
