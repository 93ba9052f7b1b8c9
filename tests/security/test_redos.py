"""No regular expression of the package takes quadratic time, even on texts that are written to slow it."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import netbox_vlan_manager
from netbox_vlan_manager.api.references import ID_TEXT
from netbox_vlan_manager.services.segments.first_generation_fields import GROUP_NAME
from netbox_vlan_manager.validators import _epg_characters, epg_name_pattern

PACKAGE = Path(netbox_vlan_manager.__file__).parent
FUNCTIONS = ("compile", "match", "fullmatch", "search", "findall", "finditer", "split", "sub")
# The allowed time, as a multiple of a plain search through the same text. Quadratic patterns take 10,000 times as long.
RATIO = 300

PROBE = r"""
import json, re, sys, time
patterns = json.load(sys.stdin)
N = 100_000
seeds = ["a", "0", "1", "-", "_", ",", " ", "\t", "\n", ";", "'", "{", "}", "{a", "{}", "rows", "rows ", "- ", "[", "=",
    ";'", "';", "\n'", ",, ", "0-", "9999-", "1.", "a.", ":", "::", "/", "-ClickCluster-", "-clickcluster-\n", "A-",
    "\x00", "\ud800", "é", "/day", "1/"]
def run(pattern, text, method="search"):
    begun = time.process_time()
    pattern.sub("", text) if method == "sub" else getattr(pattern, method)(text)
    return time.process_time() - begun
plain = max(max(run(re.compile("[^x]!"), (seed * N)[:N]) for seed in seeds), 0.001)
print(plain, flush=True)
for name, source, flags, method in patterns:
    pattern = re.compile(source, flags)
    for seed in seeds:
        for end in ("", "\n", "!"):
            print(json.dumps([name, seed, run(pattern, (seed * N)[:N] + end, method) / plain]), flush=True)
"""


def find_patterns():
    """Return [(place, pattern, flags)] of all calls of `re` in the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re"):
                continue
            assert node.func.attr in FUNCTIONS, (name, node.lineno)
            found.append((f"{name}:{node.lineno}", node.args[0], node))
    return found


def made_patterns():
    """Return {source: compiled pattern} of the patterns that are built at run time."""
    return {
        'rf"(.+?){GROUP_INFIX}(.+)"': GROUP_NAME,
        'rf"[0-9]{{1,{ID_DIGITS}}}"': ID_TEXT,
        "epg_name_pattern()": re.compile(epg_name_pattern()),
        'f"[^A-Za-z0-9{_epg_characters()}]+"': re.compile(f"[^A-Za-z0-9{_epg_characters()}]+"),
    }


def compiled_patterns():
    """Return [(place, pattern, flags, method)]: each compiled pattern with each method that is called on it."""
    package = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    patterns = []
    for place, argument, node in find_patterns():
        pattern, flags = argument.value if isinstance(argument, ast.Constant) else None, 0
        if pattern is None:
            made = made_patterns()
            source = source_of(place, node)
            assert source in made, f"Say what the pattern in {place} is"
            pattern, flags = made[source].pattern, int(made[source].flags & (re.ASCII | re.IGNORECASE | re.DOTALL))
        methods = {node.func.attr}
        if node.func.attr == "compile":
            (name,) = re.findall(
                rf"(\w+) = {re.escape(ast.unparse(node.func))}\({re.escape(source_of(place, node))}", package
            )[:1]
            methods = set(re.findall(rf"\b{name}\.({'|'.join(FUNCTIONS)})\(", package))
            assert methods, f"{name} in {place} is never used"
        patterns += [(place, pattern, flags, method) for method in sorted(methods)]
    return patterns


def source_of(place, node):
    return ast.get_source_segment((PACKAGE / place.partition(":")[0]).read_text(), node.args[0])


def test_patterns():
    patterns = compiled_patterns()
    assert len(patterns) >= 15
    process = subprocess.run(
        [sys.executable, "-c", PROBE], input=json.dumps(patterns), capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr[-2000:]
    results = [json.loads(line) for line in process.stdout.splitlines()[1:]]
    assert len({name for name, _seed, _ratio in results}) == len({place for place, *_rest in patterns})
    assert [result for result in results if result[2] > RATIO] == []


def test_quadratic_ones_are_found():
    """The bounds detect quadratic patterns; otherwise the other tests would prove nothing."""
    process = subprocess.Popen([sys.executable, "-c", PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.communicate(json.dumps([("bad", "(a+)+!", 0, "search")]), timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    else:
        raise AssertionError("It should have taken longer")
