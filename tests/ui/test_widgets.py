import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from extras.dashboard.utils import get_dashboard, get_widget_class
from ipam.models import VRF
from netbox.registry import registry
from netbox_vlan_manager.models import Allocation, SegmentPool
from netbox_vlan_manager.services import allocate, release
from netbox_vlan_manager.widgets import PoolUtilizationWidget, RecentAllocationsWidget
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db

POOLS = "netbox_vlan_manager.PoolUtilizationWidget"
RECENT = "netbox_vlan_manager.RecentAllocationsWidget"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def user():
    return permit(permit(make_user("alice"), SegmentPool, "view"), Allocation, "view")


@pytest.fixture
def shown(client):
    """A function that returns the text of a widget, the only one on the user's home page."""

    def shown(user, name, config=None):
        dashboard = get_dashboard(user)
        dashboard.layout, dashboard.config = [], {}
        dashboard.add_widget(get_widget_class(name)(config=config))
        dashboard.save()
        client.force_login(user)
        text = client.get("/").content.decode()
        text = text[text.index('<div class="grid-stack ') : text.index('id="unlock_dashboard"')]
        return text[text.index("overflow-auto") :]

    return shown


def words(text):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))


def test_registered():
    assert registry["widgets"][POOLS] is PoolUtilizationWidget
    assert registry["widgets"][RECENT] is RecentAllocationsWidget


def test_pools_by_utilization(shown, user):
    make_pool(scope="Site1", container="10.1.0.0/16", segments=2)
    full = make_pool(scope="Site2", container="10.2.0.0/16", segments=1)
    allocate("prod-01", pool=full, user=make_user())

    text = shown(user, POOLS)
    assert "Network1 Site2 0 of 1 available 100.0% Network1 Site1 2 of 2 available 0.0%" in words(text)
    assert full.get_absolute_url() in text
    assert re.findall(r'class="progress-bar (\S+)"', text) == ["bg-danger", "bg-success"]
    SegmentPool.objects.filter(pk=full.pk).update(warning_threshold=100, critical_threshold=100)
    assert "bg-danger" in shown(user, POOLS)


def test_pools_are_limited_in_number_and_to_a_vrf(shown, user):
    for number in range(1, 4):
        make_pool("Network1", f"Site{number}", container=f"10.{number}.0.0/16")
    other = make_pool("Network2", "Site1")

    text = words(shown(user, POOLS, {"max_items": 2, "vrf": None}))
    assert ("Network1 Site1" in text, "Network1 Site2" in text, "Network1 Site3" in text) == (True, True, False)
    text = words(shown(user, POOLS, {"max_items": 10, "vrf": other.vrf_id}))
    assert ("Network2 Site1" in text, "Network1" in text) == (True, False)


def test_activity(shown, user):
    pool = make_pool(segments=2)
    allocate("prod-01", pool=pool, user=make_user("bob"))
    release("prod-01", pool=pool, user=make_user("carol"))
    Allocation.objects.update(allocated_at="2026-01-02T03:04Z", released_at="2026-02-03T04:05Z")

    text = words(shown(user, RECENT))
    assert text.index("Released 2026-02-03 04:05 by carol") < text.index("Allocated 2026-01-02 03:04 by bob")
    assert "Allocated 2026" not in shown(user, RECENT, {"max_items": 1})


def test_only_what_the_user_may_view(shown):
    make_pool("Network1", "Site1", segments=1)
    theirs = make_pool("Secret", "Hidden", container="10.66.0.0/16", segments=1)
    allocate("spy-01", pool=theirs, user=make_user("mallory"))
    user = permit(make_user("bob"), SegmentPool, "view", constraints={"vrf__name": "Network1"})
    user = permit(user, Allocation, "view", constraints={"vrf_name": "Network1"})

    for config in (None, {"max_items": 5, "vrf": theirs.vrf_id}):
        assert "Secret" not in shown(user, POOLS, config)
    text = shown(user, RECENT)
    assert "spy-01" not in text
    assert "Nothing was allocated or released yet." in text


def test_who_may_view_nothing_is_told_so(shown):
    allocate("prod-01", pool=make_pool(segments=1), user=make_user("bob"))

    assert "You may not view segment pools." in shown(make_user("eve"), POOLS)
    assert "You may not view allocations." in shown(make_user("eve"), RECENT)


def test_no_pools(shown, user):
    assert "No segment pools to show" in shown(user, POOLS)


def test_names_are_escaped(shown, user):
    pool = make_pool(name="<script>alert(1)</script>", slug="pool", segments=1)
    allocate("<script>alert(2)</script>", pool=pool, user=make_user())

    for name in (POOLS, RECENT):
        text = shown(user, name)
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text


def test_added_and_configured_on_the_home_page(client, user):
    secret = VRF.objects.create(name="Secret")
    vrf = make_pool().vrf
    user = permit(user, VRF, "view", constraints={"name": vrf.name})
    client.force_login(user)
    get_dashboard(user)
    text = client.get("/extras/dashboard/widgets/add/", {"widget_class": POOLS}, headers=HTMX).content.decode()
    assert re.search(rf'<option value="{vrf.pk}"\s*>{vrf}</option>', text)
    assert "Secret" not in text

    form = {"widget_class": POOLS, "config-max_items": 3, "config-vrf": vrf.pk}
    assert client.post("/extras/dashboard/widgets/add/", {**form, "config-vrf": secret.pk}, headers=HTMX).content
    assert client.post("/extras/dashboard/widgets/add/", form, headers=HTMX).headers["HX-Redirect"] == "/"
    dashboard = get_dashboard(type(user).objects.get(pk=user.pk))
    configs = {key: value for key, value in dashboard.config.items() if value["class"] == POOLS}
    ((key, widget),) = configs.items()
    assert (widget["config"], widget["title"]) == ({"max_items": 3, "vrf": vrf.pk}, "Pool Utilization")

    url = f"/extras/dashboard/widgets/{key}/configure/"
    assert re.search(rf'<option value="{vrf.pk}"\s+selected\s*>', client.get(url, headers=HTMX).content.decode())
    client.post(url, {"config-max_items": 4, "config-vrf": ""}, headers=HTMX)
    dashboard.refresh_from_db()
    assert dashboard.config[key]["config"] == {"max_items": 4, "vrf": None}


@pytest.mark.parametrize("name", [POOLS, RECENT])
def test_queries_do_not_grow_with_the_rows(client, shown, user, name):
    counts = []
    for number in range(1, 7):
        pool = make_pool(f"Network{number}", segments=1)
        allocate("prod-01", pool=pool, user=make_user(f"user-{number}"))
        if number in (2, 6):
            shown(user, name)
            with CaptureQueriesContext(connection) as queries:
                client.get("/")
            counts.append(len(queries))

    assert counts[0] == counts[1]
