"""The targets of all links in README and docs exist."""

import re
from urllib.parse import urlsplit

import pytest

from tests.stack.database import PROJECT

PAGES = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("docker/*.md")]
FENCES = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
# The hosts of outside links. The tests fetch none of them.
HOSTS = {
    "docs.github.com",
    "docs.netbox.dev",
    "github.com",
    "keepachangelog.com",
    "netboxlabs.com",
    "peps.python.org",
    "pypi.org",
    "registry.terraform.io",
    "schemathesis.readthedocs.io",
    "semver.org",
}


def text_of(path):
    return FENCES.sub("", path.read_text())


def anchors_of(path):
    """Return the anchors of a page's headings, as GitHub and the site both make them."""
    headings = re.findall(r"^#+ (.+?)(?: \{.*\})?$", text_of(path), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links(page):
    broken = []
    for link in LINK.findall(text_of(page)):
        url = urlsplit(link)
        if url.scheme or url.netloc:
            if url.scheme not in ("https", "mailto") or (url.scheme == "https" and url.hostname not in HOSTS):
                broken.append(f"{link}: a host that is not listed in this test")
            continue
        target = (page.parent / url.path).resolve() if url.path else page
        if not target.is_relative_to(PROJECT) or not target.exists():
            broken.append(f"{link}: there is no such file")
        elif page.parent.name == "docs" and not target.is_relative_to(PROJECT / "docs"):
            broken.append(f"{link}: is not on the site")
        elif url.fragment and url.fragment not in anchors_of(target):
            broken.append(f"{link}: there is no such heading")
    assert not broken


def test_every_example_is_linked():
    text = (PROJECT / "docs/clients.md").read_text()
    examples = [path for path in PROJECT.glob("docs/examples/*") if path.is_file()]
    assert len(examples) > 8
    assert [path.name for path in examples if f"(examples/{path.name})" not in text] == []
