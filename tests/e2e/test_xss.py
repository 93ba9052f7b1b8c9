"""A browser runs no attack in a NetBox in which every text is one (see tests/security/world.py)."""

import json
import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.security.world import EVALUATED, HOSTILE, IMPORT_COLUMNS, MARKDOWN, MARKER, SHORT

pytestmark = pytest.mark.e2e

PLUGIN = "/plugins/vlan-manager"

# Runs in each document, also in frames, before the document's scripts. A logged error fails the test.
WATCH = f'Object.defineProperty(window, "{MARKER}", {{ set: (value) => console.error("Attack", value) }})'

# A function that opens the hidden parts of the page: tooltips, and the choices of fields.
ASK = """async () => {
  for (const element of document.querySelectorAll("[title], [aria-label], [data-bs-toggle=tooltip]")) {
    for (const name of ["pointerover", "mouseover"]) {
      element.dispatchEvent(new MouseEvent(name, { bubbles: true }));
    }
  }
  for (const { tomselect: select } of document.querySelectorAll("select.tomselected")) {
    // While htmx puts a form in place, its fields have the classes of those before them, and nothing else.
    if (!select) {
      continue;
    }
    if (select.settings.load) {
      select.load("");
    }
    for (let tries = 0; select.loading && tries < 100; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    select.refreshOptions(true);
  }
}"""

# A function that returns the attacks in the page that are more than text, and the number of those that are only text.
LOOK = """(evaluated) => {
  const attacks = [];
  for (const element of document.querySelectorAll("*")) {
    const handlers = [...element.attributes].filter(({ name }) => name.startsWith("on"));
    if (
      element.matches("iframe, [href^='javascript:' i], [src^='javascript:' i], [action^='javascript:' i]") ||
      handlers.some(({ value }) => value.includes("window.__xss")) ||
      (element.matches("script:not([type*=json])") && element.textContent.includes("window.__xss"))
    ) {
      attacks.push(element.outerHTML.slice(0, 300));
    }
  }
  if (document.documentElement.outerHTML.includes(evaluated)) {
    attacks.push(evaluated);
  }
  function count(selector) {
    const found = [...document.querySelectorAll(selector)].map(({ textContent }) => textContent);
    return found.join("").split("window.__xss=").length - 1;
  }
  return { attacks, texts: count("body"), tooltips: count(".tooltip"), options: count(".ts-dropdown") };
}"""

# A function that loads a fragment as htmx does, and inserts it into the page, scripts included.
INSERT = """async (path) => {
  const answer = await fetch(path, { headers: { "HX-Request": "true" } });
  const fragment = document.createRange().createContextualFragment(await answer.text());
  document.body.replaceChildren(fragment);
}"""

# A function that sends a form.
SEND = """([path, values]) => {
  const form = document.createElement("form");
  form.method = "post";
  form.action = path;
  for (const [name, value] of Object.entries({ ...values, csrfmiddlewaretoken: window.CSRF_TOKEN })) {
    const area = form.appendChild(document.createElement("textarea"));
    area.name = name;
    area.value = value;
  }
  document.body.append(form);
  form.submit();
}"""

# A function that returns the addresses that htmx loads, without those of the same list in another order.
FRAGMENTS = """() => {
  const paths = [...document.querySelectorAll("[hx-get]")].map((element) => element.getAttribute("hx-get"));
  return paths.filter((path) => path.startsWith("/") && !/[?&](sort|per_page)=/.test(path));
}"""


@pytest.fixture(scope="module")
def live_netbox(stack):
    """A NetBox full of attacks; `world` has the paths of its pages."""
    live = stack.serve(stack.create_database(), username="root")
    live.world = json.loads(live.database.run("tests.security.world").stdout)
    yield live
    live.stop()


@pytest.fixture
def page(page, page_problems):
    """A page that fails the test if an attack runs in it."""
    page.context.add_init_script(WATCH)
    # Markdown may have pictures with any address. A missing picture would be logged as an error, an empty one is not.
    page.route(re.compile("/x(%22.*)?$"), lambda route: route.fulfill(content_type="image/png", body=b""))
    page.on("dialog", lambda dialog: (page_problems.append(f"Dialog: {dialog.message}"), dialog.dismiss()))
    return page


def look(page, path, found):
    """Open all hidden parts of the page, add the attacks to `found`, and return the counts of LOOK."""
    page.evaluate(ASK)
    seen = page.evaluate(LOOK, EVALUATED)
    if attacks := seen.pop("attacks"):
        found[path] = attacks
    return seen


