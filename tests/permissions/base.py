"""Sends the calls of the matrix as each persona, and searches the answers for hidden values."""

import gzip
import io
import json
import re
import zipfile
from datetime import timedelta
from urllib.parse import unquote

from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client, TestCase
from django.utils import timezone

from users.constants import TOKEN_PREFIX
from users.models import Token

from .world import HIDDEN, OPEN, TABLES, build_world

# The personas that may view nothing, and those that may view one half only; the others may view all.
FORBIDDEN = {
    **dict.fromkeys(("anonymous", "nobody", "expired"), (OPEN, HIDDEN)),
    **dict.fromkeys(("bound", "allocator", "readonly"), (HIDDEN,)),
}
VALUE = re.compile(r"[\w.:/-]+")
RANDOM_HEADERS = ("X-Request-ID", "ETag", "Content-Length", "Set-Cookie")
RANDOM = re.compile(r'csrf_?(?:middleware)?_?token"?[^>\n]{0,40}?["\'][\w]{64}["\']', re.IGNORECASE)

WATCHED = (*TABLES, "netbox_vlan_manager_segmentpool_prefixes", "core_objectchange")
# The contents of the tables as a few hundred bytes.
FINGERPRINT = " UNION ALL ".join(
    f"SELECT '{table}', count(*), md5(string_agg(t::text, '|' ORDER BY t.id)) FROM {table} t" for table in WATCHED
)
# The number of rows that this transaction has written, including rolled back ones.
WRITTEN = "SELECT {}".format(
    " + ".join(
        f"pg_stat_get_xact_tuples_{kind}('{table}'::regclass)"
        for table in WATCHED
        for kind in ("inserted", "updated", "deleted")
    )
)


class WorldTestCase(TestCase):
    maxDiff = None

    @classmethod
    def setUpTestData(cls):
        cls.world = build_world()
        with connection.cursor() as cursor:
            # Without ANALYZE, PostgreSQL plans for the empty tables of a moment ago.
            cursor.execute("ANALYZE")
        users = cls.world.users
        cls.ids = {name: value.pk for name, value in vars(cls.world).items() if hasattr(value, "pk")}
        cls.headers = {
            name: cls.make_headers(users[user], **token)
            for name, user, token in (
                ("nobody", "nobody", {}),
                ("viewer", "viewer", {}),
                ("bound", "bound", {}),
                ("allocator", "allocator", {}),
                ("readonly", "bound", {"write_enabled": False}),
                ("expired", "bound", {"expires": timezone.now() - timedelta(days=1)}),
                ("root", "root", {}),
            )
        }
        cls.cookies = {}
        for name, user in users.items():
            client = Client()
            client.force_login(user)
            cls.cookies[name] = client.cookies["sessionid"].value
        cls.before = cls.ask(FINGERPRINT)

    @staticmethod
    def make_headers(user, **fields):
        token = Token.objects.create(user=user, **fields)
        return {"Authorization": f"Bearer {TOKEN_PREFIX}{token.key}.{token.token}"}

    @staticmethod
    def ask(query):
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def send(self, row, persona):
        """Send a call, and return the response and all of its text."""
        client = Client(raise_request_exception=False)
        url, body = row.get_url(self.ids), row.get_body(self.ids)
        headers = {"HX-Request": "true"} if row.method == "HTMX" else {}
        method = row.endpoint[0].lower()
        if row.kind == "rest":
            headers |= self.headers.get(persona, {})
            if method == "get":
                response = client.get(url, headers=headers)
            else:
                response = getattr(client, method)(
                    url, json.dumps(body), content_type="application/json", headers=headers
                )
        else:
            if persona in self.cookies:
                client.cookies["sessionid"] = self.cookies[persona]
            response = getattr(client, method)(url, body or None, headers=headers)
        return response, read_text(response)


def read_text(response):
    """Return the text that the client gets: headers, body and the messages that the next page shows."""
    content = response.getvalue() if response.streaming else response.content
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as book:
            content = b"\n".join(book.read(name) for name in book.namelist())
    elif response.get("Content-Encoding") == "gzip":
        content = gzip.decompress(content)
    texts = [f"{name}: {unquote(unquote(value))}" for name, value in response.items() if name not in RANDOM_HEADERS]
    if hasattr(response.wsgi_request, "_messages"):
        texts += [str(message) for message in get_messages(response.wsgi_request)]
    return "\n".join([*texts, RANDOM.sub("", content.decode())])


def find_told(pattern, text, row, ids):
    """Return the first match of `pattern` in `text` that is no value of the caller's, and the text around it."""
    given = {value for value in VALUE.findall(row.get_url(ids) + row.body.replace("\\n", " ")) if pattern.search(value)}
    if row.get_url(ids).endswith("/space/"):
        # The map names each network of a container, whatever lies in it. The hidden ones are parts of this one.
        given |= {"10.1.222.0/24", "10.1.222.0%2F24"}
    for value in sorted(given, key=len, reverse=True):
        text = text.replace(value, "")
    if told := pattern.search(text):
        return f"{told[0]!r}: {' '.join(text[max(told.start() - 150, 0) : told.end() + 60].split())}"
    return None
