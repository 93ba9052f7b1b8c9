"""Plugs in what is in no list."""

EXTRA = "specimen"
NEEDS = ("openpyxl",)


def ready():
    from netbox.events import EventType

    from . import jobs, sockets  # noqa: F401

    EventType("vlan_manager_specimen", "A specimen was seen").register()
