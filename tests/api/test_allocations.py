from netbox_vlan_manager.models import Allocation
from netbox_vlan_manager.services import allocate
from tests.api.base import ModelTests
from tests.factories import make_pool, make_user
from utilities.testing import APIViewTestCases


class AllocationTestCase(
    ModelTests,
    APIViewTestCases.GetObjectViewTestCase,
    APIViewTestCases.ListObjectsViewTestCase,
    APIViewTestCases.UpdateObjectViewTestCase,
):
    model = Allocation
    brief_fields = ["cluster_name", "description", "display", "id", "purpose", "status", "url"]
    update_data = {"description": "Changed", "comments": "At length"}
    bulk_update_data = {"description": "New description"}
    bulk_update_invalid_data = {"description": "x" * 300}

    @classmethod
    def setUpTestData(cls):
        pool = make_pool(segments=4)
        for index in range(3):
            allocate(f"prod-{index}", pool=pool, user=make_user())
