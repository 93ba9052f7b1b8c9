import gc
import importlib
import os
import signal
from pathlib import Path
from time import process_time

import django
import pytest
from django.db import connections
from django.test import TransactionTestCase
from playwright.sync_api import sync_playwright
from xdist.scheduler import LoadScopeScheduling

from tests.browser import BrowserError, launch_browser
from tests.stack import Stack, StackError

stack_key = pytest.StashKey[Stack]()

TESTS = Path(__file__).parent
# `make test-fast` runs the tests of FAST folders and of files next to this one, except those marked slow; of SLOW
# folders, it runs only tests marked fast. Every folder is in one of them.
FAST = ("api", "graphql", "permissions", "security", "services", "ui")
SLOW = (
    "benchmarks",
    "chaos",
    "clients",
    "concurrency",
    "docs",
    "e2e",
    "fuzz",
    "integrations",
    "live",
    "packaging",
    "property",
    "stack",
    "upgrade",
    "wings",
)
# Folders and files whose tests share the live NetBox.
LIVE = ("e2e", "test_stack.py")
# Files whose tests take minutes and share only the fixtures that each process makes once.
SEPARATE = ("tests/permissions/test_matrix.py",)
# The CPU time of a fast test, in seconds of its process, which a busy machine does not change. Most tests take less
# than one second; a slow machine needs more.
BUDGET = 20

# Tests leave tables full of dead rows. With autovacuum's statistics of such a table, PostgreSQL expects a join of
# thousands of rows to have none and plans nested loops, or compiles each statement first: a test then takes seconds or
# minutes. Without autovacuum, plans depend on the size of the table.
POSTGRESQL_SETTINGS = {"autovacuum": "off", "jit": "off"}


def pytest_configure(config):
    if config.getoption("help") or config.getoption("version") or _only_controls(config):
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        stack = config.stash[stack_key] = Stack(**POSTGRESQL_SETTINGS).start()
    except StackError as e:
        raise pytest.UsageError(str(e)) from None
    stack.keep_warm()
    os.environ.update(stack.create_database().env, NETBOX_CONFIGURATION="tests.stack.configuration_testing")
    django.setup()
    importlib.import_module("tests.recording").is_enabled = True


def pytest_collection_finish(session):
    if hasattr(session.config, "workerinput"):
        # The import takes seconds, which would count for the first test that asks for a page.
        importlib.import_module("netbox.urls")
    # Modules stay in memory: the garbage collector need not scan them repeatedly.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


def _only_controls(config):
    """Whether the tests run in other processes, each with its own servers."""
    return config.getoption("numprocesses", None) and not hasattr(config, "workerinput")


class FileScheduling(LoadScopeScheduling):
    """
    Runs all tests of a file, which share fixtures, in one process, and all that share the live NetBox in one.

    Marks with xdist's own loadgroup do not work: with pytest 9.2 it takes each test for a group of its own.
    """

    def _split_scope(self, nodeid):
        path = nodeid.partition("::")[0]
        if path.split("/")[1] in LIVE:
            return "live"
        return nodeid if path in SEPARATE else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return FileScheduling(config, log)


def pytest_itemcollected(item):
    folder = _folder_of(item)
    if (folder in FAST or folder == item.path.name) and not item.get_closest_marker("slow"):
        item.add_marker("fast")
    if "live_netbox" in item.fixturenames and folder not in LIVE:
        raise pytest.UsageError(f"{item.nodeid} uses live_netbox: add {folder} to LIVE in tests/conftest.py.")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    # Slow folders come first, so that small files fill the time of processes that finish early.
    items.sort(key=lambda item: _folder_of(item) not in SLOW)


