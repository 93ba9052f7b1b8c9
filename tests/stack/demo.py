"""NetBox with sample data, to look at and to try the API on."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.stack.database import PROJECT
from tests.stack.servers import Process, StackError

__all__ = ("demo", "shell")

TOKEN = "nbt_demo00000000.demodemodemodemodemodemodemodemodemodemo"


def _port():
    return int(os.environ.get("PORT") or 8000)


def _state(port):
    # From this file, another terminal reads the servers of a running demo.
    return PROJECT / f".demo-{port}.json"


def demo(stack):
    """
    Run the demo until it is interrupted.

    Args:
        stack: A started Stack.

    Raises:
        StackError: NetBox or its worker ended by itself.
    """
    database = stack.create_database()
    netbox = stack.serve(database, _port(), username="admin", password="admin", token=TOKEN)
    database.netbox("vlan_manager_demo", "--user", "admin", capture_output=False)
    log = Path(database.env["NETBOX_ROOT"]) / "rqworker.log"
    worker = stack.add(Process([sys.executable, "-m", "netbox", "rqworker"], env=database.env, log=log))
    state = _state(netbox.port)
    state.touch(mode=0o600)
    state.write_text(json.dumps(database.env))
    try:
        print(_instructions(netbox.url), flush=True)
        while netbox.process.running and worker.running:
            time.sleep(1)
    except KeyboardInterrupt:
        return
    finally:
        state.unlink(missing_ok=True)
    ended = worker if netbox.process.running else netbox.process
    raise StackError(f"The demo ended: {ended.last_line}")


def _instructions(url):
    call = (
        f'curl -s -X POST -H "Authorization: Bearer {TOKEN}" -H "Content-Type: application/json" '
        '-d \'{"cluster_name": "prod-01", "site": "Site1", "vrf": "Network1"}\' '
        f"{url}/api/plugins/vlan-manager/allocate-vlan/"
    )
    return f"""
NetBox     {url}/plugins/vlan-manager/overview/
Login      admin / admin
API token  {TOKEN}

Allocate a network for a cluster:

{call}

Ctrl-C stops the demo and deletes its data."""


def shell():
    """
    Open NetBox's shell on the running demo's database.

    Raises:
        StackError: No demo runs on that port.
    """
    try:
        env = json.loads(_state(_port()).read_text())
    except FileNotFoundError:
        raise StackError(
            f"No demo runs on port {_port()}: start one with make demo, or set PORT to its port."
        ) from None
    return subprocess.run([sys.executable, "-m", "netbox", "nbshell"], env=env, check=False).returncode
