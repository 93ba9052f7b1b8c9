"""
Shows where the time of an allocation goes, layer by layer: python -m tests.benchmarks.profile.

The calls go through all of NetBox in this process: middleware, token, view, services, PostgreSQL. A layer's time is
what is spent in it without the layers that it calls; COMMIT is a layer and no query. Measuring adds some
microseconds for each layer and query.
"""

import argparse
import os
import statistics
from contextlib import contextmanager
from functools import wraps
from time import perf_counter

import django

from tests.benchmarks.world import fill
from tests.stack import Stack

POOL = "Profile-1"
SEGMENTS = 4094
TOKEN = f"nbt_{'PROFILE':x<12}.{'profile':x<40}"
WARM_UP = 20
# The order of the tables.
HTTP = "HTTP and middleware"
AUTHENTICATION = "authentication"
VIEW = "view: parse, answer"
RESOLUTION = "resolution and permission"
SERVICE = "service"
CHANGE_LOG = "change log (audit.write)"
COMMIT = "commit"
EVENTS = "events (flush_events)"
LAYERS = (HTTP, AUTHENTICATION, VIEW, RESOLUTION, SERVICE, CHANGE_LOG, COMMIT, EVENTS)


class Profile:
    """The cost of each layer in the current call: [seconds, seconds of SQL, queries] by layer."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.layers = {layer: [0, 0, 0] for layer in LAYERS}
        self.layer = None
        self.since = perf_counter()

    @contextmanager
    def time(self, layer):
        """Count the time of the block for `layer`, without the blocks of other layers inside it."""
        around = self._switch(layer)
        try:
            yield
        finally:
            self._switch(around)

    def _switch(self, layer):
        now = perf_counter()
        if self.layer:
            self.layers[self.layer][0] += now - self.since
        previous, self.layer, self.since = self.layer, layer, now
        return previous

    def wrap(self, owner, name, layer):
        """Count each call of `owner`'s function for `layer`."""
        function = getattr(owner, name)

        @wraps(function)
        def timed(*args, **kwargs):
            with self.time(layer):
                return function(*args, **kwargs)

        setattr(owner, name, timed)

    def query(self, execute, sql, params, many, context):
        """Count a query; a wrapper for connection.execute_wrapper()."""
        start = perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            # Queries outside all layers, of a lazy signal or a teardown, are not counted.
            if self.layer:
                self.layers[self.layer][1] += perf_counter() - start
                self.layers[self.layer][2] += 1


def instrument(profile):
    """Wrap the entry functions of each layer where their callers look them up, so that they report to `profile`."""
    from django.core.handlers.base import BaseHandler
    from django.db import connections

    from netbox import context_managers
    from netbox.api.authentication import TokenAuthentication
    from netbox_vlan_manager.api.views import contract
    from netbox_vlan_manager.services.base import audit

    profile.wrap(BaseHandler, "get_response", HTTP)
    profile.wrap(TokenAuthentication, "authenticate", AUTHENTICATION)
    profile.wrap(contract.AllocateVLANView, "post", VIEW)
    profile.wrap(contract.ReleaseVLANView, "post", VIEW)
    profile.wrap(contract, "locate", RESOLUTION)
    for name in ("allocate", "find_allocation", "release_allocation", "release_warnings"):
        profile.wrap(contract, name, SERVICE)
    profile.wrap(audit, "write", CHANGE_LOG)
    profile.wrap(connections["default"], "_commit", COMMIT)
    profile.wrap(context_managers, "flush_events", EVENTS)


def measure(calls):
    """
    Return {name of the call: a list of the layers of each call, as in Profile.layers}.

    Args:
        calls: How many of each.
    """
    from django.db import connections
    from django.test import Client

    profile = Profile()
    instrument(profile)
    client = Client(headers={"Authorization": f"Bearer {TOKEN}"})
    measured = {}
    with connections["default"].execute_wrapper(profile.query):
        for name, call, created in (
            ("allocate", "allocate-vlan", True),
            ("replay", "allocate-vlan", False),
            ("release", "release-vlan", None),
        ):
            measured[name] = []
            for number in range(-WARM_UP, calls):
                body = {"cluster_name": f"cluster-{number}", "site": POOL, "vrf": POOL}
                profile.clear()
                response = client.post(f"/api/plugins/vlan-manager/{call}/", body, content_type="application/json")
                answer = response.json()
                if response.status_code != 200 or answer.get("created") != created:
                    raise SystemExit(f"{name} was answered {response.status_code}: {answer}")
                if number >= 0:
                    measured[name].append(profile.layers)
    untouched = [layer for layer in LAYERS if layer != EVENTS and not measured["allocate"][0][layer][0]]
    if untouched:
        raise SystemExit(f"An allocation never came by {', '.join(untouched)}: instrument() looks at other functions")
    return measured


def add_event_rule():
    """Make an event rule that queues a webhook for every new or changed allocation; no worker sends it."""
    from core.models import ObjectType
    from extras.models import EventRule, Webhook
    from netbox_vlan_manager.models import Allocation

    rule = EventRule.objects.create(
        name="Profile",
        event_types=["object_created", "object_updated"],
        action_type="webhook",
        action_object=Webhook.objects.create(name="Profile", payload_url="http://127.0.0.1:9/"),
    )
    rule.object_types.set([ObjectType.objects.get_for_model(Allocation)])


def demote():
    """Limit the superuser to allocating and releasing in one pool, so that permissions are looked up."""
    from netbox_vlan_manager.models import SegmentPool
    from tests.factories import permit
    from users.models import User

    User.objects.update(is_superuser=False)
    permit(User.objects.get(username="profile"), SegmentPool.objects.get(name=POOL), "allocate", "release")


def table(name, measured):
    """Return the Markdown table of one call: medians over all calls, which may not add up exactly."""
    total = statistics.median(sum(seconds for seconds, _sql, _queries in layers.values()) for layers in measured)
    sums = [[sum(column) for column in zip(*layers.values(), strict=True)] for layers in measured]
    lines = [
        f"**{name}**, {len(measured)} calls",
        "",
        "| layer | ms p50 | share | SQL ms | queries |",
        "|---|--:|--:|--:|--:|",
    ]
    for layer in (*LAYERS, "all"):
        values = sums if layer == "all" else [layers[layer] for layers in measured]
        seconds, sql, queries = map(statistics.median, zip(*values, strict=True))
        lines.append(f"| {layer} | {seconds * 1000:.2f} | {seconds / total:.0%} | {sql * 1000:.2f} | {queries:.0f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="make profile", description=__doc__)
    parser.add_argument("--calls", type=int, default=300, help="How many of each kind, up to 4000; 300 unless given")
    parser.add_argument("--events", action="store_true", help="With an event rule, so that there are events to flush")
    parser.add_argument("--permitted", action="store_true", help="As a user with one object permission, no superuser")
    options = parser.parse_args()
    if not 1 <= options.calls <= SEGMENTS - WARM_UP:
        parser.error(f"--calls: use 1 to {SEGMENTS - WARM_UP}")

    with Stack() as stack:
        database = stack.create_database()
        with database.connect() as connection:
            fill(connection, POOL.removesuffix("-1"), pools=4, segments=SEGMENTS)
        os.environ.update(database.env)
        django.setup()
        from tests.stack.accounts import create_superuser

        create_superuser("profile", "profile", TOKEN)
        if options.events:
            add_event_rule()
        if options.permitted:
            demote()
        for name, measured in measure(options.calls).items():
            print(table(name, measured), end="\n\n")


if __name__ == "__main__":
    main()
