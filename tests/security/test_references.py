"""A body names an object by its id, slug or name. It can make no other query, and finds no hidden object."""

from importlib import import_module
from pkgutil import iter_modules
from types import SimpleNamespace

import pytest
from django.http import QueryDict
from django_filters import ModelChoiceFilter, ModelMultipleChoiceFilter
from graphql import GraphQLInputObjectType, get_named_type
from rest_framework import serializers
from rest_framework.relations import ManyRelatedField

from core.models import ObjectType
from extras.models import CustomField, Tag
from ipam.models import VRF, Role
from netbox.api.serializers import BaseModelSerializer
from netbox.graphql.schema import schema as graphql_schema
from netbox_vlan_manager import filtersets, forms
from netbox_vlan_manager.api import serializers as api_serializers
from netbox_vlan_manager.api.fields import NameOrIDField, PrefixField
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tenancy.models import Tenant
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_user, make_vrf, permit
from users.models import Owner, User

pytestmark = pytest.mark.django_db


def serializer_classes():
    """Return all serializers of the plugin."""
    found = set()
    for module in iter_modules(api_serializers.__path__):
        names = vars(import_module(f"{api_serializers.__name__}.{module.name}"))
        found |= {one for one in names.values() if isinstance(one, type) and issubclass(one, serializers.Serializer)}
    own = {one for one in found if one.__module__.startswith(api_serializers.__name__)}
    return sorted((one for one in own if hasattr(one, "Meta") or not issubclass(one, BaseModelSerializer)), key=str)


def relations():
    """Return (serializer class, name of a field) of all writable fields that name an object."""
    found = []
    for serializer_class in serializer_classes():
        for name, field in serializer_class().fields.items():
            inner = inner_field(field)
            if not field.read_only and isinstance(inner, BaseModelSerializer | PrefixField | NameOrIDField):
                found.append((serializer_class, name))
    return found


def inner_field(field):
    if isinstance(field, ManyRelatedField):
        return field.child_relation
    return getattr(field, "child", field)


def run(serializer_class, name, value, user, **values):
    """Return the result of a serializer's field for a value and a user."""
    request = SimpleNamespace(user=user, query_params=QueryDict(), method="POST")
    field = serializer_class(context={"request": request}).fields[name]
    is_list = inner_field(field) is not field
    return field.run_validation(
        [value, value] if is_list and getattr(field, "min_length", 0) else [value] if is_list else value
    )


@pytest.fixture
def objects():
    """Return {model: object} of all models that a body can name."""
    pool = make_pool(segments=2)
    tenant = Tenant.objects.create(name="Tenant", slug="tenant")
    role = Role.objects.create(name="Role", slug="role")
    found = (
        pool,
        pool.segments.first(),
        pool.vrf,
        pool.vlan_group,
        pool.prefixes.get(),
        tenant,
        role,
        Tag.objects.create(name="Tag", slug="tag"),
        Owner.objects.create(name="Owner"),
    )
    return {type(one): one for one in found}


def object_of(serializer_class, name, objects):
    """Return the object that a field can name."""
    inner = inner_field(serializer_class().fields[name])
    return objects[inner.serializer.Meta.model if isinstance(inner, PrefixField) else inner.Meta.model]


LOOKUPS = (
    lambda one: {},
    lambda one: {"id": one.pk, "created__gt": "2000-01-01"},
    lambda one: {"id": one.pk, "description": ""},
    lambda one: {"id__in": [one.pk]},
    lambda one: {"id__gt": 0},
    lambda one: {"id": {"gt": 0}},
    lambda one: {"id": [one.pk]},
    lambda one: {"id": True},
    lambda one: {"id": None},
    lambda one: {"pk": one.pk},
    lambda one: {"name__startswith": ""},
    lambda one: {"name": {"startswith": ""}},
    lambda one: {"slug": {"regex": "."}},
    lambda one: {"slug": None},
    lambda one: {"slug": [""]},
    lambda one: {"tags__name__startswith": ""},
    lambda one: {"id": one.pk, "vrf": {"name": "Network1"}},
    lambda one: {"id": one.pk, "pool": {"name__startswith": ""}},
    lambda one: {"id": one.pk, "allocations__allocated_by__password__startswith": ""},
    lambda one: [],
    lambda one: [one.pk],
    lambda one: [{"id": one.pk}],
    lambda one: True,
    lambda one: 1.5,
    lambda one: -1,
    lambda one: 10**30,
    lambda one: {"id": "9" * 5000},
)


