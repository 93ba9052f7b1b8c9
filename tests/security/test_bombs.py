import io
import json
import resource
import subprocess
import sys
import time
import zipfile

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from netbox_vlan_manager.api.views.base import BATCH_MAX
from netbox_vlan_manager.models import IdempotencyKey, Segment
from netbox_vlan_manager.services.base.sheets import MAX_SIZE
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_user

# The limits for a file of 10 MB, in seconds and bytes. Without the parsers' limits, each of these files takes hours,
# takes all memory, or crashes the process.
SECONDS = 60
MEMORY = 1500 * 10**6

# Runs in one separate process for all files: starting Django takes longer than most of them.
PARSE = """
import json, resource, sys, time
from pathlib import Path
import django
django.setup()
from django.core.exceptions import ValidationError
from netbox_vlan_manager.services.onboarding.import_files import parse_file
answers = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    content, begun, rows = path.read_bytes(), time.process_time(), []
    try:
        rows = parse_file(content)
        key = "rows"
    except ValidationError as error:
        (key, texts), = error.message_dict.items()
        print(path.name, texts[0][:300], file=sys.stderr)
        assert len(str(texts)) < 10_000, (path.name, str(texts)[:500])
    del rows, content
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
    answers[path.name] = {"key": key, "seconds": round(time.process_time() - begun, 1), "megabytes": megabytes}
    print(path.name, answers[path.name], file=sys.stderr, flush=True)
print(json.dumps(answers))
"""

HEADER = "site,vlan_id,epg_name,segment,vrf\n"


def workbook(sheet, **files):
    """Return an XLSX with this as its only sheet, as XML."""
    types = "http://schemas.openxmlformats.org"
    office = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{types}/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{office}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{office}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{types}/package/2006/relationships"><Relationship Id="r1" '
        f'Type="{types}/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{types}/spreadsheetml/2006/main" '
        f'xmlns:r="{types}/officeDocument/2006/relationships"><sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{types}/package/2006/relationships"><Relationship '
        f'Id="r1" Type="{types}/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/>'
        "</Relationships>",
        "xl/worksheets/sheet1.xml": sheet,
        **files,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sheet_of(data, doctype=""):
    names = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    return f'<?xml version="1.0"?>{doctype}<worksheet {names}><sheetData>{data}</sheetData></worksheet>'


def text_row(number, *values):
    cells = "".join(f'<c t="inlineStr"><is><t>{value}</t></is></c>' for value in values)
    return f'<row r="{number}">{cells}</row>'


def merge_bomb():
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, 12):
        lines.append(f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}")
    return "---\n" + "\n".join(lines)


def alias_bomb():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "---\n" + "\n".join(lines) + "\nrows: [{site: *a11}]"


LAUGHS = '<!DOCTYPE x [<!ENTITY a0 "ha">{}]>'.format(
    "".join(f'<!ENTITY a{level} "{f"&a{level - 1};" * 10}">' for level in range(1, 12))
)
SECRET = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
COLUMNS = ("site", "vlan_id", "epg_name", "segment", "vrf")

