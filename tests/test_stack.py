import os
import signal
import subprocess
import sys

import pytest
import requests
from django.apps import apps
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.test import TransactionTestCase

from dcim.models import Region
from netbox_vlan_manager.models import SegmentPool
from tests.stack.__main__ import main
from tests.stack.database import PROJECT
from tests.stack.servers import PostgreSQL, free_port
from utilities.testing import TestCase

pytestmark = pytest.mark.slow("Starts servers")


def _descendants(pid):
    # All descendants of this process, in any process group.
    output = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(map(int, line.split()) for line in output.splitlines())
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def _alive(pids):
    arguments = ["ps", "-o", "stat=,args=", "-p", ",".join(map(str, pids))]
    output = subprocess.run(arguments, capture_output=True, text=True, check=False).stdout
    return [line for line in output.splitlines() if not line.startswith("Z")]


def _start(stack, *args, **env):
    # With its own servers, unless the environment of this run names some; os.environ names this run's servers.
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stack", *args],
        cwd=PROJECT,
        env=stack.inherited | env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class LoadedTestCase(TestCase):
    def test_plugin_is_loaded(self):
        # NetBox skips a plugin that excludes its version with a mere warning.
        self.assertIn("netbox_vlan_manager", settings.PLUGINS)
        self.assertTrue(apps.is_installed("netbox_vlan_manager"))


class CommittingTestCase(TransactionTestCase):
    """Tests that commit leave nothing behind, and find what the migrations made."""

    def _commit(self):
        self.assertFalse(Region.objects.exists())
        self.assertTrue(ContentType.objects.get_for_model(SegmentPool).pk)
        Region.objects.create(name="Region", slug="region")

    def test_first(self):
        self._commit()

    def test_second(self):
        self._commit()


def test_missing_postgresql_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("DB_HOST")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(PostgreSQL, "DEBIAN", tmp_path)
    monkeypatch.setattr(sys, "argv", ["tests.stack", "run", "true"])
    assert main() == 1
    message = capsys.readouterr().err
    assert "install PostgreSQL" in message
    assert message.count("\n") == 1


@pytest.mark.live
def test_interrupted_demo_leaves_no_process(stack):
    process = _start(stack, "demo", PORT=str(free_port()))
    with process:
        assert any(line.startswith("Ctrl-C") for line in process.stdout)
        children = _descendants(process.pid)
        assert len(children) > 3
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
    assert _alive(children) == []


@pytest.mark.live
def test_terminated_run_leaves_no_process(stack):
    process = _start(stack, "run", sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)")
    with process:
        assert process.stdout.readline() == "ready\n"
        children = _descendants(process.pid)
        process.terminate()
        assert process.wait(60) == 130
    assert _alive(children) == []


@pytest.mark.e2e
def test_page_is_logged_in_and_notes_errors(page, page_problems, live_netbox):
    page.goto("/user/profile/")
    assert page.get_by_text(live_netbox.username, exact=True).count()
    assert page_problems == []
    with page.expect_console_message():
        page.evaluate("fetch('/no/such/data/')")
    problem = page_problems.pop()
    assert "404" in problem
    assert "/no/such/data/" in problem
    page.goto("/no/such/page/")
    assert "404" in page_problems.pop()


@pytest.mark.live
def test_token_of_live_netbox(live_netbox):
    headers = {"Authorization": f"Bearer {live_netbox.token}"}
    response = requests.get(f"{live_netbox.url}/api/status/", headers=headers, timeout=60)
    assert "netbox_vlan_manager" in response.json()["plugins"]


def test_fresh_databases_are_apart(fresh_database):
    first, second = fresh_database(), fresh_database()
    with first.connect() as connection:
        connection.execute("CREATE TABLE only_here ()")
    with second.connect() as connection:
        assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)
