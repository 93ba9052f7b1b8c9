import signal
import sys
from pathlib import Path

import pytest

from tests.stack.servers import Process


@pytest.fixture(scope="session")
def worker(live_netbox):
    """A process that does live_netbox's background jobs."""
    database = live_netbox.database
    log = Path(database.env["NETBOX_ROOT"]) / "rqworker.log"
    process = Process([sys.executable, "-m", "netbox", "rqworker"], env=database.env, log=log)
    yield process
    # It takes seconds to end in an orderly way, and there is nothing left to do.
    process.stop(signal.SIGKILL)
