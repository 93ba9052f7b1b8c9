import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.stack.database import PROJECT


@pytest.fixture(scope="session")
def examples():
    """The folder of the examples."""
    return PROJECT / "docs/examples"


@pytest.fixture(scope="module")
def netbox(stack):
    """A NetBox with the demo data."""
    live = stack.serve(stack.create_database())
    live.database.netbox("vlan_manager_demo", "--user", live.username)
    yield live
    live.stop()


@pytest.fixture(scope="module")
def api(netbox):
    """A function that calls NetBox's REST API and returns the requests.Response."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {netbox.token}"

    def call(method, path, **kwargs):
        return session.request(method, f"{netbox.url}/api/{path}", timeout=60, **kwargs)

    return call


@pytest.fixture(scope="module")
def held(api):
    """A function that returns {cluster: VLAN ID} of the active allocations of clusters whose name begins so."""

    def held(prefix):
        query = {"status": "active", "cluster_name__isw": prefix, "limit": 100}
        answer = api("get", "plugins/vlan-manager/allocations/", params=query).json()
        return {allocation["cluster_name"]: allocation["vid"] for allocation in answer["results"]}

    return held


@pytest.fixture
def front(netbox):
    """
    A proxy before NetBox that answers the next calls itself with `.troubles`, (status, headers) each. `.env` is the
    environment that sends an example through the proxy; `.calls` lists the calls, as "POST /path".
    """

    class Front(BaseHTTPRequestHandler):
        def forward(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server.calls.append(f"{self.command} {self.path}")
            if server.troubles:
                status, headers = server.troubles.pop(0)
                content = b'{"detail": "Another transaction holds a lock that this call needs.", "code": "busy"}'
                headers = {"Content-Type": "application/json", **headers}
            else:
                answer = requests.request(
                    self.command, f"{netbox.url}{self.path}", data=body, headers=dict(self.headers), timeout=60
                )
                status, content = answer.status_code, answer.content
                headers = {"Content-Type": answer.headers.get("Content-Type", "application/json")}
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = forward

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Front) as server:
        server.troubles, server.calls = [], []
        server.env = os.environ | {
            "NETBOX_URL": f"http://127.0.0.1:{server.server_port}",
            "NETBOX_TOKEN": netbox.token,
            "no_proxy": "127.0.0.1",
            # The example must not see the environment of the tests.
            "PYTHONPATH": "",
        }
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
