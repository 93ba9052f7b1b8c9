import json
import logging
import threading
import time
import uuid
from contextlib import suppress
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction

from core.models import ObjectChange
from netbox.context import current_request
from netbox.context_managers import event_tracking
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.logs import JSONFormatter, as_text
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.services.base import operations
from netbox_vlan_manager.services.onboarding.import_files import parse_csv
from netbox_vlan_manager.services.onboarding.importing import import_segments
from tests.factories import make_pool, make_segment, make_user

PLUGIN = "netbox_vlan_manager"


@pytest.fixture
def threshold(settings):
    """A function that sets the threshold for the test, in milliseconds."""

    def change(milliseconds):
        values = settings.PLUGINS_CONFIG[PLUGIN] | {"slow_operation_threshold": milliseconds}
        settings.PLUGINS_CONFIG = settings.PLUGINS_CONFIG | {PLUGIN: values}

    return change


@pytest.fixture
def clock(monkeypatch):
    """A clock that only clock.pass_(milliseconds) moves."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(operations, "perf_counter", lambda: now.seconds)

    def pass_(milliseconds):
        now.seconds += milliseconds / 1000

    return SimpleNamespace(pass_=pass_)


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "netbox_vlan_manager.slow"]


def test_slow_operation_is_one_warning_with_its_parts(caplog, clock):
    with operations.track("allocate", pool="Site1", cluster="a") as operation:
        clock.pass_(5)
        with operations.part("look-up"):
            clock.pass_(10)
        with operations.part("locks"):
            clock.pass_(1400)
        with operations.part("look-up"):
            clock.pass_(2.5)
        operation.outcome = "created"
    assert lines(caplog) == [
        "Slow allocate: created after 1417.5 ms (locks 1400.0, look-up 12.5, other 5.0), pool='Site1', cluster='a'"
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_part_within_a_part_is_not_counted_twice(caplog, clock):
    with operations.track("import"), operations.part("commit"):
        clock.pass_(200)
        with operations.part("write"):
            clock.pass_(1000)
        clock.pass_(1)
    assert lines(caplog) == ["Slow import: done after 1201.0 ms (write 1000.0, commit 201.0, other 0.0)"]


def test_operation_within_an_operation_is_part_of_its_line(caplog, clock):
    with operations.track("release", cluster="prod-01"):
        clock.pass_(600)
        with operations.track("resolve", site="Site1") as resolve, operations.part("query"):
            clock.pass_(700)
            resolve.outcome = "released"
    assert lines(caplog) == [
        "Slow release: released after 1300.0 ms (query 700.0, other 600.0, resolve 0.0), cluster='prod-01'"
    ]


def test_real_time_is_measured(caplog, threshold):
    threshold(20)
    with operations.track("allocate"), operations.part("locks"):
        time.sleep(0.03)
    (line,) = lines(caplog)
    assert line.startswith("Slow allocate: done after ")
    assert float(line.split("locks ")[1].split(",")[0]) >= 29


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Busy(), "busy"),
        (ValidationError({"vid": "Too high"}), "invalid"),
        (PermissionDenied(), "PermissionDenied"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_error_is_the_outcome_and_goes_on(caplog, clock, error, outcome):
    @operations.track("allocate")
    @operations.part("locks")
    def fail():
        clock.pass_(5000)
        raise error

    with pytest.raises(type(error)):
        fail()
    assert lines(caplog) == [f"Slow allocate: {outcome} after 5000.0 ms (locks 5000.0, other 0.0)"]


def test_error_that_the_operation_survives_is_not_its_outcome(caplog, clock):
    with operations.track("import") as operation:
        with suppress(Busy), operations.track("allocate"):
            clock.pass_(1500)
            raise Busy
        operation.outcome = "imported"
    assert lines(caplog) == ["Slow import: imported after 1500.0 ms (allocate 1500.0, other 0.0)"]


def test_fast_operation_is_not_logged(caplog, clock):
    with operations.track("allocate"), operations.part("locks"):
        clock.pass_(999)
    assert lines(caplog) == []


@pytest.mark.parametrize(("milliseconds", "count"), [(50, 1), (1.5, 1), (200, 0), (0, 0), (None, 0)])
def test_threshold_is_a_setting(caplog, clock, threshold, milliseconds, count):
    threshold(milliseconds)
    with operations.track("allocate"):
        clock.pass_(100)
    assert len(lines(caplog)) == count


@pytest.mark.parametrize("name", ["a\nSlow b: created", "a\r\nb", "a\x1b[2Jb", "a\u2028b", "a\x85b", "'"])
def test_names_cannot_write_lines_of_their_own(caplog, clock, name):
    # A model's repr() contains its name unescaped.
    pool = type("Pool", (), {"__str__": lambda self: name, "__repr__": lambda self: f"<Pool: {name}>"})()
    with operations.track("allocate", pool=pool, cluster=name):
        clock.pass_(2000)
    (line,) = lines(caplog)
    assert line.isprintable()
    assert line.endswith(f", pool={name!r}, cluster={name!r}")


def test_long_names_are_cut(caplog, clock):
    with operations.track("resolve", site="x" * 1_000_000):
        clock.pass_(2000)
    assert lines(caplog) == [f"Slow resolve: done after 2000.0 ms (other 2000.0), site='{'x' * 100}'"]


def test_what_is_not_given_is_not_named(caplog, clock):
    with operations.track("allocate", pool=None, site="Site1", vrf=0, cluster=""):
        clock.pass_(2000)
    assert lines(caplog) == ["Slow allocate: done after 2000.0 ms (other 2000.0), site='Site1', vrf='0', cluster=''"]


def test_request_is_named(caplog, clock):
    request = SimpleNamespace(id=uuid.uuid4())
    token = current_request.set(request)
    try:
        with operations.track("allocate", cluster="prod-01"):
            clock.pass_(2000)
    finally:
        current_request.reset(token)
    assert lines(caplog)[0].endswith(f", cluster='prod-01', request='{request.id}'")


def test_part_outside_an_operation_is_nothing(caplog, clock):
    with operations.part("locks"):
        clock.pass_(5000)
    assert lines(caplog) == []


def test_each_thread_has_its_own_operation(caplog, clock):
    def work():
        with operations.part("locks"):
            clock.pass_(2000)

    with operations.track("allocate"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert lines(caplog) == ["Slow allocate: done after 2000.0 ms (other 2000.0)"]


def test_operations_that_follow_start_anew(caplog, clock):
    for _number in range(2):
        with operations.track("allocate"), operations.part("locks"):
            clock.pass_(600)
    assert lines(caplog) == []


@pytest.mark.django_db
def test_services_tell_what_they_took_long_for(threshold, caplog):
    pool, user = make_pool(), make_user()
    threshold(0.001)
    header = "site,vlan_id,epg_name,segment,vrf\n"
    import_segments(parse_csv(f"{header}Site1,100,EPG_100,10.0.0.0/24,Network1\n"), user=user, enforce=False)
    make_segment(pool, 101, 1)
    allocate("a", site="Site1", vrf="Network1", user=user)
    allocate("a", pool=pool, user=user)
    release("a", pool=pool, user=user)

    told = [record.getMessage() for record in caplog.records if record.name == "netbox_vlan_manager.slow"]
    assert [line.split(" after ")[0] for line in told] == [
        "Slow import: 1 created",
        "Slow create segment: created",
        "Slow allocate: allocated",
        "Slow allocate: held",
        "Slow release: released",
    ]
    assert all(part in told[2] for part in ("resolve", "look-up", "locks", "write", "commit"))


@pytest.fixture
def done(caplog):
    """A function that returns the log lines of the operations."""
    caplog.set_level(logging.INFO, logger="netbox_vlan_manager.operations")
    return lambda: [record for record in caplog.records if record.name == "netbox_vlan_manager.operations"]


@pytest.mark.django_db
def test_what_is_committed_is_one_line(done, django_capture_on_commit_callbacks):
    pool, user = make_pool(segments=2), make_user()
    request = SimpleNamespace(id=uuid.uuid4(), user=user, path="")
    with django_capture_on_commit_callbacks(execute=True):
        with event_tracking(request):
            allocate("a", site="Site1", vrf="Network1", user=user)
        release("a", pool=pool, user=user)
        assert done() == []
    allocated, released = done()
    assert allocated.getMessage().startswith(
        'operation=allocate outcome=allocated cluster=a pool="Network1 Site1" site=Site1 vrf=Network1 user=operator '
        f"vid=100 request={request.id} ms="
    )
    assert released.levelno == logging.INFO
    # The line has the request id of the change log.
    assert released.fields["request"] == str(ObjectChange.objects.latest("time").request_id)


@pytest.mark.django_db
def test_what_is_not_done_is_no_line(done, django_capture_on_commit_callbacks):
    pool, user = make_pool(segments=1), make_user()
    with django_capture_on_commit_callbacks(execute=True):
        with suppress(KeyError), transaction.atomic():
            allocate("a", pool=pool, user=user)
            raise KeyError
        allocate("a", pool=pool, user=user, dry_run=True)
        with suppress(ValidationError):
            allocate("a", pool=pool, vid=5000, user=user)
        make_segment(pool, 101, 1)
    assert [record.fields["operation"] for record in done()] == ["create_segment"]


def test_line_is_not_made_where_nobody_listens(done):
    with patch.object(operations, "_log") as log, operations.track("resolve", level=logging.DEBUG):
        pass
    log.assert_not_called()


@pytest.mark.parametrize(
    "name", ["a\nb", "a\r\noperation=x", "\x1b[2J", "a\u2028b", "\x7f", "\x85", '"', "\u202ea", "=", ""]
)
def test_lines_are_one_line_of_ascii(name):
    text = as_text({"cluster": name, "ms": 1.5})
    assert text.isascii()
    assert text.isprintable()
    assert text.startswith('cluster="')
    assert text.endswith('" ms=1.5')
    assert json.loads(text[len("cluster=") : -len(" ms=1.5")]) == name
    record = logging.LogRecord("netbox_vlan_manager.x", logging.INFO, "", 0, "%s", (name,), None)
    line = JSONFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == name


def test_json_has_fields_request_and_traceback():
    record = logging.LogRecord("netbox_vlan_manager.operations", logging.INFO, "", 0, "a=1", (), None)
    record.fields = {"operation": "allocate", "ms": 1.5}
    line = json.loads(JSONFormatter().format(record))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "netbox_vlan_manager.operations",
        "operation": "allocate",
        "ms": 1.5,
    }
    request = SimpleNamespace(id=uuid.uuid4())
    token = current_request.set(request)
    try:
        raise ZeroDivisionError("a\nb")
    except ZeroDivisionError as error:
        info = (type(error), error, error.__traceback__)
        record = logging.LogRecord("netbox_vlan_manager.api", logging.ERROR, "", 0, "Down", (), info)
        line = JSONFormatter().format(record)
    finally:
        current_request.reset(token)
    assert "\n" not in line
    line = json.loads(line)
    assert (line["request"], line["message"]) == (str(request.id), "Down")
    assert line["exception"].endswith("ZeroDivisionError: a\nb")
