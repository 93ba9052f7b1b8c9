"""
Recordings of what functions write to the database, so that the next call inserts the rows at once.

The services take 0.2 s to make a pool with segments, since they check, log and lock as in production, and most tests
begin with such a pool. In one process, the first call with the same arguments runs the services; later calls insert
the rows that it left behind, with the same ids, and with times as if the services had run again.

A call is replayed only in a transaction, which a test rolls back, and only if the database holds the same objects as
at the recorded call: none in the tables `_CONTENT`, or just those of the recorded and replayed calls before.
"""

import pickle
import re
from datetime import datetime
from functools import cache, partial, wraps
from typing import NamedTuple

from django.apps import apps
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models, transaction
from django.utils import timezone
from psycopg import sql

from core.signals import clear_signal_history
from netbox.context import current_request
from users.models import User

__all__ = ("recorded",)

# What services write depends on the rows of these tables.
_CONTENT = re.compile(
    "core_(configrevision|objectchange)|dcim_(location|region|site|sitegroup)"
    "|extras_(cachedvalue|customfield|eventrule|tag)|ipam_(aggregate|ipaddress|iprange|prefix|role|vlan|vlangroup|vrf)"
    "|netbox_vlan_manager_.*|tenancy_tenant|virtualization_cluster"
)
# A test may have made users, permissions and sessions before.
_IGNORED = re.compile("django_session|users_.*")
# A time as rows have it in JSON.
_TIME = re.compile(r'(?<=")(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00))(?=")')

# Stands for the id of the user in SQL.
_USER = "$user$"

