import argparse
import signal
import subprocess
import sys

from tests.stack import Stack, StackError
from tests.stack.demo import demo, shell


def main():
    """
    Run one command with the servers that it needs.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.stack")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="run NetBox with sample data until interrupted")
    commands.add_parser("shell", help="open NetBox's shell on the running demo's database")
    run = commands.add_parser("run", help="run a program against a fresh database")
    run.add_argument("program", nargs=argparse.REMAINDER)
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.command == "shell":
            return shell()
        with Stack() as stack:
            if options.command == "demo":
                demo(stack)
                return 0
            return subprocess.run(options.program, env=stack.create_database().env, check=False).returncode
    except StackError as e:
        print(e, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as e:
        print(f"{' '.join(map(str, e.cmd))} ended with code {e.returncode}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
