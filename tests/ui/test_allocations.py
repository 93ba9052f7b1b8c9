from netbox_vlan_manager.models import Allocation
from netbox_vlan_manager.services import allocate, release_allocation
from tests.factories import make_pool, make_user
from tests.ui.base import PluginViewMixin
from utilities.testing import ViewTestCases, create_tags


class AllocationTestCase(
    PluginViewMixin,
    ViewTestCases.GetObjectViewTestCase,
    ViewTestCases.GetObjectChangelogViewTestCase,
    ViewTestCases.EditObjectViewTestCase,
    ViewTestCases.ListObjectsViewTestCase,
    ViewTestCases.BulkEditObjectsViewTestCase,
):
    model = Allocation

    @classmethod
    def setUpTestData(cls):
        user, pool = make_user(), make_pool(segments=3)
        for number in (1, 2, 3):
            held = allocate(f"prod-{number}", pool=pool, user=user).allocation
        release_allocation(held, user=user)
        tags = create_tags("Alpha", "Bravo", "Charlie")

        cls.form_data = {
            "description": "A new description",
            "comments": "Some comments",
            "tags": [tag.pk for tag in tags],
        }

        cls.bulk_edit_data = {
            "description": "Foo",
            "comments": "Bar",
        }
