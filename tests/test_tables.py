from netbox_vlan_manager import tables
from utilities.testing import TableTestCases


class SegmentPoolTableTestCase(TableTestCases.StandardTableTestCase):
    table = tables.SegmentPoolTable


class SegmentTableTestCase(TableTestCases.StandardTableTestCase):
    table = tables.SegmentTable


class AllocationTableTestCase(TableTestCases.StandardTableTestCase):
    table = tables.AllocationTable