def _folder_of(item):
    """Return the part of the tests that an item is in: a folder, or the name of a file next to this one."""
    return item.path.relative_to(TESTS).parts[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    begin = process_time()
    result = yield
    taken = process_time() - begin
    if taken > BUDGET and item.get_closest_marker("fast") and hasattr(item.config, "workerinput"):
        pytest.fail(f"This took {taken:.1f} of {BUDGET} seconds: make it faster, or mark it slow and say why.")
    return result


def pytest_unconfigure(config):
    if stack := config.stash.get(stack_key, None):
        stack.stop()


@pytest.fixture(scope="session")
def django_db_setup(stack, django_test_environment):
    """Replaces pytest-django's fixture: the test database exists already, as a copy of the template."""

    @classmethod
    def renew(cls):
        # Django would empty all tables, including the rows of NetBox's migrations.
        connections.close_all()
        stack.renew_database(os.environ["DB_NAME"])

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(TransactionTestCase, "_fixture_teardown", renew)
        yield


@pytest.fixture(scope="session", autouse=True)
def short_menu():
    """Pages have only this plugin's menu: rendering a page spends most of its time on NetBox's own menus."""
    from netbox.registry import registry

    menus = [menu for menu in registry["plugins"]["menus"] if menu.label == "VLAN Manager"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("utilities.templatetags.navigation.get_menus", lambda: menus)
        yield


@pytest.fixture
def whole_menu(short_menu, monkeypatch):
    """Pages have all menus, as in production."""
    from netbox.navigation.menu import get_menus

    monkeypatch.setattr("utilities.templatetags.navigation.get_menus", get_menus)


@pytest.fixture(scope="session")
def stack(pytestconfig):
    """The servers of this run, a Stack."""
    return pytestconfig.stash[stack_key]


@pytest.fixture
def fresh_database(stack):
    """
    A function that makes another database with all tables, for tests that need commits and several processes. It
    returns a Database: use .connect(), .netbox("command", ...), or start processes with .env.
    """
    databases = []

    def create():
        databases.append(stack.create_database())
        return databases[-1]

    yield create
    for database in databases:
        database.drop()


@pytest.fixture(scope="session")
def warm_netbox(stack):
    """The stack's WarmNetBox: .run("tests.module", "argument", env=database.env) runs a module in a fork."""
    return stack.warm


@pytest.fixture(scope="session")
def live_netbox(stack):
    """A NetBox in its own processes, a LiveNetBox: .url, .token, .username, .password, .database."""
    live = stack.serve(stack.create_database())
    yield live
    live.stop()


@pytest.fixture(scope="session")
def netbox_url(live_netbox):
    """The URL of live_netbox."""
    return live_netbox.url


@pytest.fixture(scope="session")
def live_database(live_netbox):
    """The Database of live_netbox."""
    return live_netbox.database


@pytest.fixture(scope="module")
def browser():
    """A Chromium that Playwright drives."""
    # Playwright runs an event loop in this thread. The fixture ends with the module, so it disturbs no other tests.
    with pytest.MonkeyPatch.context() as monkeypatch, sync_playwright() as playwright:
        monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        try:
            browser = launch_browser(playwright)
        except BrowserError as e:
            raise pytest.fail.Exception(str(e), pytrace=False) from None
        yield browser
        browser.close()


@pytest.fixture
def page_problems():
    """The errors on the page so far. A test that provokes errors checks and clears this list."""
    return []


@pytest.fixture
def page(browser, live_netbox, page_problems):
    """
    A page of live_netbox's, logged in as its superuser. The test fails if the page logs an error or a request fails.
    """
    with browser.new_context(base_url=live_netbox.url) as context:
        context.add_cookies(live_netbox.login())
        page = context.new_page()
        page.on("pageerror", lambda error: page_problems.append(f"Uncaught: {error}"))
        page.on("console", lambda message: _note_message(message, page_problems))
        page.on("requestfailed", lambda request: _note_failure(request, page_problems))
        yield page
    assert page_problems == []


def _note_message(message, problems):
    if message.type == "error":
        # Requests with an error status are logged too; their text lacks the address.
        problems.append(f"Console: {message.text} ({message.location['url']})")


def _note_failure(request, problems):
    # Leaving a page aborts its pending requests.
    if request.failure != "net::ERR_ABORTED":
        problems.append(f"{request.method} {request.url}: {request.failure}")
