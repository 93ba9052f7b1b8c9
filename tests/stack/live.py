import secrets
import signal
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tests.stack.database import Database
from tests.stack.servers import wait_for

__all__ = ("LiveNetBox",)


def _random_token():
    return f"nbt_{secrets.token_hex(6)}.{secrets.token_hex(20)}"


@dataclass
class LiveNetBox:
    """
    NetBox behind gunicorn, as it runs in production.

    Attributes:
        database: The Database it uses.
        port: The loopback port it listens on.
        username: The name of its superuser.
        password: The superuser's password.
        token: The superuser's API token, to be sent as "Authorization: Bearer TOKEN".
        workers: How many processes answer.
    """

    database: Database
    port: int
    username: str = "admin"
    password: str = field(default_factory=secrets.token_hex)
    token: str = field(default_factory=_random_token)
    workers: int = 2

    def __post_init__(self):
        self.process = None

    @property
    def url(self):
        """NetBox's address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """
        Make the superuser, start the server and wait until it answers.

        Raises:
            StackError: It does not start.
        """
        self.process = self.database.start(
            "gunicorn",
            f"--workers={self.workers}",
            # NetBox is imported once, and not by each worker.
            "--preload",
            "--no-control-socket",
            f"--bind=127.0.0.1:{self.port}",
            "tests.stack.wsgi",
            log=Path(self.database.env["NETBOX_ROOT"]) / f"gunicorn-{self.port}.log",
        )
        self.database.run("tests.stack.accounts", self.username, self.password, self.token)
        wait_for(lambda: requests.get(f"{self.url}/login/", timeout=60).raise_for_status(), self.process, "NetBox")

    def stop(self):
        """Stop the server."""
        if self.process:
            # A graceful stop takes seconds, and there is nothing to save.
            self.process.stop(signal.SIGKILL)

    def login(self):
        """Log in as the superuser and return the cookies as Playwright takes them."""
        with requests.Session() as session:
            session.get(f"{self.url}/login/", timeout=60).raise_for_status()
            form = {
                "username": self.username,
                "password": self.password,
                "csrfmiddlewaretoken": session.cookies["csrftoken"],
            }
            session.post(f"{self.url}/login/", form, timeout=60).raise_for_status()
            return [{"name": name, "value": value, "url": self.url} for name, value in session.cookies.items()]