def test_lookups_are_no_names(objects):
    """Look-ups other than names are refused, even for a superuser, with the same error as for a missing object."""
    root = make_user("root", is_superuser=True)
    found = relations()
    assert len(found) > 15
    for serializer_class, name in found:
        inner = inner_field(serializer_class().fields[name])
        if isinstance(inner, NameOrIDField):
            # Only plain values are valid: an id or a name.
            values = [{"id": 1}, {}, [], [1], {"name__startswith": ""}, True, 1.5, None]
        else:
            values = [lookup(object_of(serializer_class, name, objects)) for lookup in LOOKUPS]
        for value in values:
            with pytest.raises(serializers.ValidationError):
                run(serializer_class, name, value, root)


def names_of(one):
    names = [one.pk, str(one.pk), {"id": one.pk}, {"id": str(one.pk)}]
    if isinstance(one, VRF):
        VRF.objects.filter(pk=one.pk).update(rd="65000:1")
        names.append({"rd": "65000:1"})
    if isinstance(one, Segment):
        return [*names, {"pool": one.pool_id, "vid": one.vid}, {"pool": {"slug": one.pool.slug}, "vid": one.vid}]
    names += [{name: getattr(one, name)} for name in ("slug", "name") if hasattr(one, name)]
    if isinstance(one, SegmentPool):
        names += [one.slug, one.name, one.name.upper(), {"id": one.pk, "slug": one.slug}]
    return names


def test_names(objects):
    """A user who may view an object finds it by each of its names; others do not find it, not even by id."""
    nobody = make_user("nobody")
    viewer = make_user("viewer")
    for one in objects.values():
        viewer = permit(viewer, one, "view")
    for serializer_class, name in relations():
        inner = inner_field(serializer_class().fields[name])
        if isinstance(inner, NameOrIDField):
            continue
        one = object_of(serializer_class, name, objects)
        for value in names_of(one):
            found = run(serializer_class, name, value, viewer)
            assert (found[0] if isinstance(found, list) else found) == one, (serializer_class, name, value)
            with pytest.raises(serializers.ValidationError):
                run(serializer_class, name, value, nobody)


@pytest.fixture
def held():
    pool = make_pool(segments=2)
    root = make_user("root", is_superuser=True)
    root.set_password("secret")
    root.save()
    return allocate("held", pool=pool, user=root).allocation


@pytest.mark.parametrize("name", ["pool", "segment"])
def test_password_hashes(held, name):
    """A true condition on related objects of a pool or segment gets the same answer as a false one."""
    user = permit(make_user("pipeline"), held.pool, "allocate")
    pk = held.pool_id if name == "pool" else held.segment_id
    path = "allocations__allocated_by__password__startswith" if name == "pool" else "allocations__cluster_name"
    answers = set()
    for value in (User.objects.get(username="root").password[:20], "held", "no"):
        body = {name: {"id": pk, path: value}, "cluster_name": "x", "dry_run": True}
        for url in (url_of("allocation-list"), url_of("allocate-vlan")):
            response = client_of(user).post(url, body, format="json")
            assert response.status_code == 400
            answers.add((url, response.content))
    assert len(answers) == 2


@pytest.mark.parametrize("method", ["add_tags", "remove_tags", "tags"])
def test_tags(held, method):
    """NetBox itself looks up tags without the user's permissions."""
    tag = Tag.objects.create(name="Secret", slug="secret")
    held.tags.add(tag)
    user = permit(make_user("alice"), Allocation, "view", "change")
    url = url_of("allocation-detail", pk=held.pk)
    for value in ([tag.pk], [{"name": "Secret"}], [{"name__startswith": "S"}], [{"id": tag.pk, "slug__regex": "."}]):
        response = client_of(user).patch(url, {method: value}, format="json")
        assert response.status_code == 400, response.content
        assert list(response.json()) == [method]
    user = permit(user, tag, "view")
    assert client_of(user).patch(url, {method: [{"name": "Secret"}]}, format="json").status_code == 200


@pytest.mark.parametrize("kind", ["object", "multiobject"])
def test_custom_fields(held, kind):
    """A custom field that refers to objects names them in the same way."""
    field = CustomField.objects.create(
        name="who", type=kind, related_object_type=ObjectType.objects.get_for_model(User)
    )
    field.object_types.set([ObjectType.objects.get_for_model(Allocation)])
    user = permit(make_user("alice"), Allocation, "view", "change")
    user = permit(user, user, "view")
    root = held.allocated_by
    url = url_of("allocation-detail", pk=held.pk)

    def patch(value):
        value = [value] if kind == "multiobject" else value
        return client_of(user).patch(url, {"custom_fields": {"who": value}}, format="json").status_code

    assert patch(user.pk) == 200
    for value in (root.pk, {"id": root.pk}, {"username": "alice"}, {"id": user.pk, "password__startswith": ""}, {}):
        assert patch(value) == 400, value


