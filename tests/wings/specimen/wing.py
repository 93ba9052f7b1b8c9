"""Connects the wing's extensions that no list of the plugin names."""

EXTRA = "specimen"
NEEDS = ("openpyxl",)


def ready():
    from netbox.events import EventType

    from . import jobs, sockets  # noqa: F401

    EventType("vlan_manager_specimen", "A specimen was seen").register()
