#!/usr/bin/env python
"""Exits with 0 if the web server or the worker in this container works: healthcheck.py web|worker"""

import os
import socket
import sys
from pathlib import Path
from urllib.request import Request, urlopen


def check_web():
    """Raise unless the plugin's health endpoint answers 200."""
    host = os.environ.get("ALLOWED_HOSTS", "localhost").split()[0].replace("*", "localhost")
    url = f"http://127.0.0.1:{os.environ.get('PORT', '8080')}/api/plugins/vlan-manager/health/"
    urlopen(Request(url, headers={"Host": host}), timeout=8).close()


def check_worker():
    """Raise unless a worker of this container is registered in the queue."""
    from redis import Redis
    from rq import Worker

    password = os.environ.get("REDIS_PASSWORD")
    if path := os.environ.get("REDIS_PASSWORD_FILE"):
        password = Path(path).read_text().strip()
    connection = Redis(
        host=os.environ.get("REDIS_HOST", "valkey"),
        port=int(os.environ.get("REDIS_PORT", "6379")),
        password=password,
        socket_timeout=8,
    )
    if not any(worker.hostname == socket.gethostname() for worker in Worker.all(connection=connection)):
        raise RuntimeError("No worker of this container is registered")


if __name__ == "__main__":
    try:
        {"web": check_web, "worker": check_worker}[sys.argv[1]]()
    except Exception as e:
        sys.exit(f"unhealthy: {e}")
