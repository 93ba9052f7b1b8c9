import pytest
from django.urls import reverse

from core.models import ObjectChange
from dcim.models import Region, Site
from django.contrib.contenttypes.models import ContentType
from ipam.models import VRF, Prefix, VLANGroup
from netbox_vlan_manager.models import SegmentPool
from netbox_vlan_manager.services import allocate
from tests.factories import make_pool, make_segment, make_site, make_user, make_vrf, permit
from tests.ui.base import PluginViewMixin
from utilities.testing import ViewTestCases, create_tags


class SegmentPoolTestCase(PluginViewMixin, ViewTestCases.PrimaryObjectViewTestCase):
    model = SegmentPool
    # What the form gives the service and does not come back under the same name.
    validation_excluded_fields = ("scope_content_type", "scope_object_id", "vid_ranges", "new_prefixes")

    @classmethod
    def setUpTestData(cls):
        pools = [make_pool(scope=f"Site{number}", container=f"10.{number}.0.0/16") for number in (1, 2, 3)]
        site = make_site("Site9")
        for number in (4, 5, 6):
            make_site(f"Site{number}")
        tags = create_tags("Alpha", "Bravo", "Charlie")

        cls.form_data = {
            "name": "Pool X",
            "slug": "pool-x",
            "status": "paused",
            "vrf": pools[0].vrf.pk,
            "scope_content_type": ContentType.objects.get_for_model(Site).pk,
            "scope_object_id": site.pk,
            "vlan_group": pools[0].vlan_group.pk,
            "prefixes": [pools[0].prefixes.get().pk],
            "min_prefix_length": 20,
            "max_prefix_length": 28,
            "description": "A new pool",
            "comments": "Some comments",
            "tags": [tag.pk for tag in tags],
        }

        cls.csv_data = {
            "default": (
                "name,vrf,scope_type,scope_name,vid_ranges,prefixes",
                'Pool 4,Network1,dcim.site,Site4,100-199,"10.4.0.0/16,10.14.0.0/16"',
                "Pool 5,Network1,dcim.site,Site5,\"100-199,300\",10.5.0.0/16",
                "Pool 6,Network1,dcim.site,Site6,,10.6.0.0/16",
            ),
            "all columns": (
                "name,slug,status,vrf,scope_type,scope_id,vlan_group,prefixes,min_prefix_length,max_prefix_length,"
                "description,comments,tags",
                f"Pool 7,pool-7,paused,Network1,dcim.site,{site.pk},Network1-Site1,10.1.0.0/16,20,28,"
                'Seven,Remark,"alpha,bravo"',
            ),
        }

        cls.csv_update_data = (
            "id,name,description",
            f"{pools[0].pk},Pool 7,New description7",
            f"{pools[1].pk},Pool 8,New description8",
            f"{pools[2].pk},Pool 9,New description9",
        )

        cls.bulk_edit_data = {
            "description": "Foo",
            "status": "paused",
            "min_prefix_length": 18,
            "max_prefix_length": 26,
        }
