"""Required custom fields of the objects that the plugin makes: a call can set them, and the error says how."""

import pytest

from core.models import ObjectType
from dcim.models import Site
from extras.choices import CustomFieldTypeChoices
from extras.models import CustomField
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, create_segment, update_pool
from tests.api.base import client_of, url_of
from tests.drift import find_drift
from tests.factories import make_pool, make_site, make_user, make_vrf

pytestmark = pytest.mark.django_db

SEGMENT = {"vid": 100, "epg_name": "EPG_100", "prefix": "10.0.0.0/24"}

# The model that has the required custom field, and the field of the call that takes its value.
MODELS = {VLAN: "vlan_custom_fields", Prefix: "prefix_custom_fields", Segment: "custom_fields"}


@pytest.fixture
def user():
    return make_user("alice", is_superuser=True)


@pytest.fixture
def client(user):
    return client_of(user)


@pytest.fixture
def pool():
    return make_pool()


def require(model, name="owner_team", kind=CustomFieldTypeChoices.TYPE_TEXT, **values):
    field = CustomField.objects.create(name=name, type=kind, required=True, **values)
    field.object_types.add(ObjectType.objects.get_for_model(model))
    return field


def post_segment(client, pool, **more):
    return client.post(url_of("segment-list"), {"pool": pool.pk, **SEGMENT, **more}, format="json")


def errors(answer):
    """Return {field: texts} of a refusal by one of NetBox's or the plugin's calls."""
    assert answer.status_code == 400, answer.json()
    return answer.json().get("errors", answer.json())


def generate(client, pool, **more):
    body = {"count": 2, "prefix_length": 24, **more}
    return client.post(url_of("segmentpool-generate", pk=pool.pk), body, format="json")


@pytest.mark.parametrize(("model", "field"), MODELS.items())
@pytest.mark.parametrize("call", [post_segment, generate])
def test_value_is_given_with_the_call(client, pool, model, field, call):
    require(model)
    refused = call(client, pool)
    assert list(errors(refused)) == [field]
    assert "owner_team" in str(errors(refused))
    assert not Segment.objects.exists()

    answer = call(client, pool, **{field: {"owner_team": "net"}})
    assert answer.status_code == 201, answer.json()
    made = model.objects.exclude(status="container") if model is Prefix else model.objects.all()
    assert {one.custom_field_data["owner_team"] for one in made} == {"net"}
    assert find_drift() == []


@pytest.mark.parametrize(("model", "field"), MODELS.items())
@pytest.mark.parametrize("way", ["pool", "default"])
def test_value_comes_from_the_pool_or_the_custom_field(client, user, pool, model, field, way):
    require(model, default="net" if way == "default" else None)
    if way == "pool":
        name = "segment_custom_fields" if model is Segment else field
        answer = client.patch(url_of("segmentpool-detail", pk=pool.pk), {name: {"owner_team": "net"}}, format="json")
        assert (answer.status_code, answer.json()[name]) == (200, {"owner_team": "net"})
    assert generate(client, pool).status_code == 201
    pool.refresh_from_db()
    create_segment(pool, user=user, vid=200, epg_name="EPG_200", prefix="10.0.9.0/24")
    pool = update_pool(pool, user=user, auto_grow=True, grow_prefix_length=24)
    for number in range(4):
        assert allocate(f"c{number}", user=user, pool=pool).created
    made = model.objects.exclude(status="container") if model is Prefix else model.objects.all()
    assert [one.custom_field_data["owner_team"] for one in made] == ["net"] * 4


def test_growth_says_what_is_missing(client, user, pool):
    require(VLAN)
    update_pool(pool, user=user, auto_grow=True, grow_prefix_length=24)
    answer = client.post(
        url_of("allocate-vlan"), {"cluster_name": "a", "site": "Site1", "vrf": "Network1"}, format="json"
    )
    assert answer.status_code == 409
    assert "Custom field owner_team of VLANs is required" in answer.json()["detail"]


def test_what_is_given_wins_over_pool_and_default(client, user, pool):
    require(VLAN, default="default")
    update_pool(pool, user=user, vlan_custom_fields={"owner_team": "pool"})
    assert post_segment(client, pool, vlan_custom_fields={"owner_team": "call"}).status_code == 201
    assert VLAN.objects.get().custom_field_data == {"owner_team": "call"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"owner_teem": "net"}, "no custom field owner_teem of VLANs. There are: owner_team"),
        ({"owner_team": 7}, "owner_team"),
        (["net"], "object with the values"),
        ("net", "object with the values"),
        ({"owner_team": ""}, "owner_team"),
    ],
)
def test_wrong_values(client, pool, values, says):
    require(VLAN)
    calls = [
        post_segment(client, pool, vlan_custom_fields=values),
        generate(client, pool, vlan_custom_fields=values),
    ]
    if values != {"owner_team": ""}:
        # Each call may fill a field that is empty.
        path = url_of("segmentpool-detail", pk=pool.pk)
        calls.append(client.patch(path, {"vlan_custom_fields": values}, format="json"))
    for answer in calls:
        assert list(errors(answer)) == ["vlan_custom_fields"]
        assert says in str(answer.json())
    assert not VLAN.objects.exists()


