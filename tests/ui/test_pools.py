import ast
import inspect
import json
import re

import pytest
from django.contrib.contenttypes.models import ContentType
from django.contrib.messages import get_messages
from django.utils.text import slugify

from core.models import ObjectChange, ObjectType
from dcim.models import Site
from extras.models import CustomField
from ipam.models import VRF, Prefix, VLANGroup
from netbox_vlan_manager import validators
from netbox_vlan_manager.forms import SegmentPoolForm
from netbox_vlan_manager.models import Segment, SegmentPool, pools
from netbox_vlan_manager.models.pools import CONSTRAINT_FIELDS
from netbox_vlan_manager.services import allocate, delete_segment, release_allocation
from netbox_vlan_manager.services.pools import parts, provisioning
from tests.factories import make_pool, make_segment, make_site, make_user, make_vrf, permit
from tests.ui.base import PluginViewMixin
from utilities.testing import ViewTestCases, create_tags


class SegmentPoolTestCase(PluginViewMixin, ViewTestCases.PrimaryObjectViewTestCase):
    model = SegmentPool
    # Form fields that have no model field of the same name.
    validation_excluded_fields = ("scope_content_type", "scope_object_id", "vid_ranges", "new_prefixes")

    @classmethod
    def setUpTestData(cls):
        pools = [make_pool(scope=f"Site{number}", container=f"10.{number}.0.0/16") for number in (1, 2, 3)]
        site = make_site("Site9")
        for number in (4, 5, 6):
            make_site(f"Site{number}")
        tags = create_tags("Alpha", "Bravo", "Charlie")

        # To share another pool's VLAN group or network, a user needs the permission to change that pool.
        groups = [VLANGroup.objects.create(name=name, slug=slugify(name)) for name in ("Group 1", "Group 2")]
        container = Prefix.objects.create(prefix="10.8.0.0/16", vrf=pools[0].vrf, status="container")

        cls.form_data = {
            "name": "Pool X",
            "slug": "pool-x",
            "status": "paused",
            "vrf": pools[0].vrf.pk,
            "scope_content_type": ContentType.objects.get_for_model(Site).pk,
            "scope_object_id": site.pk,
            "vlan_group": groups[0].pk,
            "prefixes": [container.pk],
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
                'Pool 5,Network1,dcim.site,Site5,"100-199,300",10.5.0.0/16',
                "Pool 6,Network1,dcim.site,Site6,,10.6.0.0/16",
            ),
            "all columns": (
                "name,slug,status,vrf,scope_type,scope_id,vlan_group,prefixes,min_prefix_length,max_prefix_length,"
                "description,comments,tags",
                f"Pool 7,pool-7,paused,Network1,dcim.site,{site.pk},Group 2,10.7.0.0/16,20,28,"
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


@pytest.fixture
def admin(client):
    user = make_user("root", is_superuser=True)
    client.force_login(user)
    return user


ADD_URL = "/plugins/vlan-manager/pools/add/"
IMPORT_URL = "/plugins/vlan-manager/pools/import/"


def form_data(**fields):
    return {
        "name": "New pool",
        "slug": "new-pool",
        "status": "active",
        "vrf": make_vrf().pk,
        "scope_content_type": ContentType.objects.get_for_model(Site).pk,
        "scope_object_id": make_site("Site9").pk,
        "new_prefixes": "10.9.0.0/16",
        **fields,
    }


def edit_data(pool, **fields):
    return {
        "name": pool.name,
        "slug": pool.slug,
        "status": pool.status,
        "vrf": pool.vrf.pk,
        "scope_content_type": pool.scope_type.pk,
        "scope_object_id": pool.scope_id,
        "vlan_group": pool.vlan_group.pk,
        "prefixes": [prefix.pk for prefix in pool.prefixes.all()],
        **fields,
    }


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


@pytest.mark.django_db
@pytest.mark.usefixtures("admin")
class TestForm:
    def test_makes_the_vlan_group_and_the_containers(self, client):
        data = form_data(vid_ranges="100-199, 300", new_prefixes="10.9.0.0/16\n10.10.0.0/16, 2001:db8::/32")
        assert client.post(ADD_URL, data).status_code == 302

        pool = SegmentPool.objects.get()
        assert pool.vlan_group.name == "Network1-Site9"
        assert pool.vlan_group.vid_ranges_list == "100-199,300"
        assert {str(prefix) for prefix in pool.prefixes.all()} == {"10.9.0.0/16", "10.10.0.0/16", "2001:db8::/32"}
        assert {prefix.status for prefix in pool.prefixes.all()} == {"container"}

    @pytest.mark.parametrize(
        ("fields", "wrong"),
        [
            ({"new_prefixes": ""}, "prefixes"),
            ({"new_prefixes": "10.9.0.1/16"}, "new_prefixes"),
            ({"new_prefixes": "10.9.0.0/16, nonsense"}, "new_prefixes"),
            ({"vid_ranges": "nonsense"}, "vid_ranges"),
            ({"vid_ranges": "200-100"}, "vid_ranges"),
            ({"vid_ranges": "0-5000"}, "vid_ranges"),
            ({"vid_ranges": "100-200,150-300"}, "vid_ranges"),
            ({"new_prefixes": "127.0.0.0/8"}, "new_prefixes"),
            ({"new_prefixes": "10.9.0.0/31"}, "new_prefixes"),
            ({"min_prefix_length": 28, "max_prefix_length": 20}, "min_prefix_length"),
            ({"min_prefix_length": 0}, "min_prefix_length"),
            ({"min_prefix_length": 33}, "min_prefix_length"),
            ({"max_prefix_length": 33}, "max_prefix_length"),
            ({"max_prefix_length": 10}, "max_prefix_length"),
            ({"warning_threshold": 60, "critical_threshold": 50}, "warning_threshold"),
            ({"critical_threshold": 50}, "warning_threshold"),
            ({"critical_threshold": 101}, "critical_threshold"),
            ({"allocation_order": "unknown"}, "allocation_order"),
            ({"release_in_use": "unknown"}, "release_in_use"),
            ({"cooldown": -1}, "cooldown"),
            ({"cooldown": "soon"}, "cooldown"),
            ({"cooldown": "11000d"}, "cooldown"),
            ({"max_per_cluster": 0}, "max_per_cluster"),
            ({"max_per_tenant": 0}, "max_per_tenant"),
            ({"max_per_request": 0}, "max_per_request"),
            ({"segment_custom_fields": "nonsense"}, "segment_custom_fields"),
            ({"segment_custom_fields": '{"unknown": 1}'}, "segment_custom_fields"),
            ({"slug": "no spaces"}, "slug"),
            ({"tenant": 0}, "tenant"),
            ({"role": 0}, "role"),
            ({"owner": 0}, "owner"),
            ({"vlan_group": 0}, "vlan_group"),
            ({"scope_object_id": ""}, "scope"),
            ({"scope_object_id": 0}, "scope"),
            ({"vrf": ""}, "vrf"),
            ({"status": "unknown"}, "status"),
            ({"status": "retiring"}, "status"),
            ({"name": "x" * 101}, "name"),
            ({"auto_grow": "on"}, "grow_prefix_length"),
            ({"grow_prefix_length": 129}, "grow_prefix_length"),
            ({"grow_prefix_length": 32}, "grow_prefix_length"),
            ({"grow_ipv6_prefix_length": 64}, "grow_ipv6_prefix_length"),
            ({"grow_limit": 0}, "grow_limit"),
            ({"grow_limit": 4095}, "grow_limit"),
            ({"epg_template": "EPG"}, "epg_template"),
            ({"epg_template": "{rack}_{vid}"}, "epg_template"),
        ],
    )
    def test_wrong_values_are_reported_at_their_field(self, client, fields, wrong):
        CustomField.objects.create(name="cost_center", type="text").object_types.set(
            [ObjectType.objects.get_for_model(Segment)]
        )
        response = client.post(ADD_URL, form_data(**fields))

        assert response.status_code == 200
        form = response.context["form"]
        assert wrong in form.errors
        assert set(form.non_field_errors()) <= {"Nothing was saved. See what is wrong in the form."}
        assert all(group.is_open for group in form.get_groups() if wrong in form._names(group.fieldset))
        assert not SegmentPool.objects.exists()
        assert not VLANGroup.objects.exists()
        assert not Prefix.objects.exists()

    def test_every_error_of_the_service_has_a_field(self):
        """Each key of a ValidationError in the services of pools, and of the model, is a field of the form."""
        keys = set(CONSTRAINT_FIELDS.values())
        for module in (provisioning, parts, pools, validators):
            tree = ast.parse(inspect.getsource(module))
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ValidationError":
                    keys |= {
                        key.value
                        for one in node.args
                        if isinstance(one, ast.Dict)
                        for key in one.keys
                        if isinstance(key, ast.Constant)
                    }
        assert len(keys) > 7
        form = SegmentPoolForm()
        assert {key for key in keys if form.error_fields.get(key, key) not in form.fields} == set()
        names = {constraint.name.split("segmentpool_")[1] for constraint in SegmentPool._meta.constraints}
        assert names == set(CONSTRAINT_FIELDS)

    def test_name_and_slug_are_made_as_rest_makes_them(self, client):
        assert client.post(ADD_URL, form_data(name="", slug="")).status_code == 302
        data = form_data(name="", slug="", scope_object_id=make_site("Site8").pk, new_prefixes="10.8.0.0/16")
        assert client.post(ADD_URL, {**data, "vrf": make_vrf("network 1").pk}).status_code == 302

        made = SegmentPool.objects.order_by("pk")
        assert [(pool.name, pool.slug) for pool in made] == [
            ("Network1 Site9", "network1-site9"),
            ("network 1 Site8", "network-1-site8"),
        ]
        errors = client.post(f"{made[0].get_absolute_url()}edit/", edit_data(made[0], name="")).context["form"].errors
        assert "name" in errors

    def test_folds_open_for_values_other_than_the_default(self, client):
        def get_open(url, **query):
            return [
                group.name
                for group in client.get(url, query).context["form"].get_groups()
                if group.labels and group.is_open
            ]

        pool = make_pool()
        edit_url = f"{pool.get_absolute_url()}edit/"
        assert get_open(ADD_URL) == get_open(edit_url) == []
        assert get_open(ADD_URL, cooldown=3600, max_prefix_length=28) == ["Size of segments", "Allocation"]
        client.post(edit_url, edit_data(pool, description="First", warning_threshold=70))
        assert get_open(edit_url) == ["Status and description", "Utilization"]
        text = client.get(edit_url).content.decode()
        assert (text.count("<details"), len(re.findall(r"<details[^>]* open>", text))) == (7, 2)

    def test_durations(self, client):
        client.post(ADD_URL, form_data(cooldown="36h"))
        pool = SegmentPool.objects.get()
        assert pool.cooldown == 36 * 3600
        assert client.get(f"{pool.get_absolute_url()}edit/").context["form"]["cooldown"].value() == "36h"
        data = {"pk": [pool.pk], "_apply": "", "cooldown": "2w"}
        assert client.post(ADD_URL.replace("add/", "edit/"), data).status_code == 302
        assert TestImport().load(client, "id,cooldown", f"{pool.pk},90m").status_code == 302
        pool.refresh_from_db()
        assert pool.cooldown == 90 * 60

    def test_empty_pool_says_so_and_offers_ways_to_fill_it(self, client):
        pool = make_pool()
        url = pool.get_absolute_url()
        response = client.post(ADD_URL, form_data(), follow=True)
        for text in (response.content.decode(), client.get(url).content.decode()):
            assert "This pool has no segments yet" in text
            assert re.search("text-bg-gray\\W+Empty", text)
            assert [path for path in ('generate/"', 'adopt/"', 'segments/import/"') if path not in text] == []
        table = client.get(ADD_URL.replace("add/", "")).context["table"]
        assert {row.get_cell_value("level") for row in table.rows} == {"Empty"}

        client.force_login(permit(make_user("viewer"), SegmentPool, "view"))
        text = client.get(url).content.decode()
        assert "This pool has no segments yet" in text
        assert [path for path in ('generate/"', 'adopt/"') if path in text] == []
        make_segment(pool, 100)
        text = client.get(url).content.decode()
        assert "This pool has no segments yet" not in text
        assert "Normal" in text

    def test_a_new_pool_cannot_be_retiring(self, client):
        pool = make_pool()
        edit_url = f"{pool.get_absolute_url()}edit/"
        for url in (ADD_URL, edit_url):
            assert dict(client.get(url).context["form"].fields["status"].choices).keys() == {"active", "paused"}
        SegmentPool.objects.update(status="retiring")
        assert "retiring" in dict(client.get(edit_url).context["form"].fields["status"].choices)

    def test_growth(self, client):
        fields = {"auto_grow": "on", "grow_prefix_length": 26, "grow_limit": 50, "epg_template": "web_{vid}"}
        assert client.post(ADD_URL, form_data(**fields)).status_code == 302

        pool = SegmentPool.objects.get()
        assert (pool.auto_grow, pool.grow_prefix_length, pool.grow_limit, pool.epg_template) == (
            True,
            26,
            50,
            "web_{vid}",
        )
        response = client.post(f"{pool.get_absolute_url()}edit/", edit_data(pool, auto_grow="on"))
        assert list(response.context["form"].errors) == ["grow_prefix_length", "__all__"]
        assert client.post(f"{pool.get_absolute_url()}edit/", edit_data(pool)).status_code == 302
        pool.refresh_from_db()
        assert (pool.auto_grow, pool.grow_prefix_length, pool.grow_limit, pool.epg_template) == (False, None, None, "")

    def test_a_heading_has_fields_below_it(self, client):
        pool = make_pool(segments=1)
        held = allocate("a", pool=pool, user="root").allocation
        seen = 0
        for path in (
            "pools/add",
            f"pools/{pool.pk}/edit",
            "segments/add",
            f"segments/{held.segment.pk}/edit",
            "allocations/allocate",
            f"allocations/{held.pk}/edit",
        ):
            text = client.get(f"/plugins/vlan-manager/{path}/").content.decode()
            headings = re.findall(r'<h2 class="col-9 offset-3">([^<]*)</h2>\s*</div>\s*(<div|</div>)', text)
            assert [name for name, following in headings if following == "</div>"] == [], path
            seen += len(headings)
        assert seen > 10

    def test_a_prefix_that_is_no_container(self, client):
        Prefix.objects.create(prefix="10.9.0.0/16", vrf=make_vrf(), status="active")

        errors = client.post(ADD_URL, form_data()).context["form"].errors
        assert "have the status Container" in errors["new_prefixes"][0]

    def test_one_pool_for_a_vrf_and_a_scope(self, client):
        make_pool(scope="Site9")

        errors = client.post(ADD_URL, form_data()).context["form"].errors
        assert "already has a pool" in errors["scope"][0]

    def test_a_vlan_group_or_the_ids_of_a_new_one(self, client):
        group = VLANGroup.objects.create(name="Fabric", slug="fabric")

        errors = client.post(ADD_URL, form_data(vlan_group=group.pk, vid_ranges="1-9")).context["form"].errors
        assert "not both" in errors["vid_ranges"][0]

    def test_a_pool_with_segments_stays_in_its_spaces(self, client):
        pool = make_pool(segments=1)
        fields = {
            "vrf": VRF.objects.create(name="Network9").pk,
            "vlan_group": VLANGroup.objects.create(name="Fabric", slug="fabric").pk,
            "prefixes": [],
            "new_prefixes": "10.9.0.0/16",
        }

        errors = client.post(f"{pool.get_absolute_url()}edit/", edit_data(pool, **fields)).context["form"].errors
        assert {"vrf", "vlan_group", "prefixes"} <= set(errors)
        assert SegmentPool.objects.get().vrf == pool.vrf
        assert not Prefix.objects.filter(prefix="10.9.0.0/16").exists()

    def test_edit_adds_containers(self, client):
        pool = make_pool(segments=1)
        response = client.post(f"{pool.get_absolute_url()}edit/", edit_data(pool, new_prefixes="10.9.0.0/16"))

        assert response.status_code == 302
        assert {str(prefix) for prefix in pool.prefixes.all()} == {"10.0.0.0/16", "10.9.0.0/16"}
        assert ObjectChange.objects.filter(changed_object_id=pool.pk, action="update").count() == 1

    def test_names_are_escaped(self, client):
        pool = make_pool(name="<script>alert(1)</script>")

        for url in (pool.get_absolute_url(), ADD_URL.replace("add/", ""), f"{pool.get_absolute_url()}edit/"):
            assert "<script>alert(1)" not in client.get(url).content.decode()


@pytest.mark.django_db
@pytest.mark.usefixtures("admin")
class TestImport:
    def load(self, client, *lines):
        data = {"data": "\n".join(lines), "format": "csv", "csv_delimiter": "auto", "import_method": "direct"}
        return client.post(IMPORT_URL, data)

    @pytest.mark.parametrize(
        ("columns", "values", "error"),
        [
            ("scope_type,scope_id", "dcim.site,9999", "scope_id: There is no object with this ID."),
            ("scope_type", "dcim.site", "scope_id: Please select a site"),
            ("scope_type,scope_name", "dcim.rack,Site9", "scope_type: Invalid object type"),
            ("scope_type,scope_name", "dcim.site,Nowhere", "scope_name:"),
            ("scope_type,scope_name,vid_ranges", "dcim.site,Site9,9-1", "vid_ranges: Range 9-1 is reversed"),
        ],
    )
    def test_says_which_column_of_which_record_is_wrong(self, client, columns, values, error):
        make_vrf(), make_site("Site9")
        response = self.load(client, f"name,vrf,prefixes,{columns}", f"New,Network1,10.9.0.0/16,{values}")

        assert response.status_code == 200
        assert any(f"Record 1 {error}" in text for text in response.context["form"].non_field_errors())
        assert not SegmentPool.objects.exists()

    def test_json(self, client):
        make_vrf(), make_site("Site9")
        record = {
            "name": "New",
            "vrf": "Network1",
            "scope_type": "dcim.site",
            "scope_name": "Site9",
            "prefixes": ["10.9.0.0/16", "10.10.0.0/16"],
            "vid_ranges": 100,
        }
        data = {"data": json.dumps([record]), "format": "json", "import_method": "direct"}

        assert client.post(IMPORT_URL, data).status_code == 302
        assert SegmentPool.objects.get().vlan_group.vid_ranges_list == "100"

    def test_update_moves_the_scope(self, client):
        pool = make_pool()
        make_site("Site9")

        assert self.load(client, "id,scope_type,scope_name", f"{pool.pk},dcim.site,Site9").status_code == 302
        assert SegmentPool.objects.get().scope.name == "Site9"
        assert self.load(client, "id,scope_type", f"{pool.pk},dcim.site").status_code == 200
        assert self.load(client, "id,status", f"{pool.pk},").status_code == 302
        assert SegmentPool.objects.get().status == "active"


@pytest.mark.django_db
@pytest.mark.usefixtures("admin")
class TestDelete:
    def test_a_pool_with_segments_stays(self, client):
        pool = make_pool(segments=2)
        url = f"{pool.get_absolute_url()}delete/"
        list_url = ADD_URL.replace("add/", "")

        for response in (client.get(url), client.post(url, {"confirm": True})):
            assert response.url == pool.get_absolute_url()
            assert (
                messages_of(response)[-1] == "Pool Network1 Site1 has segments: delete them first, or retire the pool."
            )
        assert client.get(url, headers={"HX-Request": "true"})["HX-Redirect"] == pool.get_absolute_url()
        for data in ({"pk": pool.pk}, {"pk": pool.pk, "_confirm": True, "confirm": True}, {"_all": True}):
            assert client.post(f"{list_url}delete/", data).url == list_url
        assert SegmentPool.objects.exists()

    def test_history_outlives_the_pool(self, client):
        pool = make_pool(segments=1)
        user = make_user()
        held = release_allocation(allocate("prod-01", pool=pool, user=user).allocation, user=user).allocation
        delete_segment(pool.segments.get(), user=user)

        client.post(f"{pool.get_absolute_url()}delete/", {"confirm": True})
        assert not SegmentPool.objects.exists()
        assert pool.name in client.get(held.get_absolute_url()).content.decode()


@pytest.mark.django_db
def test_usage_counts_are_those_of_the_pool(client, admin):
    pool = make_pool(segments=4)
    make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
    allocate("prod-01", pool=pool, user=admin)

    table = client.get("/plugins/vlan-manager/pools/", {"sort": "-utilization"}).context["table"]
    rows = [(row.record.name, row.get_cell_value("allocated"), row.get_cell_value("available")) for row in table.rows]
    assert rows == [("Network1 Site1", 1, 3), ("Network1 Site2", 0, 1)]
    assert "25.0%" in client.get(pool.get_absolute_url()).content.decode()
