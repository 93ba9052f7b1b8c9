import pytest
from django.contrib.messages import get_messages

from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate, generate_segments
from tests.factories import make_pool, make_user, permit
from tests.ui.base import PluginViewMixin
from utilities.testing import ViewTestCases, create_tags


class SegmentTestCase(PluginViewMixin, ViewTestCases.PrimaryObjectViewTestCase):
    model = Segment
    # The form has a CIDR, the model a Prefix, and an edit cannot change the pool.
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

    def _get_url(self, action, instance=None):
        # NetBox's tests are for the import by NetBox's own form.
        return super()._get_url("bulk_import_objects" if action == "bulk_import" else action, instance)

    def test_edit_object_with_permission(self):
        # A new VLAN ID is written to the VLAN, and the segment follows: NetBox's test would find another logged change.
        self.form_data = {**self.form_data, "vid": 100}
        super().test_edit_object_with_permission()


LIST_URL = "/plugins/vlan-manager/segments/"


@pytest.fixture
def admin(client):
    user = make_user("root", is_superuser=True)
    client.force_login(user)
    return user


@pytest.fixture
def pool():
    return make_pool(segments=2)


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


@pytest.mark.django_db
@pytest.mark.usefixtures("admin")
class TestForm:
    def data(self, pool, **fields):
        return {"pool": pool.pk, "vid": 200, "epg_name": "EPG_200", "prefix": "10.0.99.0/24", **fields}

    def test_makes_the_vlan_and_the_prefix(self, client, pool):
        assert client.post(f"{LIST_URL}add/", self.data(pool)).status_code == 302

        segment = Segment.objects.get(vid=200)
        assert (segment.vlan.name, str(segment.prefix), segment.prefix.vrf) == ("EPG_200", "10.0.99.0/24", pool.vrf)

    @pytest.mark.parametrize(
        ("fields", "wrong"),
        [
            ({"vid": ""}, "vid"),
            ({"vid": 0}, "vid"),
            ({"vid": 4095}, "vid"),
            ({"vid": "abc"}, "vid"),
            ({"vid": 100}, "vid"),
            ({"vid": 50}, "vid"),
            ({"epg_name": "not valid"}, "epg_name"),
            ({"epg_name": "EPG_100"}, "epg_name"),
            ({"epg_name": "x" * 65}, "epg_name"),
            ({"prefix": "10.0.99.1/24"}, "prefix"),
            ({"prefix": "10.0.99.0"}, "prefix"),
            ({"prefix": "192.168.0.0/24"}, "prefix"),
            ({"prefix": "10.0.0.0/23"}, "prefix"),
            ({"prefix": "10.0.0.0/16"}, "prefix"),
            ({"prefix": "nonsense\0"}, "prefix"),
            ({"pool": ""}, "pool"),
            ({"pool": 0}, "pool"),
            ({"description": "x" * 201}, "description"),
        ],
    )
    def test_wrong_values_are_reported_at_their_field(self, client, pool, fields, wrong):
        response = client.post(f"{LIST_URL}add/", self.data(pool) | fields)

        assert response.status_code == 200
        assert wrong in response.context["form"].errors
        assert Segment.objects.count() == 2

    def test_edit_moves_the_vlan_and_the_prefix(self, client, pool):
        segment = Segment.objects.get(vid=100)
        response = client.post(f"{segment.get_absolute_url()}edit/", self.data(pool))

        assert response.status_code == 302
        segment = Segment.objects.get(pk=segment.pk)
        assert (segment.vid, segment.epg_name, str(segment.prefix)) == (200, "EPG_200", "10.0.99.0/24")

    def test_edit_leaves_the_pool_alone(self, client, pool):
        other = make_pool(scope="Site2", container="10.1.0.0/16")
        segment = Segment.objects.get(vid=100)
        client.post(f"{segment.get_absolute_url()}edit/", self.data(other))

        assert Segment.objects.get(pk=segment.pk).pool == pool

    def test_edit_of_an_allocated_segment_keeps_what_was_handed_out(self, client, admin, pool):
        segment = allocate("prod-01", pool=pool, user=admin).allocation.segment
        response = client.post(f"{segment.get_absolute_url()}edit/", self.data(pool, description="New"))

        assert response.status_code == 302
        segment = Segment.objects.get(pk=segment.pk)
        assert (segment.vid, str(segment.prefix)) == (100, "10.0.0.0/24")
        assert (segment.epg_name, segment.description, segment.status) == ("EPG_200", "New", "allocated")

    def test_a_stale_form_does_not_undo_an_allocation(self, client, admin, pool):
        segment = Segment.objects.get(vid=100)
        stale = client.get(f"{segment.get_absolute_url()}edit/").context["form"]
        allocate("prod-01", pool=pool, user=admin)
        data = {name: stale[name].value() for name in ("vid", "epg_name", "prefix")}

        assert client.post(f"{segment.get_absolute_url()}edit/", data).status_code == 302
        assert Segment.objects.get(pk=segment.pk).status == "allocated"

    def test_add_another_keeps_the_pool(self, client, pool):
        response = client.post(f"{LIST_URL}add/", self.data(pool, _addanother=True))

        assert f"pool={pool.pk}" in response.url


