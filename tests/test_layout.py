"""Limits for the length of files, functions and test names: longer code has more than one topic."""

import ast

from tests.stack.database import PROJECT

PACKAGE = PROJECT / "netbox_vlan_manager"
FILE_LINES, FUNCTION_LINES, PARAMETERS = 500, 45, 6
# The interface of the shell, with all arguments written out.
WRITTEN_OUT = {"create_pool", "create_segment"}


def code_files():
    return [path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts]


def functions():
    for path in code_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.relative_to(PACKAGE), node


def test_files():
    lines = {str(path.relative_to(PACKAGE)): path.read_text().count("\n") for path in code_files()}
    assert len(lines) > 100
    assert {path: count for path, count in lines.items() if count > FILE_LINES} == {}


def test_functions():
    lines = {(str(path), node.name): node.end_lineno - node.lineno + 1 for path, node in functions()}
    assert len(lines) > 1000
    assert {name: count for name, count in lines.items() if count > FUNCTION_LINES} == {}


def test_parameters():
    counts = {}
    for path, node in functions():
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        counts[str(path), node.name] = len([name for name in names if name not in ("self", "cls")])
    too_many = {name for name, count in counts.items() if count > PARAMETERS}
    assert {name for _path, name in too_many} <= WRITTEN_OUT, too_many


def test_names_of_tests():
    """Test names of more than 60 characters are hard to read."""
    names = {
        node.name
        for path in (PROJECT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert len(names) > 1500
    assert sorted(name for name in names if len(name) > 60) == []
