import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from netbox_vlan_manager.settings import check_settings, get_setting

PLUGIN = "netbox_vlan_manager"


@pytest.fixture
def configure(settings):
    """A function that changes settings of the plugin for the test."""

    def change(**values):
        settings.PLUGINS_CONFIG = {PLUGIN: settings.PLUGINS_CONFIG[PLUGIN] | values}

    return change


def test_defaults_are_right():
    assert check_settings() == []


def test_every_default_can_be_read():
    defaults = apps.get_app_config(PLUGIN).default_settings
    assert {name: get_setting(name) for name in defaults} == defaults


def test_unknown_setting_is_none():
    assert get_setting("no_such_setting") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prefix_status_allocated", "deprecated"),
        ("prefix_status_available", "reserved"),
        ("ipv4_prefix_lengths", [8, 32]),
        ("ipv4_prefix_lengths", (24, 24)),
        ("ipv6_prefix_lengths", (1, 128)),
        ("site_in_answers", "name"),
        ("site_in_answers", "asked"),
        ("epg_name_characters", ""),
        ("epg_name_characters", "-"),
        ("epg_name_characters", "_.:/-"),
        ("lock_timeout", 1),
        ("last_segment_timeout", 60000),
        ("import_max_rows", 1),
        ("low_available_percent", 0),
        ("low_available_percent", 12.5),
        ("low_available_percent", 100),
        ("slow_operation_threshold", 250),
        ("slow_operation_threshold", 0.5),
        ("slow_operation_threshold", 0),
        ("slow_operation_threshold", None),
        ("metrics_per_pool", True),
        ("health_rate", "1/s"),
        ("health_rate", "1000/hour"),
        ("health_rate", None),
    ],
)
def test_right_values(configure, name, value):
    configure(**{name: value})
    assert check_settings() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epg_name_characters", None),
        ("epg_name_characters", [".", ":"]),
        ("epg_name_characters", ".:- "),
        ("epg_name_characters", "]"),
        ("epg_name_characters", "A-Z"),
        ("metrics_per_pool", 1),
        ("metrics_per_pool", "yes"),
        ("health_rate", "fast"),
        ("health_rate", "0/min"),
        ("health_rate", "5/fortnight"),
        ("health_rate", 60),
        ("prefix_status_allocated", "taken"),
        ("prefix_status_allocated", None),
        ("prefix_status_allocated", ["reserved"]),
        ("prefix_status_available", ""),
        ("prefix_status_available", "container"),
        ("ipv4_prefix_lengths", 24),
        ("ipv4_prefix_lengths", None),
        ("ipv4_prefix_lengths", (16,)),
        ("ipv4_prefix_lengths", (16, 24, 31)),
        ("ipv4_prefix_lengths", (31, 16)),
        ("ipv4_prefix_lengths", (0, 31)),
        ("ipv4_prefix_lengths", (16, 33)),
        ("ipv4_prefix_lengths", ("16", "31")),
        ("ipv4_prefix_lengths", "16-31"),
        ("ipv6_prefix_lengths", (48, 129)),
        ("site_in_answers", "id"),
        ("site_in_answers", None),
        ("site_in_answers", ["slug"]),
        ("lock_timeout", 0),
        ("lock_timeout", -1),
        ("lock_timeout", "5000"),
        ("lock_timeout", 1.5),
        ("lock_timeout", True),
        ("last_segment_timeout", None),
        ("import_max_rows", 0),
        ("low_available_percent", -1),
        ("low_available_percent", 101),
        ("low_available_percent", "10"),
        ("low_available_percent", True),
        ("low_available_percent", float("nan")),
        ("slow_operation_threshold", -1),
        ("slow_operation_threshold", "1000"),
        ("slow_operation_threshold", True),
        ("slow_operation_threshold", float("nan")),
    ],
)
def test_wrong_value_is_named_in_one_message(configure, name, value):
    configure(**{name: value})
    (message,) = check_settings()
    assert message.startswith(f"netbox_vlan_manager: {name} is {value!r}; use ")


def test_all_wrong_values_are_named(configure):
    configure(prefix_status_allocated="taken", lock_timeout=0, low_available_percent=None)
    assert len(check_settings()) == 3


def test_message_lists_the_prefix_statuses(configure):
    configure(prefix_status_allocated="taken")
    assert check_settings()[0].endswith("use one of active, deprecated, reserved")


def test_wrong_setting_stops_netbox_at_the_start(configure, monkeypatch):
    configure(lock_timeout=0)
    config = apps.get_app_config(PLUGIN)
    # NetBox's registrations at start-up may run only once.
    monkeypatch.setattr("netbox.plugins.PluginConfig.ready", lambda self: None)
    with pytest.raises(ImproperlyConfigured, match="lock_timeout is 0; use a whole number above 0"):
        config.ready()
