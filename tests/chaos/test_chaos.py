"""A short run of the fault suite; `make chaos` runs it in full."""

import json
import subprocess
import sys

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.load import Call, find_losses
from tests.stack.database import PROJECT


@pytest.fixture(scope="module")
def outcomes(stack, tmp_path_factory):
    """The {fault: outcome} of one run with its own servers."""
    if stack.postgresql is None or stack.valkey is None:
        pytest.skip("The fault suite stops and kills its servers: unset DB_HOST and REDIS_HOST.")
    path = tmp_path_factory.mktemp("chaos") / "outcomes.json"
    process = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--scale=0.06", f"--json={path}"],
        cwd=PROJECT,
        env=stack.inherited,
        capture_output=True,
        text=True,
        check=False,
    )
    assert path.exists(), process.stderr
    sys.stdout.write(process.stdout)
    return json.loads(path.read_text())


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost(outcomes, fault):
    outcome = outcomes[fault]
    if outcome["skipped"]:
        pytest.skip(outcome["skipped"])
    assert outcome["lost"] == []
    assert outcome["answers"]["done"] > 0


class Rows:
    """A fake connection that returns the rows of the allocations, and then those of the change log."""

    def __init__(self, allocations, changes=()):
        self.results = [allocations, changes]

    def execute(self, query, parameters):
        self.rows = self.results.pop(0)
        return self

    def fetchall(self):
        return list(self.rows)

    def __iter__(self):
        return iter(self.rows)


def given(allocation=1, vid=7, created=True, cluster="a"):
    return Call(cluster, "allocate", 200, {"vlan_id": vid}, "{}", allocation, created)


RELEASED = Call("a", "release", 200, {})
HELD = [(1, "a", 7, True)]
UNANSWERED = Call("a", "allocate")


@pytest.mark.parametrize(
    ("rows", "calls", "loss"),
    [
        ([], [given()], "told VLAN 7 by allocation 1"),
        ([(1, "a", 8, True)], [given()], "told VLAN 7 by allocation 1"),
        ([*HELD, (2, "b", 7, True)], [given(), given(2, cluster="b")], "VLAN 7 is held 2 times"),
        ([*HELD, (2, "a", 8, True)], [given(), given(2, 8)], "a holds 2 segments"),
        (HELD, [given(), given()], "Allocation 1 was made 2 times"),
        (HELD, [given(), RELEASED], "a holds [1] in the database, and None by the answers"),
        ([(1, "a", 7, False)], [given()], "a holds [] in the database, and 1 by the answers"),
        ([*HELD, (2, "b", 8, True)], [given()], "Nobody asked for allocation 2 of b"),
        (HELD, [given(created=False)], "a held None and was given 1"),
        (HELD, [given(), Call("a", "release", 404, {"code": "allocation_not_found"}), given()], "was gone"),
        ([], [Call("a", "allocate", 503, {"code": "busy"})], "503 without Retry-After"),
        ([], [Call("a", "allocate", 400, {"code": "invalid"})], "allocate of a: 400"),
        ([], [Call("a", "allocate", 500, {}, "Traceback (most recent call last):")], "a traceback"),
    ],
)
def test_the_suite_sees_what_is_lost(rows, calls, loss):
    assert any(loss in found for found in find_losses(Rows(rows), "Chaos-1", calls))


def test_the_suite_sees_a_change_that_was_not_logged():
    losses = find_losses(Rows(HELD, [(1, 0, 0, False)]), "Chaos-1", [given()])
    assert losses == ["The change log has 0 entries for allocation 1 and 0 for its release"]


@pytest.mark.parametrize(
    ("rows", "calls"),
    [
        (HELD, [given(), given(created=False)]),
        # A call without an answer may have been carried out, or not.
        (HELD, [UNANSWERED, given(created=False)]),
        (HELD, [UNANSWERED, given()]),
        (HELD, [UNANSWERED]),
        ([], [UNANSWERED]),
        (
            [(1, "a", 7, False)],
            [given(), Call("a", "release"), Call("a", "release", 404, {"code": "allocation_not_found"})],
        ),
    ],
)
def test_the_suite_finds_nothing_where_all_is_well(rows, calls):
    assert find_losses(Rows(rows), "Chaos-1", calls) == []
