"""The calls of docs/rest.md are made, in their order, and answered as it says."""

import json
import re
import shlex

import pytest
import requests

from tests.stack.database import PROJECT

pytestmark = pytest.mark.live

BLOCKS = re.compile(r'```console\n\$ (.*?)\n```\n\n```(\w+) title="(\d+) [\w ]+"\n(.*?)```', re.DOTALL)
# What another run has another of.
VARYING = ("allocated_at", "id", "allocation")


@pytest.fixture(scope="module")
def netbox(stack):
    live = stack.serve(stack.create_database())
    live.database.netbox("vlan_manager_demo", "--user", live.username)
    yield live
    live.stop()


class Call:
    """A curl command line."""

    def __init__(self, command, netbox):
        command = command.replace("\\\n", "").replace("$API", f"{netbox.url}/api/plugins/vlan-manager")
        words = shlex.split(command)
        assert words.pop(0) == "curl"
        self.method, self.body = "GET", None
        self.headers = {"Authorization": f"Bearer {netbox.token}", "Content-Type": "application/json"}
        while words:
            match words.pop(0):
                case "-X":
                    self.method = words.pop(0)
                case "-d":
                    self.body = words.pop(0)
                case "-H":
                    name, value = words.pop(0).split(": ")
                    self.headers[name] = value
                case url:
                    self.url = url

    def make(self, ids):
        """Make the call, with the ids of this run in the place of those of the page."""
        url = re.sub(r"(?<=/)\d+(?=/)", lambda match: str(ids.get(int(match[0]), match[0])), self.url)
        return requests.request(self.method, url, data=self.body, headers=self.headers, timeout=60)


def differences(shown, found, path="", ids=None):
    """Yield where an answer is not what the page shows. "…" stands for anything, and ends a list that is longer."""
    if isinstance(shown, str) and "…" in shown:
        parts = [re.escape(part) for part in shown.split("…")]
        if shown != "…" and not re.fullmatch(".*".join(parts), str(found)):
            yield f"{path}: {found!r}, not {shown!r}"
    elif isinstance(shown, dict) and isinstance(found, dict):
        for name, value in shown.items():
            if name not in found:
                yield f"{path}.{name}: missing"
            elif name in VARYING and value is not None:
                if ids is not None and not path and name in ("id", "allocation"):
                    ids[value] = found[name]
                if type(value) is not type(found[name]):
                    yield f"{path}.{name}: {found[name]!r}"
            else:
                yield from differences(value, found[name], f"{path}.{name}", ids)
    elif isinstance(shown, list) and isinstance(found, list):
        more = shown[-1:] == ["…"]
        if not more and len(shown) != len(found):
            yield f"{path}: {len(found)} of them"
        for index, pair in enumerate(zip(shown[:-1] if more else shown, found, strict=False)):
            yield from differences(*pair, f"{path}[{index}]", ids)
    elif shown != found:
        yield f"{path}: {found!r}, not {shown!r}"


def test_calls(netbox):
    page = (PROJECT / "docs/rest.md").read_text()
    blocks = BLOCKS.findall(page)
    assert len(blocks) == page.count("```console") > 20
    ids, wrong = {}, []
    for command, kind, status, shown in blocks:
        answer = Call(command, netbox).make(ids)
        problems = []
        if answer.status_code != int(status):
            problems.append(f"answers {answer.status_code}")
        elif kind == "json":
            problems += differences(json.loads(shown), answer.json(), ids=ids)
        elif shown:
            problems += differences(shown.split("\n")[0], answer.text.splitlines()[0])
        if problems:
            wrong.append(f"{command}\n{problems}\n{answer.text[:600]}\n")
    assert not wrong, "\n".join(wrong)
