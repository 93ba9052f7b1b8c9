"""The keys that names of clusters are compared by."""

from django.db import connection

__all__ = (
    "cluster_key",
    "cluster_keys",
)

# About how many keys each process remembers. The key of a name never changes.
KEYS_REMEMBERED = 50_000
_keys = {}


def cluster_keys(names):
    """
    Return {name: key} of names of clusters. The key is UPPER() of PostgreSQL, as in the unique index.

    UPPER() depends on the database's locale, which Python does not know. It takes one query, or none if the process
    remembers all of the names.
    """
    names = set(names)
    keys = {name: _keys[name] for name in names if name in _keys}
    if unknown := list(names - keys.keys()):
        with connection.cursor() as cursor:
            cursor.execute("SELECT name, upper(name) FROM unnest(%s::text[]) AS name", [unknown])
            keys.update(cursor.fetchall())
        if len(_keys) > KEYS_REMEMBERED:
            _keys.clear()
        _keys.update(keys)
    return keys


def cluster_key(name):
    """Return the key of one name of a cluster. A caller with many names calls `cluster_keys` with all of them first."""
    return cluster_keys([name])[name]
