import argparse
import gzip
import re
import subprocess
import sys
from pathlib import Path

from tests.stack import Stack, StackError
from tests.upgrade.database import run_program

RELEASES = Path(__file__).parent / "releases"


def main():
    """
    Save a database of this release, for the upgrade tests of later releases.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade")
    commands = parser.add_subparsers(dest="command", required=True)
    dump = commands.add_parser("dump", help="write tests/upgrade/releases/NAME.sql.gz")
    dump.add_argument("name", help="the release, such as 0.1.0")
    options = parser.parse_args()
    try:
        with Stack() as stack:
            write_dump(stack.create_database(), RELEASES / f"{options.name}.sql.gz")
    except StackError as e:
        print(e, file=sys.stderr)
        return 1
    return 0


def write_dump(database, path):
    """Fill a Database and write it into a gzipped file of SQL that any client can run."""
    subprocess.run([sys.executable, "-m", "tests.upgrade.filling"], env=database.env, check=True)
    arguments = ["--inserts", "--rows-per-insert=1000", "--no-owner", "--no-privileges"]
    text = run_program("pg_dump", *arguments, env=database.env)
    # Remove psql's own commands, comments, and a setting that older servers do not know.
    text = re.sub(r"^(\\.*|SET transaction_timeout.*|--.*|)\n", "", text, flags=re.MULTILINE)
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        file.write(text.encode())
    print(f"{path.name}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    sys.exit(main())
