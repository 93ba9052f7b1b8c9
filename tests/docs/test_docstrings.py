"""The docstrings of service functions are complete. That there are docstrings at all, ruff checks."""

import inspect
import re

import pytest

from netbox_vlan_manager import services

FUNCTIONS = [name for name in services.__all__ if inspect.isfunction(getattr(services, name))]


def text_of(name):
    """Return a docstring with those that it refers to: "Arguments and locks are those of `other`.", "As `other`."."""
    text = inspect.getdoc(getattr(services, name))
    for other in re.findall(r"(?:[Aa]rguments[^.`]*|As |whatever )`(\w+)`", text):
        text += inspect.getdoc(getattr(services, other))
    return text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments(name):
    parameters = inspect.signature(getattr(services, name)).parameters
    assert [parameter for parameter in parameters if not re.search(rf"\b{parameter}\b", text_of(name))] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_locks_and_errors(name):
    """Functions that write document their locks and Busy."""
    if name not in ("available_segments", "check_pool_permission", "resolve_pool", "resolve_pool_by_name"):
        assert re.search(r"\b[Ll]ocks\b", text_of(name))
        assert re.search(r"\bBusy\b", text_of(name))
