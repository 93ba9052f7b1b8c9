import html
import re

import django_rq
import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.choices import JobStatusChoices
from core.models import Job
from ipam.models import VLAN
from netbox_vlan_manager.jobs import GenerateSegmentsJob
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import update_pool
from netbox_vlan_manager.views import generation
from tests.factories import make_pool, make_segment, make_user, permit

pytestmark = pytest.mark.django_db

ASKED = {"count": 3, "prefix_length": 24, "epg_template": "EPG_{site}_{vid}"}


@pytest.fixture
def pool():
    return make_pool()


@pytest.fixture
def url(pool):
    return f"{pool.get_absolute_url()}generate/"


@pytest.fixture
def user(client):
    user = permit(permit(make_user("alice"), SegmentPool, "view"), Segment, "view", "add")
    client.force_login(user)
    return user


@pytest.fixture
def small_pages(monkeypatch):
    """Makes jobs of all requests for more than two segments."""
    monkeypatch.setattr(generation, "PAGE_SEGMENTS", 2)


def send(client, url, button="_preview", **fields):
    return client.post(url, {**ASKED, button: "", **fields})


def text_of(response):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def has_button(response, name="_confirm"):
    return f'name="{name}"' in response.content.decode()


def run_last_job():
    """Run the last job as a worker does, and return it."""
    job = Job.objects.order_by("pk").last()
    GenerateSegmentsJob.handle(job)
    job.refresh_from_db()
    return job


class TestForm:
    def test_begins_with_what_the_pool_grows_by(self, client, user, pool, url):
        update_pool(pool, user=make_user(), grow_prefix_length=26, epg_template="n{vid}")
        form = client.get(url).context["move_form"]
        assert (form["prefix_length"].value(), form["epg_template"].value()) == (26, "n{vid}")
        assert "ipv6_prefix_length" not in form.fields

    def test_offers_ipv6_where_the_pool_is_dual_stack(self, client, user, pool, url):
        update_pool(pool, user=make_user(), prefixes=["10.0.0.0/16", "2001:db8::/48"], grow_ipv6_prefix_length=64)
        assert client.get(url).context["move_form"]["ipv6_prefix_length"].value() == 64
        send(client, url, "_confirm", count=1, ipv6_prefix_length=60)
        assert str(Segment.objects.get().ipv6_prefix) == "2001:db8::/60"

    def test_begins_with_the_usual_lengths(self, client, user, pool, url):
        def get_lengths(*prefixes, **fields):
            update_pool(pool, user=make_user(), prefixes=list(prefixes), **fields)
            fields = client.get(url).context["move_form"].fields
            form = client.get(url).context["move_form"]
            return [form[name].value() for name in ("prefix_length", "ipv6_prefix_length") if name in fields]

        assert get_lengths("10.0.0.0/16") == [24]
        assert get_lengths("10.0.0.0/16", min_prefix_length=26) == [26]
        assert get_lengths("10.0.0.0/16", min_prefix_length=None, max_prefix_length=22) == [22]
        assert get_lengths("10.0.0.0/25", max_prefix_length=None) == [26]
        assert get_lengths("10.0.0.0/16", "2001:db8::/48") == [24, 64]
        assert get_lengths("2001:db8::/48") == [64]
        assert client.get(url).context["move_form"].fields["prefix_length"].required

    def test_says_what_is_free(self, client, user, pool, url):
        make_segment(pool, 100)
        text = text_of(client.get(url))
        assert "899 VLAN IDs are free from 101 on" in text
        assert "The next free one is 10.0.1.0/24" in text
        assert "No network of /15 is free" in text_of(send(client, url, prefix_length=15))
        assert send(client, url, prefix_length="x").status_code == 200

    def test_takes_values_from_its_address(self, client, user, url):
        form = client.get(f"{url}?count=7&dhcp=True").context["move_form"]
        assert (form["count"].value(), form["dhcp"].value()) == ("7", "True")

    def test_leads_there_from_the_pool(self, client, user, pool, url):
        for path in ("", "segments/"):
            assert f'href="{url}"' in client.get(f"{pool.get_absolute_url()}{path}").content.decode()
        page = client.get(pool.get_absolute_url())
        assert "Grows on demand" in text_of(page)
        client.force_login(permit(permit(make_user("bob"), SegmentPool, "view"), Segment, "view"))
        for path in ("", "segments/"):
            assert f'href="{url}"' not in client.get(f"{pool.get_absolute_url()}{path}").content.decode()

    def test_pool_without_segments_says_what_to_do(self, client, user, pool, url):
        page = client.get(f"{pool.get_absolute_url()}segments/")
        assert "This pool has no segments yet" in text_of(page)
        assert "/segments/import/" in page.content.decode()
        make_segment(pool, 100)
        assert "no segments yet" not in text_of(client.get(f"{pool.get_absolute_url()}segments/"))

    def test_permissions(self, client, pool, url):
        assert client.get(url).url.startswith("/login/")
        client.force_login(permit(make_user("bob"), SegmentPool, "view"))
        assert (client.get(url).status_code, send(client, url).status_code) == (403, 403)
        client.force_login(permit(make_user("carol"), Segment, "add"))
        assert (client.get(url).status_code, send(client, url).status_code) == (403, 403)
        other = make_pool(scope="Site2", container="10.1.0.0/16")
        client.force_login(permit(permit(make_user("dave"), Segment, "add"), other, "view"))
        assert (client.get(url).status_code, send(client, url).status_code) == (404, 404)
        assert Segment.objects.count() == 0

    @pytest.mark.parametrize("button", ["_preview", "_confirm"])
    @pytest.mark.parametrize(
        ("asked", "field", "says"),
        [
            ({"count": ""}, "count", "Give the number of segments"),
            ({"count": 0}, "count", "greater than or equal to 1"),
            ({"count": "9" * 5000}, "count", "whole number"),
            ({"count": "x"}, "count", "whole number"),
            ({"count": 901}, "count", "has 900 free VLAN IDs"),
            ({"vid_min": 5000}, "vid_min", "less than or equal to 4094"),
            ({"count": "", "vid_min": 90, "vid_max": 110}, "vid_min", "not in VLAN group"),
            ({"vid_min": 300, "vid_max": 200}, "vid_max", "ends before"),
            ({"prefix_length": ""}, "prefix_length", "Give the prefix length"),
            ({"prefix_length": 8}, "prefix_length", "/16 to /31"),
            ({"count": 300}, "prefix_length", "room for 256 more /24"),
            ({"epg_template": ""}, "epg_template", "required"),
            ({"epg_template": "EPG"}, "epg_template", "no {vid}"),
            ({"epg_template": "{rack}{vid}"}, "epg_template", "{rack}"),
            ({"epg_template": "<b>{vid}"}, "epg_template", "not valid"),
            ({"epg_template": "\0{vid}"}, "epg_template", "Null characters"),
            ({"description": "x" * 201}, "description", "at most 200"),
        ],
    )
    def test_what_is_wrong_is_said_at_its_field(self, client, user, url, asked, field, says, button):
        response = send(client, url, button, **asked)
        assert response.status_code == 200
        errors = response.context["move_form"].errors
        assert list(errors) == [field]
        assert says in errors[field][0]
        assert not has_button(response)
        assert (Segment.objects.count(), VLAN.objects.count()) == (0, 0)

    def test_segments_that_the_user_may_not_add(self, client, pool, url):
        user = permit(make_user("bob"), SegmentPool, "view")
        client.force_login(permit(user, Segment, "add", constraints={"vid__lt": 102}))
        response = send(client, url)
        assert "You may not add such segments" in response.context["move_form"].non_field_errors()[0]
        assert send(client, url, "_confirm", count=2).status_code == 302
        assert Segment.objects.count() == 2


