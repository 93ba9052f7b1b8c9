"""
What is known to be weak in the package's code and in what it uses: python -m tests.security.audit

Bandit reads the code; pip-audit asks PyPI, and is no part of the tests for that. Exits with 1 when something was found
or could not be asked.
"""

import json
import subprocess
import sys
from pathlib import Path

__all__ = ("REVIEWED", "find_vulnerabilities", "find_weaknesses")

PROJECT = Path(__file__).resolve().parents[2]

# What bandit finds and somebody has looked at: {(file, code): why it may stay}.
REVIEWED = {
    ("services/audit.py", "B608"): "Names of tables, and placeholders",
    ("services/import_files.py", "B506"): "A SafeLoader without most of its types",
    ("services/prepared.py", "B608"): "Names of tables and columns that Django quotes",
    ("services/transactions.py", "B311"): "A pause between two tries",
    ("ui/plots.py", "B308"): "svgwrite escapes texts and attributes",
    ("ui/plots.py", "B703"): "svgwrite escapes texts and attributes",
}


class AuditError(Exception):
    """The question could not be asked."""


def find_weaknesses():
    """Return {(file, code)} of what bandit finds in the package."""
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
        AuditError: The service did not answer, or did not know what was asked.
    """
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--timeout=20"]
    command += ["--disable-pip", "--require-hashes", f"--requirement={PROJECT / 'requirements-dev.txt'}"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=600)
        dependencies = json.loads(process.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        raise AuditError("The vulnerability service cannot be reached: nothing is known of the requirements") from None
    unknown = [dependency["name"] for dependency in dependencies if "skip_reason" in dependency]
    if unknown:
        raise AuditError(f"The vulnerability service knows nothing of {len(unknown)} of {len(dependencies)} packages")
    return [
        f"{dependency['name']} {dependency['version']}: {found['id']}, fixed in {', '.join(found['fix_versions'])}"
        for dependency in dependencies
        for found in dependency["vulns"]
    ]


def main():
    try:
        new = [f"{name}: {code}" for name, code in sorted(find_weaknesses() - REVIEWED.keys())]
        lines = new + find_vulnerabilities()
    except AuditError as error:
        sys.exit(str(error))
    print("\n".join(lines) or "Nothing found")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
