"""Reads and checks the plugin's settings, into which NetBox has merged the defaults."""

import re

from netbox.plugins import get_plugin_config

PLUGIN = "netbox_vlan_manager"

# A rate as REST framework reads it, of one request or more.
RATE = re.compile(r"[1-9][0-9]{0,6}/(s|sec|m|min|h|hour|d|day)", re.ASCII)


def get_setting(name):
    """Return the plugin setting `name`; None when there is no such setting."""
    return get_plugin_config(PLUGIN, name)


def check_settings():
    """
    Return a list of messages, one for each invalid setting.

    Prefix statuses are looked up among NetBox's, FIELD_CHOICES included.
    """
    from ipam.choices import PrefixStatusChoices

    errors = []
    # A segment's prefix is never a container: pools take the prefixes of segments out of containers.
    statuses = sorted(set(PrefixStatusChoices.values()) - {PrefixStatusChoices.STATUS_CONTAINER})
    for name in ("prefix_status_allocated", "prefix_status_available"):
        if get_setting(name) not in statuses:
            errors.append(f"{PLUGIN}: {name} is {get_setting(name)!r}; use one of {', '.join(statuses)}")
    for name, longest in (("ipv4_prefix_lengths", 32), ("ipv6_prefix_lengths", 128)):
        bounds = get_setting(name)
        if not (
            isinstance(bounds, list | tuple)
            and len(bounds) == 2
            and all(type(length) is int for length in bounds)
            and 1 <= bounds[0] <= bounds[1] <= longest
        ):
            errors.append(f"{PLUGIN}: {name} is {bounds!r}; use two lengths between 1 and {longest}, the shorter first")
    characters = get_setting("epg_name_characters")
    if not isinstance(characters, str) or not set(characters) <= set("_.:-/"):
        errors.append(f"{PLUGIN}: epg_name_characters is {characters!r}; use a text of some of . : - /")
    for name in ("lock_timeout", "last_segment_timeout", "import_max_rows", "snapshot_retention", "lease_warning"):
        if type(get_setting(name)) is not int or get_setting(name) < 1:
            errors.append(f"{PLUGIN}: {name} is {get_setting(name)!r}; use a whole number above 0")
    if get_setting("site_in_answers") not in ("slug", "name", "asked"):
        errors.append(f"{PLUGIN}: site_in_answers is {get_setting('site_in_answers')!r}; use 'slug', 'name' or 'asked'")
    percent = get_setting("low_available_percent")
    if type(percent) not in (int, float) or not 0 <= percent <= 100:
        errors.append(f"{PLUGIN}: low_available_percent is {percent!r}; use a percentage from 0 to 100")
    threshold = get_setting("slow_operation_threshold")
    if threshold is not None and (type(threshold) not in (int, float) or not threshold >= 0):
        errors.append(f"{PLUGIN}: slow_operation_threshold is {threshold!r}; use milliseconds, or 0 to log none")
    if type(get_setting("metrics_per_pool")) is not bool:
        errors.append(f"{PLUGIN}: metrics_per_pool is {get_setting('metrics_per_pool')!r}; use True or False")
    rate = get_setting("health_rate")
    if rate is not None and not (isinstance(rate, str) and RATE.fullmatch(rate)):
        errors.append(f"{PLUGIN}: health_rate is {rate!r}; use a rate such as '120/min', or None for no limit")
    return errors
