"""A client sets what it is meant to set. Each field of a model has to stand in one of the lists, a new one too."""

import pytest
from django.forms.models import ModelForm

from netbox_vlan_manager import forms
from netbox_vlan_manager.api import serializers
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db

COMMON = {"description", "comments", "owner", "tags", "custom_fields", "custom_field_data"}

# What clients may write of the models' own fields.
WRITABLE = {
    SegmentPool: {
        "name", "slug", "status", "vrf", "scope_type", "scope_id", "vlan_group", "prefixes", "tenant", "role",
        "min_prefix_length", "max_prefix_length", "warning_threshold", "critical_threshold", "allocation_order",
        "cooldown", "max_per_cluster", "max_per_tenant", "max_per_request", "epg_template", "auto_grow",
        "grow_prefix_length", "grow_ipv6_prefix_length", "grow_limit",
    },
    Segment: {"pool", "vid", "prefix", "ipv6_prefix", "dhcp", "disabled_reason"},
    Allocation: {"segment", "pool", "vid", "cluster_name", "purpose", "expires_at"},
}  # fmt: skip
SERIALIZERS = {
    SegmentPool: serializers.SegmentPoolSerializer,
    Segment: serializers.SegmentSerializer,
    Allocation: serializers.AllocationSerializer,
}


@pytest.mark.parametrize("model", WRITABLE)
def test_serializers_write_no_other_field(model):
    names = {field.name for field in model._meta.get_fields() if getattr(field, "concrete", False)}
    writable = {name for name, field in SERIALIZERS[model]().fields.items() if not field.read_only}
    assert writable & names - COMMON <= WRITABLE[model]


def test_forms_write_no_other_field():
    for name in forms.__all__:
        form = getattr(forms, name)
        if issubclass(form, ModelForm) and form._meta.model in WRITABLE:
            names = {field.name for field in form._meta.model._meta.fields}
            allowed = WRITABLE[form._meta.model] | COMMON | {"scope", "id"}
            assert set(form.base_fields) & names - allowed == set(), name


@pytest.fixture
def world():
    user = make_user("root", is_superuser=True)
    pool = make_pool(segments=3)
    other = make_pool(vrf="Network2")
    held = allocate("c", pool=pool, user=user).allocation
    return user, {SegmentPool: pool, Segment: held.segment, Allocation: held}, other


def hidden_values(instance, other):
    """Return a value for each field that no client may write, each another than it has."""
    values = {}
    for field in instance._meta.concrete_fields:
        if field.name in WRITABLE[type(instance)] | COMMON | {"id"}:
            continue
        if field.is_relation:
            values[field.name] = values[field.attname] = 1
        elif field.choices or field.get_internal_type() == "CharField":
            old = getattr(instance, field.name)
            values[field.name] = next((key for key, _label in field.flatchoices if key != old), "hacked")
        elif "Date" in field.get_internal_type():
            values[field.name] = "2001-01-01T00:00:00Z"
        elif field.get_internal_type() == "BooleanField":
            values[field.name] = not getattr(instance, field.name)
        else:
            values[field.name] = 7
    return values


def row_of(instance):
    return type(instance).objects.filter(pk=instance.pk).values().get()


@pytest.mark.parametrize("model", WRITABLE)
@pytest.mark.parametrize("way", ["patch", "bulk", "form"])
def test_hidden_fields_stay(client, world, model, way):
    user, instances, other = world
    instance = instances[model]
    values = hidden_values(instance, other)
    assert len(values) > 3
    before = row_of(instance)
    api, name = client_of(user), model._meta.model_name
    if way == "patch":
        response = api.patch(url_of(f"{name}-detail", pk=instance.pk), values, format="json")
    elif way == "bulk":
        response = api.patch(url_of(f"{name}-list"), [{"id": instance.pk, **values}], format="json")
    else:
        client.force_login(user)
        response = client.post(f"{instance.get_absolute_url()}edit/", values)
    assert response.status_code in (200, 302, 400)
    after = row_of(instance)
    for name in before:
        if name not in ("last_updated", "custom_field_data"):
            assert after[name] == before[name], name


def test_what_a_new_allocation_is_given(world):
    user, instances, other = world
    pool = instances[SegmentPool]
    values = {**hidden_values(instances[Allocation], other), "status": "released", "pool": pool.pk, "cluster_name": "n"}
    response = client_of(user).post(url_of("allocation-list"), values, format="json")
    assert response.status_code == 201
    held = Allocation.objects.get(pk=response.json()["id"])
    assert (held.allocated_by, held.released_at, held.released_by) == (user, None, None)
    assert held.allocated_at.year > 2001
    assert (held.pool_name, held.vid, held.epg_name) == (pool.name, held.segment.vid, held.segment.epg_name)


def test_held_segment_keeps_its_numbers(world):
    user, instances, other = world
    segment = instances[Segment]
    api = client_of(user)
    for values in ({"pool": other.pk}, {"vid": 4000}):
        response = api.patch(url_of("segment-detail", pk=segment.pk), values, format="json")
        assert response.status_code in (400, 409), values
    for name in ("status", "allocated_by", "quarantined_until", "owns_vlan", "pool_id"):
        row = {"site": "Site1", "vlan_id": 101, "epg_name": "E", "segment": "10.0.1.0/24", "vrf": "Network1", name: "1"}
        response = api.post(url_of("segment-import"), [row], format="json")
        assert response.status_code == 400, name
