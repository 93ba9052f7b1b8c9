"""`make audit` reports no success if PyPI does not answer as it should."""

import json
import subprocess

import pytest

from tests.security import audit

FOUND = {"name": "django", "version": "6.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["6.2"]}]}
SAFE = {"name": "netaddr", "version": "1.3", "vulns": []}
UNKNOWN = {"name": "netaddr", "skip_reason": "Dependency not found on PyPI and could not be audited"}
WEAK = {"name": audit.WEAK, "version": "2.0.0", "vulns": [{"id": "PYSEC-2", "fix_versions": ["2.0.8"]}]}


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs the program with a given pip-audit output, and returns its exit status and its output."""

    def run(answer, weaknesses=()):
        def pip_audit(command, **options):
            if isinstance(answer, Exception):
                raise answer
            return subprocess.CompletedProcess(
                command, 0, answer if isinstance(answer, str) else json.dumps(answer), ""
            )

        monkeypatch.setattr(audit, "find_weaknesses", lambda: {*weaknesses})
        monkeypatch.setattr(audit.subprocess, "run", pip_audit)
        with pytest.raises(SystemExit) as end:
            audit.main()
        return end.value.code, capsys.readouterr().out.splitlines()

    return run


def test_all_is_well(run):
    assert run({"dependencies": [SAFE, WEAK]}) == (False, ["Nothing found"])


def test_what_was_found(run):
    code, lines = run({"dependencies": [FOUND, SAFE, WEAK]}, [("a.py", "B999"), *audit.REVIEWED])
    assert (code, lines) == (True, ["a.py: B999", "django 6.1: PYSEC-1, fixed in 6.2"])


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("", "cannot be reached"),
        ("{}", "cannot be reached"),
        ({"dependencies": []}, "cannot be reached"),
        (subprocess.TimeoutExpired("pip-audit", 600), "cannot be reached"),
        # A mirror without vulnerability data.
        ({"dependencies": [UNKNOWN, {**UNKNOWN, "name": audit.WEAK}]}, "cannot be reached"),
        ({"dependencies": [UNKNOWN, WEAK]}, "knows nothing of netaddr"),
        # A mirror that answers without vulnerabilities.
        ({"dependencies": [SAFE, {**WEAK, "vulns": []}]}, "does not know the weaknesses"),
    ],
)
def test_nothing_is_known(run, answer, text):
    code, lines = run(answer, [("a.py", "B999")])
    assert (code, len(lines), lines[0]) == (True, 2, "a.py: B999")
    assert text in lines[1]
