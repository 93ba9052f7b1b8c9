import html
import re

import django_rq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from core.choices import JobStatusChoices
from core.models import DataFile, DataSource, Job, ObjectChange
from extras.models import CachedValue, Notification
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.jobs import SegmentImportJob
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services.onboarding import import_files, importing
from netbox_vlan_manager.services.segments import segment_columns
from netbox_vlan_manager.views import importing as views
from netbox_vlan_manager.views import progress
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db

URL = "/plugins/vlan-manager/segments/import/"
HEADER = "site,vlan_id,epg_name,segment,vrf,dhcp,description\n"
GOOD = "Site1,200,EPG_200,10.0.20.0/24,Network1,true,First\n"
# One row each that is created, updated and unchanged, and three that fail.
MIXED = (
    HEADER
    + GOOD
    + "Site1,100,EPG_web,10.0.0.0/24,Network1,,\n"
    + "Site1,101,EPG_101,10.0.1.0/24,Network1,,\n"
    + "Site1,4095,EPG_1,10.0.30.0/24,Network1,,\n"
    + "Site9,201,EPG_201,10.0.31.0/24,Network1,,\n"
    + "Site1,202,EPG_202,10.0.1.0/25,Network1,maybe,\n"
)


@pytest.fixture
def pool():
    return make_pool(segments=2, vid_ranges=((100, 999),))


@pytest.fixture
def user(client, pool):
    user = permit(make_user("alice"), Segment, "view", "add", "change")
    user = permit(user, SegmentPool, "view")
    client.force_login(user)
    return user


@pytest.fixture
def worker(django_capture_on_commit_callbacks):
    """A function that calls a view, and then runs its jobs as a worker does."""

    def run(call):
        before = set(Job.objects.values_list("pk", flat=True))
        response = call()
        for job in Job.objects.exclude(pk__in=before):
            SegmentImportJob.handle(job)
        return response

    return run


@pytest.fixture
def small_pages(monkeypatch):
    """Makes jobs of all imports with more than one row."""
    monkeypatch.setattr(views, "PAGE_ROWS", 1)


def send(client, text, button="_preview", **fields):
    return client.post(URL, {"import_method": "direct", "data": text, button: "", **fields})