def test_objects_are_given_by_id(client, pool):
    related = ObjectType.objects.get_for_model(Site)
    require(VLAN, "home", CustomFieldTypeChoices.TYPE_OBJECT, related_object_type=related)
    site = make_site()
    assert post_segment(client, pool, vlan_custom_fields={"home": site.pk}).status_code == 201
    assert VLAN.objects.get().cf["home"] == site


def test_a_segment_is_changed_with_them(client, pool):
    require(VLAN)
    require(Prefix, "zone")
    body = {"vlan_custom_fields": {"owner_team": "net"}, "prefix_custom_fields": {"zone": "dmz"}}
    created = post_segment(client, pool, **body)
    path = url_of("segment-detail", pk=created.json()["id"])
    # The body of the creation, sent again, changes nothing.
    again = client.put(path, {"pool": pool.pk, **SEGMENT, **body}, format="json")
    assert again.status_code == 200, again.json()
    body = {"vlan_custom_fields": {"owner_team": "ops"}, "prefix_custom_fields": {"zone": "lan"}}
    assert client.patch(path, body, format="json").status_code == 200
    segment = Segment.objects.get()
    assert segment.vlan.custom_field_data == {"owner_team": "ops"}
    assert segment.prefix.custom_field_data == {"zone": "lan"}
    refused = client.patch(path, {"vlan_custom_fields": {"x": 1}}, format="json")
    assert list(errors(refused)) == ["vlan_custom_fields"]


def test_what_is_there_keeps_its_own(client, pool):
    VLAN.objects.create(group=pool.vlan_group, vid=100, name="EPG_100")
    require(VLAN)
    refused = post_segment(client, pool, vlan_custom_fields={"owner_team": "net"})
    assert list(errors(refused)) == ["vlan_custom_fields"]
    assert post_segment(client, pool).status_code == 201


def test_a_custom_field_that_is_gone_stops_nothing(client, user, pool):
    field = require(VLAN)
    update_pool(pool, user=user, vlan_custom_fields={"owner_team": "net"})
    field.delete()
    assert generate(client, pool).status_code == 201
    assert update_pool(pool, user=user, description="Ours").description == "Ours"


def test_containers_and_groups_made_with_a_pool(client):
    require(Prefix)
    body = {"vrf": make_vrf().pk, "scope_type": "dcim.site", "scope_id": make_site().pk, "prefixes": ["10.0.0.0/16"]}
    refused = client.post(url_of("segmentpool-list"), body, format="json")
    assert list(errors(refused)) == ["prefixes"]
    assert "owner_team" in str(refused.json())
    body["prefix_custom_fields"] = {"owner_team": "net"}
    assert client.post(url_of("segmentpool-list"), body, format="json").status_code == 201
    assert SegmentPool.objects.get().prefixes.get().custom_field_data == {"owner_team": "net"}


def test_allocations(client, user, pool):
    require(Allocation)
    create_segment(pool, user=user, **SEGMENT)
    path, body = url_of("allocation-list"), {"pool": pool.pk, "cluster_name": "a"}
    refused = client.post(path, body, format="json")
    assert refused.status_code == 400
    assert "owner_team" in str(refused.json())
    answer = client.post(path, {**body, "custom_fields": {"owner_team": "net"}}, format="json")
    assert answer.status_code == 201
    assert Allocation.objects.get().custom_field_data == {"owner_team": "net"}


def test_default_of_a_custom_field_of_allocations(client, user, pool):
    field = require(Allocation)
    create_segment(pool, user=user, **SEGMENT)
    body = {"cluster_name": "a", "site": "Site1", "vrf": "Network1"}
    refused = client.post(url_of("allocate-vlan"), body, format="json")
    assert refused.status_code == 400
    assert "Custom field owner_team of allocations is required" in str(refused.json())
    field.default = "net"
    field.save()
    assert client.post(url_of("allocate-vlan"), body, format="json").status_code == 200
    assert Allocation.objects.get().custom_field_data == {"owner_team": "net"}