_LOOK = """
    SELECT (SELECT oid FROM pg_database WHERE datname = current_database()), pg_current_xact_id_if_assigned()::text,
        sum(writes)::int8
    FROM ({}) AS tables
"""
_COUNT = """
    SELECT oid::regclass::text, pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid)
        + pg_stat_get_xact_tuples_deleted(oid) AS writes
    FROM unnest('{{{}}}'::oid[]) AS oid
"""
_COLUMNS = """
    SELECT attname FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""


class _Recording(NamedTuple):
    """
    What a call left behind.

    Attributes:
        at: The time of the call.
        result: What it returned, a model instance, pickled.
        witness: The table and the id of that instance.
        tables: The tables into which it wrote.
        rows: The SQL that inserts the same rows. Every other item is a time.
    """

    at: datetime
    result: bytes
    witness: tuple
    tables: tuple
    rows: list


class _Recorder:
    """The recordings of this process, for one database."""

    def __init__(self):
        self.database = None
        # {calls: _Recording of the last of them}
        self.recordings = {}
        # In a transaction that has made so many writes, the database holds the rows of these calls and no others.
        self.transaction, self.writes, self.calls = None, 0, ()

    def call(self, function, key, user):
        """Replay a call of `function`, identified by `key`, or call it and record what it writes."""
        calls = self._find_calls()
        self.transaction = None
        if calls is None:
            return function()
        calls = (*calls, key)
        if recording := self.recordings.get(calls):
            result = _replay(recording, user)
        else:
            result = self._record(function, calls, user)
        if calls in self.recordings:
            _database, self.transaction, self.writes = _fetch(_LOOK.format(_count_sql()))[0]
            self.calls = calls
        return result

    def _find_calls(self):
        """Return the calls whose rows are all that the database holds, or None if it holds others."""
        database, transaction_id, writes = _fetch(_LOOK.format(_count_sql()))[0]
        if database != self.database:
            # The sequences of a new database give the recorded ids again.
            self.database, self.recordings, self.transaction = database, {}, None
        if writes == 0:
            return ()
        if self.transaction is not None and (self.transaction, self.writes) == (transaction_id, writes):
            # A rollback to a savepoint may have undone the call.
            table, pk = self.recordings[self.calls].witness
            if _fetch(f"SELECT FROM {table} WHERE id = %s", [pk]):
                return self.calls
        return None if _fetch(_content_sql())[0][0] else ()

    def _record(self, function, calls, user):
        tables = {table for number in range(1, len(calls)) for table in self.recordings[calls[:number]].tables}
        before = {table: dict(_fetch(f"SELECT id::text, to_json(t)::text FROM {table} AS t")) for table in tables}
        writes = dict(_fetch(_count_sql()))
        with transaction.atomic():
            result = function()
        statements = {}
        for table in (table for table, count in _fetch(_count_sql()) if writes.get(table) != count):
            after = dict(_fetch(f"SELECT id::text, to_json(t)::text FROM {table} AS t ORDER BY id"))
            # A replay only inserts rows, into tables that hold no rows but recorded ones.
            is_new = all(after.pop(pk, None) == row for pk, row in before.get(table, {}).items())
            if not is_new or not _CONTENT.fullmatch(table):
                return result
            statements[table] = _insert(table, after.values())
        witness = (result._meta.db_table, result.pk)
        rows = _TIME.split("; ".join(statements.values()))
        self.recordings[calls] = _Recording(timezone.now(), pickle.dumps(result), witness, tuple(statements), rows)
        return result


_recorder = _Recorder()


def recorded(function):
    """
    Decorate `function`, which makes objects for tests and returns one of them: a call is replayed if it can be.

    Args:
        function: It takes `user`, and plain arguments or stored objects.
    """

    @wraps(function)
    def call(*args, user, **kwargs):
        build = partial(function, *args, user=user, **kwargs)
        key = _key([function.__name__, settings.PLUGINS_CONFIG, args, kwargs])
        if key is None or not is_enabled or not connection.in_atomic_block or current_request.get():
            return build()
        return _recorder.call(build, key, user)

    return call


# Only tests repeat calls: tests/conftest.py switches it on.
is_enabled = False


def _key(value):
    """Return what identifies arguments in another test, or None if they are more than plain values."""
    try:
        return repr(_plain(value))
    except TypeError:
        return None


def _plain(value):
    match value:
        case dict():
            return [(name, _plain(item)) for name, item in sorted(value.items())]
        case list() | tuple():
            return [_plain(item) for item in value]
        case models.Model() if value.pk:
            return value._meta.label, value.pk
        case None | bool() | int() | float() | str():
            return value
    raise TypeError


def _replay(recording, user):
    """Insert the rows of a recording, as made by `user` now, and return its result."""
    passed = timezone.now() - recording.at
    parts = list(recording.rows)
    times = {time: _write_time(time, datetime.fromisoformat(time) + passed) for time in {*parts[1::2]}}
    parts[1::2] = [times[time] for time in parts[1::2]]
    with connection.cursor() as cursor:
        cursor.execute("".join(parts).replace(_USER, str(user.pk)))
    # NetBox logs no second deletion of the same id in what it takes for one request.
    clear_signal_history(sender=None)
    result = pickle.loads(recording.result)
    _move(result, passed)
    return result


def _write_time(pattern, time):
    # PostgreSQL's JSON has microseconds, and Django's has milliseconds.
    return time.isoformat(timespec="milliseconds")[:-6] + "Z" if pattern.endswith("Z") else time.isoformat()


def _move(instance, passed):
    """Add `passed` to the times of an instance and of the related objects that it holds."""
    for field in instance._meta.concrete_fields:
        value = instance.__dict__.get(field.attname)
        if isinstance(value, datetime):
            setattr(instance, field.attname, value + passed)
    for related in instance._state.fields_cache.values():
        if isinstance(related, models.Model) and not isinstance(related, ContentType):
            _move(related, passed)


def _insert(table, rows):
    """Return the statement that inserts rows, given as JSON, with the placeholder `_USER` for their user."""
    columns = [name for (name,) in _fetch(_COLUMNS, [table])]
    names = ", ".join(f'"{name}"' for name in columns)
    users = _user_columns()
    values = (f'"{name}" + {_USER} - "{name}"' if (table, name) in users else f'"{name}"' for name in columns)
    literal = sql.Literal(f"[{','.join(rows)}]").as_string(connection.connection)
    source = f"json_populate_recordset(NULL::{table}, {literal})"
    return f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM {source}"


@cache
def _user_columns():
    """Return (table, column) of the columns that name users."""
    fields = (field for model in apps.get_models() for field in model._meta.concrete_fields)
    return {(field.model._meta.db_table, field.column) for field in fields if field.related_model is User}


@cache
def _count_sql():
    """Return the statement that counts the changes of this transaction in each table."""
    tables = "SELECT relname, oid::int8 FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    return _COUNT.format(",".join(str(oid) for name, oid in _fetch(tables) if not _IGNORED.fullmatch(name)))


@cache
def _content_sql():
    """Return the statement that says whether one of the tables `_CONTENT` has rows."""
    tables = filter(_CONTENT.fullmatch, connection.introspection.table_names())
    return f"SELECT {' OR '.join(f'EXISTS (SELECT FROM {table})' for table in tables)}"


def _fetch(query, values=None):
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()
