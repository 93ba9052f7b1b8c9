"""
Finds and plugs in the optional parts of the plugin, the wings.

A wing is a subpackage with a `wing.py` and the files of a NetBox app: models, views, urls, and so on. Nothing else of
the plugin imports it. The setting `wings` names the wings that are on; the callers of `collect` plug them in. A wing
that is off has no route, menu, job, index, type or socket. Its models are always loaded, so that migrations and
deletions do not depend on a setting.

`wing.py` may have:

- `EXTRA`: the extra of the package that brings what the wing needs.
- `NEEDS`: the modules that the extra brings, such as ("netmiko",).
- `ready()`: is called once the models are loaded, and registers what `collect` does not find: jobs, receivers, sockets
  of the services.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from django.apps import apps

from .settings import PLUGIN, get_setting

__all__ = (
    "active",
    "collect",
    "find_errors",
    "find_serializer",
    "import_models",
    "present",
    "ready",
)


@cache
def present():
    """Return the names of the wings that are installed, sorted."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/wing.py"))


def active():
    """Return the names of the wings that are on, sorted; none if the setting is no list of names."""
    names = get_setting("wings")
    return [name for name in present() if _are_names(names) and name in names]


def find_errors():
    """Return the errors of the setting `wings`, a list of texts."""
    names = get_setting("wings")
    if not _are_names(names):
        return [f"{PLUGIN}: wings is {names!r}; use a list of names"]
    known = ", ".join(present()) or "none"
    errors = [f"{PLUGIN}: wings has {name!r}; use some of: {known}" for name in names if name not in present()]
    for name in active():
        wing = _import(name, "wing")
        missing = [module for module in getattr(wing, "NEEDS", ()) if find_spec(module) is None]
        if missing:
            errors.append(
                f"{PLUGIN}: the wing {name!r} needs {', '.join(missing)}; install netbox-vlan-manager[{wing.EXTRA}], "
                "or take the wing out of the setting wings"
            )
    return errors


def collect(path):
    """
    Return one list of the items that the wings that are on have at `path`.

    Args:
        path: A module of a wing and a list in it, such as "urls.urlpatterns". A wing without the module adds nothing.
    """
    module, _dot, name = path.rpartition(".")
    return [item for wing in active() if (found := _import(wing, module)) for item in getattr(found, name)]


def find_serializer(model, prefix=""):
    """
    Return the serializer of a wing's model, and None for other models.

    It is found for a wing that is off, too: NetBox serializes objects that it deletes along with another object.
    """
    for wing in present():
        if model.__module__.startswith(f"{__package__}.{wing}."):
            return getattr(_import(wing, "api.serializers"), f"{prefix}{model.__name__}Serializer", None)
    return None


def import_models():
    """Import the models of all wings. Those of a wing that is off are hidden from NetBox's lists of models."""
    for name in present():
        _import(name, "models")
    off = tuple(f"{__package__}.{name}." for name in present() if name not in active())
    for model in apps.all_models[PLUGIN].values():
        if f"{model.__module__}.".startswith(off):
            model._netbox_private = True


def ready():
    """Call `ready` of each wing that is on."""
    for name in active():
        if call := getattr(_import(name, "wing"), "ready", None):
            call()


def _are_names(value):
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _import(wing, module):
    """Return a module of a wing, or None if the wing does not have it."""
    package, _dot, _name = (path := f"{__package__}.{wing}.{module}").rpartition(".")
    if package != f"{__package__}.{wing}" and find_spec(package) is None:
        return None
    return import_module(path) if find_spec(path) else None
