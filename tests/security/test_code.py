"""Static checks of the package's code."""

import ast

from tests.security.audit import REVIEWED, find_weaknesses
from tests.security.test_redos import PACKAGE

# Functions that run raw SQL.
EXECUTING = ("execute", "executemany", "raw", "extra", "RawSQL")


def test_bandit_finds_nothing_new():
    assert find_weaknesses() == REVIEWED.keys()


def test_sql_has_no_values_in_it():
    """Raw SQL is a literal, a constant, or made by one of the reviewed expressions, which contain no values."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name not in EXECUTING:
                continue
            sql = node.args[0]
            if isinstance(sql, ast.Constant) or (isinstance(sql, ast.Name) and sql.id.isupper()):
                continue
            found.append((path.relative_to(PACKAGE).as_posix(), ast.unparse(sql)))
    assert sorted(found) == [
        # The names of a branch's schema, a table and its trigger, quoted by Django.
        ("branching.py", "'DROP TRIGGER IF EXISTS {} ON {}.{}'.format(*names)"),
        # Only placeholders are put in, one pair for each key.
        ("services/base/audit/known.py", "LOOK_UP.format(keys=', '.join(['(%s, %s)'] * len(keys)) or '(NULL, NULL)')"),
        # Names of tables and columns, quoted by Django; compiled by Django.
        ("services/base/prepared_queries.py", "_insert_sql(model, len(objects), connection.alias)"),
        ("services/base/prepared_queries.py", "_update_sql(model, tuple(names), connection.alias)"),
        ("services/base/prepared_queries.py", "prepared.sql"),
        # Calls of the lock functions, with placeholders.
        ("services/base/transactions.py", "f'SELECT {', '.join((call for call, _values in batch))}'"),
        # A table's name, constants, and conditions of the user's permissions, compiled by Django.
        ("services/segments/usage.py", "statement"),
    ]


def test_templates_escape_all():
    for path in sorted(PACKAGE.rglob("*.html")):
        text = path.read_text()
        for word in ("|safe", "autoescape", "|safeseq", "onclick", "javascript:"):
            assert word not in text.replace(" ", ""), (path.name, word)
