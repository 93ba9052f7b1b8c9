"""Features of the pages beyond allocating and releasing: wishes, previews, leases, cool-down, sharing, forecast."""

import re
from datetime import timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.contrib.messages import get_messages
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import strip_tags

from core.models import ObjectChange
from dcim.models import Site
from netbox_vlan_manager.models import Allocation, PoolSnapshot, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release_allocation, share
from tests.factories import make_pool, make_segment, make_site, make_user, make_vrf, permit

pytestmark = pytest.mark.django_db

ALLOCATE_URL = "/plugins/vlan-manager/allocations/allocate/"
OVERVIEW_URL = "/plugins/vlan-manager/overview/"
STRETCHED_URL = "/plugins/vlan-manager/allocations/stretched/"
POOLS_URL = "/plugins/vlan-manager/pools/"


@pytest.fixture
def pool():
    return make_pool(segments=4)


@pytest.fixture
def admin(client):
    user = make_user("root", is_superuser=True)
    client.force_login(user)
    return user


@pytest.fixture
def user(client, pool):
    """A user who may do everything with segments and allocations of `pool`, but change nothing else."""
    user = permit(make_user("alice"), pool, "view", "allocate", "release")
    user = permit(permit(user, Segment, "view"), Allocation, "view")
    client.force_login(user)
    return user


def configure(pool, **values):
    SegmentPool.objects.filter(pk=pool.pk).update(**values)
    pool.refresh_from_db()


def hold(pool, cluster_name, **asked):
    return allocate(cluster_name, pool=pool, user=make_user(), **asked).allocation


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def errors_of(response):
    assert response.status_code == 200
    return response.context["allocate_form"].errors


