"""
Breaks the servers below the plugin under load, and checks that nothing was lost: python -m tests.chaos.

Every answer with status 200 or 201 must be in the database exactly once, the invariants must hold, and the service
must answer again without help. Exits 1 if anything was lost.
"""

import argparse
import json
import resource
import signal
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from tests.chaos.faults import FAULTS, SEGMENTS, Outcome
from tests.chaos.world import World
from tests.stack import StackError

# More than the faults use together.
POOLS = 30


def run(names, scale):
    """Run the faults, and yield the name, the Outcome and the seconds of each."""
    with World.stack() as stack:
        world = World(stack, POOLS, SEGMENTS)
        for name in names:
            start = time.monotonic()
            try:
                outcome = FAULTS[name](world, scale)
            except Exception as error:
                traceback.print_exc()
                outcome = Outcome(FAULTS[name].__doc__, lost=[f"{type(error).__name__}: {error}"])
            yield name, outcome, time.monotonic() - start


def describe(name, outcome, elapsed):
    """Return the lines that report an Outcome."""
    if outcome.skipped:
        return f"{name:12} not tried: {outcome.skipped}"
    answers = ", ".join(f"{count} {kind}" for kind, count in sorted(outcome.answers.items()))
    back = "" if outcome.back is None else f"; answers again after {outcome.back:.1f} s"
    lines = [f"{name:12} tried     {outcome.tried} ({elapsed:.0f} s)", f"{'':12} survived  {answers}{back}"]
    lines += [f"{'':12} lost      {len(outcome.lost)}", *(f"{'':14}{loss}" for loss in outcome.lost[:20])]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--only", choices=FAULTS, action="append", help="This fault; may be given several times")
    parser.add_argument(
        "--scale", type=float, default=1, help="Of the sizes of a full run, down to the least that says something"
    )
    parser.add_argument("--json", type=Path, help="Write the outcomes there as well")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Each client needs a socket.
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))

    outcomes = {}
    try:
        for name, outcome, elapsed in run(options.only or FAULTS, options.scale):
            # asdict() would copy a Counter from its pairs, and so count the pairs.
            outcomes[name] = asdict(outcome) | {"answers": dict(outcome.answers)}
            print(describe(name, outcome, elapsed), flush=True)
    except StackError as e:
        print(e, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if options.json:
        options.json.write_text(json.dumps(outcomes, indent=2) + "\n")
    lost = sum(len(outcome["lost"]) for outcome in outcomes.values())
    print(f"\n{len(outcomes)} faults, {lost} lost")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
