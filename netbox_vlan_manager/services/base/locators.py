"""
A socket for the optional parts of the plugin (see `wings`): other fields of a request than `site` that say where a
cluster asks for its segment, such as "near".
"""

__all__ = (
    "locate_pools",
    "locator_names",
    "locators_in",
    "register_locator",
)

_locators = {}


def register_locator(name, locate):
    """
    Let requests say by a field `name` where they ask.

    Args:
        name: The name of the field in `POST allocations/`, and of the argument of `allocate`.
        locate: Is called with the value of the field, the VRF as the caller names it, and the User who asks (None may
            use all pools). It returns ResolvedPools, the best one first: a pool that is paused or exhausted, or in
            which the user may not allocate, is passed over. It raises what `resolve_pool` raises.
    """
    _locators[name] = locate


def locator_names():
    """Return the names of the fields, sorted."""
    return sorted(_locators)


def locators_in(values):
    """Return the set of those fields that `values`, a mapping of a request, has."""
    return values.keys() & _locators.keys()


def locate_pools(name, value, vrf, user):
    """Return what the locator `name` finds for a value, as `register_locator` says."""
    return _locators[name](value, vrf, user)
