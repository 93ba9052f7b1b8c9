"""A client can set only the writable fields. Each field of a model, also a new one, must be in one of the lists."""

import csv
import io
import json
import re
from types import SimpleNamespace

import pytest
import yaml
from django.forms.models import ModelForm

from netbox.graphql.schema import schema as graphql_schema
from netbox_vlan_manager import forms
from netbox_vlan_manager.api import serializers
from netbox_vlan_manager.api.names import LISTED, OTHER_CALLS
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.api.base import client_of, run_in_background, url_of
from tests.factories import make_pool, make_segment, make_user, make_vrf
from tests.openapi import openapi_schema

pytestmark = pytest.mark.django_db

COMMON = {"description", "comments", "owner", "tags", "custom_fields", "custom_field_data"}

# The models' own fields that clients may write.
WRITABLE = {
    SegmentPool: {
        "name", "slug", "status", "vrf", "scope_type", "scope_id", "vlan_group", "prefixes", "tenant", "role",
        "min_prefix_length", "max_prefix_length", "warning_threshold", "critical_threshold", "allocation_order",
        "cooldown", "max_per_cluster", "max_per_tenant", "max_per_request", "epg_template", "auto_grow",
        "grow_prefix_length", "grow_ipv6_prefix_length", "grow_limit", "release_in_use",
        "segment_custom_fields", "vlan_custom_fields", "prefix_custom_fields", "gateway_rule", "gateway_offset",
        "create_gateways", "dns_servers", "domain_name", "mtu",
    },
    Segment: {"pool", "vid", "prefix", "ipv6_prefix", "gateway", "ipv6_gateway", "dhcp", "disabled_reason"},
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
    """Return a new value for each field that no client may write."""
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


def take_refused(values):
    """Remove from `values`, and return, the fields of other calls, which REST refuses instead of ignoring."""
    return {name: values.pop(name) for name in OTHER_CALLS & values.keys()}


def row_of(instance):
    return type(instance).objects.filter(pk=instance.pk).values().get()


def put_values(instance):
    """Return the required values of a PUT, unchanged."""
    if isinstance(instance, SegmentPool):
        names, prefixes = ("name", "slug", "scope_id"), list(instance.prefixes.values_list("pk", flat=True))
        scope = {"vrf": instance.vrf_id, "scope_type": "dcim.site", "prefixes": prefixes}
        return {**{name: getattr(instance, name) for name in names}, **scope}
    if isinstance(instance, Segment):
        prefix = str(instance.prefix.prefix)
        return {"pool": instance.pool_id, "vid": instance.vid, "epg_name": instance.epg_name, "prefix": prefix}
    return {"cluster_name": instance.cluster_name}


def send(client, user, instance, way, values):
    """Write the values of an object in one of the ways, and return the response."""
    model, api = type(instance), client_of(user)
    name = model._meta.model_name
    detail, several = url_of(f"{name}-detail", pk=instance.pk), url_of(f"{name}-list")
    values = {"description": "new", **values}
    page = f"{instance.get_absolute_url()}edit/"
    client.force_login(user)
    match way:
        case "patch" | "put":
            values = {**(put_values(instance) if way == "put" else {}), **values}
            return getattr(api, way)(detail, values, format="json")
        case "bulk patch" | "bulk put":
            method = way.split()[1]
            values = {"id": instance.pk, **(put_values(instance) if method == "put" else {}), **values}
            return getattr(api, method)(several, [values], format="json")
        case "background":
            job = run_in_background(api, "patch", several, [{"id": instance.pk, **values}])
            return SimpleNamespace(status_code=job.data["status_code"], content=job.data)
        case "form":
            if model is SegmentPool:
                scope = {"scope_content_type": instance.scope_type_id, "scope_object_id": instance.scope_id}
                values = {**values, **put_values(instance), **scope, "allocation_order": "lowest"}
                values |= {"status": "active", "vlan_group": instance.vlan_group_id}
            elif model is Segment:
                values |= put_values(instance)
            return client.post(page, {name: value for name, value in values.items() if value is not None})
        case "bulk form":
            page = f"/plugins/vlan-manager/{name.removeprefix('segment') or name}s/edit/"
            # Fields to set, and fields to empty.
            nullified = [*values.keys() - {"description"}]
            return client.post(page, {**values, "pk": [instance.pk], "_apply": "", "_nullify": nullified})
        case "csv" | "json" | "yaml":
            rows = [{"id": instance.pk, **values}]
            return import_rows(client, model, rows, way)


def import_rows(client, model, rows, kind):
    """Have NetBox's import page write some rows."""
    if kind == "csv":
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, rows[0])
        writer.writeheader()
        writer.writerows(rows)
        data = buffer.getvalue()
    else:
        data = json.dumps(rows) if kind == "json" else yaml.safe_dump(rows)
    path = "segments/import/objects" if model is Segment else "pools/import"
    values = {"import_method": "direct", "format": kind, "csv_delimiter": ",", "data": data}
    return client.post(f"/plugins/vlan-manager/{path}/", values)