def in_days(days):
    return (timezone.localtime() + timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S")


def has_link(client, page, action):
    return f'href="{page.get_absolute_url()}{action}/'.encode() in client.get(page.get_absolute_url()).content


class TestWishes:
    @pytest.mark.parametrize(
        ("asked", "vid"),
        [
            ({"vid": 102}, 102),
            ({"vid_min": 101}, 101),
            ({"vid_min": 102, "vid_max": 103}, 102),
            ({"vid_max": 103}, 100),
        ],
    )
    def test_by_vlan_id(self, client, user, pool, asked, vid):
        client.post(ALLOCATE_URL, {"pool": pool.pk, "cluster_name": "prod-01", **asked})

        assert Allocation.objects.get().vid == vid

    def test_by_prefix_length(self, client, user, pool):
        make_segment(pool, 200, prefix="10.0.200.0/26")
        client.post(ALLOCATE_URL, {"pool": pool.pk, "cluster_name": "prod-01", "prefix_length": 26})

        assert Allocation.objects.get().vid == 200

    def test_with_an_end(self, client, user, pool):
        client.post(ALLOCATE_URL, {"pool": pool.pk, "cluster_name": "prod-01", "expires_at": "2030-01-31 12:00:00"})

        assert timezone.localtime(Allocation.objects.get().expires_at).isoformat()[:19] == "2030-01-31T12:00:00"

    @pytest.mark.parametrize("typed", ["2030-01-31 12:00:00", "2030-01-31T12:00"])
    def test_says_what_became_of_the_end(self, client, user, pool, typed):
        asked = {"pool": pool.pk, "cluster_name": "prod-01", "expires_at": typed}
        preview = client.post(ALLOCATE_URL, {**asked, "_preview": "1"}).content.decode()
        response = client.post(ALLOCATE_URL, asked)

        expected = Allocation.objects.get().describe_expiry()
        assert re.fullmatch(r"until 2030-01-31 12:00 UTC \(in \d+ days\)", expected)
        assert expected in preview
        assert f"The cluster holds it {expected}." in messages_of(response)[0]

    def test_says_when_what_is_held_ends(self, client, user, pool):
        held = hold(pool, "prod-01", expires_at=timezone.now() + timedelta(days=27, minutes=1))
        asked = {"pool": pool.pk, "cluster_name": "prod-01"}
        preview = client.post(ALLOCATE_URL, {**asked, "_preview": "1"}).content.decode()

        assert held.describe_expiry().endswith("(in 27 days)")
        assert held.describe_expiry() in preview
        assert held.describe_expiry() in client.post(OVERVIEW_URL, asked).content.decode()

    def test_takes_the_time_from_the_browsers_own_field(self, client, user, pool):
        page = client.get(ALLOCATE_URL).content.decode()

        assert re.search(r'<input type="datetime-local" name="expires_at"[^>]*>', page)
        assert "in the time zone UTC" in page

    @pytest.mark.parametrize(
        ("asked", "field"),
        [
            ({"vid": 0}, "vid"),
            ({"vid": 4095}, "vid"),
            ({"vid": "x"}, "vid"),
            ({"vid": 100, "vid_min": 100}, "vid"),
            ({"vid_min": 103, "vid_max": 101}, "vid_max"),
            ({"prefix_length": 129}, "prefix_length"),
            ({"expires_at": "2001-01-01 00:00:00"}, "expires_at"),
            ({"expires_at": "3001-01-01 00:00:00"}, "expires_at"),
            ({"expires_at": "soon"}, "expires_at"),
            ({"prefix_length": 30}, "__all__"),
            ({"vid_min": 500}, "__all__"),
            # The pool has no segment with this VLAN ID.
            ({"vid": 500}, "vid"),
        ],
    )
    @pytest.mark.parametrize("button", ["_preview", "_allocate"])
    def test_what_cannot_be_had_is_said_at_its_field(self, client, user, pool, asked, field, button):
        response = client.post(ALLOCATE_URL, {"pool": pool.pk, "cluster_name": "prod-01", button: "", **asked})

        assert list(errors_of(response)) == [field]
        for name, value in asked.items():
            assert response.context["allocate_form"][name].value() == str(value)
        assert not Allocation.objects.exists()

    def test_a_vlan_id_that_another_cluster_holds(self, client, user, pool):
        hold(pool, "secret-cluster", vid=101)
        response = client.post(ALLOCATE_URL, {"pool": pool.pk, "cluster_name": "prod-01", "vid": 101})

        assert "is allocated to another cluster" in errors_of(response)["vid"][0]
        assert b"secret-cluster" not in response.content

    def test_a_cluster_that_holds_another_segment(self, client, user, pool):
        hold(pool, "prod-01")

        response = client.post(ALLOCATE_URL, {"pool": pool.pk, "cluster_name": "prod-01", "vid": 101})
        assert "holds VLAN ID 100" in errors_of(response)["vid"][0]
        response = client.post(ALLOCATE_URL, {"pool": pool.pk, "cluster_name": "prod-01", "vid_min": 101})
        assert "holds VLAN ID 100" in errors_of(response)["__all__"][0]

    def test_limit(self, client, user, pool):
        configure(pool, max_per_cluster=1)
        hold(pool, "prod-01")
        response = client.post(ALLOCATE_URL, {"pool": pool.pk, "cluster_name": "prod-01", "purpose": "bmc"})

        assert "allows a cluster 1" in errors_of(response)["__all__"][0]


class TestPreview:
    def test_shows_and_changes_nothing(self, client, user, pool):
        changes = ObjectChange.objects.count()
        typed = {"pool": pool.pk, "cluster_name": "prod-01", "vid_min": 102, "description": "kept", "_preview": ""}
        response = client.post(ALLOCATE_URL, typed)

        ((allocation, created),) = response.context["preview"]
        assert (allocation.vid, allocation.pk, created) == (102, None, True)
        content = response.content.decode()
        assert "EPG_102" in content
        assert "10.0.2.0/24" in content
        assert "would be allocated" in content
        form = response.context["allocate_form"]
        assert [form[name].value() for name in ("cluster_name", "vid_min", "description")] == ["prod-01", "102", "kept"]
        assert not Allocation.objects.exists()
        assert set(Segment.objects.values_list("status", flat=True)) == {"available"}
        assert ObjectChange.objects.count() == changes

    def test_what_is_held_already(self, client, user, pool):
        hold(pool, "prod-01")
        response = client.post(ALLOCATE_URL, {"pool": pool.pk, "cluster_name": "prod-01", "_preview": ""})

        assert "already held" in response.content.decode()

    def test_of_another_pool_is_forbidden(self, client, user):
        other = make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
        response = client.post(ALLOCATE_URL, {"pool": other.pk, "cluster_name": "prod-01", "_preview": ""})

        assert response.status_code == 403


class TestStretched:
    @pytest.fixture
    def other(self):
        return make_pool(scope="Site2", container="10.1.0.0/16", segments=4)

    @pytest.fixture
    def both(self, client, user, pool, other):
        client.force_login(permit(user, other, "allocate"))
        make_segment(pool, 300, 100)
        make_segment(other, 300, 100)
        return {"vrf": pool.vrf.pk, "pools": [pool.pk, other.pk], "cluster_name": "prod-01"}

    def test_one_vlan_id_everywhere(self, client, both, pool, other):
        hold(pool, "x", vid=100)
        hold(other, "y", vid=101)
        response = client.post(STRETCHED_URL, both)

        held = Allocation.objects.filter(cluster_name="prod-01")
        assert [allocation.vid for allocation in held] == [102, 102]
        assert messages_of(response) == ["Cluster prod-01 now holds VLAN 102 in each of 2 pools."]
        table = client.get(response.url).context["table"]
        assert {row.record for row in table.rows} == set(held)

        response = client.post(STRETCHED_URL, both)
        assert messages_of(response)[-1].startswith("Cluster prod-01 already holds VLAN 102")
        assert Allocation.objects.count() == 4

    def test_preview(self, client, both):
        response = client.post(STRETCHED_URL, {**both, "vid": 300, "_preview": ""})

        assert [allocation.vid for allocation, _ in response.context["preview"]] == [300, 300]
        assert response.context["allocate_form"]["pools"].value() == [str(pk) for pk in both["pools"]]
        assert not Allocation.objects.exists()

    def test_all_or_none(self, client, both, other):
        hold(other, "x", vid=300)

        assert list(errors_of(client.post(STRETCHED_URL, {**both, "vid": 300}))) == ["vid"]
        assert Allocation.objects.count() == 1

    def test_wrong_choices(self, client, both, pool):
        elsewhere = make_pool(vrf="Network2", container="10.2.0.0/16", segments=1)
        client.force_login(permit(make_user("alice"), elsewhere, "allocate"))

        for pools in ([pool.pk], [], [pool.pk, pool.pk], [pool.pk, elsewhere.pk], [pool.pk, 0]):
            assert list(errors_of(client.post(STRETCHED_URL, {**both, "pools": pools}))) == ["pools"]
        for vrf in ("", "x", "0"):
            assert "vrf" in errors_of(client.post(STRETCHED_URL, {**both, "vrf": vrf}))
        assert not Allocation.objects.exists()

    def test_needs_the_permission_on_each_pool(self, client, user, pool, other):
        data = {"vrf": pool.vrf.pk, "pools": [pool.pk, other.pk], "cluster_name": "prod-01"}

        assert list(errors_of(client.post(STRETCHED_URL, data))) == ["pools"]
        assert str(other).encode() not in client.get(STRETCHED_URL).content
        client.force_login(permit(make_user("bob"), SegmentPool, "view"))
        assert client.get(STRETCHED_URL).status_code == 403
        assert client.post(STRETCHED_URL, data).status_code == 403

    def test_a_vrf_narrows_the_pools(self, client, both, user):
        vrf = make_pool(vrf="Network2", container="10.2.0.0/16").vrf
        make_vrf("Unused")
        client.force_login(permit(make_user("alice"), SegmentPool, "allocate", constraints={"vrf": vrf.pk}))

        form = client.get(STRETCHED_URL).context["allocate_form"]
        assert [str(choice) for choice in form.fields["vrf"].queryset] == ["Network1", "Network2"]
        assert form.fields["pools"].queryset.count() == 3
        part = client.get(STRETCHED_URL, {"vrf": vrf.pk, "cluster_name": "kept"}, headers={"HX-Request": "true"})
        assert [str(pool) for pool in part.context["form"].fields["pools"].queryset] == ["Network2 Site1"]
        assert b"<html" not in part.content

    def test_is_linked_from_the_form(self, client, user):
        assert f'href="{STRETCHED_URL}"'.encode() in client.get(ALLOCATE_URL).content

    def test_many_pools_take_no_more_queries(self, client, admin, pool, other):
        client.get(STRETCHED_URL)
        with CaptureQueriesContext(connection) as few:
            client.get(STRETCHED_URL)
        for number in range(3, 7):
            make_pool(scope=f"Site{number}", container=f"10.{number}.0.0/16")
        with CaptureQueriesContext(connection) as many:
            client.get(STRETCHED_URL)

        assert len(many) == len(few)


class TestRenew:
    @pytest.fixture
    def held(self, pool):
        return hold(pool, "prod-01", expires_at=timezone.now() + timedelta(days=1))

    def renew(self, client, held, expires_at, **data):
        return client.post(f"{held.get_absolute_url()}renew/", {"confirm": True, "expires_at": expires_at, **data})

    def test_another_end(self, client, user, held):
        time = in_days(30)
        response = self.renew(client, held, time, changelog_message="Ticket 9")

        assert response.url == held.get_absolute_url()
        assert f"is held until {time[:16]} UTC" in messages_of(response)[0]
        held.refresh_from_db()
        assert timezone.localtime(held.expires_at).strftime("%Y-%m-%d %H:%M:%S") == time
        change = ObjectChange.objects.get(changed_object_id=held.pk, action="update")
        assert (change.user, change.message) == (user, "Ticket 9")

    def test_no_end(self, client, user, held):
        assert "no longer expires" in messages_of(self.renew(client, held, ""))[0]
        held.refresh_from_db()
        assert held.expires_at is None

    @pytest.mark.parametrize("expires_at", ["2001-01-01 00:00:00", "3001-01-01 00:00:00", "soon"])
    def test_wrong_times(self, client, user, held, expires_at):
        response = self.renew(client, held, expires_at)

        assert list(response.context["form"].errors) == ["expires_at"]
        assert response.context["form"]["expires_at"].value() == expires_at

    def test_a_released_one(self, client, user, held):
        release_allocation(held, user=user)

        assert "was released" in self.renew(client, held, in_days(3)).content.decode()
        assert not has_link(client, held, "renew")

    def test_needs_the_permission_to_allocate(self, client, user, held):
        assert has_link(client, held, "renew")
        bob = permit(permit(make_user("bob"), Allocation, "view"), SegmentPool, "view", "release")
        client.force_login(bob)

        assert not has_link(client, held, "renew")
        assert client.get(f"{held.get_absolute_url()}renew/").status_code == 403
        assert self.renew(client, held, "").status_code == 403
        client.force_login(permit(make_user("carol"), SegmentPool, "allocate"))
        assert self.renew(client, held, "").status_code == 403

    def test_shows_what_ends_now(self, client, user, held):
        page = client.get(f"{held.get_absolute_url()}renew/")

        assert timezone.localtime(held.expires_at).strftime("%Y-%m-%dT%H:%M:%S") in page.content.decode()


def test_an_allocation_says_how_it_ended(client, user, pool):
    held = hold(pool, "prod-01")
    release_allocation(held, user=None, reason="expired")
    content = client.get(held.get_absolute_url()).content.decode()

    assert "Release reason" in content
    assert "Expired" in content


class TestQuarantine:
    @pytest.fixture
    def segment(self, pool):
        configure(pool, cooldown=3600)
        segment = hold(pool, "prod-01").segment
        release_allocation(segment.allocations.get(), user=make_user())
        segment.refresh_from_db()
        assert segment.status == "quarantined"
        return segment

    @pytest.fixture
    def changer(self, client, segment):
        user = permit(make_user("carol"), segment, "view", "change")
        client.force_login(user)
        return user

    def end(self, client, segment):
        return client.post(f"{segment.get_absolute_url()}end-quarantine/", {"confirm": True, "changelog_message": "T1"})

    def test_page_says_until_when(self, client, changer, segment):
        time = timezone.localtime(segment.quarantined_until).strftime("%Y-%m-%d %H:%M")

        assert f"Until {time}" in strip_tags(client.get(segment.get_absolute_url()).content.decode())
        page = client.get(f"{segment.get_absolute_url()}end-quarantine/").content.decode()
        assert f"Quarantined until {time}" in strip_tags(page)
        assert Segment.objects.get(pk=segment.pk).status == "quarantined"

    def test_ends(self, client, changer, segment):
        response = self.end(client, segment)

        assert response.url == segment.get_absolute_url()
        assert messages_of(response) == ["Ended the quarantine of segment EPG_100 (100)."]
        segment.refresh_from_db()
        assert (segment.status, segment.quarantined_until) == ("available", None)
        change = ObjectChange.objects.filter(changed_object_id=segment.pk, user=changer).get()
        assert change.message == "T1"
        assert messages_of(self.end(client, segment))[-1] == "Segment EPG_100 (100) was not quarantined."

    def test_permission(self, client, changer, user, segment):
        client.force_login(changer)
        assert has_link(client, segment, "end-quarantine")
        client.force_login(user)
        assert not has_link(client, segment, "end-quarantine")
        assert self.end(client, segment).status_code == 403

    def test_no_button_without_a_quarantine(self, client, admin, pool):
        assert not has_link(client, Segment.objects.get(vid=102), "end-quarantine")

    def test_release_says_that_it_cools_down(self, client, user, pool):
        configure(pool, cooldown=3600)
        held = hold(pool, "prod-01")

        assert b"quarantined for the pool" in client.get(f"{held.get_absolute_url()}release/").content


class TestShare:
    @pytest.fixture
    def segment(self, pool):
        return hold(pool, "prod-01").segment

    def share(self, client, segment, cluster_name="prod-02", **data):
        return client.post(
            f"{segment.get_absolute_url()}share/", {"confirm": True, "cluster_name": cluster_name, **data}
        )

    def test_one_more_cluster_holds_it(self, client, user, segment):
        response = self.share(client, segment, " prod-02", purpose="Storage", changelog_message="T2")

        assert messages_of(response) == ["Cluster prod-02 now holds segment EPG_100 (100)."]
        held = Allocation.objects.get(cluster_name="prod-02")
        assert (held.segment, held.purpose, held.shared) == (segment, "storage", True)
        assert segment.allocations.active().count() == 2
        assert messages_of(self.share(client, segment, purpose="storage"))[-1].startswith("Cluster prod-02 already")

    def test_an_available_one_is_allocated(self, client, user, segment):
        free = Segment.objects.get(vid=101)
        self.share(client, free)

        assert Segment.objects.get(pk=free.pk).status == "allocated"

    def test_what_cannot_be(self, client, user, pool, segment):
        hold(pool, "prod-02")

        response = self.share(client, segment)
        assert "holds VLAN ID 101" in response.context["form"].non_field_errors()[0]
        assert "holds VLAN ID 101" in response.content.decode()
        assert list(self.share(client, segment, "a,b").context["form"].errors) == ["cluster_name"]
        assert segment.allocations.active().count() == 1

    def test_permission(self, client, user, segment):
        assert has_link(client, segment, "share")
        client.force_login(permit(permit(make_user("bob"), Segment, "view", "change"), SegmentPool, "view", "release"))

        assert not has_link(client, segment, "share")
        assert client.get(f"{segment.get_absolute_url()}share/").status_code == 403
        assert self.share(client, segment).status_code == 403
        client.force_login(permit(make_user("carol"), SegmentPool, "allocate"))
        assert self.share(client, segment).status_code == 403

    def test_no_button_for_one_that_is_out_of_use(self, client, admin, segment):
        Segment.objects.filter(vid=101).update(status="disabled")

        assert not has_link(client, Segment.objects.get(vid=101), "share")

    def test_no_button_for_one_that_nobody_holds(self, client, user, segment):
        assert not has_link(client, Segment.objects.get(vid=101), "share")

    def test_page_lists_all_holders_that_the_user_may_view(self, client, user, segment):
        for number in range(2, 5):
            share(segment, f"prod-0{number}", user=user)
        content = client.get(segment.get_absolute_url()).content.decode()
        assert all(f"prod-0{number}</a>" in content for number in range(1, 5))
        assert content.count('aria-label="Release prod-') == 4

        bob = permit(make_user("bob"), Segment, "view")
        bob = permit(bob, Allocation, "view", constraints={"cluster_name__in": ["prod-02", "prod-03"]})
        client.force_login(bob)
        content = client.get(segment.get_absolute_url()).content.decode()
        assert "prod-02</a>" in content
        assert "prod-01" not in content
        assert "prod-04" not in content
        assert 'aria-label="Release' not in content

    def test_more_holders_take_no_more_queries(self, client, user, segment):
        share(segment, "prod-02", user=user)
        client.get(segment.get_absolute_url())
        with CaptureQueriesContext(connection) as few:
            client.get(segment.get_absolute_url())
        for number in range(3, 8):
            share(segment, f"prod-0{number}", user=user)
        with CaptureQueriesContext(connection) as many:
            client.get(segment.get_absolute_url())

        assert len(many) == len(few)


class TestPool:
    VALUES = {
        "allocation_order": "highest",
        "cooldown": 3600,
        "release_in_use": "refuse",
        "max_per_cluster": 2,
        "max_per_tenant": 20,
        "max_per_request": 5,
    }

    def form_data(self, **values):
        vrf, site = make_vrf(), make_site("Site9")
        return {
            "name": "Pool X",
            "slug": "pool-x",
            "status": "active",
            "vrf": vrf.pk,
            "scope_content_type": ContentType.objects.get_for_model(Site).pk,
            "scope_object_id": site.pk,
            "new_prefixes": "10.9.0.0/16",
            **values,
        }

    def values_of(self, pool):
        return SegmentPool.objects.filter(pk=pool.pk).values(*self.VALUES).get()

    def test_add(self, client, admin):
        client.post(f"{POOLS_URL}add/", self.form_data(**self.VALUES))

        assert self.values_of(SegmentPool.objects.get()) == self.VALUES

    def test_add_with_defaults(self, client, admin):
        client.post(f"{POOLS_URL}add/", self.form_data(cooldown="", allocation_order="", max_per_cluster=""))

        assert list(self.values_of(SegmentPool.objects.get()).values()) == ["lowest", 0, "allow", None, None, None]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("allocation_order", "best"),
            ("cooldown", -1),
            ("cooldown", 10**9),
            ("max_per_cluster", 0),
            ("max_per_tenant", 99999),
            ("max_per_request", "x"),
        ],
    )
    def test_wrong_values(self, client, admin, field, value):
        response = client.post(f"{POOLS_URL}add/", self.form_data(**{field: value}))

        assert list(response.context["form"].errors) == [field]

    def test_bulk_edit(self, client, admin, pool):
        client.post(f"{POOLS_URL}edit/", {"pk": [pool.pk], "_apply": "", **self.VALUES})
        assert self.values_of(pool) == self.VALUES

        client.post(f"{POOLS_URL}edit/", {"pk": [pool.pk], "_apply": "", "_nullify": ["max_per_cluster"]})
        assert self.values_of(pool) == {**self.VALUES, "max_per_cluster": None}

    def test_import(self, client, admin, pool):
        columns = ",".join(self.VALUES)
        values = ",".join(map(str, self.VALUES.values()))
        site = make_site("Site9")
        for data in (
            f"name,vrf,scope_type,scope_id,prefixes,{columns}\nNew,Network1,dcim.site,{site.pk},10.9.0.0/16,{values}",
            f"id,{columns}\n{pool.pk},{values}",
        ):
            response = client.post(
                f"{POOLS_URL}import/", {"import_method": "direct", "data": data, "format": "csv", "csv_delimiter": ","}
            )
            assert response.status_code == 302
        assert self.values_of(pool) == self.values_of(SegmentPool.objects.get(name="New")) == self.VALUES

    def test_page(self, client, user, pool):
        configure(pool, cooldown=90061, allocation_order="random", max_per_cluster=7, level="critical")
        content = client.get(pool.get_absolute_url()).content.decode()

        assert "1d 1h 1m 1s" in content
        assert "Random" in content
        assert ">Critical</span>" in content

    @pytest.mark.parametrize(
        "query", ["level=critical", "allocation_order=random", "level=critical&allocation_order=random"]
    )
    def test_filters(self, client, user, admin, pool, query):
        make_pool(scope="Site2", container="10.1.0.0/16")
        configure(pool, allocation_order="random", level="critical")

        assert [row.record for row in client.get(f"{POOLS_URL}?{query}").context["table"].rows] == [pool]


