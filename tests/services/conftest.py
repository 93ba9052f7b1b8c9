"""
What most tests of services begin with; a file or folder that needs another user or pool has its own.

This file is imported before Django is set up where pytest is given this folder: fixtures import what they need.
"""

import pytest


@pytest.fixture
def user():
    from tests.factories import make_user

    return make_user("alice", is_superuser=True)


@pytest.fixture
def pool():
    """A pool without segments."""
    from tests.factories import make_pool

    return make_pool()


@pytest.fixture
def no_drift(db):
    """Makes sure that the test leaves consistent data."""
    yield
    from tests.drift import find_drift

    assert find_drift() == []
