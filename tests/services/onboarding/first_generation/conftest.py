from importlib import import_module

import pytest


@pytest.fixture
def base():
    """The module `base`. It imports models, and pytest reads this file before Django is set up."""
    return import_module("tests.services.onboarding.first_generation.base")


@pytest.fixture
def user(base):
    return base.make_user("alice")


@pytest.fixture
def group(base, user):
    base.make_fields()
    return base.make_group()


@pytest.fixture
def pool(base, user):
    """A pool that was not migrated."""
    return base.make_pool("Network9", "Site9", segments=1)


@pytest.fixture
def tenant(base, user):
    return base.Tenant.objects.create(name="Platform", slug="platform")
