"""Clients that allocate and release by REST without end, and checks of the answers that they got."""

import itertools
import json
import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

__all__ = ("Call", "Load", "call", "count_answers", "find_losses")

API = "/api/plugins/vlan-manager"
# The number of clusters of one client. No two clients share a cluster, so the order of its calls is known.
CLUSTERS = 3
# The refusals that a client may get: the plugin's have one of these codes, NetBox's own the status 500.
REFUSALS = {
    (404, "allocation_not_found"),
    (409, "pool_exhausted"),
    (503, "busy"),
    (503, "unavailable"),
}


@dataclass(frozen=True)
class Call:
    """
    A call for a cluster, and its answer.

    Attributes:
        action: "allocate" or "release".
        status: The HTTP status; None without an answer.
        body: The answer's JSON; {} if it has none.
        text: The answer's raw text.
        allocation: The id of the allocation in a 2xx; None if the answer has none.
        created: Whether a 2xx says that it made the allocation, and is no replay.
        retry_after: The header Retry-After.
    """

    cluster: str
    action: str
    status: int | None = None
    body: dict | None = None
    text: str = ""
    allocation: int | None = None
    created: bool = False
    retry_after: str | None = None

    @property
    def done(self):
        return self.status is not None and self.status < 300

    @property
    def open(self):
        """Whether the client cannot know if the call was carried out."""
        return self.status is None or self.status >= 500

    @property
    def kind(self):
        """The kind of the answer, in a word or two."""
        if self.status is None:
            return "no answer"
        return "done" if self.done else f"{self.status} {self.body.get('code') or 'by NetBox'}"


def call(netbox, method, path, body=None, headers=(), timeout=300):
    """Return (status, headers, text) of one call, or None without a complete answer."""
    connection = HTTPConnection("127.0.0.1", netbox.port, timeout=timeout)
    try:
        connection.request(
            method,
            f"{API}{path}",
            None if body is None else json.dumps(body),
            {"Authorization": f"Bearer {netbox.token}", "Content-Type": "application/json", **dict(headers)},
        )
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def allocate(netbox, pool, cluster, key=None):
    """Allocate by the first generation's call, or with an Idempotency-Key as a NetBox client does; return the Call."""
    body = {"cluster_name": cluster, "site": pool, "vrf": pool}
    if key:
        answer = call(netbox, "POST", "/allocations/", body, {"Idempotency-Key": key})
    else:
        answer = call(netbox, "POST", "/allocate-vlan/", body)
    return _read(cluster, "allocate", answer)


def release(netbox, pool, cluster, allocation=None):
    """Release by the first generation's call, or the allocation of that id; return the Call."""
    if allocation:
        answer = call(netbox, "DELETE", f"/allocations/{allocation}/")
    else:
        answer = call(netbox, "POST", "/release-vlan/", {"cluster_name": cluster, "site": pool, "vrf": pool})
    return _read(cluster, "release", answer)


def _read(cluster, action, answer):
    if answer is None:
        return Call(cluster, action)
    status, headers, text = answer
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    is_new = status == 201 if "id" in body else bool(body.get("created"))
    return Call(
        cluster,
        action,
        status,
        body,
        text,
        body.get("id", body.get("allocation")),
        is_new and "Idempotency-Replayed" not in headers,
        headers.get("Retry-After"),
    )


class Load:
    """
    Clients that allocate and release in a pool until they are stopped. They repeat failed calls, and every second
    client uses Idempotency-Keys.

    Args:
        netboxes: The LiveNetBoxes, among which the clients are divided.
        pool: The name of the pool, of its site and of its VRF.
        clients: How many.
    """

    def __init__(self, netboxes, pool, clients):
        self.calls = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(netboxes[number % len(netboxes)], pool, number))
            for number in range(clients)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *args):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, netbox, pool, client):
        # Each turn of a cluster is an allocation, sometimes the same call once more, and a release.
        for turn in itertools.count():
            cluster = f"{pool}-{client}-{turn % CLUSTERS}".lower()
            key = f"{cluster}-{turn}" if client % 2 else None
            held = self._insist(lambda cluster=cluster, key=key: allocate(netbox, pool, cluster, key))
            if held is None:
                return
            if not held.done:
                continue
            if random.random() < 0.2 and self._insist(lambda c=cluster: allocate(netbox, pool, c)) is None:
                return
            own = held.allocation if client % 2 else None
            if self._insist(lambda cluster=cluster, own=own: release(netbox, pool, cluster, own)) is None:
                return

    def _insist(self, make):
        """Repeat a call until its answer is final, and return it; None if the load stops first."""
        while not self._stop.is_set():
            made = make()
            self.calls.append(made)
            if not made.open:
                return made
            time.sleep(random.uniform(0.05, 0.2))
        return None


