import re
import shlex
from html import unescape

import pytest
from django.contrib.contenttypes.models import ContentType
from django.urls import resolve, reverse
from django.utils.html import escape
from django.utils.text import capfirst

from core.models import Job, ObjectChange
from netbox_vlan_manager import models
from netbox_vlan_manager.api.errors import STATUS_OF_CODE
from netbox_vlan_manager.choices import SegmentStatusChoices
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db

URL = "/plugins/vlan-manager/help/"


@pytest.fixture
def show(client):
    """A function that returns the page for `user`."""

    def show(user, **headers):
        client.force_login(user)
        response = client.get(URL, headers=headers)
        assert response.status_code == 200
        return response

    return show


def links_of(response):
    content = response.content.decode().split('class="page-body')[1].split("<footer")[0]
    return [unescape(href) for href in re.findall('href="(.*?)"', content)]


def pages_of(response):
    """Return the names of the views that the links in the page's content lead to."""
    paths = [href.removeprefix("http://testserver").split("?")[0] for href in links_of(response)]
    return {resolve(path).view_name.split(":")[-1] for path in paths}


def test_an_outsider_is_sent_to_the_login(client):
    assert client.get(URL).url == f"/login/?next={URL}"


def test_links_only_to_what_the_user_may_open(show):
    for_all = {"health", "usertoken_list", "api_docs"}
    assert pages_of(show(make_user("nobody"))) == for_all

    user = permit(make_user("alice"), SegmentPool, "view", "allocate")
    assert pages_of(show(user)) == for_all | {"segmentpool_list", "drift", "allocation_allocate"}

    user = permit(permit(make_user("bob"), Segment, "add"), Allocation, "view")
    assert pages_of(show(user)) == for_all | {"segment_add", "segment_bulk_import", "allocation_list"}

    user = permit(permit(make_user("carol"), ObjectChange, "view"), Job, "view")
    assert pages_of(show(user)) == for_all | {"objectchange_list", "job_list"}


def test_every_link_opens(client, show):
    hrefs = links_of(show(make_user("root", is_superuser=True)))

    assert len(hrefs) > 10
    for href in hrefs:
        assert client.get(href).status_code == 200, href


def test_says_which_permission_is_missing(show):
    page = show(make_user("nobody")).content.decode()
    assert "the permission “allocate”" in page
    assert "the permission “release”" in page

    user = permit(make_user("alice"), SegmentPool, "allocate", "release", "add")
    page = show(user).content.decode()
    assert "the permission “" not in page


def test_calls_have_the_address_of_this_server(show):
    response = show(make_user("nobody"), host="netbox.example.com:8443")

    for name, _text, command in response.context["calls"]:
        words = shlex.split(command)
        assert words[0] == "curl"
        assert words[-1].startswith("http://netbox.example.com:8443/api/plugins/vlan-manager/"), name
        resolve(words[-1].removeprefix("http://netbox.example.com:8443").split("?")[0])
        assert escape(command) in response.content.decode()


def test_calls_do_what_they_say(show, client):
    """The calls accept the bodies of the examples."""
    response = show(make_user("root", is_superuser=True))
    allocate, release, statistics, export = (shlex.split(command) for _, _, command in response.context["calls"])

    for command in (allocate, release):
        body = command[command.index("-d") + 1]
        answer = client.post(command[-1].removeprefix("http://testserver"), body, content_type="application/json")
        # No pool exists, so the names in the body are placeholders; everything else in the body is valid.
        assert answer.json()["code"] == "pool_not_found"
    assert client.get(statistics[-1].removeprefix("http://testserver")).json() == []
    # Read to the end: an open stream keeps a cursor of the test's transaction.
    assert client.get(export[-1].removeprefix("http://testserver")).getvalue()


def test_calls_name_a_pool_that_the_user_may_allocate_in(show):
    make_pool("Network2", "Site2", container="10.2.0.0/16")
    make_pool("Network1", "Site1")
    user = permit(make_user("alice"), SegmentPool, "allocate", constraints={"vrf__name": "Network2"})
    _name, _text, command = show(user).context["calls"][0]
    assert '{"cluster_name": "my-cluster", "site": "Site2", "vrf": "Network2"}' in command

    outsider = show(permit(make_user("bob"), SegmentPool, "view")).context["calls"][0][2]
    assert '"site": "SITE", "vrf": "VRF"' in outsider


def test_pool_settings(show):
    """The page explains each setting of the model, with its default."""
    response = show(make_user("nobody"))
    settings = {str(label): default for label, _meaning, default in response.context["pool_settings"]}

    fields = [SegmentPool._meta.get_field(name) for name in (*SegmentPool.clone_fields, "status", "prefixes")]
    assert {capfirst(field.verbose_name) for field in fields if getattr(field, "help_text", "")} == {*settings}
    assert (settings["Allocation order"], settings["Warning threshold"]) == ("Lowest VLAN ID", 80)


def test_a_host_that_is_none_is_refused(client):
    client.force_login(make_user("nobody"))

    assert client.get(URL, headers={"host": 'x"><script>'}).status_code == 400


def test_explains_every_status_and_error(show):
    response = show(make_user("nobody"))

    assert {label for label, *_ in response.context["statuses"]} == {label for _, label in SegmentStatusChoices}
    codes = {code: status for code, status, *_ in response.context["errors"]}
    assert codes == {**STATUS_OF_CODE, "permission_denied": 403}


def test_change_log_shows_the_plugin_s_objects(show):
    response = show(make_user("root", is_superuser=True))

    types = {
        ContentType.objects.get_for_model(model).pk for model in (models.SegmentPool, models.Segment, models.Allocation)
    }
    url = response.context["links"]["changelog"]
    assert {int(part.split("=")[1]) for part in url.split("?")[1].split("&")} == types


def test_is_the_last_item_of_the_menu(client, show):
    page = show(make_user("root", is_superuser=True)).content.decode()

    assert page.count(f'href="{URL}"') == 1
    for name in ("segmentpool_list", "segment_list", "allocation_list"):
        assert page.index(f'href="{reverse(f"plugins:netbox_vlan_manager:{name}")}"') < page.index(f'href="{URL}"')


@pytest.mark.parametrize("name", ["segmentpool", "segment", "allocation"])
def test_the_button_on_forms_leads_here(client, show, name):
    root = make_user("root", is_superuser=True)
    page = show(root).content.decode()
    segment = make_pool(segments=1).segments.get()
    held = {"segmentpool": segment.pool, "segment": segment}.get(name)
    held = held or allocate("prod-01", pool=segment.pool, user=root).allocation

    form = client.get(reverse(f"plugins:netbox_vlan_manager:{name}_edit", args=[held.pk])).content.decode()

    assert f'href="{URL}#{name}"' in form
    assert f'id="{name}"' in page
