import pytest
from django.db import OperationalError

from netbox_vlan_manager.services.reporting import health
from netbox_vlan_manager.services.reporting.health import check_health, register

pytestmark = pytest.mark.django_db


@pytest.fixture
def part(monkeypatch):
    """A part of the plugin; its state is the last item of a list."""
    monkeypatch.setattr(health, "_parts", {**health._parts})
    monkeypatch.setattr(health, "_check_queue", lambda: {"queue": "ok", "workers": "ok"})
    states = ["ok"]
    register("wing")(lambda: states[-1])
    yield states
    check_health.forget()


def check():
    check_health.forget()
    return check_health()


def test_part_of_the_plugin_can_register_a_check(part):
    assert list(check()) == [
        "status", "database", "migrations", "jobs", "wing", "pools_low", "cache", "queue", "workers",
    ]  # fmt: skip
    for state, status in (("ok", "ok"), ("unknown", "ok"), ("late", "degraded"), ("down", "degraded")):
        part.append(state)
        found = check()
        assert (found["wing"], found["status"]) == (state, status)


def test_part_is_not_asked_without_the_database(part, monkeypatch):
    def fail():
        raise OperationalError

    monkeypatch.setattr(health, "_is_migrated", fail)
    part.clear()
    found = check()
    assert (found["status"], found["database"], found["wing"]) == ("unavailable", "down", "unknown")


def test_registered_check_stays_a_function(part):
    @register("other")
    def check_other():
        return "ok"

    assert check_other() == check()["other"] == "ok"