def count_answers(calls):
    """Return how often each kind of answer came."""
    return Counter(made.kind for made in calls)


def find_losses(connection, pool, calls):
    """
    Return a text for each contradiction between the database and an answer, or between two answers.

    Args:
        connection: A psycopg connection.
        pool: The name of a pool in which only the clients of `calls` allocated.
        calls: All their calls; those of one cluster are in order.
    """
    rows = connection.execute(
        "SELECT id, lower(cluster_name), vid, released_at IS NULL FROM netbox_vlan_manager_allocation "
        "WHERE pool_name = %s",
        [pool],
    ).fetchall()
    by_id = {pk: (cluster, vid, active) for pk, cluster, vid, active in rows}
    held = defaultdict(list)
    for pk, cluster, _vid, active in rows:
        if active:
            held[cluster].append(pk)
    losses = [f"{cluster} holds {len(pks)} segments" for cluster, pks in held.items() if len(pks) > 1]
    vids = Counter(vid for _cluster, vid, active in by_id.values() if active)
    losses += [f"VLAN {vid} is held {count} times" for vid, count in vids.items() if count > 1]

    made = Counter(made.allocation for made in calls if made.created)
    losses += [f"Allocation {pk} was made {count} times" for pk, count in made.items() if count > 1]
    told = {made.allocation for made in calls if made.done}
    by_cluster = defaultdict(list)
    for one in calls:
        by_cluster[one.cluster].append(one)
        losses += _judge(one, by_id)
    for cluster, own in by_cluster.items():
        losses += _walk(cluster, own, held[cluster])
    maybe = {one.cluster for one in calls if one.action == "allocate" and one.open}
    losses += [
        f"Nobody asked for allocation {pk} of {cluster}"
        for pk, (cluster, _vid, _active) in by_id.items()
        if pk not in told and cluster not in maybe
    ]

    # The change log has one entry for the allocation, and one for the release.
    changes = connection.execute(
        "SELECT allocation.id, count(*) FILTER (WHERE action = 'create'), count(*) FILTER (WHERE action = 'update'), "
        "allocation.released_at IS NOT NULL FROM netbox_vlan_manager_allocation AS allocation "
        "LEFT JOIN core_objectchange ON changed_object_id = allocation.id AND changed_object_type_id = (SELECT id FROM "
        "django_content_type WHERE app_label = 'netbox_vlan_manager' AND model = 'allocation') "
        "WHERE pool_name = %s GROUP BY allocation.id",
        [pool],
    )
    losses += [
        f"The change log has {created} entries for allocation {pk} and {updated} for its release"
        for pk, created, updated, is_released in changes
        if (created, updated) != (1, int(is_released))
    ]
    return losses


def _judge(made, by_id):
    """Return the errors of an answer, in itself and compared with the database."""
    what = f"{made.action} of {made.cluster}"
    if "Traceback (most recent call last)" in made.text:
        return [f"{what}: a traceback"]
    if made.done and made.action == "allocate":
        row = by_id.get(made.allocation)
        vid = made.body.get("vlan_id", made.body.get("vid"))
        if row is None or row[:2] != (made.cluster, vid):
            return [f"{what}: told VLAN {vid} by allocation {made.allocation}, which is {row}"]
    if made.done or made.status in (None, 500):
        return []
    if (made.status, made.body.get("code")) not in REFUSALS:
        return [f"{what}: {made.status} {made.text[:200]}"]
    if made.status == 503 and not made.retry_after:
        return [f"{what}: 503 without Retry-After"]
    return []


def _walk(cluster, calls, held):
    """Follow the calls of a cluster, and return the contradictions between the answers about what it holds."""
    losses = []
    # What the cluster holds: an allocation's id, None, or "?" after a call with an unknown outcome.
    holds = None
    for made in calls:
        if made.action == "allocate" and made.done:
            expected = {None: made.created, "?": True}.get(holds, holds == made.allocation and not made.created)
            if not expected:
                losses.append(f"{cluster} held {holds} and was given {made.allocation}, created: {made.created}")
            holds = made.allocation
        elif made.action == "release" and made.status == 404:
            if holds not in (None, "?"):
                losses.append(f"{cluster} held {holds}, which was gone when it released it")
            holds = None
        elif made.action == "release" and made.done:
            holds = None
        elif made.open:
            holds = "?"
    if holds != "?" and held != ([holds] if holds else []):
        losses.append(f"{cluster} holds {held} in the database, and {holds} by the answers")
    return losses