class TestForecast:
    def make_history(self, pool, *allocated):
        today = timezone.localdate()
        PoolSnapshot.objects.bulk_create(
            PoolSnapshot(
                pool=pool,
                date=today - timedelta(days=days),
                total_segments=4,
                allocated=count,
                available=4 - count,
                quarantined=0,
                disabled=0,
            )
            for days, count in enumerate(reversed(allocated), start=1)
        )

    def text_of(self, client, pool):
        content = client.get(pool.get_absolute_url()).content.decode()
        return " ".join(content.split("Show as table")[-1].split("card-footer")[-1].split("<i ")[0].split())

    def test_fills_up(self, client, user, pool):
        for number in (1, 2):
            hold(pool, f"prod-0{number}")
        self.make_history(pool, 0, 0, 1, 1)

        text = self.text_of(client, pool)
        assert "Exhausted in about 4 days" in text
        assert "(confidence 32%, from 5 days)" in text

    def test_does_not(self, client, user, pool):
        self.make_history(pool, 3, 2, 1)

        assert "Does not fill up" in self.text_of(client, pool)

    def test_is_exhausted(self, client, user, pool):
        for number in range(4):
            hold(pool, f"prod-0{number}")
        self.make_history(pool, 3, 3)

        assert "Exhausted." in self.text_of(client, pool)

    def test_nothing_without_a_history(self, client, user, pool):
        assert "Exhausted" not in client.get(pool.get_absolute_url()).content.decode()
        assert "fill up" not in client.get(pool.get_absolute_url()).content.decode()