class TestInThePage:
    def test_preview_then_generate(self, client, user, pool, url):
        make_segment(pool, 101)
        asked = {"count": "", "vid_min": 100, "vid_max": 104, "dhcp": "on", "description": "Racks"}
        page = send(client, url, **asked)
        text = text_of(page)
        assert "100 EPG_Site1_100 10.0.1.0/24 102 EPG_Site1_102 10.0.2.0/24" in text
        assert "1 VLAN ID is skipped, because it is taken or outside the group's ranges: 101" in text
        assert "Generate 4 segments" in text
        assert has_button(page)
        assert Segment.objects.count() == 1

        done = send(client, url, "_confirm", **asked)
        assert done.url == f"{pool.get_absolute_url()}segments/"
        assert messages_of(done) == ["Generated 4 segments."]
        made = Segment.objects.exclude(vid=101)
        assert set(made.values_list("dhcp", "description")) == {(True, "Racks")}

        # The second time, there is nothing left to make.
        page = send(client, url, **asked)
        assert "there is nothing to make" in text_of(page)
        assert "skipped, because they are taken or outside the group's ranges: 100-104" in text_of(page)
        assert not has_button(page)

    def test_a_long_preview_shows_the_first(self, client, user, url):
        text = text_of(send(client, url, count=150))
        assert "EPG_Site1_199" in text
        assert "EPG_Site1_200" not in text
        assert "and 50 more" in text
        assert "Generate 150 segments" in text

    def test_who_may_not_view_segments_comes_back_to_the_pool(self, client, pool, url):
        client.force_login(permit(permit(make_user("bob"), SegmentPool, "view"), Segment, "add"))
        assert send(client, url, "_confirm").url == pool.get_absolute_url()

    def test_number_of_queries(self, client, user, url):
        counts = []
        for count in (5, 5, 60):
            with CaptureQueriesContext(connection) as queries:
                send(client, url, count=count)
            counts.append(len(queries))
        assert counts[2] - counts[1] <= 2