def plain(markup):
    """Return the text of markup, without tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def text_of(response):
    return plain(response.content.decode())


def rows_of(response):
    """Return {line: (word, details)} of the table of a page."""
    (body,) = re.findall(r"<tbody>(.*?)</tbody>", response.content.decode(), re.DOTALL)
    rows = {}
    for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL):
        line, word, cell = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        rows[int(plain(line))] = (plain(word), plain(cell.partition('<div class="col-md-7">')[2]))
    return rows


def everything():
    tables = (Segment, VLAN, Prefix, ObjectChange, Job, CachedValue)
    return [list(model.objects.order_by("pk").values()) for model in tables]


def errors_of(response, field):
    return response.context["source_form"].errors.get(field, [])


class TestForm:
    def test_tells_the_columns_and_leads_to_netbox_s_own(self, client, user):
        response = client.get(URL)

        assert "site,vlan_id,epg_name,segment,vrf,dhcp,description" in text_of(response)
        assert f'"{URL}objects/"' in response.content.decode()
        assert "no segment pool" not in text_of(response)

    def test_columns_are_those_of_the_service(self, pool):
        assert tuple(views.COLUMN_TEXTS) == segment_columns.COLUMNS
        result = importing.import_segments(
            import_files.parse_csv(views.EXAMPLE), user=make_user(), enforce=False, dry_run=True
        )
        assert {column for row in result.results for column in row.errors} == {"segment"}

    def test_without_a_pool_it_says_what_to_do_first(self, client):
        client.force_login(permit(make_user("bob"), Segment, "add"))

        assert "no segment pool that you may view" in text_of(client.get(URL))

    @pytest.mark.parametrize("path", ["", "objects/"])
    def test_needs_a_permission_to_write_segments(self, client, pool, path):
        # NetBox's own import requires the permission to add objects, even to update them.
        client.force_login(permit(make_user("bob"), Segment, "view", *(["change"] if path else [])))

        assert client.get(URL + path).status_code == 403
        assert client.post(URL + path, {"data": MIXED, "_import": ""}).status_code == 403
        assert Segment.objects.count() == 2

    def test_each_row_needs_the_permission_that_rest_asks_for(self, client, pool):
        bob = permit(make_user("bob"), Segment, "view", "change")
        client.force_login(permit(bob, SegmentPool, "view"))

        assert client.get(URL).status_code == 200
        rows = rows_of(send(client, MIXED, "_import"))
        assert (rows[3][0], rows[2]) == (
            "Updated",
            ("Failed", "vlan_id : You may not write this segment: ask for the permission."),
        )
        assert Segment.objects.count() == 2

    def test_who_is_not_logged_in_is_sent_to_the_login(self, client, pool):
        for response in (client.get(URL), client.post(URL, {"data": MIXED}), client.get(f"{URL}jobs/1/")):
            assert (response.status_code, response.url.split("?")[0]) == (302, "/login/")

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "The file is empty"),
            ("\n \n", "The file is empty"),
            (HEADER, "no line under it"),
            (GOOD, "no header"),
            ("site,vlan_id\nSite1,5\n", "Missing column: epg_name, segment, vrf."),
            (HEADER.replace("dhcp", "colour") + GOOD, "Unknown column: colour."),
            (HEADER + GOOD.replace("First", '"First'), "Line 2: unexpected end of data."),
            ("\0", "Null characters are not allowed"),
        ],
    )
    def test_what_is_no_import_comes_back_as_typed(self, client, user, text, says):
        response = send(client, text, atomic="on")

        assert says in " ".join(errors_of(response, "data"))
        assert response.context["source_form"]["data"].value() == text
        assert response.context["source_form"]["atomic"].value()

    def test_too_many_rows(self, client, user):
        with override_settings(PLUGINS_CONFIG={"netbox_vlan_manager": {"import_max_rows": 5}}):
            response = send(client, MIXED)

        assert errors_of(response, "data") == ["6 rows are too many for one import: give at most 5."]

    def test_error_of_a_whole_import_keeps_what_was_typed(self, client, user, monkeypatch):
        def busy(*args, **kwargs):
            raise Busy

        monkeypatch.setattr(views, "import_segments", busy)
        response = send(client, MIXED, "_import")

        assert str(Busy().message) in text_of(response)
        assert response.context["source_form"]["data"].value() == MIXED

    def test_unknown_method(self, client, user):
        response = client.post(URL, {"import_method": "post", "data": MIXED})

        assert response.status_code == 200
        assert errors_of(response, "import_method")


class TestFiles:
    def upload(self, client, content, **fields):
        file = SimpleUploadedFile("segments.csv", content if isinstance(content, bytes) else content.encode())
        return client.post(URL, {"import_method": "upload", "upload_file": file, **fields})

    @pytest.mark.parametrize(
        "text",
        [
            "\ufeff" + HEADER + GOOD,
            (HEADER + GOOD).replace("\n", "\r\n"),
            (HEADER + GOOD).replace("\n", "\r"),
            (HEADER + GOOD).replace(",", ";"),
        ],
        ids=["bom", "crlf", "cr", "semicolons"],
    )
    def test_upload_previews_and_imports(self, client, user, text):
        response = self.upload(client, text)
        assert rows_of(response) == {2: ("Create", "First")}

        send(client, response.context["source"]["data"].value(), "_import")
        assert Segment.objects.get(vid=200).description == "First"

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "The submitted file is empty."),
            (b"\xff\xfes\0i", "This is neither XLSX nor UTF-8: save the sheet as XLSX or as CSV (UTF-8)."),
            (
                HEADER.encode() + "é".encode("latin-1"),
                "This is neither XLSX nor UTF-8: save the sheet as XLSX or as CSV (UTF-8).",
            ),
            (b"PK\x03\x04\x14\x00\x08\x08", "The workbook is broken: save it again."),
            (b"x" * 30 * 10**6, "30 MB are too much for one import: give at most 10 MB."),
        ],
        ids=["empty", "utf-16", "latin-1", "xlsx", "30 MB"],
    )
    def test_file_that_is_no_import(self, client, user, content, says):
        response = self.upload(client, content)

        assert errors_of(response, "upload_file") == [says]
        assert says in text_of(response)

    @pytest.mark.parametrize("method", ["upload", "datafile"])
    def test_no_file_chosen(self, client, user, method):
        response = client.post(URL, {"import_method": method})

        assert errors_of(response, {"upload": "upload_file", "datafile": "data_file"}[method]) == ["Choose a file."]

    def test_typed_text_too_long_for_a_field_is_sent_as_a_file(self, client, user):
        response = self.upload(client, GOOD, import_method="direct")
        assert errors_of(response, "data")
        assert response.context["source_form"]["data"].value() == GOOD

        assert rows_of(self.upload(client, HEADER + GOOD, import_method="direct")) == {2: ("Create", "First")}

    def test_data_file_that_the_user_may_view(self, client, user):
        source = DataSource.objects.create(name="Git", type="local", source_url="/tmp")
        file = DataFile.objects.create(
            source=source,
            path="a.csv",
            data=(HEADER + GOOD).encode(),
            size=len(HEADER + GOOD),
            last_updated="2026-01-01T00:00Z",
        )
        fields = {"import_method": "datafile", "data_source": source.pk, "data_file": file.pk}

        assert errors_of(client.post(URL, fields), "data_file")
        client.force_login(permit(permit(user, DataFile, "view"), DataSource, "view"))
        assert rows_of(client.post(URL, fields)) == {2: ("Create", "First")}


class TestFailedRows:
    def test_they_are_a_file_that_can_be_imported_once_corrected(self, client, user):
        response = send(client, MIXED, "_failed")

        assert response.headers["Content-Disposition"] == 'attachment; filename="failed.csv"'
        text = response.content.decode()
        assert Segment.objects.count() == 2
        assert [line.split(",")[1] for line in text.splitlines()] == ["vlan_id", "4095", "201", "202"]
        assert "vlan_id: VLAN ID '4095' is not valid" in text
        corrected = text.replace("4095", "203", 1).replace("Site9", "Site1", 1).replace("maybe", "ja", 1)
        rows = rows_of(send(client, corrected.replace("10.0.1.0/25", "10.0.32.0/24", 1), "_import"))
        assert [word for word, _details in rows.values()] == ["Created"] * 3

    def test_of_lines_that_are_no_rows(self, client, user):
        text = send(client, HEADER + GOOD + "a,b\n", "_failed").content.decode()
        assert text.splitlines()[1].startswith("a,b,")
        assert "The line has 2 values" in text
        text = send(client, '[1, {"vlan_id": "=1+1", "colour": true}]', "_failed").content.decode()
        assert text.splitlines()[0] == "vlan_id,colour,errors"
        assert "'=1+1,True,\"" in text
        assert "vlan_id: VLAN ID '=1+1' is not valid" in text

    def test_of_a_job(self, client, user, worker, small_pages):
        response = worker(lambda: send(client, MIXED))
        text = client.get(f"{response.url}?failed").content.decode()
        assert [line.split(",")[1] for line in text.splitlines()] == ["vlan_id", "4095", "201", "202"]

    def test_template_has_all_columns(self, client, user):
        assert ",".join(segment_columns.COLUMNS).replace(",", "%2C") in client.get(URL).content.decode()


class TestPreview:
    def test_says_what_each_row_does_and_changes_nothing(self, client, user):
        before = everything()
        response = send(client, MIXED)

        rows = rows_of(response)
        assert [word for word, _details in rows.values()] == ["Fails"] * 3 + ["Update", "Create", "Unchanged"]
        assert rows[5][1].startswith("vlan_id : VLAN ID '4095' is not valid")
        assert rows[6][1].startswith("site : No pool serves site 'Site9'")
        assert rows[7][1].startswith("dhcp : 'maybe' is neither true nor false")
        assert rows[3][1] == "epg_name : EPG_100 EPG_web"
        assert rows[2][1] == "First"
        assert "Import the 2 good rows" in text_of(response)
        assert everything() == before

    def test_all_or_nothing_offers_no_import_while_a_row_fails(self, client, user):
        response = send(client, MIXED, atomic="on")

        assert len(rows_of(response)) == 6
        assert "all or nothing" in text_of(response)
        assert 'name="_import"' not in response.content.decode()
        assert 'name="_import"' in send(client, HEADER + GOOD, atomic="on").content.decode()

    def test_rows_that_change_nothing_offer_no_import(self, client, user):
        response = send(client, HEADER + "Site1,101,EPG_101,10.0.1.0/24,Network1,,\n")

        assert "there is nothing to import" in text_of(response)
        assert 'name="_import"' not in response.content.decode()

    def test_back_to_what_was_typed(self, client, user):
        source = send(client, MIXED, atomic="on").context["source"]
        response = send(client, source["data"].value(), "_back", atomic=source["atomic"].value())

        assert response.context["source_form"]["data"].value() == MIXED
        assert response.context["source_form"]["atomic"].value() is True

    def test_names_of_pools_that_the_user_may_not_view_do_not_show(self, client, user):
        make_pool("Hidden network", "Hidden site", container="10.9.0.0/16")
        client.force_login(
            permit(permit(make_user("bob"), Segment, "add"), SegmentPool, "view", constraints={"vrf__name": "Network1"})
        )
        response = send(
            client, HEADER + GOOD + "Hidden site,1,E,10.9.0.0/24,Hidden network,,\nSite9,1,E,10.9.0.0/24,X,,\n"
        )

        rows = rows_of(response)
        assert rows[4][1] == "site : No pool serves site 'Site9' in VRF 'X'. These exist: Site1 in Network1."
        assert rows[3][1].endswith("in VRF 'Hidden network'. These exist: Site1 in Network1.")

    def test_segments_that_the_user_may_not_view_are_no_links(self, client, user):
        text = HEADER + "Site1,101,EPG_101,10.0.1.0/24,Network1,,\n"
        url = Segment.objects.get(vid=101).get_absolute_url()
        assert f'href="{url}"' in send(client, text).content.decode()

        client.force_login(permit(permit(make_user("bob"), Segment, "add"), SegmentPool, "view"))
        response = send(client, text)
        assert rows_of(response)[2][0] == "Unchanged"
        assert f'href="{url}"' not in response.content.decode()

    def test_what_was_typed_is_shown_as_text(self, client, user):
        evil = "<script>alert(1)</script>"
        formula = '=HYPERLINK(""http://x"")'
        text = (
            HEADER
            + f"{evil},200,{evil},{evil},{evil},{evil},{evil}\n"
            + f'Site1,300,EPG_300,10.0.40.0/24,Network1,,"{formula}"\n'
            + f"Site1,100,EPG_100,10.0.0.0/24,Network1,,{evil}\n"
            + "Site1,301,only three\n"
        )
        response = send(client, text)
        content = response.content.decode()

        assert evil not in content
        assert html.escape(evil) in content
        assert rows_of(response)[3] == ("Create", '=HYPERLINK("http://x")')
        assert "The line has 3 values, the header 7" in rows_of(response)[5][1]
        bad = send(client, f"{evil}\n{evil}\n")
        assert evil not in bad.content.decode()

    def test_takes_no_more_queries_for_more_rows(self, client, user):
        counts = []
        for number in (30, 100):
            text = HEADER + "".join(
                f"Site1,{vid},E{vid},10.0.{vid - 100}.0/24,Network1,,\n" for vid in range(102, 102 + number)
            )
            send(client, text)
            with CaptureQueriesContext(connection) as queries:
                assert len(rows_of(send(client, text))) == number
            counts.append(len(queries))

        assert counts[0] == counts[1]


class TestImport:
    def test_good_rows_land_and_bad_ones_are_told(self, client, user):
        response = send(client, MIXED, "_import")

        rows = rows_of(response)
        assert [word for word, _details in rows.values()] == ["Failed"] * 3 + ["Updated", "Created", "Unchanged"]
        segment = Segment.objects.get(vid=200)
        assert f'href="{segment.get_absolute_url()}"' in response.content.decode()
        assert Segment.objects.get(vid=100).epg_name == "EPG_web"
        assert Segment.objects.count() == 3
        changes = ObjectChange.objects.filter(user=user)
        assert set(changes.values_list("request_id", flat=True)) == {response.wsgi_request.id}

    def test_again_is_all_unchanged(self, client, user):
        text = HEADER + GOOD
        send(client, text, "_import")
        changes = ObjectChange.objects.count()

        assert rows_of(send(client, text)) == {2: ("Unchanged", "")}
        assert rows_of(send(client, text, "_import")) == {2: ("Unchanged", "")}
        assert ObjectChange.objects.count() == changes

    def test_all_or_nothing(self, client, user):
        before = everything()
        response = send(client, MIXED, "_import", atomic="on")

        assert {word for word, _details in rows_of(response).values()} == {"Failed", "Skipped"}
        assert "nothing was changed" in text_of(response)
        assert everything() == before

    def test_user_is_held_to_their_permissions(self, client, user):
        bob = permit(permit(make_user("bob"), SegmentPool, "view"), Segment, "add", constraints={"vid__lt": 200})
        client.force_login(bob)
        response = send(
            client,
            HEADER + GOOD + "Site1,150,E150,10.0.50.0/24,Network1,,\nSite1,100,X,10.0.0.0/24,Network1,,\n",
            "_import",
        )

        assert {line: word for line, (word, _details) in rows_of(response).items()} == {
            2: "Failed",
            3: "Created",
            4: "Failed",
        }
        assert "EPG_100" not in text_of(response)
        assert set(Segment.objects.values_list("vid", flat=True)) == {100, 101, 150}


class TestJob:
    @pytest.fixture(autouse=True)
    def _small_pages(self, small_pages):
        pass

    def test_long_import_is_previewed_and_done_by_jobs(self, client, user, worker):
        before = everything()[:4]
        preview = worker(lambda: send(client, MIXED))
        response = client.get(preview.url)

        assert [word for word, _details in rows_of(response).values()] == ["Fails"] * 3 + [
            "Update",
            "Create",
            "Unchanged",
        ]
        assert rows_of(client.get(preview.url, {"status": "updated"})) == {3: ("Update", "epg_name : EPG_100 EPG_web")}
        assert everything()[:4] == before

        done = worker(lambda: client.post(preview.url, {"_import": ""}))
        assert done.url != preview.url
        response = client.get(done.url)
        assert [word for word, _details in rows_of(response).values()] == ["Failed"] * 3 + [
            "Updated",
            "Created",
            "Unchanged",
        ]
        assert Segment.objects.get(vid=200).get_absolute_url() in response.content.decode()
        changes = ObjectChange.objects.filter(user=user)
        assert changes.count() > 3
        assert changes.values("request_id").distinct().count() == 1
        job = Job.objects.order_by("pk").last()
        assert (job.status, job.user) == (JobStatusChoices.STATUS_COMPLETED, user)
        assert "1 created, 1 updated, 1 unchanged, 3 failed" in job.log_entries[-1]["message"]

    def test_is_left_to_a_worker(self, client, user, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            response = send(client, MIXED)

        job = Job.objects.get()
        queued = django_rq.get_queue(job.queue_name).fetch_job(str(job.job_id))
        assert queued.func == SegmentImportJob.handle
        assert queued.timeout > 300
        assert queued.kwargs["job"].data["text"] == MIXED
        page = client.get(response.url)
        assert "Waiting for a worker" in text_of(page)
        assert "No worker is running" in text_of(page)
        assert 'http-equiv="refresh"' in page.content.decode()

    def test_all_or_nothing(self, client, user, worker):
        preview = worker(lambda: send(client, MIXED, atomic="on"))
        assert 'name="_import"' not in client.get(preview.url).content.decode()

        done = worker(lambda: client.post(preview.url, {"_import": ""}))
        assert {word for word, _details in rows_of(client.get(done.url)).values()} == {"Failed", "Skipped"}
        assert Segment.objects.count() == 2

    def test_back_to_what_was_typed(self, client, user, worker):
        preview = worker(lambda: send(client, MIXED, atomic="on"))
        url = f"{URL}?job={Job.objects.get().pk}"
        assert f'"{url}"' in client.get(preview.url).content.decode()

        form = client.get(url).context["source_form"]
        assert (form["data"].value(), form["atomic"].value()) == (MIXED, True)
        assert client.get(f"{URL}?job=x").status_code == 404

    def test_page_asks_whether_it_has_changed(self, client, user, monkeypatch):
        url = send(client, MIXED).url
        monkeypatch.setattr(progress, "_is_dead", lambda job: False)
        (state,) = re.findall(r"state=([^\"]*)\" hx-trigger", client.get(url).content.decode())
        headers = {"HX-Request": "true"}

        assert client.get(f"{url}?state={state}", headers=headers).status_code == 204
        Job.objects.update(status=JobStatusChoices.STATUS_RUNNING)
        assert client.get(f"{url}?state={state}", headers=headers).headers["HX-Refresh"] == "true"
        assert "Checking the rows" in text_of(client.get(url))

    def test_job_that_was_killed_can_be_started_again(self, client, user, worker):
        url = send(client, MIXED, "_import").url
        # No worker will run this job, because no queue has it.
        Job.objects.update(status=JobStatusChoices.STATUS_RUNNING)
        response = client.get(url)

        assert "Nothing was imported" in text_of(response)
        assert 'name="_import"' in response.content.decode()
        again = worker(lambda: client.post(url, {"_import": ""}))
        assert rows_of(client.get(again.url))[2][0] == "Created"

    def test_error_of_the_whole_import_is_told(self, client, user, worker):
        url = send(client, MIXED, "_import").url
        with override_settings(PLUGINS_CONFIG={"netbox_vlan_manager": {"import_max_rows": 5}}):
            SegmentImportJob.handle(Job.objects.get())

        assert Job.objects.get().status == JobStatusChoices.STATUS_FAILED
        assert "6 rows are too many" in text_of(client.get(url))
        assert Segment.objects.count() == 2

        # The job is queued again, which NetBox allows once its notification is deleted.
        Notification.objects.all().delete()
        SegmentImportJob.handle(Job.objects.get())
        job = Job.objects.get()
        assert job.status == JobStatusChoices.STATUS_COMPLETED
        assert "errors" not in job.data

    def test_permissions_are_those_of_when_it_runs(self, client, user):
        for _ in range(2):
            send(client, MIXED, "_import")
        first, second = Job.objects.order_by("pk")
        assert first.user.has_perm("netbox_vlan_manager.add_segment")

        user.object_permissions.all().delete()
        SegmentImportJob.handle(first)
        assert {row["status"] for row in Job.objects.get(pk=first.pk).data["results"]} == {"failed"}
        type(user).objects.update(is_active=False)
        SegmentImportJob.handle(second)
        assert Job.objects.get(pk=second.pk).status == JobStatusChoices.STATUS_FAILED
        assert Segment.objects.count() == 2

    def test_shows_to_who_started_it_and_who_may_view_jobs(self, client, user, worker):
        preview = worker(lambda: send(client, MIXED))
        bob = make_user("bob")
        client.force_login(bob)
        assert client.get(preview.url).status_code == 404
        assert client.post(preview.url, {"_import": ""}).status_code == 404

        client.force_login(permit(bob, Job, "view"))
        page = client.get(preview.url)
        assert len(rows_of(page)) == 6
        assert 'name="_import"' not in page.content.decode()
        assert (
            'href="/plugins/vlan-manager/segments/'
            not in re.findall(r"<tbody>.*</tbody>", page.content.decode(), re.DOTALL)[0]
        )
        assert client.post(preview.url, {"_import": ""}).status_code == 403

    def test_other_jobs_are_not_found(self, client, user):
        job = Job.objects.create(
            name="Other", user=user, job_id="00000000-0000-0000-0000-000000000000", data={"text": ""}
        )

        assert client.get(f"{URL}jobs/{job.pk}/").status_code == 404
        assert client.get(f"{URL}?job={job.pk}").status_code == 404

    def test_results_take_no_more_queries_for_more_rows(self, client, user, worker):
        counts = []
        for number in (10, 40):
            text = HEADER + "".join(
                f"Site1,{vid},E{vid},10.0.{vid - 100}.0/24,Network1,,\n" for vid in range(102, 102 + number)
            )
            url = worker(lambda text=text: send(client, text, "_import")).url
            client.get(url)
            with CaptureQueriesContext(connection) as queries:
                assert len(rows_of(client.get(url))) == number
            counts.append(len(queries))

        assert counts[0] == counts[1]
        assert len(rows_of(client.get(url, {"per_page": 25, "page": 2}))) == 15


def test_twenty_thousand_rows_go_through(client, user, django_capture_on_commit_callbacks):
    text = HEADER + "".join(
        f"Site1,{n % 4000},EPG_{n},10.{n // 256}.{n % 256}.0/24,Network1,true,{'x' * 30}\n" for n in range(20000)
    )
    assert len(text) > 1.5 * 10**6
    response = send(client, text)

    assert response.status_code == 302
    assert Job.objects.get().data == {"text": text, "atomic": False, "dry_run": True, "pool": None}
    assert client.get(f"{URL}?job={Job.objects.get().pk}").context["source_form"]["data"].value() == text


def test_list_and_menu_lead_here(client, user):
    content = client.get("/plugins/vlan-manager/segments/").content.decode()

    assert content.count(f'"{URL}') >= 2


class TestForeignHeadings:
    TEXT = "Standort;VLAN;Netz;Bezeichnung;VRF;Zimmer\nSite1;200;10.0.20.0/24;EPG_200;Network1;2.11\n"

    @staticmethod
    def options(response):
        """Return the chosen column of each heading, in the page's form."""
        form = response.content.decode().partition("Which column is which?")[2].partition("</form>")[0]
        selects = re.findall(r'<select name="(column_\d+)".*?</select>', form, re.DOTALL)
        chosen = re.findall(r'<option value="([^"]*)" selected>', form)
        return selects, chosen, form

    def test_the_page_suggests_columns_and_takes_the_choice(self, client, user):
        response = send(client, self.TEXT)
        selects, chosen, form = self.options(response)
        assert selects == [f"column_{number}" for number in range(6)]
        assert chosen == ["site", "vlan_id", "segment", "epg_name", "vrf"]
        assert "“standort” means it" in html.unescape(form)
        assert "Unknown column: Standort, Netz, Bezeichnung, Zimmer." in plain(form)

        names = dict(zip(selects, [*chosen, "-"], strict=True))
        response = send(
            client, html.unescape(re.search(r"<textarea[^>]*>\n(.*?)</textarea>", form, re.DOTALL)[1]), **names
        )
        assert rows_of(response)[2][0] == "Create"
        # The text of the preview has the chosen columns: its next step needs no choice.
        text = response.context["source"].initial["data"]
        assert text.startswith("site;vlan_id;segment;epg_name;vrf;-\n")
        assert rows_of(send(client, text, "_import"))[2][0] == "Created"
        assert Segment.objects.get(vid=200).epg_name == "EPG_200"

    def test_of_a_file(self, client, user):
        file = SimpleUploadedFile("a.csv", self.TEXT.encode())
        response = client.post(URL, {"import_method": "upload", "upload_file": file, "atomic": "on", "_preview": ""})
        selects, _chosen, form = self.options(response)
        assert len(selects) == 6
        assert 'name="atomic" value="on"' in form

    def test_a_wrong_choice_is_an_error_and_can_be_made_again(self, client, user):
        names = dict.fromkeys((f"column_{number}" for number in range(6)), "site")
        response = send(client, self.TEXT, **names)
        assert "Column given twice: site." in errors_of(response, "data")[-1]
        assert len(self.options(response)[0]) == 6
        names["column_1"] = "nonsense"
        assert send(client, self.TEXT, **names).status_code == 200

    def test_markup_in_headings_and_values_is_text(self, client, user):
        response = send(client, self.TEXT.replace("Zimmer", "<b>x</b>").replace("2.11", "</textarea><i>"))
        form = self.options(response)[2]
        assert "<b>x" not in form
        assert "<i>" not in form


