from netbox_vlan_manager.models import Segment
from tests.factories import make_pool
from tests.ui.base import PluginViewMixin
from utilities.testing import ViewTestCases, create_tags


class SegmentTestCase(PluginViewMixin, ViewTestCases.PrimaryObjectViewTestCase):
    model = Segment
    # The form has the CIDR where the model has a prefix, and an edit leaves the pool alone.
    validation_excluded_fields = ("prefix", "pool")

    @classmethod
    def setUpTestData(cls):
        pool = make_pool(segments=3)
        segments = Segment.objects.order_by("vid")
        tags = create_tags("Alpha", "Bravo", "Charlie")

        cls.form_data = {
            "pool": pool.pk,
            "vid": 400,
            "epg_name": "EPG_new",
            "prefix": "10.0.64.0/20",
            "dhcp": True,
            "description": "A new segment",
            "comments": "Some comments",
            "tags": [tag.pk for tag in tags],
        }

        cls.csv_data = {
            "default": (
                "pool,vid,epg_name,prefix",
                f"{pool.name},500,EPG_500,10.0.100.0/24",
                f"{pool.name},501,EPG_501,10.0.101.0/24",
            ),
            "all columns": (
                "pool.slug,vid,epg_name,prefix,dhcp,description,comments,tags",
                f'{pool.slug},502,EPG_502,10.0.102.0/24,true,Some text,Remark,"alpha,bravo"',
            ),
        }

        cls.csv_update_data = (
            "id,dhcp,description",
            f"{segments[0].pk},true,New description1",
            f"{segments[1].pk},true,New description2",
            f"{segments[2].pk},true,New description3",
        )

        cls.bulk_edit_data = {
            "description": "Foo",
            "dhcp": True,
        }

    def test_edit_object_with_permission(self):
        # A new VLAN ID is written on the VLAN, which the segment follows: another change than that of the form.
        self.form_data = {**self.form_data, "vid": 100}
        super().test_edit_object_with_permission()