class TestAsAJob:
    @pytest.fixture(autouse=True)
    def setup(self, small_pages):
        yield
        for job in Job.objects.filter(name=GenerateSegmentsJob.name):
            if rq_job := django_rq.get_queue(job.queue_name).fetch_job(str(job.job_id)):
                rq_job.delete()

    def test_preview_then_generate(self, client, user, pool, url, django_capture_on_commit_callbacks):
        make_segment(pool, 101)
        asked = {"count": "", "vid_min": 100, "vid_max": 103, "dhcp": "on"}
        with django_capture_on_commit_callbacks(execute=True):
            response = send(client, url, **asked)
        job = Job.objects.get(name=GenerateSegmentsJob.name)
        assert response.url == f"{url}jobs/{job.pk}/"
        page = client.get(response.url)
        assert "Waiting for a worker" in text_of(page)
        assert "No worker is running" in text_of(page)
        state = page.context["state"]
        headers = {"HX-Request": "true"}
        assert client.get(response.url, {"state": state}, headers=headers).status_code == 204
        assert run_last_job().status == JobStatusChoices.STATUS_COMPLETED
        assert client.get(response.url, {"state": state}, headers=headers).headers["HX-Refresh"] == "true"

        page = client.get(response.url)
        assert "100 EPG_Site1_100 10.0.1.0/24" in text_of(page)
        assert "Generate 3 segments" in text_of(page)
        assert Segment.objects.count() == 1
        back = client.get(f"{url}?job={job.pk}").context["move_form"]
        assert (back["vid_max"].value(), back["dhcp"].value(), back.errors) == (103, True, {})

        # The page's own form sends the same values.
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)"(?: value="([^"]*)")?', page.content.decode()))
        fields.pop("csrfmiddlewaretoken", None)
        done = client.post(url, {**fields, "_confirm": ""})
        run_last_job()
        page = client.get(done.url)
        assert "Generated 3 segments" in text_of(page)
        assert not has_button(page)
        assert set(Segment.objects.exclude(vid=101).values_list("vid", "dhcp")) == {
            (vid, True) for vid in (100, 102, 103)
        }

    def test_what_is_refused(self, client, user, pool, url):
        response = send(client, url, "_confirm", count=300)
        assert run_last_job().status == JobStatusChoices.STATUS_FAILED
        page = client.get(response.url)
        assert "Nothing was made" in text_of(page)
        assert "room for 256 more /24, not 300" in text_of(page)
        form = client.get(f"{url}?job={Job.objects.get().pk}").context["move_form"]
        assert form["count"].value() == 300
        assert "room for 256 more /24" in form.errors["prefix_length"][0]
        for bad in ("0", "x", "9" * 30, "²"):
            assert client.get(f"{url}?job={bad}").status_code == 404
        assert Segment.objects.count() == 0

    def test_permissions_are_those_of_when_it_runs(self, user, pool):
        jobs = [GenerateSegmentsJob.start(pool, {"count": 1, "prefix_length": 24}, user=user) for _number in range(3)]

        def outcome():
            job = jobs.pop()
            GenerateSegmentsJob.handle(job)
            return job.data["errors"]["__all__"][0]

        user.object_permissions.filter(object_types__model="segment").delete()
        assert "may not add such segments" in outcome()
        user.object_permissions.all().delete()
        assert "pool was deleted" in outcome()
        type(user).objects.filter(pk=user.pk).update(is_active=False)
        assert "may no longer log in" in outcome()
        assert Segment.objects.count() == 0

    def test_what_needs_no_look_at_the_pool_is_said_at_once(self, client, user, url):
        response = send(client, url, prefix_length=8)
        assert list(response.context["move_form"].errors) == ["prefix_length"]
        assert not Job.objects.exists()

    def test_others_do_not_see_it(self, client, user, pool, url):
        path = send(client, url).url
        other = make_pool(scope="Site2", container="10.1.0.0/16")
        assert client.get(path.replace(f"/{pool.pk}/", f"/{other.pk}/", 1)).status_code == 404
        client.force_login(permit(permit(make_user("bob"), SegmentPool, "view"), Segment, "add"))
        assert client.get(path).status_code == 404
        client.force_login(permit(make_user("carol"), SegmentPool, "view"))
        assert client.get(path).status_code == 403


class TestGrowth:
    """The allocate page for a user who may only allocate."""

    url = "/plugins/vlan-manager/allocations/allocate/"

    @pytest.fixture
    def pool(self, client):
        pool = make_pool(auto_grow=True, grow_prefix_length=24, grow_limit=1)
        client.force_login(permit(make_user("bob"), pool, "view", "allocate"))
        return pool

    def send(self, client, pool, name, button="_allocate"):
        return client.post(self.url, {"pool": pool.pk, "cluster_name": name, button: ""})

    def test_previews_and_allocates(self, client, pool):
        page = text_of(self.send(client, pool, "prod-01", "_preview"))
        assert "10.0.0.0/24" in page
        assert (Segment.objects.count(), VLAN.objects.count()) == (0, 0)
        # The user may view no allocations: the result is on the same page.
        (result,) = self.send(client, pool, "prod-01").context["results"]
        assert result.allocation.cluster_name == "prod-01"
        assert Segment.objects.get().status == "allocated"

    def test_the_end_says_why(self, client, pool):
        self.send(client, pool, "prod-01")
        for button in ("_preview", "_allocate"):
            page = self.send(client, pool, "prod-02", button)
            assert "growth limit of 1 segments" in str(page.context["allocate_form"].errors)
        assert Segment.objects.count() == 1
