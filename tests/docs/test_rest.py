"""The REST calls of README and docs work in their order, and get the answers that the pages show."""

import json
import re
import shlex

import pytest
import requests

from tests.stack.database import PROJECT

pytestmark = pytest.mark.live

BLOCKS = re.compile(r'```console\n\$ (.*?)\n```\n\n```(\w+) title="(\d+) [\w ]+"\n(.*?)```', re.DOTALL)
# Fields whose values differ from run to run.
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
        api = f"{netbox.url}/api/plugins/vlan-manager"
        command = command.replace("\\\n", "").replace("$API", api).replace("$TOKEN", netbox.token)
        command = command.replace("https://netbox.example.com", netbox.url)
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
                case "-s":
                    pass
                case "-H":
                    name, value = words.pop(0).split(": ")
                    self.headers[name] = value
                case url:
                    self.url = url

    def make(self, ids):
        """Make the call, with this run's ids in place of the page's."""
        url = re.sub(r"(?<=/)\d+(?=/)", lambda match: str(ids.get(int(match[0]), match[0])), self.url)
        return requests.request(self.method, url, data=self.body, headers=self.headers, timeout=60)


def differences(shown, found, path="", ids=None):
    """Yield the differences between an answer and the page. "…" matches anything, and shortens a list."""
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


def test_readme(netbox):
    """A cluster gets a segment by curl, and holds it until pynetbox and nbshell release it."""
    page = (PROJECT / "README.md").read_text()
    command, shown = re.search(r"```console\n\$ (curl .*?)\n({.*?})\n```", page, re.DOTALL).groups()
    answer = Call(command, netbox).make({})
    assert answer.status_code == 200
    assert list(differences(json.loads(shown), answer.json())) == []
    assert json.loads(shown).keys() == answer.json().keys()

    by_pynetbox, by_nbshell = re.findall(r"```python\n((?:import|from) .*?)```", page, re.DOTALL)
    names = {}
    exec(by_pynetbox.replace("https://netbox.example.com", netbox.url).replace("nbt_…", netbox.token), names)
    assert names["allocation"].id == answer.json()["allocation"]
    code = by_nbshell.replace('"admin"', repr(netbox.username)).replace("allocate(", "print(allocate(", 1)
    code = code.replace(".allocation.vid", ".allocation.vid)")
    assert netbox.database.netbox("nbshell", "-c", code).stdout.split()[-1] == "104"


def test_graphql(netbox):
    command = re.search(r"```console\n\$ (curl .*?)\n```", (PROJECT / "docs/graphql.md").read_text(), re.DOTALL)[1]
    # curl sends a POST if there is a body.
    call = Call(f"{command} -X POST", netbox)
    assert {"name": "Network1 Site1", "available": 6} in call.make({}).json()["data"]["segment_pool_list"]


def break_prefix(netbox):
    code = "from ipam.models import Prefix; Prefix.objects.filter(prefix='10.11.7.0/24').update(status='deprecated')"
    netbox.database.netbox("nbshell", "-c", code)


@pytest.mark.parametrize(
    ("name", "count", "prepare"), [("rest", 20, None), ("supply", 1, None), ("drift", 2, break_prefix)]
)
def test_calls(netbox, name, count, prepare):
    page = (PROJECT / f"docs/{name}.md").read_text()
    if prepare:
        prepare(netbox)
    blocks = BLOCKS.findall(page)
    assert len(blocks) == page.count("```console\n$ curl") >= count
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