class TestOfAPool:
    TEXT = "vlan_id,epg_name,segment\n200,EPG_200,10.0.20.0/24\n"

    def test_rows_need_not_name_it(self, client, user, pool):
        page = client.get(f"{URL}?pool={pool.pk}").content.decode()
        assert f"go into the pool {pool}" in plain(page)
        assert page.count(f'name="pool" value="{pool.pk}"') == 3
        assert "site,vlan_id" not in page

        response = send(client, self.TEXT, pool=pool.pk)
        assert rows_of(response)[2][0] == "Create"
        assert f'name="pool" value="{pool.pk}"' in response.content.decode()
        send(client, self.TEXT, "_import", pool=pool.pk)
        assert Segment.objects.get(vid=200).pool == pool

    def test_by_jobs(self, client, user, pool, worker, small_pages):
        text = f"{self.TEXT}201,EPG_201,10.0.21.0/24\n"
        response = worker(lambda: send(client, text, pool=pool.pk))
        assert [word for word, _details in rows_of(client.get(response.url)).values()] == ["Create", "Create"]
        worker(lambda: client.post(response.url, {"_import": ""}))
        assert set(Segment.objects.filter(vid__gte=200).values_list("vid", "pool")) == {(200, pool.pk), (201, pool.pk)}
        job = Job.objects.order_by("pk").first()
        assert client.get(f"{URL}?job={job.pk}").context["pool"] == pool

    def test_of_a_pool_that_the_user_may_not_view(self, client, pool):
        client.force_login(permit(make_user("bob"), Segment, "view", "add", "change"))
        response = send(client, self.TEXT, pool=pool.pk)
        assert errors_of(response, "pool")
        assert str(pool) not in response.content.decode()
        assert str(pool) not in client.get(f"{URL}?pool={pool.pk}").content.decode()

    @pytest.mark.parametrize("value", ["x", "-1", "9" * 30, "0"])
    def test_of_no_pool(self, client, user, value):
        assert client.get(f"{URL}?pool={value}").status_code == 200
        assert errors_of(send(client, self.TEXT, pool=value), "pool")
