"""
Runs tests of this directory through PgBouncer too: those most at risk always, all of them with DB_POOLER=pgbouncer in
the environment.
"""

import os
from dataclasses import replace

import pytest

from tests.stack import StackError

# Tests of locks, retries, savepoints, cursors and clients that die.
AT_RISK = {
    "test_no_segment_is_given_twice",
    "test_one_cluster_that_asks_fifty_times_has_one_allocation",
    "test_exports_are_whole_while_others_write",
    "test_each_release_happens_once",
    "test_lock_that_is_not_had_in_time_answers_busy",
    "test_deadlock_is_tried_again_without_the_failed_try_s_events",
    "test_process_that_dies_half_way_leaves_nothing",
    "test_one_idempotency_key_posted_eight_times_at_once",
}


def pytest_generate_tests(metafunc):
    if "fresh_database" in metafunc.fixturenames:
        if os.environ.get("DB_POOLER") == "pgbouncer":
            ways = ["pgbouncer"]
        else:
            is_at_risk = metafunc.function.__name__ in AT_RISK
            marks = [pytest.mark.fast] if is_at_risk else []
            ways = [pytest.param("direct", marks=marks), *["pgbouncer"] * is_at_risk]
        metafunc.parametrize("fresh_database", ways, indirect=True)


@pytest.fixture(scope="session")
def pgbouncer(stack):
    """A PgBouncer in transaction pooling before this run's PostgreSQL."""
    try:
        pgbouncer = stack.start_pgbouncer()
    except StackError as e:
        pytest.skip(str(e))
    yield pgbouncer
    pgbouncer.stop()


@pytest.fixture
def fresh_database(fresh_database, request):
    """The fixture of that name; the databases' `env` goes through PgBouncer if the test asks for it."""
    if request.param == "direct":
        return fresh_database
    env = request.getfixturevalue("pgbouncer").env

    def create():
        database = fresh_database()
        return replace(database, env=database.env | env)

    return create
