"""Runs the API fuzzer on all processors: python -m tests.fuzz."""

import argparse
import os
import subprocess
import sys
import time

from tests.stack import Stack, StackError


def main():
    """
    Run the fuzzer and print the findings.

    Returns:
        1 if an answer was wrong, else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    started = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.api", "--cases", str(-(-options.cases // options.workers))]
    try:
        with Stack() as stack:
            # Each worker has its own database and draws different cases.
            workers = [
                subprocess.Popen([*command, "--seed", str(options.seed + number)], env=stack.create_database().env)
                for number in range(options.workers)
            ]
            codes = [worker.wait() for worker in workers]
    except StackError as e:
        print(e, file=sys.stderr)
        return 1
    print(f"Took {time.monotonic() - started:.0f} s")
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
