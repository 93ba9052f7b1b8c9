"""
Looks for known weaknesses in the package's code and its requirements: python -m tests.security.audit

Bandit reads the code; pip-audit asks PyPI, and so is no part of the tests. Exits with 1 if anything was found, and if
PyPI did not answer, since the requirements are then unchecked.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ("REVIEWED", "find_vulnerabilities", "find_weaknesses")

PROJECT = Path(__file__).resolve().parents[2]

# Findings of bandit that were reviewed: {(file, code): why it may stay}.
REVIEWED = {
    ("api/names.py", "B105"): "The name of a field of forms",
    ("services/base/audit/known.py", "B608"): "Names of tables, and placeholders",
    ("services/segments/free_space.py", "B608"): "Put together from constants",
    ("services/base/documents.py", "B506"): "A SafeLoader without most of its types",
    ("services/base/prepared_queries.py", "B608"): "Names of tables and columns that Django quotes",
    ("services/base/transactions.py", "B311"): "A pause between two tries",
    ("services/segments/usage.py", "B608"): "The name of a table, constants, and a filter that Django compiles",
    ("services/segments/usage.py", "B104"): "An address that is compared, and not bound",
    ("ui/plots.py", "B308"): "svgwrite escapes texts and attributes",
    ("ui/plots.py", "B703"): "svgwrite escapes texts and attributes",
    ("ui/timeline.py", "B308"): "svgwrite escapes texts and attributes",
    ("ui/timeline.py", "B703"): "svgwrite escapes texts and attributes",
}

# A release with known vulnerabilities, to detect a mirror of PyPI that reports none.
WEAK = "paramiko"
WEAK_LINE = f"{WEAK}==2.0.0 --hash=sha256:{'0' * 64}\n"
UNREACHABLE = "The vulnerability service of PyPI cannot be reached: nothing is known of the requirements"


class AuditError(Exception):
    """The check could not run."""


def find_weaknesses():
    """Return {(file, code)} of bandit's findings in the package."""
    package = PROJECT / "netbox_vlan_manager"
    process = subprocess.run(
        [sys.executable, "-m", "bandit", "--quiet", "--recursive", "--format=json", str(package)],
        capture_output=True,
        text=True,
    )
    report = json.loads(process.stdout)
    if report["errors"]:
        raise AuditError(f"Bandit could not read everything: {report['errors']}")
    return {(Path(found["filename"]).relative_to(package).as_posix(), found["test_id"]) for found in report["results"]}


def find_vulnerabilities():
    """
    Return a line for each known vulnerability of the locked requirements.

    Raises:
        AuditError: The service did not answer, or does not know the requirements or their vulnerabilities.
    """
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--timeout=20"]
    command += ["--disable-pip", "--require-hashes", f"--requirement={PROJECT / 'requirements-dev.txt'}"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(WEAK_LINE)
        file.flush()
        command.append(f"--requirement={file.name}")
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=600)
            dependencies = json.loads(process.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            raise AuditError(UNREACHABLE) from None
    unknown = [dependency["name"] for dependency in dependencies if "skip_reason" in dependency]
    if len(unknown) == len(dependencies):
        raise AuditError(UNREACHABLE)
    if unknown:
        raise AuditError(f"PyPI knows nothing of {', '.join(unknown)}: nothing is said of the requirements")
    if not any(dependency["vulns"] for dependency in dependencies if dependency["name"] == WEAK):
        raise AuditError(f"{UNREACHABLE}: what answers does not know the weaknesses of an old {WEAK}")
    return [
        f"{dependency['name']} {dependency['version']}: {found['id']}, fixed in {', '.join(found['fix_versions'])}"
        for dependency in dependencies
        for found in dependency["vulns"]
        if dependency["name"] != WEAK
    ]


def main():
    lines = [f"{name}: {code}" for name, code in sorted(find_weaknesses() - REVIEWED.keys())]
    try:
        lines += find_vulnerabilities()
    except AuditError as error:
        lines.append(str(error))
    print("\n".join(lines) or "Nothing found")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
