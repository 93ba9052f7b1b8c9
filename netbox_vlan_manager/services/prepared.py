"""
Queries that every call makes, which Django takes longer to build than PostgreSQL to answer. Each is built once.

A query is a function that returns a queryset in which placeholders stand for what a call gives: any values that no call
can give itself. Nothing that a query finds is kept.
"""

from functools import cache

from django.db import connections, router

__all__ = (
    "fetch_object",
    "fetch_rows",
)


def fetch_object(query, values):
    """
    Return the first object that a query finds, or None.

    Args:
        query: A function that returns a queryset of one model's objects.
        values: What a call gives, by placeholder.
    """
    model, sql, parameters = _prepare(query)
    return next(iter(model.objects.raw(sql, _fill(parameters, values))), None)


def fetch_rows(query, values, *shape):
    """
    Return the rows that a query finds, as a list of tuples.

    Args:
        query: A function that takes `shape` and returns a queryset of values_list().
        values: What a call gives, by placeholder.
        shape: What the query itself, and not only its values, depends on.
    """
    model, sql, parameters = _prepare(query, *shape)
    with connections[router.db_for_read(model)].cursor() as cursor:
        cursor.execute(sql, _fill(parameters, values))
        return cursor.fetchall()


@cache
def _prepare(query, *shape):
    queryset = query(*shape)
    return queryset.model, *queryset.query.sql_with_params()


def _fill(parameters, values):
    return [values.get(parameter, parameter) for parameter in parameters]