def test_attacks_are_seen(page, page_problems):
    """The control page's attacks are found; otherwise the other tests would prove nothing."""
    link = f"<a href='javascript:window.{MARKER}=5'>{EVALUATED}</a>"
    body = f"<p title='{HOSTILE}'>{SHORT}{link}<script>alert(8)</script>{MARKDOWN}"
    page.route("**/control/", lambda route: route.fulfill(content_type="text/html", body=f"<body>{body}"))
    for path in ("/control/", f"{PLUGIN}/help/"):
        found = {}
        page.goto(path)
        if path != "/control/":
            page.evaluate(INSERT, "/control/")
        look(page, path, found)
        page.wait_for_load_state("networkidle")
        run = {*page_problems}
        page_problems.clear()
        assert "Dialog: 8" in run
        # A fragment's SVG is not loaded.
        for number in (1, 2, 3, 7) if path == "/control/" else (1, 2, 7):
            assert any(problem.startswith(f"Console: Attack {number} ") for problem in run), (path, number, run)
        for start in ("<script", "<img", "<svg", "<iframe", "<a ", EVALUATED):
            assert any(attack.startswith(start) for attack in found[path]), (path, start, found)


def test_stored(page, live_netbox):
    world = live_netbox.world
    pages = world["pages"]
    # Bulk pages show nothing without selected objects; another test covers them.
    asked = [path for name, path in pages.items() if "_bulk_" not in name or "import" in name]
    # The timeline shows nothing until it is asked for something.
    asked.append(f"{pages['timeline']}?{urlencode({'cluster_name': f'c {HOSTILE}'})}")
    found, seen, fragments = {}, {}, set()
    for path in [*asked, *world["core"]]:
        page.goto(path)
        seen[path] = look(page, path, found)
        fragments |= set(page.evaluate(FRAGMENTS))
    # The requests of htmx: pages, the dialogs of buttons, and lists within pages.
    page.goto(pages["help"])
    inserted = {}
    for path in sorted({*seen, *fragments}):
        page.evaluate(INSERT, path)
        inserted[path] = look(page, f"fragment {path}", found)
    assert found == {}

    # Each page contains the texts; otherwise the test has checked nothing.
    silent = {path for path, counts in seen.items() if not counts["texts"] and not inserted[path]["texts"]}
    log = f"/core/jobs/{world['ids']['import_job']}/log/"
    assert silent <= {
        pages["help"],
        pages["migration"],
        pages["segment_bulk_import"],
        pages["resend"],
        pages["timeline"],
        "/core/jobs/",
        log,
    }
    assert sum(counts["tooltips"] > 0 for counts in seen.values()) >= 8
    assert sum(counts["options"] > 0 for counts in seen.values()) >= 8
    assert sum(counts["texts"] > 0 for path, counts in inserted.items() if path not in seen) >= 8


def test_hovered(page, live_netbox):
    pages = live_netbox.world["pages"]
    page.goto(pages["segmentpool_map"])
    expect(page.locator("#vlan-map[data-ready]")).to_be_attached()
    for text in (f"c {HOSTILE}", f"V {HOSTILE}"[:40], f"D {HOSTILE}"[:40]):
        page.locator("#vlan-map").get_by_label(text).first.hover()
        expect(page.locator(".tooltip.show")).to_contain_text(text)
    page.goto(pages["segmentpool"])
    page.locator("#utilization-history rect").first.hover()
    page.locator("[data-bs-toggle=tooltip]").last.hover()
    found = {}
    look(page, "", found)
    assert found == {}


def test_reflected(page, live_netbox):
    """Attacks in addresses."""
    pages = live_netbox.world["pages"]
    values = {"q": HOSTILE, "return_url": f"javascript:window.{MARKER}=5", "cluster_name": HOSTILE, "sort": SHORT}
    values |= {"epg_name": HOSTILE, "name": HOSTILE, "vid": SHORT, "days": SHORT, "show": SHORT, "tab": SHORT}
    found, texts = {}, 0
    for path in (
        *(pages[f"{name}_list"] for name in ("segmentpool", "segment", "allocation")),
        *(pages[name] for name in ("overview", "drift", "segmentpool", "segmentpool_map", "segmentpool_segments")),
        *(pages[name] for name in ("segmentpool_add", "segment_add", "segment_edit", "segment_bulk_import")),
        *(pages[name] for name in ("allocation_allocate", "segmentpool_adopt", "segmentpool_generate")),
        *(pages[name] for name in ("segmentpool_space", "timeline")),
        "/search/",
    ):
        page.goto(f"{path}?{urlencode(values)}#{SHORT}")
        texts += look(page, path, found)["texts"] > 0
    assert found == {}
    assert texts > 10