def test_scope(held):
    """A pool's scope must be a place that the user may view."""
    hidden = make_pool("Network2", "Hidden").scope
    user = permit(make_user("alice"), SegmentPool, "view", "add", "change")
    user = permit(user, held.pool.vrf, "view")
    body = {"vrf": held.pool.vrf_id, "scope_type": "dcim.site", "prefixes": ["10.9.0.0/16"], "vid_ranges": "1-9"}
    texts = set()
    for pk in (hidden.pk, 10**6):
        response = client_of(user).post(url_of("segmentpool-list"), {**body, "scope_id": pk}, format="json")
        assert (response.status_code, list(response.json())) == (400, ["scope_id"])
        texts.add(response.json()["scope_id"][0].replace(str(pk), ""))
    assert len(texts) == 1
    # The pool shows its current scope, and a PUT may send it back.
    url = url_of("segmentpool-detail", pk=held.pool_id)
    same = {"scope_type": "dcim.site", "scope_id": held.pool.scope_id}
    assert client_of(user).patch(url, same, format="json").status_code == 200
    make_vrf("Hidden")


SECRETS = {"password", "token", "tokens", "key", "plaintext", "hmac_digest", "session", "secret"}


def test_filters_look_at_no_secret():
    """No filter of a list or page lets the client choose a relation to follow."""
    found = [one for name in filtersets.__all__ if isinstance(one := getattr(filtersets, name), type)]
    assert len(found) > 3
    for filterset in found:
        for parameter, one in filterset.base_filters.items():
            assert not SECRETS & set(parameter.split("__")), parameter
            if isinstance(one, ModelChoiceFilter | ModelMultipleChoiceFilter):
                to_field = one.extra.get("to_field_name") or "pk"
                assert to_field in ("pk", "id", "slug", "name", "username"), (parameter, to_field)


def test_unknown_lookups_filter_nothing(held):
    user = permit(make_user("alice"), Allocation, "view")
    url = url_of("allocation-list")
    answers = []
    for value in ("pbkdf2", "no"):
        response = client_of(user).get(url, {"allocated_by__password__startswith": value})
        assert response.status_code == 400
        answers.append(response.json())
    assert answers[0] == answers[1]
    assert list(answers[0]) == ["allocated_by__password__startswith"]


def test_forms_look_at_no_secret():
    """A form's field finds an object only by its key or name."""
    for name in forms.__all__:
        for field_name, field in getattr(getattr(forms, name), "base_fields", {}).items():
            if hasattr(field, "queryset"):
                to_field = getattr(field, "to_field_name", None) or "pk"
                assert to_field in ("pk", "slug", "name", "username", "rd"), (name, field_name, to_field)


def test_graphql_filters_look_at_no_secret():
    """The GraphQL filters of the plugin's types have no path to a user's secret."""
    types = graphql_schema._schema.type_map
    left = [types[f"{name}Filter"] for name in ("SegmentPool", "Segment", "Allocation", "PoolSnapshot")]
    seen = set()
    while left:
        one = left.pop()
        if one.name in seen:
            continue
        seen.add(one.name)
        for field_name, field in one.fields.items():
            assert field_name.lower() not in SECRETS - {"key"}, f"{one.name}.{field_name}"
            inner = get_named_type(field.type)
            if isinstance(inner, GraphQLInputObjectType):
                left.append(inner)
    assert {"UserFilter", "VRFFilter"} <= seen
    assert "TokenFilter" not in seen


@pytest.mark.parametrize("header", ["pool.allocations", "pool.segments", "pool.vlan_group", "pool.comments", "pool.pk"])
def test_columns_are_names(client, held, header):
    """NetBox's own import accepts any attribute in a column name, and so finds a pool by its relations."""
    client.force_login(held.allocated_by)
    answers = set()
    for value in (held.pk, 10**6):
        data = f"{header},vid,epg_name,prefix\n{value},900,E900,10.0.90.0/24"
        values = {"import_method": "direct", "format": "csv", "csv_delimiter": ",", "data": data}
        response = client.post("/plugins/vlan-manager/segments/import/objects/", values)
        text = response.content.decode()
        assert "Unrecognized header" in text or "Object not found" in text or "invalid" in text.lower()
        answers.add(text.count("Object not found"))
    assert len(answers) == 1
    assert not Segment.objects.filter(vid=900).exists()