REST_WAYS = ("patch", "put", "bulk patch", "bulk put", "background")
WAYS = (*REST_WAYS, "form", "bulk form", "csv", "json", "yaml")
IMPORTED = (SegmentPool, Segment)


@pytest.mark.parametrize(
    ("model", "way"),
    [(model, way) for model in WRITABLE for way in WAYS if model in IMPORTED or way not in ("csv", "json", "yaml")],
)
def test_hidden_fields_stay(client, world, model, way):
    user, instances, other = world
    instance = instances[model]
    values = hidden_values(instance, other)
    assert len(values) > 3
    before = row_of(instance)
    if way in REST_WAYS and (refused := take_refused(values)):
        assert send(client, user, instance, way, refused).status_code == 400
        assert row_of(instance) == before
    send(client, user, instance, way, values)
    after = row_of(instance)
    # The description was written, so the hidden fields were ignored. A CSV with unknown columns is refused as a whole.
    assert after["description"] == ("" if way == "csv" else "new")
    changed = {name for name in before if after[name] != before[name]}
    assert changed <= {"last_updated", "custom_field_data", "description"}


@pytest.mark.parametrize("way", ["patch", "put", "bulk patch", "bulk put", "background", "form", "bulk form"])
def test_what_an_allocation_was_asked_for_stays(client, world, way):
    user, instances, other = world
    held = instances[Allocation]
    free = instances[SegmentPool].segments.filter(status="available").first()
    before = row_of(held)
    for name, value in (
        ("pool", other.pk),
        ("segment", free.pk),
        ("vid", free.vid),
        ("cluster_name", "other"),
        ("purpose", "other"),
        ("expires_at", "2099-01-01T00:00:00Z"),
    ):
        response = send(client, user, held, way, {name: value})
        after = row_of(held)
        if "form" in way:
            # A form ignores the field, because it has none of this name, and writes the rest.
            before |= {"description": "new", "last_updated": after["last_updated"]}
            before["custom_field_data"] = after["custom_field_data"]
        else:
            assert response.status_code == 400, name
        assert after == before, name