BOMBS = {
    # {name: (function that makes the file, beginning of the answer)}
    "zip": (lambda: workbook(b"\0" * (60 * 10**6)), "xlsx"),
    "far column": (
        lambda: workbook(
            sheet_of(
                text_row(1, *COLUMNS)
                + "".join(f'<row r="{n}"><c r="XFD{n}" t="n"><v>1</v></c></row>' for n in range(2, 20000))
            )
        ),
        # The text is in a column that is not read.
        "xlsx",
    ),
    "far row": (lambda: workbook(sheet_of(text_row(1, *COLUMNS) + text_row(10**12, *"abcde"))), "xlsx"),
    "laughs": (lambda: workbook(sheet_of(text_row(1, "&a11;", "b"), LAUGHS)), "xlsx"),
    "external entity": (lambda: workbook(sheet_of(text_row(1, "&a;", "b"), SECRET)), "xlsx"),
    "many shared strings": (
        lambda: workbook(
            sheet_of(text_row(1, *COLUMNS)), **{"xl/sharedStrings.xml": "<sst>" + "<si/>" * 8 * 10**6 + "</sst>"}
        ),
        "xlsx",
    ),
    "columns": (lambda: "site," + "," * (MAX_SIZE - 10), "csv"),
    "header of names": (lambda: ",".join(f"c{n}" for n in range(10**6)) + "\n1", "csv"),
    "lines": (lambda: HEADER + "a\n" * ((MAX_SIZE - 100) // 2), "csv"),
    "wide lines": (lambda: HEADER + "," * (MAX_SIZE - 100), "csv"),
    "cell": (lambda: HEADER + '"' + "a" * (MAX_SIZE - 100) + '"', "csv"),
    "too long": (lambda: "a" * (MAX_SIZE + 1), "file"),
    "json depth": (lambda: "[" * (MAX_SIZE - 1), "json"),
    "json objects": (lambda: "[" + "{}," * ((MAX_SIZE - 10) // 3) + "{}]", "json"),
    "json number": (lambda: '[{"vlan_id": ' + "9" * (MAX_SIZE - 100) + "}]", "json"),
    "yaml depth": (lambda: "---\n" + "[" * 10**6, "yaml"),
    "yaml block depth": (lambda: "- " * 10**6 + "a", "yaml"),
    "yaml aliases": (alias_bomb, "yaml"),
    "yaml merges": (merge_bomb, "yaml"),
    "yaml number": (lambda: "- {vlan_id: 1" + ":59" * 10**6 + "}", "rows"),
    "yaml tag": (lambda: '- {vlan_id: !!int "1' + ":59" * 10**6 + '"}', "yaml"),
    "yaml objects": (lambda: "- !!python/object/apply:os.system [id]", "yaml"),
    "yaml list": (lambda: "- a\n" * (5 * 10**5), "yaml"),
}


def limit():
    resource.setrlimit(resource.RLIMIT_AS, (3 * MEMORY, 3 * MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def test_files(tmp_path):
    for name, (make, _expected) in BOMBS.items():
        content = make()
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        assert (tmp_path / name).stat().st_size <= MAX_SIZE + 1, name
    process = subprocess.run(
        [sys.executable, "-c", PARSE, tmp_path], capture_output=True, text=True, timeout=280, preexec_fn=limit
    )
    assert process.returncode == 0, process.stderr[-3000:]
    answers = json.loads(process.stdout)
    assert {name: answer["key"] for name, answer in answers.items()} == {
        name: expected for name, (_make, expected) in BOMBS.items()
    }
    # Peak memory of the process, after each file.
    assert max(answer["megabytes"] for answer in answers.values()) * 10**6 < MEMORY


@pytest.fixture
def user(db):
    return make_user("root", is_superuser=True)


@pytest.fixture
def api(user):
    return client_of(user)


def body_of(size):
    return json.dumps({"cluster_name": "x" * size})


POSTED = ("allocate-vlan", "segmentpool-list", "segment-list", "allocation-list", "segment-import", "drift-repair")


@pytest.mark.parametrize("name", POSTED)
def test_bodies(api, name):
    url = url_of(name)
    make_pool(segments=1)
    for body in (
        body_of(MAX_SIZE),
        "[" * 10**6,
        '{"a":' * 10**5,
        '{"cluster_name": ' + "9" * 10**5 + "}",
        "[" + "{}," * (BATCH_MAX + 1) + "{}]" if name.endswith("-list") else "[]",
        json.dumps({"id": 10**40, "pool": 10**40, "site": 10**40, "vrf": 10**40, "vid": 10**40, "prefix": 10**40}),
        json.dumps({"cluster_name": "x" * 10**6, "name": "x" * 10**6, "site": "x" * 10**6, "vrf": "y" * 10**6}),
    ):
        response = api.post(url, body, content_type="application/json")
        assert 400 <= response.status_code < 500, (body[:50], response.status_code)
        assert len(response.content) < 100_000, body[:50]


def test_long_lists(api):
    pool = make_pool(segments=1)
    wanted = [{"pool": pool.pk, "cluster_name": f"c{number}"} for number in range(10_000)]
    for method, url, data in (
        ("post", url_of("allocation-list"), wanted),
        ("delete", url_of("allocation-list"), [{"id": number} for number in range(10_000)]),
        ("patch", url_of("segment-list"), [{"id": number, "dhcp": True} for number in range(10_000)]),
        ("post", url_of("allocation-stretched"), {"cluster_name": "c", "vrf": "x", "sites": ["s"] * 10_000}),
        ("post", url_of("segmentpool-adopt", pk=pool.pk), {"prefixes": list(range(1, 10_001))}),
        ("post", url_of("segment-import"), [{}] * 20_001),
        ("patch", url_of("segmentpool-detail", pk=pool.pk), {"prefixes": list(range(10**9, 10**9 + 100_000))}),
        ("patch", url_of("segmentpool-detail", pk=pool.pk), {"prefixes": ["10.0.0.0/24"] * 100_000}),
        ("post", url_of("segmentpool-resize", pk=pool.pk), {"vid_ranges": [[1, 2]] * 100_000}),
        ("post", url_of("segmentpool-resize", pk=pool.pk), {"vid_ranges": "1-2," * 100_000}),
    ):
        begun = time.process_time()
        response = getattr(api, method)(url, data, format="json")
        assert 400 <= response.status_code < 500, (method, url, response.status_code)
        assert time.process_time() - begun < SECONDS / 4, url
        assert len(response.content) < 100_000, url
    assert Segment.objects.count() == 1


def test_bodies_of_imports(api):
    url = url_of("segment-import")
    for kind in ("text/csv", "application/yaml", "application/json"):
        response = api.generic("POST", url, b"x" * (MAX_SIZE + 1), content_type=kind)
        assert response.status_code == 400, kind
        assert response.json()["code"] == "invalid", kind
    file = SimpleUploadedFile("x.csv", b"x" * (MAX_SIZE + 1))
    assert api.post(url, {"file": file}, format="multipart").json()["errors"].keys() == {"file"}


@pytest.mark.slow("Every call and page")
def test_addresses(api, client, user):
    pool = make_pool(segments=1)
    for name in ("segmentpool", "segment", "allocation"):
        for query in (
            {"limit": 10**9},
            {"limit": 10**40, "offset": 10**40},
            {"offset": 2**63},
            {"id": 10**40},
            {"id": "9" * 5000},
            {"q": "x" * 10**6},
            {"vid": 10**40},
            {"ordering": "x" * 10**5},
            {"fields": "x," * 10**5},
            {"pool_id": ["1"] * 10_000},
        ):
            response = api.get(url_of(f"{name}-list"), query)
            assert response.status_code in (200, 400), (name, query.keys(), response.status_code)
            assert len(response.content) < 200_000
        for pk in (2**63, 10**40, "9" * 5000):
            assert api.get(f"{url_of(f'{name}-list')}{pk}/").status_code == 404, name
    client.force_login(user)
    for path in ("pools", "segments", "allocations"):
        for pk in (2**63, 10**40, "9" * 5000):
            assert client.get(f"/plugins/vlan-manager/{path}/{pk}/").status_code == 404
    huge = "9" * 5000
    assert client.get("/plugins/vlan-manager/allocations/allocate/", {"pool": 2**63}).status_code == 200
    for path in ("segments/disable/", "segments/enable/", "segments/release/", "allocations/release/", "drift/repair/"):
        for pk in (huge, str(2**63)):
            response = client.post(f"/plugins/vlan-manager/{path}", {"pk": pk, "item": pk})
            assert response.status_code in (200, 302), (path, response.status_code)
    assert client.post("/plugins/vlan-manager/allocations/allocate/", {"pool": huge}).status_code == 200
    for path in ("drift/", f"pools/{pool.pk}/adopt/"):
        assert client.get(f"/plugins/vlan-manager/{path}", {"page": huge, "per_page": huge}).status_code == 200
    assert client.get("/plugins/vlan-manager/segments/import/", {"job": huge}).status_code == 404


def test_idempotency_keys(api):
    pool = make_pool(segments=1)
    url = url_of("allocation-list")
    data = {"pool": pool.pk, "cluster_name": "c"}
    response = api.post(url, data, format="json", headers={"Idempotency-Key": "k" * MAX_SIZE})
    assert response.status_code == 400
    body = json.dumps({**data, "comments": "x" * 3 * 10**6})
    response = api.post(url, body, content_type="application/json", headers={"Idempotency-Key": "k"})
    assert response.status_code == 400
    assert not IdempotencyKey.objects.exists()