def test_sent(page, live_netbox):
    """Forms show chosen or typed values in confirmations, previews and errors."""
    pages, ids = live_netbox.world["pages"], live_netbox.world["ids"]
    pool, segment, allocation = ids["segmentpool"], ids["segment"], ids["allocation"]
    rows = "\n".join(",".join([text] * len(IMPORT_COLUMNS)) for text in (HOSTILE.replace('"', ""), SHORT))
    data = f"{','.join(IMPORT_COLUMNS)}\n{rows}"
    pasted = {"import_method": "direct", "data": data}
    named = {"name": HOSTILE, "slug": SHORT, "new_prefixes": HOSTILE, "vid_ranges": HOSTILE, "epg_template": SHORT}
    found, texts = {}, {}
    page.goto(pages["help"])
    for name, values in (
        ("segment_bulk_disable", {"pk": segment, "reason": HOSTILE}),
        ("segment_bulk_disable", {"pk": ids["drifted"]}),
        ("segment_bulk_enable", {"pk": ids["disabled"]}),
        ("segment_bulk_release", {"pk": segment}),
        ("segment_bulk_edit", {"pk": segment}),
        ("segment_bulk_delete", {"pk": ids["drifted"]}),
        ("segmentpool_bulk_edit", {"pk": pool}),
        ("segmentpool_bulk_delete", {"pk": pool}),
        ("allocation_bulk_edit", {"pk": allocation}),
        ("allocation_bulk_release", {"pk": allocation}),
        ("drift_repair", {"_all": "1"}),
        ("segment_bulk_import", pasted),
        ("segment_bulk_import_objects", {**pasted, "format": "csv", "csv_delimiter": ","}),
        ("segmentpool_bulk_import", {**pasted, "format": "csv", "csv_delimiter": ","}),
        ("segmentpool_add", named),
        ("segmentpool_edit", named),
        ("segmentpool_adopt", {"_preview_all": "1"}),
        ("segmentpool_merge", {"into": ids["other_pool"]}),
        ("segmentpool_resize", {"vid_ranges": "1-99", "new_prefixes": HOSTILE}),
        ("segmentpool_retire", {}),
        ("segmentpool_generate", {"count": "2", "prefix_length": "24", "epg_template": "EPG_{vid}"}),
        ("segmentpool_generate", {"count": SHORT, "prefix_length": SHORT, "epg_template": SHORT}),
        ("segment_add", {"pool": pool, "vid": SHORT, "epg_name": SHORT, "prefix": SHORT}),
        ("segment_share", {"cluster_name": f"{HOSTILE},"}),
        ("allocation_renew", {"expires_at": SHORT}),
        ("allocation_allocate", {"pool": pool, "cluster_name": f"n {HOSTILE}", "_preview": ""}),
        ("allocation_allocate", {"pool": pool, "cluster_name": f"{HOSTILE},", "vid": SHORT, "purpose": SHORT}),
        ("allocation_allocate_stretched", {"vrf": ids["vrf"], "pools": pool, "cluster_name": f"{HOSTILE},"}),
    ):
        with page.expect_navigation():
            page.evaluate(SEND, [pages[name], values])
        texts[name, *values] = look(page, (name, *values), found)["texts"]
    assert found == {}
    assert [name for name, count in texts.items() if not count] == []


def test_allocated(page, live_netbox):
    """The overview shows the result and its buttons."""
    ids = live_netbox.world["ids"]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(live_netbox.world["pages"]["overview"])
    result, found = page.locator("#allocate-result"), {}
    for number, epg in enumerate(("EPG_2", "EPG_3", "D <script>")):
        page.evaluate("(pool) => document.querySelector('#id_pool').tomselect.setValue(pool)", str(ids["segmentpool"]))
        name = f"{number} {HOSTILE}"
        page.get_by_label("Cluster name").fill(name)
        page.get_by_role("button", name="Allocate").click()
        expect(result).to_contain_text(f"Allocated to cluster {name}.")
        expect(result).to_contain_text(epg)
        for button in result.get_by_role("button", name="Copy").all():
            button.click()
        assert page.evaluate("navigator.clipboard.readText()").startswith(epg)
        look(page, name, found)
    page.get_by_label("Cluster name").fill(f"{HOSTILE},")
    page.get_by_role("button", name="Allocate").click()
    expect(page.get_by_role("alert")).to_contain_text("leave out commas")
    look(page, "refused", found)
    assert found == {}
