"""
A cache of the SQL of queries that run on every call: Django needs longer to compile them than PostgreSQL to run them.

    >>> POOL = placeholder("pool", "bigint")
    >>> def _segments_query():
    ...     return Segment.objects.filter(pool=POOL)
    >>> fetch_objects(_segments_query, {POOL: pool.pk})

A query is a function that returns a queryset with placeholders in it. Each call gives the values of all its
placeholders. Nothing that a query finds is kept. PostgreSQL plans each call afresh: a statement that it prepares
belongs to a connection, and behind PgBouncer a transaction may get another one.
"""

from functools import cache
from typing import NamedTuple

from django.db import connections, router
from django.db.models.fetch_modes import FETCH_ONE
from django.db.models.query import get_related_populators
from django.db.models.sql import UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

from ... import branching

__all__ = (
    "fetch_object",
    "fetch_objects",
    "fetch_rows",
    "insert_objects",
    "placeholder",
    "update_object",
)

# Up to this number of rows a statement of its own is faster than Django's bulk_create().
FEW = 10
BATCH_SIZE = 1000

# The largest value of PostgreSQL's types. No VLAN ID, prefix length or id comes near it.
LARGEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}

# {stand-in value: name} of all placeholders.
_names = {}


class _Prepared(NamedTuple):
    """
    A SELECT and how to read its rows.

    `parameters` are (value, whether it is a placeholder) pairs, in the order of the SQL; `placeholders` are those of
    them that a call has to fill.
    """

    alias: str
    sql: str
    parameters: tuple
    placeholders: frozenset
    compiler: SQLCompiler
    converters: dict


def placeholder(name, kind):
    """
    Return the stand-in value of a query for a value that each call gives.

    Django puts it into the parameters of the SQL as it is, where `_prepare` finds it again.

    Args:
        name: What errors call it.
        kind: "text", or the type of the column that it is compared with: "smallint", "integer" or "bigint".
    """
    value = f"\x01{name}\x01{len(_names)}" if kind == "text" else LARGEST[kind] - len(_names)
    _names[value] = name
    return value


def fetch_object(query, values):
    """
    Return the first object that a query finds, as `fetch_objects` does, or None.
    """
    return next(iter(fetch_objects(query, values)), None)


def fetch_objects(query, values):
    """
    Return the objects that a query finds, with their annotations and the related objects it selects, as a list.

    Args:
        query: A function that returns a queryset of one model's objects.
        values: {placeholder: the value of this call}, for all placeholders of the query.

    Raises:
        KeyError: A placeholder of the query has no value, or a value has no placeholder in the query.
    """
    prepared = _prepare(query)
    rows = _fetch(prepared, values)
    if not rows:
        return []
    compiler, alias = prepared.compiler, prepared.alias
    # As django.db.models.query.ModelIterable reads rows.
    rows = compiler.apply_converters(rows, prepared.converters) if prepared.converters else rows
    model, indices = compiler.klass_info["model"], compiler.klass_info["select_fields"]
    names = [compiler.select[index][0].target.attname for index in indices]
    populators = get_related_populators(compiler.klass_info, compiler.select, alias, FETCH_ONE)
    instances = []
    for row in rows:
        instance = model.from_db(alias, names, row[indices[0] : indices[-1] + 1], fetch_mode=FETCH_ONE)
        for populator in populators:
            populator.populate(row, instance)
        for name, index in compiler.annotation_col_map.items():
            setattr(instance, name, row[index])
        instances.append(instance)
    return instances


def fetch_rows(query, values, *shape):
    """
    Return the rows that a query finds, as a list of tuples.

    Args:
        query: A function that takes `shape` and returns a queryset of values_list().
        values: {placeholder: the value of this call}, for all placeholders of the query.
        shape: What the SQL itself depends on, and not only its parameters.

    Raises:
        KeyError: A placeholder of the query has no value, or a value has no placeholder in the query.
    """
    return _fetch(_prepare(query, *shape), values)


def update_object(instance, names):
    """Write the named fields of a stored `instance`, as QuerySet.update() does. No signal is sent."""
    model = type(instance)
    connection = connections[router.db_for_write(model)]
    fields = [model._meta.get_field(name) for name in names]
    values = [field.get_db_prep_save(getattr(instance, field.attname), connection) for field in fields]
    with connection.cursor() as cursor:
        cursor.execute(_update_sql(model, tuple(names), connection.alias), [*values, instance.pk])


def insert_objects(objects):
    """
    Insert new objects of one model, as QuerySet.bulk_create() does.

    Django binds the rows of one statement as an array for each column, which costs more than it saves for a few rows.
    """
    model = type(objects[0])
    if len(objects) > FEW:
        model.objects.bulk_create(objects, batch_size=BATCH_SIZE)
        return
    connection = connections[router.db_for_write(model)]
    fields = _inserted_fields(model)
    for instance in objects:
        # A related object that was assigned unsaved has its id when this runs.
        instance._prepare_related_fields_for_save(operation_name="bulk_create")
    values = [
        field.get_db_prep_save(field.pre_save(instance, True), connection) for instance in objects for field in fields
    ]
    with connection.cursor() as cursor:
        cursor.execute(_insert_sql(model, len(objects), connection.alias), values)
        for instance, (pk,) in zip(objects, cursor.fetchall(), strict=True):
            instance.pk = pk
            instance._state.adding = False
            instance._state.db = connection.alias


@cache
def _prepare(query, *shape):
    # The SQL is kept for all later calls, which may run in another branch or in none.
    with branching.on_main():
        queryset = query(*shape)
        alias = queryset.db
    compiler = queryset.query.get_compiler(alias)
    sql, parameters = compiler.as_sql()
    parameters = tuple((parameter, parameter in _names) for parameter in parameters)
    placeholders = frozenset(parameter for parameter, is_placeholder in parameters if is_placeholder)
    converters = compiler.get_converters([column for column, *_rest in compiler.select])
    return _Prepared(alias, sql, parameters, placeholders, compiler, converters)


def _fetch(prepared, values):
    parameters = _fill(prepared, values)
    with connections[prepared.alias].cursor() as cursor:
        cursor.execute(prepared.sql, parameters)
        return cursor.fetchall()


def _fill(prepared, values):
    """Return the parameters of the SQL with `values` in place of the placeholders."""
    if values.keys() != prepared.placeholders:
        wrong = values.keys() ^ prepared.placeholders
        raise KeyError(
            f"Unfilled or unknown placeholders: {', '.join(sorted(str(_names.get(one, one)) for one in wrong))}"
        )
    return [values[parameter] if is_placeholder else parameter for parameter, is_placeholder in prepared.parameters]


@cache
def _update_sql(model, names, alias):
    query = model._base_manager.filter(pk=0).query.chain(UpdateQuery)
    query.add_update_values(dict.fromkeys(names))
    sql, _parameters = query.get_compiler(alias).as_sql()
    return sql


def _inserted_fields(model):
    return [field for field in model._meta.concrete_fields if not field.primary_key]


@cache
def _insert_sql(model, count, alias):
    quote = connections[alias].ops.quote_name
    columns = [quote(field.column) for field in _inserted_fields(model)]
    row = f"({', '.join(['%s'] * len(columns))})"
    return (
        f"INSERT INTO {quote(model._meta.db_table)} ({', '.join(columns)}) "
        f"VALUES {', '.join([row] * count)} RETURNING {quote(model._meta.pk.column)}"
    )
