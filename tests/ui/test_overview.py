import re
from datetime import date, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dcim.models import Location
from ipam.models import VRF
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Allocation, PoolSnapshot, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release
from tests.factories import make_pool, make_site, make_user, permit

pytestmark = pytest.mark.django_db

URL = "/plugins/vlan-manager/overview/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def pool():
    return make_pool(segments=2)


@pytest.fixture
def user(pool):
    """A user who may view and allocate in all pools."""
    user = permit(make_user("alice"), SegmentPool, "view", "allocate")
    return permit(user, Allocation, "view")


@pytest.fixture
def page(client, user):
    """A function that returns the text of the overview for `user`."""
    client.force_login(user)
    return lambda: text_of(client.get(URL))


@pytest.fixture
def ask(client, user):
    """A function that posts the form as `user`."""
    client.force_login(user)

    def post(pool, cluster_name="prod-01", vrf="", headers=None):
        data = {"vrf": vrf, "pool": getattr(pool, "pk", pool), "cluster_name": cluster_name}
        return client.post(URL, data, headers=headers)

    return post


def text_of(response):
    assert response.status_code == 200
    return response.content.decode()


def main_source(text):
    """Return the HTML of the overview, without the menu."""
    return text[text.index('id="overview"') : text.index("<footer")]


def main_of(text):
    """Return the text of the overview, without the menu."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", main_source(text)))


def errors_of(response):
    assert response.status_code == 200
    return response.context["allocate_form"].errors


def options(response, field="pool"):
    return response.context["allocate_form"].fields[field].choices


# Contents


def test_card_of_a_pool(page, pool):
    make_pool("Network2", "Site2")
    for number in range(1, 3):
        allocate(f"prod-0{number}", pool=pool, user=make_user())
    Segment.objects.filter(pool=pool, vid=101).update(status="allocated")

    text = page()
    assert f'<a href="{pool.get_absolute_url()}" title="Network1 Site1"><bdi>Site1</bdi></a>' in text
    assert "Exhausted Site1 Network1 100.0% Total 2 Allocated 2 Available 0 Quarantined 0" in main_of(text)
    assert "No segments Site2 Network2 0.0% Total 0 Allocated 0 Available 0 Quarantined 0" in main_of(text)


def test_disabled_segments_count_where_there_are_any(page, pool):
    assert "Disabled" not in main_of(page())
    Segment.objects.filter(pool=pool, vid=100).update(status="disabled")

    assert main_of(page()).count("Disabled 1") == 2


def test_totals(page, pool):
    make_pool(scope="Site2", container="10.1.0.0/16", segments=3)
    allocate("prod-01", pool=pool, user=make_user())

    expected = "Pools 2 Segments 5 Allocated 1 Available 4 Quarantined 0 Utilization 20.0%"
    assert expected in main_of(page())


@pytest.mark.parametrize(
    ("warning", "critical", "color"),
    [(80, 95, "bg-success"), (50, 95, "bg-warning"), (10, 50, "bg-danger"), (51, 51, "bg-success")],
)
def test_bar_is_coloured_by_the_thresholds_of_the_pool(page, pool, warning, critical, color):
    SegmentPool.objects.update(warning_threshold=warning, critical_threshold=critical)
    allocate("prod-01", pool=pool, user=make_user())

    assert re.findall(r'class="progress-bar (\S+)"', page()) == [color]


def test_a_full_pool_is_no_quiet_grey(page, pool):
    for number in range(2):
        allocate(f"prod-0{number}", pool=pool, user=make_user())

    assert re.findall(r'class="progress-bar (\S+)"', page()) == ["bg-danger"]


def test_paused_pool(page):
    assert "Paused" not in main_of(page())
    SegmentPool.objects.update(status="paused")

    assert "Paused Site1 Network1" in main_of(page())


def test_badges_and_the_order_by_urgency(page):
    for number, fields in enumerate(
        (
            {"status": "retiring"},
            {"status": "paused"},
            {},
            {"warning_threshold": 20, "critical_threshold": 90},
            {"warning_threshold": 20, "critical_threshold": 30},
        )
    ):
        pool = make_pool("Network1", f"Place{number}", container=f"10.{number}.0.0/16", segments=2)
        allocate("prod-01", pool=pool, user=make_user())
        SegmentPool.objects.filter(pk=pool.pk).update(**fields)
    full = make_pool("Network1", "Place5", container="10.5.0.0/16", segments=1)
    allocate("prod-01", pool=full, user=make_user())

    text = main_of(page())
    badges = (
        "Exhausted Place5",
        "Critical from 30% Place4",
        "Warning from 20% Place3",
        "Paused Place1",
        "Retiring Place0",
        "Place2 Network1",
    )
    places = [text.index(badge) for badge in badges]
    assert places == sorted(places)
    # The segments of pools that hand out nothing are not available.
    assert "Segments 13 Allocated 6 Available 5" in text


def test_the_most_used_pools_come_first(client, page, pool):
    make_pool("Network1", "Site0", container="10.1.0.0/16", segments=2)
    allocate("prod-01", pool=pool, user=make_user())

    text = main_of(page())
    assert text.index("Site1 Network1") < text.index("Site0 Network1")


def test_many_pools_leave_the_least_used_to_the_list(client, user, monkeypatch):
    monkeypatch.setattr("netbox_vlan_manager.views.overview.POOLS_SHOWN", 2)
    client.force_login(user)
    make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
    assert "most urgent of" not in text_of(client.get(URL))
    full = make_pool(scope="Site3", container="10.2.0.0/16", segments=1)
    allocate("prod-01", pool=full, user=make_user())

    response = client.get(URL)
    assert [pool.statistics.site for pool in response.context["pools"]] == ["Site3", "Site1"]
    assert "The 2 most urgent of 3 pools." in main_of(text_of(response))
    assert "Pools 3 Segments 4 Allocated 1" in main_of(text_of(response))
    assert client.get("/plugins/vlan-manager/pools/?sort=-utilization").context["table"].rows[0].record == full


def test_activity_says_who_and_when(page, pool):
    allocation = allocate("prod-01", pool=pool, user=make_user("bob")).allocation
    release("prod-01", pool=pool, user=make_user("carol"))
    Allocation.objects.update(allocated_at="2026-01-02T03:04Z", released_at="2026-02-03T04:05Z")

    text = page()
    assert allocation.get_absolute_url() in text
    what = "prod-01 VLAN 100, 10.0.0.0/24 , EPG_100 Network1 Site1"
    assert f"{what} Released 2026-02-03 04:05 by carol {what} Allocated 2026-01-02 03:04 by bob" in main_of(text)


def test_utilization_over_time_is_of_viewable_pools(client, pool):
    other = make_pool("Network2", segments=2)
    for number in range(1, 4):
        counts = {"available": 0, "quarantined": 0, "disabled": 0, "date": date.today() - timedelta(days=number)}
        PoolSnapshot.objects.create(pool=pool, total_segments=4, allocated=number, **counts)
        PoolSnapshot.objects.create(pool=other, total_segments=4, allocated=4, **counts)
    client.force_login(permit(make_user("bob"), pool, "view"))

    response = client.get(URL, {"days": "30"})
    assert [point.usage.utilization for point in response.context["points"]] == [75.0, 50.0, 25.0, 0.0]
    assert "<svg" in main_source(text_of(response))
    assert "days=365" in text_of(response)


def test_exports(client, user, page):
    paths = [
        f"/api/plugins/vlan-manager/export/{name}/?format={form}"
        for name in ("segments", "statistics")
        for form in ("csv", "xlsx")
    ]
    assert [path in page() for path in paths] == [False, False, True, True]

    client.force_login(permit(user, Segment, "view"))
    text = text_of(client.get(URL))
    for path in paths:
        assert f'href="{path}"' in text
        response = client.get(path)
        assert response.headers["Content-Disposition"].startswith("attachment")
        # Read to the end: the cursor of an open stream would be closed during another test.
        assert response.getvalue()


def test_menu_entry_is_the_first(client, user):
    client.force_login(permit(user, Segment, "view"))
    entries = re.findall(r'href="(/plugins/vlan-manager/[a-z]*/?)" class="d-inline-flex', text_of(client.get("/")))

    assert entries[0] == URL
    assert len(entries) > 2


# Nothing to show


def test_who_may_only_allocate_sees_where(client, pool):
    full = make_pool(scope="Site2", container="10.1.0.0/16")
    make_pool(scope="Site3", container="10.2.0.0/16")
    names = [pool.name, full.name]
    client.force_login(permit(make_user("bob"), SegmentPool, "allocate", constraints={"name__in": names}))
    text = main_of(text_of(client.get(URL)))

    assert "No segment pools to show" not in text
    assert "You may allocate in 2 pools Network1 Site1 Site1 , Network1 Network1 Site2 Site2 , Network1" in text
    assert text.count("No segment available") == 1
    assert "Site3" not in text
    assert f'href="/plugins/vlan-manager/allocations/allocate/?pool={full.pk}"' in text_of(client.get(URL))


def test_a_place_is_found_by_the_name_of_its_pool(client, user, pool):
    SegmentPool.objects.update(name="Blue Munich")
    client.force_login(user)

    assert options(client.get(URL))[1] == ("Network1", [(str(pool.pk), "Site1: Blue Munich in Network1")])


def test_no_pools_says_what_to_do_first(client):
    add = '<a href="/plugins/vlan-manager/pools/add/" class="btn btn-primary">'
    client.force_login(permit(make_user("bob"), SegmentPool, "view", "allocate"))
    text = text_of(client.get(URL))
    assert "No segment pools to show" in text
    assert add not in text
    assert "Quick Allocate" not in text

    client.force_login(permit(make_user("bob"), SegmentPool, "add"))
    text = text_of(client.get(URL))
    assert add in text
    assert "Add a pool first" in text


def test_no_pool_that_the_user_may_view(client, pool):
    client.force_login(permit(make_user("bob"), SegmentPool, "view", constraints={"name": "Other"}))
    text = main_of(text_of(client.get(URL)))

    assert "none that you may view" in text
    assert "Site1" not in text
    assert "Segments" not in text


def test_no_activity(client, page):
    assert "Nothing was allocated or released yet." in page()
    client.force_login(permit(make_user("bob"), SegmentPool, "view"))

    assert "You may not view allocations." in text_of(client.get(URL))


# Permissions


def test_who_may_view_it(client, pool):
    assert client.get(URL).url.startswith("/login/")
    client.force_login(permit(make_user("eve"), SegmentPool, "add", "change", "release"))
    assert client.get(URL).status_code == 403
    for action in ("view", "allocate"):
        client.force_login(permit(make_user(action), SegmentPool, action))
        assert client.get(URL).status_code == 200


def test_nothing_of_others_shows(client):
    ours = make_pool("Network1", "Site1", segments=1)
    theirs = make_pool("Secret", "Hidden", container="10.66.0.0/16", vid_ranges=((666, 699),), segments=2)
    allocate("spy-01", pool=theirs, user=make_user("mallory"))
    allocate("spy-02", pool=theirs, user=make_user("mallory"))
    release("spy-02", pool=theirs, user=make_user("mallory"))
    allocate("prod-01", pool=ours, user=make_user("bob"))
    mine = {"vrf__name": "Network1"}
    user = permit(make_user("alice"), SegmentPool, "view", "allocate", constraints=mine)
    user = permit(user, Allocation, "view", constraints={f"pool__{key}": value for key, value in mine.items()})
    client.force_login(user)

    text = text_of(client.get(URL))
    for word in ("Secret", "Hidden", "10.66.", "666", "spy-0", "mallory", theirs.get_absolute_url()):
        assert word not in text
    assert "Pools 1 Segments 1 Allocated 1 Available 0 Quarantined 0 Utilization 100.0%" in main_of(text)
    assert len(client.get(URL).context["activities"]) == 1
    assert "Hidden" not in text_of(client.get(URL, {"vrf": theirs.vrf_id}, headers=HTMX))

    response = client.post(URL, {"pool": theirs.pk, "cluster_name": "spy-01"})
    assert errors_of(response)["pool"] == ["Choose a place of the VRF from the list."]
    assert "10.66." not in text_of(response)


def test_who_may_only_allocate_sees_no_pool_but_the_form(client, pool):
    client.force_login(permit(make_user("bob"), pool, "allocate"))
    response = client.post(URL, {"pool": pool.pk, "cluster_name": "prod-01"})

    assert response.context["result"].created
    assert response.context["pools"] == []
    text = text_of(response)
    assert "EPG_100" in text
    assert Allocation.objects.get().get_absolute_url() not in text
    assert "Export" not in main_of(text)


def test_without_the_permission_there_is_no_form(client, pool):
    client.force_login(permit(make_user("bob"), SegmentPool, "view", "release"))

    assert "Quick Allocate" not in text_of(client.get(URL))
    assert client.post(URL, {"pool": pool.pk, "cluster_name": "prod-01"}).status_code == 403
    assert client.get(URL, {"vrf": pool.vrf_id}, headers=HTMX).status_code == 403
    assert not Allocation.objects.exists()


def test_a_forged_post_is_refused(user, pool):
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)

    assert client.post(URL, {"pool": pool.pk, "cluster_name": "prod-01"}).status_code == 403
    assert 'name="csrfmiddlewaretoken"' in text_of(client.get(URL))


# The form


@pytest.mark.parametrize("headers", [None, HTMX])
def test_allocates_and_shows_the_result_in_place(ask, pool, user, headers):
    response = ask(pool, " prod-01 ", headers=headers)

    allocation = Allocation.objects.get()
    assert (allocation.cluster_name, allocation.allocated_by) == ("prod-01", user)
    text = text_of(response)
    assert ("<html" in text) == (headers is None)
    assert re.findall(r'id="result-(\w+)"[^>]*>([^<]*)<', text) == [
        ("vid", "100"),
        ("prefix", "10.0.0.0/24"),
        ("epg", "EPG_100"),
    ]
    assert re.findall(r'copy-content" data-clipboard-target="#result-(\w+)"', text) == ["vid", "prefix", "epg"]
    assert 'Allocated to cluster <bdi class="fw-bold">prod-01</bdi>.' in text
    assert allocation.get_absolute_url() in text
    # The numbers on the page are from after the allocation.
    assert response.context["usage"].allocated == 1
    assert len(response.context["activities"]) == 1


def test_the_form_is_ready_for_the_next_cluster(ask, pool):
    ask(pool)
    form = ask(pool, "prod-02", vrf=pool.vrf_id).context["allocate_form"]

    assert (form["vrf"].value(), form["pool"].value(), form["cluster_name"].value()) == (
        str(pool.vrf_id),
        str(pool.pk),
        None,
    )
    assert dict(form.fields["pool"].choices)[str(pool.pk)] == "Site1 (no segment available)"


def test_a_double_click_makes_one_allocation(ask, pool):
    first, second = ask(pool), ask(pool, "PROD-01")

    assert first.context["result"].created
    assert not second.context["result"].created
    assert "already holds this; nothing new was allocated." in main_of(text_of(second))
    assert 'id="result-vid" dir="ltr">100<' in text_of(second)
    assert Allocation.objects.count() == 1


def test_exhausted_pool_tells_so_before_and_after(ask, client, pool):
    ask(pool, "prod-01")
    assert options(client.get(URL))[1] == ("Network1", [(str(pool.pk), "Site1 in Network1")])
    ask(pool, "prod-02")
    assert options(client.get(URL))[1] == ("Network1", [(str(pool.pk), "Site1 in Network1 (no segment available)")])

    response = ask(pool, "prod-03")
    assert list(errors_of(response)) == ["pool"]
    assert "has no available segment" in errors_of(response)["pool"][0]
    assert response.context["allocate_form"]["cluster_name"].value() == "prod-03"
    # A cluster that holds a segment of the pool still gets it.
    assert not ask(pool, "prod-02").context["result"].created


def test_paused_pool_tells_so_before_and_after(ask, client, pool):
    SegmentPool.objects.update(status="paused")

    assert options(client.get(URL))[1] == ("Network1", [(str(pool.pk), "Site1 in Network1 (paused)")])
    assert "is paused" in errors_of(ask(pool))["pool"][0]


def test_busy_pool(ask, pool, monkeypatch):
    def refuse(*args, **kwargs):
        raise Busy

    monkeypatch.setattr("netbox_vlan_manager.views.overview.allocate", refuse)

    response = ask(pool)
    assert "try again" in errors_of(response)["__all__"][0]
    assert "Another transaction holds a lock that this call needs" in main_of(text_of(response))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vrf", "0"),
        ("vrf", "x"),
        ("pool", ""),
        ("pool", "0"),
        ("pool", "x"),
        ("cluster_name", " "),
        ("cluster_name", "a,b"),
        ("cluster_name", "a\0b"),
        ("cluster_name", "x" * 101),
    ],
)
def test_wrong_values_are_reported_at_their_field(ask, pool, field, value):
    data = {"pool": pool.pk, "cluster_name": "prod-01", field: value}
    response = ask(**data)

    assert field in errors_of(response)
    assert f'id="id_{field}_errors" role="alert"' in text_of(response)
    assert response.context["allocate_form"]["cluster_name"].value() == data["cluster_name"]
    assert not Allocation.objects.exists()


def test_a_site_of_another_vrf_is_an_error(ask, pool):
    other = make_pool("Network2", "Site1")

    assert list(errors_of(ask(pool, vrf=other.vrf_id))) == ["pool"]
    assert not Allocation.objects.exists()


def test_a_vrf_narrows_the_sites(client, user, pool):
    client.force_login(user)
    other = make_pool("Network2", "Site2", segments=1)
    near = make_pool("Network2", "Site1", segments=1, vid_ranges=((1000, 1099),), container="10.1.0.0/16")
    both = [(str(near.pk), "Site1"), (str(other.pk), "Site2")]
    response = client.get(URL)
    assert [key for key, _label in options(response, "vrf")] == ["", str(pool.vrf_id), str(other.vrf_id)]
    assert options(response)[1:] == [
        ("Network1", [(str(pool.pk), "Site1 in Network1")]),
        ("Network2", [(key, f"{site} in Network2") for key, site in both]),
    ]

    text = text_of(client.get(URL, {"vrf": other.vrf_id, "pool": near.pk}, headers=HTMX))
    assert re.findall(r'<option value="(\d+)"\s*(selected)?\s*>(\w+)', text) == [
        (str(near.pk), "selected", "Site1"),
        (str(other.pk), "", "Site2"),
    ]
    assert "<html" not in text
    assert text.count("<optgroup") == 0
    text = text_of(client.get(URL, {"vrf": ""}, headers=HTMX))
    assert re.findall(r'<optgroup label="(\w+)"', text) == ["Network1", "Network2"]
    for vrf in ("0", "x", "\0"):
        assert "Site" not in text_of(client.get(URL, {"vrf": vrf}, headers=HTMX)).replace(">Site<", "").replace(
            '"Site"', ""
        )


def test_vrfs_and_places_of_one_name_stay_apart(client, user, pool):
    client.force_login(user)
    for number in (3, 4):
        hall = Location.objects.create(name="Hall", slug=f"hall-{number}", site=make_site(f"Site{number}"))
        make_pool(scope=hall, name=f"Hall of Site{number}", container=f"10.{number}.0.0/16", segments=1)

    same = VRF.objects.create(name="Network1", rd="65000:2")
    make_pool(same, "Site2", name="Other", container="10.1.0.0/16")

    response = client.get(URL)
    assert [label for _key, label in options(response, "vrf")] == ["All VRFs", "Network1", "Network1 (65000:2)"]
    labels = [label for _key, label in options(response)[1][1]]
    assert labels == [f"{site} in Network1" for site in ("Hall: Hall of Site3", "Hall: Hall of Site4", "Site1")]


@pytest.mark.parametrize("headers", [None, HTMX])
def test_an_ended_session_loses_nothing_typed(client, user, pool, headers):
    data = {"vrf": pool.vrf_id, "pool": pool.pk, "cluster_name": "prod ä&1"}
    response = client.post(URL, data, headers=headers)
    login = response.headers["HX-Redirect" if headers else "Location"]
    assert login.startswith("/login/?next=")
    assert not Allocation.objects.exists()

    client.force_login(user)
    form = client.get(parse_qs(urlsplit(login).query)["next"][0]).context["allocate_form"]
    assert {name: form[name].value() for name in data} == {name: str(value) for name, value in data.items()}
    assert not form.errors


def test_a_vrf_chosen_after_the_session_ended_keeps_the_form(client, user, pool):
    login = client.get(URL, {"vrf": pool.vrf_id, "cluster_name": "prod-01"}, headers=HTMX).headers["HX-Redirect"]

    client.force_login(user)
    form = client.get(parse_qs(urlsplit(login).query)["next"][0]).context["allocate_form"]
    assert (form["vrf"].value(), form["cluster_name"].value()) == (str(pool.vrf_id), "prod-01")


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "x" * 100, "עולם שלום", '"><img src=x onerror=alert(1)>']
)
def test_names_are_harmless(client, ask, name):
    site = make_site("Place")
    type(site).objects.filter(pk=site.pk).update(name=name)
    pool = make_pool(VRF.objects.create(name=name), site, name=name, slug="pool", segments=2)
    user = make_user("root", is_superuser=True)
    client.force_login(user)

    response = client.post(URL, {"pool": pool.pk, "cluster_name": name})
    text = text_of(response)
    assert response.context["result"].created
    assert "<script>alert(1)" not in text
    assert "<img src=x" not in text
    if "<" not in name:
        # VRF, site and pool are in the card and the form, the cluster is in the result and the activity.
        assert text.count(name) >= 6


# Cost


def count(client):
    client.get(URL)
    with CaptureQueriesContext(connection) as queries:
        text_of(client.get(URL))
    return len(queries)


@pytest.mark.parametrize(("superuser", "expected"), [(True, 11), (False, 15)])
def test_queries_do_not_grow_with_the_pools(client, superuser, expected):
    user = make_user("alice", is_superuser=superuser)
    if not superuser:
        user = permit(permit(user, SegmentPool, "view", "allocate"), Allocation, "view")
    client.force_login(user)
    counts = []
    for number in range(1, 13):
        pool = make_pool(f"Network{number}", f"Site{number}", segments=2)
        allocate("prod-01", pool=pool, user=make_user(f"user-{number}"))
        allocate("prod-02", pool=pool, user=make_user(f"user-{number}"))
        release("prod-02", pool=pool, user=make_user(f"user-{number}"))
        if number in (2, 12):
            counts.append(count(client))

    assert counts == [expected, expected]


def test_the_plugin_s_own_address_leads_to_the_overview(client):
    response = client.get("/plugins/vlan-manager/")
    assert (response.status_code, response.url) == (302, URL)
