"""
A user with no right of their own, and a pool with five segments.

This file is imported before Django is set up where pytest is given this folder: fixtures import what they need.
"""

import pytest


@pytest.fixture
def user():
    from tests.factories import make_user

    return make_user("alice")


@pytest.fixture
def pool():
    from tests.factories import make_pool

    return make_pool(segments=5)
