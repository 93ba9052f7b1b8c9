"""The services are documented where they stand."""

import importlib
import inspect
import pkgutil
import re

import pytest

from netbox_vlan_manager import services

MODULES = sorted(found.name for found in pkgutil.iter_modules(services.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_public_names(name):
    module = importlib.import_module(f"{services.__name__}.{name}")
    own = [
        value
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    # A dataclass without one gets its signature for a docstring.
    silent = [
        value.__name__
        for value in own
        if (inspect.isclass(value) or inspect.isfunction(value))
        and (not value.__doc__ or value.__doc__.startswith(f"{value.__name__}("))
    ]
    assert silent == []


@pytest.mark.parametrize("name", services.__all__)
def test_arguments(name):
    service = getattr(services, name)
    if not inspect.isfunction(service):
        return
    text = inspect.getdoc(service)
    # "Arguments are those of `other`."
    for other in re.findall(r"[Aa]rguments[^.`]*`(\w+)`", text):
        text += inspect.getdoc(getattr(services, other))
    silent = [name for name in inspect.signature(service).parameters if not re.search(rf"\b{name}\b", text)]
    assert silent == []
