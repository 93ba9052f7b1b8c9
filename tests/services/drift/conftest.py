from importlib import import_module

import pytest


@pytest.fixture
def base():
    """The module `base`. It imports models, and pytest reads this file before Django is set up."""
    return import_module("tests.services.drift.base")


@pytest.fixture
def user(base):
    return base.make_user("alice", is_superuser=True)


@pytest.fixture
def bob(base):
    """A user without permissions."""
    return base.make_user("bob")


@pytest.fixture
def pool(base):
    """A pool with segments 100, which prod-01 holds, 101 and 102."""
    return base.make_held_pool(base.make_user())


@pytest.fixture
def held(base, pool):
    return base.Allocation.objects.get()


@pytest.fixture
def dual_stack_pool(base, user):
    """The same pool with an IPv6 prefix for each segment, and an empty change log."""
    return base.make_dual_stack_pool(user)