@pytest.mark.parametrize("model", IMPORTED)
@pytest.mark.parametrize("way", ["post", "bulk post", "background", "csv", "json", "yaml"])
def test_what_a_new_object_is_given(client, world, model, way):
    user, instances, other = world
    client.force_login(user)
    pool = instances[SegmentPool]
    if model is Segment:
        new = {"pool": pool.pk, "vid": 200, "epg_name": "E200", "prefix": "10.0.200.0/24"}
    else:
        scope = {"scope_type": "dcim.site", "scope_id": pool.scope_id}
        new = {"name": "New", "slug": "new", "vrf": make_vrf("Network3").pk, **scope, "prefixes": ["10.3.0.0/16"]}
    hidden = hidden_values(instances[model], other)
    url, api = url_of(f"{model._meta.model_name}-list"), client_of(user)
    if ("post" in way or way == "background") and (refused := take_refused(hidden)):
        assert api.post(url, {**refused, **new}, format="json").status_code == 400
    values = {**hidden, **new}
    if way == "background":
        assert run_in_background(api, "post", url, [values]).data["status_code"] == 201
    elif "post" in way:
        data = [values] if "bulk" in way else values
        assert api.post(url, data, format="json").status_code == 201
    else:
        # NetBox's imports find objects by name.
        values["pool" if model is Segment else "vrf"] = pool.name if model is Segment else "Network3"
        if model is SegmentPool:
            values["prefixes"] = "10.3.0.0/16"
        response = import_rows(client, model, [values], way)
        if way == "csv":
            assert b"Unrecognized header" in response.content
            return
    # The object has the defaults of the hidden fields.
    made = model.objects.get(**({"vid": 200} if model is Segment else {"slug": "new"}))
    plain = make_segment(pool, 201, 201) if model is Segment else make_pool("Network4", "Site2")
    names = {*hidden} & {field.attname for field in model._meta.concrete_fields}
    own = {"id", "created", "last_updated", "vlan_id", "_site_id", "_location_id", "_region_id", "_site_group_id"}
    for name in names - own:
        assert getattr(made, name) == getattr(plain, name), name


def test_what_a_new_allocation_is_given(world):
    user, instances, other = world
    pool = instances[SegmentPool]
    values = {**hidden_values(instances[Allocation], other), "status": "released", "pool": pool.pk, "cluster_name": "n"}
    count = Allocation.objects.count()
    response = client_of(user).post(url_of("allocation-list"), values, format="json")
    assert response.status_code == 400
    unknown, errors = values.keys() - {"pool", "cluster_name"}, response.json()["errors"]
    assert errors.keys() <= unknown
    assert len(errors) == min(len(unknown), LISTED)
    assert Allocation.objects.count() == count


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


@pytest.mark.parametrize("kind", ["csv", "json", "yaml"])
@pytest.mark.parametrize(
    "name", ["allocated_by", "expiry_warned", "owns_vlan", "released_by", "pool_id", "last_released_at"]
)
def test_import_has_no_such_column(client, world, kind, name):
    user, _instances, _other = world
    place = {"site": "Site1", "vrf": "Network1"}
    row = {**place, "vlan_id": 101, "epg_name": "EPG_101", "segment": "10.0.1.0/24", name: "disabled"}
    text = {
        "csv": ",".join(row) + "\n" + ",".join(map(str, row.values())),
        "json": json.dumps([row]),
        "yaml": yaml.safe_dump([row]),
    }[kind]
    before = [*Segment.objects.order_by("pk").values()]
    client.force_login(user)
    path = "/plugins/vlan-manager/segments/import/"
    response = client.post(path, {"import_method": "direct", "data": text, "_import": ""})
    assert name in response.content.decode()
    assert [*Segment.objects.order_by("pk").values()] == before


def test_calls_take_no_hidden_field():
    """No request schema has a hidden field, including those of calls that belong to no object."""
    hidden = {
        "status", "allocated_by", "allocated_at", "released_at", "released_by", "release_reason", "expiry_warned",
        "quarantined_until", "last_released_at", "owns_vlan", "owns_prefix", "owns_ipv6_prefix", "level", "vlan",
        "gateway_ip_address", "ipv6_gateway_ip_address",
    }  # fmt: skip
    schema = openapi_schema()
    seen = set()
    for url, operations in schema["paths"].items():
        for method, operation in operations.items():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(content)):
                    seen.add(name)
                    properties = schema["components"]["schemas"][name].get("properties", {})
                    allowed = {"status"} if "SegmentPool" in name else set()
                    assert hidden & properties.keys() <= allowed, (method, url, name)
    assert len(seen) > 25


def test_graphql_writes_nothing(client, world):
    assert graphql_schema.as_str().count("type Query {") == 1
    assert "type Mutation" not in graphql_schema.as_str()
    client.force_login(world[0])
    query = {"query": "mutation { __typename }"}
    response = client.post("/graphql/", query, content_type="application/json", headers={"Accept": "application/json"})
    assert "mutation operation is not supported" in response.content.decode()
