"""A user who sends a form after the session has ended gets the filled form back after logging in."""

import json
import re
import time
from html import unescape
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from core.models import ObjectType
from dcim.models import Site
from extras.choices import CustomFieldTypeChoices
from extras.models import CustomField, CustomFieldChoiceSet, Tag
from ipam.models import Prefix, Role
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.pools.provisioning import update_pool
from tenancy.models import Tenant
from tests.factories import make_pool, make_site, make_user, make_vrf

pytestmark = pytest.mark.django_db

ALLOCATE_URL = "/plugins/vlan-manager/allocations/allocate/"
LONG = "Überlänge & <b>more</b>\r\n" * 200


@pytest.fixture
def pool():
    return make_pool(segments=3)


@pytest.fixture
def client():
    """A test client that checks CSRF tokens, as for a browser's requests."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def user(settings):
    # The default hashers are slow by design.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    user = make_user("root", is_superuser=True)
    user.set_password("secret")
    user.save()
    return user


@pytest.fixture
def login(client, user):
    """A function that logs in at the login page `url`, and returns the response."""

    def login(url="/login/"):
        form = Form(client.get(url))
        form.values.update(username=["root"], password=["secret"])
        return client.post("/login/", form.values)

    return login


@pytest.fixture
def edit(client, login):
    """A function that opens a form, changes values, sends it after the session has ended, and returns the response."""

    def edit(url, **values):
        login()
        form = Form(client.get(url))
        unknown = values.keys() - form.names
        assert not unknown, f"{unknown} are not in the form"
        for name, value in values.items():
            form.values[name] = value if isinstance(value, list) else [value]
        Session.objects.all().delete()
        return client.post(url, form.values)

    return edit


class Form(HTMLParser):
    """The form of a page, with the values that a browser would send: {name: values}."""

    def __init__(self, response):
        assert response.status_code == 200
        super().__init__()
        self.values, self.names = {}, set()
        self.inside = self.select = self.textarea = None
        self.feed(response.content.decode())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        name = attrs.get("name")
        if tag == "form":
            self.inside = attrs.get("method") == "post"
        elif not self.inside:
            return
        elif tag == "select":
            self.names.add(name)
            self.select = None if "disabled" in attrs else name
        elif tag == "option" and self.select and "selected" in attrs:
            self.values.setdefault(self.select, []).append(attrs.get("value", ""))
        elif tag == "textarea":
            self.names.add(name)
            self.textarea = name
            self.values[name] = [""]
        elif tag == "input" and name and "disabled" not in attrs:
            self.names.add(name)
            if attrs.get("type") not in ("checkbox", "radio") or "checked" in attrs:
                self.values.setdefault(name, []).append(attrs.get("value", ""))

    def handle_endtag(self, tag):
        if tag == "form":
            self.inside = False
        elif tag == "select":
            self.select = None
        elif tag == "textarea" and self.textarea:
            # A browser leaves out a line break after the opening tag.
            self.values[self.textarea] = [self.values[self.textarea][0].removeprefix("\r").removeprefix("\n")]
            self.textarea = None

    def handle_data(self, data):
        if self.textarea:
            self.values[self.textarea][0] += data

    def typed(self):
        """Return {name: value or sorted values} of the visible fields: no token, no address, no empty values."""
        hidden = {"csrfmiddlewaretoken", "return_url", "_init_time", "confirm"}
        return {
            name: sorted(values) if len(values) > 1 else values[0].replace("\r\n", "\n")
            for name, values in self.values.items()
            if any(values) and name not in hidden
        }


def back_from(client, login, response):
    """Log in through the redirects, and return the Form of the last page."""
    assert response.status_code == 302
    assert response.url.startswith("/login/?next=")
    back = login(response.url)
    assert back.status_code == 302
    assert back.url == parse_qs(urlsplit(response.url).query)["next"][0]
    return Form(client.get(back.url))


def test_the_allocate_form_is_as_it_was(client, login, edit, pool):
    typed = {
        "pool": str(pool.pk),
        "cluster_name": "prod & <b>01</b>",
        "purpose": "storage",
        "expires_at": "2035-01-31 12:00:00",
        "description": "Für später + 100 %",
        "vid_min": "100",
        "vid_max": "4094",
        "prefix_length": "24",
        "changelog_message": "Ticket 1",
    }
    response = edit(f"{ALLOCATE_URL}?return_url=/plugins/vlan-manager/pools/", **typed)
    form = back_from(client, login, response)

    assert form.typed() == typed
    assert form.values["return_url"] == ["/plugins/vlan-manager/pools/"]
    assert not Allocation.objects.exists()
    assert client.post(ALLOCATE_URL, {**form.values, "cluster_name": "prod-01"}).status_code == 302
    assert Allocation.objects.get().cluster_name == "prod-01"


def test_the_overview_s_form_is_as_it_was(client, login, edit, pool):
    typed = {"vrf": str(pool.vrf_id), "pool": str(pool.pk), "cluster_name": "prod-01"}
    form = back_from(client, login, edit(reverse("plugins:netbox_vlan_manager:overview"), **typed))

    assert {name: values for name, values in form.typed().items() if name in typed} == typed
    assert not Allocation.objects.exists()


def test_the_login_page_says_what_happened(client, login, edit, pool):
    response = edit(ALLOCATE_URL, pool=str(pool.pk), cluster_name="prod-01")

    assert "Your session has ended and nothing was saved" in client.get(response.url).content.decode()


def test_the_release_form_is_as_it_was(client, login, edit, pool):
    held = allocate("prod-01", pool=pool, user=make_user()).allocation
    url = f"/plugins/vlan-manager/allocations/{held.pk}/release/"
    form = back_from(client, login, edit(url, changelog_message="Cluster is gone"))

    assert form.values["changelog_message"] == ["Cluster is gone"]
    assert Allocation.objects.active().exists()
    assert client.post(url, form.values).status_code == 302
    assert not Allocation.objects.active().exists()


def test_the_renew_form_is_as_it_was(client, login, edit, pool):
    held = allocate("prod-01", pool=pool, user=make_user()).allocation
    url = f"/plugins/vlan-manager/allocations/{held.pk}/renew/"
    form = back_from(client, login, edit(url, expires_at="2035-01-31 12:00:00"))

    assert form.values["expires_at"] == ["2035-01-31 12:00:00"]


def test_the_share_form_is_as_it_was(client, login, edit, pool):
    url = f"{Segment.objects.first().get_absolute_url()}share/"
    form = back_from(client, login, edit(url, cluster_name="prod-02", purpose="storage"))

    assert (form.values["cluster_name"], form.values["purpose"]) == (["prod-02"], ["storage"])
    assert not Allocation.objects.exists()


def test_the_form_for_several_sites_is_as_it_was(client, login, edit, pool):
    other = make_pool(scope="Site2", container="10.1.0.0/16")
    url = reverse("plugins:netbox_vlan_manager:allocation_allocate_stretched")
    pools = [str(pool.pk), str(other.pk)]
    form = back_from(client, login, edit(url, vrf=str(pool.vrf_id), pools=pools, cluster_name="prod-01", vid="100"))

    assert (form.values["vrf"], form.values["pools"], form.values["vid"]) == ([str(pool.vrf_id)], pools, ["100"])


@pytest.fixture
def pool_values(pool):
    """A new value for every field of the pool form."""
    other = make_pool(scope="Site2", container="10.1.0.0/16")
    vrf = make_vrf("Network2")
    containers = [
        Prefix.objects.create(prefix=prefix, vrf=vrf, status="container") for prefix in ("10.2.0.0/16", "10.5.0.0/16")
    ]
    tags = [Tag.objects.create(name=name, slug=name) for name in ("one", "two")]
    choices = CustomFieldChoiceSet.objects.create(name="Colours", extra_choices=[["red", "Red"], ["blue", "Blue"]])
    for name, kind, extra in (
        ("notes", CustomFieldTypeChoices.TYPE_TEXT, {}),
        ("colours", CustomFieldTypeChoices.TYPE_MULTISELECT, {"choice_set": choices}),
    ):
        CustomField.objects.create(name=name, type=kind, **extra).object_types.set(
            [ObjectType.objects.get_for_model(SegmentPool)]
        )
    return {
        "name": "A new name",
        "slug": "a-new-slug",
        "status": "paused",
        "role": str(Role.objects.create(name="Role", slug="role").pk),
        "description": "A & B = <i>C</i>",
        "tags": sorted(str(tag.pk) for tag in tags),
        "vrf": str(vrf.pk),
        "scope_content_type": str(ContentType.objects.get_for_model(Site).pk),
        "scope_object_id": str(make_site("Site3").pk),
        "vlan_group": str(other.vlan_group.pk),
        "prefixes": sorted(str(container.pk) for container in containers),
        "new_prefixes": "10.3.0.0/16\n10.4.0.0/16",
        "min_prefix_length": "20",
        "max_prefix_length": "28",
        "warning_threshold": "70",
        "critical_threshold": "90",
        "allocation_order": "highest",
        "cooldown": "1h",
        "gateway_rule": "none",
        "release_in_use": "refuse",
        "max_per_cluster": "2",
        "max_per_tenant": "20",
        "max_per_request": "5",
        "tenant": str(Tenant.objects.create(name="Tenant", slug="tenant").pk),
        "cf_notes": "Custom",
        "cf_colours": ["blue", "red"],
        "comments": "Line 1\nLine 2",
        "changelog_message": "Ticket 2",
    }


def test_the_pool_form_is_as_it_was(client, login, edit, pool, pool_values):
    url = reverse("plugins:netbox_vlan_manager:segmentpool_edit", args=[pool.pk])
    form = back_from(client, login, edit(url, **pool_values))

    assert form.typed() == pool_values
    pool.refresh_from_db()
    assert pool.name == "Network1 Site1"


def test_a_new_pool_is_as_it_was(client, login, edit, pool_values):
    url = reverse("plugins:netbox_vlan_manager:segmentpool_add")
    del pool_values["vlan_group"]
    pool_values["vid_ranges"] = "100-199,300-399"
    form = back_from(client, login, edit(url, **pool_values))

    assert form.typed() == pool_values
    assert client.post(url, {**form.values, "_create": ""}).status_code == 302
    assert SegmentPool.objects.filter(name="A new name").exists()


def test_what_was_emptied_stays_empty(client, login, edit, pool, pool_values):
    url = reverse("plugins:netbox_vlan_manager:segmentpool_edit", args=[pool.pk])
    tags = Tag.objects.all()
    pool.tags.set(tags)
    update_pool(
        pool,
        user=make_user(),
        description="Old",
        custom_field_data={"notes": "Old", "colours": ["red"]},
    )
    form = back_from(
        client, login, edit(url, description="", comments="", tags=[], prefixes=[], cf_notes="", cf_colours=[])
    )

    for name in ("description", "comments", "tags", "prefixes", "cf_notes", "cf_colours"):
        assert not any(form.values.get(name, [])), name
    assert form.values["name"] == [pool.name]


@pytest.mark.parametrize("ticked", [True, False])
def test_a_box_is_ticked_as_it_was(client, login, edit, pool, ticked):
    Segment.objects.update(dhcp=not ticked)
    url = reverse("plugins:netbox_vlan_manager:segment_edit", args=[Segment.objects.first().pk])
    # NetBox sends an empty value with every box.
    form = back_from(client, login, edit(url, dhcp=["", "on"] if ticked else [""]))

    assert form.values["dhcp"] == (["", "on"] if ticked else [""])


def test_a_new_segment_is_as_it_was(client, login, edit, pool):
    url = reverse("plugins:netbox_vlan_manager:segment_add")
    typed = {"vid": "200", "epg_name": "EPG_200", "prefix": "10.0.9.0/24", "description": "New"}
    form = back_from(client, login, edit(url, pool=str(pool.pk), dhcp=["", "on"], **typed))

    assert form.typed() == {"pool": str(pool.pk), "dhcp": ["", "on"], **typed}
    assert client.post(url, {**form.values, "_create": ""}).status_code == 302
    assert Segment.objects.filter(vid=200, dhcp=True).exists()


def test_the_allocation_form_is_as_it_was(client, login, edit, pool):
    held = allocate("prod-01", pool=pool, user=make_user()).allocation
    url = reverse("plugins:netbox_vlan_manager:allocation_edit", args=[held.pk])
    form = back_from(client, login, edit(url, description="New", comments="Text"))

    assert form.values["description"] == ["New"]
    assert form.values["comments"] == ["Text"]


def test_a_change_by_somebody_else_is_not_overwritten(client, login, edit, pool):
    url = reverse("plugins:netbox_vlan_manager:segmentpool_edit", args=[pool.pk])
    response = edit(url, description="Mine")
    time.sleep(0.01)
    update_pool(pool, user=make_user(), description="Theirs")
    form = back_from(client, login, response)
    answer = client.post(url, {**form.values, "_update": ""})

    assert answer.status_code == 200
    assert "has been modified since" in answer.content.decode()
    pool.refresh_from_db()
    assert pool.description == "Theirs"


@pytest.mark.parametrize("text", [LONG, "x" * 3000, "ü" * 800])
def test_what_is_too_long_for_an_address_is_shown_to_be_copied(client, login, edit, pool, text):
    url = reverse("plugins:netbox_vlan_manager:segmentpool_edit", args=[pool.pk])
    response = edit(url, description="Kept", comments=text)

    content = response.content.decode()
    # Browsers leave out a line break after the opening tag.
    label, area = re.search(
        r'class="form-label.*?>(.*?)</label>.*?<textarea.*?>\n(.*?)</textarea>', content, re.S
    ).groups()
    assert (label, unescape(area)) == ("Comments", text)
    login_url = unescape(re.search('href="(/login/.*?)"', content)[1])
    form = Form(client.get(login(login_url).url))
    assert form.values["description"] == ["Kept"]
    assert form.values["comments"] == [""]


@pytest.mark.parametrize("length", [1500, 1735, 1740, 1745, 1750, 1755, 1760, 1900])
def test_the_login_leads_back_whatever_the_length(client, login, edit, pool, length):
    response = edit(ALLOCATE_URL, pool=str(pool.pk), cluster_name="x" * length)

    if response.status_code == 302:
        assert login(response.url).url == parse_qs(urlsplit(response.url).query)["next"][0]
    else:
        assert b"x" * length in response.content


def test_pasted_rows_are_shown_to_be_copied(client, login, edit):
    url = reverse("plugins:netbox_vlan_manager:segmentpool_bulk_import")
    login()
    token = re.search('name="csrfmiddlewaretoken" value="(.*?)"', client.get(url).content.decode())[1]
    Session.objects.all().delete()
    response = client.post(url, {"csrfmiddlewaretoken": token, "data": "name,vrf\nA,B", "format": "csv"})

    assert response.status_code == 403
    assert "name,vrf\nA,B</textarea>" in response.content.decode()


IMPORT_URL = "/plugins/vlan-manager/segments/import/"
ROWS = "site,vlan_id,epg_name,segment,vrf\nSite1,200,EPG_200,10.0.9.0/24,Network1\n"


def test_the_import_page_is_as_it_was(client, login, edit, pool):
    form = back_from(client, login, edit(IMPORT_URL, data=ROWS, atomic="on", import_method="direct"))

    # The page has a form for each source; the first takes pasted rows.
    assert form.values["data"] == [ROWS]
    assert form.values["import_method"] == ["direct", "upload", "datafile"]
    assert form.values["atomic"] == ["", "on", "", ""]
    assert not Segment.objects.filter(vid=200).exists()


def test_many_pasted_rows_are_shown_and_kept_by_the_browser(client, login, edit, pool):
    text = ROWS * 200
    response = edit(IMPORT_URL, data=text, import_method="direct")

    assert response.status_code == 403
    assert unescape(re.search("<textarea.*?>\n(.*?)</textarea>", response.content.decode(), re.S)[1]) == text
    (kept,) = re.findall('<script id="kept" type="application/json">(.*?)</script>', response.content.decode(), re.S)
    assert json.loads(kept) == {"path": IMPORT_URL, "values": {"data": text}}


@pytest.mark.parametrize("button", ["_preview", "_import"])
def test_text_that_came_as_a_file_is_shown(client, login, pool, button):
    login()
    token = Form(client.get(IMPORT_URL)).values["csrfmiddlewaretoken"][0]
    Session.objects.all().delete()
    file = SimpleUploadedFile("typed.csv", (ROWS * 200).encode())
    values = {"csrfmiddlewaretoken": token, "import_method": "direct", "upload_file": file, button: ""}
    response = client.post(IMPORT_URL, values)

    assert (ROWS * 200) in unescape(response.content.decode())


def test_a_file_has_to_be_chosen_again(client, login, pool):
    login()
    token = Form(client.get(IMPORT_URL)).values["csrfmiddlewaretoken"][0]
    Session.objects.all().delete()
    file = SimpleUploadedFile("a.csv", ROWS.encode())
    values = {"csrfmiddlewaretoken": token, "import_method": "upload", "upload_file": file}
    response = client.post(IMPORT_URL, values)

    assert "choose the file again" in client.get(response.url).content.decode()


def sent_again(response):
    """Return the address in the page about the ended session, and the values that the browser keeps."""
    assert response.status_code == 403
    content = response.content.decode()
    login_url = unescape(re.search('href="(/login/.*?)"', content)[1])
    assert parse_qs(urlsplit(login_url).query)["next"] == ["/plugins/vlan-manager/resend/"]
    return json.loads(re.search('<script id="resend" type="application/json">(.*?)</script>', content, re.S)[1])


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("segments/edit/", {"description": "New", "_apply": ""}),
        ("segments/disable/", {"reason": "Broken", "confirm": "true", "_confirm": ""}),
        ("segments/enable/", {"confirm": "true", "_confirm": ""}),
        ("segments/release/", {"changelog_message": "Over", "_confirm": ""}),
        ("segments/delete/?status=available", {"confirm": "true", "_confirm": "", "_all": "on"}),
        ("pools/edit/", {"description": "New", "_apply": ""}),
        ("pools/delete/", {"confirm": "true", "_confirm": ""}),
        ("allocations/edit/", {"description": "New", "_apply": ""}),
        ("allocations/release/", {"changelog_message": "Over", "_confirm": ""}),
        ("pools/{pool}/adopt/", {"_preview": ""}),
        ("pools/{pool}/delete/", {"confirm": "true", "changelog_message": "Over"}),
        ("segments/{segment}/delete/", {"confirm": "true", "changelog_message": "Over"}),
    ],
)
def test_a_selection_can_be_sent_again(client, login, pool, path, values):
    login()
    token = Form(client.get(IMPORT_URL)).values["csrfmiddlewaretoken"][0]
    Session.objects.all().delete()
    url = "/plugins/vlan-manager/" + path.format(pool=pool.pk, segment=Segment.objects.first().pk)
    pks = [str(pk) for pk in range(1, 500)]
    response = client.post(url, {"csrfmiddlewaretoken": token, "pk": pks, **values})

    assert sent_again(response) == {"url": url, "values": {"pk": pks} | {name: [text] for name, text in values.items()}}
    assert "secret" not in response.content.decode()
    login()
    assert "Send again" in client.get("/plugins/vlan-manager/resend/").content.decode()


def test_many_fields_are_kept_in_little_time(client, user):
    client.get("/login/")
    token = Form(client.get("/login/")).values["csrfmiddlewaretoken"]
    values = {f"field{number}": "x" * 2000 for number in range(900)}
    started = time.process_time()
    response = client.post(ALLOCATE_URL, {"csrfmiddlewaretoken": token, **values})

    assert response.status_code == 403
    assert time.process_time() - started < 5


def test_no_token_and_no_button_gets_into_the_address(edit, pool):
    response = edit(ALLOCATE_URL, pool=str(pool.pk), cluster_name="prod-01")

    assert "csrf" not in response.url


class TestHTMX:
    """Scripts load parts of a page, and would insert the login page into it."""

    def get(self, client, url, **values):
        return client.get(url, values, headers={"HX-Request": "true"})

    def test_leaves_for_the_login(self, client, login, pool):
        url = reverse("plugins:netbox_vlan_manager:segmentpool_add")
        response = self.get(client, url, name="New", csrfmiddlewaretoken="x", tags=["1", "2"])

        assert response.status_code == 200
        assert response.content == b""
        back = login(response["HX-Redirect"])
        assert back.url == f"{url}?name=New&tags=1&tags=2"
        assert Form(client.get(back.url)).values["name"] == ["New"]

    def test_the_release_modal(self, client, login, pool):
        held = allocate("prod-01", pool=pool, user=make_user()).allocation
        url = f"/plugins/vlan-manager/allocations/{held.pk}/release/"
        response = self.get(client, url)

        assert login(response["HX-Redirect"]).url.startswith(url)

    def test_what_is_too_long_leaves_the_form_alone(self, client, pool):
        response = self.get(client, reverse("plugins:netbox_vlan_manager:segmentpool_add"), comments=LONG)

        assert response.status_code == 204
        assert "HX-Redirect" not in response


def test_an_outsider_who_only_looks_is_sent_to_the_login(client, pool):
    response = client.get(ALLOCATE_URL, {"pool": pool.pk})

    assert urlsplit(response.url).path == "/login/"


def test_who_is_logged_in_but_may_not_is_refused(pool):
    client = Client()
    client.force_login(make_user("bob"))

    assert client.post(ALLOCATE_URL, {"pool": pool.pk, "cluster_name": "prod-01"}).status_code == 403
