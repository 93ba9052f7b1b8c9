"""A search for drift that costs a tenth of the services' own, since hundreds of tests end with it."""

from django.conf import settings
from django.db import connection

from netbox_vlan_manager.services.drift import findings

__all__ = ("find_drift",)

# A prepared statement is planned once, while the tables are small.
MOST_SEGMENTS = 100


class _Search:
    """
    The checks of drift whose only statement found nothing, so that they will find nothing as long as it finds nothing.

    Django needs longer to build their statements than PostgreSQL to run them. The first statement of a check depends on
    the settings and the time alone, for which `key` stands, and statements hold no time.
    """

    def __init__(self):
        # {(key, check): SQL}
        self.statements = {}
        # {SQL: name of the prepared statement}, for one connection.
        self.prepared, self.connection = {}, None

    def is_clean(self):
        """Return whether there is no drift."""
        key = repr(settings.PLUGINS_CONFIG)
        checks = [(key, check) for check in dict.fromkeys(kind.check for kind in findings.KINDS.values())]
        known = [self.statements[check] for check in checks if check in self.statements]
        if known and self._find(f"SELECT {' OR '.join(f'EXISTS ({one})' for one in known)}"):
            return False
        return all(self._is_clean(check) for check in checks if check not in self.statements)

    def _is_clean(self, check):
        statements = []

        def note(execute, sql, params, many, context):
            statements.append(context["cursor"].cursor.mogrify(sql, params))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(note):
            found = list(check[1](None))
        if len(statements) == 1 and not found and not self._find(f"SELECT EXISTS ({statements[0]})"):
            self.statements[check] = statements[0]
        return not found

    def _find(self, sql):
        if self.connection is not connection.connection:
            self.prepared, self.connection = {}, connection.connection
        with connection.cursor() as cursor:
            if sql not in self.prepared:
                self.prepared[sql] = f"drift_{len(self.prepared)}"
                cursor.execute(f"PREPARE {self.prepared[sql]} AS {sql}")
            cursor.execute(f"EXECUTE {self.prepared[sql]}")
            return cursor.fetchone()[0]


_search = _Search()


def find_drift():
    """Return the drift that the service finds: it is asked only if there is any."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM netbox_vlan_manager_segment")
        is_small = cursor.fetchone()[0] <= MOST_SEGMENTS
    return [] if is_small and _search.is_clean() else findings.find_drift()
