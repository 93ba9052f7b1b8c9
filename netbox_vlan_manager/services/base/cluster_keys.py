"""What names of clusters are compared by."""

from django.db import connection

__all__ = (
    "cluster_key",
    "cluster_keys",
)

# Up to about so many names of clusters each process remembers what they are compared by, which never changes.
KEYS_REMEMBERED = 50_000
_keys = {}


def cluster_keys(names):
    """
    Return {name: what it is compared by} of names of clusters: UPPER() of PostgreSQL, which our unique index has.

    What that makes of a letter depends on the database's locale, which Python does not know. It takes one query, or
    none where all names have been asked about lately.
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
    """Return what one name of a cluster is compared by. Who has many names asks about all with `cluster_keys` first."""
    return cluster_keys([name])[name]