def test_dual_stack_shows_both_prefixes(client, user, pool):
    segment = Segment.objects.get(vid=100)
    ipv6 = type(segment.prefix).objects.create(prefix="2001:db8::/64", vrf=pool.vrf)
    Segment.objects.filter(pk=segment.pk).update(ipv6_prefix=ipv6)
    held = hold(pool, "prod-01")

    assert b"2001:db8::/64" in client.get(segment.get_absolute_url()).content
    assert b"2001:db8::/64" in client.get(held.get_absolute_url()).content


class TestHandOver:
    def test_hand_over_then_release_then_undo(self, client, user, pool):
        old = hold(pool, "prod-01")
        assert has_link(client, old, "hand-over")
        assert not has_link(client, old, "undo-release")

        url = f"{old.get_absolute_url()}hand-over/"
        response = client.post(url, {"confirm": True, "cluster_name": "prod-02"})
        new = Allocation.objects.get(cluster_name="prod-02")
        assert response.url == new.get_absolute_url()
        assert messages_of(response) == ["Handed over: prod-02: EPG_100 (100)."]
        assert "Handed over" in client.get(old.get_absolute_url()).content.decode()
        assert not has_link(client, old, "hand-over")

        release_allocation(new, user=user)
        assert has_link(client, new, "undo-release")
        response = client.post(f"{new.get_absolute_url()}undo-release/", {"confirm": True})
        again = Allocation.objects.active().get()
        assert (response.url, again.cluster_name, again.vid) == (again.get_absolute_url(), "prod-02", 100)
        assert not has_link(client, new, "undo-release")

    def test_an_error_is_shown_on_the_form(self, client, user, pool):
        old = hold(pool, "prod-01")
        hold(pool, "prod-02")
        response = client.post(f"{old.get_absolute_url()}hand-over/", {"confirm": True, "cluster_name": "prod-02"})

        assert "Cluster prod-02 holds VLAN ID 101" in response.content.decode()

    @pytest.mark.parametrize("action", ["allocate", "release"])
    def test_it_takes_both_permissions(self, client, pool, action):
        old = hold(pool, "prod-01")
        bob = permit(permit(make_user("bob"), SegmentPool, "view", action), Allocation, "view")
        client.force_login(bob)

        assert not has_link(client, old, "hand-over")
        assert client.get(f"{old.get_absolute_url()}hand-over/").status_code == 403
        assert client.post(f"{old.get_absolute_url()}hand-over/", {"confirm": True}).status_code == 403
