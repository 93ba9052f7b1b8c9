import sys
from pathlib import Path

import pytest

from tests.stack.servers import Process


@pytest.fixture(scope="module")
def worker(live_netbox):
    """A process that does live_netbox's background jobs."""
    database = live_netbox.database
    log = Path(database.env["NETBOX_ROOT"]) / "rqworker.log"
    process = Process([sys.executable, "-m", "netbox", "rqworker"], env=database.env, log=log)
    yield process
    # In an orderly way: Redis remembers for minutes one that is killed, and other tests ask whether there is any.
    process.stop()
