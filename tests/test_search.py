import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from extras.models import CachedValue
from ipam.models import VLAN, Prefix
from netbox.search import LookupTypes
from netbox.search.backends import search_backend
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.factories import make_pool, make_segment, make_user, permit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def segment():
    pool = make_pool(name="Fabric one", description="Storage fabric")
    return make_segment(pool, 117, epg_name="EPG_web", prefix="10.0.64.0/24", description="Front end")


def found(value, lookup=LookupTypes.PARTIAL, user=None):
    """Search with NetBox's global search, and return the plugin's objects in the results."""
    results = search_backend.search(value, user=user, lookup=lookup)
    return [result.object for result in results if result.object._meta.app_label == "netbox_vlan_manager"]


@pytest.mark.parametrize("value", ["EPG_web", "epg_WEB", "117", "10.0.64.0/24", "10.0.64.77", "front"])
def test_finds_a_segment(segment, value):
    assert found(value) == [segment]


@pytest.mark.parametrize("value", ["EPG_web", "117"])
def test_finds_a_segment_exactly(segment, value):
    assert found(value, LookupTypes.EXACT) == [segment]


@pytest.mark.parametrize("value", ["Fabric one", "fabric-one", "storage"])
def test_finds_a_pool(segment, value):
    assert found(value) == [segment.pool]


def test_follows_an_edit_of_the_vlan_and_the_prefix(segment):
    vlan, prefix = VLAN.objects.get(segment=segment), Prefix.objects.get(segment=segment)
    vlan.snapshot()
    vlan.name = "EPG_shop"
    vlan.save()
    prefix.snapshot()
    prefix.prefix = "10.0.65.0/24"
    prefix.save()

    assert found("EPG_shop") == found("10.0.65.3") == [segment]
    assert found("EPG_web") == found("10.0.64.3") == []


def test_shows_only_what_the_user_may_view(segment):
    user = make_user("alice")

    assert found("117", user=user) == []
    assert found("117", user=permit(user, Segment, "view")) == [segment]


def test_allocations_are_not_indexed(segment):
    allocate("prod-01", pool=SegmentPool.objects.get(), user=make_user())

    assert not CachedValue.objects.filter(object_type__model="allocation").exists()
    assert found("prod-01") == []


def test_indexes_many_segments_with_few_statements(segment):
    for index in (1, 2, 3):
        make_segment(segment.pool, 117 + index, index)
    with CaptureQueriesContext(connection) as queries:
        search_backend.cache(list(Segment.objects.order_by()), remove_existing=False)

    for table in ("ipam_vlan", "ipam_prefix"):
        assert sum(f'FROM "{table}"' in query["sql"] for query in queries) == 1


def test_page(client, segment):
    client.force_login(make_user("root", is_superuser=True))
    content = client.get("/search/", {"q": "EPG_web"}).content.decode()

    assert segment.get_absolute_url() in content
