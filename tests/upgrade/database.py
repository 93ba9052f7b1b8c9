"""Reads schema and data of a database from PostgreSQL itself."""

import json
import re
import shutil
import subprocess

from tests.stack.database import Database
from tests.stack.servers import PostgreSQL, StackError

__all__ = ("catalog", "other_tables", "plugin_rows", "run_program")

PREFIX = "netbox_vlan_manager_"
# Two of the plugin's triggers are on NetBox's tables.
CATALOG = """
SELECT 'column', c.relname, a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
        pg_get_expr(d.adbin, d.adrelid), (SELECT collname FROM pg_collation WHERE oid = a.attcollation))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND starts_with(c.relname, %(prefix)s)
UNION ALL
SELECT 'constraint', c.relname, o.conname,
        concat_ws(' ', pg_get_constraintdef(o.oid), o.condeferrable, o.condeferred, o.convalidated)
    FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid WHERE starts_with(c.relname, %(prefix)s)
UNION ALL
SELECT 'index', c.relname, x.relname, concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisvalid)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
    WHERE starts_with(c.relname, %(prefix)s)
UNION ALL
SELECT 'trigger', c.relname, t.tgname,
        concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled, t.tgdeferrable, t.tginitdeferred)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE starts_with(t.tgname, %(prefix)s)
UNION ALL
SELECT 'function', proname, '', pg_get_functiondef(oid) FROM pg_proc WHERE starts_with(proname, %(prefix)s)
"""
# After a dump and restore, "status IN (...)" has its casts in other places.
NOISE = re.compile(r"[()]|::(character varying|text)(\[\])?")


def catalog(connection):
    """Return PostgreSQL's definitions of the plugin's tables and triggers: {(kind, table, name): definition}."""
    with connection.cursor() as cursor:
        cursor.execute(CATALOG, {"prefix": PREFIX})
        return {
            (kind, table, name): NOISE.sub("", definition) if kind in ("constraint", "index") else definition
            for kind, table, name, definition in cursor.fetchall()
        }


def plugin_rows(connection):
    """Return all rows of the plugin's tables, as PostgreSQL prints them: {table: {id: {column: value}}}."""
    rows = {}
    for table in _tables(connection):
        if table.startswith(PREFIX):
            query = f'SELECT id, to_jsonb(t)::text FROM "{table}" t'
            rows[table] = {pk: json.loads(columns) for pk, columns in _all(connection, query)}
    return rows


def other_tables(connection):
    """Return a digest of the rows of each of NetBox's own tables: {table: text}."""
    return {
        table: _all(connection, f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM \"{table}\" t")[0][0]
        for table in _tables(connection)
        if not table.startswith(PREFIX) and table != "django_migrations"
    }


def _tables(connection):
    return [name for (name,) in _all(connection, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


def _all(connection, query):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def run_program(name, *arguments, env):
    """
    Run one of PostgreSQL's client programs.

    Args:
        name: Its name, such as "pg_dump".
        arguments: Its arguments.
        env: The environment of the Database that it connects to.

    Returns:
        The program's output.

    Raises:
        StackError: The server is newer than all installed programs, which pg_dump refuses.
    """
    names = {"HOST": "HOST", "PORT": "PORT", "USER": "USER", "PASSWORD": "PASSWORD", "DATABASE": "NAME"}
    env = env | {f"PG{ours}": env[f"DB_{theirs}"] for ours, theirs in names.items()}
    with Database(env["DB_NAME"], env).connect() as connection:
        server = connection.info.server_version // 10000
    for path in (*PostgreSQL.DEBIAN.glob(f"*/bin/{name}"), *filter(None, [shutil.which(name)])):
        output = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        if int(re.search(r"\d+", output)[0]) >= server:
            return subprocess.run([path, *arguments], env=env, capture_output=True, text=True, check=True).stdout
    raise StackError(f"{name} {server} is needed: install the client programs of PostgreSQL {server}.")