@pytest.mark.django_db
@pytest.mark.usefixtures("admin")
class TestImport:
    def load(self, client, *lines):
        data = {"data": "\n".join(lines), "format": "csv", "csv_delimiter": "auto", "import_method": "direct"}
        return client.post(f"{LIST_URL}import/objects/", data)

    def test_names_the_wrong_column_and_record_and_saves_nothing(self, client, pool):
        response = self.load(
            client,
            "pool,vid,epg_name,prefix",
            f"{pool.name},200,EPG_200,10.0.99.0/24",
            f"{pool.name},201,EPG_201,10.0.99.128/25",
        )

        assert response.status_code == 200
        assert any("Record 2 prefix: Prefix" in text for text in response.context["form"].non_field_errors())
        assert Segment.objects.count() == 2

    def test_update_of_an_allocated_segment(self, client, admin, pool):
        segment = allocate("prod-01", pool=pool, user=admin).allocation.segment

        response = self.load(client, "id,vid", f"{segment.pk},300")
        assert any("is allocated: release it" in text for text in response.context["form"].non_field_errors())
        assert self.load(client, "id,epg_name", f"{segment.pk},EPG_web").status_code == 302
        assert Segment.objects.get(pk=segment.pk).epg_name == "EPG_web"


@pytest.mark.django_db
@pytest.mark.usefixtures("admin")
class TestDelete:
    def test_an_allocated_segment_stays(self, client, admin, pool):
        segment = allocate("prod-01", pool=pool, user=admin).allocation.segment
        url = f"{segment.get_absolute_url()}delete/"

        for response in (client.get(url), client.post(url, {"confirm": True})):
            assert response.url == segment.get_absolute_url()
            assert messages_of(response)[-1] == "Segment EPG_100 (100) is allocated: release it before you delete it."
        both = {"pk": [segment.pk for segment in Segment.objects.all()], "_confirm": True, "confirm": True}
        assert client.post(f"{LIST_URL}delete/", both).url == LIST_URL
        assert Segment.objects.count() == 2

    def test_says_what_goes_with_it(self, client, pool):
        segment = Segment.objects.get(vid=100)
        url = f"{segment.get_absolute_url()}delete/"

        assert set(client.get(url).context["dependent_objects"]) == {VLAN, Prefix}
        client.post(url, {"confirm": True})
        assert not VLAN.objects.filter(vid=100).exists()
        assert not Prefix.objects.filter(prefix="10.0.0.0/24").exists()


