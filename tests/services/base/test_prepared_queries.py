import ast
import importlib
import inspect
import itertools
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dcim.models import Site
from netbox_vlan_manager.choices import AllocationOrderChoices
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.base import prepared_queries
from netbox_vlan_manager.services.base.prepared_queries import fetch_object, fetch_objects, fetch_rows, placeholder
from netbox_vlan_manager.services.base.resolution import PLACE_TYPES
from netbox_vlan_manager.services.segments.criteria import CONDITIONS
from tests.factories import make_pool, make_user
from virtualization.models import Cluster, ClusterType

pytestmark = pytest.mark.django_db

SERVICES = Path(prepared_queries.__file__).parent.parent
FETCHING = ("fetch_object", "fetch_objects", "fetch_rows")

NAME, PK = placeholder("name of a test", "text"), placeholder("id of a test", "bigint")


def find_queries():
    """Return {name: function} of all queries that the services prepare."""
    found = {}
    for path in SERVICES.rglob("*.py"):
        if path == Path(prepared_queries.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in FETCHING:
                name = ".".join(("netbox_vlan_manager.services", *path.relative_to(SERVICES).with_suffix("").parts))
                found[node.args[0].id] = getattr(importlib.import_module(name), node.args[0].id)
    return found


QUERIES = find_queries()

ASKED = [
    names
    for count in range(len(CONDITIONS) + 1)
    for names in itertools.combinations(CONDITIONS, count)
    # A query takes one VLAN ID or a range, not both.
    if not ("vid" in names and {"vid_min", "vid_max"} & {*names})
]
BOTH = (True, False)
# The arguments of the query functions: all combinations.
SHAPES = {
    "_first_query": list(itertools.product(AllocationOrderChoices.values(), ASKED, BOTH)),
    "_match_query": [
        shape
        for shape in itertools.product(BOTH, (None, *PLACE_TYPES), BOTH, BOTH)
        if any(shape[:2]) and any(shape[2:])
    ],
}


@pytest.fixture
def values():
    """Values of the placeholders, by their names in the modules; each query finds rows with them."""
    pool, other = make_pool(segments=4), make_pool(scope="Site2", segments=2, container="10.1.0.0/16")
    allocate("Prod-01", pool=pool, user=make_user())
    allocate("other", pool=other, user=make_user())
    ended = allocate("ended", pool=pool, user=make_user()).allocation
    now = timezone.now()
    Allocation.objects.filter(pk=ended.pk).update(
        allocated_at=now - timedelta(hours=2), expires_at=now - timedelta(hours=1)
    )
    Cluster.objects.create(name="PROD-01", type=ClusterType.objects.create(name="Type", slug="type"))
    segment = Segment.objects.get(pool=pool, vid=103)
    pool.vrf.rd = "65000:1"
    pool.vrf.save()
    return {
        ("_first_query", "POOL"): pool.pk,
        ("_first_query", "vid"): 103,
        ("_first_query", "vid_min"): 102,
        ("_first_query", "vid_max"): 103,
        ("_first_query", "prefix_length"): 24,
        ("_first_query", "segment"): segment.pk,
        ("_match_query", "SITE"): "SITE1",
        ("_match_query", "SITE_ID"): Site.objects.get(name="Site1").pk,
        ("_match_query", "VRF_NAME"): "network1",
        ("_match_query", "VRF_ID"): pool.vrf_id,
        ("_pool_query", "SCOPE_TYPE_ID"): pool.scope_type_id,
        ("_pool_query", "SCOPE_ID"): pool.scope_id,
        ("_pool_query", "VRF_ID"): pool.vrf_id,
        ("_related_query", "VLAN_ID"): segment.vlan_id,
        ("_held_query", "CLUSTER"): "prod-01",
        ("_held_query", "PURPOSE"): "",
        ("_held_query", "VRF"): pool.vrf_id,
        ("_segment_query", "PK"): segment.pk,
        ("_overdue_query", "PK"): pool.pk,
        ("_cluster_query", "CLUSTER"): "prod-01",
    }


def test_every_prepared_query_is_tried(values):
    assert {name for name, _name in values} == QUERIES.keys()
    assert SHAPES.keys() <= QUERIES.keys()


def put_in_place(query, values):
    """Return a context in which the module of `query` has values for placeholders, and {placeholder: value}."""
    module, stack, stand_ins = inspect.getmodule(query), ExitStack(), {}
    for (name, placeholder_name), value in values.items():
        if name == query.__name__:
            names = module.PLACEHOLDERS if placeholder_name.islower() else vars(module)
            stand_ins[names[placeholder_name]] = value
            stack.enter_context(patch.dict(names, {placeholder_name: value}))
    return stack, stand_ins


@pytest.mark.parametrize("name", QUERIES)
def test_prepared_with_values_or_built_with_them_is_the_same(values, name):
    query = QUERIES[name]
    for shape in SHAPES.get(name, [()]):
        prepared = prepared_queries._prepare(query, *shape)
        in_place, stand_ins = put_in_place(query, values)
        with in_place:
            queryset = query(*shape)
        sql, parameters = queryset.query.get_compiler(queryset.db).as_sql()
        stand_ins = {key: value for key, value in stand_ins.items() if key in prepared.placeholders}
        assert (prepared.sql, tuple(prepared_queries._fill(prepared, stand_ins))) == (sql, parameters)

        with CaptureQueriesContext(connection) as queries:
            if queryset._fields is None:
                found = [contents_of(instance) for instance in fetch_objects(query, stand_ins)]
                expected = [contents_of(instance) for instance in queryset]
            else:
                found, expected = fetch_rows(query, stand_ins, *shape), list(queryset)
        assert queries[0]["sql"] == queries[1]["sql"]
        assert found == expected or ("random" in shape and len(found) == len(expected)), shape


def contents_of(instance):
    """Return the values of a model instance, with those of its related objects that were read with it."""
    related = {name: value and columns_of(value) for name, value in instance._state.fields_cache.items()}
    return type(instance), columns_of(instance), related


def columns_of(instance):
    return {name: value for name, value in vars(instance).items() if name != "_state"}


def test_each_query_finds_something(values):
    for name, query in QUERIES.items():
        shape = {"_first_query": ("lowest", ("vid",), True), "_match_query": (True, "site", True, True)}.get(name, ())
        in_place, _stand_ins = put_in_place(query, values)
        with in_place:
            assert list(query(*shape)) or name == "_related_query", name


def _pools_query():
    return SegmentPool.objects.filter(name=NAME, pk__gte=PK).order_by("pk")


def test_a_query_finds_what_each_call_asks_for():
    pools = [make_pool(), make_pool(scope="Site2", container="10.1.0.0/16")]
    for pool in pools:
        assert fetch_object(_pools_query, {NAME: pool.name, PK: 1}) == pool
        assert fetch_objects(_pools_query, {NAME: pool.name, PK: 1}) == [pool]
    assert fetch_object(_pools_query, {NAME: pools[0].name, PK: pools[1].pk}) is None


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "id of a test, name of a test"),
        ({NAME: "x"}, "id of a test"),
        ({NAME: "x", PK: 1, "other": 2}, "other"),
        ({NAME: "x", "other": 2}, "id of a test, other"),
    ],
)
def test_placeholders_and_values_have_to_agree(values, named):
    with pytest.raises(KeyError, match=f": {named}'"):
        fetch_objects(_pools_query, values)


@pytest.mark.parametrize("kind", ["text", "smallint", "integer", "bigint"])
def test_placeholders_of_one_name_are_two(kind):
    one, other = placeholder("same", kind), placeholder("same", kind)
    assert one != other
    assert kind == "text" or 4094 < one <= prepared_queries.LARGEST[kind]
