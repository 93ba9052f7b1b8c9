from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def worker(live_netbox):
    """A process that runs live_netbox's background jobs."""
    database = live_netbox.database
    log = Path(database.env["NETBOX_ROOT"]) / "rqworker.log"
    process = database.start("netbox", "rqworker", log=log)
    yield process
    # Not killed: Redis lists a killed worker for minutes, and other tests check that there is none.
    process.stop()