@pytest.mark.django_db
def test_whoever_may_change_a_segment_need_not_view_its_pool(client, pool):
    segment = Segment.objects.get(vid=100)
    client.force_login(permit(make_user("bob"), Segment, "change"))
    data = {"vid": 100, "epg_name": "EPG_new", "prefix": "10.0.0.0/24"}

    assert client.get(f"{segment.get_absolute_url()}edit/").status_code == 200
    assert client.post(f"{segment.get_absolute_url()}edit/", data).status_code == 302
    assert Segment.objects.get(pk=segment.pk).epg_name == "EPG_new"


@pytest.mark.django_db
def test_pages_show_who_holds_a_segment(client, admin, pool):
    held = allocate("prod-01", pool=pool, user=admin).allocation

    for url in (LIST_URL, held.segment.get_absolute_url()):
        assert f'<a href="{held.get_absolute_url()}">prod-01</a>' in client.get(url).content.decode()
    history = client.get("/plugins/vlan-manager/allocations/", {"segment_id": held.segment_id, "embedded": True})
    assert "prod-01" in history.content.decode()


@pytest.mark.django_db
def test_export_names_the_holder(client, admin, pool):
    allocate("prod-01", pool=pool, user=admin)

    lines = client.get(LIST_URL, {"export": "table"}).content.decode().splitlines()
    assert "100,EPG_100,10.0.0.0/24,Network1 Site1,Allocated,prod-01" in lines[1]


@pytest.mark.django_db
class TestTheFormForANewSegment:
    URL = "/plugins/vlan-manager/segments/add/"

    def initial(self, client, **query):
        response = client.get(self.URL, query)
        assert response.status_code == 200
        names = ("vid", "epg_name", "prefix", "ipv6_prefix")
        return {name: value for name in names if (value := response.context["form"].initial.get(name))}

    def test_begins_with_what_is_free_in_the_pool(self, client):
        client.force_login(make_user("root", is_superuser=True))
        pool = make_pool(segments=2, epg_template="E_{vid}")
        assert self.initial(client, pool=pool.pk) == {"vid": "102", "epg_name": "E_102", "prefix": "10.0.2.0/24"}
        # As the map's links ask for them.
        assert self.initial(client, pool=pool.pk, vid=300)["epg_name"] == "E_300"
        assert self.initial(client, pool=pool.pk, prefix="10.0.9.0/26")["prefix"] == "10.0.9.0/26"
        pool.prefixes.add(Prefix.objects.create(prefix="2001:db8::/48", vrf=pool.vrf))
        assert self.initial(client, pool=pool.pk)["ipv6_prefix"] == "2001:db8::/64"

    def test_is_what_generate_makes(self, client):
        admin = make_user("root", is_superuser=True)
        client.force_login(admin)
        pool = make_pool(segments=2, grow_prefix_length=26, vid_ranges=((100, 199),))
        (segment,) = generate_segments(pool, user=admin, count=1, dry_run=True).segments
        expected = {"vid": str(segment.vid), "epg_name": segment.epg_name, "prefix": str(segment.prefix)}
        assert self.initial(client, pool=pool.pk) == expected

    def test_says_nothing_of_a_pool_that_the_user_may_not_view(self, client):
        pool = make_pool(segments=1)
        client.force_login(permit(make_user("bob"), Segment, "view", "add"))
        assert self.initial(client, pool=pool.pk) == {}

    @pytest.mark.parametrize("query", [{"pool": "x"}, {"pool": "0"}, {"vid": "9999"}, {"vid": "x"}])
    def test_of_bad_values(self, client, query):
        client.force_login(make_user("root", is_superuser=True))
        pool = make_pool(segments=1)
        assert client.get(self.URL, {"pool": pool.pk, **query}).status_code == 200

    def test_of_a_full_pool(self, client):
        client.force_login(make_user("root", is_superuser=True))
        pool = make_pool(container="10.0.0.0/23", segments=2, vid_ranges=((100, 101),))
        assert self.initial(client, pool=pool.pk) == {}
