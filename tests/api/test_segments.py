from netbox_vlan_manager.models import Segment
from tests.api.base import ModelTests
from tests.factories import make_pool
from utilities.testing import APIViewTestCases


class SegmentTestCase(
    ModelTests,
    APIViewTestCases.GetObjectViewTestCase,
    APIViewTestCases.ListObjectsViewTestCase,
    APIViewTestCases.CreateObjectViewTestCase,
    APIViewTestCases.UpdateObjectViewTestCase,
    APIViewTestCases.DeleteObjectViewTestCase,
):
    model = Segment
    brief_fields = ["description", "display", "epg_name", "id", "prefix", "url", "vid"]
    bulk_update_data = {"description": "New description", "dhcp": True}
    bulk_update_invalid_data = {"vid": 5000}
    user_permissions = ("netbox_vlan_manager.view_segmentpool",)
    # A CIDR, which the model has as a Prefix.
    validation_excluded_fields = ("prefix",)

    @classmethod
    def setUpTestData(cls):
        pool = make_pool(segments=3)
        cls.create_data = [
            {
                "pool": pool.pk,
                "vid": 200 + index,
                "epg_name": f"EPG_{200 + index}",
                "prefix": f"10.0.{200 + index}.0/24",
                "dhcp": True,
                "description": "New",
            }
            for index in range(3)
        ]
        cls.update_data = {"dhcp": True, "description": "Changed", "comments": "At length"}
