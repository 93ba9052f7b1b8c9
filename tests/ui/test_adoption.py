import html
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from netaddr import IPNetwork

from ipam.models import VLAN, IPAddress, Prefix
from netbox_vlan_manager.exceptions import Busy
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services.onboarding import adoption
from tests.factories import make_pool, make_user, permit

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    return make_pool(vid_ranges=((100, 4094),))


@pytest.fixture
def user(client):
    user = make_user("alice")
    for model in (SegmentPool, Prefix, VLAN):
        user = permit(user, model, "view")
    user = permit(user, Segment, "view", "add")
    client.force_login(user)
    return user


def url_of(pool):
    return reverse("plugins:netbox_vlan_manager:segmentpool_adopt", kwargs={"pk": pool.pk})


def make_candidate(pool, vid, number=None):
    vlan = VLAN.objects.create(group=pool.vlan_group, vid=vid, name=f"web_{vid}")
    number = vid - 100 if number is None else number
    network = IPNetwork(f"10.0.{number // 16 % 256}.{number % 16 * 16}/28")
    return Prefix.objects.create(prefix=network, vrf=pool.vrf, vlan=vlan)


def text_of(response):
    """Return the text of a page, without tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def boxes_of(response):
    return [int(pk) for pk in re.findall(r'name="pk" value="(\d+)"', response.content.decode())]


class TestPage:
    def test_candidates_with_reasons_and_conflicts(self, client, user, pool):
        good, bad = make_candidate(pool, 105), make_candidate(pool, 99, 9)
        response = client.get(url_of(pool))
        assert boxes_of(response) == [good.pk]
        text = text_of(response)
        assert (
            "web_105 (105) 10.0.0.80/28 Available As shown Available Disabled Prefix 10.0.0.80/28 is in VRF Network1"
            in text
        )
        assert "web_99 (99) 10.0.0.144/28 Conflict VLAN ID 99 is not in VLAN group" in text
        assert f'href="{bad.get_absolute_url()}"' in response.content.decode()
        assert "Adopt all 1" in text

    def test_tabs(self, client, user, pool):
        make_candidate(pool, 105)
        make_candidate(pool, 99, 9)
        assert "web_99" not in text_of(client.get(url_of(pool), {"show": "ready"}))
        assert "web_105" not in text_of(client.get(url_of(pool), {"show": "conflicts"}))
        assert "web_105" in text_of(client.get(url_of(pool), {"show": "whatever"}))

    def test_empty(self, client, user, pool):
        text = text_of(client.get(url_of(pool)))
        assert "There is nothing to adopt" in text
        assert "It is in VRF Network1." in text
        assert "inside a container of the pool: 10.0.0.0/16" in text
        assert "Adopt selected" not in text

    def test_pages_and_statements(self, client, user, pool):
        numbers = []
        for vids in (range(100, 160), range(160, 400)):
            for vid in vids:
                make_candidate(pool, vid)
            with CaptureQueriesContext(connection) as queries:
                response = client.get(url_of(pool), {"per_page": 50, "page": 2})
            assert len(boxes_of(response)) == min(50, VLAN.objects.count() - 50)
            numbers.append(len(queries))
        assert numbers[1] <= numbers[0]
        assert "Showing 51-100 of 300" in text_of(response)

    def test_who_may_not(self, client, pool):
        client.force_login(permit(make_user("bob"), SegmentPool, "view"))
        assert client.get(url_of(pool)).status_code == 403
        assert client.post(url_of(pool), {"_all": "1"}).status_code == 403
        client.force_login(permit(make_user("carol"), Segment, "add"))
        assert client.get(url_of(pool)).status_code == 403
        assert not Segment.objects.exists()

    def test_button_on_the_pools_page(self, client, user, pool):
        assert url_of(pool) in client.get(pool.get_absolute_url()).content.decode()
        client.force_login(permit(make_user("bob"), SegmentPool, "view"))
        assert url_of(pool) not in client.get(pool.get_absolute_url()).content.decode()


class TestDeciding:
    @pytest.fixture
    def prefixes(self, pool):
        prefixes = [make_candidate(pool, vid) for vid in (105, 106, 107)]
        IPAddress.objects.create(address=IPNetwork("10.0.0.81/28"), vrf=pool.vrf)
        VLAN.objects.filter(vid=106).update(status="reserved")
        return prefixes

    def test_what_each_will_be(self, client, user, pool, prefixes):
        text = text_of(client.get(url_of(pool)))
        assert "web_105 (105) 10.0.0.80/28 Disabled something that you may not view" in text
        assert "web_106 (106) 10.0.0.96/28 Disabled VLAN reserved" in text
        assert "web_107 (107) 10.0.0.112/28 Available" in text
        client.force_login(permit(user, IPAddress, "view"))
        assert "web_105 (105) 10.0.0.80/28 Disabled 1 IP address" in text_of(client.get(url_of(pool)))

    def test_clusters_are_asked_for_of_who_may_allocate(self, client, user, pool, prefixes):
        assert "cluster_" not in client.get(url_of(pool)).content.decode()
        client.force_login(permit(user, pool, "allocate"))
        assert f'name="cluster_{prefixes[0].pk}"' in client.get(url_of(pool)).content.decode()

    def test_preview_carries_decisions_on(self, client, user, pool, prefixes):
        client.force_login(permit(user, pool, "allocate"))
        first, second, third = (prefix.pk for prefix in prefixes)
        data = {f"as_{first}": "available", f"cluster_{third}": "prod-01", f"as_{second}": "", "as": "disabled"}
        response = client.post(url_of(pool), {"_preview_all": "", **data})
        text = text_of(response)
        for shown in ("10.0.0.80/28 Available", "10.0.0.96/28 Disabled", "10.0.0.112/28 Allocated"):
            assert shown in text
        hidden = dict(
            re.findall(
                r'<input type="hidden" name="(_all|as\w*|cluster_\d+)" value="([^"]*)"', response.content.decode()
            )
        )
        assert hidden == {"_all": "1", "as": "disabled", f"as_{first}": "available", f"cluster_{third}": "prod-01"}
        client.post(url_of(pool), {"_adopt": "", **hidden})
        assert list(Segment.objects.values_list("status", flat=True)) == ["available", "disabled", "allocated"]
        assert Allocation.objects.get().cluster_name == "prod-01"

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            ({"as": "allocated"}, "is no status of an adopted segment"),
            ({"as_1": "x"}, "is no status of an adopted segment"),
            ({"cluster_1": "a,b"}, "leave out commas"),
            ({"cluster_1": "a"}, "You may not allocate in this pool"),
        ],
    )
    def test_what_cannot_be_is_kept_to_be_corrected(self, client, user, pool, prefixes, data, text):
        data |= {f"as_{prefixes[1].pk}": "available", "pk": [prefixes[2].pk]}
        response = client.post(url_of(pool), {"_adopt": "", **data})
        page = response.content.decode()
        assert text in html.unescape(page)
        assert re.search(rf'name="as_{prefixes[1].pk}".*?value="available" selected', page, re.DOTALL)
        assert re.search(rf'name="pk" value="{prefixes[2].pk}" class="form-check-input" checked', page)
        assert not Segment.objects.exists()


class TestAdopting:
    def test_selected(self, client, user, pool):
        chosen, _other = make_candidate(pool, 105), make_candidate(pool, 106)
        response = client.post(url_of(pool), {"_adopt": "", "pk": [chosen.pk]}, follow=True)
        assert list(Segment.objects.values_list("prefix", flat=True)) == [chosen.pk]
        assert "Adopted 1 segment." in response.content.decode()
        assert response.redirect_chain[0][0].endswith(f"/pools/{pool.pk}/segments/")

    def test_preview_and_then_all(self, client, user, pool):
        for vid in (105, 106):
            make_candidate(pool, vid)
        response = client.post(url_of(pool), {"_preview_all": ""})
        text = text_of(response)
        assert "Nothing has been written yet: 2 segments would be made." in text
        assert "Adopt 2 segments" in text
        assert not Segment.objects.exists()
        assert 'name="_all" value="1"' in response.content.decode()
        client.post(url_of(pool), {"_adopt": "", "_all": "1"})
        assert Segment.objects.count() == 2

    def test_preview_of_selected_carries_them_on(self, client, user, pool):
        prefixes = [make_candidate(pool, 105), make_candidate(pool, 99, 9)]
        response = client.post(url_of(pool), {"_preview": "", "pk": [prefix.pk for prefix in prefixes]})
        assert boxes_of(response) == [prefix.pk for prefix in prefixes]
        text = text_of(response)
        assert "1 prefix cannot be adopted" in text
        assert "Fails web_99 (99) 10.0.0.144/28 VLAN ID 99 is not in VLAN group" in text
        response = client.post(url_of(pool), {"_adopt": "", "pk": boxes_of(response)})
        assert "Failed web_99" in text_of(response)
        assert "Show segments" in text_of(response)
        assert Segment.objects.count() == 1

    def test_nothing_selected(self, client, user, pool):
        make_candidate(pool, 105)
        response = client.post(url_of(pool), {"_adopt": "", "pk": ["x", "9" * 30]})
        assert "Select at least one candidate." in response.content.decode()
        assert not Segment.objects.exists()

    def test_ids_of_nothing(self, client, user, pool):
        response = client.post(url_of(pool), {"_adopt": "", "pk": ["999999999"]})
        assert "There is no prefix 999999999 that you may view." in text_of(response)

    def test_busy(self, client, user, pool, monkeypatch):
        make_candidate(pool, 105)

        def refuse(*args, **kwargs):
            raise Busy

        monkeypatch.setattr(adoption.provisioning, "build_segments_locked", refuse)
        response = client.post(url_of(pool), {"_adopt": "", "_all": "1"})
        assert "Nothing was changed; try again." in response.content.decode()
