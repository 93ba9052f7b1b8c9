"""HTTP clients that measure. They are light, to leave the machine to the server."""

import http.client
import json
import multiprocessing
import time

__all__ = ("Client", "throughput")

FORK = multiprocessing.get_context("fork")


class Client:
    """An HTTP client of one NetBox with one token."""

    def __init__(self, netbox):
        self.port = netbox.port
        self.headers = {"Authorization": f"Bearer {netbox.token}", "Content-Type": "application/json"}

    def __call__(self, method, path, body=None, accept="application/json"):
        """
        Return (answer, seconds) of a call.

        Raises:
            AssertionError: The status is no success, so the time would be that of a refusal.
        """
        payload = None if body is None else json.dumps(body)
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path, payload, self.headers | {"Accept": accept})
        response = connection.getresponse()
        content = response.read()
        elapsed = time.perf_counter() - start
        connection.close()
        assert response.status < 300, f"{method} {path}: {response.status} {content[:500]!r}"
        return (json.loads(content) if accept == "application/json" and content else content), elapsed


def throughput(call, clients, seconds):
    """
    Return how many calls a second several processes complete together.

    Args:
        call: A function that makes one call; its argument is a number that no other call gets.
        clients: How many processes.
        seconds: How long they run.
    """
    results = FORK.Queue()
    barrier = FORK.Barrier(clients)

    def work(client):
        # The first call connects.
        call(client * 1_000_000 - 1)
        barrier.wait()
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            call(client * 1_000_000 + done)
            done += 1
        results.put(done / (time.perf_counter() - start))

    workers = [FORK.Process(target=work, args=(client,)) for client in range(clients)]
    for worker in workers:
        worker.start()
    rates = [results.get(timeout=seconds + 120) for _worker in workers]
    for worker in workers:
        worker.join()
    return sum(rates)
