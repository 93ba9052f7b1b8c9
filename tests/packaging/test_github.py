import re
import shlex
import subprocess

import pytest
import yaml

from netbox_vlan_manager import __version__
from tests.packaging.conftest import run
from tests.stack.database import PROJECT
from tests.stack.servers import MIN_POSTGRESQL

GITHUB = PROJECT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.y*ml"))
PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
# The permissions of jobs beyond reading the repository.
PERMISSIONS = {
    ("release.yml", "publish"): {"id-token": "write"},
    ("docs.yml", "deploy"): {"id-token": "write", "pages": "write"},
}

workflows = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def _load(path):
    return yaml.safe_load(path.read_text())


def _steps(path):
    return [(name, step) for name, job in _load(path)["jobs"].items() for step in job["steps"]]


@workflows
def test_actions_are_pinned(path):
    uses = re.findall(r"^\s*(?:- )?uses: (.+)$", path.read_text(), re.MULTILINE)
    assert len(uses) == len([step for _, step in _steps(path) if "uses" in step])
    assert [use for use in uses if not PINNED.fullmatch(use)] == []


def test_an_action_has_one_version():
    pins = {}
    for path in WORKFLOWS:
        for action, pin in re.findall(r"uses: ([\w./-]+)@(.+)$", path.read_text(), re.MULTILINE):
            pins.setdefault(action, set()).add(pin)
    assert {action: found for action, found in pins.items() if len(found) > 1} == {}


@workflows
def test_permissions_are_least(path):
    workflow = _load(path)
    assert workflow["permissions"] == {"contents": "read"}
    granted = {(path.name, name): job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert granted == {key: value for key, value in PERMISSIONS.items() if key[0] == path.name}
    # No later step can read the token of the checkout.
    for name, step in _steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, name
    assert "pull_request_target" not in path.read_text()
    assert "secrets." not in path.read_text()


@workflows
def test_jobs_end(path):
    assert all(job["timeout-minutes"] <= 60 for job in _load(path)["jobs"].values())


@workflows
def test_commands_take_nothing_from_the_event(path):
    # An expression such as a branch's name would be put into the script unescaped.
    for name, step in _steps(path):
        expressions = re.findall(r"\$\{\{(.+?)\}\}", step.get("run", ""))
        assert all(expression.strip().startswith("matrix.") for expression in expressions), name


@workflows
def test_make_targets_exist(path):
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for name, step in _steps(path):
        for line in step.get("run", "").splitlines():
            if line.startswith("make "):
                words = shlex.split(re.sub(r"\$\{\{.+?\}\}", "", line))[1:]
                words = [word for word in words if "=" not in word and not word.startswith("-")]
                assert words, name
                assert set(words) <= targets, name


def test_what_is_tested():
    matrix = _load(GITHUB / "workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert f"| {', '.join(matrix['python'])} |" in (PROJECT / "COMPATIBILITY.md").read_text()
    assert f"| {' to '.join(matrix['postgres'])} |" in (PROJECT / "COMPATIBILITY.md").read_text()
    assert int(matrix["postgres"][0]) == MIN_POSTGRESQL
    assert [entry.get("optional", False) for entry in matrix["include"]] == [False, True]
    # YAML reads "on" as true.
    assert set(_load(GITHUB / "workflows/ci.yml")[True]) == {"pull_request", "push", "schedule"}


@pytest.mark.parametrize(("tag", "code"), [(f"v{__version__}", 0), ("v99.0.0", 1)])
def test_release_checks_the_tag(distributions, tmp_path, tag, code):
    (tmp_path / "dist").symlink_to(distributions)
    (script,) = (step["run"] for _, step in _steps(GITHUB / "workflows/release.yml") if "tag" in step.get("name", ""))
    done = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env={"GITHUB_REF_NAME": tag}, check=False)
    assert done.returncode == code


def test_release_shows_pictures_and_links(tmp_path):
    (tmp_path / "README.md").write_text((PROJECT / "README.md").read_text())
    (script,) = (step["run"] for _, step in _steps(GITHUB / "workflows/release.yml") if "links" in step.get("name", ""))
    env = {"PATH": "/usr/bin:/bin", "GITHUB_REPOSITORY": "example/plugin", "GITHUB_REF_NAME": "v1.2.3"}
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=env, check=True)

    links = re.findall(r"\]\(([^)]+)\)", (tmp_path / "README.md").read_text())
    assert [link for link in links if not link.startswith("https://")] == []
    assert "https://raw.githubusercontent.com/example/plugin/v1.2.3/docs/images/overview.png" in links
    assert "https://github.com/example/plugin/blob/v1.2.3/LICENSE" in links
    assert "https://github.com/example/plugin/blob/v1.2.3/docs/rest.md" in links


def test_release_publishes_from_a_job_of_its_own():
    jobs = _load(GITHUB / "workflows/release.yml")["jobs"]
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["environment"]["name"] == "pypi"
    assert [step["uses"].partition("@")[0] for step in jobs["publish"]["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]


def test_help_lists_every_target():
    text = (PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    assert targets == set(re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)[1].split())
    listed = run("make", "--no-print-directory", "help", cwd=PROJECT)
    assert {line.split()[0] for line in listed.splitlines()} == targets


def test_issue_forms():
    config = _load(GITHUB / "ISSUE_TEMPLATE/config.yml")
    assert config["blank_issues_enabled"] is False
    forms = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yaml"))
    assert [form.name for form in forms] == ["1-bug.yaml", "2-feature.yaml"]
    for form in map(_load, forms):
        assert {"name", "description", "body"} <= set(form)
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields)
        for field in fields:
            assert field["type"] in ("checkboxes", "dropdown", "input", "textarea")
            assert field["attributes"]["label"]
            options = field["attributes"].get("options", [])
            assert all(isinstance(option, str) for option in options)
            assert bool(options) == (field["type"] == "dropdown")


def test_dependabot():
    config = _load(GITHUB / "dependabot.yml")
    assert config["version"] == 2
    for update in config["updates"]:
        for directory in update.get("directories", [update.get("directory")]):
            assert (PROJECT / directory.lstrip("/")).is_dir()
